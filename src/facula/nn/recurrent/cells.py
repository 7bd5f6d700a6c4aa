"""One time step of a recurrent layer as a small graph: forward, and backward from what forward has kept.

The graph is compiled like any other, once for a number of sequences that are running; `loops.py` runs it step after
step on parts of arrays. A step is z = h W^T (+ b), then elements alone: what of x and z makes the next states.

cell            kept for backward    next states
RNN_TANH, RELU  out                  tanh(x + z), relu(x + z)
LSTM            x + z, c before      c = sigmoid(f) c + sigmoid(i) tanh(g);  h = sigmoid(o) tanh(c); parts of x + z
GRU             x, z                 r, u = sigmoid(x + z) of their parts;  n = tanh(x + r z);  h = n + u (h - n)
"""

from __future__ import annotations

import functools

from facula.dtypes import dtype
from facula.engine.graph.expr import operand
from facula.engine.graph.node import BUFFER, CONST, CONTRACT, VIEW, WRITE, Formula, Node, Primitive
from facula.engine.trace.work import Work
from facula.ops.elementwise.pointwise import rule_of
from facula.ops.op import owner

GATES = {"LSTM": 4, "GRU": 3, "RNN_TANH": 1, "RNN_RELU": 1}

_a, _b, _c = (operand(k) for k in range(3))


def _formula(name: str) -> Formula:
    """That of the operation."""
    operation = owner(name)
    assert operation is not None
    found: Formula = operation.formula or next(r for r in operation.rules if isinstance(r, Formula))
    return found


@functools.cache
def _slope(formula: Formula) -> Formula:
    """The gradient of its operand, of those of the result and of the result. (Where the derived one reads the operand,
    as of relu, the result has the same sign.)"""
    found, reads = rule_of(formula).partial(0)
    assert found is not None and reads in ((-1,), (0,))
    return found


_ADD = Formula("add", _a + _b)
_MUL = Formula("mul", _a * _b)
_SIGMOID, _TANH, _RELU = _formula("sigmoid"), _formula("tanh"), _formula("relu")
_BETWEEN = Formula("between", _a + _b * (_c - _a))
_BEFORE = Formula("before", _a * (1.0 - _b))
_DIFFERENCE = Formula("difference", _a * (_b - _c))


class Body:
    """A graph being put together. `leaves` stand in the order in which `loops.py` has their memory; so do `outputs`."""

    def __init__(self, rows: int, of: dtype) -> None:
        self.rows = rows
        self.of = of
        self.nodes: list[Node] = []
        self.leaves: list[Node] = []
        self.outputs: list[Node] = []

    def leaf(self, *shape: int) -> Node:
        self.leaves.append(Node(BUFFER, (), None, None, shape, self.of))
        return self.leaves[-1]

    def _made(self, op: Primitive, inputs: tuple[Node, ...], attrs: tuple[object, ...] | None,
              shape: tuple[int, ...]) -> Node:
        self.nodes.append(Node(op, inputs, attrs, None, shape, self.of))
        return self.nodes[-1]

    def apply(self, formula: Formula, *operands: Node) -> Node:
        return self._made(formula, operands, None, max([n.shape for n in operands], key=len))

    def times(self, a: Node, w: Node, transposed: bool) -> Node:
        if transposed:
            w = self._made(VIEW, (w,), ((1, w.shape[1]), 0), (w.shape[1], w.shape[0]))
        return self._made(CONTRACT, (a, w), None, (a.shape[0], w.shape[1]))

    def parts(self, z: Node, count: int) -> list[Node]:
        """The columns in so many parts."""
        width = z.shape[1] // count
        return [self._made(VIEW, (z,), ((z.shape[1], 1), k * width), (self.rows, width)) for k in range(count)]

    def joined(self, parts: list[Node]) -> Node:
        """The parts beside each other."""
        width = parts[0].shape[1]
        whole = (self.rows, width * len(parts))
        found = Node(CONST, (), None, (0.0,), whole, self.of)
        for k, part in enumerate(parts):
            found = self._made(WRITE, (found, part), ((whole[1], 1), k * width), whole)
        return found

    def work(self) -> Work:
        held = {id(node) for node in self.outputs}
        return Work(self.nodes, bytes([id(node) in held for node in self.nodes]))


def forward(mode: str, rows: int, width: int, of: dtype, biased: bool) -> Body:
    """Leaves: x, w, states before, [the hidden bias]. Outputs: states after, then LSTM: x + z, GRU: z."""
    body = Body(rows, of)
    gates = GATES[mode] * width
    x, w, h = body.leaf(rows, gates), body.leaf(gates, width), body.leaf(rows, width)
    if mode == "LSTM":
        before = body.leaf(rows, width)
        z = body.apply(_ADD, x, body.times(h, w, True))
        i, f, g, o = body.parts(z, 4)
        c = body.apply(_ADD, body.apply(_MUL, body.apply(_SIGMOID, f), before),
                       body.apply(_MUL, body.apply(_SIGMOID, i), body.apply(_TANH, g)))
        body.outputs = [body.apply(_MUL, body.apply(_SIGMOID, o), body.apply(_TANH, c)), c, z]
    elif mode == "GRU":
        z = body.times(h, w, True)
        if biased:
            z = body.apply(_ADD, z, body.leaf(gates))
        (xr, xu, xn), (zr, zu, zn) = body.parts(x, 3), body.parts(z, 3)
        r, u = body.apply(_SIGMOID, body.apply(_ADD, xr, zr)), body.apply(_SIGMOID, body.apply(_ADD, xu, zu))
        n = body.apply(_TANH, body.apply(_ADD, xn, body.apply(_MUL, r, zn)))
        body.outputs = [body.apply(_BETWEEN, n, u, h), z]
    else:
        z = body.apply(_ADD, x, body.times(h, w, True))
        body.outputs = [body.apply(_TANH if mode == "RNN_TANH" else _RELU, z)]
    return body


def backward(mode: str, rows: int, width: int, of: dtype) -> Body:
    """Leaves: the gradients of out and of the states after, w, h before, then what was kept. Outputs: the gradients
    of the states before, of x, GRU: of z."""
    body = Body(rows, of)
    gates = GATES[mode] * width
    direct, later = body.leaf(rows, width), body.leaf(rows, width)
    after = body.leaf(rows, width) if mode == "LSTM" else None
    w, h = body.leaf(gates, width), body.leaf(rows, width)
    dh = body.apply(_ADD, direct, later)
    if after is not None:
        z, before = body.leaf(rows, gates), body.leaf(rows, width)
        i, f, g, o = [body.apply(_TANH if k == 2 else _SIGMOID, part) for k, part in enumerate(body.parts(z, 4))]
        c = body.apply(_TANH, body.apply(_ADD, body.apply(_MUL, f, before), body.apply(_MUL, i, g)))
        dc = body.apply(_ADD, after, body.apply(_slope(_TANH), body.apply(_MUL, dh, o), c))
        dz = body.joined([body.apply(_slope(_SIGMOID), body.apply(_MUL, dc, g), i),
                          body.apply(_slope(_SIGMOID), body.apply(_MUL, dc, before), f),
                          body.apply(_slope(_TANH), body.apply(_MUL, dc, i), g),
                          body.apply(_slope(_SIGMOID), body.apply(_MUL, dh, c), o)])
        body.outputs = [body.times(dz, w, False), body.apply(_MUL, dc, f), dz]
    elif mode == "GRU":
        x, z = body.leaf(rows, gates), body.leaf(rows, gates)
        (xr, xu, xn), (zr, zu, zn) = body.parts(x, 3), body.parts(z, 3)
        r, u = body.apply(_SIGMOID, body.apply(_ADD, xr, zr)), body.apply(_SIGMOID, body.apply(_ADD, xu, zu))
        n = body.apply(_TANH, body.apply(_ADD, xn, body.apply(_MUL, r, zn)))
        dn = body.apply(_slope(_TANH), body.apply(_BEFORE, dh, u), n)
        dr = body.apply(_slope(_SIGMOID), body.apply(_MUL, dn, zn), r)
        du = body.apply(_slope(_SIGMOID), body.apply(_DIFFERENCE, dh, h, n), u)
        dx, dz = body.joined([dr, du, dn]), body.joined([dr, du, body.apply(_MUL, dn, r)])
        body.outputs = [body.apply(_ADD, body.apply(_MUL, dh, u), body.times(dz, w, False)), dx, dz]
    else:
        out = body.leaf(rows, width)
        dz = body.apply(_slope(_TANH if mode == "RNN_TANH" else _RELU), dh, out)
        body.outputs = [body.times(dz, w, False), dz]
    return body
