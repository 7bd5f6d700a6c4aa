"""What the matrix kernels share: the target's vector shape, loops, argument access, masked vectors."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

from facula.engine.compiler.emit import access
from facula.engine.compiler.emit.module import Code
from facula.engine.compiler.instructions import Instructions, Masks
from facula.engine.compiler.kernel import VECTOR_BYTES

# Without the widths LLVM splits 512-bit vectors in two; "no-builtins" keeps copy loops from becoming memcpy.
WIDE = 'nounwind "no-builtins" "prefer-vector-width"="512" "min-legal-vector-width"="512"'
SIGNATURE = "ptr %args, ptr %bufs, ptr %nums, i64 %lo, i64 %hi, ptr %scratch"


@dataclass(frozen=True)
class Target:
    """The shape of a micro-tile: `rows` x `vectors` accumulators of `lanes` elements of LLVM type `type`, on a target
    with the instructions of `table`.

    8 x 3 fills 24 of AVX-512's 32 registers and leaves 3 for B and one or two for the broadcast of A;
    4 x 3 is the same for 16 registers. Both are powers of two, which the packing's transposes need.
    """

    type: str
    itemsize: int
    lanes: int
    rows: int
    table: Instructions
    vectors: int = 3

    def __hash__(self) -> int:  # a part of what says which kernel it is, each time one is asked for
        return hash((self.type, self.lanes, self.rows, self.vectors))

    @property
    def vector(self) -> str:
        return f"<{self.lanes} x {self.type}>"

    @functools.cached_property
    def whole(self) -> Target:
        """With vectors as every machine's nests have them. All that the order of a sum depends on follows these, not
        the registers: which form of kernel, into how many pieces a long sum is cut, and dot products, whose lanes run
        along the sum."""
        return replace(self, lanes=VECTOR_BYTES // self.itemsize)

    @property
    def masked(self) -> bool:
        """Elsewhere a masked access is slow, or a branch per lane."""
        return self.table.masks is Masks.FREE

    @property
    def row_counts(self) -> list[int]:
        """Rows of the micro-tile variants: any number of rows is a sum of these, largest first."""
        return [r for r in (8, 4, 2, 1) if r <= self.rows]

    @property
    def suffix(self) -> str:
        """As in the names of LLVM's intrinsics."""
        return f"v{self.lanes}{'f32' if self.type == 'float' else 'f64'}"


@functools.cache
def target(type: str, table: Instructions) -> Target:
    """The micro-tile for the registers of `table`: all but about seven hold sums."""
    itemsize = {"float": 4, "double": 8}[type]
    return Target(type, itemsize, table.vector_bytes // itemsize, 8 if table.registers >= 32 else 4, table)


@contextmanager
def loop(code: Code, start: str, stop: str, step: str = "1") -> Iterator[str]:
    """`for i in range(start, stop, step)` over i64 values; yields the name of `i`."""
    i, following, inside = code.fresh("i"), code.fresh("i"), code.fresh("c")
    head, body, latch, done = (code.label(s) for s in ("head", "body", "latch", "done"))
    before = code.current
    code.do(f"br label %{head}")
    code.start(head)
    code.do(f"{i} = phi i64 [{start}, %{before}], [{following}, %{latch}]")
    code.do(f"{inside} = icmp slt i64 {i}, {stop}")
    code.do(f"br i1 {inside}, label %{body}, label %{done}")
    code.start(body)
    yield i
    code.do(f"br label %{latch}")
    code.start(latch)
    code.do(f"{following} = add i64 {i}, {step}")
    code.do(f"br label %{head}")
    code.start(done)


@contextmanager
def when(code: Code, condition: str) -> Iterator[None]:
    """`if condition:` for an i1 value."""
    body, done = code.label("then"), code.label("endif")
    code.do(f"br i1 {condition}, label %{body}, label %{done}")
    code.start(body)
    yield
    code.do(f"br label %{done}")
    code.start(done)


def add(code: Code, x: str, y: str) -> str:
    return code.op(f"add i64 {x}, {y}")


def sub(code: Code, x: str, y: str) -> str:
    return code.op(f"sub i64 {x}, {y}")


def mul(code: Code, x: str, y: str) -> str:
    return code.op(f"mul i64 {x}, {y}")


def smaller(code: Code, x: str, y: str) -> str:
    return code.op(f"select i1 {code.op(f'icmp slt i64 {x}, {y}')}, i64 {x}, i64 {y}")


def larger(code: Code, x: str, y: str) -> str:
    return code.op(f"select i1 {code.op(f'icmp sgt i64 {x}, {y}')}, i64 {x}, i64 {y}")


def at(code: Code, type: str, base: str, index: str) -> str:
    """The address of `base[index]`."""
    return code.op(f"getelementptr {type}, ptr {base}, i64 {index}")


def argument(code: Code, k: int) -> str:
    """`args[k]`. Invariant: the caller never changes them while a kernel runs."""
    return code.op(f"load i64, ptr {at(code, 'i64', '%args', str(k))}, !invariant.load !{{}}")


def operand_pointer(code: Code, type: str, k: int) -> str:
    """The start of the operand described by args[k:k+3]: buffer slot, constant offset, and the
    index of a run-time offset in `nums` (or -1)."""
    base = code.op(f"load ptr, ptr {at(code, 'ptr', '%bufs', argument(code, k))}")
    offset, index = argument(code, k + 1), argument(code, k + 2)
    here = code.current
    present = code.op(f"icmp sge i64 {index}, 0")
    read, join = code.label("offset"), code.label("join")
    code.do(f"br i1 {present}, label %{read}, label %{join}")
    code.start(read)
    number = code.op(f"load i64, ptr {at(code, 'i64', '%nums', index)}")
    code.do(f"br label %{join}")
    code.start(join)
    extra = code.op(f"phi i64 [0, %{here}], [{number}, %{read}]")
    return at(code, type, base, add(code, offset, extra))


def lane_mask(code: Code, t: Target, width: str) -> str:
    """The vector of i1 that is true in the first `width` lanes (any i64: negative is none)."""
    lanes = f"<{t.lanes} x i64>"
    one = code.op(f"insertelement {lanes} poison, i64 {width}, i64 0")
    every = code.op(f"shufflevector {lanes} {one}, {lanes} poison, <{t.lanes} x i32> zeroinitializer")
    steps = ", ".join(f"i64 {i}" for i in range(t.lanes))
    return code.op(f"icmp sgt {lanes} {every}, <{steps}>")


def masked_load(code: Code, t: Target, pointer: str, mask: str) -> str:
    """Lanes outside the mask are 0."""
    return access.load(code, t.type, t.lanes, pointer, t.itemsize, mask)


def masked_store(code: Code, t: Target, value: str, pointer: str, mask: str) -> None:
    access.store(code, t.type, t.lanes, value, pointer, t.itemsize, mask)


def load(code: Code, t: Target, pointer: str) -> str:
    return code.op(f"load {t.vector}, ptr {pointer}, align {t.itemsize}")


def store(code: Code, t: Target, value: str, pointer: str) -> None:
    code.do(f"store {t.vector} {value}, ptr {pointer}, align {t.itemsize}")


def splat(code: Code, t: Target, scalar: str) -> str:
    one = code.op(f"insertelement {t.vector} poison, {t.type} {scalar}, i64 0")
    return code.op(f"shufflevector {t.vector} {one}, {t.vector} poison, <{t.lanes} x i32> zeroinitializer")


def multiply_add(code: Code, t: Target, x: str, y: str, z: str) -> str:
    """x * y + z, rounded once where the target can: elsewhere `llvm.fma` would call the C library."""
    if not t.table.fma:
        return code.op(f"fadd {t.vector} {code.op(f'fmul {t.vector} {x}, {y}')}, {z}")
    name = f"llvm.fma.{t.suffix}"
    code.module.declare(name, f"declare {t.vector} @{name}({t.vector}, {t.vector}, {t.vector})")
    return code.op(f"call {t.vector} @{name}({t.vector} {x}, {t.vector} {y}, {t.vector} {z})")


def define(code: Code, name: str, signature: str, public: bool = False) -> None:
    """Close the function under construction and add it to the module."""
    code.do("ret void")
    body = "\n".join(code.lines)
    flags, where = ("", "") if public else ("noinline", "internal")
    head = f"define {where} void @{name}({signature}) {flags} {WIDE}"
    code.module.declare(name, f"{head} {{\nentry:\n{body}\n}}")


def accumulate(code: Code, start: str, stop: str, step: int, type: str, sums: list[str],
               body: Callable[[str, list[str]], list[str]]) -> list[str]:
    """`for i in range(start, stop, step): sums = body(i, sums)` in registers; returns the last sums."""
    i, following, inside = code.fresh("i"), code.fresh("i"), code.fresh("c")
    head, inner, latch, done = (code.label(s) for s in ("head", "body", "latch", "done"))
    before = code.current
    code.do(f"br label %{head}")
    code.start(head)
    code.do(f"{i} = phi i64 [{start}, %{before}], [{following}, %{latch}]")
    held = [code.fresh("s") for _ in sums]
    phis = len(code.lines)
    code.do(f"{inside} = icmp slt i64 {i}, {stop}")
    code.do(f"br i1 {inside}, label %{inner}, label %{done}")
    code.start(inner)
    new = body(i, held)
    code.do(f"br label %{latch}")
    code.start(latch)
    code.do(f"{following} = add i64 {i}, {step}")
    code.do(f"br label %{head}")
    code.lines[phis:phis] = [f"  {h} = phi {type} [{first}, %{before}], [{n}, %{latch}]"
                             for h, first, n in zip(held, sums, new, strict=True)]
    code.start(done)
    return held


def total(code: Code, t: Target, sums: list[str]) -> str:
    """The sum of vectors, as a balanced tree."""
    while len(sums) > 1:
        half = len(sums) // 2
        pairs = [code.op(f"fadd {t.vector} {x}, {y}") for x, y in zip(sums[:half], sums[half:], strict=False)]
        sums = pairs + sums[2 * half:]
    return sums[0]


def lane_total(code: Code, t: Target, value: str) -> str:
    """The sum over the lanes of a vector, as a balanced tree."""
    width = t.lanes // 2
    while width:
        order = ", ".join(f"i32 {(i + width) % t.lanes}" for i in range(t.lanes))
        moved = code.op(f"shufflevector {t.vector} {value}, {t.vector} poison, <{t.lanes} x i32> <{order}>")
        value = code.op(f"fadd {t.vector} {value}, {moved}")
        width //= 2
    return code.op(f"extractelement {t.vector} {value}, i64 0")
