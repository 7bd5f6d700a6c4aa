"""The order of a short row's sum is known, so its bits are: what a vector holds is added half to half."""

import numpy as np
import pytest

import facula as F

pytestmark = pytest.mark.compiled


@pytest.mark.parametrize("of, n", [(np.float32, 16), (np.float32, 64), (np.float64, 8), (np.float64, 32)])
def test_a_row_of_one_or_four_vectors_is_added_half_to_half(of, n):
    rng = np.random.default_rng(0)
    x = (rng.standard_normal((40, n)) * 10.0 ** rng.integers(-3, 4, (40, n))).astype(of)
    wanted = x
    while wanted.shape[1] > 1:
        half = wanted.shape[1] // 2
        wanted = wanted[:, :half] + wanted[:, half:]
    assert F.from_numpy(x.copy()).sum(1).numpy().tobytes() == wanted[:, 0].tobytes()
