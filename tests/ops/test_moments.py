"""std and var far from 1 and far from 0: in doubles whatever the input is, as exact as the result's dtype."""

import numpy as np
import pytest

import facula
from facula.testing import backends

SCALES = {"float32": (1e-42, 1e-30, 1e-23, 1e-19, 1.0, 1e18, 1e20, 1e30, 1e38),
          "bfloat16": (1e-30, 1e-19, 1.0, 1e20, 1e38),
          "float16": (1e-6, 1.0, 3e4)}
TOLERANCE = {"float32": 3e-7, "bfloat16": 2.0 ** -8, "float16": 2.0 ** -10}
CASES = [(dtype, scale) for dtype, scales in SCALES.items() for scale in scales]
# how many elements a row has, over which dimensions: also sums that run in chunks
SHAPES = [((3, 5), 1), ((3, 1000), 1), ((40, 7), 0), ((3, 5, 4), (0, 2)), ((90_000,), None), ((6,), 0)]


def drawn(shape, scale, dtype):
    numbers = np.random.default_rng(0).standard_normal(shape).clip(-1, 1) * scale
    return facula.tensor(numbers).to(getattr(facula, dtype))


@pytest.mark.parametrize("shape, dim", SHAPES)
@pytest.mark.parametrize("dtype, scale", CASES)
def test_deviations_are_right_whatever_the_scale(dtype, scale, shape, dim):
    x = drawn(shape, scale, dtype)
    exact = x.double().numpy()
    deviation, mean = facula.std_mean(x, dim)
    of = x.dtype
    quantum = facula.finfo(of).smallest_normal * facula.finfo(of).eps
    want = exact.std(dim, ddof=1)
    np.testing.assert_allclose(deviation.double().numpy(), want, rtol=TOLERANCE[dtype], atol=quantum)
    np.testing.assert_allclose(x.std(dim).double().numpy(), want, rtol=TOLERANCE[dtype], atol=quantum)
    np.testing.assert_allclose(mean.double().numpy(), exact.mean(dim), rtol=TOLERANCE[dtype], atol=quantum)
    with np.errstate(over="ignore"):
        squared = facula.tensor(exact.var(dim, ddof=1)).to(of).double().numpy()
    np.testing.assert_allclose(x.var(dim).double().numpy(), squared, rtol=TOLERANCE[dtype], atol=quantum)


@pytest.mark.parametrize("n", [10, 1000, 100_000])
@pytest.mark.parametrize("kind", ["far from 0", "first alone", "last alone"])
def test_variances_do_not_cancel(kind, n):
    rng = np.random.default_rng(1)
    x = 1e4 + rng.standard_normal(n) * 3e-3 if kind == "far from 0" else np.full(n, 0.1)
    if kind != "far from 0":
        x[0 if kind == "first alone" else -1] = 1e6
    x = x.astype(np.float32)
    np.testing.assert_allclose(facula.tensor(x).var().item(), x.astype(np.float64).var(ddof=1), rtol=1e-7)
    assert facula.full((n,), 0.1).var().item() == 0


@pytest.mark.parametrize("row", [[np.inf, 1, 2], [1, np.inf, 2], [1, 2, -np.inf], [np.nan, 1], [1, np.nan],
                                 [np.inf, -np.inf]])
def test_infinite_rows(row):
    deviation, mean = facula.std_mean(facula.tensor(row, dtype=facula.float32), 0)
    assert deviation.isnan()
    np.testing.assert_equal(mean.item(), sum(row) / len(row))


def test_rows_without_freedom():
    with pytest.warns(UserWarning, match="degrees of freedom"):
        assert facula.tensor([5.0]).var().isnan() and facula.tensor(5.0).std().isnan()
        assert facula.zeros(2, 0).std(1).isnan().all()
        assert facula.tensor([5.0, 7.0]).var(0, correction=2).item() == np.inf
    assert facula.tensor([5.0]).var(0, correction=0).item() == 0
    assert facula.zeros(0, 2).std(1).shape == (0,)
    assert facula.std_mean(facula.zeros(0, 2), 1, keepdim=True)[1].shape == (0, 1)


@pytest.mark.parametrize("scale", [1e-30, 1.0, 1e30])
def test_gradients_of_deviations(scale):
    x = drawn((4, 50), scale, "float32").requires_grad_()
    x.std(1).sum().backward()
    exact = x.detach().double().numpy()
    want = (exact - exact.mean(1, keepdims=True)) / (49 * exact.std(1, ddof=1, keepdims=True))
    np.testing.assert_allclose(x.grad.numpy(), want, rtol=2e-5, atol=1e-7)


@pytest.mark.parametrize("target", [backends.interpreter, backends.evaluator], ids=lambda t: t.__name__)
@pytest.mark.parametrize("shape, dim", SHAPES)
def test_every_target_computes_in_doubles(target, shape, dim):
    x = drawn(shape, 1e30, "float32")
    compiled = x.std(dim)
    with target():
        assert facula.allclose(x.clone().std(dim), compiled, rtol=2e-7)
