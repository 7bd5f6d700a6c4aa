"""Long acceptance: what takes hours, or days, and is not for CI. `make soak`, or

    python tools/soak.py [files] [interrupts] [programs] [--times 0.01]

Each part writes its own file into bench/results/: what ran, with which seeds, how long, and what was wrong. `--times`
runs a part of it. The exit status is the number of parts in which something was wrong.

    files       10,000 damaged and all hostile files are loaded: one error, little time, little memory
    interrupts  5,000 interrupts of training and of other loops, by a timer and at chosen places: the next step works
    programs    10,000 random programs (views, writes, indexing, NumPy, autograd) on Facula and on PyTorch; then
                with FACULA_EAGER=1 and on the interpreter
"""

from __future__ import annotations

import argparse
import datetime
import io
import os
import pickle
import platform
import re
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "src"), str(ROOT / "tests" / "support")]

SECONDS = 2.0  # a file may take so long
FREE_MEMORY = 48 << 20  # and so much memory, beyond four times its own size


def files(times: float) -> tuple[list[str], int]:
    """In a process of its own, whose largest memory so far can only grow: a file that takes much is seen."""
    import hostile
    from facula.serialization import load
    wrong = []
    seed = time.time_ns()
    rng = hostile.generator(seed)
    seeds = list(hostile.seeds())
    lines = [f"seed {seed}"]

    def judge(name: str, data: bytes, must_fail: bool) -> None:
        before, began = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
        said = "loaded"
        try:
            load(io.BytesIO(data))
        except pickle.UnpicklingError:
            said = ""
        except Exception as error:
            said = f"{type(error).__name__}: {error}"
        took = time.process_time() - began
        grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024
        if said and (must_fail or said != "loaded"):
            wrong.append(f"{name}: {said[:200]}")
        if took > SECONDS:
            wrong.append(f"{name}: {took:.1f} s for {len(data)} bytes")
        if grown > FREE_MEMORY + 4 * len(data):
            wrong.append(f"{name}: {grown >> 20} MB for {len(data)} bytes")

    handmade = list(hostile.files())
    for name, data in handmade:
        judge(name, data, True)
    mutants = max(1, round(10_000 * times))
    for k in range(mutants):
        judge(f"mutant {k}", hostile.mutated(rng, rng.choice(seeds)), False)
    return [*lines, f"{len(handmade)} files made by hand, {mutants} mutants", *wrong], len(wrong)


def programs(times: float) -> tuple[list[str], int]:
    count = max(1, round(10_000 * times))
    lines, wrong = [], 0
    for name, more in (("compiled, against PyTorch", {}), ("FACULA_EAGER=1", {"FACULA_EAGER": "1"}),
                       ("interpreter", {"FACULA_BACKEND": "interpreter"})):
        env = {**os.environ, "FACULA_EXAMPLES": str(count), **more}
        done = subprocess.run([sys.executable, "-m", "pytest", "-q", "--no-header", "-p", "no:cacheprovider",
                               "tests/sweeps/test_random_programs.py"],
                              cwd=ROOT, env=env, capture_output=True, text=True)
        lines.append(f"{name}: {count} programs of each kind: {done.stdout.strip().splitlines()[-1]}")
        if done.returncode:
            wrong += 1
            lines += re.findall(r"^(?:E  |FAILED).*", done.stdout, re.M)[:40]
    return lines, wrong


def interrupts(times: float) -> tuple[list[str], int]:
    """Half by a timer, half at chosen places: compiled, under FACULA_EAGER=1, on the interpreter."""
    import contextlib
    import random
    import tempfile

    import interrupting
    from facula.testing import backends
    seed = time.time_ns()
    generator = random.Random(seed)
    lines, wrong = [f"seed {seed}"], 0
    lost: list[str] = []

    def unraisable(found: Any) -> None:
        if isinstance(found.exc_value, interrupting.Stop):  # not what else half-made objects complain of (zipfile's)
            lost.append(f"lost in {found.object!r}")

    sys.unraisablehook = unraisable
    alarm = interrupting.Alarm()
    ways = {"compiled": (contextlib.nullcontext, 0.6), "interpreter": (backends.interpreter, 0.2),
            "eager": (backends.eager, 0.2)}
    for way, (enter, share) in ways.items():
        with enter(), tempfile.TemporaryDirectory() as folder:
            makers = interrupting.programs(folder)
            wanted = max(1, round(5000 * times * share / len(makers) / 2))
            for name, make in makers.items():
                one = interrupting.Interrupted(make())
                began = time.perf_counter()
                one.program.step()
                seconds = time.perf_counter() - began

                def by_timer(step: Callable[[], Any], seconds: float = seconds) -> tuple[bool, str]:
                    after = generator.uniform(0.1, 8) * seconds
                    return alarm.during(after, lambda: [step() for _ in range(20)]), f"timer {after:.6f} s"

                def at_a_place(step: Callable[[], Any], places: int = one.places) -> tuple[bool, str]:
                    return interrupting.at(generator.randrange(places), step)[::2]

                for kind in (by_timer, at_a_place):
                    hits = tried = 0
                    while hits < wanted and tried < 4 * wanted:
                        hits += one.once(kind, restore=kind is at_a_place and tried % 3 != 0)
                        tried += 1
                    lines.append(f"{way}, {name}, {kind.__name__}: {hits} interrupts in {tried} steps or loops")
                    wrong += hits < wanted
                lines += [f"{way}, {name}: {line}" for line in one.wrong[:20]]
                wrong += len(one.wrong)
    alarm.close()
    return [*lines, *lost[:20]], wrong + len(lost)


PARTS: dict[str, Callable[[float], tuple[list[str], int]]] = {
    "files": files, "interrupts": interrupts, "programs": programs}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", metavar="part", help=f"of {', '.join(PARTS)}; all if none is named")
    parser.add_argument("--times", type=float, default=1.0, help="run this many times as much")
    parser.add_argument("--one", help=argparse.SUPPRESS)  # a part, in this process
    chosen = parser.parse_args()
    if chosen.one:
        lines, wrong = PARTS[chosen.one](chosen.times)
        print("\n".join(lines))
        return min(wrong, 100)
    if unknown := set(chosen.parts) - set(PARTS):
        parser.error(f"no part {', '.join(unknown)}; there are {', '.join(PARTS)}")
    failed = 0
    for part in chosen.parts or PARTS:
        print(f"== {part}", flush=True)
        began = time.monotonic()
        done = subprocess.run([sys.executable, __file__, "--one", part, "--times", str(chosen.times)],
                              capture_output=True, text=True)
        verdict = "nothing was wrong" if not done.returncode else f"wrong (exit {done.returncode})"
        text = (f"# soak: {part}\n\n{datetime.date.today()}, {platform.processor() or platform.machine()}, Python "
                f"{platform.python_version()}, {time.monotonic() - began:.0f} s, {chosen.times:g} times the whole: "
                f"**{verdict}**.\n\n```\n{done.stdout.strip()}\n{done.stderr.strip()[-2000:]}\n```\n")
        (ROOT / "bench" / "results" / f"soak_{part}.md").write_text(text.replace("\n\n```\n\n", "\n\n```\n"))
        print(text, flush=True)
        failed += bool(done.returncode)
    return failed


if __name__ == "__main__":
    sys.exit(main())
