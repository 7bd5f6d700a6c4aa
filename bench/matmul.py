"""Matrix products against torch, interleaved in one process: `python bench/matmul.py [--threads 1 2]`.

Times the kernels themselves (the plan's one native call), with torch writing into `out=`. Prints the
median of the ratios of neighbouring measurements, which a noisy machine disturbs least; below 1 is faster
than torch.
"""

from __future__ import annotations

import argparse
import statistics
import struct
import time
from collections.abc import Callable

import numpy as np
import torch

from facula.dtypes import float32, float64
from facula.engine.compiler.matmul import Operand, lower_contract
from facula.engine.runtime.cpu import jit, launch, target
from facula.engine.runtime.cpu.pool import workers

SQUARES = (64, 128, 256, 512, 1024, 2048)
# batch, m, n, k, whether a and b are stored transposed
SKINNY = [
    (1, 64, 100, 1000, "NN"), (1, 64, 100, 1000, "NT"), (1, 1000, 100, 64, "TN"), (1, 64, 10, 100, "NN"),
    (1, 100, 10, 64, "TN"), (1, 64, 100, 10, "NN"), (1, 2000, 1, 3, "NN"), (1, 3, 1, 2000, "TN"),
    (1, 1, 1000, 1000, "NN"), (1, 1, 1000, 1000, "NT"), (1, 1000, 1, 1000, "NN"), (1, 1000, 1, 1000, "TN"),
    (1, 1, 4096, 4096, "NN"), (1, 1, 4096, 4096, "NT"), (1, 8, 4096, 4096, "NN"), (1, 8, 4096, 4096, "NT"),
    (1, 1, 1, 100000, "NN"), (1, 10, 10, 100000, "NN"), (1, 16, 16, 100000, "TN"), (1, 1000, 1000, 1, "NN"),
    (1, 1000, 1000, 3, "NN"), (1, 32, 128, 784, "NT"), (1, 128, 784, 32, "TN"), (1, 60000, 10, 784, "NT"),
    (1, 32, 768, 3072, "NT"), (1, 512, 3072, 768, "NT"),
    (32, 64, 64, 64, "NN"), (8, 64, 64, 64, "NN"), (8, 128, 128, 64, "NT"), (8, 128, 64, 128, "NN"),
    (96, 197, 197, 64, "NT"), (96, 197, 64, 197, "NN"), (64, 1, 128, 64, "NT"), (64, 1, 64, 128, "NN"),
    (100, 4, 4, 4, "NN"),
]


def product(a: np.ndarray, b: np.ndarray) -> Callable[[], np.ndarray]:
    """A function that computes a @ b (both of three dimensions) by one native call."""
    (batch, m, k), n = a.shape, b.shape[2]
    c = np.empty((batch, m, n), a.dtype)
    memory = [a, b, c]

    def temp(nbytes: int) -> int:
        memory.append(np.empty(nbytes + 64, np.uint8))
        return len(memory) - 1

    def operand(slot: int, x: np.ndarray) -> Operand:
        strides = [s // x.itemsize for s in x.strides]
        return Operand(slot, 0, (strides[0], strides[1], strides[2]))

    of = float32 if a.itemsize == 4 else float64
    steps = lower_contract(of, batch, m, n, k, operand(0, a), operand(1, b), operand(2, c),
                           target.host().vector_bytes, temp)
    program = launch.program([(jit.get(s.kernel), s.args, s.tiles, s.cost) for s in steps])
    table = struct.pack(f"{len(memory)}Q", *[(x.ctypes.data + 63) & -64 if i > 2 else x.ctypes.data
                                             for i, x in enumerate(memory)])
    run = launch.run()

    def call(keep: list[np.ndarray] = memory) -> np.ndarray:
        run(program, table, b"\0" * 8)
        return c

    return call


def seconds(f: Callable[[], object], repeats: int) -> float:
    # torch's workers spin for milliseconds after their work, on the cores that ours need, and ours sleep
    # until they are needed: let the others fall asleep, and the right ones wake up.
    if torch.get_num_threads() > 1:
        time.sleep(0.02)
        deadline = time.perf_counter() + 0.003
        while time.perf_counter() < deadline:
            f()
    start = time.perf_counter()
    for _ in range(repeats):
        f()
    return (time.perf_counter() - start) / repeats


def measure(batch: int, m: int, n: int, k: int, stored: str, of: type = np.float32,
            rounds: int = 11) -> float:
    """Print a line; returns the median ratio of our time to torch's."""
    rng = np.random.default_rng(0)

    def matrix(rows: int, columns: int, transposed: bool) -> np.ndarray:
        if transposed:
            return rng.standard_normal((batch, columns, rows)).astype(of).transpose(0, 2, 1)
        return rng.standard_normal((batch, rows, columns)).astype(of)

    a, b = matrix(m, k, stored[0] == "T"), matrix(k, n, stored[1] == "T")
    x, y = torch.from_numpy(a), torch.from_numpy(b)
    if batch == 1:
        x, y = x[0], y[0]
    out = torch.matmul(x, y)
    ours, theirs = product(a, b), lambda: torch.matmul(x, y, out=out)
    np.testing.assert_allclose(ours().reshape(out.shape), out.numpy(), rtol=1e-3, atol=1e-3 * k**0.5)
    repeats = max(1, int(3e-3 / seconds(ours, 3)))
    pairs = [(seconds(ours, repeats), seconds(theirs, repeats)) for _ in range(rounds)]
    ratio = statistics.median(p / q for p, q in pairs)
    best, other = min(p for p, _ in pairs), min(q for _, q in pairs)
    flops = 2 * batch * m * n * k
    print(f"{batch:3d} x {m:5d} x {n:5d} x {k:6d} {stored}"
          f"  {best * 1e6:10.1f} us {flops / best / 1e9:6.1f} GF/s"
          f"   torch {other * 1e6:10.1f} us {flops / other / 1e9:6.1f} GF/s   ratio {ratio:.2f}", flush=True)
    return ratio


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split(":")[0])
    parser.add_argument("--threads", type=int, nargs="*", default=[1])
    parser.add_argument("--double", action="store_true", help="float64")
    parser.add_argument("--only", choices=("squares", "skinny"))
    options = parser.parse_args()
    of = np.float64 if options.double else np.float32
    for threads in options.threads:
        torch.set_num_threads(threads)
        workers.resize(threads)
        workers.start()
        print(f"--- {np.dtype(of)}, {threads} thread{'s' * (threads > 1)}")
        ratios = []
        if options.only != "skinny":
            ratios += [measure(1, s, s, s, t, of) for s in SQUARES for t in ("NN", "NT", "TN", "TT")]
        if options.only != "squares":
            ratios += [measure(*shape, of) for shape in SKINNY]
        print(f"geometric mean of the ratios: {statistics.geometric_mean(ratios):.3f}")


if __name__ == "__main__":
    main()
