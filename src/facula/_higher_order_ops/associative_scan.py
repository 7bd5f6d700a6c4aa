"""`associative_scan`: all beginnings of a sequence combined."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from facula._higher_order_ops import _agreement
from facula._higher_order_ops._operators import associative_scan as associative_scan_op
from facula._tensor.handle import Tensor
from facula.utils import _pytree as pytree

__all__ = ["associative_scan", "associative_scan_op"]


def associative_scan(combine_fn: Callable[..., Any], xs: Any, dim: int, reverse: bool = False,
                     combine_mode: str = "pointwise") -> Any:
    """What `combine_fn` makes of the rows up to each, along `dim`, of the tensors in the tree `xs`: `cumsum` where it
    adds. It has to be associative, as rows are combined by pairs.

    Args:
        combine_fn: of two trees like `xs` (of rows) gives one.
        combine_mode: "generic", or "pointwise" for tensors on accelerators.

    Raises:
        ValueError: another mode, "pointwise" on the cpu, no rows.
        RuntimeError: no function, other leaves than tensors.

    Example:
        >>> import facula
        >>> from facula._higher_order_ops import associative_scan
        >>> associative_scan(lambda x, y: x * y, facula.tensor([1.0, 2.0, 3.0, 4.0]), 0, combine_mode="generic")
        tensor([ 1.,  2.,  6., 24.])
    """
    if not callable(combine_fn):
        raise RuntimeError(f"Combine_fn must be a callable, but got {combine_fn}")
    if combine_mode not in ("pointwise", "generic"):
        raise ValueError(f"Combine_mode must either 'pointwise' or 'generic', but got {combine_mode}")
    leaves, spec = pytree.tree_flatten(xs)
    if not leaves or not all(isinstance(leaf, Tensor) for leaf in leaves):
        raise RuntimeError(f"associative_scan: xs can only consist of tensors, and of one at least. Got {leaves}.")
    if combine_mode == "pointwise" and any(leaf.device.type == "cpu" for leaf in leaves):
        raise ValueError("For combine_mode='pointwise', all input tensors need to be on CUDA or XPU")
    rows = [leaf.movedim(dim, 0) for leaf in leaves]
    if any(row.shape[0] == 0 for row in rows):
        raise ValueError("All xs leaves must at least have 'dim' number of dimensions and scan dimension > 0")
    if any(row.shape[0] != rows[0].shape[0] for row in rows):
        raise ValueError(f"associative_scan: all tensors of xs need one length along dim, got "
                         f"{[row.shape[0] for row in rows]}")
    if reverse:
        rows = [row.flip(0) for row in rows]

    def combine(*flat: Any) -> Any:
        half = len(flat) // 2
        found, found_spec = pytree.tree_flatten(combine_fn(pytree.tree_unflatten(flat[:half], spec),
                                                           pytree.tree_unflatten(flat[half:], spec)))
        if found_spec != spec:
            raise RuntimeError(f"associative_scan: combine_fn must give a tree like xs ({spec}), got {found_spec}")
        return tuple(found)
    _agreement.agree(associative_scan_op, (combine_fn,), tuple(rows), (combine, rows, ()))
    found = associative_scan_op(combine, rows, ())
    return pytree.tree_unflatten([(y.flip(0) if reverse else y).movedim(0, dim) for y in found], spec)
