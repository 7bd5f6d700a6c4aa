"""Index tensors: what they may hold, and how several become one flat index into rows."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np

from facula._tensor.handle import Tensor
from facula._tensor.reading import read
from facula.dtypes import int64
from facula.engine.graph.expr import cast, function, make, operand, scalar, where
from facula.engine.graph.node import CONST, MAX, META, VIEW, Formula, Node, contiguous_strides, size_of
from facula.engine.graph.primitives.scan import linear_formula
from facula.engine.placing import meta_node
from facula.engine.realize import at_hand, expect, leaf, looking, value_of
from facula.engine.recorder import record
from facula.ops.view.value_views import reshaped
from facula.size import Size

Array = np.ndarray[Any, Any]


def want_tensor(x: Any, what: str, position: str) -> None:
    if not isinstance(x, Tensor):
        raise TypeError(f"{what}(): argument '{position}' must be Tensor, not {type(x).__name__}")


_WHOLE = 16  # parts of a tensor that are smaller than one in so many do not have all of it looked at


def bounds(node: Node, least: int, size: int) -> tuple[int, int] | None:
    """Smallest and largest element of an index tensor, (0, -1) if it has none; None if it is yet to be computed.
    Where all that a view is a part of lies in [least, size), the bounds may be those of that."""
    looking()
    found: tuple[int, int] | None = getattr(node, "range", None)
    if found is not None:
        return found
    inputs, op = node.inputs, node.op
    if 0 in node.shape:
        found = (0, -1)
    elif op is CONST:
        assert node.scalars is not None
        found = (int(node.scalars[0].real), int(node.scalars[0].real))
    else:
        if op is VIEW and inputs and inputs[0].buffer is not None:
            base = inputs[0]
            if hasattr(base, "range") or size_of(base.shape) <= _WHOLE * size_of(node.shape):
                found = bounds(base, least, size)
                if found is not None and least <= found[0] and found[1] < size:
                    return found
        array = at_hand(node)
        if array is None:
            return None
        found = (int(array.min()), int(array.max()))
    node.range = found
    return found


def bounds_now(node: Node, least: int, size: int) -> tuple[int, int]:
    """`bounds`, computed if need be, and read from wherever the elements are."""
    found = bounds(node, least, size)
    if found is None:
        array = value_of(node)
        found = node.range = (int(array.min()), int(array.max()))
    return found


def first_outside(array: Array, low: int, high: int) -> int:
    return int(array[(array < low) | (array >= high)].flat[0])


OUT_OF_BOUNDS = "index {i} is out of bounds for dimension {dim} with size {size}"


def checked(index: Tensor, size: int, dim: int, error: type[Exception] = IndexError,
            negative: bool = True, message: str = OUT_OF_BOUNDS) -> Node:
    """The positions in [0, size) that an index tensor names, as int64; from the end, too, if they may be `negative`.

    Raises `error` now for an index that is in memory, and where a value is read if it is still pending: nothing is
    computed for it. What is read by a wrong index until then is any element.
    """
    node = read(index)
    least = -size if negative else 0
    found = bounds(node, least, size)
    if found is None:
        if size:
            expect_within(node, least, size, error, message, dim)
            return _positions(node, size if negative else 0)
        found = bounds_now(node, least, size)  # every index is wrong, and there is no element to give instead
    low, high = found
    if low < least or high >= size:
        bad = first_outside(value_of(node), least, size)
        raise error(message.format(i=bad, dim=dim, size=size))
    return node if low >= 0 and node.dtype is int64 else _positions(node, size if low < 0 else 0)


_LONG = cast(operand(0), int64)
_POSITION = Formula("index", _LONG)
_FROM_END = Formula("index", where(_LONG < 0, _LONG + scalar(0), _LONG))


def _positions(node: Node, size: int) -> Node:
    """An index tensor as int64, with negative elements counted from the end if a size is given."""
    if node.op is META:
        return meta_node(node.shape, int64)
    if size:
        return record(_FROM_END, (node,), None, (size,), node.shape, int64)
    return node if node.dtype is int64 else record(_POSITION, (node,), None, None, node.shape, int64)


# ---- what is said of an index that is yet to be computed: its largest element counted from `least`, without a sign ---

_LOWEST = -1 << 63
_FROM_LEAST = Formula("index", _LONG + scalar(0))
_FROM_LEAST_BUT = Formula("index", where(function("eq")(_LONG, scalar(1)), _LOWEST, _LONG + scalar(0)))


def expect_within(node: Node, least: int, size: int, error: type[Exception], message: str | tuple[str, str],
                  dim: int = 0, but: int | None = None) -> None:
    """Have `error` raised if any element of `node` is outside [least, size) (and is not `but`), once they are
    computed. `message`: for elements on either side, or for those below and those above."""
    shift = _LOWEST - least
    if but is None:
        found = record(_FROM_LEAST, (node,), None, (shift,), node.shape, int64)
    else:
        found = record(_FROM_LEAST_BUT, (node,), None, (shift, but), node.shape, int64)
    if node.shape:
        found = record(MAX, (found,), (tuple(range(len(node.shape))),), None, _NO_DIMS, int64)
    expect(found, _outside, shift, least, size, error, message, dim)


_NO_DIMS = Size()


def _outside(largest: int, shift: int, least: int, size: int, error: type[Exception], message: str | tuple[str, str],
             dim: int) -> Exception | None:
    if largest - _LOWEST < size - least:
        return None
    i = (largest - shift - _LOWEST) % (1 << 64) + _LOWEST
    text = message if isinstance(message, str) else message[i >= size]
    return error(text.format(i=i, dim=dim, size=size))


def index_leaf(array: Array) -> Node:
    """A NumPy index array as a node."""
    array = np.asarray(array, dtype=np.int64, order="C")
    if not array.flags.owndata or not array.flags.writeable:
        array = array.copy()
    return leaf(array, tuple.__new__(Size, array.shape), int64)


def shaped_index(node: Node) -> Node:
    """A 0-d index as one of one element."""
    return node if node.shape else reshaped(node, tuple.__new__(Size, (1,)))


def counted(index: Tensor, size: int) -> Node:
    """The positions that an index names which counts through all of a tensor of `size` elements."""
    return checked(index, size, 0, IndexError, True,
                   "out of range: tried to access index {i} on a tensor of {size} elements.")


# ---- flat indices --------------------------------------------------------------------------------


def flat_index(shape: tuple[int, ...],
               nodes: dict[int, Node]) -> tuple[Node, int, int, tuple[int, ...]]:
    """Positions on some dimensions of `shape` (`checked` gives them), as one index into rows of a (V, D) matrix.

    Gives the index, V, D, and the shape of the result: where the index tensors' common shape goes
    is NumPy's rule, in place of the indexed dimensions if they are neighbours and first if not.
    """
    dims = sorted(nodes)
    last = dims[-1] + 1
    v, d = size_of(shape[:last]), size_of(shape[last:])
    if dims == [0]:
        return nodes[0], v, d, (*nodes[0].shape, *shape[1:])
    try:
        common = np.broadcast_shapes(*[nodes[k].shape for k in dims])
    except ValueError:
        shapes = ", ".join(str(list(nodes[k].shape)) for k in dims)
        raise IndexError("shape mismatch: indexing tensors could not be broadcast together with "
                         "shapes " + shapes) from None
    others = [k for k in range(last) if k not in nodes]
    n = len(common)
    adjacent = dims[-1] - dims[0] + 1 == len(dims)
    before = [k for k in others if adjacent and k < dims[0]]
    after = [k for k in others if k not in before]
    full = tuple.__new__(Size, (*[shape[k] for k in before], *common, *[shape[k] for k in after]))
    if any(node.op is META for node in nodes.values()):
        return meta_node(full, int64), v, d, (*full, *shape[last:])
    ones = (1,) * len(after)
    given = tuple([reshaped(nodes[k], tuple.__new__(Size, (*nodes[k].shape, *ones))) for k in dims])
    places = (*range(len(before)), *range(len(before) + n, len(full)))
    strides = contiguous_strides(shape[:last])
    factors = tuple([strides[k] for k in (*dims, *before, *after)])
    return record(_flat(len(dims), places), given, None, factors, full, int64), v, d, (*full, *shape[last:])


@functools.lru_cache(256)
def _flat(operands: int, places: tuple[int, ...]) -> Formula:
    """Some operands and the coordinates at some places, each times a number, added up."""
    terms = [operand(k) for k in range(operands)] + [make("index", value=place) for place in places]
    total = terms[0] * scalar(0)
    for k in range(1, len(terms)):
        total = total + terms[k] * scalar(k)
    return Formula("flat", total)


def linear_index(indices: Node, dim: int, shape: tuple[int, ...]) -> Node:
    """Positions in the flat array of `shape`; `indices` may differ from it only along `dim`."""
    return record(linear_formula(dim, len(shape)), (indices,), None, contiguous_strides(shape), indices.shape, int64)


def along(shape: tuple[int, ...], dim: int, node: Node) -> tuple[Node, int]:
    """The flat index of `gather`, and V: only the coordinate along `dim` comes from `node`, which `checked` has
    given."""
    return linear_index(node, dim, shape), size_of(shape)
