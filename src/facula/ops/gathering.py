"""Reading elements by index tensors: gather, take, index_select, embedding, and what masks pick out.

Everything is one primitive: rows of a (V, D) matrix by a flat int64 index (`rows`). Its gradient adds the
rows back (`scatter_rows`, in scattering.py), whose gradient picks them again.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from facula.autograd.graph import Rule
from facula.dtypes import bfloat16, bool_, dtype, float32, int32, int64, uint8
from facula.engine.graph.expr import cast, function, make, operand, scalar
from facula.engine.graph.node import CONST, GATHER, INDEX, META, Formula, Node, contiguous_strides, size_of
from facula.engine.meta import meta_node
from facula.engine.realize import leaf, looking, value_of
from facula.engine.recorder import record
from facula.ops.pointwise import broadcast, constant, result_dtype, to_dtype
from facula.ops.registry import op
from facula.ops.severing import severed
from facula.size import Size
from facula.tensor import Tensor, attach, is_meta, new, read, view_node

Array = np.ndarray[Any, Any]


# ---- the index ------------------------------------------------------------------------------------------


def bounds(node: Node) -> tuple[int, int]:
    """Smallest and largest element of an index tensor (it is computed now); (0, -1) if it has none."""
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
        array = value_of(node)
        found = (int(array.min()), int(array.max()))
    node.range = found
    return found


def first_outside(array: Array, low: int, high: int) -> int:
    return int(array[(array < low) | (array >= high)].flat[0])


def checked(index: Tensor, size: int, dim: int, error: type[Exception] = IndexError, negative: bool = True,
            message: str = "index {i} is out of bounds for dimension {dim} with size {size}") -> Node:
    """The node of an index tensor, all of whose elements lie in [-size, size) (or [0, size))."""
    node = read(index)
    low, high = bounds(node)
    least = -size if negative else 0
    if low < least or high >= size:
        bad = first_outside(value_of(node), least, size)
        raise error(message.format(i=bad, dim=dim, size=size))
    return node


def nonnegative(node: Node, size: int) -> Node:
    """An index tensor as int64 without negative elements."""
    return meta_node(node.shape, int64) if node.op is META else index_leaf(host(node, size))


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


def flat_index(shape: tuple[int, ...], nodes: dict[int, Node]) -> tuple[Node, int, int, tuple[int, ...]]:
    """Index tensors on some dimensions of `shape`, as one index into rows of a (V, D) matrix.

    Gives the index, V, D, and the shape of the result: where the index tensors' common shape goes is NumPy's
    rule, in place of the indexed dimensions if they are neighbours and first if not. The indices are in bounds.
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
        raise IndexError("shape mismatch: indexing tensors could not be broadcast together with shapes "
                         + shapes) from None
    others = [k for k in range(last) if k not in nodes]
    n = len(common)
    adjacent = dims[-1] - dims[0] + 1 == len(dims)
    before = [k for k in others if adjacent and k < dims[0]]
    after = [k for k in others if k not in before]
    rank = len(before) + n + len(after)
    full = (*[shape[k] for k in before], *common, *[shape[k] for k in after])
    if any(node.op is META for node in nodes.values()):
        return meta_node(full, int64), v, d, (*full, *shape[last:])
    arrays = {k: host(nodes[k], shape[k]) for k in dims}
    strides = contiguous_strides(shape[:last])
    flat: Any = 0
    for k, array in arrays.items():
        flat = flat + (array * strides[k]).reshape(array.shape + (1,) * len(after))
    for place, k in [*enumerate(before), *enumerate(after, len(before) + n)]:
        ramp = np.arange(shape[k], dtype=np.int64) * strides[k]
        flat = flat + ramp.reshape((-1,) + (1,) * (rank - 1 - place))
    flat = np.broadcast_to(flat, full)
    return index_leaf(flat), v, d, (*full, *shape[last:])


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
    """The flat index of `gather`: only the coordinate along `dim` comes from the index tensor. And V."""
    if node.dtype is int64 and bounds(node)[0] >= 0:
        return linear_index(node, dim, shape), size_of(shape)
    if node.op is META:
        return meta_node(node.shape, int64), size_of(shape)
    array = host(node, shape[dim])
    strides = contiguous_strides(shape)
    flat = array * strides[dim]
    for k, size in enumerate(array.shape):
        if k != dim and size != 1:
            flat = flat + (np.arange(size, dtype=np.int64) * strides[k]).reshape((-1,) + (1,) * (array.ndim - 1 - k))
    return index_leaf(flat), size_of(shape)


def shaped(node: Node, shape: tuple[int, ...]) -> Node:
    """`node`, reshaped."""
    if node.shape == shape:
        return node
    return view_node(node, shape, contiguous_strides(shape), 0, node.dtype)


def wrap_dim(dim: Any, rank: int) -> int:
    rank = rank or 1
    if not -rank <= dim < rank:
        raise IndexError(f"Dimension out of range (expected to be in range of [{-rank}, {rank - 1}], but got {dim})")
    return int(dim) % rank


# ---- the primitive --------------------------------------------------------------------------------------


def _rows_backward(ctx: Any, g: Tensor) -> tuple[Tensor]:
    from facula.ops.scattering import add_rows
    index, v, d = ctx.saved
    zero = new(constant(0, ctx.shapes[0], g.dtype))
    return (add_rows(zero, index, g, v, d),)


def picking(name: str) -> Rule:
    return Rule(name, _rows_backward)


INDEX_RULE = picking("IndexBackward0")
_GATHER_RULE = picking("GatherBackward0")
_TAKE_RULE = picking("TakeBackward0")
_INDEX_SELECT_RULE = picking("IndexSelectBackward0")
_MASKED_SELECT_RULE = picking("MaskedSelectBackward0")


def rows(src: Tensor, index: Node, v: int, d: int, shape: tuple[int, ...], rule: Rule = INDEX_RULE) -> Tensor:
    """Rows `index` of `src` seen as (v, d); the result has `shape`."""
    shape = tuple.__new__(Size, shape)
    if size_of(shape) == 0:
        node = constant(0, shape, src.dtype)
    else:
        node = record(GATHER, (shaped(read(src), (v, d)), index), None, None, (*index.shape, d), src.dtype)
        node = shaped(node, shape)
    return attach(new(node), rule, (src,), (index, v, d))


def want_tensor(x: Any, what: str, position: str) -> None:
    if not isinstance(x, Tensor):
        raise TypeError(f"{what}(): argument '{position}' must be Tensor, not {type(x).__name__}")


# ---- gather and its kin ---------------------------------------------------------------------------------


def gather_checks(what: str, input: Tensor, dim: int, index: Tensor) -> tuple[tuple[int, ...], int, Tensor]:
    """Shape (of at least one dimension), wrapped dim, index as 1-d if it was 0-d."""
    want_tensor(index, what, "index")
    dim = wrap_dim(dim, len(input.shape))
    if size_of(index.shape) and index.dtype is not int64 and index.dtype is not int32:
        raise RuntimeError(f"{what}(): Expected dtype int32/int64 for index")
    if size_of(index.shape) and (len(index.shape) or 1) != (len(input.shape) or 1):
        raise RuntimeError("Index tensor must have the same number of dimensions as "
                           + ("input tensor" if what == "gather" else "self tensor"))
    shape = input.shape or (1,)
    if size_of(index.shape) and len(index.shape):
        for k, size in enumerate(index.shape):
            if k != dim and size > shape[k]:
                raise RuntimeError(
                    f"Size does not match at dimension {k} expected index {list(index.shape)} to be no larger than "
                    f"self {list(input.shape)} apart from dimension {dim}")
    return shape, dim, index


@op(out=True)
def gather(input: Tensor, dim: int, index: Tensor, *, sparse_grad: bool = False) -> Tensor:
    """`input`'s elements at `index` along `dim`, every other coordinate being the index element's own."""
    shape, dim, index = gather_checks("gather", input, dim, index)
    if size_of(index.shape) == 0:
        return severed(new(constant(0, index.shape, input.dtype)), input, name="GatherBackward0")
    node = checked(index, shape[dim], dim, RuntimeError, False)
    flat, v = along(shape, dim, shaped_index(node))
    return rows(input, flat, v, 1, index.shape, _GATHER_RULE)


def shaped_index(node: Node) -> Node:
    """A 0-d index as one of one element; its range is known already."""
    if node.shape:
        return node
    if node.op is META:
        return meta_node((1,), node.dtype)
    out = index_leaf(value_of(node).reshape(1))
    out.range = node.range
    return out


@op(out=True)
def take(input: Tensor, index: Tensor) -> Tensor:
    """Elements of `input`, counted through it row by row."""
    want_tensor(index, "take", "index")
    if index.dtype is not int64:
        raise RuntimeError("take(): Expected a long tensor for index, but got " + index.dtype.name)
    v = size_of(input.shape)
    node = checked(index, v, 0, IndexError, True,
                   "out of range: tried to access index {i} on a tensor of {size} elements.")
    if bounds(node)[0] < 0:
        node = nonnegative(node, v)
    return rows(input, node, v, 1, index.shape, _TAKE_RULE)


@op(out=True)
def take_along_dim(input: Tensor, indices: Tensor, dim: int | None = None) -> Tensor:
    """`gather` with broadcasting; over the flattened input if no `dim` is given."""
    if indices.dtype is not int64:
        raise RuntimeError("torch.take_along_dim(): dtype of indices should be Long but got " + indices.dtype.name)
    if dim is None:
        return gather(input.reshape(-1), 0, indices.reshape(-1))
    if len(input.shape) != len(indices.shape):
        raise RuntimeError("torch.take_along_dim(): input and indices should have the same number of dimensions, "
                           f"but got {len(input.shape)} dimensions for input, and {len(indices.shape)} dimensions "
                           "for indices")
    dim = wrap_dim(dim, len(input.shape))
    a, b = list(input.shape), list(indices.shape)
    length, count = a[dim], b[dim]
    a[dim] = b[dim] = 1
    common = list(broadcast(tuple(a), tuple(b)))
    common[dim] = length
    input = input.expand(common)
    common[dim] = count
    return gather(input, dim, _nonnegative(indices.expand(common), length))


def _nonnegative(index: Tensor, size: int) -> Tensor:
    node = checked(index, size, 0)
    return index if bounds(node)[0] >= 0 else new(nonnegative(node, size))


def vector_index(what: str, input: Tensor, dim: int, index: Tensor, error: type[Exception] = IndexError,
                 negative: bool = False, message: str = "index out of range in self",
                 vector: str = "{what}(): Index is supposed to be a vector") -> tuple[
                     Node, int, int, tuple[int, ...], int]:
    """The flat index of index_select, index_add, ...: (index, v, d, shape of the rows, dim)."""
    want_tensor(index, what, "index")
    dim = wrap_dim(dim, len(input.shape))
    if len(index.shape) > 1:
        raise IndexError(vector.format(what=what))
    if index.dtype is not int64 and index.dtype is not int32:
        raise RuntimeError(f"{what}(): Expected dtype int32 or int64 for index but got: {index.dtype.name}")
    shape = input.shape or (1,)
    node = checked(index, shape[dim], dim, error, negative, message)
    return (*flat_index(shape, {dim: shaped_index(node)}), dim)


@op(out=True)
def index_select(input: Tensor, dim: int, index: Tensor) -> Tensor:
    """The slices of `input` along `dim` that `index` names."""
    flat, v, d, shape, _ = vector_index("index_select", input, dim, index)
    return rows(input, flat, v, d, shape if input.shape else (), _INDEX_SELECT_RULE)


# ---- masks ----------------------------------------------------------------------------------------------


def truth(t: Tensor) -> Array:
    """Which elements are not zero, in NumPy."""
    if t.dtype is bfloat16:
        t = to_dtype(t, float32)
    array = value_of(read(t))
    return array if t.dtype is bool_ else array != 0


@op(out=True)
def nonzero(input: Tensor, *, as_tuple: bool = False) -> Any:
    """Coordinates of the elements that are not zero: a matrix, or a vector per dimension."""
    array = truth(input)
    if as_tuple:
        return tuple(new(index_leaf(a)) for a in np.nonzero(array.reshape(array.shape or (1,))))
    return new(index_leaf(np.argwhere(array)))


@op
def argwhere(input: Tensor) -> Tensor:
    """Coordinates of the elements that are not zero, a row for each."""
    return nonzero(input)  # type: ignore[no-any-return]


@op(out=True)
def masked_select(input: Tensor, mask: Tensor) -> Tensor:
    """The elements where `mask` is True, as a vector."""
    want_tensor(mask, "masked_select", "mask")
    if mask.dtype is not bool_ and mask.dtype is not uint8:
        raise RuntimeError("masked_select: expected BoolTensor for mask")
    shape = broadcast(input.shape, mask.shape)
    if input.shape != shape:
        input = input.expand(shape)
    index = index_leaf(np.flatnonzero(np.broadcast_to(truth(mask), shape)))
    return rows(input, index, size_of(shape), 1, index.shape, _MASKED_SELECT_RULE)


# ---- embedding, one_hot, isin ---------------------------------------------------------------------------


def _embedding_backward(ctx: Any, g: Tensor) -> tuple[Tensor]:
    from facula.ops.scattering import add_rows
    index, v, d, padding, by_frequency = ctx.saved
    if padding >= 0:
        g = g.masked_fill((new(index) == padding).unsqueeze(-1), 0)
    if by_frequency and index.op is not META:
        at = value_of(index)
        count = np.bincount(at.reshape(-1), minlength=v)[at].astype(np.float32)
        g = g / to_dtype(new(leaf(count, index.shape, float32)), g.dtype).unsqueeze(-1)
    return (add_rows(new(constant(0, ctx.shapes[0], g.dtype)), index, g, v, d),)


_EMBEDDING_RULE = Rule("EmbeddingBackward0", _embedding_backward)


@op(method=False)
def embedding(weight: Tensor, indices: Tensor, padding_idx: int = -1, scale_grad_by_freq: bool = False,
              sparse: bool = False) -> Tensor:
    """Rows of `weight`. Row `padding_idx` (if not negative) gets no gradient."""
    want_tensor(weight, "embedding", "weight")
    want_tensor(indices, "embedding", "indices")
    if len(weight.shape) != 2:
        raise RuntimeError("'weight' must be 2-D")
    if indices.dtype is not int64 and indices.dtype is not int32:
        raise RuntimeError("Expected tensor for argument #1 'indices' to have one of the following scalar types: "
                           f"Long, Int; but got {indices.dtype.name} instead (while checking arguments for embedding)")
    v, d = weight.shape
    node = checked(indices, v, 0, IndexError, False, "index out of range in self")
    if node.dtype is not int64:
        node = nonnegative(node, v)
    shape = tuple.__new__(Size, (*indices.shape, d))
    if size_of(shape) == 0:
        out = constant(0, shape, weight.dtype)
    else:
        out = record(GATHER, (read(weight), node), None, None, shape, weight.dtype)
    return attach(new(out), _EMBEDDING_RULE, (weight,), (node, v, d, padding_idx, scale_grad_by_freq))


_ONE_HOT = Formula("one_hot", cast(function("eq")(operand(0), operand(1)), int64))


@op(namespace="nn.functional")
def one_hot(tensor: Tensor, num_classes: int = -1) -> Tensor:
    """1 at the class that each element names, 0 elsewhere, along a new last dimension."""
    if tensor.dtype is not int64:
        raise RuntimeError("one_hot is only applicable to index tensor of type LongTensor.")
    node = read(tensor)
    if size_of(tensor.shape) == 0:
        if num_classes <= 0:
            raise RuntimeError("Can not infer total number of classes from empty tensor.")
    else:
        low, high = bounds(node)
        if low < 0:
            raise RuntimeError("Class values must be non-negative.")
        if num_classes == -1:
            if node.op is META:
                raise RuntimeError("Tensor.item() cannot be called on meta tensors")
            num_classes = high + 1
        elif num_classes < 1:
            raise RuntimeError("num_classes should be positive")
        elif high >= num_classes:
            raise RuntimeError("Class values must be smaller than num_classes.")
    shape = tuple.__new__(Size, (*tensor.shape, num_classes))
    if size_of(shape) == 0:
        return new(constant(0, shape, int64))
    classes = record(INDEX, (), (0,), None, (num_classes,), int64)
    return new(record(_ONE_HOT, (shaped(node, (*tensor.shape, 1)), classes), None, None, shape, int64))


@op(method=False, out=True)
def isin(elements: Any, test_elements: Any, *, assume_unique: bool = False, invert: bool = False) -> Tensor:
    """Which of `elements` are among `test_elements`."""
    def plain(x: Any) -> Array:
        if not isinstance(x, Tensor):
            return np.asarray(x)
        return value_of(read(to_dtype(x, float32) if x.dtype is bfloat16 else x))
    if isinstance(elements, Tensor) and is_meta(elements) or isinstance(test_elements, Tensor) and is_meta(
            test_elements):
        return new(meta_node(np.shape(elements) if not isinstance(elements, Tensor) else elements.shape, bool_))
    if isinstance(elements, Tensor) and isinstance(test_elements, Tensor):
        of = result_dtype((elements, test_elements))  # in which they are compared: as `==` would
        elements, test_elements = to_dtype(elements, of), to_dtype(test_elements, of)
    a, b = plain(elements), plain(test_elements)
    found = np.array(np.isin(a, b, assume_unique=assume_unique, invert=invert), dtype=np.bool_)
    return new(leaf(found, tuple.__new__(Size, a.shape), bool_))


def index_dtype(of: dtype) -> bool:
    """May a tensor of this dtype be an index?"""
    return of is int64 or of is int32 or of is uint8 or of is bool_
