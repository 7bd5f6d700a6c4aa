"""What a user waits for before the first step, and the memory it takes: each in a fresh Python process."""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

# Not ru_maxrss: across fork and exec that one begins with the parent's, which has torch loaded.
MEMORY = "[1024 * int(line.split()[1]) for line in open('/proc/self/status') if line[:5] == 'VmHWM'][0]"

# NumPy's own import is part of it: a program pays for both. The files of all are in the page cache.
IMPORT = """
import time, json
start = time.perf_counter()
import {library}
seconds = time.perf_counter() - start
print(json.dumps({{"seconds": seconds, "memory": {memory}}}))
"""

# The seeds' two-layer network with Adam; `began` is when the parent started this process.
FIRST_STEP = """
import sys, time, json
import {library} as torch
x, y = torch.randn(64, 1000), torch.randn(64, 10)
model = torch.nn.Sequential(torch.nn.Linear(1000, 100), torch.nn.ReLU(), torch.nn.Linear(100, 10))
optimizer = torch.optim.Adam(model.parameters(), lr=1e-4)
for step in range({steps}):
    loss = torch.nn.functional.mse_loss(model(x), y, reduction="sum")
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    loss.item()
    if step == 0:
        first = time.time()
print(json.dumps({{"seconds": first - float(sys.argv[1]), "memory": {memory}}}))
"""


def _run(program, cache=None):
    env = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}  # it doubles import times
    env["PYTHONPATH"] = str(ROOT / "src")
    if cache is not None:
        env["FACULA_CACHE_DIR"] = str(cache)
    command = [sys.executable, "-c", program, str(time.time())]
    done = subprocess.run(command, env=env, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(done.stderr)
    return json.loads(done.stdout.strip().splitlines()[-1])


def _row(samples):
    return {key: statistics.median(sample[key] for sample in samples) for key in samples[0]}


def measure(libraries, rounds=5):
    """Rows {name: {library: {"seconds", "memory"}}}; libraries take turns."""
    rows = {}
    for name in libraries:
        _run(IMPORT.format(library=name, memory=MEMORY))  # writes the .pyc files, warms the page cache
    rows["import"] = _interleaved(rounds, libraries, lambda name: _run(IMPORT.format(library=name, memory=MEMORY)))
    with tempfile.TemporaryDirectory() as folder:
        warm = Path(folder) / "warm"
        first = {name: FIRST_STEP.format(library=name, steps=1, memory=MEMORY) for name in libraries}
        many = {name: FIRST_STEP.format(library=name, steps=200, memory=MEMORY) for name in libraries}
        _run(first["facula"], warm)
        cold = (Path(folder) / f"cold{number}" for number in range(1000))
        for row, times, programs, cache in [
                ("first step, warm cache", rounds, first, lambda: warm),
                ("first step, empty cache", 3, first, lambda: next(cold)),
                ("200 steps", 3, many, lambda: warm)]:
            rows[row] = _interleaved(
                times, libraries, lambda name, programs=programs, cache=cache: _run(programs[name], cache()))
    return rows


def _interleaved(rounds, libraries, run):
    samples = {name: [] for name in libraries}
    for _ in range(rounds):
        for name in libraries:
            samples[name].append(run(name))
    return {name: _row(values) for name, values in samples.items()}
