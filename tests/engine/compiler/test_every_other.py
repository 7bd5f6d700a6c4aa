"""Lanes two elements apart: vectors are loaded and stored whole (emit/access.py), what is between or behind stays."""

import numpy as np
import pytest

import facula

pytestmark = pytest.mark.compiled
LENGTHS = (1, 2, 15, 16, 17, 31, 33, 64, 65, 130)


@pytest.mark.parametrize("of", ["float32", "float64", "float16", "int8", "int16", "int64", "bool"])
@pytest.mark.parametrize("start", [0, 1])
def test_read_and_written(of, start):
    rng = np.random.default_rng(1)
    for n in LENGTHS:
        for extra in (0, 1):
            base = (rng.standard_normal((3, 2 * n + extra)) * 50).astype(of)
            part = base[:, start::2]
            read = facula.from_numpy(base)[:, start::2]
            np.testing.assert_array_equal((read | read if of == "bool" else read + read).numpy(),
                                          part | part if of == "bool" else part + part)
            due = base.copy()
            due[:, start::2] = base[:, :part.shape[1]]
            written = facula.from_numpy(base).clone()
            written[:, start::2] = facula.from_numpy(base[:, :part.shape[1]].copy())
            np.testing.assert_array_equal(written.numpy(), due)


def test_sums_in_the_order_of_a_copy():
    x = facula.randn(5, 7, 301)
    assert facula.equal(x[..., ::2].sum(0), x[..., ::2].contiguous().sum(0))
    assert facula.equal(x[..., 1::2].sum(-1), x[..., 1::2].contiguous().sum(-1))
