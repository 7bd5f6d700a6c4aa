"""Operations at the ends of what their dtypes hold: powers of two, coordinates, ranges of histograms."""

import math

import numpy as np
import pytest

import facula
import facula.nn.functional as F

inf, nan = math.inf, math.nan


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("x, exponent", [
    (1e-30, 140), (1e30, -160), (1.0, 128), (3e38, 1), (1e-45, 149), (1e-45, 276), (1e-45, 300), (1.0, -149),
    (1.0, -151), (inf, -300), (-inf, 1000), (0.0, 300), (-0.0, -5), (1.5, -1000), (1.5, 1000), (nan, 3),
    (3e38, -260), (1e-40, 250)])
def test_powers_of_two_beyond_the_range(x, exponent, dtype):
    given = np.array(x, dtype)
    with np.errstate(over="ignore"):
        want = np.ldexp(given, exponent)
    found = facula.ldexp(facula.tensor(x, dtype=getattr(facula, dtype)), facula.tensor(exponent))
    assert found.dtype is getattr(facula, dtype)
    np.testing.assert_equal(found.item(), want.item())


def test_powers_of_two_of_halves_and_their_gradients():
    smallest = facula.tensor(2.0 ** -24, dtype=facula.float16)
    assert facula.ldexp(smallest, facula.tensor(39)).item() == 2.0 ** 15
    x, e = facula.tensor(3.0, requires_grad=True), facula.tensor(2.5, requires_grad=True)
    to_x, to_e = facula.autograd.grad(facula.ldexp(x, e), [x, e])
    np.testing.assert_allclose([to_x.item(), to_e.item()], [2 ** 2.5, 3 * 2 ** 2.5 * math.log(2)], rtol=1e-6)
    assert facula.ldexp(facula.tensor([3]), facula.tensor([2])).tolist() == [12.0]


# the result at (NaN, 0), (0, NaN), (-inf, 0), (NaN, NaN) of an image [[1, 2], [3, 4]]: NaN is at the start
AT = {("border", "bilinear"): [2, 1.5, 2, 1], ("border", "nearest"): [1, 1, 1, 1],
      ("reflection", "bilinear"): [2, 1.5, 2, 1], ("reflection", "nearest"): [1, 1, 1, 1]}


@pytest.mark.parametrize("corners", [True, False])
@pytest.mark.parametrize("padding, mode", AT)
def test_places_that_are_no_numbers(padding, mode, corners):
    image = facula.tensor([[[[1.0, 2.0], [3.0, 4.0]]]])
    grid = facula.tensor([[[[nan, 0.0], [0.0, nan], [-inf, 0.0], [nan, nan]]]], requires_grad=True)
    found = F.grid_sample(image, grid, mode, padding, corners)
    assert found.ravel().tolist() == AT[padding, mode]
    to_grid, = facula.autograd.grad(found.sum(), grid)
    assert to_grid.isfinite().all()


def test_histograms_over_more_than_the_range():
    assert facula.histc(facula.tensor([1e38, -1e38, 3e38]), bins=4).tolist() == [0, 0, 0, 0]
    assert facula.histc(facula.tensor([1.5e38, 0.0, 3e38]), bins=3).tolist() == [1, 1, 1]
