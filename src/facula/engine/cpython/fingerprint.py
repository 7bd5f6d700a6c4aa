"""Describing recorded work at machine speed.

Which plan runs is decided by comparing structures: the pending nodes, and the tape behind a loss. Both are walks over
Python objects that every step of a loop makes again; in Python they cost 0.5 and 1.3 us an object, through these two
builtins 0.05. trace/signature.py and autograd/survey.py have the same walks in plain Python, for where no builtin can
be made and for lists that are too long; the tests hold both against each other.
"""

from __future__ import annotations

import ctypes
import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from facula.engine.cpython import fingerprint_code, selftest
from facula.engine.cpython.builtin_code import SYMBOLS
from facula.engine.runtime.cpu import jit, launch

_MEMBER = 5 * ctypes.sizeof(ctypes.c_void_p)  # of a member descriptor: where its PyMemberDef is
_OFFSET = 2 * ctypes.sizeof(ctypes.c_void_p)  # of a PyMemberDef: the slot's offset in the object


def slot_offsets(cls: type, names: tuple[str, ...]) -> dict[str, int]:
    """Where the slots of `cls` lie in its instances, as CPython's own descriptors have it."""
    found = {}
    for name in names:
        member = ctypes.c_void_p.from_address(id(cls.__dict__[name]) + _MEMBER).value
        assert member is not None
        found[name] = ctypes.c_ssize_t.from_address(member + _OFFSET).value
    return found


Agrees = Callable[[Callable[..., Any]], bool]  # is the builtin that is given as its twin?


def describer(node: type, agrees: Agrees | None = None) -> Callable[..., Any] | None:
    """`describe(nodes, extras, leaves, attrs, numbers)`: bytes that say the structure of the Nodes in `nodes`, or None
    if they are too many. Fills the last three: nodes outside that are read, static attributes, run-time numbers.
    None if this Python takes no builtins, or if `agrees` does not hold."""
    if not launch.can_emit_builtin():
        return None
    offsets = slot_offsets(node, ("op", "dtype", "shape", "attrs", "inputs", "scalars"))
    return _made("describe", fingerprint_code.describe(offsets), (), agrees,
                 lambda: selftest.objects_are_as_known(node, offsets))


def surveyor(types: Mapping[str, type], agrees: Agrees | None = None) -> Callable[..., Any] | None:
    """`survey(tape, leaves, values, numbers, statics, released, functions)`: the same of the tape that starts with
    the GradNodes in `tape`, which is filled as well; None if a rule or a hook needs a walk. `types`: those of TYPES."""
    if not launch.can_emit_builtin():
        return None
    grad = slot_offsets(types["grad_node"],
                        ("rule", "edges", "_saved", "shapes", "dtypes", "_cold", "seq", "outputs"))
    saved = slot_offsets(types["saved"], ("node", "own", "order"))
    return _made("survey", fingerprint_code.survey(grad, saved), [types[name] for name in fingerprint_code.TYPES],
                 agrees, lambda: selftest.objects_are_as_known(types["grad_node"], grad)
                 and selftest.objects_are_as_known(types["saved"], saved))


def _made(name: str, text: str, types: Sequence[type], agrees: Agrees | None,
          as_known: Callable[[], bool]) -> Callable[..., Any] | None:
    code = jit.module(fingerprint_code.PRELUDE + text, [name], launch.python_symbols(SYMBOLS))
    memory = ctypes.create_string_buffer(fingerprint_code.STATE_BYTES)
    _kept.append(memory)
    state = ctypes.addressof(memory)
    for k, cls in enumerate(types):
        ctypes.c_int64.from_address(state + 8 * (1 + k)).value = id(cls)
    made = functools.partial(launch.builtin(name, code[name]), state)
    if agrees is None:
        return made
    return selftest.trusted(name, text, made, lambda: as_known() and agrees(made))


_kept: list[Any] = []  # memory that the machine code writes to
