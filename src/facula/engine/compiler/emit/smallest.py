"""Rows of elements as keys (engine/graph/primitives/sort.py has the order), and the smallest of a row as a heap:
vectors look for what is less than the largest of it, and leave all else alone.
"""

from __future__ import annotations

from collections.abc import Callable

from facula.dtypes import FLOAT, UNSIGNED, bool_, dtype, float64
from facula.engine.compiler.emit import access
from facula.engine.compiler.emit.module import Code
from facula.engine.compiler.emit.sequential import Writer
from facula.engine.compiler.emit.types import broadcast, splat, stored, vector, widen

_VECTORS = 4  # that are looked at together


def _word(of: dtype) -> str:
    """The type of a key: of 32 bits where these are enough."""
    return "i32" if of.itemsize < 4 or of.itemsize == 4 and of.category != UNSIGNED else "i64"


def _key(code: Code, of: dtype, raw: str, down: bool, lanes: int) -> str:
    """What sort.order_keys makes of elements, in as many bits as needed; `down`: of the order from the other end."""
    word, t = _word(of), vector(_word(of), lanes)
    if of.category != FLOAT:
        bits = raw
        if f"i{8 * of.itemsize}" != word:
            extend = "zext" if of is bool_ or of.category == UNSIGNED else "sext"
            bits = code.op(f"{extend} {vector(stored(of), lanes)} {raw} to {t}")
    else:
        real, width = "double" if of is float64 else "float", 64 if of is float64 else 32
        most = splat(str((1 << width - 1) - 1), word, lanes)
        value = widen(code, of, raw, lanes)
        bits = code.op(f"fadd {vector(real, lanes)} {value}, {splat('0.0', real, lanes)}")  # -0.0 is 0.0
        bits = code.op(f"bitcast {vector(real, lanes)} {bits} to {t}")
        sign = code.op(f"ashr {t} {bits}, {splat(str(width - 1), word, lanes)}")
        bits = code.op(f"xor {t} {bits}, {code.op(f'and {t} {sign}, {most}')}")
        nan = code.op(f"fcmp uno {vector(real, lanes)} {value}, {value}")
        bits = code.op(f"select {vector('i1', lanes)} {nan}, {t} {most}, {t} {bits}")
    return code.op(f"xor {t} {bits}, {splat('-1', word, lanes)}") if down else bits


class KeyedRow:
    """A row of `n` elements of `x`, the k-th of which is at `place(k)`; side by side where `inner` is 1. Keys and
    places of what has been chosen of it are in `heap`, two arrays."""

    def __init__(self, w: Writer, of: dtype, down: bool, x: str, n: str, inner: str, place: Callable[[str], str],
                 heap: tuple[str, str]) -> None:
        self.w, self.of, self.down, self.x, self.n = w, of, down, x, n
        self.inner, self.place, self.heap = inner, place, heap
        self.both = f"ptr {heap[0]}, ptr {heap[1]}"
        table = w.module.table
        self.lanes = max(2, table.vector_bytes // (4 if _word(of) == "i32" else 8)) if table.vectors else 1

    def _raw(self, k: str, lanes: int) -> str:
        code, of = self.w.code, self.of
        at = code.op(f"getelementptr {stored(of)}, ptr {self.x}, i64 {self.place(k)}")
        return _key(code, of, access.load(code, stored(of), lanes, at, of.itemsize), self.down, lanes)

    def key(self, k: str) -> str:
        """The key of the k-th element."""
        found = self._raw(k, 1)
        return found if _word(self.of) == "i64" else self.w.code.op(f"sext i32 {found} to i64")

    def fill(self, count: str) -> None:
        """The first `count` elements into the two arrays."""
        w, code = self.w, self.w.code
        k = w.begin("0", count)
        for base, value in zip(self.heap, (self.key(k[0]), k[0]), strict=True):
            code.do(f"store i64 {value}, ptr {code.op(f'getelementptr i64, ptr {base}, i64 {k[0]}')}, align 8")
        w.end(k)

    def take_few(self, count: str) -> None:
        """The `count` smallest elements into the arrays, in order: a heap of the first ones takes in what is less than
        its largest. Equals come as unstable.partial_sort leaves them."""
        w, code = self.w, self.w.code
        self.fill(count)
        code.do(f"call void @make_heap({self.both}, i64 0, i64 {count})")

        def block(first: str, vectors: list[tuple[str, str]]) -> None:
            some, after = code.label("some"), code.label("after")
            bits, none = self._bits(self._any([less for _, less in vectors]))
            code.do(f"br i1 {none}, label %{after}, label %{some}")
            code.start(some)
            for at, less in vectors:
                self._each(at, self._bits(less)[0], lambda k: self._take_in(k, count))
            code.do(f"br label %{after}")
            code.start(after)

        rest = self._blocks(count, "slt", lambda: code.op(f"load i64, ptr {self.heap[0]}, align 8"), block)
        k = w.begin(rest, self.n)
        self._take_in(k[0], count)
        w.end(k)
        code.do(f"call void @sort_heap({self.both}, i64 0, i64 {count})")

    def unlike(self, count: str) -> str:
        """Is there but one order of the `count` smallest, which `take_few` has found? An i1: are they all different,
        and from all others?"""
        w, code = self.w, self.w.code
        last = code.op(f"getelementptr i64, ptr {self.heap[0]}, i64 {code.op(f'sub i64 {count}, 1')}")
        largest = code.op(f"load i64, ptr {last}, align 8")
        found = w.slot("i64")
        code.do(f"store i64 0, ptr {found}")

        def add(n: str) -> None:
            so_far = code.op(f"load i64, ptr {found}")
            code.do(f"store i64 {code.op(f'add i64 {so_far}, {n}')}, ptr {found}")

        def block(first: str, vectors: list[tuple[str, str]]) -> None:
            word = f"i{self.lanes}"
            code.module.declare(f"llvm.ctpop.{word}", f"declare {word} @llvm.ctpop.{word}({word})")
            for _, less in vectors:
                bits = code.op(f"call {word} @llvm.ctpop.{word}({word} {self._bits(less)[0]})")
                add(code.op(f"zext {word} {bits} to i64"))

        rest = self._blocks("0", "sle", lambda: largest, block)
        k = w.begin(rest, self.n)
        add(code.op(f"zext i1 {code.op(f'icmp sle i64 {self.key(k[0])}, {largest}')} to i64"))
        w.end(k)
        within = code.op(f"icmp eq i64 {code.op(f'load i64, ptr {found}')}, {count}")
        apart = code.op(f"icmp eq i64 {code.op(f'call i64 @different(ptr {self.heap[0]}, i64 {count})')}, 1")
        return code.op(f"and i1 {within}, {apart}")

    # ---- vectors -----------------------------------------------------------------------------------------

    def _blocks(self, start: str, compare: str, bound: Callable[[], str],
                do: Callable[[str, list[tuple[str, str]]], None]) -> str:
        """`do` for whole blocks of vectors from `start` on: where each vector begins, and which of its keys compare so
        with the bound as the block begins. Returns where the rest begins: all of it, where elements do not lie side by
        side."""
        w, code, lanes, word = self.w, self.w.code, self.lanes, _word(self.of)
        if lanes == 1:
            return start
        size = _VECTORS * lanes
        whole = code.op(f"sub i64 {self.n}, {start}")
        whole = code.op(f"sub i64 {whole}, {code.op(f'urem i64 {whole}, {size}')}")
        whole = code.op(f"select i1 {code.op(f'icmp eq i64 {self.inner}, 1')}, i64 {whole}, i64 0")
        rest = code.op(f"add i64 {start}, {whole}")
        j = w.begin(start, rest)
        limit = bound()
        limit = broadcast(code, limit if word == "i64" else code.op(f"trunc i64 {limit} to i32"), word, lanes)
        vectors = []
        for v in range(_VECTORS):
            at = code.op(f"add i64 {j[0]}, {v * lanes}")
            keys = self._raw(at, lanes)
            vectors.append((at, code.op(f"icmp {compare} {vector(word, lanes)} {keys}, {limit}")))
        do(j[0], vectors)
        w.end(j, str(size))
        return rest

    def _any(self, found: list[str]) -> str:
        total = found[0]
        for one in found[1:]:
            total = self.w.code.op(f"or {vector('i1', self.lanes)} {total}, {one}")
        return total

    def _bits(self, found: str) -> tuple[str, str]:
        """A vector of i1 as a number, and whether that is 0."""
        code, word = self.w.code, f"i{self.lanes}"
        bits = code.op(f"bitcast {vector('i1', self.lanes)} {found} to {word}")
        return bits, code.op(f"icmp eq {word} {bits}, 0")

    def _each(self, first: str, bits: str, do: Callable[[str], None]) -> None:
        """`do` for each lane whose bit is set, in their order."""
        code, word = self.w.code, f"i{self.lanes}"
        slot = self.w.slot(word)
        head, body, after = code.label("lanes"), code.label("lane"), code.label("after")
        code.do(f"store {word} {bits}, ptr {slot}")
        code.do(f"br label %{head}")
        code.start(head)
        left = code.op(f"load {word}, ptr {slot}")
        code.do(f"br i1 {code.op(f'icmp eq {word} {left}, 0')}, label %{after}, label %{body}")
        code.start(body)
        rest = code.op(f"and {word} {left}, {code.op(f'add {word} {left}, -1')}")
        code.do(f"store {word} {rest}, ptr {slot}")
        code.module.declare(f"llvm.cttz.{word}", f"declare {word} @llvm.cttz.{word}({word}, i1)")
        lane = code.op(f"call {word} @llvm.cttz.{word}({word} {left}, i1 true)")
        do(code.op(f"add i64 {first}, {code.op(f'zext {word} {lane} to i64')}"))
        code.do(f"br label %{head}")
        code.start(after)

    def _take_in(self, k: str, count: str) -> None:
        code = self.w.code
        key = self.key(k)
        less = code.op(f"icmp slt i64 {key}, {code.op(f'load i64, ptr {self.heap[0]}, align 8')}")
        there, after = code.label("less"), code.label("after")
        code.do(f"br i1 {less}, label %{there}, label %{after}")
        code.start(there)
        code.do(f"call void @take_in({self.both}, i64 {count}, i64 {key}, i64 {k})")
        code.do(f"br label %{after}")
        code.start(after)
