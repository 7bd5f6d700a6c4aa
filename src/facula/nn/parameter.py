"""Tensors that a `Module` counts as its own: parameters (trained) and buffers (carried along)."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

import facula
from facula._tensor.handle import Tensor
from facula.autograd.graph import mode
from facula.ops.listening import disabled


class _ParameterMeta(type(Tensor)):  # type: ignore[misc]
    """Makes `isinstance(x, Parameter)` true for tensor subclasses that were wrapped as parameters."""

    def __instancecheck__(cls, instance: object) -> bool:
        if type.__instancecheck__(cls, instance):
            return True
        return cls is Parameter and isinstance(instance, Tensor) and getattr(instance, "_is_param", False)


class Parameter(Tensor, metaclass=_ParameterMeta):
    """A tensor that registers itself as a parameter when it is assigned to a module's attribute.

    Args:
        data: the values; the parameter shares their memory. An empty tensor if left out.
        requires_grad: whether gradients are collected for it, also when made under `no_grad`.

    Raises:
        RuntimeError: `requires_grad=True` for a type that is neither floating point nor complex.

    Example:
        >>> import facula
        >>> w = facula.nn.Parameter(facula.zeros(2))
        >>> w.requires_grad, w.is_leaf
        (True, True)
    """

    __torch_function__ = staticmethod(disabled)  # results are plain tensors

    def __new__(cls, data: Any = None, requires_grad: bool = True) -> Any:
        if data is None:
            data = facula.empty(0)
        kind = type(data)
        if kind is Tensor or kind is Parameter:
            if requires_grad and not (data.is_floating_point() or data.is_complex()):
                raise RuntimeError("Only Tensors of floating point and complex dtype can require gradients")
            if requires_grad and data._inference and not mode.inference:
                raise RuntimeError("Setting requires_grad=True on inference tensor outside InferenceMode is not "
                                   "allowed.")
            return Tensor._make_subclass(cls, data, requires_grad)
        # A subclass of Tensor keeps its own type and carries a mark instead.
        wrapped = data.detach().requires_grad_(requires_grad)
        if type(wrapped) is not kind:
            raise RuntimeError(
                f"Creating a Parameter from an instance of type {kind.__name__} requires that detach() "
                f"returns an instance of the same type, but return type {type(wrapped).__name__} was found "
                "instead. To use the type as a Parameter, please correct the detach() semantics defined by "
                "its __torch_dispatch__() implementation.")
        wrapped._is_param = True
        return wrapped

    def __init__(self, data: Any = None, requires_grad: bool = True) -> None:
        pass  # all is done in __new__; Tensor's own constructor must not run

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        if id(self) in memo:
            return memo[id(self)]
        copied = type(self)(self.data.clone(memory_format=facula.preserve_format), self.requires_grad)
        memo[id(self)] = copied
        return copied

    def __repr__(self) -> str:
        return "Parameter containing:\n" + super().__repr__()

    def __reduce_ex__(self, protocol: Any) -> Any:
        extra = {key: value for key, value in getattr(self, "__dict__", {}).items() if key[:1] != "_"}
        if extra:
            return _rebuild_parameter_with_state, (self.data, self.requires_grad, OrderedDict(), extra)
        return _rebuild_parameter, (self.data, self.requires_grad, OrderedDict())


def _rebuild_parameter(data: Tensor, requires_grad: bool, backward_hooks: Any) -> Any:
    """What a pickled parameter calls. `backward_hooks` is always empty: hooks are not pickled."""
    return Parameter(data, requires_grad)


def _rebuild_parameter_with_state(data: Tensor, requires_grad: bool, hooks: Any, state: Any) -> Any:
    parameter = Parameter(data, requires_grad)
    for key, value in state.items():
        setattr(parameter, key, value)
    return parameter


class _BufferMeta(type(Tensor)):  # type: ignore[misc]
    def __instancecheck__(cls, instance: object) -> bool:
        if type.__instancecheck__(cls, instance):
            return True
        return cls is Buffer and isinstance(instance, Tensor) and getattr(instance, "_is_buffer", False)


class Buffer(Tensor, metaclass=_BufferMeta):
    """A tensor that registers itself as a buffer when it is assigned to a module's attribute.

    The result is an ordinary `Tensor` with a mark; `persistent=False` keeps it out of `state_dict`.

    Example:
        >>> import facula
        >>> m = facula.nn.Module()
        >>> m.steps = facula.nn.Buffer(facula.zeros(1))
        >>> list(m.state_dict())
        ['steps']
    """

    __torch_function__ = staticmethod(disabled)

    def __new__(cls, data: Any = None, *, persistent: bool = True) -> Any:
        if data is None:
            data = facula.empty(0)
        buffer = data.detach().requires_grad_(data.requires_grad)
        buffer.persistent = persistent
        buffer._is_buffer = True
        return buffer


class UninitializedTensorMixin:
    """What parameters and buffers of still unknown shape share; see the lazy modules."""

    cls_to_become: Any = Tensor
    data: Tensor

    def materialize(self, shape: Any, device: Any = None, dtype: Any = None) -> None:
        """Give the tensor its shape; from here on it is an ordinary parameter or buffer."""
        old = self.data
        device = old.device if device is None else device
        dtype = old.dtype if dtype is None else dtype
        self.data = facula.empty(shape, device=device, dtype=dtype)
        self.__class__ = self.cls_to_become

    @property
    def shape(self) -> Any:
        raise RuntimeError(
            "Can't access the shape of an uninitialized parameter or buffer. This error usually happens in "
            "`load_state_dict` when trying to load an uninitialized parameter into an initialized one. Call "
            "`forward` to initialize the parameters before accessing their attributes.")

    def share_memory_(self) -> Any:
        raise RuntimeError(
            "Can't share memory on an uninitialized parameter or buffer. Call `forward` to initialize the "
            "parameters before calling `module.share_memory()`.")

    def __repr__(self) -> str:
        return f"<{type(self).__name__}>"


def is_lazy(tensor: object) -> bool:
    """Is this a parameter or buffer that still waits for its shape?"""
    return isinstance(tensor, UninitializedTensorMixin)


class UninitializedParameter(UninitializedTensorMixin, Parameter):  # type: ignore[override]
    """A parameter whose shape is learned from the first input (see `LazyModuleMixin`).

    Example:
        >>> import facula
        >>> p = facula.nn.UninitializedParameter()
        >>> p.materialize((2, 3))
        >>> tuple(p.shape), type(p).__name__
        ((2, 3), 'Parameter')
    """

    cls_to_become = Parameter

    def __new__(cls, requires_grad: bool = True, device: Any = None, dtype: Any = None) -> Any:
        return Tensor._make_subclass(cls, facula.empty(0, device=device, dtype=dtype), requires_grad)

    def __init__(self, requires_grad: bool = True, device: Any = None, dtype: Any = None) -> None:
        pass

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        if id(self) not in memo:
            memo[id(self)] = type(self)(self.requires_grad, self.data.device, self.data.dtype)
        return memo[id(self)]

    def __reduce_ex__(self, protocol: Any) -> Any:
        return UninitializedParameter, (self.requires_grad, self.data.device, self.data.dtype)


class UninitializedBuffer(UninitializedTensorMixin, Tensor):  # type: ignore[override]
    """A buffer whose shape is learned from the first input."""

    cls_to_become = Tensor
    __torch_function__ = staticmethod(disabled)

    def __new__(cls, requires_grad: bool = False, device: Any = None, dtype: Any = None,
                persistent: bool = True) -> Any:
        made = Tensor._make_subclass(cls, facula.empty(0, device=device, dtype=dtype), requires_grad)
        made.persistent = persistent
        made._is_buffer = True
        return made

    def __init__(self, requires_grad: bool = False, device: Any = None, dtype: Any = None,
                 persistent: bool = True) -> None:
        pass

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        if id(self) not in memo:
            memo[id(self)] = self.__reduce_ex__(2)[0](*self.__reduce_ex__(2)[1])
        return memo[id(self)]

    def __reduce_ex__(self, protocol: Any) -> Any:
        return UninitializedBuffer, (self.requires_grad, self.data.device, self.data.dtype)
