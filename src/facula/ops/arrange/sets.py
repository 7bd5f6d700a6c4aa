"""Distinct elements: unique and unique_consecutive.

Their sizes depend on the values, so the host computes them at the call.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from facula._tensor.handle import Tensor
from facula._tensor.reading import lay_in
from facula._tensor.tape import attach
from facula.autograd.graph import Rule
from facula.dtypes import int64
from facula.engine.graph.node import size_of
from facula.ops.arguments import check_tensor, wrap_dim
from facula.ops.create.conversion import from_array, host_array
from facula.ops.registry import op


def _refusing(rule: str, name: str) -> Rule:
    """On the tape, as in torch, and no further."""
    def backward(ctx: Any, g: Tensor) -> Any:
        raise NotImplementedError(f"the derivative for '{name}' is not implemented.")
    return Rule(rule, backward)


_UNIQUE = _refusing("Unique2Backward0", "_unique2")
_ALONG = _refusing("UniqueDimBackward0", "unique_dim")
_CONSECUTIVE = _refusing("UniqueConsecutiveBackward0", "unique_consecutive")


def _parts(shape: tuple[int, ...], dim: int) -> int:
    """The dimension whose parts are told apart. Parts without elements neither differ nor equal.

    That there are no parts at all is fine.
    """
    if not shape:
        raise IndexError(f"Dimension specified as {dim} but tensor has no dimensions")
    d = wrap_dim(dim, len(shape))
    empty = [k for k, n in enumerate(shape) if n == 0]
    if shape[d] == 0:
        if len(empty) > 1:
            raise RuntimeError("Number of zero sized dimensions is more than one, so unique cannot "
                               "be applied ")
    elif empty:
        raise RuntimeError("There are 0 sized dimensions, and they aren't selected, so unique "
                           "cannot be applied")
    return d


def _outermost(values: Tensor, dim: int | None) -> Tensor:
    """The parts along `dim` lie one after another, as those that were compared."""
    if dim is None or 0 in values.shape:
        return values
    n = len(values.shape)
    d = wrap_dim(dim, n)
    return lay_in(values, (d, *[k for k in range(n) if k != d]))


@op
def unique(input: Tensor, sorted: bool = True, return_inverse: bool = False,
           return_counts: bool = False, dim: int | None = None) -> Any:
    check_tensor(input, "unique")
    array = host_array(input)
    d = None if dim is None else _parts(input.shape, dim)
    if d is not None and input.shape[d] == 0 and size_of(input.shape) == 0:
        values, inverse, counts = array, np.zeros(0, np.int64), np.zeros(0, np.int64)
    else:
        values, inverse, counts = np.unique(array, return_inverse=True, return_counts=True, axis=d,
                                            equal_nan=False)
    inverse = np.asarray(inverse).reshape(input.shape if d is None else (-1,))
    out = [attach(_outermost(from_array(values, input.dtype), dim), _UNIQUE if dim is None else _ALONG, (input,))]
    if return_inverse:
        out.append(from_array(inverse, int64))
    if return_counts:
        out.append(from_array(counts, int64))
    return out[0] if len(out) == 1 else tuple(out)


@op
def unique_consecutive(input: Tensor, return_inverse: bool = False, return_counts: bool = False,
                       dim: int | None = None) -> Any:
    check_tensor(input, "unique_consecutive")
    array = host_array(input)
    if dim is None:
        flat = array.reshape(-1)
        moved = flat
        changed = flat[1:] != flat[:-1]
    else:
        d = _parts(input.shape, dim)
        moved = np.moveaxis(array, d, 0)
        rows = moved.reshape(len(moved), size_of(moved.shape[1:]))
        changed = (rows[1:] != rows[:-1]).any(axis=1)
    n = moved.shape[0]
    starts = np.concatenate([[True], changed]) if n else np.zeros(0, bool)
    values = moved[starts]
    if dim is not None:
        values = np.moveaxis(values, 0, d)
    out = [attach(_outermost(from_array(values, input.dtype), dim), _CONSECUTIVE, (input,))]
    if return_inverse:
        inverse = np.cumsum(starts) - 1
        out.append(from_array(inverse.reshape(input.shape) if dim is None else inverse, int64))
    if return_counts:
        at = np.flatnonzero(starts)
        out.append(from_array(np.diff(np.append(at, n)), int64))
    return out[0] if len(out) == 1 else tuple(out)
