"""Programs tried: on PyTorch, on Facula compiled, at each call (FACULA_EAGER=1), on the interpreter, by two threads."""

from __future__ import annotations

import contextlib
import sys
import threading
import warnings
from collections.abc import Callable, Iterable
from typing import Any

import facula
from facula.testing import backends
from written_programs.comparing import difference, shorter, values_differ
from written_programs.drawing import Drawn
from written_programs.running import Run, run
from written_programs.writing import write

# How each has to agree, and with what: with PyTorch in value, compiled machine code bit by bit, ...
WAYS: dict[str, Callable[[], Any]] = {
    "compiled": contextlib.nullcontext, "eager": backends.eager, "interpreter": backends.interpreter}


def attempt(lines: list[str]) -> Run | str:
    """A run on Facula, or what it died of."""
    try:
        return run(facula, lines)
    except Exception as error:
        return f"raised {type(error).__name__}: {error}"


def judged(lines: list[str], ours: Run | str, theirs: Run | str, bits: bool) -> str:
    if isinstance(ours, str) or isinstance(theirs, str):
        return "" if isinstance(theirs, str) else str(ours)
    return difference(lines, ours, theirs, bits)


def wrong(torch: Any, lines: list[str], ways: Iterable[str] = WAYS) -> str:
    """What is wrong with one program, in the first way in which something is."""
    theirs = run(torch, lines)
    if theirs.beyond:
        return ""
    compiled: Run | str = ""
    for way in ways:
        with WAYS[way]():
            ours = attempt(lines)
        if way == "compiled":
            compiled = ours
        against = theirs if way == "compiled" or not compiled else compiled
        if said := judged(lines, ours, against, way == "eager" and against is compiled):
            return f"{way}: {said}"
    return ""


def told(torch: Any, name: str, lines: list[str], ways: list[str]) -> str:
    """A program that is wrong, made short."""
    short = shorter(lines, lambda fewer: bool(wrong(torch, fewer, ways)))
    return "\n    ".join([f"{name}:", *short, f"=> {(wrong(torch, short, ways) or 'only as a whole')[:600]}"])


def try_programs(torch: Any, seed: object, count: int, begun: Callable[[], None] = lambda: None) -> list[str]:
    """`count` programs, half of them with gradients, each in three ways. What is wrong, in words. `begun` is called
    when PyTorch, which may end the process, has run all of them, and nothing else any."""
    names = [f"{seed}/{k}" for k in range(count)]
    programs = [write(torch, name, k % 2 == 1) for k, name in enumerate(names)]
    theirs = [run(torch, lines) for lines in programs]
    begun()
    found: dict[int, str] = {}
    ran: dict[str, list[Run | str]] = {}
    for way, enter in WAYS.items():
        with enter():
            ran[way] = [attempt(lines) for lines in programs]
    for k, lines in enumerate(programs):
        if theirs[k].beyond:
            continue
        compiled = ran["compiled"][k]
        if judged(lines, compiled, theirs[k], False):
            found[k] = "compiled"
        elif judged(lines, ran["eager"][k], compiled, True):
            found[k] = "eager"
        # NumPy's functions differ in their last bits: not where a program looks at floats as bytes
        elif not any(".view(lib." in line for line in lines) and judged(lines, ran["interpreter"][k], compiled, False):
            found[k] = "interpreter"
    return [told(torch, names[k], programs[k], ["compiled"] if way == "compiled" else ["compiled", way])
            for k, way in found.items()]


def try_threads(torch: Any, seed: object, count: int) -> list[str]:
    """Two programs at a time, in a thread each, switched as often as can be; half of the pairs begin with parts of one
    tensor. What PyTorch gives when they run one after the other is expected."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        return [said for k in range(count // 2) if (said := _pair(torch, f"{seed}/{k}", k % 2 == 1))]
    finally:
        sys.setswitchinterval(before)


def _pair(torch: Any, name: str, shared: bool) -> str:
    drawn = Drawn(name)
    shape = drawn.one_of([(2, 3), (2, 3, 4), (2, 2, 3, 2, 2), (2, 5, 17), (2, 4)])
    text = drawn.ramp(shape, "float32" if drawn.chance(0.5) else "")

    def base(lib: Any) -> Any:
        return eval(text, {"ramp": Run(lib).ramp})

    whole = base(torch)
    parts = [whole[i] if shared else None for i in range(2)]
    programs = [write(torch, f"{name}/{i}", not shared and drawn.chance(0.5), parts[i]) for i in range(2)]
    whole, ours = base(torch), base(facula)
    theirs = [run(torch, lines, **({"t0": whole[i]} if shared else {})) for i, lines in enumerate(programs)]
    if any(one.beyond for one in theirs):
        return ""
    runs = [Run(facula) for _ in programs]
    errors: list[str] = []

    def work(i: int) -> None:
        try:
            if shared:
                runs[i].names["t0"] = ours[i]
            runs[i].run(programs[i])
        except BaseException as error:
            errors.append(f"raised {type(error).__name__}: {error}")

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        threads = [threading.Thread(target=work, args=(i,), daemon=True) for i in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(120)
    if any(thread.is_alive() for thread in threads):
        errors.append("the threads wait for each other")
    said = errors[0] if errors else ""
    for lines, a, b in zip(programs, runs, theirs, strict=True):
        said = said or difference(lines, a, b)
    if not said and shared:
        look = [Run(lib) for lib in (facula, torch)]
        for one, t in zip(look, (ours, whole), strict=True):
            one.look(t)
        said = values_differ(look[0].seen[0][2], look[1].seen[0][2], False)
    if not said:
        return ""
    alone = [] if shared else [wrong(torch, lines, ["compiled"]) for lines in programs]
    return "\n    ".join([f"{name} ({'parts of ' + text if shared else 'nothing shared'}):", *programs[0], "and",
                          *programs[1], f"=> {said[:600]}", *(f"alone too: {one[:300]}" for one in alone if one)])
