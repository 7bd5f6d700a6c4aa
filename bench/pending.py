"""What recording an operation costs, in microseconds, by how many have been recorded before it.

    python bench/pending.py [--most N] [--output FILE.md]

Rows: results that are all kept (`alive`), dropped at once (`dead`), each made of the last (`chain`), and
turns of four operations of which one result is kept (`turns`); without and with autograd. The engine
computes what is pending after 8192 nodes at the latest: from there on its runs are part of the figure.
The graph has been seen before (its plans are known): what compiling costs is no part of this table.
The best of three, of the time that the thread has run (others may use the machine meanwhile). Of 100,000 kept
results most of the time is Python's cyclic garbage collector, which walks all that is alive: those rows are
there without it, too. A row is flat if its last figures are no more than a few times its first.
"""

import argparse
import gc
import sys
import time
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parent), str(Path(__file__).resolve().parent.parent / "src")]

import tables  # noqa: E402  (the path comes first)

import facula  # noqa: E402


def alive(x, n):
    kept = []
    for _ in range(n):
        kept.append(x * 2.0)


def dead(x, n):
    for _ in range(n):
        x * 2.0


def chain(x, n):
    for _ in range(n):
        x = x * 1.0001


def turns(x, n):
    kept = []
    for _ in range(n // 4):
        y = x * 2.0
        z = y + x
        kept.append(z.exp() - y)


def timed(row, n, grad):
    """Microseconds an operation, the best of three runs over known plans."""
    best = float("inf")
    for k in range(4):
        x = facula.ones(4, requires_grad=grad)
        facula.ones(3).sum().item()  # nothing is pending
        start = time.thread_time()
        row(x, n)
        took = time.thread_time() - start
        if k:
            best = min(best, took)
    return best / n * 1e6


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--most", type=int, default=100_000)
    parser.add_argument("--output", metavar="FILE")
    options = parser.parse_args()
    counts = [n for n in (10, 100, 1000, 10_000, 100_000) if n <= options.most]
    machine = ", ".join(f"{key} {value}" for key, value in tables.machine().items())
    lines = [f"Microseconds an operation, by how many are recorded in a row. {machine}", "",
             "| row | autograd | " + " | ".join(f"{n:,}" for n in counts) + " |", "|---" * (2 + len(counts)) + "|"]
    print("\n".join(lines), flush=True)
    for row, collected in ((alive, True), (alive, False), (dead, True), (chain, True), (chain, False), (turns, True),
                           (turns, False)):
        for grad in (False, True):
            if not collected:
                gc.disable()
            figures = [f"{timed(row, n, grad):.2f}" for n in counts]
            gc.enable()
            name = row.__name__ + ("" if collected else ", no collector")
            lines.append(f"| {name} | {'yes' if grad else 'no'} | " + " | ".join(figures) + " |")
            print(lines[-1], flush=True)
    if options.output:
        Path(options.output).write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
