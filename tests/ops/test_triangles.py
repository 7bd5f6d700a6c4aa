"""Of matrices that are triangles the other half is not read; a zero on the diagonal is infinite, not an error, where
PyTorch says so. What is expected is what PyTorch 2.13 gave."""

import pytest

import facula

L = facula.tensor([[3.0, 1, 0], [2, 5, 1], [1, 0, 4]])
INF = float("inf")


@pytest.mark.parametrize("upper", [False, True])
def test_factors_are_read_on_one_side(upper):
    part = L.triu() if upper else L.tril()
    beside = facula.ones(3, 3, dtype=facula.bool)
    beside = beside.tril(-1) if upper else beside.triu(1)
    other, worse = part.masked_fill(beside, 7.0), part.masked_fill(beside, float("nan"))
    whole = (part.mT @ part if upper else part @ part.mT).double()
    b = facula.arange(6.0).reshape(3, 2)
    close = {"rtol": 1e-5, "atol": 1e-6}  # float32's, beside doubles
    for given in (L, other, worse):
        found = facula.cholesky_solve(b, given, upper=upper)
        facula.testing.assert_close(found.double(), facula.linalg.solve(whole, b.double()), **close)
        found = facula.cholesky_inverse(given, upper=upper)
        facula.testing.assert_close(found.double(), facula.linalg.inv(whole), **close)
        found = facula.linalg.solve_triangular(given, b, upper=upper)
        facula.testing.assert_close(found.double(), facula.linalg.solve(part.double(), b.double()), **close)


def test_a_diagonal_of_ones_is_not_read():
    a = facula.tensor([[float("nan"), float("nan")], [2.0, float("inf")]])
    found = facula.linalg.solve_triangular(a, facula.ones(2, 1), upper=False, unitriangular=True)
    assert found.tolist() == [[1], [-1]]


def test_matrices_to_factor_are_read_on_one_side():
    a = facula.tensor([[4.0, 2], [77, 3]])
    root = 2.0**0.5
    facula.testing.assert_close(facula.linalg.cholesky(a, upper=True), facula.tensor([[2, 1], [0, root]]))
    with pytest.raises(facula.linalg.LinAlgError):
        facula.linalg.cholesky(a)
    facula.testing.assert_close(facula.linalg.cholesky(a.mT), facula.tensor([[2, 0], [1, root]]))
    with pytest.raises(facula.linalg.LinAlgError):
        facula.linalg.cholesky(a.mT, upper=True)
    factor, info = facula.linalg.cholesky_ex(a, upper=True)
    assert info.item() == 0 and factor[1, 0] == 0
    assert facula.linalg.cholesky_ex(a.mT, upper=True).info.item() == 2
    z = facula.tensor([[4.0, 2 + 1j], [0, 3]])
    u = facula.linalg.cholesky(z, upper=True)
    facula.testing.assert_close((u.mH @ u)[0], z[0])


@pytest.mark.parametrize("upper", [False, True])
def test_gradients_through_the_side_that_is_read(upper):
    def run(x):
        a = x @ x.mT + 3 * facula.eye(3, dtype=facula.float64)
        factor = facula.linalg.cholesky(a, upper=upper)
        return factor, facula.cholesky_solve(x, factor, upper=upper), facula.cholesky_inverse(factor, upper=upper)
    facula.manual_seed(0)
    assert facula.autograd.gradcheck(run, (facula.randn(3, 3, dtype=facula.float64, requires_grad=True),))


@pytest.mark.parametrize("a, b, upper, found", [
    ([[0.0, 1], [0, 2]], [[1.0], [1]], True, [[INF], [0.5]]),
    ([[0.0, 1], [0, 2]], [[1.0], [1]], False, [[INF], [-0.0]]),
    ([[2.0, 1], [0, 0]], [[0.0], [1]], True, [[-INF], [INF]])])
def test_zeros_on_the_diagonal(a, b, upper, found):
    a, b = facula.tensor(a), facula.tensor(b)
    if found[1][0] == 0:  # infinity times zero
        found[1][0] = float("nan")
    for call in (lambda: facula.linalg.solve_triangular(a, b, upper=upper),
                 lambda: facula.triangular_solve(b, a, upper=upper)[0],
                 lambda: facula.linalg.solve_triangular(a.mT, b.mT, upper=not upper, left=False).mT,
                 lambda: facula.linalg.solve_triangular(a.expand(2, 2, 2), b, upper=upper)[1]):
        facula.testing.assert_close(call(), facula.tensor(found), equal_nan=True)
    with pytest.raises(facula.linalg.LinAlgError):
        facula.cholesky_inverse(a, upper=upper)
    with pytest.raises(facula.linalg.LinAlgError):
        facula.linalg.solve(facula.tensor([[0.0, 1], [0, 2]]), b)


@pytest.mark.parametrize("upper", [False, True])
def test_gradients_of_factors_are_pytorchs(upper):
    """It gives such for the half that is not read, too."""
    factor = L.clone().requires_grad_()
    facula.cholesky_solve(facula.ones(3, 1), factor, upper=upper).sum().backward()
    assert factor.grad.triu(1).abs().max() > 0 and factor.grad.tril(-1).abs().max() > 0


def test_gradients_beside_a_zero_on_the_diagonal_are_not_errors():
    a = facula.tensor([[0.0, 1], [0, 2]], requires_grad=True)
    facula.linalg.solve_triangular(a, facula.ones(2, 1), upper=True)[1].sum().backward()
    assert a.grad.shape == (2, 2)


def test_a_vector_is_not_on_the_left():
    for a, b in ((L, facula.ones(3)), (L.expand(2, 3, 3), facula.ones(2, 3)), (L[:1, :1], facula.ones(1))):
        for solve in (facula.linalg.solve, facula.linalg.solve_ex):
            with pytest.raises(RuntimeError, match="left"):
                solve(a, b, left=False)


@pytest.mark.parametrize("value", [float("nan"), INF])
@pytest.mark.parametrize("name", ["svd", "svdvals", "pinv", "matrix_rank", "cond", "eig", "eigvals"])
def test_what_is_not_finite_is_no_error_of_numpys(name, value):
    x = facula.tensor([[1.0, value], [0, 1]])
    try:
        found = getattr(facula.linalg, name)(x)
        str(found)
    except RuntimeError as error:
        assert "linalg." in str(error)


def test_losses_of_shapes_that_do_not_fit():
    for x, y in ((facula.zeros(4, 1), facula.ones(4)), (facula.zeros(4), facula.ones(3, 4))):
        with pytest.raises(RuntimeError, match="shape"):
            facula.nn.functional.soft_margin_loss(x, y)
