"""Tensors from what programs have: numbers, nested lists, NumPy arrays, buffers."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np

from facula import defaults
from facula._tensor.handle import Tensor, alias, is_meta, laid, new, share
from facula._tensor.layout import preserved
from facula._tensor.reading import copied, layout_of, leaf_beside, read
from facula.devices import CPU, parse_device
from facula.dtypes import FLOAT, bfloat16, bool_, dtype, float32, from_numpy_dtype, int64
from facula.engine.graph.node import contiguous_strides
from facula.engine.placing import meta_node
from facula.engine.realize import leaf, value_of
from facula.engine.session import session
from facula.errors import warn
from facula.ops.arrange.joining import stack
from facula.ops.casting import constant, to_dtype
from facula.ops.create.creation import _dtype, beside, finish
from facula.ops.create.lent_memory import import_array
from facula.ops.create.sequences import elements, fits
from facula.ops.elementwise.pointwise import broadcast
from facula.ops.registry import DTYPE_NAMES, method, op
from facula.ops.severing import leaned
from facula.ops.view.dtype_views import view_as_complex
from facula.rng.rounding import to_dtype as to_carrier
from facula.size import Size

_EMPTY = tuple.__new__(Size, ())


@op(method=False)
def tensor(data: Any, *, dtype: Any = None, device: Any = None, requires_grad: bool = False,
           pin_memory: bool = False) -> Tensor:
    """A new tensor with a copy of `data`: a number, nested sequences of numbers, an array, or a tensor.

    Example:
        >>> import facula
        >>> facula.tensor([[1, 2], [3, 4]])
        tensor([[1, 2],
                [3, 4]])
    """
    if isinstance(data, Tensor):
        warn("To copy construct from a tensor, it is recommended to use sourceTensor.detach().clone() or "
             "sourceTensor.detach().clone().requires_grad_(True), rather than torch.tensor(sourceTensor).",
             UserWarning)
        t = new(read(data))
        if dtype is not None:
            t = to_dtype(t, _dtype(dtype, "tensor"))
    elif (lent := _by_dlpack(data)) is not None:
        t = copied(lent if dtype is None else to_dtype(lent, _dtype(dtype, "tensor")), layout_of(lent))
    else:
        t = made(data, None if dtype is None else _dtype(dtype, "tensor"))
    return finish(t, device, requires_grad, None, "tensor", pin_memory)


storages: tuple[type, ...] = ()  # whose memory a tensor is made over: _tensor/storages.py puts its class here


def made(data: Any, of: dtype | None) -> Tensor:
    """A tensor with a copy of `data`, which is not a tensor. (Of a storage: one over its memory.)"""
    kind = type(data)
    if kind is float:
        if of is None:
            of = defaults.get_default_dtype()
        elif of.category < FLOAT:
            fits(data, of)
            if not -(2**63) <= data < 2**63:  # 2**63 itself, or what a bool is made of
                data = -(2**63) if of is int64 else 1
        return new(constant(data, _EMPTY, of))
    if kind is int:
        if of is None:
            of = int64
        if of.category >= FLOAT:
            data = float(data)
        elif not -(2**63) <= data < 2**63:
            raise ValueError("Overflow when unpacking long long")
        else:
            fits(data, of)
        return new(constant(data, _EMPTY, of))
    if kind is bool:
        return new(constant(data, _EMPTY, of or bool_))
    if kind is complex:
        return new(constant(data, _EMPTY, of or defaults.get_default_dtype().to_complex()))
    if isinstance(data, (np.ndarray, np.generic)):
        array = np.asarray(data)
        own = from_numpy_dtype(array.dtype)
        return as_it_lies(array, of or own)
    if isinstance(data, storages):
        return data.vector(of)  # type: ignore[attr-defined,no-any-return]
    return from_array(*elements(data, of))


def from_array(array: np.ndarray, of: dtype) -> Tensor:
    """A tensor with a copy of the elements of an array."""
    if array.dtype == of.numpy and of is not bfloat16:
        values = np.array(array, order="C")
    elif of is bool_ and array.dtype.kind == "c":
        values = np.array(array != 0, order="C")
    elif of.category < FLOAT and array.dtype.kind == "c":
        raise RuntimeError("value cannot be converted to type without overflow")
    else:
        with np.errstate(all="ignore"), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            values = np.array(to_carrier(array, of), order="C")
    return new(leaf(values, tuple(array.shape), of))


def as_it_lies(array: np.ndarray, of: dtype) -> Tensor:
    """`from_array`, with the elements in the order in which they lie in the array's memory."""
    layout = None
    if not array.flags.c_contiguous and array.size and min(array.strides) >= 0:
        layout = preserved(array.shape, tuple([s // array.itemsize for s in array.strides]))
    if layout is None:
        return from_array(array, of)
    order, strides = layout
    return laid(read(from_array(array.transpose(order), of)), array.shape, strides)


def host_array(t: Tensor) -> np.ndarray:
    """The elements as a NumPy array that computes: 16-bit floats are widened."""
    return value_of(read(t if t.dtype.compute is t.dtype else to_dtype(t, float32)))


# ---- memory of others -----------------------------------------------------------------------------------


@op(method=False)
def from_numpy(ndarray: Any) -> Tensor:
    """A tensor that shares the memory of an array: writes on either side are seen on the other."""
    if not isinstance(ndarray, np.ndarray):
        raise TypeError(f"expected np.ndarray (got {type(ndarray).__name__})")
    _native(ndarray)
    of = from_numpy_dtype(ndarray.dtype)
    if not ndarray.flags.writeable:
        warn("The given NumPy array is not writable, and PyTorch does not support non-writable tensors. This "
             "means writing to this tensor will result in undefined behavior. You may want to copy the array "
             "to protect its data or make it writable before converting it to a tensor. This type of warning "
             "will be suppressed for the rest of this program.", UserWarning)
    return sharing(ndarray, of)


def _native(array: np.ndarray) -> None:
    if not array.dtype.isnative:
        raise ValueError(
            "given numpy array has byte order different from the native byte order. Conversion between "
            "byte orders is currently not supported."
        )


def sharing(array: np.ndarray, of: dtype) -> Tensor:
    """A tensor over an array's own memory."""
    shape, step = tuple(array.shape), array.itemsize
    if array.flags.c_contiguous and (tuple([s // step for s in array.strides])
                                     == contiguous_strides(shape)):  # where a length is 1, NumPy keeps any stride
        t = new(leaf(array, shape, of))
        share(t).shared = True
        return t
    if any(s < 0 for s in array.strides):
        raise ValueError("At least one stride in the given numpy array is negative, and tensors with negative strides "
                         "are not currently supported. (You can probably work around this by making a copy of your "
                         "array  with array.copy().) ")
    if any(s % step for s in array.strides):
        raise ValueError("given numpy array strides not a multiple of the element byte size. Copy the numpy array to "
                         "reallocate the memory.")
    strides = tuple([s // step for s in array.strides])
    extent = 1 + sum((n - 1) * s for n, s in zip(shape, strides, strict=False)) if array.size else 0
    flat = np.lib.stride_tricks.as_strided(array, (extent,), (step,))
    whole = new(leaf(flat, (extent,), of))
    share(whole).shared = True
    return alias(whole, tuple.__new__(Size, shape), strides, 0)


@op(method=False)
def as_tensor(data: Any, dtype: Any = None, device: Any = None) -> Tensor:
    """`data` as a tensor, without a copy where that can be: a tensor itself, the memory of an array."""
    if dtype is not None:
        dtype = _dtype(dtype, "as_tensor")
    if isinstance(data, Tensor):
        if device is None and parse_device() is not CPU:
            device = parse_device()
        return data if dtype in (None, data.dtype) and device is None else data.to(dtype=dtype, device=device)
    if isinstance(data, np.ndarray):
        of = from_numpy_dtype(data.dtype)
        if dtype in (None, of) and not any(s < 0 for s in data.strides):
            return finish(sharing(data, of), device)
        return finish(as_it_lies(data, dtype or of), device)
    if (lent := _by_dlpack(data)) is not None:
        return as_tensor(lent, dtype, device)
    return finish(made(data, dtype), device)


def _by_dlpack(data: Any) -> Tensor | None:
    """A tensor over the memory of an object that hands it out by DLPack, no array and no sequence."""
    if not hasattr(data, "__dlpack__") or isinstance(data, (Tensor, np.ndarray, np.generic)):
        return None
    return sharing(*import_array(data))


@op(method=False)
def asarray(obj: Any, *, dtype: Any = None, device: Any = None, copy: bool | None = None,
            requires_grad: bool = False) -> Tensor:
    """`obj` as a tensor; `copy` forces (True) or forbids (False) a copy."""
    of = None if dtype is None else _dtype(dtype, "asarray")
    if isinstance(obj, np.ndarray):
        _native(obj)
    lent = _by_dlpack(obj)
    has_memory = lent is None and _has_buffer(obj)
    if has_memory:
        t = finish(frombuffer(obj, dtype=of or defaults.get_default_dtype()), device)
    else:
        t = as_tensor(obj if lent is None else lent, of, device)
    owned = obj if isinstance(obj, Tensor) else lent
    aliased = t is owned or has_memory or isinstance(obj, storages) \
        or isinstance(obj, np.ndarray) and t._storage is not None and t._storage.shared
    if copy is False and not aliased:
        _refuse_copy(obj, owned, t)
    if copy and aliased:
        t = t.clone() if t._rg else copied(t, layout_of(t))
    if requires_grad and not t._rg:
        t.requires_grad_()
    return t


def _refuse_copy(obj: Any, owned: Tensor | None, t: Tensor) -> None:
    """Say why `t` shares nothing with `obj`."""
    if isinstance(obj, np.generic):
        raise RuntimeError("can't alias NumPy scalars. Either remove copy=False or transform it in a ndarray. ")
    if owned is None and not isinstance(obj, np.ndarray):
        raise ValueError("can't alias arbitrary sequence into a tensor.")
    have = owned.dtype if owned is not None else from_numpy_dtype(obj.dtype)
    if have is not t.dtype:
        raise ValueError(
            f"can't alias tensor with dtype '{DTYPE_NAMES[have.name]}' into dtype '{DTYPE_NAMES[t.dtype.name]}'."
        )
    raise ValueError("can't alias arbitrary sequence into a tensor.")


def _has_buffer(obj: Any) -> bool:
    """Has `obj`, no array, memory that it shares by the buffer protocol?"""
    if isinstance(obj, (Tensor, np.ndarray, np.generic, list, tuple, int, float, complex, str)):
        return False
    try:
        memoryview(obj).release()
    except TypeError:
        return False
    return True


@op(method=False)
def frombuffer(buffer: Any, *, dtype: Any, count: int = -1, offset: int = 0, requires_grad: bool = False) -> Tensor:
    """A 1-D tensor over the memory of an object with the buffer protocol."""
    of = _dtype(dtype, "frombuffer")
    try:
        view = memoryview(buffer)
    except TypeError:
        raise ValueError("object does not implement Python buffer protocol.") from None
    if not view.c_contiguous:
        raise RuntimeError("could not retrieve buffer from object")
    if not view.nbytes or not count:
        raise ValueError(f"both buffer length ({view.nbytes}) and count ({count}) must not be 0")
    raw = np.frombuffer(view, np.uint8)
    if offset < 0 or offset >= raw.size:
        raise ValueError(f"offset ({offset} bytes) must be non-negative and no greater than buffer length "
                         f"({raw.size} bytes) minus 1")
    if count < 0:
        if (raw.size - offset) % of.itemsize:
            raise ValueError(f"buffer length ({raw.size - offset} bytes) after offset ({offset} bytes) must be a "
                             f"multiple of element size ({of.itemsize})")
        count = (raw.size - offset) // of.itemsize
    elif offset + count * of.itemsize > raw.size:
        raise ValueError(f"requested buffer length ({count} * {of.itemsize} bytes) after offset ({offset} bytes) must "
                         f"not be greater than actual buffer length ({raw.size} bytes)")
    array = raw[offset:offset + count * of.itemsize].view(of.numpy)
    if not array.flags.writeable:
        warn("The given buffer is not writable, and PyTorch does not support non-writable tensors.",
             UserWarning)
    return finish(sharing(array, of), CPU, requires_grad)


@op(method=False)
def polar(abs: Tensor, angle: Tensor, *, out: Any = None) -> Tensor:
    """Complex numbers from their absolute values and angles."""
    abs = leaned(abs)
    if not (abs.dtype.is_floating_point and angle.dtype.is_floating_point) or bfloat16 in (abs.dtype, angle.dtype):
        raise RuntimeError("Expected both inputs to be Half, Float or Double tensors but got "
                           f"{DTYPE_NAMES[abs.dtype.name]} and {DTYPE_NAMES[angle.dtype.name]}")
    if abs.dtype is not angle.dtype:
        raise RuntimeError(f"Expected object of scalar type {DTYPE_NAMES[abs.dtype.name]} but got scalar type "
                           f"{DTYPE_NAMES[angle.dtype.name]} for second argument")
    return complex_(abs * angle.cos(), abs * angle.sin(), out=out)


class _ComplexRule:
    name = "ComplexBackward0"

    def backward(self, ctx: Any, g: Tensor) -> tuple[Any, ...]:
        return g.real, g.imag


@op(method=False, name="complex")
def complex_(real: Tensor, imag: Tensor, *, out: Any = None) -> Tensor:
    """Complex numbers from their parts."""
    if real.dtype is not imag.dtype:
        raise RuntimeError(f"Expected object of scalar type {_title(real)} but got scalar type {_title(imag)} for "
                           "second argument")
    if real.dtype.category != FLOAT or real.dtype.itemsize < 2 or real.dtype is bfloat16:
        raise RuntimeError(f"Expected both inputs to be Half, Float or Double tensors but got {_title(real)} and "
                           f"{_title(imag)}")
    from facula._tensor.tape import attach
    of = real.dtype.to_complex()
    shape = broadcast(real.shape, imag.shape)
    if is_meta(real) and is_meta(imag):
        t = new(meta_node(shape, of))
    elif session.traced is not None:
        pair = stack([real.expand(shape), imag.expand(shape)], -1)
        return finish(view_as_complex(pair), real.device, False, out, "complex")
    else:
        values = np.empty(shape, of.numpy)
        values.real = value_of(read(real)).reshape(real.shape)
        values.imag = value_of(read(imag)).reshape(imag.shape)
        t = new(leaf_beside(read(real), values, shape, of))
    t = attach(t, _ComplexRule(), (real, imag))  # type: ignore[arg-type]
    return finish(t, t.device, False, out, "complex")


def _title(t: Tensor) -> str:
    return DTYPE_NAMES[t.dtype.name]


@op(method=False)
def broadcast_shapes(*shapes: Any) -> Size:
    """The shape that tensors of these shapes broadcast to."""
    result: tuple[int, ...] = ()
    for shape in shapes:
        try:
            result = broadcast(result, (shape,) if isinstance(shape, int) else tuple(shape))
        except RuntimeError:
            raise RuntimeError("Shape mismatch: objects cannot be broadcast to a single shape") from None
    return tuple.__new__(Size, result)


@op(method=False)
def fill(input: Tensor, value: Any) -> Tensor:
    """`value` in the shape and dtype of `input`."""
    everywhere = new(constant(True, input.shape, bool_))
    return input.masked_fill(everywhere, value)


@method
def new_tensor(self: Tensor, data: Any, *, dtype: Any = None, **options: Any) -> Tensor:
    return tensor(data, dtype=dtype or self.dtype, **beside(self, options))
