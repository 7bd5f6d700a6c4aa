"""The product of matrices as one differentiable building block.

`product(a, b, ta, tb)` is op(a) @ op(b) with either side transposed, a CONTRACT over VIEWs: a
transpose is a way of reading, never a copy. Its gradients are products again, so derivatives of
every order come from the same few lines.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from facula._tensor.handle import Tensor, inferred, new
from facula._tensor.reading import read, restored, view_node
from facula._tensor.tape import edge_of, refuse_saving
from facula.autograd import graph
from facula.autograd.graph import Rule, grad_node, mode
from facula.dtypes import FLOAT
from facula.engine.graph.node import CONST, CONTRACT, VIEW, Node, contiguous_strides, size_of
from facula.engine.recorder import record
from facula.ops.casting import constant
from facula.ops.elementwise.pointwise import broadcast, sum_to
from facula.ops.view.value_views import reshape_value, reshaped
from facula.size import Size


def conjugated(t: Tensor) -> Tensor:
    """The complex conjugate; a real tensor itself."""
    return t.conj() if t.dtype.is_complex else t


def _matrices(node: Node, batch: tuple[int, ...], flip: bool) -> Node:
    """`node` (.., R, C) as (B, R, C), or (B, C, R) if `flip`, its batch broadcast to `batch`."""
    shape = node.shape
    r, c = shape[-2:]
    strides = contiguous_strides(shape)
    tail = ((c, r), (strides[-1], strides[-2])) if flip else ((r, c), strides[-2:])
    total = size_of(batch)
    if shape[:-2] == batch or size_of(shape[:-2]) == total:
        return view_node(node, (total, *tail[0]), (r * c if total > 1 else r * c or 1, *tail[1]), 0,
                         node.dtype)
    if size_of(shape[:-2]) == 1:
        return view_node(node, (total, *tail[0]), (0, *tail[1]), 0, node.dtype)
    lead = len(batch) - (len(shape) - 2)
    steps = (0,) * lead + tuple([0 if s == 1 else t for s,
                                 t in zip(shape[:-2], strides, strict=False)])
    wide = view_node(node, (*batch, *tail[0]), (*steps, *tail[1]), 0, node.dtype)
    return reshaped(wide, (total, *tail[0]))


@lru_cache(4096)
def _flat_geometry(p: tuple[int, ...], q: tuple[int, ...], ta: bool, tb: bool) -> tuple[Any, ...]:
    """One matrix on the right, so the rows of a all together.

    Gives (shape, strides) of the views of a and of b that a product of two matrices reads (None:
    as they are), its shape, and (shape, strides) of the view of it that is the result (or None).
    """
    n = q[-2] if tb else q[-1]
    k = p[-2] if ta else p[-1]
    m = p[-1] if ta else size_of(p[:-1])
    left = (Size((m, k)), (1, m) if ta else (k, 1)) if ta or len(p) != 2 else None
    right = (Size((k, n)), (1, k)) if tb else None
    out = Size((*p[:-1], n))
    return left, right, Size((m, n)), (out, contiguous_strides(out)) if len(p) != 2 else None


def contract(a: Tensor, b: Tensor, ta: bool, tb: bool) -> Node:
    """The node of op(a) @ op(b). Sizes have been checked; both have two dimensions or more."""
    x, y = a._node, b._node
    if x is None:
        x = read(a)
    if y is None:
        y = read(b)
    p, q = x.shape, y.shape
    of = x.dtype
    if 0 in p or 0 in q:
        shape = (*broadcast(p[:-2], q[:-2]), p[-1] if ta else p[-2], q[-2] if tb else q[-1])
        return constant(0, shape, of)
    if len(q) == 2 and (len(p) == 2 or not ta):
        left, right, both, out = _flat_geometry(p, q, ta, tb)
        # view_node(), written out but for constants: every linear layer comes here
        if left is not None:
            x = view_node(x, *left) if x.op is CONST else record(VIEW, (x,), (left[1],), (0,), left[0], of)
        if right is not None:
            y = view_node(y, *right) if y.op is CONST else record(VIEW, (y,), (right[1],), (0,), right[0], of)
        product = record(CONTRACT, (x, y), mode.products, None, both, of)
        return product if out is None else record(VIEW, (product,), (out[1],), (0,), out[0], of)
    batch = broadcast(p[:-2], q[:-2])
    left, right = _matrices(x, batch, ta), _matrices(y, batch, tb)
    m, n = left.shape[1], right.shape[2]
    result = record(CONTRACT, (left, right), mode.products, None, (left.shape[0], m, n), of)
    return reshaped(result, (*batch, m, n))


def product_gradients(
        ctx: Any, g: Tensor, a: Any, b: Any, ta: bool, tb: bool, needs: tuple[bool, ...],
        shapes: tuple[Any, ...]) -> tuple[Tensor | None, Tensor | None]:
    """Gradients of op(a) @ op(b); `a` is None where b's gradient is not wanted, and vice versa."""
    da = db = None
    if needs[0]:
        b = conjugated(b)
        da = product(b, g, tb, True) if ta else product(g, b, False, not tb)
        if da.shape != shapes[0]:
            da = sum_to(da, shapes[0])
    if needs[1]:
        a = conjugated(a)
        if len(shapes[1]) == 2 and not ta and len(a.shape) > 2:
            a = reshape_value(a, (size_of(a.shape[:-1]), a.shape[-1]))
            g = reshape_value(g, (size_of(g.shape[:-1]), g.shape[-1]))
        db = product(g, a, True, ta) if tb else product(a, g, not ta, False)
        if db.shape != shapes[1]:
            db = sum_to(db, shapes[1])
    return da, db


def restored_factors(ctx: Any, first: int, a: Any, b: Any) -> tuple[Any, Any]:
    """The factors, which `attach_product` has saved as nodes, as tensors with their history."""
    e, f = ctx.edges[first], ctx.edges[first + 1]
    return (None if a is None else restored(a, e, e is not None),
            None if b is None else restored(b, f, f is not None))


def attach_product(out: Tensor, rule: Rule, inputs: tuple[Tensor, ...], factors: tuple[Node, Node],
                   more: tuple[Any, ...]) -> None:
    """`attach` for a product, the last two of whose inputs are factors.

    Of each factor, the node is saved if the other needs a gradient.
    """
    edges = [edge_of(t) if t._rg or t._base is not None else None for t in inputs]
    e, f = edges[-2:]
    if e is None and f is None and edges[0] is None:  # views of what needs no gradient
        return
    if inferred:
        refuse_saving(t for t, other in zip(inputs[-2:], (f, e), strict=True) if other is not None)
    fn = grad_node(rule, tuple(edges),
                   (None if f is None else factors[0], None if e is None else factors[1], *more),
                   tuple([t.shape for t in inputs]), tuple([t.dtype for t in inputs]))
    out._grad_fn = fn
    out._rg = True
    if inferred and mode.hooks:
        graph.packed(fn, (*inputs[-2:], *more), (out,))


def product_backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, Tensor | None]:
    a, b, ta, tb = ctx.saved
    a, b = restored_factors(ctx, 0, a, b)
    return product_gradients(ctx, g, a, b, ta, tb, ctx.needs, ctx.shapes)


MM = Rule("MmBackward0", product_backward)
MATMUL = Rule("UnsafeViewBackward0", product_backward)


def live(t: Tensor) -> bool:
    return t._rg or t._base is not None


def product(a: Tensor, b: Tensor, ta: bool = False, tb: bool = False, rule: Rule = MM) -> Tensor:
    """op(a) @ op(b) over the last two dimensions, op transposing if asked; the others broadcast."""
    out = new(contract(a, b, ta, tb))
    if mode.grad and (live(a) or live(b)) and out.dtype.category >= FLOAT:
        e, f = edge_of(a), edge_of(b)  # attach_product(), written out
        if e is not None or f is not None:
            if inferred:
                refuse_saving(t for t, other in ((a, f), (b, e)) if other is not None)
            kept = None if f is None else a._node or read(a), None if e is None else b._node or read(b), ta, tb
            out._grad_fn = grad_node(rule, (e, f), kept, (a.shape, b.shape), (a.dtype, b.dtype))
            out._rg = True
            if inferred and mode.hooks:
                graph.packed(out._grad_fn, (a, b, None, None), (out,))
    return out
