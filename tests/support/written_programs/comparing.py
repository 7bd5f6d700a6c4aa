"""Two runs of a program: do they agree? If they do not, a shorter program."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numpy as np

from written_programs.running import GIVES, NAME, Run

CLOSE = {"float64": 1e-7, "complex128": 1e-7, "float32": 3e-5, "complex64": 3e-5, "float16": 4e-3, "bfloat16": 3e-2}


def difference(lines: list[str], ours: Run, theirs: Run, bits: bool = False) -> str:
    """Where they first disagree, in words; "" if they agree. `bits`: no number may differ at all."""
    coarse = coarsest(lines)
    for a, b in zip(ours.seen, theirs.seen, strict=False):
        if a[0] != b[0] or a[1] != b[1]:
            at = min(a[0], b[0])
            ours_there, theirs_there = (_short(one) if one[0] == at else "nothing" for one in (a, b))
            return f"at {_line(lines, at)}: {ours_there}, not {theirs_there}"
        if a[1] == "refused":
            continue
        if a[1] != "value":
            if a[2] != b[2]:
                return f"at {_line(lines, a[0])}: {a[1]} {a[2]}, not {b[2]}"
        elif said := values_differ(a[2], b[2], bits, coarse):
            return f"at {_line(lines, a[0])}: {said}"
    if len(ours.seen) != len(theirs.seen):
        return f"{len(ours.seen)} things seen, not {len(theirs.seen)}"
    return ""


def coarsest(lines: list[str]) -> float:
    """How far numbers may differ in a program: what was rounded to few bits stays so in other dtypes."""
    text = "\n".join(lines).replace(".half()", "float16").replace(".float()", "float32")
    return max((close for name, close in CLOSE.items() if re.search(rf"\b{name}", text)), default=0.0)


def _line(lines: list[str], k: int) -> str:
    return f"line {k} `{lines[k]}`" if k < len(lines) else "the end"


def _short(seen: Any) -> str:
    return f"{seen[1]} {str(seen[2])[:200]}"


def values_differ(ours: tuple[str, np.ndarray], theirs: tuple[str, np.ndarray], bits: bool, coarse: float = 0.0) -> str:
    if ours[0] != theirs[0] or ours[1].shape != theirs[1].shape:
        return f"{ours[0]}{ours[1].shape}, not {theirs[0]}{theirs[1].shape}"
    a, b = ours[1], theirs[1]
    if bits:
        same = (a == b) & (np.signbit(a.real) == np.signbit(b.real)) & (np.signbit(a.imag) == np.signbit(b.imag)) \
            if a.dtype.kind in "fc" else a == b
        good = bool(np.all(same | (a != a) & (b != b)))
    else:
        close = CLOSE.get(ours[0], 0.0)
        close = max(close, coarse) if close else 0.0
        size = np.abs(b)[np.isfinite(b)].max(initial=0) if b.dtype.kind in "fc" else 0
        with np.errstate(all="ignore"):
            good = bool(np.allclose(a, b, rtol=close, atol=close * max(1.0, size), equal_nan=True)) if close \
                else np.array_equal(a, b)
    return "" if good else f"{ours[0]} {a.tolist()}, not {b.tolist()}"


def without(lines: list[str], k: int, several: int = 1) -> list[str]:
    """The program without some lines, and without what needs what they made."""
    gone: set[str] = set()
    left = []
    for i, line in enumerate(lines):
        made = GIVES.match(line)
        names = set(filter(None, made.groups())) if made else set()
        if k <= i < k + several or gone & set(NAME.findall(GIVES.sub("", line))):
            gone |= names
        else:
            gone -= names
            left.append(line)
    return left


def shorter(lines: list[str], wrong: Callable[[list[str]], bool], tries: int = 400) -> list[str]:
    """A program with as few lines as can be found that is `wrong` still."""
    several = max(1, len(lines) // 2)
    while tries > 0:
        k, found = len(lines) - 1, False
        while k >= 0 and tries > 0:
            fewer = without(lines, k, several)
            tries -= 1
            if len(fewer) < len(lines) and wrong(fewer):
                lines, found = fewer, True
                k = min(k, len(lines))
            k -= several
        if several == 1 and not found:
            break
        several = max(1, several // 2)
    return lines
