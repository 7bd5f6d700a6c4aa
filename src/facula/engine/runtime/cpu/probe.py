"""Does LLVM live through what kernels are made of, on a machine described so? A child process is asked.

What LLVM asserts ends the process: a feature that it cannot select instructions for, a relocation that its linker
finds out of reach. A description that is wrong ends it later, with an illegal instruction. No exception tells of
either. So where a processor is met that the tests do not run on (`target._is_sure`), a forked child compiles, loads
and runs one function with all that is special in kernels, and what becomes of the child is the answer.
"""

from __future__ import annotations

import ctypes
import os
import platform
import signal
import struct
import sys
import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from facula.engine.runtime.cpu import elf

if TYPE_CHECKING:
    from facula.engine.runtime.cpu.target import Target

PATIENCE = 120  # seconds, under an emulator too
_LANES = 16
_FOUND = 35.0  # what the function gives on any machine

MachineFor = Callable[["Target"], Any]  # LLVM's TargetMachine, `target.target_machine`


def fault(candidate: Target, machine_for: MachineFor) -> str:
    """What ended the child, in words; "" if nothing did, or if there can be no child here."""
    if sys.platform != "linux":  # macOS' libraries may end a child that is no new program, whatever LLVM does
        return ""
    reading, writing = os.pipe()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # of other threads, none of which runs in the child
            child = os.fork()
    except OSError:
        os.close(reading)
        os.close(writing)
        return ""
    if child == 0:
        _in_child(candidate, machine_for, writing)
    os.close(writing)
    with open(reading, "rb") as pipe:
        said = pipe.read().decode(errors="replace").strip()
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if status == 0 or status == -signal.SIGALRM:  # one that only waits (for a lock of another thread) tells nothing
        return ""
    last = said.splitlines()[-1] if said else "nothing was said"
    return f"{signal.Signals(-status).name}: {last}" if status < 0 else last


def _in_child(candidate: Target, machine_for: MachineFor, writing: int) -> None:
    """Never returns: the child is a copy of a program that has other things to do."""
    status = 1
    try:
        os.dup2(writing, 2)  # where LLVM says why it gives up
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(PATIENCE)
        found = run(candidate, machine_for)
        if found == _FOUND:
            status = 0
        else:
            os.write(2, f"the function that is tried gave {found}, not {_FOUND}".encode())
    except BaseException as error:
        os.write(2, f"{type(error).__name__}: {error}".encode(errors="replace"))
    finally:
        os._exit(status)


def run(candidate: Target, machine_for: MachineFor) -> float:
    """What the function gives, compiled for `candidate`."""
    import llvmlite.binding as llvm

    machine = machine_for(candidate)
    parsed = llvm.parse_assembly(text(candidate))
    parsed.verify()
    parsed.triple, parsed.data_layout = candidate.triple, str(machine.target_data)
    image = machine.emit_object(parsed)
    library = llvm.JITLibraryBuilder().add_object_img(image).add_current_process().export_symbol("tried")
    jit = llvm.create_lljit_compiler(machine, suppress_errors=True, use_jit_link=elf.USES_JIT_LINK)
    tracker = library.link(jit, "facula-probe")
    room = ctypes.create_string_buffer(struct.pack(f"{_LANES}f", *range(_LANES)), 4096)
    return float(ctypes.CFUNCTYPE(ctypes.c_double, ctypes.c_void_p)(tracker["tried"])(ctypes.addressof(room)))


def text(candidate: Target) -> str:
    """`double tried(float *room)`: what a processor or a linker may not have, once each, on 0, 1, ... 15."""
    n = _LANES
    f, d, i, h, m, p = (f"<{n} x {t}>" for t in ("float", "double", "i32", "half", "i1", "ptr"))
    every = f"{m} splat (i1 true)"
    lanes = ", ".join(f"i64 {k}" for k in range(n))
    hint = {"x86_64": "@llvm.x86.sse2.pause()", "aarch64": "@llvm.aarch64.hint(i32 1)"}.get(_architecture(), "")
    pause = f"call void {hint}" if hint else ""
    declared = f"declare void {hint.replace('i32 1', 'i32')}" if hint else ""
    # Where x86-64 has no halves they are calls of half_code.py.
    sort = h if candidate.has("f16c") or not candidate.triple.startswith("x86_64") else d
    forth, back = ("fptrunc", "fpext") if sort == h else ("fpext", "fptrunc")
    return f"""
@table = internal constant [4 x double] [double 1.0, double 2.0, double 4.0, double 8.0]
{declared}
declare double @fmod(double, double)
declare void @llvm.memcpy.p0.p0.i64(ptr, ptr, i64, i1)
declare {f} @llvm.fma.v{n}f32({f}, {f}, {f})
declare {f} @llvm.sqrt.v{n}f32({f})
declare {f} @llvm.masked.load.v{n}f32.p0(ptr, i32, {m}, {f})
declare void @llvm.masked.store.v{n}f32.p0({f}, ptr, i32, {m})
declare {f} @llvm.masked.gather.v{n}f32.v{n}p0({p}, i32, {m}, {f})
declare void @llvm.masked.scatter.v{n}f32.v{n}p0({f}, {p}, i32, {m})

define double @tried(ptr %room) #0 {{
  {pause}
  %x = load {f}, ptr %room, align 4
  %few = fcmp olt {f} %x, splat (float 3.0)
  %some = call {f} @llvm.masked.load.v{n}f32.p0(ptr %room, i32 4, {m} %few, {f} zeroinitializer)
  %fused = call {f} @llvm.fma.v{n}f32({f} %some, {f} %some, {f} splat (float 4.0))
  %root = call {f} @llvm.sqrt.v{n}f32({f} splat (float 4.0))
  %sum = fadd {f} %fused, %root
  %other = {forth} {f} %sum to {sort}
  %back = {back} {sort} %other to {f}
  %whole = fptosi {f} %back to {i}
  %odd = and {i} %whole, splat (i32 15)
  %again = sitofp {i} %odd to {f}
  %far = getelementptr i8, ptr %room, i64 512
  call void @llvm.masked.store.v{n}f32.p0({f} %again, ptr %far, i32 4, {every})
  %places = getelementptr float, ptr %far, <{n} x i64> <{lanes}>
  %got = call {f} @llvm.masked.gather.v{n}f32.v{n}p0({p} %places, i32 4, {every}, {f} zeroinitializer)
  call void @llvm.masked.scatter.v{n}f32.v{n}p0({f} %got, {p} %places, i32 4, {m} %few)
  %to = getelementptr i8, ptr %room, i64 1024
  %size = load i64, ptr %room
  %bounded = and i64 %size, 0
  %bytes = add i64 %bounded, 256
  call void @llvm.memcpy.p0.p0.i64(ptr %to, ptr %far, i64 %bytes, i1 false)
  %copy = load {f}, ptr %to, align 4
  %wide = fpext {f} %copy to {d}
  %a = extractelement {d} %wide, i64 0
  %b = extractelement {d} %wide, i64 2
  %c = call double @fmod(double %a, double 4.0)
  %counter = getelementptr i8, ptr %room, i64 2048
  %before = atomicrmw add ptr %counter, i64 3 seq_cst
  %after = load atomic i64, ptr %counter acquire, align 8
  %at = getelementptr double, ptr @table, i64 %after
  %eight = load double, ptr %at
  %ab = fadd double %a, %b
  %abc = fadd double %ab, %c
  %most = fmul double %eight, 2.125
  %all = fadd double %abc, %most
  ret double %all
}}
attributes #0 = {{ {candidate.attributes} }}
"""


def _architecture() -> str:
    machine = platform.machine()
    return {"AMD64": "x86_64", "arm64": "aarch64"}.get(machine, machine)
