"""What tells one processor from another, without LLVM: the name under which its answer is kept on disk.

The system's description is not enough. What the processor may be asked to do is less than that wherever something
stands between: an emulator (qemu, valgrind) shows its host's /proc/cpuinfo, a hypervisor or the kernel may take
features away. Machine code that was made for the host ends there with an illegal instruction. So the processor is
asked itself: on x86-64 by the instruction `cpuid`, elsewhere by the words that the kernel hands to each program.
"""

from __future__ import annotations

import ctypes
import os
import platform
import sys

from facula.engine.runtime.cpu.pages import make_executable, map_pages

# void cpuid(uint32_t out[4], uint32_t leaf, uint32_t part): push rbx; mov eax, esi; mov ecx, edx; cpuid;
# mov [rdi], eax; mov [rdi+4], ebx; mov [rdi+8], ecx; mov [rdi+12], edx; pop rbx; ret
_CPUID = bytes.fromhex("53 89f0 89d1 0fa2 8907 895f04 894f08 89570c 5b c3")
# void xgetbv(uint32_t out[2]): xor ecx, ecx; xgetbv; mov [rdi], eax; mov [rdi+4], edx; ret
_XGETBV = bytes.fromhex("31c9 0f01d0 8907 895704 c3")
# (leaf, part, which of eax, ebx, ecx, edx): model and features; not what changes from core to core
_LEAVES = ((1, 0, (0, 2, 3)), (7, 0, (1, 2, 3)), (7, 1, (0, 1, 2, 3)), (0xD, 1, (0,)), (0x80000001, 0, (2, 3)))
_SAVES_STATE = 1 << 27  # of leaf 1's ecx: the system uses xsave, so xgetbv tells which registers it saves
_KERNEL_WORDS = (16, 26)  # AT_HWCAP and AT_HWCAP2 of <elf.h>


def description() -> str:
    """Text that changes whenever the features of this processor do, as far as this process can use them."""
    return "\n".join((_system_text(), *map(str, _kernel_words()), *map(str, _features())))


def _system_text() -> str:
    """The processor as the system describes it: model and flags of the first core."""
    try:
        descriptor = os.open("/proc/cpuinfo", os.O_RDONLY)
    except OSError:
        return platform.processor()
    try:
        text = os.read(descriptor, 8192).decode(errors="replace")  # the whole file is slow with 256 cores
    finally:
        os.close(descriptor)
    wanted = ("vendor_id", "cpu family", "model", "stepping", "flags", "CPU ", "Features")
    first_core = text.split("\n\n")[0]
    return "\n".join(line for line in first_core.splitlines() if line.startswith(wanted))


def _kernel_words() -> list[int]:
    if sys.platform != "linux":
        return []
    ask = ctypes.CDLL(None).getauxval
    ask.argtypes, ask.restype = [ctypes.c_ulong], ctypes.c_ulong
    return [ask(word) for word in _KERNEL_WORDS]


def _features() -> list[int]:
    """What `cpuid` says, and which registers the system saves; empty where it cannot be asked."""
    if platform.machine() not in ("x86_64", "AMD64") or os.name != "posix":
        return []
    try:
        memory, base = map_pages(4096)
        memory[:len(_CPUID)] = _CPUID
        memory[64:64 + len(_XGETBV)] = _XGETBV
        make_executable(base, 4096)
    except OSError:
        return []  # no kernel will run here either, but that is for others to say
    out = (ctypes.c_uint32 * 4)()
    cpuid = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_uint32, ctypes.c_uint32)(base)
    found = []
    for leaf, part, registers in _LEAVES:
        cpuid(ctypes.addressof(out), leaf, part)
        found += [out[k] for k in registers]
    if found[1] & _SAVES_STATE:
        ctypes.CFUNCTYPE(None, ctypes.c_void_p)(base + 64)(ctypes.addressof(out))
        found += out[:2]
    return found
