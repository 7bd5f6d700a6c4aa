"""The random functions against PyTorch: the same numbers from the same seed, whatever the size.

Integers, permutations and uniforms are the same bits; normals are within 1e-6. Afterwards the generators
stand at the same place.
"""

from __future__ import annotations

import numpy as np
import pytest

import facula

torch = pytest.importorskip("torch", reason="compares with PyTorch, which is not installed")

SEEDS = (0, 1234, 2**40 + 7)
SIZES = (1, 15, 16, 17, 100, 1000, 100000)

EXACT = {
    "rand": lambda lib, n: lib.rand(n),
    "rand float64": lambda lib, n: lib.rand(n, dtype=lib.float64),
    "rand_like": lambda lib, n: lib.rand_like(lib.zeros(n)),
    "randint": lambda lib, n: lib.randint(-5, 1000, (n,)),
    "randint wide": lambda lib, n: lib.randint(-2**40, 2**50, (n,)),
    "randint int32": lambda lib, n: lib.randint(7, (n,), dtype=lib.int32),
    "randperm": lambda lib, n: lib.randperm(n),
    "uniform_": lambda lib, n: lib.empty(n).uniform_(-2, 3),
    "random_": lambda lib, n: lib.empty(n).random_(9),
    "bernoulli_": lambda lib, n: lib.empty(n).bernoulli_(0.3),
    "bernoulli": lambda lib, n: lib.bernoulli(lib.full((n,), 0.3)),
    "multinomial": lambda lib, n: lib.multinomial(lib.arange(1.0, 6.0), n, True),
    "one draw of each row": lambda lib, n: lib.multinomial(lib.ones(n, 3), 1, True),
    "init.uniform_": lambda lib, n: lib.nn.init.uniform_(lib.empty(n), -0.1, 0.1),
    "init.xavier_uniform_": lambda lib, n: lib.nn.init.xavier_uniform_(lib.empty(-(-n // 10), 10)),
    "init.kaiming_uniform_": lambda lib, n: lib.nn.init.kaiming_uniform_(lib.empty(-(-n // 10), 10)),
}
CLOSE = {
    "randn": lambda lib, n: lib.randn(n),
    "randn float64": lambda lib, n: lib.randn(n, dtype=lib.float64),
    "randn_like": lambda lib, n: lib.randn_like(lib.zeros(n)),
    "normal_": lambda lib, n: lib.empty(n).normal_(0.5, 0.1),
    "normal_ of a transposed tensor": lambda lib, n: lib.empty(n, 3).t().normal_(),
    "normal": lambda lib, n: lib.normal(lib.zeros(n), 1.0),
    "init.normal_": lambda lib, n: lib.nn.init.normal_(lib.empty(n), 0, 0.02),
    "init.trunc_normal_": lambda lib, n: lib.nn.init.trunc_normal_(lib.empty(n)),
    "init.xavier_normal_": lambda lib, n: lib.nn.init.xavier_normal_(lib.empty(-(-n // 10), 10)),
    "init.kaiming_normal_": lambda lib, n: lib.nn.init.kaiming_normal_(lib.empty(-(-n // 10), 10)),
}


def both(draw, seed, n):
    for lib in (torch, facula):
        lib.manual_seed(seed)
        first = draw(lib, n)
        yield first.numpy(), lib.rand(2).numpy()


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("name", [*EXACT, *CLOSE])
def test_same_numbers(name, seed):
    for n in SIZES:
        (expected, after), (got, then) = both((EXACT | CLOSE)[name], seed, n)
        assert got.dtype == expected.dtype and got.shape == expected.shape
        assert (after == then).all(), f"{n}: the generator stands elsewhere"
        if name in EXACT:
            assert (got == expected).all(), n
        else:
            np.testing.assert_allclose(got, expected, rtol=0, atol=1e-6, err_msg=str(n))
