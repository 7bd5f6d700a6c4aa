"""Writing LLVM IR as text.

Text is 57 times faster to produce than `llvmlite.ir` objects. A `Module` collects functions and
declarations; a `Block` hands out names and appends instructions to the function it belongs to.
"""

from __future__ import annotations

from facula.engine.compiler.instructions import COMMON, Instructions


class Module:
    """The text of one LLVM module, for a target with the instructions of `table`. Definitions are keyed by name, so
    asking twice is free.
    """

    def __init__(self, table: Instructions = COMMON) -> None:
        self.table = table
        self.definitions: dict[str, str] = {}

    def declare(self, name: str, text: str) -> None:
        """Add a `declare`, `define` or global under `name`, once."""
        self.definitions.setdefault(name, text)

    def text(self) -> str:
        return "\n\n".join(self.definitions.values()) + "\n"


class Code:
    """The body of a function under construction.

    >>> code = Code(Module())
    >>> code.op("fadd float %x, %y")
    '%v0'
    >>> code.lines
    ['  %v0 = fadd float %x, %y']
    """

    __slots__ = ("module", "lines", "counter", "current")

    def __init__(self, module: Module) -> None:
        self.module = module
        self.lines: list[str] = []
        self.counter = 0
        self.current = "entry"  # label of the block being written: what a phi needs

    def fresh(self, stem: str = "v") -> str:
        """A new value name."""
        self.counter += 1
        return f"%{stem}{self.counter - 1}"

    def op(self, text: str) -> str:
        """Append `%new = text`; returns the new name."""
        name = self.fresh()
        self.lines.append(f"  {name} = {text}")
        return name

    def do(self, text: str) -> None:
        """Append an instruction without a result."""
        self.lines.append("  " + text)

    def label(self, stem: str) -> str:
        """A new label name (without `%`), to be started with `start`."""
        self.counter += 1
        return f"{stem}{self.counter - 1}"

    def start(self, label: str) -> None:
        """Begin the basic block `label`."""
        self.lines.append(f"{label}:")
        self.current = label

    def open_loop(self, slot: str, start: str, end: str) -> tuple[str, str, str, str]:
        """for i in range(start, end), counted in `slot`; `close_loop` takes what this gives: i first."""
        self.do(f"store i64 {start}, ptr {slot}")
        head, body, done = self.label("head"), self.label("body"), self.label("done")
        self.do(f"br label %{head}")
        self.start(head)
        i = self.op(f"load i64, ptr {slot}")
        self.do(f"br i1 {self.op(f'icmp slt i64 {i}, {end}')}, label %{body}, label %{done}")
        self.start(body)
        return i, slot, head, done

    def close_loop(self, loop: tuple[str, str, str, str], step: str) -> None:
        i, slot, head, done = loop
        self.do(f"store i64 {self.op(f'add nsw i64 {i}, {step}')}, ptr {slot}")
        self.do(f"br label %{head}")
        self.start(done)

    def least(self, a: str, b: str) -> str:
        """The smaller of two int64."""
        smaller = self.op(f"icmp slt i64 {a}, {b}")
        return self.op(f"select i1 {smaller}, i64 {a}, i64 {b}")
