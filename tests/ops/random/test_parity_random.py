"""The random functions against PyTorch: the same numbers from the same seed, whatever the size.

Integers, permutations and uniforms are the same bits; normals are within 1e-6. Afterwards the generators
stand at the same place. On record are a digest of the bits, and of the normals about sixty of each size.
"""

from __future__ import annotations

import hashlib

import numpy as np
import pytest

import facula

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


def drawn(lib, name, seed, n):
    """What is drawn, and what comes after it."""
    lib.manual_seed(seed)
    first = (EXACT | CLOSE)[name](lib, n)
    return first.numpy(), lib.rand(2).numpy()


def exact(lib, name, seed, n):
    first, after = drawn(lib, name, seed, n)
    digest = hashlib.sha256(np.ascontiguousarray(first).tobytes()).hexdigest()[:24]
    return first.dtype.name, first.shape, first.reshape(-1)[:3].tolist(), digest, after.tolist()


def close(lib, name, seed, n):
    first, after = drawn(lib, name, seed, n)
    return first.dtype.name, first.shape, first.reshape(-1)[::first.size // 60 or 1], after.tolist()


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("name", EXACT)
def test_the_same_bits(name, seed, oracle):
    for n in SIZES:
        assert exact(facula, name, seed, n) == oracle(lambda torch, n=n: exact(torch, name, seed, n), n)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("name", CLOSE)
def test_the_same_numbers(name, seed, oracle):
    for n in SIZES:
        expected = oracle(lambda torch, n=n: close(torch, name, seed, n), n)
        got = close(facula, name, seed, n)
        assert got[:2] == expected[:2]
        np.testing.assert_allclose(got[2], expected[2], rtol=0, atol=1e-6, err_msg=str(n))
        assert got[3] == expected[3], f"{n}: the generator stands elsewhere"


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("name", CLOSE)
def test_all_of_the_same_numbers(name, seed, torch):
    for n in SIZES:
        (expected, _), (got, _) = drawn(torch, name, seed, n), drawn(facula, name, seed, n)
        np.testing.assert_allclose(got, expected, rtol=0, atol=1e-6, err_msg=str(n))
