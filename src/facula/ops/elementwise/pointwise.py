"""The mechanism of pointwise operations: broadcasting, recording, gradients.

An operation is one scalar formula per kind of argument (tensor or Python number). `apply` records it;
`FormulaRule` differentiates it symbolically. elementwise.py makes operations of formulas.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from facula._tensor.handle import Tensor, blank, inferred, laid, new, strides_of
from facula._tensor.layout import pointwise
from facula._tensor.reading import read, read_in, read_view, restored, restored_in
from facula._tensor.tape import edge_of, refuse_saving
from facula.autograd import graph
from facula.autograd.graph import GradNode, mode, next_seq
from facula.dtypes import FLOAT, dtype
from facula.engine.graph.node import Formula, Node, contiguous_strides
from facula.engine.recorder import record
from facula.size import Size


class FormulaRule:
    """Gradients of a formula, derived when first asked for. `order`: in which the values that it reads have their
    dimensions, None for row-major."""

    __slots__ = ("name", "formula", "order", "table", "reads")

    def __init__(self, name: str, formula: Formula, order: tuple[int, ...] | None = None) -> None:
        self.name = name
        self.formula = formula
        self.order = order
        self.table: dict[int, tuple[Formula | None, tuple[int, ...]]] = {}
        # which operands need a gradient (bits, the last operand lowest) -> whose values the rule reads
        self.reads: dict[int, tuple[int, ...]] = {}

    def partial(self, i: int) -> tuple[Formula | None, tuple[int, ...]]:
        found = self.table.get(i)
        if found is None:
            from facula.ops.elementwise.derivatives import vjp
            found = self.table[i] = vjp(self.formula, i)
        return found

    def reading(self, mask: int, operands: int) -> tuple[int, ...]:
        """The operands whose values the needed gradients read, -1 (last) for the result."""
        used: set[int] = set()
        for i in range(operands):
            if mask >> (operands - 1 - i) & 1:
                used.update(self.partial(i)[1])
        found = tuple(sorted(used, key=lambda k: k if k >= 0 else operands))
        self.reads[mask] = found
        return found

    def backward(self, ctx: Any, g: Tensor, saved: Any = None) -> tuple[Tensor | None, ...]:
        if saved is None:
            saved = ctx._saved  # (scalars, the nodes that ctx.dtypes, the rule's `reading`, names)
            if saved is None:
                saved = ctx.saved  # raises: freed
        scalars = saved[0]
        values = dict(zip(ctx.dtypes, saved[1:], strict=True))
        edges = ctx.edges
        shapes = ctx.shapes
        # torch's convention for complex numbers: the gradient of a holomorphic f is g * conj(f'), which is
        # conj(conj(g) * f'). No formula over complex elements is anything but holomorphic (abs refuses).
        conjugate = g.dtype.is_complex
        seed = g.conj() if conjugate else g
        out: list[Tensor | None] = []
        for i, edge in enumerate(edges):
            if edge is None:
                out.append(None)
                continue
            formula, reads = self.partial(i)
            if formula is None:
                grad = g
            else:
                operands = [seed]
                for k in reads:
                    edge, live = (ctx, True) if k < 0 else (edges[k], edges[k] is not None)
                    operands.append(restored(values[k], edge, live) if self.order is None else restored_in(
                        values[k], self.order, g.shape if k < 0 or shapes is None else shapes[k], edge, live))
                grad = apply(formula, operands, scalars, g.dtype)
                if conjugate:
                    grad = grad.conj()
            if shapes is not None and grad.shape != shapes[i]:
                grad = sum_to(grad, shapes[i])
            out.append(grad)
        return tuple(out)


_NOTHING_SAVED = (None,)
_BOTH = (0, 1)


def rule_of(formula: Formula) -> FormulaRule:
    rule = formula.rule
    if rule is None:
        name = formula.name[:1].upper() + formula.name[1:] + "Backward0"
        rule = formula.rule = FormulaRule(name, formula)
    return rule  # type: ignore[no-any-return]


@lru_cache(4096)
def _rule_in(formula: Formula, order: tuple[int, ...]) -> FormulaRule:
    """The rule for values whose dimensions are in `order`."""
    plain = rule_of(formula)
    rule = FormulaRule(plain.name, formula, order)
    rule.table, rule.reads = plain.table, plain.reads
    return rule


@lru_cache(4096)
def broadcast(a: tuple[int, ...], b: tuple[int, ...]) -> tuple[int, ...]:
    """The shape that `a` and `b` broadcast to; RuntimeError, in torch's words, if there is none."""
    if a == b:
        return a
    n = max(len(a), len(b))
    x = (1,) * (n - len(a)) + tuple(a)
    y = (1,) * (n - len(b)) + tuple(b)
    out = []
    for k in range(n - 1, -1, -1):
        p, q = x[k], y[k]
        if p != q and p != 1 and q != 1:
            raise RuntimeError(f"The size of tensor a ({p}) must match the size of tensor b ({q}) at "
                               f"non-singleton dimension {k}")
        out.append(q if p == 1 else p)
    return tuple.__new__(Size, out[::-1])


def apply(formula: Formula, tensors: Sequence[Tensor], scalars: tuple[Any, ...] | None, out: dtype) -> Tensor:
    """Record `formula` over tensors of ONE dtype (conditions of a `where` aside) and put it on the tape.

    `out`: dtype of the result. `scalars`: already of the Python type that the dtype asks for.
    """
    shape = tensors[0].shape
    graded = False
    nodes = []
    for t in tensors:
        node = t._node
        if node is None:
            if t._strides != contiguous_strides(t.shape):
                return _in_order(formula, tensors, scalars, out)
            node = read_view(t)
        nodes.append(node)
        other = t.shape
        if other is not shape and other != shape:
            shape = broadcast(shape, other)  # type: ignore[assignment]  # a Size, as these are
        if t._rg or (t._storage is not None and t._base is not None):  # only what shares can be a view
            graded = True
    node = record(formula, tuple(nodes), None, scalars or None, shape, out)
    t = blank(Tensor)  # new(), written out: this is the path of nearly every operation
    t._node = node
    t.shape = shape
    t.dtype = out
    t._rg = False
    t._grad_fn = t._storage = t._base = None
    t._seen = 0
    if graded and mode.grad and out.category >= FLOAT:
        _attach(t, formula, tensors, scalars, nodes, node, None)
    return t


# Formulas whose numbers are parameters, not operands: a matter of dimensions of length 1 only.
_PARAMETERS = frozenset(("leakyRelu", "elu", "celu", "selu", "threshold", "softplus", "hardshrink", "softshrink", "pow",
                         "lerp", "addcmul", "addcdiv", "clamp"))


def _in_order(formula: Formula, tensors: Sequence[Tensor], scalars: tuple[Any, ...] | None, out: dtype) -> Tensor:
    """`apply` where operands are not row-major: recorded over the order in which the result's elements are to lie."""
    shape: tuple[int, ...] = tensors[0].shape
    for t in tensors:
        shape = broadcast(shape, t.shape)
    numbers = bool(scalars) and formula.name not in _PARAMETERS
    layout = pointwise(shape, tuple([(t.shape, strides_of(t)) for t in tensors]), numbers)
    if layout is None:
        nodes = [read(t) for t in tensors]
        node = record(formula, tuple(nodes), None, scalars or None, shape, out)
        t, order = new(node), None
    else:
        order, strides = layout
        nodes = [read_in(t, order) for t in tensors]
        node = record(formula, tuple(nodes), None, scalars or None, tuple([shape[d] for d in order]), out)
        t = laid(node, shape, strides)
    if mode.grad and out.category >= FLOAT:
        _attach(t, formula, tensors, scalars, nodes, node, order)
    return t


def apply2(formula: Formula, a: Tensor, b: Tensor, out: dtype) -> Tensor:
    """`apply` for two tensors and no numbers, which is what most operators come to: no loops, no lists."""
    x = a._node
    if x is None:
        if a._strides != contiguous_strides(a.shape):
            return _in_order(formula, (a, b), None, out)
        x = read_view(a)
    y = b._node
    if y is None:
        if b._strides != contiguous_strides(b.shape):
            return _in_order(formula, (a, b), None, out)
        y = read_view(b)
    shape = a.shape
    other = b.shape
    if other is not shape and other != shape:
        shape = broadcast(shape, other)  # type: ignore[assignment]
    node = record(formula, (x, y), None, None, shape, out)
    t = blank(Tensor)
    t._node = node
    t.shape = shape
    t.dtype = out
    t._rg = False
    t._grad_fn = t._storage = t._base = None
    t._seen = 0
    if (a._rg or b._rg or a._storage is not None or b._storage is not None) and mode.grad and out.category >= FLOAT:
        e = a._grad_fn if a._storage is None and a._rg else None
        if type(e) is not GradNode or e.outputs != 1:
            e = edge_of(a)
        f = b._grad_fn if b._storage is None and b._rg else None
        if type(f) is not GradNode or f.outputs != 1:
            f = edge_of(b)
        if e is not None or f is not None:
            rule = formula.rule or rule_of(formula)
            mask = 3 if e is not None and f is not None else 2 if e is not None else 1
            used = rule.reads.get(mask)
            if used is None:
                used = rule.reading(mask, 2)
            fn = blank(GradNode)
            fn.rule = rule
            fn.edges = (e, f)
            if not used:
                fn._saved = _NOTHING_SAVED
            elif len(used) == 1:
                k = used[0]
                fn._saved = None, x if k == 0 else y if k == 1 else node
            elif used == _BOTH:
                fn._saved = None, x, y
            else:
                fn._saved = (None, *[x if k == 0 else y if k == 1 else node for k in used])
            fn.shapes = None if other is a.shape else (a.shape, other)
            fn.dtypes = used
            fn._cold = None
            fn.seq = next_seq()
            fn.outputs = 1
            t._grad_fn = fn
            t._rg = True
            if inferred:
                _look_at_saved(fn, (a, b), t)
    return t


def apply1(formula: Formula, a: Tensor, scalars: tuple[Any, ...] | None, out: dtype) -> Tensor:
    """`apply` for one tensor."""
    x = a._node
    if x is None:
        if a._strides != contiguous_strides(a.shape):
            return _in_order(formula, (a,), scalars, out)
        x = read_view(a)
    shape = a.shape
    node = record(formula, (x,), None, scalars, shape, out)
    t = blank(Tensor)
    t._node = node
    t.shape = shape
    t.dtype = out
    t._rg = False
    t._grad_fn = t._storage = t._base = None
    t._seen = 0
    if (a._rg or a._storage is not None) and mode.grad and out.category >= FLOAT:
        e = a._grad_fn if a._storage is None and a._rg else None
        if type(e) is not GradNode or e.outputs != 1:
            e = edge_of(a)
        if e is not None:
            rule = formula.rule or rule_of(formula)
            used = rule.reads.get(1)
            if used is None:
                used = rule.reading(1, 1)
            fn = blank(GradNode)
            fn.rule = rule
            fn.edges = (e,)
            if not used:
                fn._saved = (scalars,)
            elif len(used) == 1:
                fn._saved = scalars, node if used[0] else x
            else:
                fn._saved = scalars, x, node
            fn.shapes = fn._cold = None
            fn.dtypes = used
            fn.seq = next_seq()
            fn.outputs = 1
            t._grad_fn = fn
            t._rg = True
            if inferred:
                _look_at_saved(fn, (a,), t)
    return t


def _look_at_saved(step: GradNode, operands: Sequence[Tensor], out: Tensor) -> None:
    """Refuse, or pack, the values that a step has saved, where there are inference tensors or hooks."""
    kept = [operands[k] if k >= 0 else out for k in step.dtypes]
    refuse_saving(kept)
    if mode.hooks:
        graph.packed(step, (None, *kept), (out,))


def _attach(t: Tensor, formula: Formula, tensors: Sequence[Tensor], scalars: tuple[Any, ...] | None,
            nodes: list[Node], node: Node, order: tuple[int, ...] | None) -> None:
    """Put the result `t`, which is `node`, on the tape: edges, and of the operands only the values that a gradient
    reads. `order`: of the dimensions of all these nodes, None for row-major."""
    shape = t.shape
    edges = []
    mask = 0
    same = True
    for x in tensors:
        mask += mask
        e = None
        if x._storage is None:
            if x._rg:
                e = x._grad_fn
                if e is None:
                    e = x
                elif type(e) is not GradNode or e.outputs != 1:  # a leaf restored: its edge
                    e = edge_of(x)
        elif x.dtype.category >= FLOAT:
            e = edge_of(x)
        if e is not None:
            mask += 1
        edges.append(e)
        if x.shape is not shape:
            same = False
    if not mask:
        return
    rule = (formula.rule or rule_of(formula)) if order is None else _rule_in(formula, order)
    used = rule.reads.get(mask)
    if used is None:
        used = rule.reading(mask, len(edges))
    fn = blank(GradNode)
    fn.rule = rule
    fn.edges = tuple(edges)
    fn._saved = (scalars, *[nodes[k] if k >= 0 else node for k in used])
    fn.shapes = None if same else tuple([x.shape for x in tensors])
    fn.dtypes = used
    fn._cold = None
    fn.seq = next_seq()
    fn.outputs = 1
    t._grad_fn = fn
    t._rg = True
    if inferred:
        _look_at_saved(fn, tensors, t)


def sum_to(g: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Sum `g` over the dimensions along which `shape` was broadcast."""
    extra = len(g.shape) - len(shape)
    dims = [*range(extra), *[k + extra for k, s in enumerate(shape) if s == 1 and g.shape[k + extra] != 1]]
    if dims:
        g = g.sum(dims, keepdim=True)
    return g.reshape(shape)
