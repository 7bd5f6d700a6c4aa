"""Methods of Tensor that are no operations: what it is, where it lies, how it becomes something else."""

from __future__ import annotations

from ctypes import c_float
from typing import Any

import numpy as np

from facula import defaults, devices, dtypes, layouts
from facula._tensor import former_methods as _former_methods  # noqa: F401
from facula._tensor import sparse_methods as _sparse_methods  # noqa: F401
from facula._tensor import state as _tensor_state  # noqa: F401
from facula._tensor import storages as _storage  # noqa: F401
from facula._tensor import tape_methods as _tensor_autograd  # noqa: F401
from facula._tensor import writing as _tensor_writing  # noqa: F401
from facula._tensor.handle import Tensor, alias, device_of, is_meta, new, share, strides_of
from facula._tensor.layout import suggested
from facula._tensor.outside import pin
from facula._tensor.reading import read, retyped, strided
from facula.autograd.graph import mode
from facula.devices import CPU
from facula.dtypes import FLOAT, bfloat16, bool_, dtype, float32
from facula.engine import recorder
from facula.engine.checks import waiting
from facula.engine.graph.node import CONST
from facula.engine.realize import leaf, realize, value_of
from facula.engine.session import session
from facula.engine.threads import turn
from facula.ops.casting import to_dtype
from facula.ops.create.transfers import transferred
from facula.ops.registry import also, method
from facula.ops.view.views import alias_view
from facula.rng.rounding import from_bfloat16

# ---- values that leave ----------------------------------------------------------------------------------


def _values(self: Tensor) -> np.ndarray:
    """The elements as an array that Python understands (bfloat16 as float32); not to be kept."""
    node = read(self)
    if session.traced is not None:
        node = recorder.above.detached(node)
    array = value_of(node).reshape(self.shape)
    return from_bfloat16(array) if self.dtype is bfloat16 else array


@method
def item(self: Tensor) -> Any:
    """The only element, as a Python number."""
    if self.dtype is float32 and not self.shape:  # a loss, nearly always
        node = self._node or read(self)
        if session.plain:
            buffer = node.buffer
            if buffer is not None and not waiting:  # what `realize` does then
                session.looks += 1
                return c_float.from_address(buffer.ptr).value
            if node.op is not CONST:
                return c_float.from_address(realize(node).ptr).value
            return c_float(node.scalars[0]).value  # type: ignore[index,arg-type]  # too large: infinite, as in memory
    for n in self.shape:
        if n != 1:
            count = self.numel()
            raise RuntimeError(f"a Tensor with {count} elements cannot be converted to Scalar")
    node = read(self)
    if node.op is CONST and self.dtype is not bfloat16:
        assert node.scalars is not None
        with np.errstate(over="ignore"):
            return self.dtype.numpy.type(node.scalars[0]).item()
    return _values(self).item()


@method
def tolist(self: Tensor) -> Any:
    """The elements as Python numbers in nested lists."""
    if is_meta(self):
        raise NotImplementedError("Cannot copy out of meta tensor; no data!")
    return _values(self).tolist()


@method
def numpy(self: Tensor, *, force: bool = False) -> Any:
    """The elements as a NumPy array that shares the memory. `force`: detach and copy as need be."""
    if not force and mode.grad and self.requires_grad:
        raise RuntimeError("Can't call numpy() on Tensor that requires grad. Use tensor.detach().numpy() instead.")
    if device_of(self) is not CPU:
        if force:
            return cpu(self.detach()).numpy()  # type: ignore[attr-defined]
        raise TypeError(f"can't convert {self.device} device type tensor to numpy. Use Tensor.cpu() to copy the "
                        "tensor to host memory first.")
    if self.dtype is bfloat16:
        raise TypeError("Got unsupported ScalarType BFloat16")
    with turn():  # until there is an array, other threads find that nobody holds the memory
        pin(self)
        return strided(self)


def __array__(self: Tensor, dtype: Any = None, copy: bool | None = None) -> Any:
    array = self.numpy()
    if dtype is not None and array.dtype != dtype:
        return array.astype(dtype)
    return array.copy("K") if copy else array


def __array_wrap__(self: Tensor, array: Any, context: Any = None, return_scalar: bool = False) -> Any:
    from facula.ops.create.conversion import from_numpy
    return from_numpy(np.array(array))


def __bool__(self: Tensor) -> bool:
    count = 1
    for n in self.shape:
        count *= n
    if count != 1:
        if count == 0:
            raise RuntimeError("Boolean value of Tensor with no values is ambiguous")
        raise RuntimeError("Boolean value of Tensor with more than one value is ambiguous")
    return bool(item(self))


def __float__(self: Tensor) -> float:
    return float(_real(self, "double"))


def __int__(self: Tensor) -> int:
    return int(_real(self, "int64_t"))


def _real(self: Tensor, name: str) -> Any:
    value = _single(self)
    if isinstance(value, complex):
        if value.imag:
            raise RuntimeError(f"value cannot be converted to type {name} without overflow")
        return value.real
    return value


def _single(self: Tensor) -> Any:
    if self.numel() != 1:
        raise ValueError("only one element tensors can be converted to Python scalars")
    return item(self)


def __complex__(self: Tensor) -> complex:
    return complex(_single(self))


def __index__(self: Tensor) -> int:
    if self.dtype.category >= FLOAT or self.numel() != 1:
        raise TypeError("only integer tensors of a single element can be converted to an index")
    return int(item(self))


def __repr__(self: Tensor, *, tensor_contents: str | None = None) -> str:
    from facula._tensor.printing import tensor_repr
    if session.traced is not None:
        self, before, after = recorder.above.shown(self)
        return str(before + tensor_repr(self, tensor_contents=tensor_contents) + after)
    return tensor_repr(self, tensor_contents=tensor_contents)


def __format__(self: Tensor, spec: str) -> str:
    from facula._tensor.printing import tensor_format
    return tensor_format(self, spec)


def __reduce_ex__(self: Tensor, protocol: Any) -> Any:
    from facula._tensor.exchange import reduce_tensor
    return reduce_tensor(self)


def __copy__(self: Tensor) -> Any:
    """What `copy.copy` gives: a leaf over the same memory, with the same attributes."""
    copied = _make_subclass(type(self), self)
    copied._rg = self._rg
    for name, value in self.__dict__.items():
        if name[:1] != "_":
            copied.__dict__[name] = value
    return copied


def __deepcopy__(self: Tensor, memo: dict[int, Any]) -> Any:
    if id(self) in memo:
        return memo[id(self)]
    if self._rg and self._grad_fn is not None:
        raise RuntimeError("Only Tensors created explicitly by the user (graph leaves) support the deepcopy protocol "
                           "at the moment.  If you were attempting to deepcopy a module, this may be because of a "
                           "torch.nn.utils.weight_norm usage, see https://github.com/pytorch/pytorch/pull/103001")
    from copy import deepcopy
    storage = self._storage
    if storage is None:
        copied = new(read(self))
    else:
        # What shares elements shares them in the copy. The old storage is kept, so that no other comes to have its id.
        copies = memo.setdefault("torch", {})  # type: ignore[call-overload]
        if id(storage) not in copies:
            pinned = storage.pinned()
            node = storage.node
            if pinned:
                node = leaf(np.array(storage.memory()), node.shape, node.dtype)
            whole = new(node)
            share(whole)
            copies[id(storage)] = whole, storage
        copied = alias(copies[id(storage)][0], self.shape, self._strides, self._offset, self.dtype)
    if type(self) is not Tensor:
        copied = _make_subclass(type(self), copied)
    copied._rg = self._rg
    memo[id(self)] = copied
    for name, value in self.__dict__.items():
        if name == "_grad":
            copied._grad = deepcopy(value, memo)
        elif name[:1] != "_":
            copied.__dict__[name] = deepcopy(value, memo)
    return copied


def __dlpack__(self: Tensor, **options: Any) -> Any:
    from facula._tensor.exchange import export_dlpack
    return export_dlpack(self, **options)


def __dlpack_device__(self: Tensor) -> Any:
    from facula._tensor.exchange import dlpack_device
    return dlpack_device(self)


def _memory(self: Tensor) -> tuple[Any, np.ndarray]:
    """What stands for the storage, and the whole of it as a 1-D array."""
    storage = self._storage
    if storage is None:
        return self, value_of(self._node).reshape(-1)
    flat = storage.memory()
    return storage, flat if storage.node.dtype is self.dtype else retyped(flat, self.dtype)


def _from_memory(cls: Any, array: np.ndarray, of: dtype) -> Tensor:
    """A tensor over a 1-D array that is its own from now on."""
    from facula.engine.realize import leaf
    return new(leaf(array, tuple(array.shape), of))


_SHAPE, _DTYPE = Tensor.__dict__["shape"], Tensor.__dict__["dtype"]  # a subclass may have properties of these names


def _make_subclass(cls: Any, data: Tensor, requires_grad: bool = False) -> Any:
    """`data`'s elements, shared, as a leaf of type `cls`."""
    t = object.__new__(cls)
    storage = share(data)
    t._storage = storage
    t._node = None
    _SHAPE.__set__(t, _SHAPE.__get__(data))
    _DTYPE.__set__(t, _DTYPE.__get__(data))
    t._strides = data._strides
    t._offset = data._offset
    t._seen = -1
    t._grad_fn = t._base = None
    t._rg = False
    if requires_grad:
        t.requires_grad_(True)
    return t


def as_subclass(self: Tensor, cls: Any) -> Any:
    """The tensor as one of type `cls`: a view of the whole, on the tape."""
    return _as_type(alias_view(self) if mode.grad else self, cls)


def _as_type(self: Tensor, cls: Any) -> Any:
    """A result as a tensor of type `cls`, which takes its place: with its history, and of the same base."""
    t = _make_subclass(cls, self)
    t._rg, t._grad_fn, t._base = self._rg, self._grad_fn, self._base
    if self._base is not None:
        t._grad_version = self._grad_version
    if self._output_nr:
        t._output_nr = self._output_nr
    return t


for _f in (__array__, __array_wrap__, __bool__, __float__, __int__, __complex__, __index__, __repr__, __format__,
           __reduce_ex__, __copy__, __deepcopy__, __dlpack__, __dlpack_device__, _memory, _as_type,
           as_subclass):
    setattr(Tensor, _f.__name__, _f)
Tensor.__array_priority__ = 1000  # type: ignore[attr-defined]
Tensor._from_memory = classmethod(_from_memory)  # type: ignore[assignment,method-assign]
Tensor._make_subclass = staticmethod(_make_subclass)  # type: ignore[method-assign]


# ---- conversion -----------------------------------------------------------------------------------------


@method
def to(self: Tensor, *args: Any, device: Any = None, dtype: Any = None, non_blocking: bool = False,
       copy: bool = False, memory_format: Any = None, other: Any = None) -> Any:
    """The tensor in another dtype, or on another device; itself if it is so already and `copy` is False."""
    of = dtype
    for k, a in enumerate(args):
        if isinstance(a, dtypes.dtype):
            of = a
        elif isinstance(a, Tensor) and not k:
            other = a
        elif isinstance(a, bool):
            if not (k and isinstance(args[k - 1], bool)):
                non_blocking = a
            copy = a if k >= 2 and isinstance(args[k - 1], bool) else copy
        elif isinstance(a, type):
            from facula.ops.create.creation import _dtype
            of = _dtype(a, "to")
        elif a is not None:
            device = a
    if other is not None:
        of, device = other.dtype, other.device
    if isinstance(of, type):
        from facula.ops.create.creation import _dtype
        of = _dtype(of, "to")
    place = None
    if device is not None:
        place = devices.parse_device(device, "to")
    result = self
    if of is not None and of is not self.dtype:
        result = to_dtype(self, of)
    if memory_format is not None and memory_format is not layouts.preserve_format and (
            copy or result is not self or suggested(self.shape, strides_of(self)) is not memory_format):
        result = result.clone(memory_format=memory_format)
    if place is not None and place is not device_of(self):
        result = transferred(result, place, non_blocking)
    if copy and result is self:
        result = self.clone()
    return result


@method
def cpu(self: Tensor, memory_format: Any = None) -> Any:
    """On the cpu: the tensor itself, if it is there."""
    return self if device_of(self) is CPU else to(self, device="cpu")


@method
def cuda(self: Tensor, device: Any = None, non_blocking: bool = False, memory_format: Any = None) -> Any:
    """On a CUDA device. AssertionError if this machine has none."""
    return _on("cuda", self, device, non_blocking, memory_format)


@method
def xpu(self: Tensor, device: Any = None, non_blocking: bool = False, memory_format: Any = None) -> Any:
    """On an XPU device. AssertionError if this machine has none."""
    return _on("xpu", self, device, non_blocking, memory_format)


def _on(kind: str, t: Tensor, device: Any, non_blocking: bool, memory_format: Any) -> Any:
    place = devices.device(kind, device) if isinstance(device, int) and not isinstance(device, bool) else \
        devices.device(kind if device is None else device)
    if place.type != kind:
        raise RuntimeError(f"Invalid device, must be {kind} device")
    return to(t, place, non_blocking=non_blocking, memory_format=memory_format)


def _caster(public: str, of: dtype) -> None:
    def cast(self: Tensor, memory_format: Any = None) -> Tensor:
        out = to_dtype(self, of)
        return out if memory_format is None else to(out, memory_format=memory_format)  # type: ignore[no-any-return]
    cast.__name__ = public
    cast.__doc__ = f"The tensor as {of.name}."
    method(cast)


for _public, _of in {"float": dtypes.float32, "double": dtypes.float64, "half": dtypes.float16, "bfloat16": bfloat16,
                     "int": dtypes.int32, "long": dtypes.int64, "short": dtypes.int16, "char": dtypes.int8,
                     "byte": dtypes.uint8, "bool": bool_, "cfloat": dtypes.complex64,
                     "cdouble": dtypes.complex128}.items():
    _caster(_public, _of)


def _of_type(t: Tensor, title: str, non_blocking: bool) -> Any:
    """The tensor as what "torch.FloatTensor" (on the cpu), "torch.cuda.HalfTensor" or "float32" name."""
    from facula.ops.registry import DTYPE_NAMES
    kind, _, name = title.removeprefix("torch.").removesuffix("Tensor").rpartition(".")
    of = next((public for public, known in DTYPE_NAMES.items() if name == known or name == public and not kind), "")
    if not of and name or kind and not devices.count(kind):
        raise ValueError(f"invalid type: {title!r}")
    result = to_dtype(t, getattr(dtypes, "bool_" if of == "bool" else of) if of else defaults.get_default_dtype())
    place = device_of(t).type if name == of else kind or "cpu"
    return result if device_of(t).type == place else to(result, place, non_blocking=non_blocking)


def type_(self: Tensor, dtype: Any = None, non_blocking: bool = False, **options: Any) -> Any:
    """Without an argument the type's name, as "torch.FloatTensor"; else the tensor as that type."""
    from facula.ops.registry import DTYPE_NAMES
    if dtype is None:
        place = device_of(self)
        return f"torch.{'' if place is CPU else place.type + '.'}{DTYPE_NAMES[self.dtype.name]}Tensor"
    if isinstance(dtype, str):
        return _of_type(self, dtype, non_blocking)
    of_the_cpu = isinstance(dtype, type)  # torch.FloatTensor and the like
    if of_the_cpu:
        dtype = getattr(dtype, "dtype", None)
    if not isinstance(dtype, dtypes.dtype):
        raise TypeError("dtype must be a type, str, or dtype object")
    result = to_dtype(self, dtype)
    return cpu(result) if of_the_cpu else result


also(type_, "Tensor.type")


@method
def type_as(self: Tensor, other: Tensor) -> Tensor:
    """The tensor in the dtype of `other`."""
    if not isinstance(other, Tensor):
        raise TypeError(f"type_as(): argument 'other' (position 1) must be Tensor, not {type(other).__name__}")
    return to(self, other)  # type: ignore[no-any-return]
