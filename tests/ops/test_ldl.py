"""linalg.ldl_factor against LAPACK's, by way of torch, and ldl_solve against linalg.solve."""

import numpy as np
import pytest

import docstrings
import facula


def indefinite(n, of, hermitian, zero_diagonal):
    rng = np.random.default_rng(n)
    a = rng.standard_normal((2, n, n)) + 1j * rng.standard_normal((2, n, n))
    a = a if of.startswith("complex") else a.real
    a = a + (a.conj() if hermitian else a).swapaxes(-1, -2)
    if zero_diagonal:  # blocks of two rows all the way
        a[:, range(n), range(n)] = 0
    return a.astype(of)


@pytest.mark.parametrize("zero_diagonal", [False, True])
@pytest.mark.parametrize("hermitian", [False, True])
@pytest.mark.parametrize("of", ["float64", "complex128"])
@pytest.mark.parametrize("n", [1, 2, 3, 5, 8, 70])
def test_as_lapack(n, of, hermitian, zero_diagonal, oracle):
    a = indefinite(n, of, hermitian, zero_diagonal and n > 1)

    def factored(library):
        return library.linalg.ldl_factor_ex(library.tensor(a), hermitian=hermitian)

    def shown(found):
        """Of a large factor some rows, and the sums of all."""
        factor, *others = (part.numpy() for part in found)
        return [factor[:, ::9], factor.sum(-1), *others] if n > 8 else [factor, *others]

    ours, expected = factored(facula), oracle(lambda torch: shown(factored(torch)), a)
    for one, other in zip(shown(ours), expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-8, atol=1e-9)
    if not ours.info.any():
        b = np.arange(2.0 * n).reshape(n, 2).astype(of)
        x = facula.linalg.ldl_solve(ours.LD, ours.pivots, facula.tensor(b), hermitian=hermitian)
        residual = a @ x.numpy() - b
        assert np.abs(residual).max() < 1e-9 * np.abs(x.numpy()).max() * np.abs(a).max() * n


def test_only_the_lower_triangle_counts():
    a = indefinite(4, "float64", False, False)
    b = a + np.triu(np.full((4, 4), 9.0), 1)
    ours, other = [facula.linalg.ldl_factor(facula.tensor(x)).LD for x in (a, b)]
    assert facula.equal(ours, other)


def test_zero_pivot():
    zero = facula.zeros(2, 3, 3)
    found = facula.linalg.ldl_factor_ex(zero)
    assert found.info.tolist() == [1, 1] and found.pivots.tolist() == [[1, 2, 3]] * 2
    with pytest.raises(RuntimeError, match="Batch element 0.*is zero"):
        facula.linalg.ldl_factor(zero)


def test_refusals():
    ld, pivots = facula.linalg.ldl_factor(facula.eye(3))
    solve = facula.linalg.ldl_solve
    with pytest.raises(RuntimeError, match="Incompatible matrix sizes"):
        solve(ld, pivots, facula.ones(2, 2))
    with pytest.raises(RuntimeError, match="Expected pivots to be integers"):
        solve(ld, pivots.float(), facula.ones(3, 2))
    with pytest.raises(RuntimeError, match="same dtype"):
        solve(ld, pivots, facula.ones(3, 2).double())
    with pytest.raises(RuntimeError, match="pivots.shape to be the same"):
        solve(ld, pivots[:2], facula.ones(3, 2))
    with pytest.raises(RuntimeError, match="is not implemented"):
        solve(ld, pivots, facula.ones(3, 2, requires_grad=True)).sum().backward()
    with pytest.raises(RuntimeError, match="is not implemented"):
        facula.linalg.ldl_factor(facula.eye(3).requires_grad_()).LD.sum().backward()


@pytest.mark.parametrize("name", ["ldl_factor", "ldl_solve"])
def test_examples(name):
    docstrings.check_one(getattr(facula.linalg, name), name, facula=facula)
