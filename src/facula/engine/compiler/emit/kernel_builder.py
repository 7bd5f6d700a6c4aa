"""A kernel under construction: its arguments, and code with loops.

Loop counters and accumulators are stack slots (`alloca`), which LLVM turns into registers: so
emitting needs no phi nodes, and code for a loop body can be written in any order.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from facula.dtypes import FLOAT, dtype, float64, int64
from facula.engine.compiler.emit import casts
from facula.engine.compiler.emit.module import Code, Module
from facula.engine.compiler.emit.types import element
from facula.engine.compiler.kernel import Machine

# An argument: a number, or ("buf", node) / ("num", position), resolved by plan.py.
Word = int | tuple[str, object]


class KernelBuilder:
    """The function of one kernel. `words` become the step's args."""

    def __init__(self, machine: Machine) -> None:
        self.module = Module(machine.table)
        self.entry = Code(self.module)
        self.code = Code(self.module)
        self.code.counter = 100000  # names of the two never meet
        self.words: list[Word] = []
        self.arguments: dict[object, str] = {}

    def argument(self, word: Word, key: object = None) -> str:
        """An int64 of `args`. Equal `key`: the same argument.

        Equal numbers are not the same argument: kernels are generic.
        """
        if key is not None and key in self.arguments:
            return self.arguments[key]
        at = self.entry.op(f"getelementptr i64, ptr %args, i64 {len(self.words)}")
        self.words.append(word)
        name = self.entry.op(f"load i64, ptr {at}, align 8, !invariant.load !0")
        if key is not None:
            self.arguments[key] = name
        return name

    def buffer(self, node: object) -> str:
        key = ("pointer", node)
        if key not in self.arguments:
            index = self.argument(("buf", node))
            at = self.entry.op(f"getelementptr ptr, ptr %bufs, i64 {index}")
            self.arguments[key] = self.entry.op(f"load ptr, ptr {at}, align 8, !invariant.load !0")
        return self.arguments[key]

    def run_time_number(self, at: int, d: dtype) -> str:
        key = ("number", at, element(d))
        if key not in self.arguments:
            index = self.argument(("num", at), ("index", at))
            wide = float64 if d.category == FLOAT else int64
            where = self.entry.op(f"getelementptr {element(wide)}, ptr %nums, i64 {index}")
            name = self.entry.op(f"load {element(wide)}, ptr {where}, align 8")
            self.arguments[key] = casts.cast(self.entry, name, wide, d.compute, 1)
        return self.arguments[key]

    def slot(self, type_: str) -> str:
        name = self.entry.fresh("slot")
        self.entry.lines.insert(0, f"  {name} = alloca {type_}, align 64")
        return name

    @contextmanager
    def loop(self, start: str, end: str, step: str | list[str]) -> Iterator[str]:
        """for i in range(start, end, step); the body may compute the step: it is in a list then."""
        code = self.code
        loop = code.open_loop(self.slot("i64"), start, end)
        yield loop[0]
        code.close_loop(loop, step if isinstance(step, str) else step[0])

    def add(self, a: str, b: str) -> str:
        return b if a == "0" else a if b == "0" else self.code.op(f"add nsw i64 {a}, {b}")

    def mul(self, a: str, b: str) -> str:
        return a if b == "1" else b if a == "1" else self.code.op(f"mul nsw i64 {a}, {b}")

    def text(self) -> str:
        """The module's text, with the function's name left as KERNEL_NAME."""
        # of a nest's vectors, not of the target's: math functions that get vectors from here have the same (vecmath.py)
        head = 'attributes #0 = { nounwind "prefer-vector-width"="512" "min-legal-vector-width"="512" }\n!0 = !{}\n'
        body = "\n".join(self.entry.lines + ["  br label %start", "start:"] + self.code.lines)
        self.module.declare(
            "KERNEL_NAME",
            "define void @KERNEL_NAME(ptr noalias readonly %args, ptr noalias readonly %bufs, "
            "ptr noalias readonly %nums, i64 %lo, i64 %hi, ptr noalias %scratch) #0 {\nentry:\n"
            f"{body}\n}}",
        )
        return self.module.text() + "\n" + head
