"""Gradients where elements are tiny, huge, infinite, NaN or equal: what a formula's own derivative would lose."""

import math

import numpy as np
import pytest

import facula
import facula.nn.functional as F

inf, nan = math.inf, math.nan


def slope(function, points, dtype=facula.float32):
    x = facula.tensor(points, dtype=dtype, requires_grad=True)
    return facula.autograd.grad(function(x).sum(), x)[0].double().numpy()


@pytest.mark.parametrize("function, factor", [
    (F.elu, 1.0), (facula.expm1, 1.0), (F.selu, 1.0507009873554805 * 1.6732632423543772),
    (lambda x: F.celu(x, 1.0), 1.0), (lambda x: F.elu(x, 0.5), 0.5)])
@pytest.mark.parametrize("dtype, tolerance", [("float32", 1e-6), ("float64", 1e-14), ("bfloat16", 1e-2)])
def test_exponential_tails_do_not_vanish(function, factor, dtype, tolerance):
    points = [-1.0, -8.0, -17.0, -20.0, -40.0, -80.0]
    found = slope(function, points, getattr(facula, dtype))
    np.testing.assert_allclose(found, factor * np.exp(points), rtol=tolerance)


def _sinc_series(x):
    """First and second derivative of sinc near 0."""
    z = math.pi * x
    terms = [(-1) ** k / math.factorial(2 * k + 1) for k in range(1, 12)]
    return (math.pi * sum(t * 2 * k * z ** (2 * k - 1) for k, t in enumerate(terms, 1)),
            math.pi ** 2 * sum(t * 2 * k * (2 * k - 1) * z ** (2 * k - 2) for k, t in enumerate(terms, 1)))


@pytest.mark.parametrize("dtype, tolerance", [("float32", 2e-6), ("float64", 2e-13)])
@pytest.mark.parametrize("at", [1e-30, 1e-8, 1e-3, 0.1, 0.2499, 0.2501])
def test_sinc_near_zero(at, dtype, tolerance):
    x = facula.tensor(at, dtype=getattr(facula, dtype), requires_grad=True)
    first, = facula.autograd.grad(facula.sinc(x), x, create_graph=True)
    second, = facula.autograd.grad(first, x)
    np.testing.assert_allclose([first.item(), second.item()], _sinc_series(x.item()), rtol=tolerance)


def test_sinc_of_subnormal_numbers():
    np.testing.assert_allclose(slope(facula.sinc, [1e-45, -1e-45, 0.0]), 0, atol=1e-44)


@pytest.mark.parametrize("loss", [F.smooth_l1_loss, F.huber_loss])
def test_robust_losses_at_infinity(loss):
    found = slope(lambda x: loss(x, facula.zeros_like(x), reduction="none"), [inf, -inf, 3e38, -2.0, 0.5, 0.0])
    np.testing.assert_array_equal(found, [1, -1, 1, -1, 0.5, 0])
    assert np.isnan(slope(lambda x: loss(x, facula.zeros_like(x), reduction="none"), [nan])).all()


def test_nan():
    found = slope(F.hardsigmoid, [nan, 0.0, 3.0, -3.0, inf, -inf])
    np.testing.assert_array_equal(found, np.float32([0, 1 / 6, 0, 0, 0, 0]))
    assert F.hardsigmoid(facula.tensor([nan])).isnan().all()
    found = slope(lambda x: x.logit(0.25), [nan, 0.5, 0.1, 0.9, inf, 0.25])
    np.testing.assert_allclose(found, [nan, 4, 0, 0, 0, 16 / 3])
    found = facula.heaviside(facula.tensor([nan, 0.0, 2.0]), facula.tensor(0.5))
    np.testing.assert_array_equal(found.numpy(), [0, 0.5, 1])


@pytest.mark.parametrize("p", [1.5, 3.0, 4.0])
@pytest.mark.parametrize("dtype, scales", [("float16", (1e-2, 1e3)), ("float32", (1e-9, 1e9)),
                                           ("bfloat16", (1e-9, 1e9))])
def test_norms_of_other_orders(p, dtype, scales):
    for scale in scales:
        x = facula.tensor([[3.0, -4.0, 0.0, 1.0]]).mul(scale).to(getattr(facula, dtype)).requires_grad_()
        found, = facula.autograd.grad(x.norm(p, 1).sum(), x)
        exact = x.detach().double().numpy()
        want = np.sign(exact) * (np.abs(exact) / (np.abs(exact) ** p).sum() ** (1 / p)) ** (p - 1)
        np.testing.assert_allclose(found.double().numpy(), want, rtol={"float32": 1e-5}.get(dtype, 3e-2))


# value and gradient of bags of one: the first of equal ones, and NaN only where it is the first
@pytest.mark.parametrize("rows, value, at", [
    ([1.0, 1.0], 1.0, 0), ([2.0, 1.0, 2.0], 2.0, 0), ([-inf, -inf], -inf, 0), ([nan, 1.0, 2.0], nan, 0),
    ([1.0, nan, 2.0], 2.0, 2), ([nan, nan], nan, 0), ([-inf, nan], -inf, 0)])
def test_maxima_of_bags(rows, value, at):
    weight = facula.tensor(rows).reshape(-1, 1).requires_grad_()
    found = F.embedding_bag(facula.arange(len(rows))[None], weight, mode="max")
    np.testing.assert_equal(found.item(), value)
    found.sum().backward()
    np.testing.assert_array_equal(weight.grad.ravel().numpy(), np.arange(len(rows)) == at)


def test_maxima_of_empty_bags():
    weight = facula.tensor([[1.0, -5.0], [2.0, -7.0], [9.0, 9.0]]).requires_grad_()
    found = F.embedding_bag(facula.tensor([0, 1, 2]), weight, facula.tensor([0, 0, 2, 3]), mode="max", padding_idx=2)
    np.testing.assert_array_equal(found.detach().numpy(), [[0, 0], [2, -5], [0, 0], [0, 0]])
    found.sum().backward()
    np.testing.assert_array_equal(weight.grad.numpy(), [[0, 1], [1, 0], [0, 0]])


@pytest.mark.parametrize("reduce, end", [("amax", -inf), ("amin", inf)])
def test_extrema_of_infinite_elements_without_self(reduce, end):
    base = facula.tensor([1.0, end]).requires_grad_()
    source = facula.tensor([end, end]).requires_grad_()
    at = facula.zeros(2, dtype=facula.int64)
    for name in ("scatter_reduce", "index_reduce"):
        found = getattr(base, name)(0, at, source, reduce, include_self=False)
        to_base, to_source = facula.autograd.grad(found.sum(), [base, source])
        assert to_base.tolist() == [0, 1] and to_source.tolist() == [0.5, 0.5]


def test_levels_of_quantiles_are_checked():
    x = facula.arange(4.0)
    for levels in ([0.5, 1.5], [-0.1], [nan]):
        for function in (facula.quantile, facula.nanquantile):
            with pytest.raises(RuntimeError, match=r"q values must be in the range \[0, 1\]"):
                function(x, facula.tensor(levels)).tolist()


def test_sums_that_overflow_halfway():
    most = 3e38
    np.testing.assert_allclose(facula.trapezoid(facula.tensor([0.0, most, 0.0])).item(), most, rtol=1e-6)
    found = facula.cumulative_trapezoid(facula.tensor([0.0, most, 0.0]))
    np.testing.assert_allclose(found.numpy(), [most / 2, most], rtol=1e-6)
    x = facula.full((1, 3, 2), 200.0, dtype=facula.float16)
    np.testing.assert_allclose(F.local_response_norm(x, 2).float().numpy()[0, 1], 200 / 5 ** 0.75, rtol=2e-3)


def test_parts_of_complex_numbers_are_replaced_by_themselves():
    z = facula.tensor([complex(inf, nan), complex(-inf, 1), complex(nan, -inf), 1 + 2j])
    most = facula.finfo(facula.float32).max
    assert facula.nan_to_num(z, nan=3.0).tolist() == [complex(most, 3), complex(-most, 1), complex(3, -most), 1 + 2j]
    assert z.nan_to_num_(0.5, 7.0, -7.0).tolist() == [complex(7, 0.5), complex(-7, 1), complex(0.5, -7), 1 + 2j]


def test_integers_whose_differences_wrap_are_not_close():
    low, high = -2 ** 31, 2 ** 31 - 1
    x, y = facula.tensor([low, high, 5], dtype=facula.int32), facula.tensor([high, low, 5], dtype=facula.int32)
    assert facula.isclose(x, y).tolist() == [False, False, True]
    small = facula.tensor([250, 100], dtype=facula.uint8), facula.tensor([2, 101], dtype=facula.uint8)
    assert facula.isclose(*small, rtol=0.05).tolist() == [False, True]


def test_sums_of_small_integers_do_not_wrap():
    y = facula.tensor([200, 100, 220], dtype=facula.uint8)
    assert facula.trapezoid(y).item() == 310
    assert facula.cumulative_trapezoid(y).tolist() == [150, 310]
    assert facula.trapezoid(facula.tensor([1, 2, 4]), facula.tensor([0, 1, 3])).item() == 7.5


@pytest.mark.parametrize("name", ["isposinf", "isneginf", "signbit", "deg2rad", "rad2deg", "logit"])
def test_complex_numbers_have_no_order_and_are_no_angles(name):
    with pytest.raises((RuntimeError, NotImplementedError), match="complex|Complex"):
        getattr(facula, name)(facula.tensor([1j]))


# first and second derivatives, from expansions of the functions at 0 and at infinity
FAR = {
    "i0e": lambda x: (-(1 + 3 / (8 * x) + 75 / (128 * x ** 2)) / (2 * x * math.sqrt(2 * math.pi * x)), None),
    "erfcx": lambda x: (-(1 - 1.5 / x ** 2 + 3.75 / x ** 4) / (math.sqrt(math.pi) * x ** 2),
                        2 * (1 - 3 / x ** 2) / (math.sqrt(math.pi) * x ** 3)),
}
NEAR = {"i1": lambda x: (0.5 + 3 / 16 * x * x, 3 / 8 * x), "i1e": lambda x: (0.5 - x, -1.0),
        "i0e": lambda x: (-1.0 + 1.5 * x, 1.5), "erfcx": lambda x: (-2 / math.sqrt(math.pi) + 2 * x, 2.0)}


@pytest.mark.parametrize("dtype, tolerance", [("float32", 1e-5), ("float64", 1e-5), ("bfloat16", 1e-2),
                                              ("float16", 1e-2)])
@pytest.mark.parametrize("name, at", [*((name, 300.0) for name in FAR), *((name, 1e-6) for name in NEAR)])
def test_slopes_of_special_functions_that_cancel(name, at, dtype, tolerance):
    x = facula.tensor(at, dtype=getattr(facula, dtype), requires_grad=True)
    first, = facula.autograd.grad(getattr(facula.special, name)(x), x, create_graph=True)
    second, = facula.autograd.grad(first, x)
    wanted = (FAR if at > 1 else NEAR)[name](x.item())
    absolute = {"float16": 1e-7}.get(dtype, 0)  # what the smallest numbers are rounded to
    np.testing.assert_allclose(first.item(), wanted[0], rtol=tolerance, atol=absolute)
    if wanted[1] is not None:
        np.testing.assert_allclose(second.item(), wanted[1], rtol=max(tolerance, 3e-5), atol=absolute)
