"""Reading pickles without running anything that they say.

A pickle is a program for a stack machine that can import any name and call it. This machine has the
instructions that build containers and numbers; names come from a caller's closed list, only listed callables
are called, and only listed kinds of object have their state set.
"""

from __future__ import annotations

import struct
from collections import Counter, OrderedDict
from collections.abc import Callable
from pickle import UnpicklingError, decode_long
from typing import IO, Any

from facula.serialization.limits import Limits, shown
from facula.size import Size

_MARK = object()
_BLOCK = 1 << 24  # bytes


class RestrictedUnpickler:
    """Reads one pickle, of protocol 2 to 5, from `file`.

    Args:
        file: where to read; it is left behind the pickle's end.
        find_global: (module, name) -> object; raises UnpicklingError for what is refused.
        may_call: whether an object that `find_global` gave may be called.
        set_state: called with (object, state) to set the state of an object that is not an OrderedDict;
            raises UnpicklingError for what is refused.
        persistent_load: gives the object for a persistent id.
        limits: what the objects may cost.
        encoding: of strings that Python 2 wrote; `bytes` leaves them as bytes.
    """

    def __init__(self, file: IO[bytes], find_global: Callable[[str, str], Any],
                 may_call: Callable[[Any], bool], set_state: Callable[[Any, Any], None],
                 persistent_load: Callable[[Any], Any], limits: Limits, encoding: str = "utf-8") -> None:
        self.file = file
        self.find_global, self.may_call = find_global, may_call
        self.set_state, self.persistent_load = set_state, persistent_load
        self.encoding = encoding
        self.limits = limits
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}

    def load(self) -> Any:
        """The object that the pickle builds. UnpicklingError if it is damaged or asks for what is refused."""
        while True:
            code = self.file.read(1)
            if code == b".":
                return self._pop()
            step = _STEPS.get(code)
            if step is None:
                what = f"Unsupported operand {code[0]}" if code else "the pickle ends too early"
                raise UnpicklingError(what)
            step(self)

    def _read(self, count: int) -> bytes:
        data = self.file.read(min(count, _BLOCK))
        while len(data) < count:  # block by block: a damaged length asks for memory that no file can fill
            block = self.file.read(min(count - len(data), _BLOCK))
            if not block:
                raise UnpicklingError("the pickle ends too early")
            data += block
        return data

    def _unpack(self, form: str) -> Any:
        return struct.unpack(form, self._read(struct.calcsize(form)))[0]

    def _line(self) -> str:
        return self.file.readline().rstrip(b"\n").decode("utf-8")

    def _pop(self) -> Any:
        if not self.stack or self.stack[-1] is _MARK:
            raise UnpicklingError("the pickle takes more from its stack than it put there")
        return self.stack.pop()

    def _top(self) -> Any:
        value = self._pop()
        self.stack.append(value)
        return value

    def _pop_mark(self) -> list[Any]:
        for at in range(len(self.stack) - 1, -1, -1):
            if self.stack[at] is _MARK:
                items = self.stack[at + 1:]
                del self.stack[at:]
                return items
        raise UnpicklingError("the pickle takes more from its stack than it put there")

    def _push_global(self, module: str, name: str) -> None:
        self.stack.append(self.find_global(module, name))

    def _push_memo(self, at: int) -> None:
        try:
            self.stack.append(self.memo[at])
        except KeyError:
            raise UnpicklingError(f"Memo value not found at index {at}") from None

    def _push_tuple(self, count: int) -> None:
        items = [self._pop() for _ in range(count)]
        self.stack.append(self.limits.nested(tuple(reversed(items))))

    def _call(self) -> None:
        arguments, function = self._pop(), self._pop()
        if type(arguments) is not tuple or not self.may_call(function):
            raise UnpicklingError(f"Trying to call reduce for unrecognized function {shown(function)}")
        self.limits.call(arguments)
        if function in _HASHING:
            self._check_elements(function, arguments)
        elif function is Size and not (len(arguments) == 1 and type(arguments[0]) in (tuple, list)):
            raise UnpicklingError(f"Size is allowed of one tuple, but got {shown(arguments)}")
        self.stack.append(function(*arguments))

    def _check_elements(self, function: Any, arguments: tuple[Any, ...]) -> None:
        """Of `set(...)` and the like: of a container that was read, nothing that counts up its elements itself."""
        items = arguments[0] if len(arguments) == 1 else ()
        if len(arguments) > 1 or type(items) not in (tuple, list, set, dict, OrderedDict):
            raise UnpicklingError(f"{function.__name__} is allowed of one container, but got {shown(arguments)}")
        if function is OrderedDict and type(items) in (tuple, list):
            if not all(type(pair) in (tuple, list) and len(pair) == 2 for pair in items):
                raise UnpicklingError("OrderedDict is allowed of pairs only")
            items = [pair[0] for pair in items]
        self.limits.object(100 * len(items))
        self.limits.keys(items, arguments)

    def _new_object(self) -> None:
        arguments, cls = self._pop(), self._pop()
        if not isinstance(cls, type) or type(arguments) is not tuple or not self.may_call(cls):
            raise UnpicklingError("Can only create new object for nn.Parameter or classes allowlisted "
                                  f"via `add_safe_globals` but got {shown(cls)}")
        self.limits.call(arguments)
        self.stack.append(cls.__new__(cls, *arguments))

    def _build(self) -> None:
        state, target = self._pop(), self._top()
        if type(target) is OrderedDict:
            if type(state) is not dict or not all(type(name) is str for name in state):
                raise UnpicklingError(f"the state of an OrderedDict must be a dict of names, but got {shown(state)}")
            self.limits.call((state,))
            target.__dict__.update(state)
        else:
            self.limits.call((state, state) if type(state) is tuple else (state,))
            self.set_state(target, state)

    def _append(self, items: list[Any]) -> None:
        target = self._top()
        if type(target) is not list:
            raise UnpicklingError(f"Can only append to lists, but got {type(target).__name__}")
        target.extend(items)

    def _add(self, items: list[Any]) -> None:
        target = self._top()
        if type(target) is not set:
            raise UnpicklingError(f"Can only add to sets, but got {type(target).__name__}")
        target.update(self.limits.keys(items, target))

    def _set_items(self, items: list[Any]) -> None:
        target = self._top()
        if type(target) is not dict and not (isinstance(target, dict) and self.may_call(type(target))):
            raise UnpicklingError(f"Can only set items of dicts, but got {type(target).__name__}")
        for at in range(0, len(items) - 1, 2):
            target[self.limits.key(items[at], target)] = items[at + 1]

    def _new_dict(self, items: list[Any]) -> None:
        self.limits.keys(items[::2], items)
        self.stack.append(dict(zip(items[::2], items[1::2], strict=True)))

    def _new_frozenset(self, items: list[Any]) -> None:
        self.stack.append(self.limits.nested(frozenset(self.limits.keys(items, items))))

    def _text(self, length: int) -> None:
        self.stack.append(self._read(length).decode("utf-8", "surrogatepass"))

    def _old_text(self, length: int) -> None:
        data = self._read(length)
        self.stack.append(data if self.encoding == "bytes" else data.decode(self.encoding))

    def _append_one(self) -> None:
        self._append([self._pop()])

    def _set_one(self) -> None:
        value, key = self._pop(), self._pop()
        self._set_items([key, value])

    def _stack_global(self) -> None:
        name, module = self._pop(), self._pop()
        if type(name) is not str or type(module) is not str:
            raise UnpicklingError("the pickle names a global by something that is no string")
        self._push_global(module, name)


# Containers that hash what they are made of.
_HASHING = (set, Counter, OrderedDict)


def _empty(make: Callable[[], Any], size: int) -> Callable[[RestrictedUnpickler], None]:
    """An empty container, which takes `size` bytes with its place in another one, and one byte in the file."""
    def step(machine: RestrictedUnpickler) -> None:
        machine.limits.object(size)
        machine.stack.append(make())
    return step


def _constant(make: Callable[[], Any]) -> Callable[[RestrictedUnpickler], None]:
    return lambda machine: machine.stack.append(make())


def _number(form: str) -> Callable[[RestrictedUnpickler], None]:
    return lambda machine: machine.stack.append(machine._unpack(form))


def _remember(form: str) -> Callable[[RestrictedUnpickler], None]:
    return lambda machine: machine.memo.__setitem__(machine._unpack(form), machine._top())


_STEPS: dict[bytes, Callable[[RestrictedUnpickler], Any]] = {
    b"\x80": lambda m: m._read(1),  # PROTO
    b"\x95": lambda m: m._read(8),  # FRAME
    b"(": _constant(lambda: _MARK), b"0": lambda m: m._pop(), b"1": lambda m: m._pop_mark(),
    b"2": lambda m: m.stack.append(m._top()),
    b"N": _constant(lambda: None), b"\x88": _constant(lambda: True), b"\x89": _constant(lambda: False),
    b")": _constant(tuple), b"]": _empty(list, 64), b"}": _empty(dict, 72), b"\x8f": _empty(set, 224),
    b"J": _number("<i"), b"K": _number("<B"), b"M": _number("<H"), b"G": _number(">d"),
    b"\x8a": lambda m: m.stack.append(decode_long(m._read(m._unpack("<B")))),
    b"\x8b": lambda m: m.stack.append(decode_long(m._read(m._unpack("<I")))),
    b"X": lambda m: m._text(m._unpack("<I")), b"\x8c": lambda m: m._text(m._unpack("<B")),
    b"\x8d": lambda m: m._text(m._unpack("<Q")),
    b"U": lambda m: m._old_text(m._unpack("<B")), b"T": lambda m: m._old_text(m._unpack("<I")),
    b"B": lambda m: m.stack.append(m._read(m._unpack("<I"))),
    b"C": lambda m: m.stack.append(m._read(m._unpack("<B"))),
    b"\x8e": lambda m: m.stack.append(m._read(m._unpack("<Q"))),
    b"\x96": lambda m: m.stack.append(bytearray(m._read(m._unpack("<Q")))),
    b"t": lambda m: m.stack.append(m.limits.nested(tuple(m._pop_mark()))),
    b"\x85": lambda m: m._push_tuple(1), b"\x86": lambda m: m._push_tuple(2),
    b"\x87": lambda m: m._push_tuple(3),
    b"l": lambda m: m.stack.append(m._pop_mark()),
    b"d": lambda m: m._new_dict(m._pop_mark()),
    b"\x91": lambda m: m._new_frozenset(m._pop_mark()),
    b"a": lambda m: m._append_one(), b"e": lambda m: m._append(m._pop_mark()),
    b"s": lambda m: m._set_one(), b"u": lambda m: m._set_items(m._pop_mark()),
    b"\x90": lambda m: m._add(m._pop_mark()),
    b"h": lambda m: m._push_memo(m._unpack("<B")), b"j": lambda m: m._push_memo(m._unpack("<I")),
    b"q": _remember("<B"), b"r": _remember("<I"),
    b"\x94": lambda m: m.memo.__setitem__(len(m.memo), m._top()),
    b"c": lambda m: m._push_global(m._line(), m._line()), b"\x93": lambda m: m._stack_global(),
    b"R": lambda m: m._call(), b"\x81": lambda m: m._new_object(), b"b": lambda m: m._build(),
    b"Q": lambda m: m.stack.append(m.persistent_load(m._pop())),
}
