"""What the engine costs beside another checkout of Facula, on the same machine at the same time.

    python bench/beside.py OTHER_CHECKOUT [--rounds N] [--times N] [--only WORD,...] [--output FILE.md]

A process for each side runs short rounds of a case, one side after the other; what counts is the time that the
process has run, so other programs disturb little. Figures are microseconds a turn, on one thread: the 20th
percentile of the rounds, the median of `--times` pairs of processes (each lies in memory elsewhere, which is
worth 2 to 4 % either way), and the ratio of here to there.
"""

import argparse
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent.parent


def cases(facula):  # name -> (turns a round, what runs so many)
    nn = facula.nn
    facula.manual_seed(0)
    one, a, b, wide = facula.randn(2).sum(), facula.randn(10), facula.randn(10), facula.randn(1000)
    leaf, matrix = facula.randn(10, requires_grad=True), facula.randn(20, 30)
    x, y = facula.randn(16, 4), facula.randn(16, 1)
    images, labels, loss_of = facula.randn(32, 784), facula.randint(0, 10, (32,)), nn.CrossEntropyLoss()
    mlp = nn.Sequential(nn.Linear(784, 128), nn.ReLU(), nn.Linear(128, 10))
    momentum = facula.optim.SGD(mlp.parameters(), lr=0.01, momentum=0.9)
    tiny = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 1))
    adam = facula.optim.AdamW(tiny.parameters(), lr=0.01)
    one.item()

    def each(turn):
        def run(n):
            for _ in range(n):
                turn()
        return run

    def added_in_place(n):
        t = facula.zeros(10)
        for _ in range(n):
            t += b
        t.sum().item()

    def image_step():
        momentum.zero_grad()
        loss = loss_of(mlp(images), labels)
        loss.backward()
        momentum.step()
        loss.item()

    def adam_step():
        adam.zero_grad()
        ((tiny(x) - y) ** 2).mean().backward()
        adam.step()

    def by_hand(n):
        w = facula.zeros(4, requires_grad=True)
        for _ in range(n):
            ((x @ w) ** 2).sum().backward()
            with facula.no_grad():
                w -= 0.01 * w.grad
                w.grad.zero_()

    return {
        "record": (5000, each(lambda: a + b)), "record, with a tape": (3000, each(lambda: leaf * b)),
        "(a + b).item()": (1000, each(lambda: (one + one).item())),
        "(a + b).numpy()": (300, each(lambda: (a + b).numpy())), "a += b": (3000, added_in_place),
        "1000 elements": (300, each(lambda: (wide * 2.0).numpy())),
        "sum of 1000": (800, each(lambda: wide.sum().item())),
        "m[3, 4].item()": (500, each(lambda: matrix[3, 4].item())), "m[3]": (1500, each(lambda: matrix[3])),
        "item of a leaf": (8000, each(one.item)), "MLP step": (15, each(image_step)),
        "small AdamW step": (25, each(adam_step)), "step by hand": (80, by_hand),
        "inference": (200, each(lambda: tiny(x).sum().item()))}


def serve(source):
    """A side: reads a case's name, runs a round of it, says what a turn took."""
    sys.path.insert(0, source)
    import facula
    found = cases(facula)
    print(*found, sep="|", flush=True)
    for line in sys.stdin:
        turns, run = found[line.strip()]
        start = time.process_time()
        run(turns)
        print((time.process_time() - start) / turns * 1e6, flush=True)


def side(checkout):
    environment = os.environ | {"FACULA_NUM_THREADS": "1", "FACULA_VERIFY": "0", "PYTHONPATH": ""}
    process = subprocess.Popen([sys.executable, __file__, "--serve", str(Path(checkout).resolve() / "src")],
                               stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment)
    return process, process.stdout.readline().strip().split("|")


def ask(process, name):
    process.stdin.write(name + "\n")
    process.stdin.flush()
    return float(process.stdout.readline())


def compared(there, rounds, words):
    """name -> (microseconds there, here) of one pair of processes."""
    (theirs, _), (ours, names) = side(there), side(HERE)
    found = {}
    for name in names:
        if words and not any(word in name for word in words):
            continue
        for _ in range(4):
            ask(theirs, name), ask(ours, name)
        times = [], []
        for k in range(rounds):
            for which in ((0, 1) if k % 2 else (1, 0)):
                times[which].append(ask((theirs, ours)[which], name))
        found[name] = tuple(sorted(one)[len(one) // 5] for one in times)
    for process in (theirs, ours):
        process.stdin.close()
        process.wait()
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("other", nargs="?")
    parser.add_argument("--serve", help=argparse.SUPPRESS)
    parser.add_argument("--rounds", type=int, default=25)
    parser.add_argument("--times", type=int, default=5)
    parser.add_argument("--only", default="")
    parser.add_argument("--output", metavar="FILE")
    options = parser.parse_args()
    if options.serve:
        return serve(options.serve)
    if not options.other:
        parser.error("which other checkout?")
    import tables
    runs = [compared(options.other, options.rounds, [w for w in options.only.split(",") if w])
            for _ in range(options.times)]
    ask_git = ["git", "-C", options.other, "rev-parse", "--short", "HEAD"]
    other = subprocess.run(ask_git, capture_output=True, text=True).stdout.strip()
    lines = [f"Microseconds a turn at {other} and here. " + ", ".join(f"{k} {v}" for k, v in tables.machine().items()),
             "", f"| case | {other} | here | ratio |", "|---|---:|---:|---:|"]
    for name in runs[0]:
        there, here = (statistics.median(run[name][k] for run in runs) for k in (0, 1))
        ratio = statistics.median(run[name][1] / run[name][0] for run in runs)
        lines.append(f"| {name} | {there:.2f} | {here:.2f} | {ratio:.2f} |")
    print("\n".join(lines))
    if options.output:
        Path(options.output).write_text("\n".join(lines) + "\n")
    return None


if __name__ == "__main__":
    main()
