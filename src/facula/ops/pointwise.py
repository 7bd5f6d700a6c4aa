"""The mechanism of pointwise operations: promotion, broadcasting, recording, gradients.

An operation is one scalar formula per kind of argument (tensor or Python number). `apply` records it;
`FormulaRule` differentiates it symbolically.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

from facula import defaults
from facula.autograd.graph import GradNode, grad_node, mode, next_seq
from facula.dtypes import BOOL, COMPLEX, FLOAT, PROMOTION, SIGNED, bool_, complex64, dtype, int64
from facula.engine.graph.expr import Expr, operand
from facula.engine.graph.expr import scalar as scalar_expr
from facula.engine.graph.node import CONST, Formula, Node
from facula.engine.meta import meta_node, switch
from facula.engine.recorder import record
from facula.ops import placement
from facula.size import Size
from facula.tensor import Tensor, blank, edge_of, new, read, read_view, restored

_meta_about = False
switch(globals(), "_meta_about", True)


class FormulaRule:
    """Gradients of a formula, derived when first asked for."""

    __slots__ = ("name", "formula", "table", "reads")

    def __init__(self, name: str, formula: Formula) -> None:
        self.name = name
        self.formula = formula
        self.table: dict[int, tuple[Formula | None, tuple[int, ...]]] = {}
        # which operands need a gradient (bits, the last operand lowest) -> whose values the rule reads
        self.reads: dict[int, tuple[int, ...]] = {}

    def partial(self, i: int) -> tuple[Formula | None, tuple[int, ...]]:
        found = self.table.get(i)
        if found is None:
            from facula.ops.derivatives import vjp
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

    def backward(self, ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:
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
                    operands.append(restored(values[k], ctx, True) if k < 0 else
                                    restored(values[k], edges[k], edges[k] is not None))
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
        nodes.append(node if node is not None else read_view(t))
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
        _attach(t, formula, tensors, scalars, nodes)
    return t


def apply2(formula: Formula, a: Tensor, b: Tensor, out: dtype) -> Tensor:
    """`apply` for two tensors and no numbers, which is what most operators come to: no loops, no lists."""
    x = a._node
    if x is None:
        x = read_view(a)
    y = b._node
    if y is None:
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
    return t


def apply1(formula: Formula, a: Tensor, scalars: tuple[Any, ...] | None, out: dtype) -> Tensor:
    """`apply` for one tensor."""
    x = a._node
    if x is None:
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
    return t


def _attach(t: Tensor, formula: Formula, tensors: Sequence[Tensor], scalars: tuple[Any, ...] | None,
            nodes: list[Node]) -> None:
    """Put the result `t` on the tape: edges, and of the operands only the values that a gradient reads."""
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
    rule = formula.rule or rule_of(formula)
    used = rule.reads.get(mask)
    if used is None:
        used = rule.reading(mask, len(edges))
    fn = blank(GradNode)
    fn.rule = rule
    fn.edges = tuple(edges)
    fn._saved = (scalars, *[nodes[k] if k >= 0 else t._node for k in used])
    fn.shapes = None if same else tuple([x.shape for x in tensors])
    fn.dtypes = used
    fn._cold = None
    fn.seq = next_seq()
    fn.outputs = 1
    t._grad_fn = fn
    t._rg = True


def sum_to(g: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Sum `g` over the dimensions along which `shape` was broadcast."""
    extra = len(g.shape) - len(shape)
    dims = [*range(extra), *[k + extra for k, s in enumerate(shape) if s == 1 and g.shape[k + extra] != 1]]
    if dims:
        g = g.sum(dims, keepdim=True)
    return g.reshape(shape)


# ---- promotion ------------------------------------------------------------------------------------------

_CATEGORY_OF = {bool: BOOL, int: SIGNED, float: FLOAT, complex: COMPLEX}
_PYTHON_OF = {BOOL: bool, 1: int, SIGNED: int, FLOAT: float, COMPLEX: complex}


def result_dtype(operands: tuple[Any, ...]) -> dtype:
    """torch's type promotion: dimensioned tensors, then 0-d tensors, then Python numbers; a lower class counts
    only if its category is higher."""
    best: list[dtype | None] = [None, None, None]
    for x in operands:
        if isinstance(x, Tensor):
            level, of = (0 if len(x.shape) else 1), x.dtype
        else:
            kind = _CATEGORY_OF.get(type(x))
            if kind is None:
                kind = category_of_number(x)
            level = 2
            of = (bool_, int64, int64, defaults.get_default_dtype(),
                  defaults.get_default_dtype().to_complex())[kind]
        old = best[level]
        best[level] = of if old is None else PROMOTION[old, of]
    result: dtype | None = None
    for of in best:  # type: ignore[assignment]
        if of is None:
            continue
        if result is None:
            result = of
        elif of.category > result.category and not (of.category == SIGNED and result.category == 1):
            if of.category == COMPLEX and result.category == FLOAT:
                result = PROMOTION[result, complex64]
            else:
                result = of
    assert result is not None
    return result


def category_of_number(x: Any) -> int:
    import numbers

    import numpy as np
    if isinstance(x, (bool, np.bool_)):
        return BOOL
    if isinstance(x, numbers.Integral):
        return SIGNED
    if isinstance(x, numbers.Real):
        return FLOAT
    if isinstance(x, numbers.Complex):
        return COMPLEX
    raise TypeError(f"expected a Tensor or a number, got {type(x).__name__}")


def number_for(x: Any, of: dtype) -> Any:
    """A Python number in the type in which a formula over `of` takes its scalars."""
    if of.category == COMPLEX:
        return complex(x)
    if of.category == FLOAT:
        return float(x)
    if of.category == BOOL:
        return bool(x)
    n = int(x)
    if not -(1 << 63) <= n < 1 << 63:
        if not isinstance(x, int):
            raise RuntimeError(f"value cannot be converted to type {of.name}_t without overflow: {x}")
        if n < 0 or n >= 1 << 64:
            raise OverflowError("int too big to convert")
        n -= 1 << 64
    return n


# ---- conversion -----------------------------------------------------------------------------------------

_CAST = Formula("toCopy", operand(0))


class CastRule:
    __slots__ = ("name",)

    def __init__(self, name: str) -> None:
        self.name = name

    def backward(self, ctx: Any, g: Tensor) -> tuple[Tensor]:
        if g.dtype.is_complex and not ctx.dtypes[0].is_complex:
            g = g.real
        return (to_dtype(g, ctx.dtypes[0]),)


_CAST_RULE = CastRule("ToCopyBackward0")


def to_dtype(t: Tensor, of: dtype) -> Tensor:
    """`t` converted; `t` itself if it has that dtype already."""
    if t.dtype is of:
        return t
    node = read(t)
    value = node.scalars[0] if node.op is CONST and node.scalars else None
    if t.dtype.category >= FLOAT and value:
        value = held(value, t.dtype)
        if isinstance(value, complex) and of.category != COMPLEX:
            value = value.real
    # What a float that no integer can hold becomes is for the machine to say, as in tensors that are no constants.
    if value is not None and (of.category >= FLOAT or type(value) is not float or of is bool_ or abs(value) < 1 << 31):
        result = new(constant(value, t.shape, of))
    else:
        result = new(record(_CAST, (node,), None, None, t.shape, of))
    if (t._rg or t._base is not None) and mode.grad and of.category >= FLOAT:
        edge = edge_of(t)
        if edge is not None:
            result._grad_fn = grad_node(_CAST_RULE, (edge,), (), (t.shape,), (t.dtype,))
            result._rg = True
    return result


def held(number: Any, of: dtype) -> Any:
    """A Python number as an element of type `of` holds it: rounded."""
    if isinstance(number, complex):
        return complex(held(number.real, of.to_real()), held(number.imag, of.to_real()))
    if of.itemsize == 8 or of.category != FLOAT:
        return number
    from facula.rng.rounding import round_number
    return round_number(number, of)


def constant(value: Any, shape: tuple[int, ...], of: dtype) -> Node:
    """A node with `value` everywhere; wraps integers as a C cast does."""
    if _meta_about and placement.on_meta():
        return meta_node(shape, of)
    if of.category == BOOL:
        value = bool(value)
    elif of.category == COMPLEX:
        value = complex(value)
    elif of.category == FLOAT:
        value = float(value)
    else:
        value = int(value)
        bits = 8 * of.itemsize
        value &= (1 << bits) - 1
        if of.is_signed and value >> (bits - 1):
            value -= 1 << bits
    return Node(CONST, (), None, (value,), shape if type(shape) is Size else tuple.__new__(Size, shape), of)


# ---- making operations --------------------------------------------------------------------------------

def unary(name: str, expr: Callable[[Expr], Expr], kind: str = "float", result: str = "same") -> Callable[..., Tensor]:
    """A function of one tensor. kind 'float': integers become the default float first; 'any': no conversion.
    result 'same' or 'bool'."""
    formula = Formula(name, expr(operand(0)))

    def body(input: Tensor) -> Tensor:
        if not isinstance(input, Tensor):
            raise TypeError(f"{name}(): argument 'input' (position 1) must be Tensor, not {type(input).__name__}")
        if kind == "float" and input.dtype.category < FLOAT:
            input = to_dtype(input, defaults.get_default_dtype())
        return apply1(formula, input, None, bool_ if result == "bool" else input.dtype)
    body.__name__ = body.__qualname__ = name
    return body


class Binary:
    """The formulas of a two-argument operation: tensor-tensor, tensor-number, number-tensor."""

    __slots__ = ("name", "tt", "ts", "st", "kind", "result")

    def __init__(self, name: str, expr: Callable[[Expr, Expr], Expr], kind: str = "any", result: str = "same") -> None:
        self.name = name
        self.tt = Formula(name, expr(operand(0), operand(1)))
        self.ts = Formula(name, expr(operand(0), scalar_expr(0)))
        self.st = Formula(name, expr(scalar_expr(0), operand(0)))
        self.kind = kind
        self.result = result

    def __call__(self, a: Any, b: Any) -> Tensor:
        ta, tb = isinstance(a, Tensor), isinstance(b, Tensor)
        if ta and tb:
            if a.dtype is b.dtype and (a.dtype.category >= FLOAT or self.kind == "any"):
                return apply2(self.tt, a, b, bool_ if self.result == "bool" else a.dtype)
        elif not ta and not tb:
            raise TypeError(f"{self.name}(): at least one argument must be a Tensor, got {type(a).__name__} and "
                            f"{type(b).__name__}")
        if ta and a.dtype.is_floating_point and (type(b) is float or type(b) is int):
            return apply1(self.ts, a, (float(b),), bool_ if self.result == "bool" else a.dtype)
        of = result_dtype((a, b))
        if self.kind == "float" and of.category < FLOAT:
            of = defaults.get_default_dtype()
        out = bool_ if self.result == "bool" else of
        if not tb:
            return apply1(self.ts, to_dtype(a, of), (number_for(b, of),), out)
        if not ta:
            return apply1(self.st, to_dtype(b, of), (number_for(a, of),), out)
        return apply2(self.tt, to_dtype(a, of), to_dtype(b, of), out)


