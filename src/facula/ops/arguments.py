"""Arguments as torch takes them: `dim`, NumPy's names for it, and what is refused."""

from __future__ import annotations

import functools
from collections.abc import Callable
from operator import index as as_int
from typing import Any

from facula._tensor.handle import Tensor
from facula.ops.registry import DTYPE_NAMES, Result


def wrap_dim(dim: Any, rank: int) -> int:
    """`dim` counted from the front, or IndexError. A 0-d tensor counts as 1-d."""
    try:
        k = as_int(dim)
    except TypeError:
        raise TypeError(f"argument 'dim' must be int, not {type(dim).__name__}") from None
    n = rank or 1
    if not -n <= k < n:
        raise IndexError(f"Dimension out of range (expected to be in range of [{-n}, {n - 1}], but "
                         f"got {k})")
    return k + n if k < 0 else k


def distinct_dims(dims: Any, rank: int) -> list[int]:
    """`wrap_dim` of each, in their order; RuntimeError if one comes twice."""
    found = [wrap_dim(k, rank) for k in dims]
    for k in found:
        if found.count(k) > 1:
            raise RuntimeError(f"dim {k} appears multiple times in the list of dims")
    return found


def dims_of(dim: Any, rank: int) -> tuple[int, ...]:
    """The reduced dimensions, sorted; all of them for None or an empty list."""
    if dim is None:
        return tuple(range(rank))
    if type(dim) is int:
        k = wrap_dim(dim, rank)
        return (k,) if rank else ()
    if isinstance(dim, (tuple, list)):
        if not dim:
            return tuple(range(rank))
        found = distinct_dims(dim, rank)
        return tuple(sorted(found)) if rank else ()
    k = wrap_dim(dim, rank)
    return (k,) if rank else ()


def numpy_names(body: Callable[..., Result]) -> Callable[..., Result]:
    """Accept `axis` and `keepdims` for `dim` and `keepdim`, as torch does."""
    @functools.wraps(body)
    def form(*args: Any, **kwargs: Any) -> Result:
        if kwargs:
            if "axis" in kwargs:
                kwargs["dim"] = kwargs.pop("axis")
            if "keepdims" in kwargs:
                kwargs["keepdim"] = kwargs.pop("keepdims")
        return body(*args, **kwargs)
    return form


def check_tensor(t: Any, what: str, arg: str = "input") -> None:
    if not isinstance(t, Tensor):
        raise TypeError(f"{what}(): argument '{arg}' (position 1) must be Tensor, not "
                        f"{type(t).__name__}")


def ints(args: tuple[Any, ...], what: str = "size") -> tuple[int, ...]:
    """The integers of `f(1, 2)`, `f((1, 2))` or `f([1, 2])`."""
    items = args[0] if len(args) == 1 and isinstance(args[0], (tuple, list)) else args
    if len(args) == 1 and items is args and isinstance(args[0], Tensor) and args[0].shape:
        items = args[0].tolist()
    try:
        return tuple([x if type(x) is int else as_int(x) for x in items])
    except TypeError:
        bad = next((x for x in items if not hasattr(x, "__index__")), items[0])
        raise TypeError(
            f"argument '{what}' must be tuple of ints, but found element of type {type(bad).__name__}"
        ) from None


def no_complex(input: Tensor, what: str) -> None:
    check_tensor(input, what)
    if input.dtype.is_complex:
        raise NotImplementedError(f'"{what}" not implemented for '
                                  f'\'{DTYPE_NAMES[input.dtype.name]}\'')


def nonempty(input: Tensor, dims: tuple[int, ...], full: bool, what: str) -> None:
    if 0 not in input.shape:
        return
    if full:
        if what not in ("max", "min"):
            raise IndexError(f"{what}(): Expected reduction dim to be specified for input.numel() "
                             "== 0.")
        raise RuntimeError(f"{what}(): Expected reduction dim to be specified for input.numel() == "
                           "0. Specify the reduction dim with the 'dim' argument.")
    for d in dims:
        if input.shape[d] == 0:
            name = what if what == "aminmax" else what + "()"
            raise IndexError(f"{name}: Expected reduction dim {d} to have non-zero size.")
