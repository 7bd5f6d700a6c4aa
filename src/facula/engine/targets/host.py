"""The computer's own processor as a target: plans of machine code, where llvmlite is there to make it; else the NumPy
interpreter computes. Nothing above engine/targets/ reaches for runtime/cpu/ itself: what it wants to know of the
processor is asked here.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from facula import config
from facula.devices import CPU
from facula.dtypes import uint8
from facula.engine import debug
from facula.engine.graph.node import Node
from facula.engine.runtime.buffer import Buffer, allocate
from facula.engine.targets import interpreter
from facula.engine.targets.protocol import Program, Target
from facula.engine.trace.signature import use_machine_code
from facula.engine.trace.structure import Outcome
from facula.errors import BackendUnavailable, CompileError, of_our_making

if TYPE_CHECKING:  # loaded with the first plan
    from facula.engine.compiler.kernel import Machine
    from facula.engine.compiler.plan import PlanSpec

MOST_FAILURES = 256  # kinds that are kept; of more, each is told each time
failures: dict[str, str] = {}  # why the compiler has failed in this process, each with its traceback


# What makes a Program of a plan in place of runtime/cpu/plan.py: testing/backends.py.
instead: Callable[[PlanSpec], Any] | None = None


class Processor(Target):
    """The target of the cpu. Its memory is that of runtime/buffer.py."""

    device = CPU
    allocate = staticmethod(allocate)  # type: ignore[assignment]
    interpret = staticmethod(interpreter.run)  # type: ignore[assignment]

    def upload(self, array: np.ndarray) -> Buffer:
        buffer = allocate(array.nbytes)
        buffer.array((array.nbytes,), uint8)[...] = array.reshape(-1).view(np.uint8)
        return buffer

    def download(self, memory: Buffer, nbytes: int) -> np.ndarray:
        return np.array(memory.array((nbytes,), uint8))

    def compile(self, order: list[Node], leaves: list[Node], outputs: list[Node], numbers_at: dict[Node, int],
                donated: frozenset[Node]) -> Program | None:
        """None: this machine, or the user, wants the interpreter, or the compiler has failed (which is told)."""
        if not _compiles():
            return None
        from facula.engine.compiler.pipeline import compile_plan
        from facula.engine.targets.template import plan_for
        plan_of = plan_for if instead is None else compile_plan  # a template's steps do not say what they mean
        saved = ""
        try:
            saved = _save(order, leaves, outputs, donated)
            start = time.perf_counter()
            spec = plan_of(order, leaves, outputs, numbers_at, donated, machine())
            plan = loaded(spec)
            use_machine_code()
            if Outcome.of_sizes is not None:
                Outcome.of_sizes = partial(_loaded_of, Outcome.of_sizes)
            if debug.wants(1):
                plan.number = debug.plan_compiled(spec, time.perf_counter() - start)
            return plan  # type: ignore[no-any-return]
        except Exception as error:
            if config.DEBUG.value or config.VERIFY.value or isinstance(error, MemoryError) or not of_our_making(error):
                raise
            _report(error, len(order), saved)
            return None


def _compiles() -> bool:
    """Is there machine code to be made, here and now?"""
    if config.BACKEND.value == "interpreter":
        return False
    if not available():
        if config.BACKEND.value == "cpu":
            raise RuntimeError("FACULA_BACKEND=cpu, but llvmlite is not installed: pip install llvmlite")
        return False
    return True


def _loaded_of(spec_of: Callable[[Sequence[int]], PlanSpec | None], sizes: Sequence[int]) -> Any:
    """The Program of the plan that `spec_of` gives. None: `compile` is to be asked, which says what is wrong, too."""
    if instead is not None or config.DEBUG.value or config.SAVE_PLANS.value or not _compiles():
        return None
    try:
        spec = spec_of(sizes)
        return None if spec is None else loaded(spec)
    except Exception as error:
        if config.VERIFY.value or not of_our_making(error):
            raise
        return None


# ---- questions about the processor. What answers is loaded when somebody asks. ------------------------------


def available() -> bool:
    """Is there what makes machine code?"""
    from facula.engine.runtime.cpu import target
    return target.available()


def machine(vector_bytes: int = 64) -> Machine:
    """What the compiler is told of this processor, with vectors of so many bytes at most."""
    from facula.engine.runtime.cpu import target
    from facula.engine.targets import processors
    return processors.machine(target.narrowed(target.host(), vector_bytes))


def widest(names: tuple[tuple[str, str], ...]) -> str:
    """The first name whose instructions the processor has; "DEFAULT" if it has none of them."""
    from facula.engine.runtime.cpu import target
    has = target.host().has
    return next((name for name, flag in names if has(flag)), "DEFAULT")


def loaded(spec: PlanSpec) -> Any:
    """The plan as a Program of this processor."""
    if instead is not None:
        return instead(spec)
    from facula.engine.runtime.cpu.plan import Plan
    return Plan(spec)


def functions(text: Callable[[str], str], names: tuple[str, ...], needs_fma: bool) -> dict[str, int] | None:
    """Addresses of the functions `names` in the LLVM IR that `text` (of function attributes) gives. None: there is no
    compiler here, or no fused multiply-add, where that is needed."""
    try:
        from facula.engine.runtime.cpu import jit, target
        host = target.host()
        if needs_fma and not (host.has("fma") or host.triple.startswith(("aarch64", "arm64"))):
            return None
        return dict(jit.module(text(host.attributes), names))
    except (BackendUnavailable, CompileError, ImportError):
        return None


def set_num_threads(n: int) -> None:
    from facula.engine.runtime.cpu import pool
    pool.set_num_threads(n)


def get_num_threads() -> int:
    from facula.engine.runtime.cpu import pool
    return pool.get_num_threads()


def report() -> dict[str, Any]:
    """What `facula doctor` prints of the processor. ImportError without llvmlite."""
    from facula.engine.runtime.cpu import doctor
    return doctor.report()


def speed() -> dict[str, float]:
    """The machine's measured limits, by name; empty where they cannot be measured."""
    try:
        from facula.engine.runtime.cpu import doctor
    except ImportError:  # without llvmlite
        return {}
    return doctor.speed() if available() else {}


# ---- what goes wrong ----------------------------------------------------------------------------------------


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
        import traceback  # late: `import facula` need not load it
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
