"""The `facula` command: run | launch | explain | doctor | bench | monitor | serve.

    facula run [--compat 0.3] [--threads N] [--cores N] script.py [args]   a PyTorch program, on Facula
    facula launch [options of torchrun] script.py [args]       as several ranks: torch.distributed.run
    facula explain script.py [args]                            the same, then what was compiled and why
    facula doctor                                              the machine, and checks of kernels on it
    facula bench                                               Facula beside its peers (from a checkout)
    facula monitor [DIR]                                       a page of the runs that facula.monitor has written
    facula serve MODEL [--port N ...]                          a model in production (docs/serving.md)
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> int:
    """Parse the command line and do what it says; returns the exit status."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    if given[:1] == ["launch"]:  # it has torchrun's options, which are its own business
        from facula.distributed.run import main as launch
        return launch(given[1:])
    parser = _parser()
    options = parser.parse_args(given)
    if options.command is None:
        parser.print_help()
        return 2
    if getattr(options, "threads", None) is not None:
        _limit_threads(options.threads)
    if options.command in ("run", "explain") and (options.cores is not None or options.watts is not None):
        import facula
        try:
            facula.set_budget(cores=options.cores, watts=options.watts)
        except (NotImplementedError, RuntimeError, ValueError) as error:
            parser.error(str(error))
    if options.command == "run":
        from facula.cli.run import run_program
        return run_program(options)
    if options.command == "explain":
        from facula.cli.explain import explain
        return explain(options)
    if options.command == "doctor":
        from facula.cli.doctor import doctor
        return doctor(options)
    if options.command == "monitor":
        from facula.cli.monitor import monitor
        return monitor(options)
    if options.command == "serve":
        from facula.serving.command import serve
        return serve(options)
    from facula.cli.bench import bench
    return bench(options)


def _parser() -> argparse.ArgumentParser:
    from facula.version import __version__, facula_version
    parser = argparse.ArgumentParser(
        prog="facula", description="Run PyTorch programs on Facula, and see what it makes of them.")
    parser.add_argument("--version", action="version",
                        version=f"facula {facula_version} (PyTorch API {str(__version__).partition('+')[0]})")
    commands = parser.add_subparsers(
        dest="command", metavar="run | launch | explain | doctor | bench | monitor | serve")

    run = commands.add_parser("run", help="run a PyTorch program; `import torch` is Facula")
    _add_program(run)

    commands.add_parser("launch", help="start a program as several ranks, with torchrun's options", add_help=False)

    explain = commands.add_parser("explain", help="run a program, then print its plans and kernels")
    _add_program(explain)
    explain.add_argument("--json", metavar="FILE", help="write the records to FILE as well")
    explain.add_argument("--top", type=int, default=0, metavar="N", help="only the N costliest plans")

    doctor = commands.add_parser("doctor", help="print the machine and check the compiled kernels on it")
    doctor.add_argument("--json", metavar="FILE", help="write the report to FILE as well")

    from facula.cli.monitor import add_arguments
    add_arguments(commands.add_parser("monitor", help="serve a page of the runs in a folder"))

    bench = commands.add_parser("bench", help="time Facula beside its peers (from a checkout)")
    bench.add_argument("rest", nargs=argparse.REMAINDER, metavar="...", help="options of bench/run.py")

    from facula.serving.command import add_options
    serve = commands.add_parser("serve", help="serve a model by the Open Inference Protocol")
    add_options(serve)
    add_budget(serve)
    return parser


def _add_program(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--compat", choices=["0.3"], help="accept the spellings of this PyTorch release too")
    parser.add_argument("--threads", type=_positive, metavar="N", help="compute with at most N threads")
    add_budget(parser)
    parser.add_argument("-m", dest="module", action="store_true", help="the program is a module's name")
    parser.add_argument("program", metavar="script.py", help="a file, a folder, or `-` for stdin")
    parser.add_argument("arguments", nargs=argparse.REMAINDER, metavar="args", help="for the program itself")


def add_budget(parser: argparse.ArgumentParser) -> None:
    """The options of `facula.set_budget`."""
    parser.add_argument("--cores", type=_positive, metavar="N", help="run on N cores and no more, all threads together")
    parser.add_argument("--watts", type=float, metavar="W", help="give cores up while the processors draw more (RAPL)")


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise ValueError(text)
    return number


def _limit_threads(number: int) -> None:
    # The variable is for the processes that the program starts; this process has read it already.
    os.environ["FACULA_NUM_THREADS"] = str(number)
    import facula
    facula.set_num_threads(number)


if __name__ == "__main__":
    sys.exit(main())
