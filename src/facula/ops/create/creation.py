"""Factories: `zeros`, `full`, `arange`, `eye`, ... What is the same everywhere is a CONST node: no memory."""

from __future__ import annotations

import math
import operator
from typing import Any

import numpy as np

from facula import defaults
from facula._tensor.cells import Storage
from facula._tensor.handle import Tensor, alias, device_of, laid, new
from facula._tensor.layout import Layout, in_memory_format, strides_in
from facula._tensor.reading import layout_of
from facula.devices import CPU, META, parse_device
from facula.dtypes import FLOAT, bool_, complex128, dtype, float64, int64
from facula.engine.moving import moved
from facula.engine.placing import meta_node
from facula.engine.realize import leaf
from facula.errors import warn
from facula.layouts import preserve_format as _preserve
from facula.layouts import strided
from facula.ops.casting import constant
from facula.ops.create.pinned import as_told
from facula.ops.promotion import scalar_value
from facula.ops.registry import DTYPE_NAMES, method, op, store_out
from facula.rng.rounding import to_dtype as to_carrier
from facula.size import Size

# What `out=` is resized for only if it has another number of elements.
_COUNTED = frozenset(("arange", "range", "linspace", "logspace"))


def finish(t: Tensor, device: Any = None, requires_grad: bool = False, out: Any = None, what: str = "empty",
           pin_memory: Any = False) -> Tensor:
    """The last step of a factory: its device, `requires_grad`, `pin_memory` and `out=`."""
    if device is not None or parse_device() is not CPU:
        t = placed(t, device, what)
    if out is not None:
        if len(t.shape) == 1 and what in _COUNTED and out.numel() == t.shape[0]:
            t = t.reshape(out.shape)  # type: ignore[attr-defined]
        return store_out(out, t, what, quiet=what not in ("arange", "complex", "fftfreq", "rfftfreq"))
    if pin_memory is not False:
        t = as_told(t, pin_memory, what)
    if requires_grad:
        if t.dtype.category < FLOAT:
            raise RuntimeError("Only Tensors of floating point and complex dtype can require gradients")
        t._rg = True
    return t


def placed(t: Tensor, device: Any, what: str) -> Tensor:
    """`t`, which nobody else holds, on `device` (None: where it is, or the default)."""
    place = parse_device(device, what)
    if (device is not None or place is not CPU) and device_of(t) is not place:
        if t._storage is None:
            t._node = moved(t._node, place)
        else:
            t._storage = Storage(moved(t._storage.node, place), 0, False)
            t._seen = -1
    return t


def sizes_of(size: tuple[Any, ...], what: str) -> Size:
    """(2, 3), ((2, 3),), (Size,): the shape that the arguments of a factory mean."""
    if len(size) == 1 and not isinstance(size[0], int):
        first = size[0]
        if isinstance(first, (tuple, list)):
            size = tuple(first)
        elif isinstance(first, Tensor) and first.shape:
            raise TypeError(f"{what}(): argument 'size' (position 1) must be tuple of ints, not Tensor: give "
                            "*size.tolist()")
    out = []
    for k, s in enumerate(size):
        try:
            s = operator.index(s)
        except TypeError:
            if len(size) == 1:
                raise TypeError(f"{what}(): argument 'size' (position 1) must be tuple of ints, not "
                                f"{type(s).__name__}") from None
            raise TypeError(f"{what}(): argument 'size' (position 1) must be tuple of ints, but found element of "
                            f"type {type(s).__name__} at pos {k}") from None
        if s < 0:
            raise RuntimeError(f"{what}: Dimension size must be non-negative." if what in ("zeros", "ones") else
                               f"Trying to create tensor with negative dimension {s}: {list(size)}")
        out.append(s)
    return tuple.__new__(Size, out)


def _dtype(of: Any, what: str) -> dtype:
    if of is None:
        return defaults.get_default_dtype()
    if type(of) is not dtype:
        found = _PYTHON_TYPES.get(of) if isinstance(of, type) else None
        if isinstance(of, dtype):
            of.category  # noqa: B018  # refuses: it is Lacking
        if found is None:
            raise TypeError(f"{what}(): argument 'dtype' must be torch.dtype, not {type(of).__name__}")
        return found
    return of


_PYTHON_TYPES = {float: float64, int: int64, bool: bool_, complex: complex128}


def everywhere(value: Any, shape: Size, of: dtype, layout: Layout | None) -> Tensor:
    """A tensor of that layout with `value` everywhere."""
    if layout is None:
        return new(constant(value, shape, of))
    return laid(constant(value, tuple([shape[d] for d in layout[0]]), of), shape, layout[1])


def only_strided(layout: Any, what: str, error: type[Exception] = NotImplementedError) -> None:
    """Refuse every layout but torch.strided: no other is implemented."""
    if layout is not None and layout is not strided:
        raise error(f"{what} is implemented for strided tensors only, got layout={layout}")


# ---- one value everywhere -------------------------------------------------------------------------------


def _filled(places: tuple[Any, ...], value: Any, what: str, out: Any = None, dtype: Any = None, layout: Any = None,
            device: Any = None, requires_grad: bool = False, pin_memory: bool = False, memory_format: Any = None,
            names: Any = None, **more: Any) -> Tensor:
    only_strided(layout, what)
    if "size" in more and not places:
        places = (more.pop("size"),)
    if more:
        raise TypeError(f"{what}() got an unexpected keyword argument '{next(iter(more))}'")
    if dtype is None and out is not None:
        dtype = out.dtype
    elif out is not None and dtype is not out.dtype:
        raise RuntimeError(f"dtype {DTYPE_NAMES[dtype.name]} does not match dtype of out parameter "
                           f"({DTYPE_NAMES[out.dtype.name]})")
    of = _dtype(dtype, what)
    if what == "full":
        value = scalar_value(value, of)
    shape = sizes_of(places, what)
    order = None if memory_format in (None, _preserve) else in_memory_format(shape, memory_format)
    return finish(everywhere(value, shape, of, order), device, requires_grad, out, what, pin_memory)


@op(method=False)
def zeros(*size: Any, **options: Any) -> Tensor:
    """A tensor of zeros. Options: out, dtype, layout, device, requires_grad, pin_memory."""
    return _filled(size, 0, "zeros", **options)


@op(method=False)
def ones(*size: Any, **options: Any) -> Tensor:
    """A tensor of ones. Options as for `zeros`."""
    return _filled(size, 1, "ones", **options)


@op(method=False)
def empty(*size: Any, **options: Any) -> Tensor:
    """A tensor whose elements are to be written yet (here: zeros). Options as for `zeros`, and memory_format."""
    return _filled(size, 0, "empty", **options)


@op(method=False)
def full(size: Any, fill_value: Any, *, dtype: Any = None, **options: Any) -> Tensor:
    """`fill_value` everywhere; its Python type gives the dtype where none is named."""
    if isinstance(size, int):
        raise TypeError("full(): argument 'size' (position 1) must be tuple of ints, not int")
    if isinstance(fill_value, Tensor):
        dtype = dtype or fill_value.dtype
        fill_value = fill_value.item()
    if dtype is None and options.get("out") is None:
        dtype = scalar_dtype(fill_value)
    return _filled((size,), fill_value, "full", dtype=dtype, **options)


def scalar_dtype(value: Any) -> dtype:
    """The dtype of a tensor made from a Python number."""
    from facula.ops.promotion import category_of_number
    kind = category_of_number(value)
    default = defaults.get_default_dtype()
    return (bool_, int64, int64, default, default.to_complex())[kind]


@op(method=False)
def scalar_tensor(s: Any, *, dtype: Any = None, **options: Any) -> Tensor:
    """A tensor without dimensions."""
    return _filled(((),), s, "scalar_tensor", dtype=dtype, **options)


def _like(input: Tensor, value: Any, what: str, dtype: Any = None, layout: Any = None, device: Any = None,
          requires_grad: bool = False, memory_format: Any = None, pin_memory: bool = False, out: Any = None) -> Tensor:
    if not isinstance(input, Tensor):
        raise TypeError(f"{what}(): argument 'input' (position 1) must be Tensor, not {type(input).__name__}")
    only_strided(layout, what)
    of = input.dtype if dtype is None else _dtype(dtype, what)
    if what == "full_like":
        value = scalar_value(value, of)
    kept = memory_format is None or memory_format is _preserve
    t = everywhere(value, input.shape, of,
                   layout_of(input) if kept else in_memory_format(input.shape, memory_format))
    if device is None:
        device = device_of(input)
    return finish(t, device, requires_grad, out, what, pin_memory)


@op(method=False)
def zeros_like(input: Tensor, **options: Any) -> Tensor:
    """Zeros in the shape and dtype of `input`."""
    return _like(input, 0, "zeros_like", **options)


@op(method=False)
def ones_like(input: Tensor, **options: Any) -> Tensor:
    """Ones in the shape and dtype of `input`."""
    return _like(input, 1, "ones_like", **options)


@op(method=False)
def empty_like(input: Tensor, **options: Any) -> Tensor:
    """A tensor to be written yet, in the shape, dtype and memory order of `input`."""
    return _like(input, 0, "empty_like", **options)


@op(method=False)
def full_like(input: Tensor, fill_value: Any, **options: Any) -> Tensor:
    """`fill_value` in the shape and dtype of `input`."""
    if isinstance(fill_value, Tensor):
        fill_value = fill_value.item()
    return _like(input, fill_value, "full_like", **options)


def beside(t: Tensor, options: dict[str, Any]) -> dict[str, Any]:
    """The options of `t.new_...()`: on the device of `t` if nothing else is said, whatever the default."""
    if options.get("device") is None:
        options["device"] = t.device
    return options


@method
def new_zeros(self: Tensor, *size: Any, dtype: Any = None, **options: Any) -> Tensor:
    return _filled(size, 0, "new_zeros", dtype=dtype or self.dtype, **beside(self, options))


@method
def new_ones(self: Tensor, *size: Any, dtype: Any = None, **options: Any) -> Tensor:
    return _filled(size, 1, "new_ones", dtype=dtype or self.dtype, **beside(self, options))


@method
def new_empty(self: Tensor, *size: Any, dtype: Any = None, **options: Any) -> Tensor:
    return _filled(size, 0, "new_empty", dtype=dtype or self.dtype, **beside(self, options))


@method
def new_full(self: Tensor, size: Any, fill_value: Any, *, dtype: Any = None, **options: Any) -> Tensor:
    return full(size, fill_value, dtype=dtype or self.dtype, **beside(self, options))


@method
def new_empty_strided(self: Tensor, size: Any, stride: Any, *, dtype: Any = None, **options: Any) -> Tensor:
    return empty_strided(size, stride, dtype=dtype or self.dtype, **beside(self, options))


@op(method=False)
def empty_strided(size: Any, stride: Any, *, dtype: Any = None, layout: Any = None, device: Any = None,
                  requires_grad: bool = False, pin_memory: bool = False) -> Tensor:
    """A tensor to be written yet, with the given strides."""
    only_strided(layout, "empty_strided")
    shape, strides = sizes_of((size,), "empty_strided"), tuple(stride)
    if len(shape) != len(strides):
        raise RuntimeError("mismatch in length of strides and shape")
    if any(step < 0 for step in strides):
        raise RuntimeError(f"Storage size calculation overflowed with sizes={list(shape)} and strides={list(strides)}")
    extent = 0 if 0 in shape else 1 + sum((s - 1) * st for s, st in zip(shape, strides, strict=False))
    whole = new(constant(0, (extent,), _dtype(dtype, "empty_strided")))
    return finish(alias(whole, shape, strides, 0), device, requires_grad, None, "empty_strided", pin_memory)


@op(method=False)
def empty_permuted(size: Any, physical_layout: Any, **options: Any) -> Tensor:
    """A tensor whose dimensions lie in memory in the order of `physical_layout`."""
    size, order = tuple(size), tuple(physical_layout)
    rank = len(size)
    if len(order) != rank:
        raise RuntimeError("Number of dimensions in size does not match the length of the physical_layout; i.e. "
                           f"len(size) = {rank} is not equal to len(physical_layout) = {len(order)}")
    for k, d in enumerate(order):
        if not 0 <= d < rank:
            raise RuntimeError(f"Dimension out of range (expected to be between 0 and {rank - 1}, but got {d} at index "
                               f"{k}). Negative dims are not supported by empty_permuted.")
    if len(set(order)) != rank:
        raise RuntimeError("Duplicate dim not allowed")
    strides = strides_in(size, order)
    return empty_strided(size, strides, **options)


# ---- sequences of numbers -------------------------------------------------------------------------------


def _numbers(values: np.ndarray, of: dtype) -> Tensor:
    array = np.ascontiguousarray(to_carrier(values, of))
    return new(leaf(array, tuple(values.shape), of))


def _on_meta(device: Any, what: str) -> bool:
    """Will `finish` make a meta tensor? Then its elements need not be made."""
    return (device is not None or parse_device() is not CPU) and parse_device(device, what) is META


def _plain(x: Any) -> Any:
    return x.item() if isinstance(x, (Tensor, np.generic)) else x


@op(method=False)
def arange(*bounds: Any, out: Any = None, dtype: Any = None, layout: Any = None, device: Any = None,
           requires_grad: bool = False, pin_memory: bool = False, **named: Any) -> Tensor:
    """`arange(end)`, `arange(start, end)`, `arange(start, end, step)`: numbers from start up to end, without it."""
    only_strided(layout, "arange")
    given = [_plain(b) for b in bounds]
    if len(given) == 1:
        given = [0, given[0]] if "end" not in named else given
    start = given[0] if given else _plain(named.get("start", 0))
    end = given[1] if len(given) > 1 else _plain(named.get("end"))
    step = given[2] if len(given) > 2 else _plain(named.get("step", 1))
    if end is None:
        raise TypeError("arange() received an invalid combination of arguments - got (), but expected one of: (end), "
                        "(start, end), (start, end, step)")
    if step == 0:
        raise RuntimeError("step must be nonzero")
    if not (math.isfinite(start) and math.isfinite(end)):
        raise RuntimeError(f"unsupported range: {start} -> {end}")
    if (end - start) * step < 0:
        raise RuntimeError("upper bound and lower bound inconsistent with step sign")
    if dtype is not None:
        of = _dtype(dtype, "arange")
    elif out is not None:
        of = out.dtype
    elif all(isinstance(x, (int, bool)) for x in (start, end, step)):
        of = int64
    else:
        of = defaults.get_default_dtype()
    if of.name == "bool" or of.is_complex:
        raise NotImplementedError(f"\"arange_cpu\" not implemented for '{DTYPE_NAMES[of.name]}'")
    if of.category < FLOAT:
        n = max(0, math.ceil((end - start) / step))
        start, end, step = int(start), int(end), int(step)
        if of is int64:  # exact beyond 2**53; torch counts the elements of the other types in double
            if step == 0:  # a fraction that was rounded
                raise ValueError("step must be nonzero")
            n = max(0, -((start - end) // step))
    else:
        n = max(0, math.ceil((end - start) / step))
    if _on_meta(device, "arange"):
        return finish(new(meta_node((n,), of)), device, requires_grad, out, "arange", pin_memory)
    values = start + np.arange(n, dtype=np.int64 if of.category < FLOAT else np.float64) * step
    return finish(_numbers(values, of), device, requires_grad, out, "arange", pin_memory)


@op(method=False, name="range")
def closed_range(start: Any = 0, end: Any = None, step: Any = 1, **options: Any) -> Tensor:
    """As `arange`, with the end. Deprecated."""
    warn("torch.range is deprecated and will be removed in a future release because its behavior is "
         "inconsistent with Python's range builtin. Instead, use torch.arange, which produces values in "
         "[start, end).", UserWarning)
    if end is None:
        start, end = 0, start
    if step == 0:
        raise RuntimeError("step must be nonzero")
    if (end - start) * step < 0:
        raise RuntimeError("upper bound and lower bound inconsistent with step sign")
    n = math.floor((end - start) / step) + 1
    of = _dtype(options.pop("dtype", None), "range")
    return finish(_numbers(start + np.arange(n, dtype=np.float64) * step, of), options.get("device"),
                  options.get("requires_grad", False), options.get("out"), "range", options.get("pin_memory", False))


def _line(start: Any, end: Any, steps: int, of: dtype, what: str) -> np.ndarray:
    if steps < 0:
        raise RuntimeError("number of steps must be non-negative")
    if of.category < FLOAT:
        if of.name == "bool":
            raise NotImplementedError(f"\"{what}_cpu\" not implemented for 'Bool'")
        wide: Any = np.float64
        if steps > 1:
            start, end = int(start), int(end)  # as PyTorch: the ends are elements of the dtype too
            for number in (start, end):
                scalar_value(float(number), of)  # refuses, also what would wrap
    elif of.is_complex:
        wide = of.numpy
    else:
        wide = np.float32 if of.itemsize <= 4 else np.float64
    if steps == 1:
        return np.full(1, start, wide)
    first, last = wide(start) if not of.is_complex else start, wide(end) if not of.is_complex else end
    step = (last - first) / wide(max(steps - 1, 1)) if not of.is_complex else (end - start) / max(steps - 1, 1)
    at = np.arange(steps)
    half = steps // 2
    low = first + step * at[:half].astype(wide)
    high = last - step * (steps - 1 - at[half:]).astype(wide)
    return np.concatenate((low, high)).astype(wide)


@op(method=False)
def linspace(start: Any, end: Any, steps: int, *, out: Any = None, dtype: Any = None, layout: Any = None,
             device: Any = None, requires_grad: bool = False, pin_memory: bool = False) -> Tensor:
    """`steps` numbers from start to end, both among them."""
    _count_of_steps(steps, "linspace")
    only_strided(layout, "linspace")
    start, end = _plain(start), _plain(end)
    of = _sequence_dtype(start, end, dtype, out, "linspace")
    if steps >= 0 and _on_meta(device, "linspace"):
        return finish(new(meta_node((int(steps),), of)), device, requires_grad, out, "linspace", pin_memory)
    values = _line(start, end, int(steps), of, "linspace")
    return finish(_numbers(values, of), device, requires_grad, out, "linspace", pin_memory)


@op(method=False)
def logspace(start: Any, end: Any, steps: int, base: float = 10.0, *, out: Any = None, dtype: Any = None,
             layout: Any = None, device: Any = None, requires_grad: bool = False, pin_memory: bool = False) -> Tensor:
    """`base` to the powers that `linspace(start, end, steps)` gives."""
    _count_of_steps(steps, "logspace")
    only_strided(layout, "logspace")
    start, end = _plain(start), _plain(end)
    of = _sequence_dtype(start, end, dtype, out, "logspace")
    line = _line(start, end, int(steps), of, "logspace")
    values = np.power(line.dtype.type(base), line)
    return finish(_numbers(values, of), device, requires_grad, out, "logspace", pin_memory)


def _count_of_steps(steps: Any, what: str) -> None:
    if not hasattr(type(steps), "__index__"):
        raise TypeError(f"{what}(): argument 'steps' (position 3) must be int, not {type(steps).__name__}")


def _sequence_dtype(start: Any, end: Any, of: Any, out: Any, what: str) -> dtype:
    if of is not None:
        return _dtype(of, what)
    if out is not None:
        return out.dtype  # type: ignore[no-any-return]
    default = defaults.get_default_dtype()
    return default.to_complex() if isinstance(start, complex) or isinstance(end, complex) else default


@op(method=False)
def eye(n: int, m: int | None = None, *, out: Any = None, dtype: Any = None, layout: Any = None, device: Any = None,
        requires_grad: bool = False, pin_memory: bool = False) -> Tensor:
    """Ones on the diagonal, zeros elsewhere."""
    only_strided(layout, "eye")
    m = n if m is None else m
    if n < 0 or m < 0:
        raise RuntimeError(f"n must be greater or equal to 0, got {min(n, m)}")
    if dtype is None and out is not None:
        dtype = out.dtype
    of = _dtype(dtype, "eye")
    if _on_meta(device, "eye"):
        return finish(new(meta_node((n, m), of)), device, requires_grad, out, "eye", pin_memory)
    return finish(_numbers(np.eye(n, m, dtype=np.float32), of), device, requires_grad, out, "eye", pin_memory)
