"""`make_tensor`: tensors of random numbers, for tests."""

from __future__ import annotations

import math
from typing import Any

import facula
from facula.dtypes import FLOAT, LACKING, dtype
from facula.errors import warn

__all__ = ["make_tensor"]


def make_tensor(*shape: Any, dtype: dtype, device: Any, low: float | None = None, high: float | None = None,
                requires_grad: bool = False, noncontiguous: bool = False, exclude_zero: bool = False,
                memory_format: Any = None) -> Any:
    """A tensor of uniformly distributed numbers from `low` to `high`.

    Args:
        shape: numbers, or one sequence of them.
        low: the smallest number, by default -9 (uint8 and bool: 0); of complex numbers, of each part.
        high: the first one that is too large, by default 10 (bool: 2); of floating-point numbers 9.
        requires_grad: whether gradients are kept.
        noncontiguous: leave memory between neighbours of the last dimension.
        exclude_zero: put the smallest number there is (of integers: 1) in the place of zeros.
        memory_format: where elements lie.

    Raises:
        ValueError: `low` and `high` leave nothing, or options that exclude each other.

    Example:
        >>> import facula
        >>> facula.testing.make_tensor((2, 3), dtype=facula.int8, device="cpu", low=1, high=2)
        tensor([[1, 1, 1],
                [1, 1, 1]], dtype=torch.int8)
    """
    if memory_format is not None and noncontiguous:
        raise ValueError("The parameters `noncontiguous` and `memory_format` are mutually exclusive, but got "
                         f"noncontiguous={noncontiguous} and memory_format={memory_format}")
    if not isinstance(dtype, facula.dtype) or dtype.name in LACKING:
        raise TypeError(f"The requested dtype '{dtype}' is not supported by torch.testing.make_tensor(). To request "
                        "support, file an issue at: https://github.com/pytorch/pytorch/issues")
    floating = dtype.category >= FLOAT
    if requires_grad and not floating:
        raise ValueError("`requires_grad=True` is not supported for boolean and integral dtypes, but got "
                         f"dtype={dtype}")
    size = tuple(shape[0]) if len(shape) == 1 and isinstance(shape[0], (tuple, list)) else shape
    first, last = _range(low, high, dtype)
    spread = noncontiguous and math.prod(size) > 1  # every second one of twice as many
    if spread:
        size = (*size[:-1], 2 * size[-1])
    if not floating:
        t = facula.randint(math.ceil(first), math.ceil(last), size, dtype=dtype, device=device)
    else:
        t = facula.empty(size, dtype=dtype, device=device)
        parts = facula.view_as_real(t) if dtype.is_complex else t
        if first == last:
            warn("Passing `low==high` to `torch.testing.make_tensor` for floating or complex types is "
                          "deprecated since 2.1 and will be removed in 2.3. Use `torch.full(...)` instead.",
                          FutureWarning)
            parts.fill_(first)
        elif last - first > facula.finfo(dtype).max:  # more than the type holds: half of it, twice
            parts.uniform_(first / 2, last / 2).mul_(2)
        else:
            parts.uniform_(first, last)
    if spread:
        t = t[..., 1::2]
    elif memory_format is not None:
        t = t.clone(memory_format=memory_format)
    if exclude_zero:
        tiny = facula.finfo(dtype).tiny if floating else 1
        t[t == 0] = complex(tiny, tiny) if dtype.is_complex else tiny
    return t.requires_grad_() if requires_grad else t


def _range(low: Any, high: Any, of: dtype) -> tuple[Any, Any]:
    """What is asked for, and what the type can hold of it."""
    usual: tuple[Any, Any]
    limits: tuple[Any, Any]
    if of is facula.bool:
        usual, limits = (0, 2), (0, 2)
    elif of.category < FLOAT:
        info = facula.iinfo(of)
        usual, limits = (-9, 10), (info.min, info.max + 1)
    else:
        real = facula.finfo(of)
        usual, limits = (-9, 9), (real.min, real.max)
    first = usual[0] if low is None else low
    last = usual[1] if high is None else high
    first, last = (t.item() if isinstance(t, facula.Tensor) else t for t in (first, last))
    if any(isinstance(t, float) and math.isnan(t) for t in (first, last)):
        raise ValueError(f"`low` and `high` cannot be NaN, but got low={first} and high={last}")
    if first > last or first == last and of.category < FLOAT:
        raise ValueError(f"`low` must be less than `high`, but got {first} >= {last}")
    if first >= limits[1] or last < limits[0] or of.category < FLOAT and last <= limits[0]:
        raise ValueError(f"The value interval specified by `low` and `high` is [{first}, {last}), but {of} only "
                         f"supports [{limits[0]}, {limits[1]})")
    return max(first, limits[0]), min(last, limits[1])
