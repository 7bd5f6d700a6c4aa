"""`__torch_function__`: how a tensor's subclass, another type, or a mode answers in an operation's place.

See `ops/listening.py` for the way calls take.

Example:
    >>> import facula
    >>> class Counting(facula.overrides.TorchFunctionMode):
    ...     calls = 0
    ...     def __torch_function__(self, func, types, args=(), kwargs=None):
    ...         self.calls += 1
    ...         return func(*args, **(kwargs or {}))
    >>> with Counting() as counting:
    ...     y = facula.ones(2) + 1
    >>> counting.calls
    2
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterable
from functools import wraps
from types import TracebackType
from typing import Any

import facula
from facula._tensor.handle import Tensor
from facula.ops import listening, op
from facula.ops.listening import listening as keep_listening
from facula.ops.listening import quiet as DisableTorchFunction
from facula.ops.listening import subclasses_quiet as DisableTorchFunctionSubclass
from facula.undisturbed import undisturbed

__all__ = ["BaseTorchFunctionMode", "DisableTorchFunction", "DisableTorchFunctionSubclass", "OperationErrors",
           "TorchFunctionMode", "get_default_nowrap_functions", "get_overridable_functions", "handle_torch_function",
           "has_torch_function", "is_tensor_like", "is_tensor_method_or_property", "keep_listening", "resolve_name",
           "wrap_torch_function"]


class TorchFunctionMode:
    """What is asked for every operation called within `with mode:`; of several modes the one that was entered last.

    `__torch_function__(self, func, types, args=(), kwargs=None)` gives the result, as a rule that of
    `func(*args, **(kwargs or {}))`, or NotImplemented. While it runs the mode itself is not asked.
    """

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        raise NotImplementedError

    def __enter__(self) -> Any:
        listening.ears.count += 1
        try:
            listening.look_again()
        except BaseException:
            listening.ears.count -= 1
            raise
        modes = listening.state.modes
        modes += [self]  # not append(): after a call an exception could come
        return self

    @undisturbed
    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        modes = listening.state.modes
        del modes[-1:]
        listening.ears.count -= 1
        listening.look_again()

    @classmethod
    def push(cls, *args: Any, **kwargs: Any) -> Any:
        """The old name of making one."""
        return cls(*args, **kwargs)


class BaseTorchFunctionMode(TorchFunctionMode):
    """A mode that changes nothing."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return func(*args, **(kwargs or {}))


class OperationErrors(BaseTorchFunctionMode):
    """Within it an error says which operation raised it, and what that was given.

    Example:
        >>> import facula
        >>> try:
        ...     with facula.overrides.OperationErrors():
        ...         facula.ones(2, 3) @ facula.ones(2, 3)
        ... except RuntimeError as error:
        ...     print(error.__notes__[0])
        in torch.Tensor.matmul(Tensor[2, 3], Tensor[2, 3])
    """

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        try:
            return func(*args, **(kwargs or {}))
        except Exception as error:
            given = [*map(_shown, args), *(f"{name}={_shown(value)}" for name, value in (kwargs or {}).items())]
            notes = getattr(error, "__notes__", [])  # add_note came with Python 3.11
            error.__notes__ = [*notes, f"in {resolve_name(func)}({', '.join(given)})"]
            raise


def _shown(value: Any) -> str:
    if isinstance(value, Tensor):
        return f"Tensor{list(value.shape)}"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(map(_shown, value)) + "]"
    return repr(value)


def has_torch_function(relevant_args: Iterable[Any]) -> bool:
    """Is there somebody to ask about a call with these arguments: a mode, or the type of one of them?"""
    state = listening.state
    if state.all_off:
        return False
    return bool(state.modes) or not state.subclasses_off and any(map(listening.is_asked, relevant_args))


def has_torch_function_unary(input: Any) -> bool:
    """`has_torch_function` of one argument."""
    return has_torch_function((input,))


def has_torch_function_variadic(*args: Any) -> bool:
    """`has_torch_function` of several arguments."""
    return has_torch_function(args)


def handle_torch_function(public_api: Callable[..., Any], relevant_args: Iterable[Any], *args: Any,
                          **kwargs: Any) -> Any:
    """The answer for a function of one's own. TypeError if nobody has one."""
    overloaded = [] if listening.state.subclasses_off else listening.overloaded_among(relevant_args)
    module = getattr(public_api, "__module__", "")
    return listening.dispatch(public_api, f"{module}.{public_api.__name__}", overloaded, args, kwargs)


def wrap_torch_function(dispatcher: Callable[..., Any]) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """A decorator for functions of one's own: `dispatcher(*args, **kwargs)` says which arguments are to be asked."""
    def decorate(func: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(func)
        def wrapped(*args: Any, **kwargs: Any) -> Any:
            relevant = dispatcher(*args, **kwargs)
            if has_torch_function(relevant):
                return handle_torch_function(wrapped, relevant, *args, **kwargs)
            return func(*args, **kwargs)
        return wrapped
    return decorate


def is_tensor_like(inp: Any) -> bool:
    """Is it a tensor, or does its type have a `__torch_function__`?"""
    return isinstance(inp, Tensor) or hasattr(inp, "__torch_function__")


def get_overridable_functions() -> dict[Any, list[Callable[..., Any]]]:
    """The functions that ask, by where they are found: the modules and Tensor."""
    found: dict[Any, list[Callable[..., Any]]] = {Tensor: list(op.METHODS.values()),
                                                  facula: list(op.FUNCTIONS.values())}
    for space, forms in op.NAMESPACES.items():
        where: Any = facula
        for part in space.split("."):
            where = getattr(where, part)
        found[where] = list(forms.values())
    return found


def get_default_nowrap_functions() -> set[Any]:
    """Whose results Tensor's own `__torch_function__` leaves as they are."""
    return set(listening.as_they_are())


def resolve_name(f: Any) -> str | None:
    """Where a function that modes are told of is found: `torch.add`, `torch.Tensor.T.__get__`."""
    operation = op.operation_of(f)
    if operation is not None:
        spellings = [name for name, form in operation.spellings.items() if form is f]
        return f"torch.{spellings[0] if spellings else operation.name}"
    for door in listening.doors.values():
        if door.public == f:
            return f"torch.{door.name}"
    return None


def is_tensor_method_or_property(func: Any) -> bool:
    """Is it a method of Tensor, or the getter of one of its properties?"""
    return (resolve_name(func) or "").startswith("torch.Tensor.") or getattr(func, "__name__", "") in (
        "__get__", "__set__", "__delete__")


def __getattr__(name: str) -> Any:
    """The tables that libraries walk through: made when they are asked for."""
    if name == "redispatch_function":
        return importlib.import_module("facula.absent").function("torch.overrides.redispatch_function")
    if name in ("get_testing_overrides", "get_ignored_functions", "enable_reentrant_dispatch"):
        return getattr(importlib.import_module("facula.override_tables"), name)
    raise AttributeError(f"module 'facula.overrides' has no attribute {name!r}")
