"""Reductions and scans over the elements that a mask leaves: `mask` is True for those that count.

Elements that do not count are replaced by what changes nothing (0 in a sum, -inf in a maximum).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import facula

__all__ = ["amax", "amin", "argmax", "argmin", "cumprod", "cumsum", "log_softmax", "logaddexp", "logsumexp", "mean",
           "median", "norm", "normalize", "prod", "softmax", "softmin", "std", "sum", "var"]


def _limit(x: Any, highest: bool, what: str) -> Any:
    if x.is_floating_point():
        return math.inf if highest else -math.inf
    if x.dtype is facula.bool:
        raise NotImplementedError(f"identity of {what} on {x.dtype} input")
    info = facula.iinfo(x.dtype)
    return info.max if highest else info.min


def _filled(x: Any, mask: Any, value: Any, dtype: Any = None) -> Any:
    """`x`, converted, with `value` where the mask is False."""
    if dtype is not None:
        x = x.to(dtype)
    if mask is None:
        return x
    if mask.dtype is not facula.bool:
        mask = mask.to(facula.bool)
    return facula.where(mask, x, facula.full((), value, dtype=x.dtype, device=x.device))


def _dims(x: Any, dim: Any) -> tuple[int, ...]:
    if dim is None or (isinstance(dim, (tuple, list)) and not dim):
        return tuple(range(x.dim()))
    dims = (dim,) if isinstance(dim, int) else dim
    return tuple(sorted(d % max(x.dim(), 1) for d in dims)) if x.dim() else ()


def _summed(x: Any, dim: Any, keepdim: bool, dtype: Any) -> Any:
    dims = _dims(x, dim)
    if not x.dim():
        return x if dtype is None and (x.is_floating_point() or x.is_complex()) else x.to(dtype or facula.int64)
    return facula.sum(x, dims, keepdim, dtype=dtype)


def sum(input: Any, dim: Any = None, *, keepdim: bool = False, dtype: Any = None, mask: Any = None) -> Any:
    """The sum of the elements that count."""
    return _summed(_filled(input, mask, 0), dim, bool(keepdim), dtype)


def prod(input: Any, dim: Any = None, *, keepdim: bool = False, dtype: Any = None, mask: Any = None) -> Any:
    """The product of the elements that count."""
    x = _filled(input, mask, 1)
    if dtype is None and not (x.is_floating_point() or x.is_complex()):
        dtype = facula.int64
    x = x if dtype is None else x.to(dtype)
    for d in reversed(_dims(x, dim)):
        x = x.prod(d, keepdim=bool(keepdim))
    return x


def _whole_numbers(what: str, x: Any, dtype: Any) -> None:
    if (dtype or x.dtype) is facula.bool:
        raise NotImplementedError(f"\"{what}_out_cpu\" not implemented for 'Bool'")


def cumsum(input: Any, dim: int, *, dtype: Any = None, mask: Any = None) -> Any:
    """Running sums; elements that do not count add nothing."""
    _whole_numbers("cumsum", input, dtype)
    return facula.cumsum(_filled(input, mask, 0, dtype), dim, dtype=dtype or input.dtype)


def cumprod(input: Any, dim: int, *, dtype: Any = None, mask: Any = None) -> Any:
    """Running products; elements that do not count change nothing."""
    _whole_numbers("cumprod", input, dtype)
    return facula.cumprod(_filled(input, mask, 1, dtype), dim, dtype=dtype or input.dtype)


def amax(input: Any, dim: Any = None, *, keepdim: bool = False, dtype: Any = None, mask: Any = None) -> Any:
    """The largest of the elements that count."""
    x = input if dtype is None else input.to(dtype)
    return facula.amax(_filled(x, mask, _limit(x, False, "amax")), _dims(x, dim), bool(keepdim))


def amin(input: Any, dim: Any = None, *, keepdim: bool = False, dtype: Any = None, mask: Any = None) -> Any:
    """The smallest of the elements that count."""
    x = input if dtype is None else input.to(dtype)
    return facula.amin(_filled(x, mask, _limit(x, True, "amin")), _dims(x, dim), bool(keepdim))


def argmax(input: Any, dim: Any = None, *, keepdim: bool = False, dtype: Any = None, mask: Any = None) -> Any:
    """Where the largest of the elements that count is."""
    x = input if dtype is None else input.to(dtype)
    found = facula.argmax(_filled(x, mask, _limit(x, False, "argmax")), dim, bool(keepdim))
    return found.to(x.dtype)  # as PyTorch: an index in the dtype of the elements


def argmin(input: Any, dim: Any = None, *, keepdim: bool = False, dtype: Any = None, mask: Any = None) -> Any:
    """Where the smallest of the elements that count is."""
    x = input if dtype is None else input.to(dtype)
    found = facula.argmin(_filled(x, mask, _limit(x, True, "argmin")), dim, bool(keepdim))
    return found.to(x.dtype)  # as PyTorch: an index in the dtype of the elements


def _count(input: Any, dim: Any, keepdim: bool, mask: Any, dtype: Any) -> Any:
    ones = facula.ones(input.shape, dtype=dtype, device=input.device)
    return _summed(_filled(ones, mask, 0), dim, keepdim, dtype)


def mean(input: Any, dim: Any = None, *, keepdim: bool = False, dtype: Any = None, mask: Any = None) -> Any:
    """The mean of the elements that count."""
    x = input if dtype is None else input.to(dtype)
    if not (x.is_floating_point() or x.is_complex()):
        raise ValueError("mean(): Could not infer output dtype. Input dtype must be either a floating point or complex "
                         f"dtype. Got: {input.dtype}")
    return sum(x, dim, keepdim=keepdim, mask=mask) / _count(x, dim, bool(keepdim), mask, x.dtype)


def median(input: Any, dim: int = -1, *, keepdim: bool = False, dtype: Any = None, mask: Any = None) -> Any:
    """The median of the elements that count."""
    x = input if dtype is None else input.to(dtype)
    of = x.dtype
    if x.is_complex():
        raise ValueError(f"input type must be floating point but got {of}")
    if not x.is_floating_point():
        x = x.to(facula.float64)
    if bool(facula.isnan(_filled(x, mask, 0)).any()):
        raise ValueError("masked median expects no NaN among the elements that count")
    return facula.nanmedian(_filled(x, mask, math.nan), dim, keepdim).values.to(of)


def norm(input: Any, ord: Any = 2.0, dim: Any = None, *, keepdim: bool = False, dtype: Any = None,
         mask: Any = None) -> Any:
    """The vector norm of the elements that count."""
    if dtype is not None and not (input.is_floating_point() or input.is_complex()):
        raise RuntimeError("linalg.vector_norm: Expected a floating point or complex tensor as input. Got "
                           f"{input.dtype}")
    x = input if dtype is None else input.to(dtype)
    blank = math.inf if ord is not None and ord < 0 else 0
    return facula.linalg.vector_norm(_filled(x, mask, blank), 2.0 if ord is None else ord, _dims(x, dim),
                                     bool(keepdim))


def var(input: Any, dim: Any = None, unbiased: bool | None = None, *, correction: Any = None, keepdim: bool = False,
        dtype: Any = None, mask: Any = None) -> Any:
    """The variance of the elements that count."""
    if input.dtype is facula.bool:
        raise RuntimeError("Subtraction, the `-` operator, with a bool tensor is not supported. If you are trying to "
                           "invert a mask, use the `~` or `logical_not()` operator instead.")
    x = input if dtype is None else input.to(dtype)
    if not (x.is_floating_point() or x.is_complex()):
        x = x.to(facula.get_default_dtype())
    if correction is None:
        correction = 1 if unbiased is None or unbiased else 0
    real = x.abs().dtype if x.is_complex() else x.dtype
    count = _count(x, dim, True, mask, real)
    centred = _filled(x - sum(x, dim, keepdim=True, mask=mask) / count, mask, 0)
    square = (centred * centred.conj()).real if x.is_complex() else centred * centred
    total = _summed(square, dim, bool(keepdim), None)
    freedom = facula.clamp(_count(x, dim, bool(keepdim), mask, real) - correction, min=0)
    return (total / freedom).to(x.dtype)


def std(input: Any, dim: Any = None, unbiased: bool | None = None, *, correction: Any = None, keepdim: bool = False,
        dtype: Any = None, mask: Any = None) -> Any:
    """The standard deviation of the elements that count."""
    return var(input, dim, unbiased, correction=correction, keepdim=keepdim, dtype=dtype, mask=mask).sqrt()


def _soft(function: Callable[..., Any], highest: bool) -> Callable[..., Any]:
    def body(input: Any, dim: int, *, dtype: Any = None, mask: Any = None) -> Any:
        x = input if dtype is None else input.to(dtype)
        return function(_filled(x, mask, _limit(x, highest, "amin" if highest else "amax")), dim)
    return body


softmax = _soft(facula.softmax, False)
log_softmax = _soft(facula.log_softmax, False)
softmin = _soft(lambda x, dim: facula.softmax(-x, dim), True)


def normalize(input: Any, ord: float, dim: int, *, eps: float = 1e-12, dtype: Any = None, mask: Any = None) -> Any:
    """Divided by the norm of the elements that count, or by `eps` if it is smaller."""
    x = input if dtype is None else input.to(dtype)
    size = facula.clamp(norm(x, ord, dim, keepdim=True, mask=mask), min=eps)
    return _filled(x, mask, 0) / size


def logaddexp(input: Any, other: Any, *, dtype: Any = None, input_mask: Any = None, other_mask: Any = None) -> Any:
    """log(exp(input) + exp(other)) of the elements that count."""
    x, y = (t if dtype is None else t.to(dtype) for t in (input, other))
    return facula.logaddexp(_filled(x, input_mask, -math.inf), _filled(y, other_mask, -math.inf))


def logsumexp(input: Any, dim: Any = None, *, keepdim: bool = False, dtype: Any = None, mask: Any = None) -> Any:
    """The logarithm of the sum of the exponentials of the elements that count."""
    x = input if dtype is None else input.to(dtype)
    least = -math.inf if x.is_complex() else _limit(x, False, "logsumexp")
    found = facula.logsumexp(_filled(x, mask, least), _dims(x, dim), bool(keepdim))
    return found.to(x.dtype)  # of integers too
