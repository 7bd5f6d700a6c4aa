"""Values of a kernel: nodes, read at affine positions, flattened into scalar operations.

A `Val` is one scalar operation at one position of the loop space; equal ones are one object, so this is also
where common subexpressions join across nodes. `Builder` makes them from nodes.

op         payload              args
load       (source, Affine)     -          element of a value in memory
num, lit   position / number    -
coord      Affine               -          int64: the affine map's value itself
gather     (source, Affine, step, rows)  (index,)   source[affine + index * step], index clamped to [0, rows)
reduce     name                 (element,) over the reduced dimensions
cast, round16 and the scalar functions
"""

from __future__ import annotations

from dataclasses import dataclass, field

from facula.dtypes import FLOAT, bfloat16, bool_, dtype, float16, float64, int64
from facula.engine.compiler.affine import Affine, compose, identity
from facula.engine.graph.expr import Expr
from facula.engine.graph.node import CONST, INDEX, Formula, Node
from facula.engine.graph.typing import argument_types, natural_types, own_type


class Val:
    """See the module. `level` and `phase` belong to the lowering."""

    __slots__ = ("op", "args", "dtype", "payload", "level", "vec", "phase", "cost")

    def __init__(self, op: str, args: tuple[Val, ...], d: dtype, payload: object) -> None:
        self.op = op
        self.args = args
        self.dtype = d
        self.payload = payload
        self.level = 0
        self.vec = False
        self.phase = 0
        self.cost = 0.0


class Refine(Exception):
    """The loop space has to be cut finer: start again with `dims`."""

    def __init__(self, dims: tuple[int, ...]) -> None:
        super().__init__(dims)
        self.dims = dims


Read = tuple[Node, Affine]


class _Use:
    """A formula's node at one position, and what has been made of the formula so far. An object that nothing points
    back to: functions that call each other would be a reference cycle, which keeps the nodes, and so their memory
    from being taken over, until Python's collector runs."""

    __slots__ = ("node", "args", "map", "types", "done")

    def __init__(self, node: Node, args: list[Val], map: Affine, types: dict[Expr, dtype | None]) -> None:
        self.node = node
        self.args = args
        self.map = map
        self.types = types
        self.done: dict[tuple[Expr, dtype], Val] = {}


@dataclass
class Builder:
    """Makes Vals over the loop space `dims`.

    reads      what each node reads once views are looked through
    inside     nodes computed in this kernel (members and inlined ones); all others are loads
    numbers_at, formats    positions and formats ('d' or 'q') of run-time numbers; formats is filled here
    """

    dims: tuple[int, ...]
    reads: dict[Node, list[Read]]
    inside: set[Node]
    leaves: set[Node]
    numbers_at: dict[Node, int]
    formats: dict[int, str]
    interned: dict[tuple[object, ...], Val] = field(default_factory=dict)
    instances: dict[tuple[Node, Affine], Val] = field(default_factory=dict)

    def make(self, op: str, args: tuple[Val, ...], d: dtype, payload: object = None) -> Val:
        if op in ("load", "gather", "coord"):
            place: Affine = payload if op == "coord" else payload[1]  # type: ignore[index,assignment]
            for at, _ in place.nums:
                self.formats[at] = "q"
        tag = repr(payload) if op == "lit" else payload
        key = (op, d, tag, *map(id, args))
        found = self.interned.get(key)
        if found is None:
            found = self.interned[key] = Val(op, args, d, payload)
        return found

    def moved(self, outer: Affine, inner: Affine) -> Affine:
        """`inner` at the points of `outer`, over this loop space."""
        found = compose(outer, inner)
        assert found is not None, "fuse let a read through that is not affine"
        if found.dims != self.dims:
            raise Refine(found.dims)
        return found

    def number(self, at: int, d: dtype) -> Val:
        wanted = "d" if d.category == FLOAT else "q"
        have = self.formats.setdefault(at, wanted)
        if have == wanted:
            return self.make("num", (), d, at)
        return self.cast(self.make("num", (), float64 if have == "d" else int64, at), d)

    def read(self, node: Node, map: Affine) -> Val:
        """The value of `node` at the positions `map`."""
        key = (node, map)
        found = self.instances.get(key)
        if found is None:
            found = self.instances[key] = self._read(node, map)
        return found

    def _read(self, node: Node, map: Affine) -> Val:
        op = node.op
        if node in self.inside:
            if op.kind == "reduce":
                if any(node.inputs[0].shape[d] > 1 for d in node.attrs[0]):  # type: ignore[index,union-attr]
                    return self._reduce(node)
                source, inner = self.reads[node][0]
                return self._reduced_one(node, self.read(source, self.moved(map, inner)))
            if op.kind == "gather":
                return self._gather(node, map)
            args = [self.read(source, self.moved(map, inner)) for source, inner in self.reads[node]]
            if isinstance(op, Formula):
                return self._formula(node, op, args, map)
            if op is CONST or op is INDEX:
                return self._leaf(node, map)
            return args[0]  # a view
        if node not in self.leaves and (op is CONST or op is INDEX):
            return self._leaf(node, map)
        return self.make("load", (), node.dtype, (node, map))

    def _leaf(self, node: Node, map: Affine) -> Val:
        if node.op is CONST:
            value = self.number(self.numbers_at[node], node.dtype)
            return self.round(value) if node.dtype in (float16, bfloat16) else value
        if compose(map, coordinate_map(node)) is None:  # then simplify has put it into memory
            return self.make("load", (), node.dtype, (node, map))
        return self.make("coord", (), int64, self.moved(map, coordinate_map(node)))

    def _reduce(self, node: Node) -> Val:
        source, inner = self.reads[node][0]
        element = self.read(source, self.moved(identity(self.dims), inner))
        name = node.op.name
        if name in ("sum", "prod", "max", "min"):
            element = self.cast(element, node.dtype)
        elif name in ("any", "all"):
            element = self.cast(element, bool_)
        found: Val = self.make("reduce", (element,), bool_ if name in ("any", "all") else node.dtype, name)
        return self.cast(self.round(found), node.dtype)

    def _reduced_one(self, node: Node, element: Val) -> Val:
        """A reduction over dimensions of size 1."""
        if node.op.name in ("argmax", "argmin"):
            return self.make("lit", (), int64, 0)
        if node.op.name in ("any", "all"):
            element = self.cast(element, bool_)
        return self.round(self.cast(element, node.dtype))

    def _gather(self, node: Node, map: Affine) -> Val:
        (index_of, index_map), (source, source_map) = self.reads[node]
        index = self.read(index_of, self.moved(map, index_map))
        rows, columns = node.inputs[0].shape
        steps = steps_of(source_map, (rows, columns))
        assert steps is not None
        inside = compose(map, Affine(_outer(node, columns), (0, steps[1])))
        assert inside is not None
        if inside.dims != self.dims:
            raise Refine(inside.dims)
        place = inside.shifted(source_map.const, source_map.nums)
        return self.make("gather", (index,), node.dtype, (source, place, steps[0], rows))

    def cast(self, value: Val, to: dtype) -> Val:
        if value.dtype is to:
            return value
        if value.op == "cast" and value.args[0].dtype is to and _exact(to, value.dtype):
            return value.args[0]
        if value.op == "lit" and to not in (float16, bfloat16):
            return self.make("lit", (), to, value.payload)
        return self.make("cast", (value,), to)

    def round(self, value: Val) -> Val:
        """The 16-bit float types: what memory would hold."""
        if value.op in ("load", "gather", "cast", "round16") or value.dtype not in (float16, bfloat16):
            return value
        return self.make("round16", (value,), value.dtype)

    def _formula(self, node: Node, op: Formula, args: list[Val], map: Affine) -> Val:
        types = natural_types(op, tuple(i.dtype for i in node.inputs), node.dtype)
        use = _Use(node, args, map, types)
        return self.round(self.cast(self._term(op.expr, types[op.expr] or node.dtype, use), node.dtype))

    def _term(self, e: Expr, want: dtype, use: _Use) -> Val:
        found = use.done.get((e, want))
        if found is None:
            found = use.done[e, want] = self.cast(self._term_as_it_is(e, want, use), want)
        return found

    def _term_as_it_is(self, e: Expr, want: dtype, use: _Use) -> Val:
        node = use.node
        if e.fn == "in":
            return use.args[e.value]  # type: ignore[call-overload,no-any-return]
        if e.fn == "lit":
            return self.make("lit", (), want, e.value)
        if e.fn == "scalar":
            return self.number(self.numbers_at[node] + e.value, want)  # type: ignore[operator]
        if e.fn == "index":
            lane = Affine(node.shape, tuple(int(k == e.value) for k in range(len(node.shape))))
            return self.make("coord", (), int64, self.moved(use.map, lane))
        inner_types = argument_types(e, want, use.types, node.dtype)
        inner = tuple(self._term(a, t, use) for a, t in zip(e.args, inner_types, strict=True))
        own = own_type(e, inner_types)
        if e.fn == "cast":
            return self.round(self.cast(inner[0], own))
        return self.make(e.fn, inner, own)


def _exact(small: dtype, big: dtype) -> bool:
    """Does `big` hold every value of `small`? Then a cast there and back is nothing."""
    if small is bool_ and big is not bool_:
        return True
    if small.category == big.category and small.itemsize <= big.itemsize:
        return small.itemsize < big.itemsize or small is big
    if big.category == FLOAT and small.category < FLOAT:
        digits = {"float32": 24, "float64": 53, "float16": 11, "bfloat16": 8}[big.name]
        return 8 * small.itemsize <= digits
    return False


def coordinate_map(node: Node) -> Affine:
    """An INDEX node as an affine map: its value is the coordinate."""
    assert node.attrs is not None
    return Affine(node.shape, tuple(int(k == node.attrs[0]) for k in range(len(node.shape))))


def _outer(node: Node, columns: int) -> tuple[int, int]:
    n = 1
    for s in node.shape[:-1]:
        n *= s
    return (n, columns)


def steps_of(map: Affine, shape: tuple[int, ...]) -> tuple[int, ...] | None:
    """One stride for each dimension of `shape`, whose points `map` is over; None if one takes several."""
    steps: list[int] = []
    at = len(map.dims)
    for size in reversed(shape):
        product, stride, expected = 1, 0, None
        while product < size:
            at -= 1
            n, s = map.dims[at], map.strides[at]
            if n == 1:
                continue
            if expected is None:
                stride = s
            elif s != expected:
                return None
            product *= n
            expected = s * n
        if product != size:
            return None
        steps.append(stride)
    return tuple(reversed(steps))
