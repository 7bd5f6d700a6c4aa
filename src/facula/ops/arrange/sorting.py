"""Sorting (sort, argsort, topk) and searching what is sorted (searchsorted, bucketize)."""

from __future__ import annotations

from typing import Any

from facula import defaults
from facula._tensor.handle import Tensor, is_meta, new
from facula._tensor.reading import read
from facula._tensor.tape import attach
from facula.autograd.graph import Rule
from facula.config import threshold
from facula.dtypes import FLOAT, PROMOTION, bool_, int32, int64
from facula.engine.graph.expr import operand
from facula.engine.graph.node import ARGSORT, SEARCH, Formula, Node, size_of
from facula.engine.graph.primitives.sort import is_few
from facula.engine.realize import value_of
from facula.engine.recorder import record
from facula.engine.session import session
from facula.ops.arguments import check_tensor, numpy_names, wrap_dim
from facula.ops.casting import constant, to_dtype
from facula.ops.index.gathering import along_rule, node_along, take_along
from facula.ops.registry import DTYPE_NAMES, op
from facula.ops.return_types import result_type
from facula.ops.view.value_views import reshaped
from facula.size import Size

SORT_RULE = along_rule("SortBackward0")
_SORT_STABLE = along_rule("SortBackward1")
_TOPK = along_rule("TopkBackward0")


_UNSTABLE_ROW = threshold("unstable_row")


def order_node(node: Node, dim: int, descending: bool, start: int = 0, count: int | None = None,
               way: str = "") -> Node:
    """Where the elements of a stable sort along `dim` are; or only `count` of them, from rank `start` on. With a `way`
    (engine/graph/primitives/sort.py) equal elements come as PyTorch's methods leave them, in rows that are not long or
    of which a few are asked for."""
    shape = node.shape
    if not shape:
        return constant(0, (), int64)
    if count is not None:
        shape = Size((*shape[:dim], count, *shape[dim + 1:]))
        if size_of(shape) == 0:
            return constant(0, shape, int64)
    attrs: tuple[Any, ...] = (dim, descending, start)
    if way and (node.shape[dim] <= _UNSTABLE_ROW or is_few(way, node.shape[dim], shape[dim])):
        attrs = (*attrs, way)
    return record(ARGSORT, (node,), attrs, None, shape, int64)


def sorted_with(input: Tensor, d: int, descending: bool, rule: Rule, stable: Any = None) -> tuple[Tensor, Tensor]:
    """The sorted elements along `d`, and where they were."""
    node = read(input)
    order = order_node(node, d, descending, way="" if stable else "sort")
    indices = new(order)
    values = new(node_along(node, order, d) if input.shape else node)
    return attach(values, rule, (input,), (indices, d)), indices


def _orderly(input: Tensor, what: str) -> None:
    if input.dtype.is_complex:
        raise RuntimeError(f"{what} does not support complex dtypes on CPU")


@op(out=True)
@numpy_names
def sort(input: Tensor, dim: int = -1, descending: bool = False, stable: Any = None) -> Any:
    check_tensor(input, "sort")
    d = wrap_dim(dim, len(input.shape))
    _orderly(input, " Sort")
    rule = SORT_RULE if stable is None else _SORT_STABLE
    values, indices = sorted_with(input, d, bool(descending), rule, stable)
    return result_type("sort")(values, indices)


@op
@numpy_names
def argsort(input: Tensor, dim: int = -1, descending: bool = False, stable: Any = None) -> Tensor:
    check_tensor(input, "argsort")
    _orderly(input, " Sort")
    return new(order_node(read(input), wrap_dim(dim, len(input.shape)), bool(descending), way="" if stable else "sort"))


@op(out=True)
def msort(input: Tensor) -> Tensor:
    check_tensor(input, "msort")
    _orderly(input, " Sort")
    return sorted_with(input, 0, False, SORT_RULE)[0]


@op(out=True)
@numpy_names
def topk(input: Tensor, k: int, dim: int = -1, largest: bool = True, sorted: bool = True) -> Any:
    check_tensor(input, "topk")
    d = wrap_dim(dim, len(input.shape))
    if k < 0 or k > (input.shape[d] if input.shape else 1):
        raise RuntimeError("selected index k out of range")
    _orderly(input, " topk")
    if input.dtype is bool_:
        raise RuntimeError("topk does not support bool dtypes on CPU")
    node = read(input)
    if not input.shape:
        values, indices = sorted_with(input, 0, False, _TOPK)
        return result_type("topk")(values, indices)
    order = order_node(node, d, bool(largest), 0, int(k), "top" if sorted else "some")
    indices = new(order)
    values = attach(new(node_along(node, order, d)), _TOPK, (input,), (indices, d))
    return result_type("topk")(values, indices)


# ---- searching -----------------------------------------------------------------------------------

_TO_INT32 = Formula("toCopy", operand(0))


def _search(edges: Tensor, values: Any, out_int32: bool, right: bool) -> Tensor:
    for x in (edges, values):
        if isinstance(x, complex) or isinstance(x, Tensor) and x.dtype.is_complex:
            raise NotImplementedError('"searchsorted_out_cpu" not implemented for \'ComplexFloat\'')
    if not isinstance(values, Tensor):
        of = edges.dtype if isinstance(values, int) else (
            edges.dtype if edges.dtype.category >= FLOAT else defaults.get_default_dtype())
        values = new(constant(values, (), of))
    of = PROMOTION[edges.dtype, values.dtype]
    if of is bool_:
        raise NotImplementedError('"searchsorted_out_cpu" not implemented for \'Bool\'')
    shape, n = values.shape, edges.shape[-1]
    lines = 1 if len(edges.shape) == 1 else size_of(edges.shape[:-1])
    if not n or not size_of(shape):
        return new(constant(0, shape, int32 if out_int32 else int64))
    wide = Size((lines, size_of(shape) // lines))
    rows, x = (reshaped(read(to_dtype(t.detach(), of)), s) for t, s in ((edges, (lines, n)), (values, wide)))
    found = reshaped(record(SEARCH, (rows, x), (right,), None, wide, int64), shape)
    return new(record(_TO_INT32, (found,), None, None, shape, int32) if out_int32 else found)


@op(method=False, out=True)
def searchsorted(sorted_sequence: Tensor, input: Any, *, out_int32: bool = False,
                 right: bool = False, side: str | None = None, sorter: Any = None) -> Tensor:
    if side is not None:
        if side not in ("left", "right"):
            raise RuntimeError("torch.searchsorted(): side can only be 'left' or 'right' but got "
                               f"{side}")
        if right and side == "left":
            raise RuntimeError("torch.searchsorted(): side and right can't be set to opposites, "
                               "got side of left while right was True")
    if not sorted_sequence.shape:
        raise RuntimeError("torch.searchsorted(): boundaries tensor should have positive "
                           "dimension, but got 0 dimension")
    edges = new(read(sorted_sequence))
    if len(edges.shape) != 1:
        if not isinstance(input, Tensor) or len(input.shape) == 0:
            raise RuntimeError("torch.searchsorted(): input value can be a scalar only when "
                               "boundaries tensor dimension is 1, but we got boundaries tensor "
                               f"dim({len(edges.shape)}) and input value's dim(0) numel(1)")
        if edges.shape[:-1] != input.shape[:-1]:
            raise RuntimeError("torch.searchsorted(): boundaries tensor should be 1 dimension or "
                               "the first N-1 dimensions of boundaries tensor and input value "
                               "tensor must match, but we got boundaries tensor "
                               f"{list(edges.shape)} and input value tensor {list(input.shape)}")
    if sorter is not None:
        if sorter.shape != edges.shape:
            raise RuntimeError("torch.searchsorted(): boundary and sorter must have the same size, but got boundary "
                               f"tensor {list(edges.shape)}and got sorter tensor {list(sorter.shape)}")
        if sorter.dtype is not int64:
            raise RuntimeError("torch.searchsorted(): sorter must be a tensor of long dtype but got dtype "
                               f"{DTYPE_NAMES[sorter.dtype.name]}")
        if size_of(sorter.shape) and not is_meta(sorter) and session.traced is None:
            places = value_of(read(sorter))
            if places.min() < 0 or places.max() >= sorter.shape[-1]:
                raise RuntimeError("torch.searchsorted(): sorter index out of range")
        edges = take_along(edges, sorter, len(edges.shape) - 1)
    return _search(edges, input, out_int32, bool(right) or side == "right")


@op(method=False, out=True)
def bucketize(input: Any, boundaries: Tensor, *, out_int32: bool = False,
              right: bool = False) -> Tensor:
    if len(boundaries.shape) != 1:
        raise RuntimeError("boundaries tensor must be 1 dimension, but got "
                           f"dim({len(boundaries.shape)})")
    return _search(new(read(boundaries)), input, out_int32, bool(right))
