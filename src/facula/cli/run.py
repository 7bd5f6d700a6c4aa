"""`facula run`: a program as `python script.py` would run it, but `import torch` is Facula."""

from __future__ import annotations

import argparse
import os
import runpy
import sys
from types import ModuleType, TracebackType

from facula.compat import install


def run_program(options: argparse.Namespace) -> int:
    """Run the program of the command line to its end; returns the exit status."""
    install(options.compat)
    sys.argv[:] = [options.program, *options.arguments]
    try:
        if options.module:
            sys.path.insert(0, os.getcwd())
            runpy.run_module(options.program, run_name="__main__", alter_sys=True)
        elif os.path.isdir(options.program):
            runpy.run_path(options.program, run_name="__main__")
        else:
            _run_script(options.program)
    except SystemExit:
        raise
    except BaseException as error:
        return _report(error)
    return 0


def _run_script(path: str) -> None:
    """Execute a file as `__main__`.

    Unlike `runpy.run_path`, the module stays in place afterwards: atexit functions, threads and unpickling of
    the program's own classes need its globals, as they do under plain `python`.
    """
    if path == "-":
        source, name = sys.stdin.read().encode(), "<stdin>"
        sys.path.insert(0, "")
    else:
        try:
            with open(path, "rb") as file:
                source = file.read()
        except OSError as error:
            raise SystemExit(f"facula run: can't open file {path!r}: {error.strerror}") from None
        name = path
        sys.path.insert(0, os.path.dirname(os.path.realpath(path)))
    module = ModuleType("__main__")
    module.__dict__.update(__file__=name, __builtins__=__builtins__)
    sys.modules["__main__"] = module
    exec(compile(source, name, "exec", dont_inherit=True), module.__dict__)  # not this file's `annotations`


def _report(error: BaseException) -> int:
    """Print the traceback as Python would, without the frames of this command above the program's."""
    tb = error.__traceback__
    error.__traceback__ = _below_this_command(tb)
    if "TORCHELASTIC_ERROR_FILE" in os.environ:
        from facula.distributed.elastic.multiprocessing.errors import write_error
        write_error(error)
    sys.last_type, sys.last_value, sys.last_traceback = type(error), error, error.__traceback__  # as Python does
    sys.excepthook(type(error), error, error.__traceback__)
    sys.stdout.flush()
    return 130 if isinstance(error, KeyboardInterrupt) else 1


def _below_this_command(tb: TracebackType | None) -> TracebackType | None:
    while tb is not None:
        module = tb.tb_frame.f_globals.get("__name__")
        if module != __name__ and module != "runpy" and "importlib._bootstrap" not in str(module):
            return tb
        tb = tb.tb_next
    return None  # a SyntaxError of the program: no frame of it has run
