"""Special functions in double precision against SciPy, where torch is no measure (its J0 errs by
4e-7)."""

import numpy as np
import pytest

import docstrings
import facula

special = pytest.importorskip("scipy.special")
rng = np.random.default_rng(7)
REAL = np.concatenate(
    [rng.uniform(-1, 1, 200), rng.uniform(-30, 30, 800), rng.uniform(-90, 90, 200)]
)
BESSEL = {
    "bessel_j0": special.j0,
    "bessel_j1": special.j1,
    "bessel_y0": special.y0,
    "bessel_y1": special.y1,
    "modified_bessel_i0": special.i0,
    "modified_bessel_i1": special.i1,
    "modified_bessel_k0": special.k0,
    "modified_bessel_k1": special.k1,
    "scaled_modified_bessel_k0": special.k0e,
    "scaled_modified_bessel_k1": special.k1e,
    "spherical_bessel_j0": lambda x: special.spherical_jn(0, x),
    "airy_ai": lambda x: special.airy(x)[0],
}
POLYNOMIALS = {
    "chebyshev_polynomial_t": special.eval_chebyt,
    "chebyshev_polynomial_u": special.eval_chebyu,
    "shifted_chebyshev_polynomial_t": special.eval_sh_chebyt,
    "shifted_chebyshev_polynomial_u": special.eval_sh_chebyu,
    "hermite_polynomial_h": special.eval_hermite,
    "hermite_polynomial_he": special.eval_hermitenorm,
    "laguerre_polynomial_l": special.eval_laguerre,
    "legendre_polynomial_p": special.eval_legendre,
}


@pytest.mark.parametrize("name", BESSEL)
def test_bessel_functions(name):
    got = getattr(facula.special, name)(facula.tensor(REAL)).numpy()
    # SciPy rounds the phase of 90 to 1e-14, which near a zero is all there is: the absolute part
    np.testing.assert_allclose(
        got, BESSEL[name](REAL), rtol=2e-13, atol=3e-14 if "mod" not in name else 0
    )


@pytest.mark.parametrize("name", BESSEL)
def test_ends_of_each_way(name):
    """Where one way to a function gives way to the next, both give the same."""
    for border in (1.0, 25.0, (1.5 * 25.0) ** (2 / 3)):
        at = np.array([border, border * (1 - 1e-15), border * (1 + 1e-15)])
        for x in (at, -at):
            y = getattr(facula.special, name)(facula.tensor(x)).numpy()
            if not np.isnan(y).all():
                np.testing.assert_allclose(y[1:], y[0], rtol=2e-13, atol=1e-15)


@pytest.mark.parametrize("name", POLYNOMIALS)
@pytest.mark.parametrize("degree", [0, 1, 2, 5, 17, 40])
def test_polynomials(name, degree):
    x = rng.uniform(0, 1, 200) if name.startswith("shifted") else rng.uniform(-1, 1, 200)
    expected = POLYNOMIALS[name](degree, x)
    got = getattr(facula.special, name)(facula.tensor(x), degree).numpy()
    np.testing.assert_allclose(got, expected, rtol=1e-12, atol=1e-12 * np.abs(expected).max())


@pytest.mark.parametrize("kind", "tuvw")
def test_chebyshev_of_high_degree(kind):
    """By angles as by the recurrence, at the ends too; shifted is the same at 2 x - 1."""
    x = np.concatenate([rng.uniform(-1, 1, 200), [1.0, -1.0, 1 - 1e-15, 1e-15 - 1, 0.0, 0.5]])
    for degree in (63, 64, 65, 128, 1001):
        before, now = np.ones_like(x), 2 * x + {"t": 0, "u": 0, "v": -1, "w": 1}[kind]
        now = x if kind == "t" else now
        exact = [before.astype(np.longdouble), now.astype(np.longdouble)]
        for _ in range(degree - 1):
            exact = [exact[1], 2 * x * exact[1] - exact[0]]
        got = getattr(facula.special, f"chebyshev_polynomial_{kind}")(
            facula.tensor(x), degree
        ).numpy()
        np.testing.assert_allclose(got, exact[1].astype(float), atol=1e-12 * degree**1.5)
        shifted = getattr(facula.special, f"shifted_chebyshev_polynomial_{kind}")
        again = shifted(facula.tensor((x + 1) / 2), degree).numpy()
        np.testing.assert_allclose(again[:200], got[:200], rtol=1e-8, atol=1e-8 * degree)


def test_no_gradient():
    x = facula.tensor([0.5, 2.0], requires_grad=True)
    assert not facula.special.bessel_j0(x).requires_grad
    assert not facula.special.legendre_polynomial_p(x, 3).requires_grad


def test_refusals():
    with pytest.raises(TypeError, match="at least one argument must be a Tensor"):
        facula.special.legendre_polynomial_p(1.0, 2)
    with pytest.raises(NotImplementedError, match="complex"):
        facula.special.bessel_j0(facula.tensor([1j]))
    with pytest.raises(NotImplementedError, match="complex"):
        facula.special.hermite_polynomial_h(facula.tensor([1j]), 2)


@pytest.mark.parametrize(
    "name", [*BESSEL, *POLYNOMIALS, "chebyshev_polynomial_v", "shifted_chebyshev_polynomial_w"]
)
def test_examples(name):
    docstrings.check_one(getattr(facula.special, name), name, facula=facula)
