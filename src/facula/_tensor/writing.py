"""Methods of Tensor that overwrite it: `copy_`, `fill_`, `set_`, `resize_`; and its constructor."""

from __future__ import annotations

from operator import index
from typing import Any

import numpy as np

from facula import defaults
from facula._tensor.assigning import update
from facula._tensor.handle import Tensor, alias, device_of, is_meta, new, share, strides_of
from facula._tensor.layout import order_of_format, strides_in, suggested
from facula._tensor.outside import grow, take_shape
from facula._tensor.refusing import onto_itself, refuse_leaf, refuse_overlap
from facula._tensor.tape_methods import take_over
from facula.autograd.graph import mode
from facula.devices import CPU
from facula.dtypes import CPP_NAMES
from facula.engine.graph.node import contiguous_strides
from facula.engine.threads import others
from facula.layouts import contiguous_format, preserve_format
from facula.ops.casting import constant, to_dtype
from facula.ops.create.creation import empty, sizes_of
from facula.ops.create.transfers import transferred
from facula.ops.promotion import scalar_value
from facula.ops.registry import DTYPE_NAMES, also, method, write_back
from facula.ops.severing import overwriting
from facula.size import Size


@method
def copy_(self: Tensor, src: Any, non_blocking: bool = False) -> Tensor:
    """Overwrite with the elements of `src`, broadcast and converted."""
    if not isinstance(src, Tensor):
        if not isinstance(src, (int, float, complex, np.number, bool)):
            raise TypeError(f"copy_(): argument 'other' (position 1) must be Tensor, not {type(src).__name__}")
        return fill_(self, src)
    if src is self:
        if mode.grad and self._rg:
            refuse_leaf(self)
        return self
    if onto_itself(self, src):
        return self
    if self._storage is not None:
        refuse_overlap(self, (src,))
    if src.dtype is not self.dtype:
        src = to_dtype(src, self.dtype)
    if src.shape != self.shape:
        a, b = self.shape, src.shape
        if len(b) > len(a):
            raise RuntimeError(f"output with shape {list(a)} doesn't match the broadcast shape {list(b)}")
        for k in range(1, len(b) + 1):
            if b[-k] not in (1, a[-k]):
                raise RuntimeError(f"The size of tensor a ({a[-k]}) must match the size of tensor b ({b[-k]}) at "
                                   f"non-singleton dimension {len(a) - k}")
        src = src.expand(self.shape)
    if non_blocking and device_of(src) is not device_of(self):
        src = transferred(src, device_of(self), True)
    return update(self, overwriting(self, src))


def _once(t: Tensor) -> Tensor:
    """`t` without the elements that an expanded dimension repeats: one value for all may be written there."""
    for d, (n, stride) in enumerate(zip(t.shape, t.stride(), strict=True)):  # type: ignore[attr-defined]
        if n > 1 and stride == 0:
            t = t.narrow(d, 0, 1)  # type: ignore[attr-defined]
    return t


@method
def fill_(self: Tensor, value: Any) -> Tensor:
    """Overwrite every element with `value`."""
    if isinstance(value, Tensor):
        if value.shape:
            raise RuntimeError(f"fill_ only supports 0-dimension value tensor but got tensor with {len(value.shape)} "
                               "dimensions.")
        if value._storage is self._storage is not None:
            value = value.clone()  # type: ignore[attr-defined]
        if self._storage is not None and (once := _once(self)) is not self:
            copy_(once, value)
            return self
        return copy_(self, value)
    if self._storage is not None and (once := _once(self)) is not self:
        fill_(once, value)
        return self
    filled = new(constant(scalar_value(value, self.dtype), self.shape, self.dtype))
    return update(self, overwriting(self, filled, "FillBackward0"))


@method
def zero_(self: Tensor) -> Tensor:
    """Overwrite every element with 0."""
    if not self._rg and not others and (self._storage is None or self._base is None and 0 not in self._strides):
        return write_back(self, new(constant(0, self.shape, self.dtype)), "zero_")
    if self._storage is not None and (once := _once(self)) is not self:
        zero_(once)
        return self
    return update(self, overwriting(self, new(constant(0, self.shape, self.dtype)), "ZeroBackward0"))


also(zero_, "zero_")
also(fill_, "fill_")


@method
def set_(self: Tensor, source: Any = None, storage_offset: int = 0, size: Any = None, stride: Any = None) -> Tensor:
    """Become another name for the memory of `source`, a tensor or a storage of the same dtype, or bytes.

    A geometry that reaches beyond that memory has it grow. RuntimeError if it begins before it, for another dtype,
    and where memory that is not the storage's own would have to grow.
    """
    if mode.grad and self._rg:
        refuse_leaf(self)
    if source is None:
        source = empty(0, dtype=self.dtype, device=self.device)  # type: ignore[attr-defined]
    if not isinstance(source, Tensor):
        if not hasattr(source, "_elements"):
            raise TypeError(
                f"set_(): argument 'source' (position 1) must be Tensor or Storage, not {type(source).__name__}"
            )
        if source.dtype is not self.dtype and type(source).__name__ == "TypedStorage":
            raise RuntimeError(f"Expected a Storage of type {CPP_NAMES[self.dtype.name]} or an UntypedStorage, but got "
                               f"type {DTYPE_NAMES[source.dtype.name]} for argument 1 'storage'")
        source = source._elements(self.dtype)
        size = size if size is not None else source.shape
    elif source.dtype is not self.dtype:
        raise RuntimeError(f"Could not set tensor of type {CPP_NAMES[source.dtype.name]} to a tensor of type "
                           f"{CPP_NAMES[self.dtype.name]}")
    if device_of(source) is not device_of(self):
        raise RuntimeError(f'Attempted to set the storage of a tensor on device "{self.device}" to a storage on '
                           f'different device "{source.device}".  This is no longer allowed; the devices must match.')
    if size is not None:
        shape = sizes_of((size,), "set_")
        strides = tuple(map(index, stride)) if stride is not None else contiguous_strides(shape)
        offset = index(storage_offset)
        if offset < 0:
            raise RuntimeError(f"Tensor: invalid storage offset {offset}")
        if len(strides) != len(shape):
            raise RuntimeError(f"unequal size length ({len(shape)}) and stride length ({len(strides)})")
        if any(s < 0 for s in strides):
            raise RuntimeError(f"Storage size calculation overflowed with sizes={list(shape)} and "
                               f"strides={list(strides)}")
        if 0 not in shape:
            grow(source, offset + 1 + sum((n - 1) * s for n, s in zip(shape, strides, strict=True)))
        source = alias(source, shape, strides, offset, source.dtype)
    take_over(self, source)
    return self


@method
def resize_(self: Tensor, *size: Any, memory_format: Any = None) -> Tensor:
    """Take another shape in place: elements are kept in the order of memory, new ones are not set."""
    shape = sizes_of(size, "resize_")
    if memory_format is preserve_format:
        raise RuntimeError("Unsupported memory formatPreserve")
    if shape != self.shape:
        if self._rg:
            raise RuntimeError("cannot resize variables that require grad")
        take_shape(self, shape)
    elif memory_format is None:
        return self
    strides = strides_in(shape, order_of_format(shape, memory_format or contiguous_format))
    share(self)
    take_over(self, alias(self, shape, strides, self._offset, self.dtype))
    return self


@method
def resize_as_(self: Tensor, the_template: Tensor, memory_format: Any = None) -> Tensor:
    """Take the shape of another tensor in place, and its memory format if that is to be preserved."""
    if memory_format is preserve_format:
        memory_format = suggested(the_template.shape, strides_of(the_template))
    return resize_(self, the_template.shape, memory_format=memory_format)


@method
def apply_(self: Tensor, callable: Any) -> Tensor:
    """Overwrite every element x with `callable(x)`."""
    if is_meta(self):
        return self  # as in torch
    return _mapped(self, [callable(x) for x in self.reshape(-1).tolist()])


@method
def map_(self: Tensor, tensor: Tensor, callable: Any) -> Tensor:
    """Overwrite every element x with `callable(x, y)`, y from another tensor."""
    if is_meta(self):
        return self  # as in torch
    other = tensor.expand(self.shape).reshape(-1).tolist()
    return _mapped(self, [callable(x, y) for x, y in zip(self.reshape(-1).tolist(), other, strict=False)])


def _mapped(self: Tensor, values: list[Any]) -> Tensor:
    from facula.ops.create.conversion import made
    return update(self, made(values, self.dtype).reshape(self.shape))


# ---- Tensor(...) ----------------------------------------------------------------------------------------


def construct(of: Any, args: tuple[Any, ...], typed: bool = True) -> Tensor:
    """What `Tensor(...)` and its typed forms give: zeros of a size, or the elements of a sequence."""
    if len(args) == 1 and not isinstance(args[0], int):
        data = args[0]
        if isinstance(data, Tensor):
            if data.dtype is not of and typed:
                raise TypeError(f"expected {of} (got {data.dtype})")
            return alias(data, data.shape, *_geometry(data))
        if isinstance(data, Size):
            return empty(data, dtype=of, device=CPU)
        if isinstance(data, np.ndarray):
            from facula.ops.create.conversion import as_tensor
            return as_tensor(data, of, CPU)
        if not hasattr(data, "__len__"):
            raise TypeError(f"new(): data must be a sequence (got {type(data).__name__})")
        from facula.ops.create.conversion import tensor
        return tensor(data, dtype=of, device=CPU)
    return empty(*args or (0,), dtype=of, device=CPU)  # whatever the default device is: as in torch


def _geometry(t: Tensor) -> tuple[Any, int]:
    share(t)
    return t._strides, t._offset


def _new(cls: Any, *args: Any, device: Any = None, **options: Any) -> Any:
    if cls is Tensor and "data" in options and not args:
        args = (options["data"],)
    data = construct(defaults.get_default_dtype(), args, False)
    if cls is Tensor:
        return data
    return Tensor._make_subclass(cls, data)


Tensor.__new__ = staticmethod(_new)  # type: ignore[method-assign]


def _made_alike(self: Tensor, *args: Any, **options: Any) -> Tensor:
    """A tensor of this dtype, made as `Tensor(...)` makes one."""
    return construct(self.dtype, args)


also(_made_alike, "Tensor.new")


