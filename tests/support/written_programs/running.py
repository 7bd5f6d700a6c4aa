"""A program's lines, run one by one; what each came to is noted."""

from __future__ import annotations

import copy
import math
import re
import warnings
from typing import Any

import numpy as np

REFUSALS = (RuntimeError, TypeError, ValueError, IndexError, NotImplementedError, AttributeError, AssertionError,
            BufferError, OverflowError)
NAME = re.compile(r"\b[ta]\d+\b")
GIVES = re.compile(r"^([tap]\d+)(?:, ([ta]\d+))? = ")


# What torch must refuse and Facula need not: it reads everything before it writes, and what the tape has saved is not
# overwritten (docs/differences.md). A program with such a line is not compared.
BEYOND_TORCH = re.compile(r"memory location|modified by an inplace operation|returns multiple views")


class Run:
    """The state of a program on one library. `seen`: what was observed, by line."""

    beyond = False

    def __init__(self, lib: Any) -> None:
        self.lib = lib
        self.line = 0
        self.seen: list[tuple[int, str, Any]] = []
        self.names: dict[str, Any] = {
            "lib": lib, "np": np, "copy": copy, "F": lib.nn.functional, "ramp": self.ramp, "look": self.look,
            "note": self.note, "see": self.see, "twice": self.twice, "apart": self.apart,
            "along": self.along, "gram": self.gram, "beside": self.beside, "eyes": self.eyes,
            "copied": self.copied}

    # ---- what lines may call

    def ramp(self, shape: tuple[int, ...], start: int, step: int, dtype: str) -> Any:
        flat = (np.arange(math.prod(shape)) * step + start) % 7 - (0 if dtype == "uint8" else 2)
        return self.lib.tensor(flat.tolist(), dtype=getattr(self.lib, dtype)).reshape(shape)

    def apart(self, like: Any) -> Any:
        """A view with gaps, of the shape of a tensor."""
        return self.lib.zeros((*like.shape, 2), dtype=like.dtype)[..., 1]

    def along(self, like: Any, d: int, values: list[int]) -> Any:
        """Indices along a dimension of a tensor, none from the end; the other dimensions are 1."""
        found = [v % like.shape[d] for v in values]
        return self.lib.tensor(found, dtype=self.lib.int64).reshape([-1 if k == d else 1 for k in range(like.dim())])

    def gram(self, x: Any) -> Any:
        """Positive definite matrices of matrices."""
        return x.mT @ x + 9 * self.lib.eye(x.shape[-1], dtype=x.dtype)

    def eyes(self, x: Any) -> Any:
        """An identity for each matrix."""
        return self.lib.eye(x.shape[-1], dtype=x.dtype).expand(x[..., 0, 0].numel(), -1, -1)

    def beside(self, x: Any, index: Any) -> Any:
        """What may be scattered to an index: of x, in memory of its own."""
        return (x.flatten()[:1] * 2).expand_as(index)

    def copied(self, x: Any) -> Any:
        """Row-major, in memory of its own."""
        return x.clone(memory_format=self.lib.contiguous_format)

    def note(self, value: Any) -> None:
        self.seen.append((self.line, "note", value))

    def look(self, t: Any) -> None:
        """Elements, and flags that they do not show."""
        if t is None or isinstance(t, (int, float, bool, complex, str, tuple)):
            self.note(t)
            return
        if isinstance(t, np.ndarray):
            self.seen.append((self.line, "value", (t.dtype.name, np.array(t))))
            return
        values = np.array(t.detach().tolist(), dtype=None if t.numel() else float).reshape(tuple(t.shape))
        self.seen.append((self.line, "value", (name_of(t.dtype), values)))

    def see(self, gradient: Any) -> None:
        """A hook that looks."""
        self.look(gradient)

    def twice(self, gradient: Any) -> Any:
        """A hook that changes."""
        return gradient * 2

    # ---- lines

    def execute(self, line: str, allowed: tuple[type[BaseException], ...] = REFUSALS) -> Exception | None:
        try:
            exec(_compiled(line), self.names)
        except allowed as refusal:
            self.beyond |= bool(BEYOND_TORCH.search(str(refusal)))
            self.seen.append((self.line, "refused", type(refusal).__name__))
            return refusal  # type: ignore[return-value]
        made = GIVES.match(line)
        for name in filter(None, made.groups()) if made else ():
            self.geometry(self.names[name])
        return None

    def geometry(self, t: Any) -> None:
        if not isinstance(t, self.lib.Tensor):
            return
        lib = self.lib
        said: list[Any] = [name_of(t.dtype), tuple(t.shape), t.requires_grad, t.is_leaf]
        if t.numel():
            said += [tuple(t.stride()), t.storage_offset(), t.is_contiguous(memory_format=lib.contiguous_format)]
            said += [t.is_contiguous(memory_format=getattr(lib, f"channels_last{of}"))
                     for n, of in ((4, ""), (5, "_3d")) if t.dim() == n]
        self.seen.append((self.line, "geometry", tuple(said)))

    def run(self, lines: list[str]) -> Run:
        for self.line, line in enumerate(lines):
            if all(name in self.names for name in NAME.findall(GIVES.sub("", line))):
                self.execute(line)
        self.line = len(lines)
        for name in sorted(self.names):
            if NAME.fullmatch(name):
                self.execute(f"look({name})")
                self.geometry(self.names[name])
        return self


_CODE: dict[str, Any] = {}


def _compiled(line: str) -> Any:
    if line not in _CODE:
        if len(_CODE) > 2000:
            _CODE.clear()
        _CODE[line] = compile(line, "<program>", "exec")
    return _CODE[line]


def name_of(dtype: Any) -> str:
    return str(dtype).rpartition(".")[2]


def run(lib: Any, lines: list[str], **names: Any) -> Run:
    """Run a program; `names` are there from the beginning."""
    this = Run(lib)
    this.names.update(names)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warnings.filterwarnings("error", "facula: the compiler failed")
        return this.run(lines)
