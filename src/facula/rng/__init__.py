"""Random numbers that are PyTorch's, bit for bit.

`Engine` is the CPU generator of PyTorch: seeded alike it gives the same numbers, in the same order,
and its state can be exchanged with `torch.get_rng_state()`. It knows NumPy arrays only; tensors are
filled from it in `ops/random/sampling.py`.

    twister.py         the Mersenne Twister, its seed and its state as bytes
    rounding.py        fused multiply-add, float16 / bfloat16 rounding: what NumPy lacks
    functions.py       float64 log, exp, sin...: the C library's, or NumPy's
    cephes.py          float32 log, sin and cos with the rounding errors that PyTorch's have
    native.py          the same as machine code, whose text is in native_code.py
    engine.py          Engine: one method per distribution
    combinatorial.py   permutations, multinomial and Poisson samples
    gamma.py           gamma and binomial samples
"""

import os

from facula.rng.engine import Engine

__all__ = ["Engine", "default_engine", "fresh_seed", "seed_all"]

_default: dict[object, Engine] = {}  # by device; None: the cpu's
_seed_of_all: list[int] = []  # what all started from last, if the program said so


def default_engine(place: object = None) -> Engine:
    """The generator that draws where no other is given, made on first use: one for each device. What `seed_all` was
    told last is its seed, or what the operating system gives."""
    if place is not None and getattr(place, "type", None) in ("cpu", "meta"):
        place = None
    found = _default.get(place)
    if found is None:
        found = _default.setdefault(place, Engine(_seed_of_all[0] if _seed_of_all and place else fresh_seed()))
    return found


def seed_all(seed: int) -> None:
    """Start every device's default generator over, those too that are not there yet."""
    _seed_of_all[:] = [seed]
    for place, engine in _default.items():
        if place is not None:
            engine.seed(seed)


def fresh_seed() -> int:
    """64 bits from the operating system."""
    return int.from_bytes(os.urandom(8), "little")
