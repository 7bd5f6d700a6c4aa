"""The order of a row's sum is known, so its bits are: what vectors hold is added half to half, what is shorter than
they in order."""

import numpy as np
import pytest

import facula as F

pytestmark = pytest.mark.compiled


@pytest.mark.parametrize("of, n", [(np.float32, 32), (np.float32, 64), (np.float64, 32), (np.float64, 64)])
def test_a_row_of_whole_vectors_is_added_half_to_half(of, n):
    rng = np.random.default_rng(0)
    x = (rng.standard_normal((40, n)) * 10.0 ** rng.integers(-3, 4, (40, n))).astype(of)
    wanted = x
    while wanted.shape[1] > 1:
        half = wanted.shape[1] // 2
        wanted = wanted[:, :half] + wanted[:, half:]
    assert F.from_numpy(x.copy()).sum(1).numpy().tobytes() == wanted[:, 0].tobytes()


@pytest.mark.parametrize("of", [np.float32, np.float64])
@pytest.mark.parametrize("n", [2, 7, 16])
def test_a_short_row_is_added_in_order(of, n):
    rng = np.random.default_rng(0)
    x = (rng.standard_normal((40, n)) * 10.0 ** rng.integers(-3, 4, (40, n))).astype(of)
    wanted = np.zeros(40, of)
    for column in x.T:
        wanted = wanted + column
    assert F.from_numpy(x.copy()).sum(1).numpy().tobytes() == wanted.tobytes()
