"""`torch.utils._python_dispatch`: what libraries touch of PyTorch's dispatcher.

Facula has no dispatcher below its operations. A `TorchDispatchMode` is told of each public call under the name that
`torch.ops.aten` has for it (`ops/aten_names.py`): forward, above the tape, so what it returns carries its history. What
a backward pass computes it is not told.

Example:
    >>> import facula
    >>> from facula.utils._python_dispatch import TorchDispatchMode
    >>> class Seen(TorchDispatchMode):
    ...     def __torch_dispatch__(self, func, types, args=(), kwargs=None):
    ...         print(func)
    ...         return func(*args, **(kwargs or {}))
    >>> with Seen():
    ...     y = facula.ones(2, 3) @ facula.ones(3, 1) + 1
    aten.ones.default
    aten.ones.default
    aten.mm.default
    aten.add.Tensor
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from facula import absent
from facula._tensor.handle import Tensor
from facula.library.operation import CustomOpDef
from facula.ops import listening
from facula.ops.aten_names import COMPOSED, overload_of
from facula.overrides import TorchFunctionMode, resolve_name

__all__ = ["BaseTorchDispatchMode", "TorchDispatchMode", "is_in_torch_dispatch_mode", "is_traceable_wrapper_subclass",
           "is_traceable_wrapper_subclass_type", "return_and_correct_aliasing", "transform_subclass"]


class _Overloads(TorchFunctionMode):
    """Hands calls on to a dispatch mode."""

    def __init__(self, mode: TorchDispatchMode) -> None:
        self.mode = mode

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        name = resolve_name(func) or ""
        if name.removeprefix("torch.") in COMPOSED:  # its parts are told
            with self:
                return listening.doors[id(func)].plain(*args, **kwargs)
        call = overload_of(name, args, kwargs)
        if call is None:
            return func(*args, **kwargs)
        overload, args, kwargs = call
        return self.mode.__torch_dispatch__(overload, types, args, kwargs)


class TorchDispatchMode:
    """What is asked for every operation called within `with mode:`.

    `__torch_dispatch__(self, func, types, args=(), kwargs=None)` gives the result, as a rule that of
    `func(*args, **(kwargs or {}))`. While it runs the mode itself is not asked.
    """

    def __init__(self, _dispatch_key: Any = None) -> None:
        pass

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        raise NotImplementedError

    def __enter__(self) -> Any:
        entered = self.__dict__.setdefault("_entered", [])
        entered.append(_Overloads(self))
        entered[-1].__enter__()
        return self

    def __exit__(self, *what: Any) -> None:
        self.__dict__["_entered"].pop().__exit__(*what)

    @classmethod
    def push(cls, *args: Any, **kwargs: Any) -> Any:
        """The old name of making one."""
        return cls(*args, **kwargs)


class BaseTorchDispatchMode(TorchDispatchMode):
    """A mode that changes nothing."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return func(*args, **(kwargs or {}))


def is_in_torch_dispatch_mode(include_infra_modes: bool = True) -> bool:
    """Is this thread within a dispatch mode?"""
    return any(isinstance(mode, _Overloads) for mode in listening.state.modes)


def is_traceable_wrapper_subclass(t: object) -> bool:
    """Is it a tensor of a class that is taken apart by `__tensor_flatten__` and put together by
    `__tensor_unflatten__`?"""
    return isinstance(t, Tensor) and is_traceable_wrapper_subclass_type(type(t))


def is_traceable_wrapper_subclass_type(t: type) -> bool:
    """`is_traceable_wrapper_subclass` of the class's tensors."""
    return issubclass(t, Tensor) and t is not Tensor and hasattr(t, "__tensor_flatten__") \
        and hasattr(t, "__tensor_unflatten__")


def transform_subclass(t: Any, callback: Callable[[str, Any], Any], outer_size: Any = None,
                       outer_stride: Any = None) -> Any:
    """A tensor of the same class, each of whose inner tensors is `callback(its name, it)`."""
    names, context = t.__tensor_flatten__()
    inner = {name: callback(name, getattr(t, name)) for name in names}
    return type(t).__tensor_unflatten__(inner, context, t.size() if outer_size is None else outer_size,
                                        t.stride() if outer_stride is None else outer_stride)


def return_and_correct_aliasing(func: Any, args: Any, kwargs: Any, out: Any) -> Any:
    """What `func` is to return: of an operation that writes in place its first argument, else `out`."""
    packet = getattr(func, "overloadpacket", func)
    name = "" if isinstance(func, CustomOpDef) else getattr(packet, "__name__", "")
    return args[0] if name.endswith("_") and not name.startswith("_") else out


def __getattr__(name: str) -> Any:
    raise absent.missing("utils._python_dispatch", name)
