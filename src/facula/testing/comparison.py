"""`assert_close`: are tensors, numbers, or containers of them the same, as far as their precision goes?"""

from __future__ import annotations

import cmath
import collections.abc
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

import facula
from facula import layouts
from facula.dtypes import FLOAT, dtype
from facula.errors import warn

__all__ = ["assert_allclose", "assert_close"]

_TOLERANCES = {  # relative, absolute; 0 for what is not here
    facula.float16: (1e-3, 1e-5), facula.bfloat16: (1.6e-2, 1e-5), facula.float32: (1.3e-6, 1e-5),
    facula.float64: (1e-7, 1e-7), facula.complex64: (1.3e-6, 1e-5), facula.complex128: (1e-7, 1e-7)}
_TYPES = {int: facula.int64, float: facula.float64, complex: facula.complex128}
_OLD_TOLERANCES = {facula.float16: (1e-3, 1e-3), facula.float32: (1e-4, 1e-5), facula.float64: (1e-5, 1e-8)}


@dataclass(frozen=True)
class _How:
    """The options of `assert_close`."""

    rtol: float | None
    atol: float | None
    equal_nan: bool
    allow_subclasses: bool
    device: bool
    types: bool
    layout: bool
    stride: bool

    def tolerances(self, *types: dtype) -> tuple[float, float]:
        if self.rtol is not None and self.atol is not None:
            return self.rtol, self.atol
        pairs = [_TOLERANCES.get(of, (0.0, 0.0)) for of in types]
        return max(r for r, _ in pairs), max(a for _, a in pairs)


class _Unlike(Exception):
    """Says how two values differ."""


def assert_close(actual: Any, expected: Any, *, allow_subclasses: bool = True, rtol: float | None = None,
                 atol: float | None = None, equal_nan: bool = False, check_device: bool = True,
                 check_dtype: bool = True, check_layout: bool = True, check_stride: bool = False,
                 msg: str | Callable[[str], str] | None = None) -> None:
    """Raise AssertionError unless `|actual - expected| <= atol + rtol * |expected|` everywhere.

    Args:
        actual, expected: tensors, NumPy arrays, numbers, None, or sequences and mappings of these.
        allow_subclasses: whether a subclass of tensors may be compared with its base.
        rtol, atol: both or none; by default what the type's precision allows (float32: 1.3e-6 and 1e-5; integers: 0).
            Of different types, the larger ones.
        equal_nan: NaN is like NaN.
        check_device, check_dtype, check_layout, check_stride: whether these must be the same.
        msg: the error's text, or a function that makes it of the text that it would be.

    Raises:
        AssertionError: they are not close, or of different shape, type, length...
        TypeError: what cannot be compared: texts, sets, a tensor with a number.
        ValueError: one of `rtol` and `atol` without the other.

    Example:
        >>> import facula
        >>> facula.testing.assert_close(facula.tensor([1.0, 2.0]), facula.tensor([1.0, 2.0 + 1e-7]))
    """
    if (rtol is None) != (atol is None):
        raise ValueError("Both 'rtol' and 'atol' must be either specified or omitted, but got no "
                         f"{'rtol' if rtol is None else 'atol'}.")
    for name, value in (("rtol", rtol), ("atol", atol)):
        if value is not None and not value >= 0:
            raise ValueError(f"'{name}' must be greater than or equal to zero, but got {value}.")
    how = _How(rtol, atol, equal_nan, allow_subclasses, check_device, check_dtype, check_layout, check_stride)
    pairs = list(_pairs(actual, expected, (), how, msg))  # what cannot be compared is found before anything is
    for path, one, other in pairs:
        try:
            _compare(one, other, how)
        except _Unlike as error:
            raise AssertionError(_said(str(error), path, msg)) from None


def _said(text: str, path: tuple[Any, ...], msg: Any = None) -> str:
    text += f"\n\nThe failure occurred for item {''.join(f'[{part!r}]' for part in path)}" if path else ""
    if msg is None or msg == "":
        return text
    return str(msg(text)) if callable(msg) else str(msg)


def _pairs(a: Any, b: Any, path: tuple[Any, ...], how: _How, msg: Any) -> Iterator[tuple[tuple[Any, ...], Any, Any]]:
    """(where, one, other) of all values in two containers."""
    if isinstance(a, collections.abc.Sequence) and isinstance(b, collections.abc.Sequence) and not (
            isinstance(a, str) or isinstance(b, str)):
        if len(a) != len(b):
            raise AssertionError(_said(f"The length of the sequences mismatch: {len(a)} != {len(b)}", path))
        for place, (one, other) in enumerate(zip(a, b, strict=True)):
            yield from _pairs(one, other, (*path, place), how, msg)
    elif isinstance(a, collections.abc.Mapping) and isinstance(b, collections.abc.Mapping):
        missing, more = [k for k in b if k not in a], [k for k in a if k not in b]
        if missing or more:
            raise AssertionError(_said("The keys of the mappings do not match:\nMissing keys in the actual mapping: "
                                       f"{_sorted(missing)}\nAdditional keys in the actual mapping: {_sorted(more)}",
                                       path))
        for key in _sorted(list(b)):
            yield from _pairs(a[key], b[key], (*path, key), how, msg)
    else:
        if not _comparable(a, b, how):
            raise TypeError(_said("No comparison pair was able to handle inputs of type "
                                  f"{type(a)} and {type(b)}.", path))
        yield path, a, b


def _sorted(keys: list[Any]) -> list[Any]:
    try:
        return sorted(keys)
    except TypeError:
        return keys


def _is_bool(value: Any) -> bool:
    return isinstance(value, (bool, np.bool_))


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float, complex, np.number)) and not _is_bool(value)


def _comparable(a: Any, b: Any, how: _How) -> bool:
    if a is None or b is None or _is_bool(a) and _is_bool(b) or _is_number(a) and _is_number(b):
        return True
    if type(a) is not type(b) and not (how.allow_subclasses and (isinstance(a, type(b)) or isinstance(b, type(a)))):
        return False
    return all(isinstance(t, facula.Tensor) or isinstance(t, np.ndarray) and t.dtype.kind in "biufc" for t in (a, b))


def _compare(a: Any, b: Any, how: _How) -> None:
    if a is None or b is None:
        if a is not b:
            raise _Unlike(f"None mismatch: {a} is not {b}")
    elif _is_bool(a):
        if bool(a) is not bool(b):
            raise _Unlike(f"Booleans mismatch: {a} is not {b}")
    elif _is_number(a):
        _compare_numbers(a, b, how)
    else:
        _compare_tensors(facula.as_tensor(a), facula.as_tensor(b), how)


def _plain(number: Any) -> Any:
    return number.item() if isinstance(number, np.number) else number


def _compare_numbers(a: Any, b: Any, how: _How) -> None:
    a, b = _plain(a), _plain(b)
    if how.types and type(a) is not type(b):
        raise _Unlike(f"The (d)types do not match: {type(a)} != {type(b)}.")
    rtol, atol = how.tolerances(*(_TYPES.get(type(t), facula.float64) for t in (a, b)))
    if a == b or how.equal_nan and cmath.isnan(a) and cmath.isnan(b):
        return
    off = abs(a - b)
    if cmath.isfinite(off) and off <= atol + rtol * abs(b):
        return
    raise _Unlike(_difference("Scalars", a, b, off, _ratio(off, abs(b)), rtol, atol))


def _ratio(off: Any, size: Any) -> Any:
    if size == 0:
        return float("inf") if off else float("nan")
    return float("nan") if off == size == float("inf") else off / size


def _difference(what: str, a: Any, b: Any, off: Any, ratio: Any, rtol: float, atol: float) -> str:
    """Of two numbers."""
    equal = rtol == atol == 0
    return (f"{what} are not {'equal' if equal else 'close'}!\n\nExpected {b} but got {a}.\n"
            f"Absolute difference: {off}{'' if equal else f' (up to {atol} allowed)'}\n"
            f"Relative difference: {ratio}{'' if equal else f' (up to {rtol} allowed)'}")


# ---- tensors ------------------------------------------------------------------------------------------------


def _compare_tensors(a: Any, b: Any, how: _How) -> None:
    def same(what: str, one: Any, other: Any) -> None:
        if one != other:
            raise _Unlike(f"The values for attribute '{what}' do not match: {one} != {other}.")

    same("shape", a.shape, b.shape)
    if how.layout:
        same("layout", a.layout, b.layout)
    if how.device:
        same("device", a.device, b.device)
    if how.types:
        same("dtype", a.dtype, b.dtype)
    if how.stride and a.layout is b.layout is layouts.strided:
        same("stride()", a.stride(), b.stride())
    if a.is_meta or b.is_meta:
        return
    tolerances = how.tolerances(a.dtype, b.dtype)
    a, b = a.detach(), b.detach()
    if a.device != b.device:
        a, b = a.cpu(), b.cpu()
    if a.dtype is not b.dtype:
        of = facula.promote_types(a.dtype, b.dtype)
        a, b = a.to(of), b.to(of)
    if a.layout is b.layout is layouts.sparse_coo:
        _compare_sparse(a, b, tolerances, how)
        return
    if a.layout is not layouts.strided or b.layout is not layouts.strided:
        a, b = (t if t.layout is layouts.strided else t.to_dense() for t in (a, b))
    _compare_elements(a, b, tolerances, how, "Tensor-likes")


def _compare_sparse(a: Any, b: Any, tolerances: tuple[float, float], how: _How) -> None:
    a, b = a.coalesce(), b.coalesce()
    counts = a._nnz(), b._nnz()
    if counts[0] != counts[1]:
        raise _Unlike("The number of specified values in sparse COO tensors does not match: "
                      f"{counts[0]} != {counts[1]}")
    _compare_elements(a._indices(), b._indices(), (0, 0), how, "Sparse COO indices")
    _compare_elements(a._values(), b._values(), tolerances, how, "Sparse COO values")


def _compare_elements(a: Any, b: Any, tolerances: tuple[float, float], how: _How, what: str) -> None:
    rtol, atol = tolerances
    close = facula.isclose(a, b, rtol=rtol, atol=atol, equal_nan=how.equal_nan)
    if close.all().item():
        return
    if a.dtype.category < FLOAT:  # differences of bytes do not wrap around
        a, b = a.to(facula.int64), b.to(facula.int64)
    if a.dim() == 0:
        one, other = a.item(), b.item()
        off = abs(one - other)
        raise _Unlike(_difference("Scalars", one, other, off, _ratio(off, abs(other)), rtol, atol))
    wrong, total = int((~close).sum()), close.numel()
    equal = rtol == atol == 0
    off = (a - b).abs()
    off.masked_fill_(close, 0)
    size = b.abs()
    ratio = off / size
    ratio.masked_fill_(close, 0)
    lines = [f"{what} are not {'equal' if equal else 'close'}!\n",
             f"Mismatched elements: {wrong} / {total} ({wrong / total:.1%})"]
    for name, values, allowed in (("absolute", off, atol), ("relative", ratio, rtol)):
        place = int(values.argmax())
        index = tuple(int(i) for i in np.unravel_index(place, tuple(values.shape)))
        lines.append(f"Greatest {name} difference: {values.flatten()[place].item()} at index {index}"
                     + ("" if equal else f" (up to {allowed} allowed)"))
    raise _Unlike("\n".join(lines))


def assert_allclose(actual: Any, expected: Any, rtol: float | None = None, atol: float | None = None,
                    equal_nan: bool = True, msg: str = "") -> None:
    """Deprecated: `assert_close` is stricter, and says more. Types and strides may differ here.

    Example:
        >>> import facula, warnings
        >>> warnings.simplefilter("ignore")
        >>> facula.testing.assert_allclose(facula.tensor([1.0]), [1.0])
    """
    warn("`torch.testing.assert_allclose()` is deprecated since 1.12 and will be removed in a future release. "
                  "Please use `torch.testing.assert_close()` instead. You can find detailed upgrade instructions in "
                  "https://github.com/pytorch/pytorch/issues/61844.", FutureWarning)
    if not isinstance(actual, facula.Tensor):
        actual = facula.tensor(actual)
    if not isinstance(expected, facula.Tensor):
        expected = facula.tensor(expected, dtype=actual.dtype)
    if rtol is None and atol is None:
        pairs = [_OLD_TOLERANCES.get(t.dtype, (0.0, 0.0)) for t in (actual, expected)]
        rtol, atol = max(r for r, _ in pairs), max(a for _, a in pairs)
    assert_close(actual, expected, rtol=rtol, atol=atol, equal_nan=equal_nan, check_device=True, check_dtype=False,
                 check_stride=False, msg=msg or None)
