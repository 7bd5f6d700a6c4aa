"""A program is drawn, line by line, while PyTorch runs it."""

from __future__ import annotations

import math
import re
import warnings
from typing import Any

from written_programs import gradients, more_tables, tables
from written_programs.drawing import DTYPES, NUMBERS, SHAPES, Drawn
from written_programs.running import BEYOND_TORCH, NAME, Run, name_of

LIVE = 7  # tensors that lines choose from
PLAIN = {"view": 6, "write": 6, "value": 5, "out": 3, "array": 4, "turn": 1, "pointer": 1, "new": 2, "look": 1}
TAPED = {"view": 4, "write": 4, "value": 6, "tape": 5, "leaf": 1, "rebase": 2, "unknown": 1, "look": 1}
OF = {"view": tables.VIEWS + tables.SEVERAL, "write": tables.WRITES + more_tables.WRITES,
      "value": tables.VALUES + more_tables.VALUES, "out": tables.OUTS + more_tables.OUTS, "array": tables.ARRAYS,
      "turn": tables.TURNS + more_tables.TURNS, "pointer": tables.POINTERS}
OF_TAPE = {"view": tables.VIEWS, "write": gradients.GRADUAL + more_tables.GRADUAL,
           "value": gradients.SMOOTH + more_tables.SMOOTH, "tape": gradients.TAPE, "unknown": gradients.UNKNOWN}
IMAGES = [(2, 3, 2, 2), (2, 3, 4, 5), (1, 4, 3, 3), (2, 1, 3, 2), (2, 3, 1, 1)]


class Fields(dict[str, Any]):
    """What stands in the braces of a line, drawn when it is asked for (names are the same wherever they stand)."""

    def __init__(self, writer: Writer, x: str) -> None:
        super().__init__(x=x)
        self.writer, self.drawn = writer, writer.drawn
        self.tensor = writer.run.names[x]
        self.shape = tuple(self.tensor.shape)
        n = len(self.shape)
        self["d"] = d = self.drawn.between(0, n - 1)
        size = self.shape[d] if n else 1
        self["own"] = repr(name_of(self.tensor.dtype))
        rows = self.shape[0] if n else 1
        for of, below in (("index", size), ("rows", rows), ("index0", math.prod(self.shape))):
            count = self.drawn.one_of([1, 2, 3]) if below else 0
            self[of], self["n" + of] = self.drawn.integers((count,), below), count
            if not below:
                self[of] = "[], dtype=lib.int64"
        self["at"], self["picks"] = f"along({x}, {d}, {self['index']})", f"lib.tensor({self['index']})"
        self["few"] = f"lib.tensor({self['rows']})"

    def __missing__(self, field: str) -> Any:
        drawn, shape, n = self.drawn, self.shape, len(self.shape)
        size = shape[self["d"]] if n else 1
        if field in ("y", "z"):
            self[field] = self.writer.another(shape)
            return self[field]
        if field in ("leaf", "b", "q"):
            of = {"leaf": self.writer.leaves, "b": self.writer.arrays, "q": self.writer.pointers}[field]
            self[field] = drawn.one_of(of) if of else "missing"
            return self[field]
        return {"e": lambda: drawn.between(0, n - 1), "u": lambda: drawn.between(0, n),
                "i": lambda: drawn.between(-size, size - 1), "j": lambda: drawn.between(0, size),
                "k": lambda: drawn.between(1, 3), "o": lambda: drawn.between(-1, 1),
                "number": lambda: drawn.one_of(NUMBERS), "dtype": lambda: drawn.one_of(DTYPES),
                "split": lambda: drawn.split(shape), "key": lambda: drawn.key(shape),
                "basic": lambda: drawn.basic_key(shape), "order": lambda: drawn.order(n),
                "channels": lambda: shape[1], "half": lambda: math.prod(shape) // 2,
                "strided": lambda: drawn.strided(self.room())}[field]()

    def room(self) -> int:
        return int(self.tensor.untyped_storage().nbytes() // self.tensor.element_size())


class Writer:
    def __init__(self, torch: Any, seed: object, taped: bool, part: Any = None) -> None:
        self.drawn = Drawn(seed)
        self.run = Run(torch)
        self.taped, self.shared = taped, part is not None
        self.lines: list[str] = []
        self.live: list[str] = []
        self.leaves: list[str] = []
        self.arrays: list[str] = []
        self.pointers: list[str] = []
        self.fresh: set[str] = set()  # nothing has read these yet
        self.hooked: set[int] = set()  # memory of what has hooks, which PyTorch may forget when it is written
        self.count = 0
        if part is not None:
            self.run.names["t0"] = part
            self.live.append("t0")

    def name(self, letter: str = "t") -> str:
        self.count += 1
        return f"{letter}{self.count}"

    def another(self, shape: tuple[int, ...]) -> str:
        """A live tensor, rather one that has the shape or can be broadcast to it."""
        names = self.run.names
        if self.drawn.chance(0.7):
            fits = [t for t in self.live if tuple(names[t].shape) in (shape, (), (1,), shape[1:])]
            if fits:
                return str(self.drawn.one_of(fits))
        return str(self.drawn.one_of(self.live))

    # ---- lines

    def say(self, line: str) -> bool:
        """Run a line; keep it unless it is about what PyTorch alone cannot do. Did it do something?"""
        try:
            refused = self.run.execute(line)
        except UserWarning:  # deprecated there, refused here: docs/differences.md
            return False
        partly = any(word in line for word in ("out=", "backward(", "autograd.grad"))  # it may have done something
        if refused is not None and (partly or BEYOND_TORCH.search(str(refused))):
            return False
        self.lines.append(line)
        self.fresh -= set(NAME.findall(line))
        return refused is None

    def give(self, text: str, letter: str = "t", fresh: bool = False) -> None:
        name = self.name(letter)
        if self.say(f"{name} = {text}"):
            self.hold(name, fresh)

    def hold(self, name: str, fresh: bool = False) -> None:
        made = self.run.names[name]
        if name[0] == "a":
            self.arrays.append(name)
        elif name[0] == "p":
            self.pointers.append(name)
        elif isinstance(made, self.run.lib.Tensor) and made.numel() <= 300:
            self.live.append(name)
            if len(self.live) > LIVE:
                del self.live[self.drawn.between(0, LIVE - 1)]
        if fresh:
            self.fresh.add(name)

    def template(self, of: list[tuple[str, str]], xs: list[str]) -> tuple[str, str, Fields]:
        x = self.drawn.one_of(xs)
        fields = Fields(self, x)
        t = fields.tensor
        of_x, floating = name_of(t.dtype), t.is_floating_point()
        fits = {"d": t.dim() > 0, "2": t.dim() > 1, "4": t.dim() == 4, "5": t.dim() == 5, "p": t.dim() < 4, "w": True,
                "f": floating, "F": floating and t.element_size() > 2, "c": t.is_complex(), "b": of_x == "bool",
                "i": of_x != "bool", "r": of_x != "bool" and not t.is_complex(),
                "n": 0 not in t.stride(), "o": not self.shared, "v": not t.requires_grad}
        drawn_from = [line for line in of if all(fits[n] for n in line[0])]
        if t.dim() in (4, 5) and self.drawn.chance(0.4):
            drawn_from = [line for line in drawn_from if str(t.dim()) in line[0]] or drawn_from
        return *self.drawn.one_of(drawn_from), fields

    def step(self, kind: str) -> None:
        if kind in ("new", "leaf", "rebase", "look"):
            getattr(self, kind)()
            return
        xs = self.live if kind != "unknown" else [t for t in self.live if t in self.fresh]
        if kind == "pointer":
            xs = [t for t in xs if self.run.names[t].numel()]
        if not xs:
            return
        needs, text, fields = self.template((OF_TAPE if self.taped else OF)[kind], xs)
        if kind == "unknown" and fields.tensor.untyped_storage().data_ptr() in {
                self.run.names[t].untyped_storage().data_ptr() for t in self.live if t not in self.fresh}:
            return
        if self.undefined(text, fields):
            return
        if "{size}" in text:
            found = re.match(r"(\(.*?\)), (\(.*?\)), (.*)", self.drawn.strided(fields.room()))
            fields["size"], fields["stride"], fields["offset"] = found.groups()  # type: ignore[union-attr]
        gives = ""
        if kind == "out":
            fields["z"] = z = self.destination(fields)
            if z is None or "w" in needs and not self.apart(z, fields):
                return
        for letter in "tap":
            if f"{{{letter}}} = " in text:
                fields[letter] = gives = self.name(letter)
        line = text.format_map(fields)
        if "missing" in line:
            return
        if kind in ("view", "value"):
            self.give(line, fresh=self.taped and line.endswith((".clone()", " * 2")))
            return
        written = fields["z"] if kind == "out" else ""
        if kind in ("write", "turn", "array", "unknown"):
            written = fields["x"]
        if written and self.unsafe(written, line):
            return
        if self.shared and kind == "out" and not self.fits(self.run.names[written], line):
            return  # it may grow into what another thread has
        if self.say(line) and gives:
            self.hold(gives)
        if "register_hook" in line:
            self.hooked.add(fields.tensor.untyped_storage().data_ptr())
        if line.startswith("del "):
            self.arrays.remove(fields["b"])

    def undefined(self, text: str, fields: Fields) -> bool:
        """Is it PyTorch's affair alone what comes of such a line about this tensor?"""
        x = fields.tensor
        if ".view(lib." in text and not exact(x):  # of a number that may differ in its last bits
            return True
        if "as_strided" in text and self.taped and x._base is not None:
            return True  # what it reads beside a view has no gradient there
        if ("detach_" in text or "requires_grad_" in text) and any(self.run.names[t]._base is x for t in self.live):
            return True  # its views are none any more
        return "resize_" in text and (not x.numel() or 0 in x.stride())  # what it grows by is not set

    def destination(self, fields: Fields) -> str | None:
        """What `out=` names."""
        kind = self.drawn.between(0, 4)
        if kind == 0:
            return str(self.drawn.one_of(self.live))
        if kind == 1:
            return self.another(fields.shape)
        names = set(self.live)
        x = fields["x"]
        self.give({2: f"apart({x})", 3: f"lib.zeros_like({x})",
                   4: f"lib.zeros(({self.drawn.between(1, 2)}, *{x}.shape), dtype={x}.dtype)[-1]"}[kind])
        return next((t for t in self.live if t not in names), None)

    def apart(self, z: str, fields: Fields) -> bool:
        """Has z x's dtype, and no memory of what is read?"""
        names = self.run.names
        read = {names[t].untyped_storage().data_ptr() for t in (fields["x"], fields["y"])}
        return names[z].dtype == fields.tensor.dtype and names[z].untyped_storage().data_ptr() not in read

    def unsafe(self, written: str, line: str) -> bool:
        """Is it undefined what torch does, as it does not see that it writes an element twice, or reads what it has
        written?"""
        x = self.run.names[written]
        if overlaps(x) or x.untyped_storage().data_ptr() in self.hooked:
            return True
        for name in set(NAME.findall(line)) - {written}:
            y = self.run.names.get(name)
            if not isinstance(y, self.run.lib.Tensor):
                continue
            together = shared(x, y)
            if "out=" in line and together and not self.fits(x, line):
                return True
            if unseen(x, y, "[" in line and "= " in line or "index" in line or "scatter" in line):
                return True
        return False

    def fits(self, out: Any, line: str) -> bool:
        """Has `out` the shape that all operands together have? What would be resized is read before and after."""
        others = [self.run.names[t].shape for t in set(NAME.findall(line))]
        try:
            return self.run.lib.broadcast_shapes(*others) == out.shape  # type: ignore[no-any-return]
        except RuntimeError:
            return False

    # ---- what is there to begin with

    def new(self) -> None:
        self.give(self.drawn.ramp(self.drawn.one_of(IMAGES) if self.drawn.chance(0.15) else None))

    def leaf(self) -> None:
        name = self.name()
        shape = self.drawn.one_of([s for s in SHAPES if 0 not in s] + IMAGES)
        dtype = self.drawn.one_of(["float64", "float64", "float64", "float32"])
        if self.say(f"{name} = ({self.drawn.ramp(shape, dtype)} * 0.25).requires_grad_()"):
            self.hold(name, True)
            self.leaves.append(name)

    def rebase(self) -> None:
        """A non-leaf to write into."""
        self.give(f"{self.drawn.one_of(self.live)} * 2", fresh=True)

    def look(self) -> None:
        self.say(f"look({self.drawn.one_of(self.live)})")

    def program(self, length: int) -> list[str]:
        kinds = TAPED if self.taped else PLAIN
        start = self.leaf if self.taped else self.new
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            warnings.filterwarnings("error", "Use of masked_fill_ on expanded tensors|.*expanded tensor", UserWarning)
            start()
            self.rebase() if self.taped else start()
            for _ in range(length):
                if not self.live:
                    start()
                kind = self.drawn.random.choices([*kinds], [*kinds.values()])[0]
                self.step(kind)
            if self.taped:
                self.end()
        return self.lines

    def end(self) -> None:
        """Gradients of all that is left."""
        roots = [t for t in self.live if self.run.names[t].requires_grad and self.run.names[t].numel()]
        for t in roots:
            self.say(f"({t} * {t}).sum().backward(retain_graph=True)")
        for t in self.leaves:
            self.say(f"look({t}.grad)")


def exact(tensor: Any) -> bool:
    """Are its elements small multiples of 1/8? Such do not depend on the order of sums."""
    if not tensor.is_floating_point():
        return not tensor.is_complex()
    eighths = tensor.detach().double() * 8
    return bool((eighths == eighths.round()).all())


def overlaps(tensor: Any) -> bool:
    """Do two indices meet one element, and torch does not see it? What it writes is undefined."""
    if any(stride == 0 and n > 1 for n, stride in zip(tensor.shape, tensor.stride(), strict=True)):
        return False  # it refuses
    reach = 0
    for stride, n in sorted((s, n) for n, s in zip(tensor.shape, tensor.stride(), strict=True) if n > 1):
        if stride <= reach:
            return True
        reach += stride * (n - 1)
    return False


def shared(x: Any, y: Any) -> bool:
    """Do their storages share memory? One that came by DLPack may begin within another."""
    a, b = x.untyped_storage(), y.untyped_storage()
    return bool(a.data_ptr() < b.data_ptr() + b.nbytes() and b.data_ptr() < a.data_ptr() + a.nbytes())


def unseen(written: Any, read: Any, partly: bool) -> bool:
    """May torch read, of a tensor that shares memory, what it has written already? It looks for overlaps only between
    tensors without gaps. `partly`: of `written` a part is written, or in several steps."""
    if not shared(written, read):
        return False
    if partly:
        return True
    places = [(t.shape, t.stride(), t.storage_offset()) for t in (written, read)]
    if places[0] == places[1]:
        return False
    extent = [sum((n - 1) * step for n, step in zip(t.shape, t.stride(), strict=True)) for t in (written, read)]
    return any(reach + 1 != t.numel() for reach, t in zip(extent, (written, read), strict=True))


def write(torch: Any, seed: object, taped: bool, part: Any = None) -> list[str]:
    """A program of 4 to 24 lines, about. `part`: the tensor t0 that it begins with, a part of what others work on."""
    writer = Writer(torch, seed, taped, part)
    return writer.program(writer.drawn.between(4, 22))
