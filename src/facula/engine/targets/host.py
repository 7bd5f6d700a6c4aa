"""The computer's own processor as a target: plans of machine code, where llvmlite is there to make it.

Its memory is that of runtime/buffer.py and its plans know more than a Program has to: what they write in the place of
what, and recipes that machine code runs. realize.py uses all of it, so it calls this target by name.
"""

from __future__ import annotations

import time
import traceback
import warnings
from typing import TYPE_CHECKING

from facula import config
from facula.engine import debug
from facula.engine.graph.node import Node
from facula.engine.steps import use_machine_code
from facula.errors import of_our_making

if TYPE_CHECKING:
    from facula.engine.runtime.cpu.plan import Plan

MOST_FAILURES = 256  # kinds that are kept; of more, each is told each time
failures: dict[str, str] = {}  # why the compiler has failed in this process, each with its traceback


def compile(order: list[Node], leaves: list[Node], outputs: list[Node], numbers_at: dict[Node, int],
            donated: frozenset[Node]) -> Plan | None:
    """A plan that may overwrite the leaves `donated`. None: this machine, or the user, wants the interpreter."""
    if config.BACKEND.value == "interpreter":
        return None
    from facula.engine.runtime.cpu import target
    if not target.available():
        if config.BACKEND.value == "cpu":
            raise RuntimeError("FACULA_BACKEND=cpu, but llvmlite is not installed: pip install llvmlite")
        return None
    from facula.engine.compiler.pipeline import compile_plan
    from facula.engine.runtime.cpu.plan import Plan
    saved = ""
    try:
        saved = _save(order, leaves, outputs, donated)
        start = time.perf_counter()
        spec = compile_plan(order, leaves, outputs, numbers_at, donated, target.host().machine())
        plan = Plan(spec)
        use_machine_code()
        if debug.wants(1):
            plan.number = debug.plan_compiled(spec, time.perf_counter() - start)
        return plan
    except Exception as error:
        if config.DEBUG.value or config.VERIFY.value or isinstance(error, MemoryError) or not of_our_making(error):
            raise
        _report(error, len(order), saved)
        return None


def _report(error: Exception, nodes: int, saved: str) -> None:
    """The graph's plan is remembered as None, so the reason is told here or never: once a kind, whatever Python has
    shown before (hence no registry), as of the line that gave up. What differs from graph to graph makes no kind."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    where = ("facula", 1) if trace is None else (trace.tb_frame.f_code.co_filename, trace.tb_lineno)
    kind = f"{type(error).__name__} at {where[0]}:{where[1]}"
    if kind in failures:
        return
    warnings.warn_explicit(f"facula: the compiler failed on a graph of {nodes} nodes ({error!r}); it runs on "
                           "the NumPy interpreter instead. Please report this; FACULA_DEBUG=1 shows where. "
                           + (f"The graph is in {saved}." if saved else
                              "FACULA_SAVE_PLANS=folder saves the graph as a file."),
                           RuntimeWarning, *where)
    if len(failures) < MOST_FAILURES:
        failures[kind] = "".join(traceback.format_exception(error))


def _save(order: list[Node], leaves: list[Node], outputs: list[Node], donated: frozenset[Node]) -> str:
    """Where FACULA_SAVE_PLANS has had the graph put; "" if it is not set."""
    if not config.SAVE_PLANS.value:
        return ""
    import hashlib  # only those who save plans wait for these
    from pathlib import Path

    from facula.engine import plan_file, plan_folder
    text = plan_file.dump(order, leaves, outputs, donated)
    path = Path(config.SAVE_PLANS.value) / f"plan-{hashlib.blake2b(text.encode(), digest_size=8).hexdigest()}.json"
    plan_folder.save(path, text)
    return str(path)
