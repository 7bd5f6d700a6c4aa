"""Programs whose shapes change from step to step, beside themselves at one fixed shape.

    python bench/changing.py [--only WORD,...] [--rounds N] [--output FILE.md]

In one process, a block of steps of one shape and a block of changing ones take turns; what counts is the time that the
process has run. `first`: the first 100 changing steps; `then`: those after them. Beside it stand, for 100 steps each,
how many plans the passes made, how many kernels were printed, how many plans were had by arithmetic
(engine/targets/template.py), and by how many MB the process grew. Run it twice: the object cache should be warm.
"""

import argparse
import os
import random
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "src"))
os.environ.setdefault("FACULA_NUM_THREADS", "1")
import tables

import facula
from facula import nn
from facula.engine.compiler import pipeline, printed
from facula.engine.targets import template

BLOCK = 10
TYPICAL = [36, 32, 28, 24, 19, 15, 11, 6]  # of eight lengths from 3, or 5, to 40


def mlp(draw):
    net = nn.Sequential(nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 64), nn.ReLU(), nn.Linear(64, 10))
    optimizer = facula.optim.AdamW(net.parameters(), lr=1e-3)

    def step(fixed):
        n = 32 if fixed else draw.randint(1, 64)
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(net(facula.randn(n, 64)), facula.randint(0, 10, (n,)))
        loss.backward()
        optimizer.step()
        loss.item()
    return step


def ragged(draw):
    layer = nn.TransformerEncoderLayer(32, 4, 64, dropout=0.0, batch_first=True)
    net = nn.TransformerEncoder(layer, 2)
    optimizer = facula.optim.SGD(net.parameters(), lr=1e-3)

    def step(fixed):
        lengths = TYPICAL if fixed else [draw.randint(5, 40) for _ in range(8)]
        longest = max(lengths)
        mask = facula.zeros(8, longest, dtype=facula.bool)
        for k, n in enumerate(lengths):
            mask[k, n:] = True
        optimizer.zero_grad()
        loss = net(facula.randn(8, longest, 32), src_key_padding_mask=mask).pow(2).mean()
        loss.backward()
        optimizer.step()
        loss.item()
    return step


def packed(draw):
    net = nn.LSTM(16, 32, batch_first=True)

    def step(fixed):
        lengths = facula.tensor(TYPICAL if fixed else sorted([draw.randint(3, 40) for _ in range(8)], reverse=True))
        x = nn.utils.rnn.pack_padded_sequence(facula.randn(8, int(lengths[0]), 16), lengths, batch_first=True)
        net.zero_grad()
        net(x)[0].data.pow(2).mean().backward()
        net.weight_hh_l0.grad.sum().item()
    return step


def growing(draw):
    """The rows of makemore's data set: words of varying length, each written into zeros."""
    net = nn.Sequential(nn.Embedding(27, 16), nn.Flatten(), nn.Linear(256, 64), nn.Tanh(), nn.Linear(64, 27))
    optimizer = facula.optim.SGD(net.parameters(), lr=1e-2)

    def step(fixed):
        rows = []
        for _ in range(16):
            n = 8 if fixed else draw.randint(1, 15)
            x = facula.zeros(16, dtype=facula.long)
            x[1:1 + n] = facula.tensor([draw.randint(1, 26) for _ in range(n)])
            rows.append(x)
        y = facula.tensor([draw.randint(0, 26) for _ in rows])
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(net(facula.stack(rows)), y)
        loss.backward()
        optimizer.step()
        loss.item()
    return step


CASES = {"MLP, batches of 1 to 64": mlp, "ragged batches, transformer": ragged, "packed LSTM": packed,
         "growing slices": growing}


def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


def counts():
    return {"passes": facts["passes"], "by arithmetic": facts["served"], "kernels": printed.memo.printings,
            "MB": resident()}


facts = {"passes": 0, "served": 0}


def counted():
    compiled, planned = pipeline.compile_plan, template.plan_for

    def compile_plan(*given):
        facts["passes"] += not template.symbols.tracing
        return compiled(*given)

    def plan_for(*given):
        before = facts["passes"]
        plan = planned(*given)
        facts["served"] += facts["passes"] == before
        return plan
    pipeline.compile_plan, template.plan_for = compile_plan, plan_for


def block(step, fixed):
    start = time.process_time()
    for _ in range(BLOCK):
        step(fixed)
    return (time.process_time() - start) / BLOCK * 1e3


def measured(make, rounds):
    facula.manual_seed(0)
    step = make(random.Random(0))
    for _ in range(3):
        block(step, True)
    found = []
    for part in (100 // BLOCK, rounds):
        before, fixed, changing = counts(), [], []
        for _ in range(part):
            fixed.append(block(step, True))
            changing.append(block(step, False))
        after, steps = counts(), part * BLOCK / 100
        fixed.sort()
        found.append((fixed[len(fixed) // 2], sum(changing) / part,
                      {name: (after[name] - before[name]) / steps for name in after}))
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", default="")
    parser.add_argument("--rounds", type=int, default=30, help=f"blocks of {BLOCK} steps after the first 100 steps")
    parser.add_argument("--output", metavar="FILE")
    options = parser.parse_args()
    words = [w for w in options.only.split(",") if w]
    counted()
    lines = ["Milliseconds a step of CPU time on one thread; the counts are of 100 changing steps. "
             + ", ".join(f"{k} {v}" for k, v in tables.machine().items()), "",
             "| program | steps | fixed | changing | ratio | passes | by arithmetic | kernels | MB |",
             "|---|---|---:|---:|---:|---:|---:|---:|---:|"]
    for name, make in CASES.items():
        if words and not any(word in name for word in words):
            continue
        for when, (fixed, changing, more) in zip(("first 100", "then"), measured(make, options.rounds), strict=True):
            lines.append(f"| {name} | {when} | {fixed:.2f} | {changing:.2f} | {changing / fixed:.1f} | "
                         + " | ".join(f"{value:.0f}" for value in more.values()) + " |")
    print("\n".join(lines))
    if options.output:
        Path(options.output).write_text("\n".join(["# Changing shapes beside a fixed one", "",
                                                   "`python bench/changing.py`.", "", *lines]) + "\n")


if __name__ == "__main__":
    main()
