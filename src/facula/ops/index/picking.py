"""One element of each row, chosen by an index: a masked sum that fuses with whatever computes the rows.

A gather would need the rows in memory, and its gradient a scatter; here both are pointwise. It reads every element
of a row, which a loss over classes has just computed anyway.
"""

from __future__ import annotations

from facula._tensor.handle import Tensor, new
from facula._tensor.reading import read, view_node
from facula.engine.graph.node import META, contiguous_strides
from facula.engine.realize import at_hand
from facula.ops.elementwise.pointwise import apply
from facula.ops.index.index_nodes import bounds, expect_within, first_outside
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
    """May some elements of the index tensor equal `other`, all the rest being in [0, classes)?

    Raises:
        IndexError: an element is neither. If the elements are still pending, where a value is read.
    """
    node = read(target)
    if node.op is META:
        return True
    found = bounds(node, 0, classes)
    if found is not None and 0 <= found[0] and found[1] < classes and not found[0] <= other <= found[1]:
        return False
    elements = at_hand(node)
    if elements is None:
        expect_within(node, 0, classes, IndexError, _NO_CLASS, but=other)
        return True
    rest = elements[elements != other]
    if rest.size and (rest.min() < 0 or rest.max() >= classes):
        raise IndexError(_NO_CLASS.format(i=first_outside(rest, 0, classes)))
    return bool(rest.size < elements.size)


_NO_CLASS = "Target {i} is out of bounds."
