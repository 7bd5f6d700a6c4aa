"""One element of each row, chosen by an index: a masked sum that fuses with whatever computes the rows.

A gather would need the rows in memory, and its gradient a scatter; here both are pointwise. It reads every element
of a row, which a loss over classes has just computed anyway.
"""

from __future__ import annotations

from facula._tensor.handle import Tensor, new, read, view_node
from facula.engine.graph.node import META, contiguous_strides
from facula.engine.realize import all_of
from facula.ops.elementwise.pointwise import apply
from facula.ops.index.index_nodes import bounds, first_outside
from facula.ops.reduce.reduction_nodes import PICK, coordinate
from facula.ops.reduce.reductions import summed
from facula.size import Size


def pick(rows: Tensor, index: Tensor, dim: int) -> Tensor:
    """`rows` at `index` (its shape without `dim`) along `dim`; 0 where the index is no position."""
    node = read(index)
    shape = Size((*node.shape[:dim], 1, *node.shape[dim:]))
    at = new(view_node(node, shape, contiguous_strides(shape), 0, node.dtype))
    return summed(apply(PICK, (coordinate(rows.shape, dim), at, rows), None, rows.dtype), dim, False, None)


def has_other(target: Tensor, classes: int, other: int) -> bool:
    """Do some elements of the index tensor equal `other`, all the rest being in [0, classes)?

    Raises:
        IndexError: an element is neither.
    """
    node = read(target)
    low, high = bounds(node)
    if node.op is META:  # it may, for what is asked here: whether to leave such elements out
        return True
    if low >= 0 and high < classes and not low <= other <= high:
        return False
    array = all_of(node).reshape(-1)
    rest = array[array != other]
    if rest.size and (rest.min() < 0 or rest.max() >= classes):
        raise IndexError(f"Target {first_outside(rest, 0, classes)} is out of bounds.")
    return bool(rest.size < array.size)
