"""The one way in: while somebody listens, every public call of an operation passes `Door.__call__`.

Subclasses with `__torch_function__`, modes (`TorchFunctionMode`), tracing, counting and the context of errors hang
here. While nobody listens there is nothing on the way: a form (function, method, operator, property) is its own code.
When the first listener comes, each form's *code* is exchanged for one that calls its door, and back when the last one
leaves. Not the names, for functions have been imported, stored in tables and bound to classes long before: whoever
holds one holds it still. A change of sides costs less than a millisecond; around a mode that is entered often,
`listening()` keeps the doors in place.
"""

from __future__ import annotations

import threading
import warnings
import weakref
from collections.abc import Callable
from contextlib import ContextDecorator
from types import CodeType, FunctionType
from typing import Any

from facula._tensor.handle import Tensor
from facula.engine.graph.node import elsewhere
from facula.engine.session import session
from facula.ops import op
from facula.undisturbed import reentrant_lock, undisturbed

# What is never a tensor, nor looks like one: not asked.
_PLAIN = frozenset((Tensor, int, float, bool, str, complex, type(None)))
# Of a tensor's attributes those that have no door: how tensors are made, also of another type, and what is asked by
# calling methods that have one.
_INTERNAL = frozenset((
    "__init__", "__new__", "__init_subclass__", "__hash__", "__iter__", "__reduce_ex__", "as_subclass", "_as_type",
    "_memory", "_from_memory", "_make_subclass", "_typed_storage", "__array_wrap__", "is_meta"))
# Operators that are reported as the method that they come to.
_SAME_AS = {**{f"__{r}{dunder}__": name for r in ("", "r") for dunder, name in (
    ("add", "add"), ("mul", "mul"), ("matmul", "matmul"))},
    **{f"__{dunder}__": name for dunder, name in (("sub", "sub"), ("truediv", "div"), ("lt", "lt"), ("gt", "gt"),
                                                  ("le", "le"), ("ge", "ge"), ("neg", "neg"), ("abs", "abs"))},
    **{f"__i{dunder}__": name + "_" for dunder, name in (("add", "add"), ("sub", "sub"), ("mul", "mul"),
                                                         ("truediv", "div"))}}


class _State(threading.local):
    """What of this thread listens."""

    def __init__(self) -> None:
        self.modes: list[Any] = []
        self.subclasses_off = 0
        self.all_off = 0
        self.outside: int | None = None  # `all_off` where the engine's doing that is under way was called
        self.cast: Any = None  # of autocast (autocasting.py), where it converts what operations are given
        self.cast_outside: Any = None  # the same where the engine's doing was called


state = _State()


def disabled(func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
    """The `__torch_function__` of a class that does not want to be asked: `func` is called as it is."""
    with quiet():
        return func(*args, **(kwargs or {}))


def is_asked(value: Any) -> bool:
    """Does the type of `value` have a `__torch_function__` that is to be asked?"""
    kind = type(value)
    if kind in _PLAIN:
        return False
    ask = getattr(kind, "__torch_function__", None)
    return ask is not None and ask is not disabled


def overloaded_among(values: Any) -> list[Any]:
    """The arguments to ask, in their order, but each type once and subclasses before their bases. Looks into lists."""
    found: list[Any] = []

    def look(value: Any) -> None:
        kind = type(value)
        if kind in _PLAIN:
            return
        if kind is list or kind is tuple:
            for part in value:
                look(part)
        elif is_asked(value) and all(type(other) is not kind for other in found):
            at = next((k for k, other in enumerate(found) if issubclass(kind, type(other))), len(found))
            found.insert(at, value)

    for value in values:
        look(value)
    return found


def dispatch(public: Callable[..., Any], name: str, overloaded: list[Any], args: Any, kwargs: Any) -> Any:
    """What the innermost mode says, else the first of the arguments that has an answer."""
    types = tuple([type(value) for value in overloaded])
    modes = state.modes
    if modes:
        try:  # another list, not pop() and append(): after a call an interrupt could come
            state.modes = modes[:-1]
            result = modes[-1].__torch_function__(public, types, args, kwargs)
        finally:
            state.modes = modes
        if result is not NotImplemented:
            return result
    for value in overloaded:
        result = value.__torch_function__(public, types, args, kwargs)
        if result is not NotImplemented:
            return result
    asked = "".join(f"\n  - {'tensor subclass' if issubclass(t, Tensor) else 'type'} {t}" for t in types)
    raise TypeError(f"Multiple dispatch failed for '{name}'; all __torch_function__ handlers returned NotImplemented:\n"
                    f"{asked}")


class Door:
    """Stands in a form's code while somebody listens. `plain`: the form without it; `public`: what listeners see."""

    __slots__ = ("form", "plain", "public", "name", "codes")

    def __init__(self, form: FunctionType, public: Callable[..., Any], name: str) -> None:
        self.form, self.public, self.name = form, public, name
        code = form.__code__
        self.plain = FunctionType(code, form.__globals__, form.__name__, form.__defaults__, form.__closure__)
        self.plain.__kwdefaults__ = form.__kwdefaults__
        self.plain.__annotations__ = form.__annotations__
        self.plain.__dict__.update(form.__dict__)
        self.codes = code, _code_of(self, code)

    def __call__(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        return placed.call(self, args, kwargs) if elsewhere else self.heard(args, kwargs)

    def heard(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """The call, or the answer of who listens."""
        if not (state.modes or kwargs):
            for value in args:
                if type(value) not in _PLAIN:
                    break
            else:  # nearly every call: of tensors and numbers
                return self.plain(*args) if state.cast is None else state.cast.call(self, args, kwargs)
        if not state.all_off:
            overloaded = [] if state.subclasses_off else overloaded_among((*args, *kwargs.values()))
            if overloaded or state.modes:
                return dispatch(self.public, self.name, overloaded, args, kwargs)
        return self.plain(*args, **kwargs) if state.cast is None else state.cast.call(self, args, kwargs)


class _QuietDoor(Door):
    """What is called in it is the engine's own doing: the walk of a backward pass."""

    __slots__ = ()

    def __call__(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        return placed.engine_call(self, args, kwargs) if elsewhere else self.heard(args, kwargs)

    def heard(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        off, outside, cast, cast_outside = state.all_off, state.outside, state.cast, state.cast_outside
        if off or not self.name or not (state.modes or not state.subclasses_off and overloaded_among(
                (*args, *kwargs.values()))):
            try:
                if outside is None:
                    state.cast_outside = cast
                state.cast = None  # gradients are computed in the dtypes of what they are gradients of
                state.outside, state.all_off = off if outside is None else outside, off + 1
                return self.plain(*args, **kwargs)
            finally:
                state.outside, state.all_off = outside, off
                state.cast, state.cast_outside = cast, cast_outside
        return Door.heard(self, args, kwargs)


def call_user(function: Callable[..., Any], *args: Any) -> Any:
    """A call of the program's own code (a hook, the `backward` of a Function) within the engine's own doing: what it
    calls is heard as if it were called outside."""
    outside = state.outside
    if outside is None:
        return function(*args)
    off, cast, cast_outside = state.all_off, state.cast, state.cast_outside
    try:
        state.outside, state.all_off = None, outside
        state.cast, state.cast_outside = cast_outside, None
        return function(*args)
    finally:
        state.outside, state.all_off = outside, off
        state.cast, state.cast_outside = cast, cast_outside


class _Elsewhere:
    """Calls while there are tensors on other devices than the cpu. ops/placement.py puts them here."""

    call: Callable[[Door, tuple[Any, ...], dict[str, Any]], Any]
    engine_call: Callable[[Door, tuple[Any, ...], dict[str, Any]], Any]


placed = _Elsewhere()


def _template(count: int) -> CodeType:
    """Code of a function with as many names of an enclosing one as `count`, that calls the constant "the door"."""
    names = [f"v{k}" for k in range(count)]
    text = ("def enclosing():\n" + "".join(f"    {name} = 0\n" for name in names)
            + "    def form(*args, **kwargs):\n        return 'the door'(args, kwargs)\n"
            + (f"        {', '.join(names)}\n" if names else "") + "    return form\n")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a string is called there
        space: dict[str, Any] = {}
        exec(compile(text, __file__, "exec"), space)
    code: CodeType = space["enclosing"]().__code__
    return code


_templates: dict[int, CodeType] = {}


def _code_of(door: Door, code: CodeType) -> CodeType:
    count = len(code.co_freevars)
    if count not in _templates:
        _templates[count] = _template(count)
    template = _templates[count]
    constants = tuple([door if c == "the door" else c for c in template.co_consts])
    return template.replace(co_consts=constants, co_name=code.co_name)


doors: dict[int, Door] = op.doors
_lock = reentrant_lock()


class _Ears:
    """How many listen: modes that are entered, in all threads, and classes with an answer of their own. Nothing comes
    in between where a line adds to it, neither another thread nor an interrupt: it calls nothing."""

    count = 0


ears = _Ears()
_open: bool | None = False  # None: some forms are
_stale = True  # are there forms that have no door yet?
_engine_calls: list[tuple[Any, str]] = []


def engine_call(name: str) -> Callable[[Any], Any]:
    """A function whose operations are the engine's own doing: listeners are told of it alone (without a name, not even
    of it)."""
    def decorate(form: Any) -> Any:
        _engine_calls.append((form, name))
        return form
    return decorate


def _put(form: Any, public: Any, name: str, kind: type[Door] = Door) -> None:
    if isinstance(form, FunctionType) and id(form) not in doors:
        doors[id(form)] = kind(form, public, name)


def _make_doors() -> None:
    """A door for every form of an operation, and for what else a tensor has: operators, properties."""
    for call, name in _engine_calls:
        _put(call, call, name, _QuietDoor)
    _put(Tensor.__dict__["backward"], Tensor.__dict__["backward"], "Tensor.backward", _QuietDoor)
    for name, value in list(vars(Tensor).items()):
        if name in _INTERNAL:
            continue
        if isinstance(value, property):
            if name != "is_meta":
                _put(value.fget, value.__get__, f"Tensor.{name}.__get__")
                _put(value.fset, value.__set__, f"Tensor.{name}.__set__")
        else:
            same = vars(Tensor).get(_SAME_AS.get(name, ""), value)
            _put(value, same, f"Tensor.{name}")
    internal = {id(vars(Tensor).get(name)) for name in _INTERNAL}
    for operation in op.operations():
        for spelling, form in operation.spellings.items():
            if id(form) not in internal:
                _put(form, form, spelling)


def _change_sides(opened: bool) -> None:
    global _open, _stale
    if opened and _stale:
        _make_doors()
        _stale = False
    _open = None
    for door in doors.values():
        door.form.__code__ = door.codes[opened]
    _open = opened


def _offered_late(form: Any) -> None:
    global _stale
    with _lock:
        _stale = True
        if _open and id(form) not in doors:
            operation = op.operation_of(form)
            _put(form, form, operation.name if operation else form.__name__)
            if id(form) in doors:
                form.__code__ = doors[id(form)].codes[True]


op.on_offer.append(_offered_late)


def begin() -> None:
    """Somebody listens from now on."""
    ears.count += 1
    try:
        look_again()
    except BaseException:
        ears.count -= 1
        raise


@undisturbed
def end() -> None:
    """One listener less."""
    ears.count -= 1
    look_again()  # whose interrupt leaves doors in place that nobody needs: who comes next looks again


def look_again() -> None:
    """Have the doors in place if somebody listens, or there are tensors on other devices. An interrupt may come when
    this has been done, and then it is said again. Under the lock, which this thread may hold already: Python's
    collector may let a class die that listened (`finalize` below) at any time, amid `_change_sides` too. Whoever comes
    last looks again."""
    with _lock:
        while _open is not (wanted := ears.count > 0 or session.devices):
            _change_sides(wanted)


def anybody() -> bool:
    """Has this thread entered a mode that is asked whatever the operands are?"""
    return bool(state.modes)


def noticed(values: Any) -> bool:
    """Is there a type with a `__torch_function__` among the arguments that an operation could not use, and nobody has
    listened so far? Then it does from now on. A type that is no tensor has no other way to say so."""
    asked = [] if _open else overloaded_among(values)
    for value in asked:
        begin()
        weakref.finalize(type(value), end)
    return bool(asked)


class listening(ContextDecorator):
    """Keep the doors in place: for modes that are entered and left again and again."""

    @undisturbed
    def __enter__(self) -> None:
        ears.count += 1
        try:
            look_again()
        except BaseException:
            ears.count -= 1
            raise

    @undisturbed
    def __exit__(self, *exc: object) -> None:
        ears.count -= 1
        look_again()


class quiet(ContextDecorator):
    """Nobody is told what this thread calls within."""

    @undisturbed
    def __enter__(self) -> None:
        state.all_off += 1

    @undisturbed
    def __exit__(self, *exc: object) -> None:
        state.all_off -= 1


class subclasses_quiet(ContextDecorator):
    """Subclasses are not asked within; modes are."""

    @undisturbed
    def __enter__(self) -> None:
        state.subclasses_off += 1

    @undisturbed
    def __exit__(self, *exc: object) -> None:
        state.subclasses_off -= 1


# ---- Tensor's own answer --------------------------------------------------------------------------------

def as_they_are() -> list[Any]:
    """Whose results stay what they are."""
    return [vars(Tensor)[name].__get__ for name in ("grad", "grad_fn", "device", "layout", "names")]


def converted(result: Any, cls: Any) -> Any:
    """The tensors in a result as `cls`."""
    if isinstance(result, Tensor):
        if isinstance(result, cls):
            return result
        given: Any = result
        leaf = given._rg and given._grad_fn is None  # somebody has it: its gradient arrives there
        return given.as_subclass(cls) if leaf else given._as_type(cls)
    if isinstance(result, (tuple, list)) and type(result).__name__ != "Size":
        parts = [converted(part, cls) for part in result]
        return type(result)(*parts) if hasattr(result, "_fields") else type(result)(parts)
    return result


def _answer(cls: Any, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
    """Call `func`, its results as `cls`. NotImplemented if an argument is of a type that is no base of `cls`."""
    if not all(issubclass(cls, kind) for kind in types):
        return NotImplemented
    with subclasses_quiet():
        result = func(*args, **(kwargs or {}))
    return result if func in as_they_are() else converted(result, cls)


def _subclassed(cls: Any, **options: Any) -> None:
    super(Tensor, cls).__init_subclass__(**options)
    if cls.__torch_function__ is not disabled:
        begin()
        weakref.finalize(cls, end)


Tensor.__torch_function__ = classmethod(_answer)  # type: ignore[attr-defined]
Tensor.__init_subclass__ = classmethod(_subclassed)  # type: ignore[assignment,arg-type]
