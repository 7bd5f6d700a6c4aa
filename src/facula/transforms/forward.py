"""Forward mode: the tangent of every primitive's value from its inputs' values and tangents.

At a kink the tangent goes the way that the operation's gradient does: `maximum` of equals takes the mean, a reduction
to the largest element the mean of all that are.
"""

from __future__ import annotations

from typing import Any

from facula._tensor.handle import Tensor
from facula.dtypes import FLOAT, dtype
from facula.engine.graph import node as g
from facula.engine.graph.expr import Expr, operand, substitute
from facula.engine.graph.node import CALL, CONST, DUAL, LOST, PICK, Formula, Node, Primitive
from facula.engine.graph.primitives import KINDS
from facula.engine.graph.primitives.kind import Tangent, linear
from facula.engine.placing import beside
from facula.engine.recorder import record
from facula.ops.elementwise.derivatives import MissingDerivative
from facula.ops.elementwise.pointwise import rule_of
from facula.transforms.levels import DO, Level, const, expanded
from facula.undisturbed import undisturbed

CAST = Formula("toCopy", operand(0))
Tangents = list["Node | None"]
LINEAR_ROUTINES = frozenset(("fft",))  # host routines that are linear in their one input


class Forward(Level):
    """The level of a `jvp`: its nodes are DUALs, and LOSTs until a gradient rule has helped (host.py)."""

    __slots__ = ("written",)

    name = "jvp"

    def __init__(self) -> None:
        super().__init__()
        self.written: list[Any] = []  # weak references to tensors and storages that have got tangents in place

    @undisturbed
    def __exit__(self, *exc: object) -> None:
        Level.__exit__(self)
        try:
            self._leave_nothing()
        except BaseException:
            self._leave_nothing()
            raise

    def _leave_nothing(self) -> None:
        """What outlives the function, a layer's running mean say, loses its tangent: it would keep the level alive."""
        for reference in self.written:
            kept = reference()
            if isinstance(kept, Tensor) and kept._storage is None:
                kept._node = self._value(kept._node)
            elif kept is not None:
                storage = kept._storage if isinstance(kept, Tensor) else kept
                storage.node = self._value(storage.node)
                storage.version += 1  # views have to look again
        self.written.clear()

    def _value(self, node: Node) -> Node:
        while node.op in (DUAL, LOST) and node.attrs is not None and node.attrs[0] is self:
            node = node.inputs[0]
        return node

    def record(self, op: Primitive, inputs: tuple[Node, ...], attrs: Any, scalars: Any, shape: tuple[int, ...],
               of: dtype) -> Node:
        primals: list[Node] = []
        tangents: Tangents = []
        lost = ""
        for node in inputs:
            mine = node.attrs is not None and node.op.kind == "traced" and node.attrs[0] is self
            if mine and node.op is LOST:
                assert node.attrs is not None
                lost = str(node.attrs[1])
            primals.append(node.inputs[0] if mine else node)
            tangents.append(node.inputs[1] if mine and node.op is DUAL else None)
        if lost and op is not PICK:
            raise NotImplementedError(f"facula: forward mode of {lost!r} is not implemented")
        out = record(op, tuple(primals), attrs, scalars, shape, of)
        if op is CALL:
            if attrs[0] in LINEAR_ROUTINES:
                return dual(self, out, record(op, (need(tangents[0]),), attrs, None, shape, of))
            return beside(out, LOST, (out,), (self, attrs[0]), out.shape, of)
        if of.category < FLOAT:
            return out
        if lost:
            return beside(out, LOST, (out,), (self, lost), out.shape, of)
        try:
            return dual(self, out, tangent_of(op, primals, tangents, attrs, scalars, out))
        except MissingDerivative:
            return beside(out, LOST, (out,), (self, op.name), out.shape, of)


def need(node: Node | None) -> Node:
    assert node is not None
    return node


def dual(level: Level, primal: Node, tangent: Node) -> Node:
    """A value and its tangent as one node of `level`."""
    return beside(primal, DUAL, (primal, tangent), (level,), primal.shape, primal.dtype)


def tangent_of(op: Primitive, primals: list[Node], tangents: Tangents, attrs: Any, scalars: Any, out: Node) -> Node:
    """The tangent of `out`, the value of a primitive with float results."""
    if isinstance(op, Formula):
        return _formula(op, primals, tangents, scalars, out)
    rule = RULES.get(op)
    if rule is None:
        raise NotImplementedError(f"facula: forward mode of the primitive {op.name!r} is not implemented")
    return rule(DO, op, primals, tangents, attrs, scalars, out)


# ---- formulas -----------------------------------------------------------------------------------------

# (formula, which operands have tangents) -> the tangent's formula (None: zero; CAST: the one tangent as it is), the
# operands that it reads (-1: the formula's result), which of the tangents
_tangents: dict[tuple[Formula, tuple[bool, ...]], tuple[Formula | None, tuple[int, ...], tuple[int, ...]]] = {}


def _derived(formula: Formula, mask: tuple[bool, ...]) -> tuple[Formula | None, tuple[int, ...], tuple[int, ...]]:
    """The gradient's formulas, seeded with the tangents instead, and their sum."""
    rule = rule_of(formula)
    moving = [i for i, m in enumerate(mask) if m]
    reads: list[int] = []
    used: list[int] = []
    total: Expr | None = None
    for i in moving:
        part, read = rule.partial(i)
        if part is not None and part.expr.fn == "lit":  # the slope is 0
            continue
        t = operand(1000 + len(used))
        used.append(i)
        term = t
        if part is not None:
            reads.extend([k for k in read if k not in reads])
            table = {operand(0): t} | {operand(1 + n): operand(2000 + reads.index(k)) for n, k in enumerate(read)}
            term = substitute(part.expr, table)
        total = term if total is None else total + term
    if total is None:
        return None, (), ()
    n = len(used)
    table = {operand(1000 + k): operand(k) for k in range(n)}
    table |= {operand(2000 + k): operand(n + k) for k in range(len(reads))}
    total = substitute(total, table)
    found = CAST if total is operand(0) else Formula(f"{formula.name}_tangent", total)
    return found, tuple(reads), tuple(used)


def _formula(op: Formula, primals: list[Node], tangents: Tangents, scalars: Any, out: Node) -> Node:
    mask = tuple([t is not None for t in tangents])
    found = _tangents.get((op, mask))
    if found is None:
        found = _tangents[op, mask] = _derived(op, mask)
    formula, reads, used = found
    if formula is None:
        return const(0, out.shape, out.dtype, out.device)
    moving = [cast(need(tangents[i]), out.dtype) for i in used]
    if formula is CAST:
        return expanded(moving[0], out.shape)
    values = [out if k < 0 else primals[k] for k in reads]
    return record(formula, tuple(moving + values), None, scalars, out.shape, out.dtype)


def cast(node: Node, of: dtype) -> Node:
    return node if node.dtype is of else record(CAST, (node,), None, None, node.shape, of)


# ---- the others: their rules stand with them (engine/graph/primitives/) ------------------------------

RULES: dict[Primitive, Tangent] = {
    PICK: linear, **{p: rule for kind in KINDS.values() for p, rule in kind.tangents.items() if rule is not None}}
# Primitives that never meet this table: what has no inputs, what has no float results, what stands for others.
WITHOUT = frozenset((g.BUFFER, CONST, g.META, g.INDEX, CALL, DUAL, g.BATCHED, LOST,
                     *[p for kind in KINDS.values() for p, rule in kind.tangents.items() if rule is None]))
