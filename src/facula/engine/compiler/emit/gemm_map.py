"""Packing from mapped operands: positions come from tables, not from strides (see operands.py, matmul_operand.py).

A position is the sum of what batch, row and column (or k) contribute, and so is each bounded coordinate. For what a
tile needs, `table` works these out: word 0 of an entry is the position, the others are coordinates. A table holds word
w of entry e at w * CAPACITY + e. An element outside a bound is the operand's fill.

B's panels come in two ways. Where neighbouring columns are mostly adjacent in memory too ("runs"), each run of a vector
is loaded by a mask, k by k. Otherwise the lanes are gathered.
"""

from __future__ import annotations

from dataclasses import dataclass

from facula.engine.compiler.emit.gemm_base import (
    Target,
    add,
    argument,
    at,
    define,
    lane_mask,
    loop,
    masked_store,
    mul,
    smaller,
    splat,
    store,
    sub,
    when,
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
    """What the text depends on. `moves`: the lanes run along memory, and along these of the bounded coordinates."""

    bounds: int
    moves: tuple[bool, ...] | None = None

    @property
    def words(self) -> int:
        return 1 + self.bounds


def _room(code: Code, number: int) -> str:
    return at(code, "i8", "%scratch", str(TABLES + number * _TABLE))


def _word(code: Code, base: str, k: int) -> str:
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
        words = at(code, "i64", "%args", _word(code, self.map, axis))
        code.do(f"call void @table{self.layout.words}(ptr {words}, i64 {start}, i64 {count}, ptr {init}, ptr {to})")

    def batch(self, batch: str) -> None:
        code = self.code
        first = at(code, "i64", self.base, "16")
        for w in range(self.layout.words):
            value = _word(code, self.map, BOUNDS + 2 * (w - 1)) if w else "0"
            code.do(f"store i64 {value}, ptr {at(code, 'i64', first, str(w))}")
        # one entry, but its words lie as far apart as those of any table: gathered into `base`
        self._make(BATCH, batch, "1", first, self.across)
        for w in range(self.layout.words):
            value = _word(code, self.across, w * CAPACITY)
            code.do(f"store i64 {value}, ptr {at(code, 'i64', self.base, str(w))}")

    def lines(self, axis: int, start: str, count: str) -> None:
        """Rows of A, or columns of B."""
        self._make(axis, start, count, self.zeros, self.across)

    def depth(self, axis: int, start: str, count: str) -> None:
        """Positions along k; what the batch contributes is in them."""
        self._make(axis, start, count, self.base, self.along)


def _fill(code: Code, t: Target, map: str) -> str:
    """The fill: a run-time number, or 0."""
    index = _word(code, map, FILL)
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
    dims = _word(code, "%axis", 0)
    entry = [at(code, "i64", now, str(w)) for w in range(words)]
    for w in range(words):
        code.do(f"store i64 {_word(code, '%init', w)}, ptr {entry[w]}")
    rest = code.op("alloca i64")
    code.do(f"store i64 %start, ptr {rest}")

    def dim(d: str) -> str:
        return at(code, "i64", "%axis", add(code, "1", mul(code, d, str(1 + words))))

    def move(place: str, count: str) -> None:
        for w in range(words):
            step = mul(code, _word(code, place, 1 + w), count)
            code.do(f"store i64 {add(code, code.op(f'load i64, ptr {entry[w]}'), step)}, ptr {entry[w]}")

    with loop(code, "0", dims) as d:
        place = dim(d)
        size, left = _word(code, place, 0), code.op(f"load i64, ptr {rest}")
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
        size, digit = _word(code, place, 0), add(code, code.op(f"load i64, ptr {held}"), "1")
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


def _sizes(code: Code, layout: MapLayout) -> list[str]:
    return [_word(code, "%map", BOUNDS + 2 * q + 1) for q in range(layout.bounds)]


def _entry(code: Code, table: str, layout: MapLayout, e: str) -> list[str]:
    """The words of entry `e`."""
    return [code.op(f"load i64, ptr {at(code, 'i64', table, add(code, e, str(w * CAPACITY)))}")
            for w in range(layout.words)]


def pack_a(module: Module, t: Target, layout: MapLayout, counts: list[int]) -> None:
    """Define @pack_a_map(a, rows, along, m, k, map, fill, to): in the order of gemm_pack.pack_a."""
    code = Code(module)

    def block(rows: int, i: str) -> None:
        _pack_rows(module, t, layout, rows)
        code.do(f"call void @pack_a_map{rows}(ptr %a, ptr {at(code, 'i64', '%rows', i)}, ptr %along, i64 %k, "
                f"ptr %map, {t.type} %fill, ptr {at(code, t.type, '%to', mul(code, i, '%k'))})")

    whole = code.op(f"and i64 %m, {-counts[0]}")
    with loop(code, "0", whole, str(counts[0])) as i:
        block(counts[0], i)
    for rows in counts[1:]:
        here = code.op(f"and i64 %m, {-2 * rows}")
        with when(code, code.op(f"icmp ne i64 {code.op(f'and i64 %m, {rows}')}, 0")):
            block(rows, here)
    define(code, "pack_a_map", f"ptr noalias %a, ptr %rows, ptr %along, i64 %m, i64 %k, ptr %map, {t.type} %fill, "
                               "ptr noalias %to")


def _pack_rows(module: Module, t: Target, layout: MapLayout, rows: int) -> None:
    code = Code(module)
    outside = code.op(f"alloca {t.type}")  # what an element outside the bounds is read from
    code.do(f"store {t.type} %fill, ptr {outside}")
    sizes = _sizes(code, layout)
    lines = [_entry(code, "%rows", layout, str(r)) for r in range(rows)]
    starts = [at(code, t.type, "%a", line[0]) for line in lines]
    with loop(code, "0", "%k") as kk:
        position, *coordinates = _entry(code, "%along", layout, kk)
        place = at(code, t.type, "%to", mul(code, kk, str(rows)))
        for r in range(rows):
            source = at(code, t.type, starts[r], position)
            for c, own, size in zip(coordinates, lines[r][1:], sizes, strict=True):
                inside = code.op(f"icmp ult i64 {add(code, c, own)}, {size}")
                source = code.op(f"select i1 {inside}, ptr {source}, ptr {outside}")
            value = code.op(f"load {t.type}, ptr {source}, align {t.itemsize}")
            code.do(f"store {t.type} {value}, ptr {at(code, t.type, place, str(r))}, align {t.itemsize}")
    define(code, f"pack_a_map{rows}",
           f"ptr %a, ptr %rows, ptr %along, i64 %k, ptr %map, {t.type} %fill, ptr %to")


def pack_b(module: Module, t: Target, layout: MapLayout) -> None:
    """Define @pack_b_map(b, along, across, k, columns, ldb, map, fill, to): see gemm_pack.pack_b."""
    code = Code(module)
    sizes = [code.op(f"trunc i64 {s} to i32") for s in _sizes(code, layout)]
    fill = splat(code, t, "%fill")
    with loop(code, "0", "%ldb", str(t.lanes)) as j:
        across = at(code, "i64", "%across", j)
        left = sub(code, "%columns", j)
        to = at(code, t.type, "%to", j)
        if layout.moves is None:
            _gathered(code, t, layout, sizes, fill, across, left, to)
        else:
            _runs(code, t, layout, sizes, fill, across, left, to)
    define(code, "pack_b_map", "ptr noalias %b, ptr %along, ptr %across, i64 %k, i64 %columns, i64 %ldb, ptr %map, "
                               f"{t.type} %fill, ptr noalias %to")


def _splat32(code: Code, t: Target, value: str) -> str:
    v = f"<{t.lanes} x i32>"
    one = code.op(f"insertelement {v} poison, i32 {value}, i64 0")
    return code.op(f"shufflevector {v} {one}, {v} poison, {v} zeroinitializer")


def _both(code: Code, t: Target, x: str, y: str) -> str:
    return code.op(f"and <{t.lanes} x i1> {x}, {y}")


def _gathered(code: Code, t: Target, layout: MapLayout, sizes: list[str], fill: str, across: str, left: str,
              to: str) -> None:
    v, wide = f"<{t.lanes} x i32>", f"<{t.lanes} x i64>"
    words = []
    for w in range(layout.words):  # lanes past the end hold anything: the mask spares them
        whole = code.op(f"load {wide}, ptr {at(code, 'i64', across, str(w * CAPACITY))}, align 8")
        words.append(code.op(f"trunc {wide} {whole} to {v}"))
    limits = [_splat32(code, t, s) for s in sizes]
    present = lane_mask(code, t, left)
    name = f"llvm.masked.gather.{t.suffix}.v{t.lanes}p0"
    bits, pointers = f"<{t.lanes} x i1>", f"<{t.lanes} x ptr>"
    code.module.declare(name, f"declare {t.vector} @{name}({pointers}, i32, {bits}, {t.vector})")
    with loop(code, "0", "%k") as kk:
        position, *coordinates = _entry(code, "%along", layout, kk)
        mask = present
        for c, own, limit in zip(coordinates, words[1:], limits, strict=True):
            here = code.op(f"add {v} {own}, {_splat32(code, t, code.op(f'trunc i64 {c} to i32'))}")
            mask = _both(code, t, mask, code.op(f"icmp ult {v} {here}, {limit}"))
        start = at(code, t.type, "%b", position)
        lanes = code.op(f"getelementptr {t.type}, ptr {start}, {v} {words[0]}")
        value = code.op(f"call {t.vector} @{name}({pointers} {lanes}, i32 {t.itemsize}, {bits} {mask}, "
                        f"{t.vector} {fill})")
        store(code, t, value, at(code, t.type, to, mul(code, kk, "%ldb")))


def _runs(code: Code, t: Target, layout: MapLayout, sizes: list[str], fill: str, across: str, left: str,
          to: str) -> None:
    """Runs of lanes, one after the other; where one begins is seen in the table."""
    assert layout.moves is not None
    width = smaller(code, left, str(t.lanes))
    head, body, done = (code.label(s) for s in ("head", "run", "done"))
    before = code.current
    first, last = code.fresh("l"), code.fresh("l")
    code.do(f"br label %{head}")
    code.start(head)
    hole = len(code.lines)
    code.do(f"br i1 {code.op(f'icmp slt i64 {first}, {width}')}, label %{body}, label %{done}")
    code.start(body)
    words = _entry(code, across, layout, first)
    _run_end(code, layout, across, first, last, width)
    steps = [True, *layout.moves]
    # of lane 0, had the run begun there
    words = [sub(code, w, first) if moves else w for w, moves in zip(words, steps, strict=True)]
    every = "<" + ", ".join(["i1 true"] * t.lanes) + ">"
    begun = code.op(f"xor <{t.lanes} x i1> {lane_mask(code, t, first)}, {every}")
    own = _both(code, t, lane_mask(code, t, last), begun)
    _one_run(code, t, layout, sizes, fill, words, own, to)
    code.lines.insert(hole, f"  {first} = phi i64 [0, %{before}], [{last}, %{code.current}]")
    code.do(f"br label %{head}")
    code.start(done)


def _run_end(code: Code, layout: MapLayout, across: str, first: str, last: str, width: str) -> None:
    """%last: the first lane behind the run that begins at lane `first`."""
    assert layout.moves is not None
    head, body, following, done = (code.label(s) for s in ("scan", "compare", "further", "end"))
    before = code.current
    start, more = add(code, first, "1"), code.fresh("l")
    code.do(f"br label %{head}")
    code.start(head)
    code.do(f"{last} = phi i64 [{start}, %{before}], [{more}, %{following}]")
    code.do(f"br i1 {code.op(f'icmp slt i64 {last}, {width}')}, label %{body}, label %{done}")
    code.start(body)
    here, ahead = _entry(code, across, layout, last), _entry(code, across, layout, sub(code, last, "1"))
    same = "true"
    for x, y, moves in zip(here, ahead, (True, *layout.moves), strict=True):
        same = code.op(f"and i1 {same}, {code.op(f'icmp eq i64 {sub(code, x, y)}, {int(moves)}')}")
    code.do(f"br i1 {same}, label %{following}, label %{done}")
    code.start(following)
    code.do(f"{more} = add i64 {last}, 1")
    code.do(f"br label %{head}")
    code.start(done)


def _one_run(code: Code, t: Target, layout: MapLayout, sizes: list[str], fill: str, words: list[str], own: str,
             to: str) -> None:
    assert layout.moves is not None
    v, bits = f"<{t.lanes} x i32>", f"<{t.lanes} x i1>"
    lanes = "<" + ", ".join(f"i32 {i}" for i in range(t.lanes)) + ">"
    name = f"llvm.masked.load.{t.suffix}.p0"
    code.module.declare(name, f"declare {t.vector} @{name}(ptr, i32, {bits}, {t.vector})")
    source = at(code, t.type, "%b", words[0])
    limits = [_splat32(code, t, s) for s in sizes]
    with loop(code, "0", "%k") as kk:
        position, *coordinates = _entry(code, "%along", layout, kk)
        mask = own
        for c, mine, limit, moves in zip(coordinates, words[1:], limits, layout.moves, strict=True):
            here = _splat32(code, t, code.op(f"trunc i64 {add(code, c, mine)} to i32"))
            if moves:
                here = code.op(f"add {v} {here}, {lanes}")
            mask = _both(code, t, mask, code.op(f"icmp ult {v} {here}, {limit}"))
        value = code.op(f"call {t.vector} @{name}(ptr {at(code, t.type, source, position)}, i32 {t.itemsize}, "
                        f"{bits} {mask}, {t.vector} {fill})")
        masked_store(code, t, value, at(code, t.type, to, mul(code, kk, "%ldb")), own)
