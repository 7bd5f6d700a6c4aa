"""Random numbers that are PyTorch's, bit for bit.

`Engine` is the CPU generator of PyTorch: seeded alike it gives the same numbers, in the same order,
and its state can be exchanged with `torch.get_rng_state()`. It knows NumPy arrays only; tensors are
filled from it in `ops/random/sampling.py`.

    twister.py         the Mersenne Twister, its seed and its state as bytes
    rounding.py        fused multiply-add, float16 / bfloat16 rounding: what NumPy lacks
    functions.py       float64 log, exp, sin...: the C library's, or NumPy's
    cephes.py          float32 log, sin and cos with the rounding errors that PyTorch's have
    native.py          the same as machine code
    engine.py          Engine: one method per distribution
    combinatorial.py   permutations, multinomial and Poisson samples
"""

import os

from facula.rng.engine import Engine

__all__ = ["Engine", "default_engine", "fresh_seed"]

_default: list[Engine] = []


def default_engine() -> Engine:
    """The generator that draws where no other is given, made on first use with a seed of its own."""
    if not _default:
        _default.append(Engine(fresh_seed()))
    return _default[0]


def fresh_seed() -> int:
    """64 bits from the operating system."""
    return int.from_bytes(os.urandom(8), "little")
