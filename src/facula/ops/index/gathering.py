"""Reading elements by index tensors: gather, take, index_select, embedding, masks.

Everything is one primitive: rows of a (V, D) matrix by a flat int64 index (indexed_rows.py).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from facula._tensor.handle import Tensor, is_meta, new
from facula._tensor.reading import lay, read
from facula._tensor.tape import attach
from facula.autograd.graph import Rule
from facula.dtypes import bfloat16, bool_, float32, int32, int64, uint8
from facula.engine.arranging import picked
from facula.engine.graph.expr import cast, function, operand
from facula.engine.graph.node import INDEX, META, Formula, Node, size_of
from facula.engine.placing import meta_node
from facula.engine.realize import leaf, value_of
from facula.engine.recorder import record
from facula.ops.arguments import wrap_dim
from facula.ops.casting import constant, to_dtype
from facula.ops.elementwise.pointwise import broadcast
from facula.ops.index.index_nodes import (
    Array,
    along,
    bounds,
    bounds_now,
    checked,
    counted,
    expect_within,
    flat_index,
    index_leaf,
    linear_index,
    shaped_index,
    want_tensor,
)
from facula.ops.index.indexed_rows import add_rows, node_rows, picking, rows
from facula.ops.promotion import result_dtype
from facula.ops.registry import DTYPE_NAMES, op
from facula.ops.severing import severed
from facula.ops.view.value_views import reshaped
from facula.size import Size

# ---- gather and its kin --------------------------------------------------------------------------

_GATHER_RULE = picking("GatherBackward0")
_PACKING_RULE = picking("PackPaddedSequenceBackward0")
_TAKE_RULE = picking("TakeBackward0")
_INDEX_SELECT_RULE = picking("IndexSelectBackward0")
_MASKED_SELECT_RULE = picking("MaskedSelectBackward0")


def gather_checks(what: str, input: Tensor, dim: int,
                  index: Tensor) -> tuple[tuple[int, ...], int, Tensor]:
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
                    f"Size does not match at dimension {k} expected index {list(index.shape)} to "
                    f"be no larger than self {list(input.shape)} apart from dimension {dim}")
    return shape, dim, index


@op(out=True)
def gather(input: Tensor, dim: int, index: Tensor, *, sparse_grad: bool = False) -> Tensor:
    """`input`'s elements at `index` along `dim`, all other coordinates being its own."""
    shape, dim, index = gather_checks("gather", input, dim, index)
    if size_of(index.shape) == 0:
        return severed(new(constant(0, index.shape, input.dtype)), input, name="GatherBackward0")
    return _gathered(input, dim, checked(index, shape[dim], dim, RuntimeError, False))


def _gathered(input: Tensor, dim: int, positions: Node) -> Tensor:
    flat, v = along(input.shape or (1,), dim, shaped_index(positions))
    return rows(input, flat, v, 1, positions.shape, _GATHER_RULE)


@op(out=True)
def take(input: Tensor, index: Tensor) -> Tensor:
    """Elements of `input`, counted through it row by row."""
    want_tensor(index, "take", "index")
    if index.dtype is not int64:
        raise RuntimeError("take(): Expected a long tensor for index, but got " + index.dtype.name)
    v = size_of(input.shape)
    return rows(input, counted(index, v), v, 1, index.shape, _TAKE_RULE)


@op(out=True)
def take_along_dim(input: Tensor, indices: Tensor, dim: int | None = None) -> Tensor:
    """`gather` with broadcasting; over the flattened input if no `dim` is given."""
    if indices.dtype is not int64 and indices.dtype is not int32:
        raise RuntimeError("torch.take_along_dim(): dtype of indices should be Long but "
                           "got " + indices.dtype.name)
    if dim is None:
        return gather(input.reshape(-1), 0, indices.reshape(-1))
    if len(input.shape) != len(indices.shape):
        raise RuntimeError("torch.take_along_dim(): input and indices should have the same number "
                           f"of dimensions, but got {len(input.shape)} dimensions for input, and "
                           f"{len(indices.shape)} dimensions for indices")
    dim = wrap_dim(dim, len(input.shape))
    a, b = list(input.shape), list(indices.shape)
    length, count = a[dim], b[dim]
    a[dim] = b[dim] = 1
    common = list(broadcast(tuple(a), tuple(b)))
    common[dim] = length
    input = input.expand(common)
    common[dim] = count
    if size_of(tuple(common)):
        indices = new(checked(indices, length, 0))
    return _gathered(input, dim, read(indices.expand(common)))


def vector_checks(what: str, input: Tensor, dim: int, index: Tensor) -> tuple[int, tuple[int, ...]]:
    """Of index_select, index_add, ...: the wrapped dim, and the shape of what `index` names."""
    want_tensor(index, what, "index")
    dim = wrap_dim(dim, len(input.shape))
    if len(index.shape) > 1:
        raise IndexError(f"{what}(): Index is supposed to be a vector")
    if index.dtype is not int64 and index.dtype is not int32:
        raise RuntimeError(f"{what}(): Expected dtype int32 or int64 for index but got: "
                           f"{index.dtype.name}")
    shape = input.shape or (1,)
    return dim, (*shape[:dim], *(index.shape or (1,)), *shape[dim + 1:])


def vector_index(input: Tensor, dim: int, index: Tensor, negative: bool = False,
                 message: str = "index out of range in self") -> tuple[Node, int, int]:
    """The flat index of index_select, index_add, ..., V and D. A check that is recorded cannot be taken back: this
    comes after whatever else may be wrong."""
    shape = input.shape or (1,)
    node = checked(index, shape[dim], dim, IndexError, negative, message)
    return flat_index(shape, {dim: shaped_index(node)})[:3]


@op(out=True)
def index_select(input: Tensor, dim: int, index: Tensor) -> Tensor:
    """The slices of `input` along `dim` that `index` names."""
    dim, shape = vector_checks("index_select", input, dim, index)
    flat, v, d = vector_index(input, dim, index)
    return rows(input, flat, v, d, shape if input.shape else (), _INDEX_SELECT_RULE)


@op(method=False)
def _packed_rows(input: Tensor, places: Tensor) -> Tensor:
    """The elements `places` (n, int64) of the first two dimensions of `input`, counted as one: (n, *). They are in
    range: nobody looks at them. `nn.utils.rnn` packs sequences so."""
    v, rest = size_of(input.shape[:2]), tuple(input.shape[2:])
    shape, d = (*places.shape, *rest), size_of(rest)
    node, index = read(input), read(places)
    found = picked(node, index, v, d)
    found = node_rows(node, index, v, d, shape) if found is None else reshaped(found, shape)
    return attach(new(found), _PACKING_RULE, (input,), (index, v, d))


# ---- positions that an operation has found itself ------------------------------------------------

def node_along(node: Node, positions: Node, dim: int) -> Node:
    """Elements of `node` at `positions` along `dim`. They are in range: nobody looks at them."""
    if size_of(positions.shape) == 0:
        return constant(0, positions.shape, node.dtype)
    at = linear_index(positions, dim, node.shape)
    return node_rows(node, at, size_of(node.shape), 1, positions.shape)


def take_along(x: Tensor, positions: Tensor, dim: int) -> Tensor:
    """`node_along` of a tensor, on the tape."""
    if not x.shape:
        return x
    out = new(node_along(read(x), read(positions), dim))
    return attach(out, _TAKE_ALONG, (x,), (positions, dim))


def add_along(g: Tensor, positions: Tensor, dim: int, shape: tuple[int, ...]) -> Tensor:
    """Zeros of `shape`, with `g` added at its positions along `dim`."""
    if not shape:
        return g.reshape(())
    zeros = new(constant(0, shape, g.dtype))
    if size_of(g.shape) == 0:
        return zeros
    return add_rows(zeros, linear_index(read(positions), dim, shape), g, size_of(shape), 1)


def _along_backward(ctx: Any, g: Tensor, *rest: Any) -> tuple[Tensor]:
    positions, dim = ctx.saved
    return (add_along(g, positions, dim, ctx.shapes[0]),)


def along_rule(name: str) -> Rule:
    """The gradient of elements at the saved (positions, dim); a second result has none."""
    return Rule(name, _along_backward)


_TAKE_ALONG = along_rule("GatherBackward0")

# ---- masks ---------------------------------------------------------------------------------------

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
    found = new(index_leaf(np.argwhere(array)))
    return lay(found, ((1, 0), (1, found.shape[0])))


@op
def argwhere(input: Tensor) -> Tensor:
    """Coordinates of the elements that are not zero, a row for each."""
    return nonzero(input)  # type: ignore[no-any-return]


def masked(input: Tensor, mask: Tensor) -> tuple[Tensor, Node]:
    """`input` broadcast against `mask`, and the flat index of the elements where that is True."""
    shape = broadcast(input.shape, mask.shape)
    if input.shape != shape:
        input = input.expand(shape)
    return input, index_leaf(np.flatnonzero(np.broadcast_to(truth(mask), shape)))


@op(out=True)
def masked_select(input: Tensor, mask: Tensor) -> Tensor:
    """The elements where `mask` is True, as a vector."""
    want_tensor(mask, "masked_select", "mask")
    if mask.dtype is not bool_ and mask.dtype is not uint8:
        raise RuntimeError("masked_select: expected BoolTensor for mask")
    input, index = masked(input, mask)
    return rows(input, index, size_of(input.shape), 1, index.shape, _MASKED_SELECT_RULE)


# ---- embedding, isin ------------------------------------------------------------------------------

def _embedding_backward(ctx: Any, g: Tensor) -> tuple[Tensor]:
    index, v, d, padding, by_frequency = ctx.saved
    if padding >= 0:
        g = g.masked_fill((new(index) == padding).unsqueeze(-1), 0)
    if by_frequency and not is_meta(g):
        ones = new(constant(1.0, index.shape, float32))
        count = rows(add_rows(new(constant(0.0, (v,), float32)), index, ones, v, 1), index, v, 1, index.shape)
        g = g / to_dtype(count, g.dtype).unsqueeze(-1)
    return (add_rows(new(constant(0, ctx.shapes[0], g.dtype)), index, g, v, d),)


_EMBEDDING_RULE = Rule("EmbeddingBackward0", _embedding_backward)


@op(method=False)
def embedding(weight: Tensor, indices: Tensor, padding_idx: int = -1,
              scale_grad_by_freq: bool = False, sparse: bool = False) -> Tensor:
    """Rows of `weight`. Row `padding_idx` (if not negative) gets no gradient."""
    want_tensor(weight, "embedding", "weight")
    want_tensor(indices, "embedding", "indices")
    if len(weight.shape) != 2:
        raise RuntimeError("'weight' must be 2-D")
    if indices.dtype is not int64 and indices.dtype is not int32:
        raise RuntimeError("Expected tensor for argument #1 'indices' to have one of the following "
                           f"scalar types: Long, Int; but got {indices.dtype.name} instead (while "
                           "checking arguments for embedding)")
    v, d = weight.shape
    node = checked(indices, v, 0, IndexError, False, "index out of range in self")
    out = new(node_rows(read(weight), node, v, d, (*indices.shape, d)))
    return attach(out, _EMBEDDING_RULE, (weight,), (node, v, d, padding_idx, scale_grad_by_freq))


_NO_CLASS = "Class values must be non-negative.", "Class values must be smaller than num_classes."


def _classes(node: Node, given: int) -> int:
    """How many classes there are, `given` if that is not -1; the elements of `node` are to be classes."""
    if given == -1 and node.op is META:
        raise RuntimeError("Tensor.item() cannot be called on meta tensors")
    found = bounds_now(node, 0, given) if given < 1 else bounds(node, 0, given)
    if found is None:
        expect_within(node, 0, given, RuntimeError, _NO_CLASS)
        return given
    low, high = found
    if low < 0:
        raise RuntimeError(_NO_CLASS[0])
    if given == -1:
        return high + 1
    if given < 1:
        raise RuntimeError("num_classes should be positive")
    if high >= given:
        raise RuntimeError(_NO_CLASS[1])
    return given


_ONE_HOT = Formula("one_hot", cast(function("eq")(operand(0), operand(1)), int64))


@op(namespace="nn.functional")
def one_hot(tensor: Tensor, num_classes: int = -1) -> Tensor:
    """Class indices (*) to vectors (*, num_classes) that are 1 at the index and 0 elsewhere, as int64.

    num_classes: -1 for one more than the largest index. Raises RuntimeError if not int64, or for an index outside.

    >>> import facula
    >>> facula.nn.functional.one_hot(facula.tensor([0, 2]))
    tensor([[1, 0, 0],
            [0, 0, 1]])
    """
    if tensor.dtype is not int64:
        raise RuntimeError("one_hot is only applicable to index tensor of type LongTensor.")
    node = read(tensor)
    if size_of(tensor.shape) == 0:
        if num_classes <= 0:
            raise RuntimeError("Can not infer total number of classes from empty tensor.")
    else:
        num_classes = _classes(node, num_classes)
    shape = tuple.__new__(Size, (*tensor.shape, num_classes))
    if size_of(shape) == 0:
        return new(constant(0, shape, int64))
    classes = record(INDEX, (), (0,), None, (num_classes,), int64)
    column = reshaped(node, (*tensor.shape, 1))
    return new(record(_ONE_HOT, (column, classes), None, None, shape, int64))


@op(method=False, out=True)
def isin(elements: Any, test_elements: Any, *, assume_unique: bool = False,
         invert: bool = False) -> Tensor:
    """Which of `elements` are among `test_elements`."""
    for x in (elements, test_elements):
        if isinstance(x, Tensor) and (x.dtype is bool_ or x.dtype.is_complex):
            raise RuntimeError(f"Unsupported input type encountered for isin(): {DTYPE_NAMES[x.dtype.name]}")
    if any(isinstance(x, Tensor) and is_meta(x) for x in (elements, test_elements)):
        shape = elements.shape if isinstance(elements, Tensor) else np.shape(elements)
        return new(meta_node(shape, bool_))
    def plain(x: Any) -> Array:
        if not isinstance(x, Tensor):
            return np.asarray(x)
        return value_of(read(to_dtype(x, float32) if x.dtype is bfloat16 else x))
    if isinstance(elements, Tensor) and isinstance(test_elements, Tensor):
        of = result_dtype((elements, test_elements))  # in which they are compared: as `==` would
        elements, test_elements = to_dtype(elements, of), to_dtype(test_elements, of)
    a, b = plain(elements), plain(test_elements)
    found = np.array(np.isin(a, b, assume_unique=assume_unique, invert=invert), dtype=np.bool_)
    return new(leaf(found, tuple.__new__(Size, a.shape), bool_))
