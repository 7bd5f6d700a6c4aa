"""A loop program in words, for FACULA_DEBUG=3 and the verifier's messages."""

from __future__ import annotations

from collections.abc import Sequence

from facula.engine.compiler.program.formulas import (
    Apply,
    Coordinate,
    Gather,
    Index,
    Kept,
    Literal,
    Load,
    Number,
    Total,
    Value,
    arguments,
)
from facula.engine.compiler.program.statements import (
    Accumulate,
    Accumulator,
    Binding,
    Finish,
    Flush,
    Keep,
    Let,
    Lines,
    Loop,
    LoopProgram,
    Part,
    Start,
    Statement,
    Store,
    Vectors,
)


def program_text(program: LoopProgram) -> str:
    """Loops by indentation, a line a statement; values get names where they are first used."""
    space = "x".join(f"{a.extent}{'(reduced)' if a.reduced else ''}" for a in program.axes) or "one point"
    text = _Text()
    text.lines.append(f"loops of [{program.title}]: over {space}, vectors of {program.lanes}")
    for b in program.buffers:
        text.lines.append(f"b{b.number}: {b.size} {b.dtype.name}")
    for v in program.prelude:
        text.value(v)
    text.statements(program.body)
    return "\n".join(text.lines)


class _Text:
    def __init__(self) -> None:
        self.lines: list[str] = []
        self.depth = 0
        self.names: dict[object, str] = {}

    def say(self, line: str) -> None:
        self.lines.append("  " * self.depth + line)

    def name(self, thing: object, letter: str) -> str:
        return self.names.setdefault(thing, f"{letter}{len(self.names)}")

    def statements(self, body: Sequence[Statement]) -> None:
        for s in body:
            match s:
                case Loop():
                    parts = "" if not s.axis.parts else " = " + ", ".join(p.name for p in s.axis.parts)
                    which = "" if s.part is Part.ALL else f", {s.part.value} of units of {s.unit}"
                    by = "" if s.binding is Binding.SERIAL else " by threads"
                    of = "" if s.axis.of is None else f" of {s.axis.of.name} in {s.axis.size}s"
                    self.say(f"for {s.axis.name}{of} in {s.axis.extent}{by}{parts}{which}{', masked' * s.masked}:")
                    self.inside(s.body)
                case Lines():
                    self.say(f"for lines of {s.axis.name}, along {s.axis.parts[-1].name}:")
                    self.inside(s.body)
                case Vectors():
                    self.say(f"{s.count} vectors along {s.axis.name}:")
                    self.inside(s.body)
                case Let():
                    if s.value in self.names:
                        self.say(self.names[s.value])
                    self.value(s.value)
                case Store():
                    self.say(f"store b{s.buffer.number}{_index(s.index)} = {self.value(s.value)}")
                case Keep():
                    self.say(f"scratch {s.slot.number} = {self.value(s.value)}")
                case Start():
                    for a in s.accumulators:
                        self.say(f"{self.name(a, 'r')} = start {a.name} of {s.vectors} vectors:{a.element.dtype.name}")
                case Accumulate():
                    self.say(f"{self.name(s.accumulator, 'r')} <- {self.value(s.accumulator.element)}")
                case Flush():
                    self._about("flush", s.accumulators)
                case Finish():
                    self._about("finish", s.accumulators)

    def _about(self, verb: str, accumulators: Sequence[Accumulator]) -> None:
        for a in accumulators:
            if verb == "finish" or a.levels == 2:
                self.say(f"{verb} {self.name(a, 'r')}")

    def inside(self, body: Sequence[Statement]) -> None:
        self.depth += 1
        self.statements(body)
        self.depth -= 1

    def value(self, value: Value) -> str:
        stack = [(value, False)]
        while stack:
            v, ready = stack.pop()
            if v in self.names:
                continue
            if ready:
                text = self._formula(v)
                self.say(f"{self.name(v, 'v')} = {text}:{v.dtype.name}")
            else:
                stack.append((v, True))
                stack.extend((a, False) for a in reversed(arguments(v)))
        return self.names[value]

    def _formula(self, v: Value) -> str:
        match v:
            case Apply():
                return f"{v.fn}({', '.join(self.names[a] for a in v.args)})"
            case Load():
                return f"load b{v.buffer.number}{_index(v.index)}"
            case Gather():
                return f"gather b{v.buffer.number}{_index(v.index)} + {v.step}*{self.names[v.row]}"
            case Coordinate():
                return f"coordinate {_index(v.index)}"
            case Total():
                return f"{v.of.name} {self.names.get(v.of, '?')}"
            case Number():
                return f"number {v.at}"
            case Literal():
                return f"literal {v.value!r}"
            case Kept():
                return f"scratch {v.slot.number}"
        raise AssertionError(v)


def _index(index: Index) -> str:
    terms = [f"{stride}*{axis.name}" for axis, stride in index.terms]
    terms += [f"{factor}*number{at}" for at, factor in index.nums] + ([str(index.const)] if index.const else [])
    return "[" + (" + ".join(terms) or "0") + "]"
