"""Forward mode and vmap of every primitive: against finite differences, and against a loop."""

import itertools

import numpy as np
import pytest

import facula
from facula._tensor.handle import new
from facula._tensor.reading import read
from facula.engine.graph import node as g
from facula.engine.graph.expr import SCALAR_FUNCTIONS, cast, make, operand, scalar, where
from facula.engine.graph.node import Formula, Primitive
from facula.engine.recorder import record
from facula.engine.session import session
from facula.func import jvp, vmap
from facula.transforms import batching, forward
from transforms_sweep import tensors

F64, I64 = facula.float64, facula.int64


def test_every_primitive_has_rules_or_needs_none():
    primitives = {p for p in vars(g).values() if isinstance(p, Primitive)}
    for room in (forward, batching):
        assert not set(room.RULES) & room.WITHOUT
        assert set(room.RULES) | room.WITHOUT == primitives, room.__name__


# ---- the primitives but formulas: (primitive, attrs, scalars, shape, what its inputs are, more words) -----------


def floats(*shape):
    return shape, "float"


def below(n, *shape):
    """An index of that shape."""
    return shape, n


CASES = [
    (g.VIEW, ((1, 4),), (0,), (4, 3), [floats(3, 4)]),
    (g.VIEW, ((-4, 0),), (9,), (3, 2), [floats(3, 4)]),
    (g.VIEW, ((2, 3),), (1,), (2, 3), [floats(12)]),
    (g.VIEW, ((),), (3,), (), [floats(2, 2)]),
    (g.WRITE, ((4,),), (1,), (3, 4), [floats(3, 4), floats(3)]),
    (g.WRITE, ((-6, 2),), (6,), (12,), [floats(12), floats(2, 3)]),
    (g.WRITE, ((),), (2,), (3,), [floats(3), floats()]),
    *[(p, (dims,), None, shape, [floats(2, 3, 4)])
      for p in (g.SUM, g.PROD, g.MAX, g.MIN)
      for dims, shape in (((0,), (3, 4)), ((2,), (2, 3)), ((0, 2), (3,)), ((0, 1, 2), ()))],
    (g.PROD, ((0,),), None, (), [floats(1)]),
    (g.PROD, ((0,),), None, (2,), [floats(7, 2)]),
    *[(p, (d,), None, shape, [floats(*shape)])
      for p in (g.CUMSUM, g.CUMPROD, g.CUMMAX, g.CUMMIN)
      for d, shape in ((0, (5,)), (0, (3, 4)), (1, (2, 5, 3)), (2, (2, 1, 6)))],
    (g.CONTRACT, None, None, (3, 5), [floats(3, 4), floats(4, 5)]),
    (g.CONTRACT, None, None, (2, 3, 5), [floats(2, 3, 4), floats(2, 4, 5)]),
    (g.CONTRACT, None, None, (1, 1), [floats(1, 4), floats(4, 1)]),
    (g.GATHER, None, None, (3, 2), [floats(5, 2), below(5, 3)]),
    (g.GATHER, None, None, (2, 3, 1), [floats(4, 1), below(4, 2, 3)]),
    (g.GATHER, None, None, (2,), [floats(4, 2), below(4)]),
    *[(p, None, None, (5, 2), [floats(5, 2), below(5, *index), floats(*index, 2)])
      for p in (g.SCATTER_SET, g.SCATTER_ADD, g.SCATTER_MUL, g.SCATTER_MAX, g.SCATTER_MIN)
      for index in ((3,), (8,), (2, 3))],
]
INTEGER_CASES = [
    *[(p, (dims,), None, shape, [floats(2, 3, 4)])
      for p in (g.ARGMAX, g.ARGMIN) for dims, shape in (((0,), (3, 4)), ((1, 2), (2,)), ((0, 1, 2), ()))],
    *[(g.ARGSORT, (d, down, 0), None, (2, 3, 4), [floats(2, 3, 4)]) for d in (0, 2) for down in (False, True)],
    *[(g.SEARCH, (right,), None, (lines, 5), [floats(lines, 4), floats(lines, 5)])
      for lines in (1, 3) for right in (False, True)],
]


def name_of(case):
    return f"{case[0].name}-{case[1]}-{case[4]}"


def applied(case, of=F64):
    op, attrs, scalars, shape, _ = case

    def run(*tensors):
        return new(record(op, tuple(read(t) for t in tensors), attrs, scalars, facula.Size(shape), of))
    return run


def inputs_of(case, seed=0, several=0):
    """Arrays for a case, `several` of each along a new first dimension."""
    rng = np.random.default_rng(seed)
    lead = (several,) if several else ()
    return [rng.standard_normal(lead + shape) if kind == "float" else rng.integers(0, kind, lead + shape)
            for shape, kind in case[4]]


def assert_derivative(run, arrays, rtol=1e-6, orders=2):
    """jvp in a random direction is what central differences say; so is the jvp of the jvp."""
    rng = np.random.default_rng(5)
    moving = [k for k, a in enumerate(arrays) if a.dtype == np.float64]
    directions = [rng.standard_normal(arrays[k].shape) for k in moving]

    def of_moving(*xs):
        given = tensors(arrays)
        for k, x in zip(moving, xs, strict=True):
            given[k] = x
        return run(*given)

    def along(function, step):
        return function(*tensors([arrays[k] + step * d for k, d in zip(moving, directions, strict=True)])).numpy()

    def first(*xs):
        return jvp(of_moving, xs, tuple(tensors(directions)))[1]

    at = tuple(tensors([arrays[k] for k in moving]))
    value, tangent = jvp(of_moving, at, tuple(tensors(directions)))
    np.testing.assert_array_equal(value.numpy(), along(of_moving, 0.0))
    h = 1e-6
    levels = [(of_moving, tangent)]
    if orders > 1:
        levels.append((first, jvp(first, at, tuple(tensors(directions)))[1]))
    for function, found in levels:
        expected = (along(function, h) - along(function, -h)) / (2 * h)
        scale = np.abs(expected).max(initial=1.0)
        np.testing.assert_allclose(found.numpy(), expected, rtol=rtol, atol=1e-7 * scale)


def assert_vectorized(run, arrays_of_many, n):
    """vmap over every choice of inputs, and along every dimension, is a loop."""
    for has in itertools.product((True, False), repeat=len(arrays_of_many)):
        if not any(has):
            continue
        loop = [run(*tensors([a[i] if h else a[0] for a, h in zip(arrays_of_many, has, strict=True)])).numpy()
                for i in range(n)]
        ranks = [a.ndim for a in arrays_of_many]
        for place in range(max(ranks)):
            dims = tuple(min(place, r - 1) if h else None for h, r in zip(has, ranks, strict=True))
            given = [np.moveaxis(a, 0, d) if h else a[0]
                     for a, h, d in zip(arrays_of_many, has, dims, strict=True)]
            for out in {0, loop[0].ndim}:
                found = vmap(run, dims, out)(*tensors(given)).numpy()
                np.testing.assert_allclose(found, np.stack(loop, out), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("case", CASES, ids=name_of)
def test_tangents(case):
    assert_derivative(applied(case), inputs_of(case))


@pytest.mark.parametrize("case", CASES, ids=name_of)
def test_hidden_dimension(case):
    assert_vectorized(applied(case), inputs_of(case, 1, 3), 3)


@pytest.mark.parametrize("case", INTEGER_CASES, ids=name_of)
def test_integers_have_no_tangents(case):
    run = applied(case, I64)
    arrays = inputs_of(case)
    value, tangent = jvp(lambda *xs: run(*xs).double() + xs[0].sum() * 0, tuple(tensors(arrays)),
                         tuple(tensors(arrays)))
    np.testing.assert_array_equal(value.numpy(), run(*tensors(arrays)).numpy())
    assert not tangent.numpy().any()
    assert_vectorized(run, inputs_of(case, 1, 3), 3)


@pytest.mark.parametrize("op", [g.ANY, g.ALL])
def test_logical_reductions(op):
    rng = np.random.default_rng(0)
    for dims, shape in (((1,), (2, 4)), ((0, 2), (3,))):
        run = applied((op, (dims,), None, shape, []), facula.bool)
        assert_vectorized(run, [rng.random((3, 2, 3, 4)) > 0.5], 3)


def test_products_with_zeros():
    """Exact for the first and the second derivative, however many elements are zero."""
    for zeros in range(4):
        x = np.random.default_rng(zeros).standard_normal(6)
        x[[1, 4, 5][:zeros]] = 0
        assert_derivative(applied((g.PROD, ((0,),), None, (), [])), [x])
        assert_derivative(applied((g.CUMPROD, (0,), None, (6,), [])), [x])


@pytest.mark.parametrize("zeros", range(4))
@pytest.mark.parametrize("columns", [1, 3])
def test_products_into_rows_with_zeros(zeros, columns):
    """Exact for the first and the second derivative, in forward mode and backward."""
    rng = np.random.default_rng(zeros)
    base, src = rng.standard_normal((4, columns)), rng.standard_normal((9, columns))
    index = np.array([0, 1, 1, 3, 0, 1, 1, 3, 1])
    src[[1, 5, 6][:zeros], 0] = 0
    base[3, 0] = 0
    assert_derivative(applied((g.SCATTER_MUL, None, None, (4, columns), [])), [base, index, src])
    at = facula.from_numpy(index)[:, None].expand(9, columns)
    a, b = (facula.from_numpy(x).requires_grad_() for x in (base, src))
    product = a.scatter_reduce(0, at, b, "prod")
    same = facula.stack([a[i] * b[index == i].prod(0) for i in range(4)])  # by reductions, whose slopes are exact
    v = facula.from_numpy(rng.standard_normal((4, columns)))
    w = [facula.from_numpy(rng.standard_normal(x.shape)) for x in (base, src)]
    found = []
    for out in (product, same):
        first = facula.autograd.grad((out * v).sum(), (a, b), create_graph=True)
        total = sum((x * y).sum() for x, y in zip(first, w, strict=True))
        found.append([*first, *facula.autograd.grad(total, (a, b))])
    for ours, wanted in zip(*found, strict=True):
        np.testing.assert_allclose(ours.detach().numpy(), wanted.detach().numpy(), rtol=1e-10, atol=1e-12)


def test_equal_extrema_share():
    x = facula.tensor([1.0, 3.0, 3.0, 0.0], dtype=F64)
    t = facula.tensor([1.0, 2.0, 4.0, 8.0], dtype=F64)
    for op, value in ((g.MAX, 3.0), (g.MIN, 8.0)):
        assert jvp(applied((op, ((0,),), None, (), [])), (x,), (t,))[1].item() == value
    # with a dimension: the first, as its gradient says
    assert jvp(lambda x: x.max(0)[0], (x,), (t,))[1].item() == 2.0
    leaf = x.clone().requires_grad_()
    assert (facula.autograd.grad(leaf.max(0)[0], leaf)[0] * t).sum().item() == 2.0


@pytest.mark.parametrize("function", [
    lambda x: x.norm(), lambda x: facula.linalg.norm(x, 3), lambda x: x.norm(p=float("inf")), lambda x: x.std(),
    lambda x: facula.std_mean(x)[0], lambda x: x.median(), lambda x: x.amax(), lambda x: x.min(0)[0],
    lambda x: x.relu().abs().sum(), lambda x: x.maximum(x * 0).sum(),
    lambda x: facula.cdist(x[None], x[None] * 0).sum(),
    lambda x: facula.nn.functional.max_pool1d(x[None], 2).sum()])
def test_kinks_have_the_slope_of_the_gradient(function):
    """Where elements are equal or zero."""
    t = facula.tensor([1.0, 2.0, -4.0, 8.0], dtype=F64)
    for value in (0.0, 1.0):
        leaf = facula.full((4,), value, dtype=F64, requires_grad=True)
        wanted = (facula.autograd.grad(function(leaf), leaf)[0] * t).sum()
        found = jvp(function, (leaf.detach(),), (t,))[1]
        np.testing.assert_allclose(found.numpy(), wanted.numpy(), rtol=1e-12, atol=1e-12)


# ---- formulas --------------------------------------------------------------------------------------------

NOT_ON_FLOATS = {"and", "or", "xor", "not", "lshift", "rshift", "random_bits", "cast"}
INSIDE = {"asin": 0.9, "acos": 0.9, "atanh": 0.9, "erfinv": 0.9}  # |x| below
POSITIVE = {"sqrt", "rsqrt", "log", "log2", "log10", "log1p", "pow", "lgamma", "digamma"}


def elements(fn, shape, seed):
    rng = np.random.default_rng(seed)
    x = rng.standard_normal(shape)
    if fn in INSIDE:
        return np.tanh(x) * INSIDE[fn]
    if fn == "acosh":
        return 1.2 + np.abs(x)
    return 0.3 + np.abs(x) if fn in POSITIVE else x


@pytest.mark.parametrize("fn", sorted(set(SCALAR_FUNCTIONS) - NOT_ON_FLOATS))
def test_formulas(fn):
    n = SCALAR_FUNCTIONS[fn]
    arguments = [operand(k) for k in range(n)]
    if fn == "where":
        arguments[0] = operand(0) > 0.0
    formula = Formula(fn, make(fn, *arguments))
    of = facula.bool if fn in ("eq", "ne", "lt", "le", "gt", "ge", "isnan", "isinf", "signbit") else F64
    for shapes in [((),) * n, ((2, 3),) * n, ((3,), (2, 1), (1, 3))[:n], ((2, 1), (3,), ())[:n]]:
        shape = np.broadcast_shapes(*shapes)
        run = applied((formula, None, None, shape, []), of)
        assert_vectorized(run, [elements(fn, (3, *s), k) for k, s in enumerate(shapes)], 3)
        arrays = [elements(fn, s, k) for k, s in enumerate(shapes)]
        if of is not F64:
            continue
        if fn == "digamma":  # no formula: `facula.digamma` has its tangent from its gradient
            with pytest.raises(NotImplementedError, match="forward mode of 'digamma'"):
                assert_derivative(run, arrays)
        else:
            assert_derivative(run, arrays, 1e-5, 1 if fn == "lgamma" else 2)


def test_formulas_with_coordinates_and_numbers():
    formula = Formula("f", operand(0) * make("index", value=1) + operand(1) * scalar(0) + make("index", value=0))
    case = (formula, None, (2.5,), (3, 4), [floats(3, 1), floats(4)])
    assert_derivative(applied(case), inputs_of(case))
    assert_vectorized(applied(case), inputs_of(case, 1, 2), 2)


def test_casts_carry_tangents():
    half = Formula("toCopy", operand(0))
    x, t = facula.tensor([1.0, 2.0], dtype=F64), facula.tensor([0.5, 0.25], dtype=F64)
    value, tangent = jvp(applied((half, None, None, (2,), []), facula.float32), (x,), (t,))
    assert value.dtype is tangent.dtype is facula.float32 and tangent.tolist() == [0.5, 0.25]
    inside = Formula("f", cast(operand(0), I64))
    assert jvp(lambda x: applied((inside, None, None, (2,), []), I64)(x) * x, (x,), (t,))[1].tolist() == [0.5, 0.5]


def test_selection_does_not_poison():
    formula = Formula("f", where(operand(0) > 0.0, make("log", operand(0)), operand(0)))
    x, t = facula.tensor([0.0, 2.0], dtype=F64), facula.ones(2, dtype=F64)
    assert jvp(applied((formula, None, None, (2,), [])), (x,), (t,))[1].tolist() == [1.0, 0.5]


def test_bits_and_random_bits_with_a_hidden_dimension():
    rng = np.random.default_rng(0)
    for fn in ("and", "or", "xor"):
        run = applied((Formula(fn, make(fn, operand(0), operand(1))), None, None, (2, 3), []), I64)
        assert_vectorized(run, [rng.integers(0, 99, (3, 2, 3)), rng.integers(0, 99, (3, 3))], 3)
    bits = Formula("bits", make("random_bits", operand(0), operand(1)))
    run = applied((bits, None, None, (4,), []), I64)
    assert_vectorized(run, [rng.integers(0, 99, (3, 4)), rng.integers(0, 99, (3, 4))], 3)


# ---- host routines ---------------------------------------------------------------------------------------


def test_host_routines():
    x = facula.from_numpy(np.random.default_rng(0).standard_normal((3, 4, 4)) + 4 * np.eye(4))
    for function in (facula.linalg.inv, facula.linalg.det, lambda a: facula.linalg.eigh(a + a.mT)[0],
                     lambda a: facula.linalg.qr(a)[1], lambda a: facula.fft.fft(a).abs(),
                     lambda a: facula.linalg.lu_factor(a)[0], lambda a: facula.linalg.cholesky(a @ a.mT),
                     lambda a: facula.logcumsumexp(a, 0)):
        looped = np.stack([function(x[i]).numpy() for i in range(3)])
        np.testing.assert_allclose(vmap(function)(x).numpy(), looped, rtol=1e-10, atol=1e-10)
        rng = np.random.default_rng(5)
        t = rng.standard_normal((4, 4))
        h = 1e-6
        expected = (function(x[0] + h * facula.from_numpy(t)) - function(x[0] - h * facula.from_numpy(t))) / (2 * h)
        found = jvp(function, (x[0],), (facula.from_numpy(t),))[1]
        np.testing.assert_allclose(found.numpy(), expected.numpy(), rtol=1e-6, atol=1e-6)


def test_recording_is_as_ever_afterwards():
    x = facula.ones(3)
    vmap(lambda a: a * 2)(x)
    jvp(lambda a: a * 2, (x,), (x,))
    assert session.traced is None
