"""LLVM IR text to a function's address: disk cache, compilation, loading.

A kernel seen in this process is one dictionary look-up; one seen on this machine is read from disk and loaded
without LLVM (elf.py); a new one is compiled. Machine code is never unloaded: worker threads may be asleep in it
and plans hold bare addresses.
"""

from __future__ import annotations

import functools
import threading
import time
from typing import Any

from facula.engine.compiler.kernel import Kernel
from facula.engine.runtime.cpu import object_cache, target
from facula.errors import CompileError

_addresses: dict[tuple[str, str], int] = {}  # (name, IR) -> address
_lock = threading.RLock()  # LLVM contexts and target machines belong to one thread at a time

statistics = {"compiled": 0, "loaded": 0, "compile_seconds": 0.0, "load_seconds": 0.0}


def get(kernel: Kernel) -> int:
    """The address of `kernel`'s machine code."""
    return address(kernel.name, kernel.ir)


def address(name: str, ir: str, imports: dict[str, int] | None = None) -> int:
    """The address of function `name` in the module `ir`; `imports` gives addresses of symbols it only declares.

    CompileError if LLVM refuses the text.
    """
    found = _addresses.get((name, ir))
    if found is not None:
        return found
    with _lock:
        found = _addresses.get((name, ir))
        if found is None:
            found = _load(name, object_bytes(ir), imports or {})
            _addresses[name, ir] = found
    return found


def object_bytes(ir: str) -> bytes:
    """Relocatable object code for `ir`, from the disk cache or from LLVM."""
    host = target.host()
    name = object_cache.key(ir, host.fingerprint)
    image = object_cache.load(name)
    if image is None:
        image = compile_ir(ir)
        object_cache.store(name, image)
    return image


def compile_ir(ir: str, speed_level: int = 2) -> bytes:
    """Object code for `ir`, always compiled.

    LLVM's vectorisers and its unroller stay off: kernels arrive vectorised and unrolled by construction, and
    these passes take most of the time while they undo the emitter's choices.
    """
    import llvmlite.binding as llvm

    started = time.perf_counter()
    with _lock:
        machine = _machine()
        try:
            module = llvm.parse_assembly(ir)
            module.verify()
        except RuntimeError as error:
            raise CompileError(f"LLVM refuses this kernel: {_explain(str(error), ir)}") from None
        module.triple = target.host().triple
        module.data_layout = str(machine.target_data)
        options = llvm.create_pipeline_tuning_options(speed_level=speed_level)
        options.loop_vectorization = options.slp_vectorization = False
        options.loop_unrolling = options.loop_interleaving = False
        builder = llvm.create_pass_builder(machine, options)
        builder.getModulePassManager().run(module, builder)
        image: bytes = machine.emit_object(module)
        module.close()
        statistics["compiled"] += 1
        statistics["compile_seconds"] += time.perf_counter() - started
    return image


def assembly(ir: str) -> str:
    """The optimised machine code of `ir` as assembly text: for people and for tests that count spills."""
    import llvmlite.binding as llvm

    with _lock:
        machine = _machine()
        module = llvm.parse_assembly(ir)
        module.verify()
        module.triple = target.host().triple
        options = llvm.create_pipeline_tuning_options(speed_level=2)
        options.loop_vectorization = options.slp_vectorization = False
        options.loop_unrolling = options.loop_interleaving = False
        builder = llvm.create_pass_builder(machine, options)
        builder.getModulePassManager().run(module, builder)
        return str(machine.emit_assembly(module))


@functools.cache
def _machine() -> Any:
    return target.target_machine(target.host())


@functools.cache
def _lljit() -> Any:
    import llvmlite.binding as llvm

    jit = llvm.create_lljit_compiler(target.target_machine(target.host()))
    _immortal.append(jit)
    return jit


_immortal: list[Any] = []  # trackers and JITs, whose end would unmap code


def _load(name: str, image: bytes, imports: dict[str, int]) -> int:
    """Put object code into memory with LLVM's own linker."""
    import ctypes

    import llvmlite.binding as llvm

    started = time.perf_counter()
    library = llvm.JITLibraryBuilder().add_object_img(image).add_current_process()
    for symbol, where in imports.items():
        library.import_symbol(symbol, where)
    library.export_symbol(name)
    try:
        tracker = library.link(_lljit(), f"facula{len(_immortal)}")
    except RuntimeError as error:
        raise CompileError(f"kernel {name!r} cannot be loaded: {error}") from None
    if not _immortal or _immortal[-1] is not tracker:
        _immortal.append(tracker)
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(tracker))  # survives the interpreter's shutdown, too
    statistics["loaded"] += 1
    statistics["load_seconds"] += time.perf_counter() - started
    return int(tracker[name])


def _explain(message: str, ir: str) -> str:
    """LLVM's message with the line of IR it speaks of."""
    first = message.strip()
    for word in first.replace("<string>:", " ").split():
        number = word.split(":")[0]
        lines = ir.splitlines()
        if number.isdigit() and 0 < int(number) <= len(lines):
            return f"{first}\n  line {number}: {lines[int(number) - 1].strip()}"
    return first
