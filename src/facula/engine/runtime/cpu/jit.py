"""LLVM IR text to a function's address: disk cache, compilation, loading.

A kernel seen in this process is one dictionary look-up; one seen on this machine is read from disk and
loaded without LLVM (elf.py); a new one is compiled. Machine code is never unloaded: worker threads may
be asleep in it, and plans hold bare addresses.
"""

from __future__ import annotations

import ctypes
import functools
import itertools
import os
import time
from collections.abc import Mapping, Sequence
from typing import Any

from facula.engine.compiler.kernel import Kernel
from facula.engine.runtime.cpu import elf, half_code, object_cache, target
from facula.errors import CompileError
from facula.undisturbed import reentrant_lock

_modules: dict[tuple[str, object], dict[str, int]] = {}  # (IR, what it imports) -> addresses of its functions
_addresses: dict[str, int] = {}  # of kernels, by their IR: plans of new sizes ask for ten at a time
_lock = reentrant_lock()  # LLVM contexts and target machines belong to one thread at a time

statistics = {"compiled": 0, "loaded": 0, "compile_seconds": 0.0, "load_seconds": 0.0}


def get(kernel: Kernel) -> int:
    """The address of `kernel`'s machine code. CompileError if LLVM refuses its text."""
    ir = kernel.ir
    address = _addresses.get(ir)
    if address is None:
        address = _addresses[ir] = module(ir, (kernel.name,))[kernel.name]
    return address


def module(ir: str, names: Sequence[str], imports: Mapping[str, int] | None = None) -> dict[str, int]:
    """Addresses of the functions `names` of the module `ir`.

    `imports` gives addresses of symbols that the module only declares; others are looked up in the process.
    """
    key = ir, frozenset(imports.items()) if imports else None  # the same text may be bound to other objects
    found = _modules.get(key)
    if found is None:
        with _lock:
            found = _modules.get(key)
            if found is None:
                image = object_bytes(ir)
                started = time.perf_counter()
                found = _load(image, names, {**_support(), **(imports or {})})
                statistics["loaded"] += 1
                statistics["load_seconds"] += time.perf_counter() - started
                _modules[key] = found
    return found


def object_bytes(ir: str) -> bytes:
    """Relocatable object code for `ir`, from the disk cache or from LLVM."""
    host = target.host()
    name = object_cache.key(ir, host.fingerprint, *_PASSES)
    image = object_cache.load(name)
    if image is None:
        image = compile_ir(ir)
        object_cache.store(name, image)
    return image


def compile_ir(ir: str) -> bytes:
    """Object code for `ir`, always compiled."""
    started = time.perf_counter()
    with _lock:
        image: bytes = _machine().emit_object(_optimised(ir))
        statistics["compiled"] += 1
        statistics["compile_seconds"] += time.perf_counter() - started
    return image


def assembly(ir: str) -> str:
    """The machine code of `ir` as assembly text: for people, and for tests that count spills."""
    with _lock:
        return str(_machine().emit_assembly(_optimised(ir)))


# Kernels arrive vectorised, unrolled and hoisted by construction. This short list gives code as fast as
# LLVM's O2 (within 2 % over products, softmax, reductions, gathers, vector math) in a fifth of its time:
# 1 to 10 ms instead of 5 to 60, beside 3 to 50 for the code generation. With no passes softmax takes 1.7
# times as long.
_PASSES = ("sroa", "simplify_cfg", "instruction_combine", "new_gvn", "simplify_cfg", "aggressive_dce")


def _optimised(ir: str) -> Any:
    """The verified and optimised LLVM module of `ir`. Functions are inlined if they say `alwaysinline`."""
    import llvmlite.binding as llvm

    machine = _machine()
    try:
        parsed = llvm.parse_assembly(ir)
        parsed.verify()
    except RuntimeError as error:
        raise CompileError(f"LLVM refuses this kernel: {_explain(str(error), ir)}") from None
    parsed.triple = target.host().triple
    parsed.data_layout = str(machine.target_data)
    builder = llvm.create_pass_builder(machine, llvm.create_pipeline_tuning_options(speed_level=2))
    inline = llvm.create_new_module_pass_manager()
    inline.add_always_inliner_pass()
    inline.run(parsed, builder)
    simplify = llvm.create_new_function_pass_manager()
    for name in _PASSES:
        getattr(simplify, f"add_{name}_pass")()
    for function in parsed.functions:
        if not function.is_declaration:
            simplify.run(function, builder)
    return parsed


@functools.cache
def _machine() -> Any:
    return target.target_machine(target.host())


@functools.cache
def _lljit() -> Any:
    import llvmlite.binding as llvm

    jit = llvm.create_lljit_compiler(target.target_machine(target.host()), suppress_errors=True,
                                     use_jit_link=elf.USES_JIT_LINK)
    _keep_forever(jit)
    return jit


def _load(image: bytes, names: Sequence[str], imports: Mapping[str, int]) -> dict[str, int]:
    """Put object code into memory: by our own loader, or where that cannot, by LLVM's linker."""
    reason = ""
    if elf.CAN_LOAD:
        try:
            return elf.load(image, names, imports)
        except elf.Unsupported as error:
            reason = str(error)
    try:
        return _load_with_llvm(image, names, imports)
    except RuntimeError as error:
        absent = ", ".join(elf.missing(image, imports))  # LLVM's newer linker does not say what it has not found
        said = reason or (f"nothing in this process is called {absent}" if absent else error)
        raise CompileError(f"kernel {', '.join(names)} cannot be loaded: {said}") from None


@functools.cache
def _support() -> Mapping[str, int]:
    """What kernels call here that is in no library of this process."""
    host = target.host()
    if not host.triple.startswith("x86_64") or host.has("f16c"):
        return {}
    return _load(object_bytes(half_code.text(host.attributes)), half_code.NAMES, {})


def _load_with_llvm(image: bytes, names: Sequence[str], imports: Mapping[str, int]) -> dict[str, int]:
    import llvmlite.binding as llvm

    library = llvm.JITLibraryBuilder().add_object_img(image).add_current_process()
    for symbol, where in imports.items():
        library.import_symbol(symbol, where)
    for name in names:
        library.export_symbol(name)
    tracker = library.link(_lljit(), f"facula{next(_library_numbers)}")
    _keep_forever(tracker)
    return {name: int(tracker[name]) for name in names}


_library_numbers = itertools.count()  # LLVM refuses a name used before


def _keep_forever(owner: Any) -> None:
    """Never unmap code: at the interpreter's shutdown, too, a worker may still be spinning in it."""
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(owner))


def _after_fork() -> None:
    global _lock
    _lock = reentrant_lock()  # another thread may have held it when the child was made


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


def _explain(message: str, ir: str) -> str:
    """LLVM's message with the line of IR it speaks of."""
    first = message.strip()
    for word in first.replace("<string>:", " ").split():
        number = word.split(":")[0]
        lines = ir.splitlines()
        if number.isdigit() and 0 < int(number) <= len(lines):
            return f"{first}\n  line {number}: {lines[int(number) - 1].strip()}"
    return first
