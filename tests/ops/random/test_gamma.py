"""Gamma, Dirichlet and binomial numbers: PyTorch's for the same seed, and gradients that are the quantiles' slopes."""

import numpy as np
import pytest

import docstrings
import facula
from facula.ops.random import gamma
from facula.rng import engine

SHAPES = np.array([0.0, 1e-3, 0.05, 0.3, 1.0, 2.5, 30.0, 1e4])


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_samples_are_pytorchs(dtype, oracle):
    def ask(lib):
        of = getattr(lib, dtype)
        shapes = lib.from_numpy(np.repeat(SHAPES, 40)).to(of)
        counts = lib.from_numpy(np.repeat([0.0, 3.0, 20.0, 100.0, 1e5], 60)).to(of)
        chances = lib.from_numpy(np.tile([0.0, 0.02, 0.3, 0.5, 0.9, 1.0], 50)).to(of)
        lib.manual_seed(1)
        rows = shapes.reshape(8, 40)[1:].T.contiguous()
        return [lib._standard_gamma(shapes), lib.binomial(counts, chances), lib._sample_dirichlet(rows),
                lib._standard_gamma(shapes[:3], generator=lib.Generator()), lib.rand(2)]
    ours, theirs = oracle.both(ask)
    for (of, mine), (to, other) in zip(ours, theirs, strict=True):
        assert of == to
        np.testing.assert_allclose(mine, other, rtol=1e-12 if dtype == "float64" else 2e-6)


def test_gradients_of_gamma_numbers_are_the_slopes_of_quantiles():
    """dz/da = -(dF/da) / p, with F = gammainc by differences."""
    a = np.array([0.05, 0.3, 1.0, 2.5, 9.0])[:, None]
    z = a * np.array([0.05, 0.4, 0.9, 1.1, 2.0, 4.0])
    h = 1e-5 * a
    f = [facula.special.gammainc(facula.from_numpy(np.broadcast_to(x, z.shape).copy()), facula.from_numpy(z)).numpy()
         for x in (a + h, a - h)]
    log_gamma = facula.lgamma(facula.from_numpy(a)).numpy()
    density = np.exp((a - 1) * np.log(z) - z - log_gamma)
    slope = -(f[0] - f[1]) / (2 * h) / density
    found = facula._standard_gamma_grad(facula.from_numpy(np.broadcast_to(a, z.shape).copy()), facula.from_numpy(z))
    np.testing.assert_allclose(found.numpy(), slope, rtol=1e-5)  # as far as differences go where F is nearly 1


def test_gradients_of_beta_numbers_are_the_slopes_of_quantiles():
    """Where the distribution function is a formula: x^a for b = 1, x^a (a + 1 - a x) for b = 2."""
    a = np.array([0.05, 0.5, 2.0, 30.0, 1e3])[:, None]
    x = np.array([1e-3, 0.02, 0.3, 0.7, 0.95, 0.999]) + 0 * a
    one = -x * np.log(x) / a
    two = -(np.log(x) * (a + 1 - a * x) + 1 - x) * x / (a * (a + 1) * (1 - x))
    for b, slope in ((1.0, one), (2.0, two)):
        given = [facula.from_numpy(np.ascontiguousarray(v)) for v in (x, a + 0 * x, a + b + 0 * x)]
        found = facula._dirichlet_grad(*given)
        np.testing.assert_allclose(found.numpy() * (1 - x), slope, rtol=1e-5)


def test_gradients_at_the_ends():
    a = facula.tensor([1.0, 1.0, float("nan"), 1e-6, 1e9], dtype=facula.float64)
    z = facula.tensor([0.0, 1e-300, 1.0, 1e-200, 1e9 + 3e4], dtype=facula.float64)
    found = facula._standard_gamma_grad(a, z).numpy()
    assert found[0] == 0 and np.isnan(found[2]) and np.isfinite(found[[1, 3, 4]]).all()
    np.testing.assert_allclose(found[4], 1.0, rtol=1e-3)


def test_on_the_tape():
    facula.manual_seed(0)
    a = facula.full((500,), 3.0, dtype=facula.float64, requires_grad=True)
    facula._standard_gamma(a).sum().backward()
    assert abs(a.grad.mean().item() - 1) < 0.1  # the mean is a
    c = facula.full((200, 3), 2.0, dtype=facula.float64, requires_grad=True)
    facula._sample_dirichlet(c)[:, 0].sum().backward()
    np.testing.assert_allclose(c.grad.mean(0).numpy(), [2 / 18, -1 / 18, -1 / 18], atol=0.02)
    n = facula.ones(3, requires_grad=True)
    facula.binomial(n, facula.full((3,), 0.5)).sum().backward()
    assert n.grad.tolist() == [0, 0, 0]


def test_what_is_refused():
    with pytest.raises(NotImplementedError, match="not implemented for 'Int'"):
        facula._standard_gamma(facula.ones(2, dtype=facula.int32))
    with pytest.raises(RuntimeError, match="same dtype"):
        facula.binomial(facula.ones(2), facula.ones(2, dtype=facula.float64))
    assert facula._standard_gamma(facula.ones(2, device="meta")).shape == (2,)


def test_within_vmap():
    rows = facula.ones(2, 3)
    drawn = facula.func.vmap(facula._standard_gamma, randomness="different")(rows)
    assert drawn.shape == (2, 3) and (drawn > 0).all()


def test_examples():
    for module in (gamma, engine):
        docstrings.check(module, least=1)
