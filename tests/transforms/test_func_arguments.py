"""What the transforms refuse, with torch's words, and the smaller functions of `func`."""

import pytest

import facula
from facula import func

X = facula.arange(1.0, 4.0)
ROWS = facula.arange(6.0).reshape(2, 3)


def cube(x):
    return (x ** 3).sum()


@pytest.mark.parametrize("call, error, words", [
    (lambda: func.grad(lambda x: x)(X), RuntimeError, "return a scalar Tensor, got tensor with 1 dims"),
    (lambda: func.grad(lambda x: 3)(X), RuntimeError, "return a Tensor, got <class 'int'>"),
    (lambda: func.grad(cube, argnums=())(X), RuntimeError, "must be non-empty"),
    (lambda: func.grad(cube, argnums=(0, 0))(X), RuntimeError, "must be unique"),
    (lambda: func.grad(cube, argnums=1)(X), RuntimeError, "Got argnum=1, but only 1 positional"),
    (lambda: func.grad(cube, argnums=0.5)(X), RuntimeError, "must be int or Tuple"),
    (lambda: func.grad(cube)(3.0), ValueError, "must be Tensor, got <class 'float'>"),
    (lambda: func.grad(lambda x: x.sum())(X.long()), RuntimeError, "floating point dtype can require"),
    (lambda: func.grad(lambda x: (x * 1j).sum())(X), RuntimeError, "real scalar outputs but got torch.complex64"),
    (lambda: func.grad(cube, has_aux=True)(X), RuntimeError, "should be a tuple: .output, aux."),
    (lambda: func.jvp(cube, X, X), RuntimeError, "Expected primals to be a tuple"),
    (lambda: func.jvp(cube, (X,), (X, X)), RuntimeError, "same python structure"),
    (lambda: func.jvp(cube, (), ()), RuntimeError, "at least one Tensor"),
    (lambda: func.jvp(cube, (X,), (X[:2],)), RuntimeError, "different size than that of the original"),
    (lambda: func.jvp(lambda x: 3, (X,), (X,)), RuntimeError, "only tensors, got unsupported type <class 'int'>"),
    (lambda: func.vjp(lambda x: 3, X), RuntimeError, "only tensors, got unsupported type <class 'int'>"),
    (lambda: func.vjp(lambda x: x, X)[1]((X,)), RuntimeError, "pytree structure of cotangents"),
    (lambda: func.jacrev(cube, argnums=2)(X), RuntimeError, "Got argnum=2"),
    (lambda: func.jacfwd(cube, argnums=2)(X), RuntimeError, "Got argnum=2"),
    (lambda: func.jacfwd(cube)(3), ValueError, "must be Tensor"),
    (lambda: func.jacrev(cube, chunk_size=0), ValueError, "greater than 0"),
    (lambda: func.vmap(cube, in_dims=None)(ROWS), ValueError, "expected `in_dims` to be int or a"),
    (lambda: func.vmap(cube, in_dims=(0, 0))(ROWS), ValueError, "in_dims is not compatible with the structure of `in"),
    (lambda: func.vmap(lambda x: x, out_dims=(0, 0))(ROWS), ValueError, "out_dims is not compatible with the struct"),
    (lambda: func.vmap(lambda x: None)(ROWS), ValueError, "Did you mean to set out_dims= to None for output"),
    (lambda: func.linearize(cube, X)[1](X, X), RuntimeError, "same argspec"),
    (lambda: func.linearize(cube, X)[1](X[:2]), RuntimeError, "tangent:0 with shape"),
    (lambda: func.functionalize(cube, remove="all"), RuntimeError, "invalid argument for remove=all"),
])
def test_refusals(call, error, words):
    with pytest.raises(error, match=words):
        call()


def test_vmap_is_torchs_too():
    assert facula.vmap is func.vmap
    assert facula.vmap(facula.dot)(ROWS, ROWS).tolist() == [5.0, 50.0]


@pytest.mark.parametrize("write, given", [
    (lambda a: a.add_(1), [[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]),
    (lambda a: a.__setitem__(0, 9.0), [[9.0, 1.0, 2.0], [9.0, 4.0, 5.0]]),
    (lambda a: a[1:].zero_(), [[0.0, 0.0, 0.0], [3.0, 0.0, 0.0]]),
    (lambda a: None, [[0.0, 1.0, 2.0], [3.0, 4.0, 5.0]]),
])
@pytest.mark.parametrize("kind", ["rows", "columns", "chunks", "nested"])
def test_what_a_function_writes_into_its_argument_is_written(write, given, kind):
    x = facula.arange(6.0).reshape(2, 3)

    def function(a):
        write(a)
        return a.sum()

    if kind == "rows":
        found = func.vmap(function)(x)
    elif kind == "columns":
        x = x.t().contiguous()
        found = func.vmap(function, in_dims=1)(x)
        x = x.t()
    elif kind == "chunks":
        found = func.vmap(function, chunk_size=1)(x)
    else:
        x = x[None]
        found = func.vmap(func.vmap(function))(x)[0]
        x = x[0]
    assert found.tolist() == [sum(row) for row in given]
    assert x.tolist() == given


def test_written_arguments_have_their_gradients():
    w = facula.arange(6.0).reshape(2, 3).clone().requires_grad_()
    u = w * 1
    func.vmap(lambda a: a.mul_(a).sum())(u).sum().backward()
    assert u.tolist() == [[0.0, 1.0, 4.0], [9.0, 16.0, 25.0]]
    assert w.grad.tolist() == [[0.0, 2.0, 4.0], [6.0, 8.0, 10.0]]
    with pytest.raises(RuntimeError, match="a leaf Variable"):
        func.vmap(lambda a: a.mul_(2).sum())(w)
    x = facula.arange(3.0)
    assert func.jvp(lambda a: a.mul_(2).sum(), (x,), (facula.ones(3),))[1].item() == 6.0
    assert x.tolist() == [0.0, 2.0, 4.0]


def test_linearized_at_values_that_stay():
    x = X.clone()
    out, push = func.linearize(lambda a: {"square": a * a}, x)
    x.zero_()
    assert out["square"].tolist() == [1.0, 4.0, 9.0]
    assert push(facula.ones(3))["square"].tolist() == [2.0, 4.0, 6.0]
    assert push(X)["square"].tolist() == [2.0, 8.0, 18.0]
    assert func.jvp(lambda a: a * a, (X,), (facula.ones(3, dtype=facula.float64),))[1].tolist() == [2.0, 4.0, 6.0]


def test_chunks_batch_norms_and_what_stands_behind():
    for size in (1, 2, None):
        assert func.jacrev(lambda a: a * a, chunk_size=size)(X).tolist() == facula.diag(2 * X).tolist()
    norm = func.replace_all_batch_norm_modules_(facula.nn.Sequential(facula.nn.BatchNorm1d(3)))
    assert (norm[0].running_mean, norm[0].track_running_stats) == (None, False)
    assert func.vmap(norm)(facula.rand(2, 4, 3)).shape == (2, 4, 3)
    shapes = []
    func.vmap(func.vmap(lambda a: (shapes.extend(func.debug_unwrap(a, recurse=r).shape for r in (False, True)), a)[1]))(
        facula.ones(2, 3, 4))
    assert shapes == [(3, 4), (2, 3, 4)]
    y = facula.zeros(2)
    assert func.functionalize(lambda a: a.add_(1))(y).tolist() == y.tolist() == [1.0, 1.0]
