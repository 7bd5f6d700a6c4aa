"""How a loss's values become one: names, and the spellings of PyTorch 0.4 and before."""

from __future__ import annotations

from typing import Any

from facula.errors import warn

_NUMBERS = {"none": 0, "mean": 1, "sum": 2}


def get_enum(reduction: str) -> int:
    """The number PyTorch's internals use for a reduction; ValueError for an unknown name."""
    if reduction == "elementwise_mean":
        warn("reduction='elementwise_mean' is deprecated. Please use reduction='mean' instead.")
        return 1
    if reduction not in _NUMBERS:
        raise ValueError(f"{reduction} is not a valid value for reduction")
    return _NUMBERS[reduction]


def legacy_get_string(size_average: Any, reduce: Any, emit_warning: bool = True) -> str:
    """The reduction that `size_average=` and `reduce=` stood for; warns with the modern spelling."""
    average = True if size_average is None else size_average
    reduced = True if reduce is None else reduce
    name = "none" if not reduced else "mean" if average else "sum"
    if emit_warning:
        warn("size_average and reduce args will be deprecated, please use "
             f"reduction='{name}' instead.")
    return name


def legacy_get_enum(size_average: Any, reduce: Any, emit_warning: bool = True) -> int:
    """As `legacy_get_string`, but the number."""
    return get_enum(legacy_get_string(size_average, reduce, emit_warning))


def reduce_values(values: Any, reduction: str) -> Any:
    """Apply a reduction; ValueError for an unknown name."""
    if reduction == "mean":
        return values.mean()
    if reduction == "sum":
        return values.sum()
    if reduction == "none":
        return values
    get_enum(reduction)
    return values.mean()
