"""A loader for the object files LLVM emits for our kernels (ELF, x86-64).

LLVM's own linker would do (jit.py falls back on it), but a process that finds all its kernels on disk
then never imports llvmlite: that saves 60 to 110 ms and 46 MB at every start, and a load takes 0.1 ms
instead of 0.2 to 2.

    +-- read and execute -------------------------------+-- read and write --+
    | .text, .rodata ... | stubs (jmp *slot) | slots     | .data, .bss         |
    +---------------------------------------------------+--------------------+

Calls to functions of the process go through a stub, because they may be further away than the 2 GB that a
call can bridge; a slot holds the 64-bit address. What is not understood here raises `Unsupported`.
"""

from __future__ import annotations

import ctypes
import mmap
import platform
import struct
import sys
from collections.abc import Mapping, Sequence

from facula.engine.runtime.cpu.pages import make_executable, map_pages

# Of LLVM's own linkers, where this one cannot: the older gives up on aarch64, with the whole process, where code and
# what it calls are far apart. Windows' objects are known to that one only.
USES_JIT_LINK = sys.platform != "win32"
CAN_LOAD = sys.platform == "linux" and platform.machine() == "x86_64"

_ALLOCATED, _WRITABLE = 2, 1  # section flags
_SYMBOLS, _RELOCATIONS, _NO_BITS = 2, 4, 8  # section types
_ABSOLUTE, _RESERVED = 0xFFF1, 0xFF00
_R64, _PC32, _PLT32, _GOT, _PC64, _GOTX, _REX_GOTX = 1, 2, 4, 9, 24, 41, 42
_STUB = 8  # bytes: ff 25 and a 32-bit distance, padded


class Unsupported(Exception):
    """The object holds something this loader does not know."""


class _Object:
    """Sections, symbols and relocations of one object file, for any processor with 64 bits."""

    def __init__(self, image: bytes) -> None:
        if image[:6] != b"\x7fELF\x02\x01" or image[16:18] != b"\x01\0":
            raise Unsupported("not a relocatable object of 64 bits")
        self.image = image
        start = struct.unpack_from("<Q", image, 40)[0]
        size, count, names_at = struct.unpack_from("<3H", image, 58)
        # name, type, flags, address, offset, size, link, info, alignment, entry size
        self.sections = [struct.unpack_from("<IIQQQQIIQQ", image, start + size * k) for k in range(count)]
        names = self.sections[names_at][4]
        # Unwinding tables serve exceptions and debuggers; our code raises none.
        self.skipped = {k for k, s in enumerate(self.sections) if self.text(names + s[0]) == ".eh_frame"}
        self.symbols: list[tuple[str, int, int]] = []  # name, section, value
        for s in self.sections:
            if s[1] == _SYMBOLS:
                strings = self.sections[s[6]][4]
                for at in range(s[4], s[4] + s[5], 24):
                    name, _, _, section, value, _ = struct.unpack_from("<IBBHQQ", image, at)
                    self.symbols.append((self.text(strings + name), section, value))

    def text(self, at: int) -> str:
        return self.image[at:self.image.index(b"\0", at)].decode()

    def allocated(self, writable: bool) -> list[int]:
        return [k for k, s in enumerate(self.sections)
                if s[2] & _ALLOCATED and bool(s[2] & _WRITABLE) == writable and k not in self.skipped]

    def relocations(self) -> list[tuple[int, int, int, int, int]]:
        """(section, offset, type, symbol, addend) of everything that is loaded."""
        found = []
        for s in self.sections:
            if s[1] == _RELOCATIONS and self.sections[s[7]][2] & _ALLOCATED and s[7] not in self.skipped:
                for at in range(s[4], s[4] + s[5], 24):
                    offset, info, addend = struct.unpack_from("<QQq", self.image, at)
                    found.append((s[7], offset, info & 0xFFFFFFFF, info >> 32, addend))
        return found


def missing(image: bytes, imports: Mapping[str, int]) -> list[str]:
    """What the object calls that is neither in `imports` nor in this process; nothing if it cannot be read."""
    found = []
    try:
        for name in (name for name, section, _ in _Object(image).symbols if section == 0 and name):
            try:
                imports[name] if name in imports else _in_process(name)
            except Unsupported:
                found.append(name)
    except (Unsupported, struct.error, IndexError, OverflowError, UnicodeDecodeError, ValueError):
        pass  # damaged, or another system's format
    return found


def load(image: bytes, names: Sequence[str], imports: Mapping[str, int]) -> dict[str, int]:
    """Addresses of `names` after putting `image` into memory, for good. Unsupported if it cannot be."""
    try:
        if image[18:20] != b"\x3e\0":
            raise Unsupported("not an x86-64 object")
        return _load(_Object(image), names, imports)
    except (struct.error, IndexError, OverflowError, OSError, UnicodeDecodeError) as error:
        raise Unsupported(str(error)) from None


def _load(source: _Object, names: Sequence[str], imports: Mapping[str, int]) -> dict[str, int]:
    relocations = source.relocations()
    external = {r[3] for r in relocations if source.symbols[r[3]][1] == 0}
    slotted = sorted(external | {r[3] for r in relocations if r[2] in (_GOT, _GOTX, _REX_GOTX)})
    places, stubs, slots, data_at, total = _layout(source, len(slotted))
    stub_of = {symbol: stubs + _STUB * k for k, symbol in enumerate(slotted)}
    slot_of = {symbol: slots + 8 * k for k, symbol in enumerate(slotted)}

    memory, base = map_pages(total)
    for k, at in places.items():
        _, kind, _, _, offset, size, *_ = source.sections[k]
        if kind != _NO_BITS:
            memory[at:at + size] = source.image[offset:offset + size]

    def address_of(symbol: int) -> int:
        name, section, value = source.symbols[symbol]
        if section == 0:
            return imports[name] if name in imports else _in_process(name)
        if section == _ABSOLUTE:
            return value
        if section >= _RESERVED or section not in places:
            raise Unsupported(f"symbol {name} in section {section:#x}")
        return base + places[section] + value

    for symbol in slotted:
        struct.pack_into("<Q", memory, slot_of[symbol], address_of(symbol))
        at = stub_of[symbol]
        struct.pack_into("<BBi", memory, at, 0xFF, 0x25, slot_of[symbol] - (at + 6))
    for section, offset, kind, symbol, addend in relocations:
        at = places[section] + offset
        here = base + at
        if kind == _R64:
            struct.pack_into("<Q", memory, at, (address_of(symbol) + addend) & (2**64 - 1))
        elif kind == _PC64:
            struct.pack_into("<q", memory, at, address_of(symbol) + addend - here)
        elif kind in (_PC32, _PLT32):
            if symbol in external and kind == _PC32:
                raise Unsupported(f"direct access to {source.symbols[symbol][0]}")
            where = base + stub_of[symbol] if symbol in external else address_of(symbol)
            struct.pack_into("<i", memory, at, where + addend - here)
        elif kind in (_GOT, _GOTX, _REX_GOTX):
            struct.pack_into("<i", memory, at, slot_of[symbol] + addend - at)
        else:
            raise Unsupported(f"relocation type {kind}")
    make_executable(base, data_at)
    defined = {name: k for k, (name, section, _) in enumerate(source.symbols) if section and name}
    missing = [name for name in names if name not in defined]
    if missing:
        raise Unsupported(f"no symbol {', '.join(missing)}")
    return {name: address_of(defined[name]) for name in names}


def _layout(source: _Object, slotted: int) -> tuple[dict[int, int], int, int, int, int]:
    """Offset of each section, of the stubs, of the slots, of the writable part, and the size of all."""
    places: dict[int, int] = {}
    at = 0

    def put(writable: bool) -> None:
        nonlocal at
        for k in source.allocated(writable):
            alignment = max(source.sections[k][8], 1)
            if alignment > mmap.PAGESIZE:
                raise Unsupported(f"alignment {alignment}")
            at = -(-at // alignment) * alignment
            places[k] = at
            at += source.sections[k][5]

    put(writable=False)
    stubs = -(-at // 16) * 16
    slots = stubs + _STUB * slotted
    at = data_at = -(-max(slots + 8 * slotted, 1) // mmap.PAGESIZE) * mmap.PAGESIZE
    put(writable=True)
    return places, stubs, slots, data_at, at


def _in_process(name: str) -> int:
    """The address of a function of the C library, or of anything else loaded into this process."""
    for library in (None, "libm.so.6", "libgcc_s.so.1"):
        try:
            found = ctypes.cast(getattr(ctypes.CDLL(library), name), ctypes.c_void_p).value
        except (OSError, AttributeError):
            continue
        if found:
            return found
    raise Unsupported(f"nothing in this process is called {name}")
