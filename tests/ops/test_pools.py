"""Pools of random windows: the largest elements and where they are, also where there is nothing but -inf."""

import random

import numpy as np
import pytest

import facula
from facula import config
from facula.engine.runtime import buffer


def drawn(seed):
    r = random.Random(seed)
    n = r.choice([1, 2, 3])
    kernel = [r.randint(1, 4) for _ in range(n)]
    options = {"kernel_size": tuple(kernel), "stride": tuple(r.randint(1, 3) for _ in kernel),
               "padding": tuple(r.randint(0, k // 2) for k in kernel),
               "dilation": tuple(r.randint(1, 2) for _ in kernel),
               "ceil_mode": r.random() < 0.5, "return_indices": True}
    x = np.random.default_rng(seed).integers(-3, 3, (2, 2, *(r.randint(3, 8) for _ in kernel))).astype("float32")
    x[x < r.choice([-4, -4, 0, 4])] = -np.inf
    return x, n, options, tuple(r.randint(1, 5) for _ in kernel)


def found(library, seed):
    x, n, options, size = drawn(seed)
    calls = (lambda f: getattr(f, f"max_pool{n}d")(library.tensor(x), **options),
             lambda f: getattr(f, f"adaptive_max_pool{n}d")(library.tensor(x), size, True))
    answers = []
    for call in calls:
        try:
            values, places = call(library.nn.functional)
            answers += [values.numpy().copy(), places.numpy().copy()]
        except RuntimeError:
            answers.append("refused")
    return answers


@pytest.mark.parametrize("seed", range(60))
def test_largest_and_where(oracle, seed):
    for ours, theirs in zip(found(facula, seed), oracle(lambda torch: found(torch, seed), seed), strict=True):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.skipif(config.EAGER.value, reason="a view that is computed at its call is written out")
def test_memory_does_not_grow_with_the_window():
    x = facula.randn(1, 1, 50_000)
    x.sum().item()
    buffer.reset_most_held()
    start = buffer.held()
    facula.nn.functional.max_pool1d(x, 501, 1).sum().item()
    assert buffer.most_held() - start < 20 * x.numel() * 4
