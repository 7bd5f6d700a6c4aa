"""Packing from mapped operands: positions come from tables, not from strides (see operands.py, matmul_operand.py).

A position is the sum of what batch, row and column (or k) contribute, and so is each bounded coordinate. For what a
tile needs, `table` works these out: word 0 of an entry is the position, the others are coordinates. A table holds word
w of entry e at w * CAPACITY + e. An element outside a bound is the operand's fill. The packing itself is in
gemm_map_a.py and gemm_map_b.py.
"""

from __future__ import annotations

from dataclasses import dataclass

from facula.engine.compiler.emit.gemm_base import (
    Target,
    add,
    argument,
    at,
    define,
    loop,
    mul,
    sub,
)
from facula.engine.compiler.emit.module import Code, Module

CAPACITY = 512  # entries of a table: no block has more rows, and no more k
MOST_DIMS = 12  # of an axis
# Bytes into the thread's scratch memory. Each operand has a base (the batch's entry), a table along k and one across.
TABLES = 3 << 20
_TABLE = CAPACITY * 8 * 4
FILL, BATCH, ROW, COLUMN, BOUNDS = 0, 1, 2, 3, 4  # words of a map


@dataclass(frozen=True)
class MapLayout:
    """What the text depends on.

    way     how it is packed: "columns" (of A: rows) or "depth" if neighbours along these are mostly adjacent in
            memory, or "any"
    moves   which of the bounded coordinates follow along there
    """

    bounds: int
    way: str = "any"
    moves: tuple[bool, ...] = ()

    @property
    def words(self) -> int:
        return 1 + self.bounds


def _room(code: Code, number: int) -> str:
    return at(code, "i8", "%scratch", str(TABLES + number * _TABLE))


def word(code: Code, base: str, k: int) -> str:
    return code.op(f"load i64, ptr {at(code, 'i64', base, str(k))}")


class Operand:
    """One mapped operand in the text of a product; `first` numbers its rooms in scratch, args[place] is its map."""

    def __init__(self, code: Code, t: Target, layout: MapLayout, place: int, first: int) -> None:
        self.code = code
        self.layout = layout
        self.map = at(code, "i64", "%args", argument(code, place))
        self.base, self.along, self.across = (_room(code, first + k) for k in range(3))
        self.zeros = at(code, "i64", self.base, "8")
        for w in range(layout.words):
            code.do(f"store i64 0, ptr {at(code, 'i64', self.zeros, str(w))}")
        self.fill = _fill(code, t, self.map)
        _table(code.module, layout.words)

    def _make(self, axis: int, start: str, count: str, init: str, to: str) -> None:
        code = self.code
        words = at(code, "i64", "%args", word(code, self.map, axis))
        code.do(f"call void @table{self.layout.words}(ptr {words}, i64 {start}, i64 {count}, ptr {init}, ptr {to})")

    def batch(self, batch: str) -> None:
        code = self.code
        first = at(code, "i64", self.base, "16")
        for w in range(self.layout.words):
            value = word(code, self.map, BOUNDS + 2 * (w - 1)) if w else "0"
            code.do(f"store i64 {value}, ptr {at(code, 'i64', first, str(w))}")
        # one entry, but its words lie as far apart as those of any table: gathered into `base`
        self._make(BATCH, batch, "1", first, self.across)
        for w in range(self.layout.words):
            value = word(code, self.across, w * CAPACITY)
            code.do(f"store i64 {value}, ptr {at(code, 'i64', self.base, str(w))}")

    def lines(self, axis: int, start: str, count: str) -> None:
        """Rows of A, or columns of B."""
        self._make(axis, start, count, self.zeros, self.across)

    def depth(self, axis: int, start: str, count: str) -> None:
        """Positions along k; what the batch contributes is in them."""
        self._make(axis, start, count, self.base, self.along)


def _fill(code: Code, t: Target, map: str) -> str:
    """The fill: a run-time number, or 0."""
    index = word(code, map, FILL)
    here = code.current
    read, join = code.label("fill"), code.label("join")
    code.do(f"br i1 {code.op(f'icmp sge i64 {index}, 0')}, label %{read}, label %{join}")
    code.start(read)
    number = code.op(f"load double, ptr {at(code, 'double', '%nums', index)}")
    code.do(f"br label %{join}")
    code.start(join)
    value = code.op(f"phi double [0.0, %{here}], [{number}, %{read}]")
    return value if t.type == "double" else code.op(f"fptrunc double {value} to {t.type}")


def _table(module: Module, words: int) -> None:
    """Define @table<words>(axis, start, count, init, to): entries start.. of an axis, each added to `init`.

    `axis` is the number of its dimensions, then (size, steps of the words) of each, the innermost first. The point is
    counted up like an odometer: dividing is for the first one.
    """
    name = f"table{words}"
    if name in module.definitions:
        return
    code = Code(module)
    digits, now = code.op(f"alloca [{MOST_DIMS} x i64]"), code.op(f"alloca [{words} x i64]")
    dims = word(code, "%axis", 0)
    entry = [at(code, "i64", now, str(w)) for w in range(words)]
    for w in range(words):
        code.do(f"store i64 {word(code, '%init', w)}, ptr {entry[w]}")
    rest = code.op("alloca i64")
    code.do(f"store i64 %start, ptr {rest}")

    def dim(d: str) -> str:
        return at(code, "i64", "%axis", add(code, "1", mul(code, d, str(1 + words))))

    def move(place: str, count: str) -> None:
        for w in range(words):
            step = mul(code, word(code, place, 1 + w), count)
            code.do(f"store i64 {add(code, code.op(f'load i64, ptr {entry[w]}'), step)}, ptr {entry[w]}")

    with loop(code, "0", dims) as d:
        place = dim(d)
        size, left = word(code, place, 0), code.op(f"load i64, ptr {rest}")
        digit = code.op(f"urem i64 {left}, {size}")
        code.do(f"store i64 {code.op(f'udiv i64 {left}, {size}')}, ptr {rest}")
        code.do(f"store i64 {digit}, ptr {at(code, 'i64', digits, d)}")
        move(place, digit)
    with loop(code, "0", "%count") as e:
        for w in range(words):
            value = code.op(f"load i64, ptr {entry[w]}")
            code.do(f"store i64 {value}, ptr {at(code, 'i64', '%to', add(code, e, str(w * CAPACITY)))}")
        head, body, carry, done = (code.label(s) for s in ("head", "digit", "carry", "next"))
        before = code.current
        d, following = code.fresh("d"), code.fresh("d")
        code.do(f"br label %{head}")
        code.start(head)
        code.do(f"{d} = phi i64 [0, %{before}], [{following}, %{carry}]")
        code.do(f"br i1 {code.op(f'icmp slt i64 {d}, {dims}')}, label %{body}, label %{done}")
        code.start(body)
        place, held = dim(d), at(code, "i64", digits, d)
        size, digit = word(code, place, 0), add(code, code.op(f"load i64, ptr {held}"), "1")
        code.do(f"store i64 {digit}, ptr {held}")
        move(place, "1")
        code.do(f"br i1 {code.op(f'icmp slt i64 {digit}, {size}')}, label %{done}, label %{carry}")
        code.start(carry)
        code.do(f"store i64 0, ptr {held}")
        move(place, sub(code, "0", size))
        code.do(f"{following} = add i64 {d}, 1")
        code.do(f"br label %{head}")
        code.start(done)
    define(code, name, "ptr %axis, i64 %start, i64 %count, ptr %init, ptr %to")


def sizes_of(code: Code, layout: MapLayout) -> list[str]:
    return [word(code, "%map", BOUNDS + 2 * q + 1) for q in range(layout.bounds)]


def entry(code: Code, table: str, layout: MapLayout, e: str) -> list[str]:
    """The words of entry `e`."""
    return [code.op(f"load i64, ptr {at(code, 'i64', table, add(code, e, str(w * CAPACITY)))}")
            for w in range(layout.words)]
