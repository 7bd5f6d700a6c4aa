"""The random functions beside PyTorch's: argument forms, memory order, errors, and where the generator stands then.
What takes a tensor's layout or parameters is in test_random_stand.py."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest

from nn_oracle import fails_alike


def alike(oracle, draw):
    """`draw(library)` gives tensors: the same bits, strides and state of the generator, here and in PyTorch."""

    def drawn(library):
        library.manual_seed(11)
        found = list(draw(library))
        state = hashlib.sha256(library.get_rng_state().numpy().tobytes()).hexdigest()[:24]
        return found, [x.stride() for x in found], state

    (ours, strides, state), (theirs, *wanted) = oracle.both(drawn)
    for k, ((dtype, values), (expected_dtype, expected)) in enumerate(zip(ours, theirs, strict=True)):
        assert dtype == expected_dtype, k
        np.testing.assert_array_equal(values, expected, str(k), strict=True)
    assert [strides, state] == wanted


FACTORIES = [
    ("rand", (3, 4)), ("rand", ((3, 40),)), ("rand", ([2],)), ("randn", (5,)), ("randn", (50,)),
    ("randn", ((),)),
    ("randint", (10, (4,))), ("randint", (-3, 10, (4, 2))), ("randperm", (30,)), ("normal", (1.0, 2.0, (3,))),
]


@pytest.mark.parametrize("name, args", FACTORIES)
def test_factories(name, args, oracle):
    alike(oracle, lambda t: [getattr(t, name)(*args)])


def test_randint_names(oracle):
    alike(oracle, lambda t: [t.randint(high=10, size=(4,)), t.randint(low=2, high=10, size=(4,)),
                             t.randint(2, 10, size=(4,)), t.randint(5, (3,), dtype=t.float32)])


def layouts(t):
    yield t.empty(3, 4)
    yield t.empty(30, 4).t()
    yield t.empty(2, 3, 4).permute(2, 0, 1)
    yield t.empty(2, 3, 8)[:, :, ::2].transpose(0, 2)
    yield t.empty(2, 4, 5, 3).permute(0, 3, 1, 2)
    yield t.empty(())
    yield t.empty(0, 3)


METHODS = [
    ("uniform_", (), {}), ("uniform_", (-1, 2), {}), ("uniform_", (), {"to": 3}), ("uniform_", (-1,), {}),
    ("normal_", (), {}), ("normal_", (1, 2), {}), ("normal_", (), {"std": 0.5}), ("random_", (), {}),
    ("random_", (5,), {}), ("random_", (2, 5), {}), ("random_", (), {"to": 7}), ("random_", (2,), {"to": 7}),
    ("random_", (3, None), {}), ("bernoulli_", (), {}), ("bernoulli_", (0.2,), {}), ("exponential_", (), {}),
    ("exponential_", (2,), {}), ("geometric_", (0.2,), {}), ("log_normal_", (), {}), ("cauchy_", (1, 2), {}),
]


@pytest.mark.parametrize("name, args, named", METHODS)
def test_methods_fill_in_memory_order(name, args, named, oracle):
    alike(oracle, lambda t: (getattr(x, name)(*args, **named) for x in layouts(t)))


ERRORS = [
    ("uniform_", (1, 0)), ("normal_", (0, -1)), ("random_", (5, 5)), ("bernoulli_", (2,)),
    ("exponential_", (0,)), ("geometric_", (1,)), ("log_normal_", (0, 0)), ("cauchy_", (0, 0)),
]


@pytest.mark.parametrize("name, args", ERRORS)
def test_errors(name, args, oracle):
    fails_alike(oracle, lambda t: getattr(t.empty(2), name)(*args))


MULTINOMIAL_ERRORS = {
    "too many": lambda t: t.multinomial(t.ones(3), 4, False),
    "none": lambda t: t.multinomial(t.ones(3), 0, False),
    "three dimensions": lambda t: t.multinomial(t.ones(3, 3, 3), 1, False),
    "integers": lambda t: t.multinomial(t.ones(3, dtype=t.int64), 1, False),
    "zeros": lambda t: t.multinomial(t.zeros(3), 1, False),
    "negative": lambda t: t.multinomial(t.tensor([-1.0, 1]), 1, True),
    "nan": lambda t: t.multinomial(t.tensor([1, float("nan")]), 1, True),
    "rows of zeros": lambda t: t.multinomial(t.zeros(2, 3), 1, True),
}


@pytest.mark.parametrize("name", MULTINOMIAL_ERRORS)
def test_multinomial_errors(name, oracle):
    fails_alike(oracle, MULTINOMIAL_ERRORS[name])
