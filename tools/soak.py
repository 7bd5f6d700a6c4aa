"""Long acceptance: what takes hours, or days, and is not for CI. `make soak`, or

    python tools/soak.py [files] [interrupts] [programs] [requests] [--times 0.01]

Each part writes its own file into bench/results/: what ran, with which seeds, how long, and what was wrong. `--times`
runs a part of it. The exit status is the number of parts in which something was wrong.

    files       10,000 damaged and all hostile files are loaded: one error, little time, little memory
    interrupts  5,000 interrupts of training and of other loops, by a timer and at chosen places: the next step works
    programs    10,000 random programs (views, writes, indexing, out=, NumPy, autograd, layouts, dtypes) compiled, as
                with FACULA_EAGER=1 (bit by bit) and on the interpreter agree with PyTorch; 1,000 of them by two threads
    requests    100,000 malformed requests to `facula serve` (HTTP, JSON, binary lengths, gRPC): 4xx, nothing is left
    shapes      10,000 steps of training with changing shapes, packed sequences, ragged batches: memory does not grow
"""

from __future__ import annotations

import argparse
import datetime
import io
import pickle
import platform
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


def piece(kind: str, seed: str, count: int) -> subprocess.CompletedProcess[str]:
    """A part of a part, in a process of its own."""
    return subprocess.run([sys.executable, __file__, "--one", kind, "--seed", seed, "--times", str(count)],
                          capture_output=True, text=True)


CHUNK = 250  # programs that a process of its own runs: PyTorch may end it
BEGUN = "PyTorch has run all programs"


def programs(times: float) -> tuple[list[str], int]:
    """In processes of their own; of each ten programs one runs beside another one."""
    seed = time.time_ns()
    lines, wrong = [f"seed {seed}"], 0
    for kind, whole, chunk in (("programs", 10_000, CHUNK), ("threads", 1000, CHUNK // 5)):
        count, ran, found, ended, drawn = max(2, round(whole * times)), 0, [], 0, 0
        while ran < count:
            size = min(chunk, count - ran)
            done = piece(kind, f"{seed}/{drawn}", size)
            drawn += size
            if done.returncode < 0 and kind == "programs" and BEGUN not in done.stderr and ended < 100:
                ended += 1  # others are drawn in their place
                continue
            if done.returncode:
                found.append(done.stdout.strip() or
                             f"{seed}/{drawn - size}: the process ended with {done.returncode}\n{done.stderr[-1000:]}")
            ran += size
        others = f"; PyTorch ended {ended} processes in which nothing else had run yet" if ended else ""
        lines += [f"{kind}: {ran} ran{others}", *found]
        wrong += len(found)
    return lines, wrong


def chunk(kind: str, seed: str, count: int) -> tuple[list[str], int]:
    import torch

    from written_programs import trying
    torch.set_num_threads(1)
    if kind == "threads":
        found = trying.try_threads(torch, seed, count)
    else:
        found = trying.try_programs(torch, seed, count, lambda: print(BEGUN, file=sys.stderr, flush=True))
    return found, len(found)


GROWN = 100 << 20  # bytes, over all steps of a loop


def shapes(times: float) -> tuple[list[str], int]:
    """Each loop in a process of its own: memory after the first steps, and after each tenth of the others."""
    lines, wrong = [], 0
    import changing_shapes
    for name in changing_shapes.LOOPS:
        seed = time.time_ns()
        done = piece("loop", f"{seed}/{name}", max(10, round(10_000 * times)))
        lines.append(done.stdout.strip() or done.stderr[-1000:])
        wrong += bool(done.returncode)
    return lines, wrong


def loop(seed: str, steps: int) -> tuple[list[str], int]:
    import changing_shapes
    number, _, name = seed.partition("/")
    one = changing_shapes.LOOPS[name](int(number))
    began = time.process_time()
    sizes, looked = changing_shapes.grown(one, steps, changing_shapes.SETTLE)
    took = time.process_time() - began
    grown = max(sizes) - sizes[0]
    each = 1000 * took / (steps + changing_shapes.SETTLE)
    lines = [f"{name}, seed {number}: {steps} steps, {each:.1f} ms of processor time a step; "
             f"MB: {' '.join(str(size >> 20) for size in sizes)}; grown by {grown >> 20}"]
    try:
        import torch
    except ImportError:
        far = 0.0
    else:
        far = max(one.disagreement(torch, found) for found in looked)
        lines.append(f"    {len(looked)} steps compared with PyTorch: largest relative difference {far:.1e}")
    return lines, (grown > GROWN) + (far > 1e-3)


def timed(step: Callable[[], Any]) -> float:
    began = time.perf_counter()
    step()
    return time.perf_counter() - began


def interrupts(times: float) -> tuple[list[str], int]:
    """Half by a timer, half at chosen places: compiled, under FACULA_EAGER=1, on the interpreter."""
    import contextlib
    import random
    import tempfile

    import interrupted_modes
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
            makers = {**interrupting.programs(folder), **interrupted_modes.programs()}
            wanted = max(1, round(5000 * times * share / len(makers) / 2))
            for name, make in makers.items():
                one = interrupting.Interrupted(make())
                seconds = min(timed(one.program.step) for _ in range(5))

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
                one.program.close()
    alarm.close()
    return [*lines, *lost[:20]], wrong + len(lost)


def requests(times: float) -> tuple[list[str], int]:
    """A server that is a process of its own."""
    import tempfile

    import malformed
    with tempfile.TemporaryDirectory() as folder:
        lines, wrong = malformed.run(Path(folder), max(100, round(100_000 * times)), time.time_ns())
    return [*lines, *wrong[:100]], len(wrong)


PARTS: dict[str, Callable[[float], tuple[list[str], int]]] = {
    "files": files, "interrupts": interrupts, "programs": programs, "requests": requests, "shapes": shapes}
PIECES = {"programs": lambda seed, n: chunk("programs", seed, n), "threads": lambda seed, n: chunk("threads", seed, n),
          "loop": loop}  # what runs in processes of its own


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", metavar="part", help=f"of {', '.join(PARTS)}; all if none is named")
    parser.add_argument("--times", type=float, default=1.0, help="run this many times as much")
    parser.add_argument("--one", help=argparse.SUPPRESS)  # a part, in this process
    parser.add_argument("--seed", help=argparse.SUPPRESS)  # of a piece of a part, which runs so many `times`
    chosen = parser.parse_args()
    if chosen.one:
        lines, wrong = PIECES[chosen.one](chosen.seed, round(chosen.times)) if chosen.seed else \
            PARTS[chosen.one](chosen.times)
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
