"""Is a builtin of ours to be trusted on this Python? It reads objects where CPython has them today.

Before a builtin is used for the first time its offsets are looked at, and it is compared with its twin
in Python, on small graphs. That it agreed is remembered beside the kernels, under a name that has
the builtin's own text, the Python build, and the processor and llvmlite in it: it costs once. Where it
disagrees the twin runs, and a warning says so in each process.
"""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Callable
from typing import Any

from facula.engine.runtime.cpu import object_cache, target
from facula.errors import of_our_making, warn

_AGREES, _DIFFERS = b"agrees", b"differs"
_WORD = ctypes.sizeof(ctypes.c_void_p)


def trusted(name: str, text: str, made: Callable[..., Any],
            agrees: Callable[[], bool]) -> Callable[..., Any] | None:
    """`made`, the builtin `name` whose IR is `text`, or None if it is not as `agrees` wants it."""
    entry = object_cache.key("builtin", name, text, sys.version, target.host().fingerprint)
    known = object_cache.load(entry)
    if known not in (_AGREES, _DIFFERS):
        known = _AGREES if _holds(agrees) else _DIFFERS
        object_cache.store(entry, known)
    if known == _AGREES:
        return made
    warn(f"facula: the builtin function {name!r} disagrees with its twin in Python on {sys.version}; the "
         "twin runs, which is slower. Please report this.", RuntimeWarning)
    return None


def _holds(agrees: Callable[[], bool]) -> bool:
    try:
        return agrees()
    except Exception as error:  # whatever it is that a wrong offset leads to
        if not of_our_making(error):
            raise
        return False


def objects_are_as_known(cls: type, offsets: dict[str, int], thing: Any = None) -> bool:
    """Count and type at the start of an object, slots where `offsets` says, in
    `thing` (an empty instance unless given). Reads inside the object only."""
    thing = object.__new__(cls) if thing is None else thing
    before = ctypes.c_ssize_t.from_address(id(thing)).value
    other = thing
    after = ctypes.c_ssize_t.from_address(id(thing)).value
    del other
    if after != before + 1 or ctypes.c_void_p.from_address(id(thing) + _WORD).value != id(cls):
        return False
    for name, offset in offsets.items():
        if not 2 * _WORD <= offset <= cls.__basicsize__ - _WORD:
            return False
        value, missing = object(), object()
        old = getattr(thing, name, missing)
        setattr(thing, name, value)
        found = ctypes.c_void_p.from_address(id(thing) + offset).value
        if old is missing:
            delattr(thing, name)
        else:
            setattr(thing, name, old)
        if found != id(value):
            return False
    return True
