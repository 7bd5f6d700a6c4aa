"""Index tensors: what they may hold, and how several become one flat index into rows."""

from __future__ import annotations

from typing import Any

import numpy as np

from facula._tensor.handle import Tensor, read
from facula.dtypes import int64
from facula.engine.graph.expr import make, operand, scalar, where
from facula.engine.graph.node import BATCHED, CONST, META, VIEW, Formula, Node, contiguous_strides, size_of
from facula.engine.meta import meta_node
from facula.engine.realize import all_of, leaf, looking, value_of
from facula.engine.recorder import record
from facula.size import Size

Array = np.ndarray[Any, Any]


def want_tensor(x: Any, what: str, position: str) -> None:
    if not isinstance(x, Tensor):
        raise TypeError(f"{what}(): argument '{position}' must be Tensor, not {type(x).__name__}")


def bounds(node: Node) -> tuple[int, int]:
    """Smallest and largest element of an index tensor, computed now; (0, -1) if it has none."""
    looking()
    try:
        return node.range
    except AttributeError:
        pass
    if node.op is CONST and size_of(node.shape):
        assert node.scalars is not None
        found = (int(node.scalars[0].real), int(node.scalars[0].real))
    elif size_of(node.shape) == 0:
        found = (0, -1)
    else:
        array = all_of(node)
        found = (int(array.min()), int(array.max()))
    node.range = found
    return found


def first_outside(array: Array, low: int, high: int) -> int:
    return int(array[(array < low) | (array >= high)].flat[0])


OUT_OF_BOUNDS = "index {i} is out of bounds for dimension {dim} with size {size}"


def checked(index: Tensor, size: int, dim: int, error: type[Exception] = IndexError,
            negative: bool = True, message: str = OUT_OF_BOUNDS) -> Node:
    """The node of an index tensor, all of whose elements lie in [-size, size) (or [0, size))."""
    node = read(index)
    low, high = bounds(node)
    least = -size if negative else 0
    if low < least or high >= size:
        bad = first_outside(all_of(node), least, size)
        raise error(message.format(i=bad, dim=dim, size=size))
    return node


def nonnegative(node: Node, size: int) -> Node:
    """An index tensor as int64 without negative elements."""
    if node.op is BATCHED:
        return recorded(node, size)
    return meta_node(node.shape, int64) if node.op is META else index_leaf(host(node, size))


_AROUND = Formula("around", where(operand(0) < 0, operand(0) + scalar(0), operand(0)))


def recorded(node: Node, size: int) -> Node:
    """`nonnegative` as a formula, for what cannot be looked at."""
    return record(_AROUND, (node,), None, (size,), node.shape, int64)


def host(node: Node, size: int) -> Array:
    """An index tensor as int64 without negative elements, in NumPy."""
    array = value_of(node)
    if array.dtype != np.int64:
        array = array.astype(np.int64)
    if bounds(node)[0] < 0:
        array = np.where(array < 0, array + size, array)
    return array


def index_leaf(array: Array) -> Node:
    """A NumPy index array as a node."""
    array = np.array(array, dtype=np.int64, order="C", copy=None)
    if not array.flags.owndata or not array.flags.writeable:
        array = array.copy()
    return leaf(array, tuple.__new__(Size, array.shape), int64)


def shaped_index(node: Node) -> Node:
    """A 0-d index as one of one element; its range is known already."""
    if node.shape:
        return node
    if node.op is META:
        return meta_node((1,), node.dtype)
    if node.op is BATCHED:
        out = record(VIEW, (node,), ((1,),), (0,), tuple.__new__(Size, (1,)), node.dtype)
        out.range = bounds(node)
        return out
    out = index_leaf(value_of(node).reshape(1))
    out.range = node.range
    return out


def counted(index: Tensor, size: int) -> Node:
    """The node of an index that counts through all of a tensor of `size` elements."""
    node = checked(index, size, 0, IndexError, True,
                   "out of range: tried to access index {i} on a tensor of {size} elements.")
    return node if bounds(node)[0] >= 0 else nonnegative(node, size)


# ---- flat indices --------------------------------------------------------------------------------

def flat_index(shape: tuple[int, ...],
               nodes: dict[int, Node]) -> tuple[Node, int, int, tuple[int, ...]]:
    """Index tensors on some dimensions of `shape`, as one index into rows of a (V, D) matrix.

    Gives the index, V, D, and the shape of the result: where the index tensors' common shape goes
    is NumPy's rule, in place of the indexed dimensions if they are neighbours and first if not. The
    indices are in bounds.
    """
    dims = sorted(nodes)
    last = dims[-1] + 1
    v, d = size_of(shape[:last]), size_of(shape[last:])
    if dims == [0] and nodes[0].dtype is int64 and bounds(nodes[0])[0] >= 0:
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
    rank = len(before) + n + len(after)
    full = (*[shape[k] for k in before], *common, *[shape[k] for k in after])
    if any(node.op is META for node in nodes.values()):
        return meta_node(full, int64), v, d, (*full, *shape[last:])
    strides = contiguous_strides(shape[:last])
    if any(node.op is BATCHED for node in nodes.values()):
        places = [*enumerate(before), *enumerate(after, len(before) + n)]
        return _recorded_index(shape, nodes, places, len(after), full), v, d, (*full, *shape[last:])
    arrays = {k: host(nodes[k], shape[k]) for k in dims}
    flat: Any = 0
    for k, array in arrays.items():
        flat = flat + (array * strides[k]).reshape(array.shape + (1,) * len(after))
    for place, k in [*enumerate(before), *enumerate(after, len(before) + n)]:
        ramp = np.arange(shape[k], dtype=np.int64) * strides[k]
        flat = flat + ramp.reshape((-1,) + (1,) * (rank - 1 - place))
    flat = np.broadcast_to(flat, full)
    return index_leaf(flat), v, d, (*full, *shape[last:])


def _recorded_index(shape: tuple[int, ...], nodes: dict[int, Node], places: list[tuple[int, int]], after: int,
                    full: tuple[int, ...]) -> Node:
    """`flat_index` as a formula, for what cannot be looked at. `places`: (where it goes, dimension) of those without
    an index, `after` of which come after the indices."""
    strides = contiguous_strides(shape[:max(nodes) + 1])
    total: Any = None
    inputs: list[Node] = []
    numbers: list[int] = []
    for place, (k, node) in enumerate(nodes.items()):
        wide = (*node.shape, *(1,) * after)
        inputs.append(record(VIEW, (recorded(node, shape[k]),), (contiguous_strides(wide),), (0,),
                             tuple.__new__(Size, wide), int64))
        term = operand(place) * scalar(len(numbers))
        total = term if total is None else total + term
        numbers.append(strides[k])
    for place, k in places:
        total = total + make("index", value=place) * scalar(len(numbers))
        numbers.append(strides[k])
    return record(Formula("flat", total), tuple(inputs), None, tuple(numbers), tuple.__new__(Size, full), int64)


_linear: dict[tuple[int, int], Formula] = {}


def linear_index(indices: Node, dim: int, shape: tuple[int, ...]) -> Node:
    """Positions in the flat array of `shape`; `indices` may differ from it only along `dim`."""
    rank = len(shape)
    formula = _linear.get((rank, dim))
    if formula is None:
        total = operand(0) * scalar(dim)
        for k in range(rank):
            if k != dim:
                total = total + make("index", value=k) * scalar(k)
        formula = _linear[rank, dim] = Formula("linear", total)
    return record(formula, (indices,), None, contiguous_strides(shape), indices.shape, int64)


def along(shape: tuple[int, ...], dim: int, node: Node) -> tuple[Node, int]:
    """The flat index of `gather`, and V: only the coordinate along `dim` comes from `node`."""
    if node.dtype is int64 and bounds(node)[0] >= 0:
        return linear_index(node, dim, shape), size_of(shape)
    if node.op is META:
        return meta_node(node.shape, int64), size_of(shape)
    if node.op is BATCHED:
        return linear_index(recorded(node, shape[dim]), dim, shape), size_of(shape)
    array = host(node, shape[dim])
    strides = contiguous_strides(shape)
    flat = array * strides[dim]
    for k, size in enumerate(array.shape):
        if k != dim and size != 1:
            ramp = np.arange(size, dtype=np.int64) * strides[k]
            flat = flat + ramp.reshape((-1,) + (1,) * (array.ndim - 1 - k))
    return index_leaf(flat), size_of(shape)
