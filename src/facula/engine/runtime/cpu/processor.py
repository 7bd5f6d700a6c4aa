"""What the processor says of itself, without LLVM: features, caches, its name, and what LLVM's answer is kept under.

The system's description is not enough. What the processor may be asked to do is less than that wherever something
stands between: an emulator (qemu, valgrind) and some sandboxes show their host's /proc/cpuinfo, a hypervisor or the
kernel may take features away. Machine code that was made for the host ends there with an illegal instruction. So the
processor is asked itself: on x86-64 by the instruction `cpuid`, elsewhere by the words that the kernel hands to each
program. LLVM does the same on x86-64; on aarch64 it reads /proc/cpuinfo, so its word is not taken there (target.py).
"""

from __future__ import annotations

import ctypes
import functools
import os
import platform
import sys
from collections.abc import Callable

from facula.engine.runtime.cpu.pages import make_executable, map_pages

# void cpuid(uint32_t out[4], uint32_t leaf, uint32_t part): push rbx; mov eax, esi; mov ecx, edx; cpuid;
# mov [rdi], eax; mov [rdi+4], ebx; mov [rdi+8], ecx; mov [rdi+12], edx; pop rbx; ret
_CPUID = bytes.fromhex("53 89f0 89d1 0fa2 8907 895f04 894f08 89570c 5b c3")
# void xgetbv(uint32_t out[2]): xor ecx, ecx; xgetbv; mov [rdi], eax; mov [rdi+4], edx; ret
_XGETBV = bytes.fromhex("31c9 0f01d0 8907 895704 c3")
# (leaf, part, which of eax, ebx, ecx, edx): model and features; not what changes from core to core
_LEAVES = ((1, 0, (0, 2, 3)), (7, 0, (1, 2, 3)), (7, 1, (0, 1, 2, 3)), (0xD, 1, (0,)), (0x80000001, 0, (2, 3)))
_SAVES_STATE = 1 << 27  # of leaf 1's ecx: the system uses xsave, so xgetbv tells which registers it saves
_TOPOLOGY = 1 << 22  # of leaf 0x80000001's ecx: AMD's leaf of caches is there
_DATA, _UNIFIED = 1, 3  # types of caches in either leaf
_KERNEL_WORDS = (16, 26)  # AT_HWCAP and AT_HWCAP2 of <elf.h>

# Bits of the two words on aarch64 (Linux's <asm/hwcap.h>) and LLVM's names, of what our code may use. Vectors of a
# length that only the machine knows (SVE) are left out.
_ARM = (
    (("fp-armv8", 0), ("neon", 1), ("crc", 7), ("lse", 8), ("fullfp16", 10), ("rdm", 12), ("rcpc", 15),
     ("dotprod", 20), ("fp16fml", 23)),
    (("i8mm", 13), ("bf16", 14)),
)
ARM_FEATURES = frozenset(feature for word in _ARM for feature, _ in word)

_Registers = tuple[int, int, int, int]


def description() -> str:
    """Text that changes whenever the features of this processor do, as far as this process can use them."""
    asked = _cpuid()
    told = [*_kernel_words(), *_features()]
    return "\n".join((name(), *map(str, told))) if told or asked else platform.processor()


def name() -> str:
    """What the maker calls it, for people; the architecture's name where the processor does not tell."""
    ask = _cpuid()
    if ask is None or ask(0x80000000, 0)[0] < 0x80000004:
        return platform.processor() or platform.machine()
    words = [word for leaf in (0x80000002, 0x80000003, 0x80000004) for word in ask(leaf, 0)]
    text = b"".join(word.to_bytes(4, "little") for word in words).split(b"\0")[0].decode(errors="replace")
    return " ".join(text.split()) or platform.machine()


def caches() -> tuple[int, int, int]:
    """Bytes of the first level's data cache, the second and the third level; 0 where it is not told."""
    ask = _cpuid()
    return _caches_of_system() if ask is None else _caches_by_cpuid(ask)


def arm_features() -> frozenset[str]:
    """On aarch64: which of the features of `_ARM` this process may use, by LLVM's names. All of them have NEON."""
    found = {"fp-armv8", "neon"}
    for word, names in zip(_kernel_words(), _ARM, strict=False):
        found.update(feature for feature, bit in names if word >> bit & 1)
    return frozenset(found)


def _kernel_words() -> list[int]:
    if sys.platform != "linux":
        return []
    ask = ctypes.CDLL(None).getauxval
    ask.argtypes, ask.restype = [ctypes.c_ulong], ctypes.c_ulong
    return [ask(word) for word in _KERNEL_WORDS]


@functools.cache
def _code() -> int:
    """Where the two functions lie; 0 where there are none."""
    if platform.machine() not in ("x86_64", "AMD64") or os.name != "posix":
        return 0
    try:
        memory, base = map_pages(4096)
        memory[:len(_CPUID)] = _CPUID
        memory[64:64 + len(_XGETBV)] = _XGETBV
        make_executable(base, 4096)
    except OSError:
        return 0  # no kernel will run here either, but that is for others to say
    return base


def _cpuid() -> Callable[[int, int], _Registers] | None:
    """`ask(leaf, part)` gives eax, ebx, ecx and edx. None where the processor cannot be asked."""
    base = _code()
    if not base:
        return None
    out = (ctypes.c_uint32 * 4)()
    call = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_uint32, ctypes.c_uint32)(base)

    def ask(leaf: int, part: int) -> _Registers:
        call(ctypes.addressof(out), leaf, part)
        return out[0], out[1], out[2], out[3]
    return ask


def _features() -> list[int]:
    """What `cpuid` says, and which registers the system saves; empty where it cannot be asked."""
    ask = _cpuid()
    if ask is None:
        return []
    most = {0: ask(0, 0)[0], 0x80000000: ask(0x80000000, 0)[0]}  # of a higher leaf the answer is another one's
    found: list[int] = []
    for leaf, part, registers in _LEAVES:
        answer = ask(leaf, part) if leaf <= most[leaf & 0x80000000] else (0, 0, 0, 0)
        found += [answer[k] for k in registers]
    if found[1] & _SAVES_STATE:
        out = (ctypes.c_uint32 * 2)()
        ctypes.CFUNCTYPE(None, ctypes.c_void_p)(_code() + 64)(ctypes.addressof(out))
        found += out[:2]
    return found


def _caches_by_cpuid(ask: Callable[[int, int], _Registers]) -> tuple[int, int, int]:
    """By leaf 4, or where that is empty (AMD's processors) by its twin; both count lines, ways and sets less one."""
    extended = ask(0x80000000, 0)[0] >= 0x8000001D and ask(0x80000001, 0)[2] & _TOPOLOGY
    for leaf in (4 if ask(0, 0)[0] >= 4 else 0, 0x8000001D if extended else 0):
        sizes = [0, 0, 0]
        for part in range(8 if leaf else 0):
            eax, ebx, sets, _ = ask(leaf, part)
            kind, level = eax & 31, eax >> 5 & 7
            if kind == 0:
                break
            if kind in (_DATA, _UNIFIED) and 1 <= level <= 3:
                ways, lines, bytes_ = (ebx >> 22) + 1, (ebx >> 12 & 1023) + 1, (ebx & 4095) + 1
                sizes[level - 1] = ways * lines * bytes_ * (sets + 1)
        if any(sizes):
            return sizes[0], sizes[1], sizes[2]
    return 0, 0, 0


def _caches_of_system() -> tuple[int, int, int]:
    """As Linux tells them of the first core: other processors' instructions for it are the kernel's alone."""
    sizes, folder = [0, 0, 0], "/sys/devices/system/cpu/cpu0/cache"
    try:
        for entry in filter(lambda found: found.startswith("index"), os.listdir(folder)):
            told = []
            for item in ("level", "type", "size"):
                with open(os.path.join(folder, entry, item)) as file:
                    told.append(file.read().strip())
            if told[1] in ("Data", "Unified") and told[2].endswith("K") and told[0] in ("1", "2", "3"):
                sizes[int(told[0]) - 1] = int(told[2][:-1]) << 10
    except (OSError, ValueError):
        pass  # no such folder, or another system's
    return sizes[0], sizes[1], sizes[2]
