"""Random numbers that are PyTorch's, bit for bit.

`Engine` is the CPU generator of PyTorch: seeded alike it gives the same numbers, in the same order,
and its state can be exchanged with `torch.get_rng_state()`. It knows NumPy arrays only; tensors are
filled from it in `ops/random.py`.

    twister.py         the Mersenne Twister, its seed and its state as bytes
    rounding.py        fused multiply-add, float16 / bfloat16 rounding: what NumPy lacks
    functions.py       float64 log, exp, sin...: the C library's, or NumPy's
    cephes.py          float32 log, sin and cos with the rounding errors that PyTorch's have
    engine.py          Engine: one method per distribution
    combinatorial.py   permutations, multinomial and Poisson samples
"""

from facula.rng.engine import Engine

__all__ = ["Engine"]
