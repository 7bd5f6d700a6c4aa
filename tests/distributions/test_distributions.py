"""Constraints, transforms, divergences, distributions made of others, against PyTorch's; what is refused; examples."""

import importlib
import pkgutil

import numpy as np
import pytest

import docstrings
import facula
import facula.distributions as D
from distribution_cases import CASES, build
from facula.distributions import constraints, kl

N = np.array


def tensor(lib, x, dtype="float64"):
    return lib.from_numpy(np.ascontiguousarray(x)).to(getattr(lib, dtype))


def close(ours, theirs, rtol=1e-7):
    if isinstance(ours, (list, dict)):
        assert len(ours) == len(theirs)
        for a, b in zip(ours.values() if isinstance(ours, dict) else ours,
                        theirs.values() if isinstance(ours, dict) else theirs, strict=True):
            close(a, b, rtol)
    elif isinstance(ours, tuple):
        assert ours[0] == theirs[0] and ours[1].shape == theirs[1].shape, (ours, theirs)
        np.testing.assert_allclose(ours[1], theirs[1], rtol=rtol, atol=1e-12)
    else:
        assert ours == theirs


# ---- constraints ----------------------------------------------------------------------------------------------------

POINTS = N([-1.0, 0.0, 0.5, 1.0, 2.0, 3.0, np.inf, np.nan])
VECTORS = N([[0.2, 0.8], [0.0, 1.0], [1.0, 1.0], [-0.5, 1.5], [2.0, 0.0]])
MATRICES = N([[[1.0, 0.0], [0.0, 1.0]], [[1.0, 0.5], [0.5, 1.0]], [[1.0, 0.0], [0.6, 0.8]], [[1.0, 2.0], [2.0, 1.0]],
              [[-1.0, 0.0], [0.5, 1.0]]])


def regions(c):
    yield from ((r, POINTS) for r in (
        c.boolean, c.real, c.positive, c.nonnegative, c.unit_interval, c.positive_integer, c.nonnegative_integer,
        c.interval(0, 2), c.half_open_interval(0, 2), c.less_than(1), c.greater_than(1), c.greater_than_eq(1),
        c.integer_interval(0, 2)))
    yield from ((r, VECTORS) for r in (
        c.simplex, c.one_hot, c.real_vector, c.multinomial(2), c.independent(c.positive, 1),
        c.cat([c.real, c.positive], -1, [1, 1]), c.stack([c.real, c.positive], 1)))
    yield from ((r, MATRICES) for r in (c.lower_triangular, c.lower_cholesky, c.corr_cholesky, c.symmetric, c.square))
    # PyTorch asks no eigenvalues if any matrix of a batch is not symmetric
    yield from ((r, MATRICES[[0, 1, 3]]) for r in (c.positive_definite, c.positive_semidefinite))


def test_constraints(oracle):
    def ask(lib):
        found = [r.check(tensor(lib, x)) for r, x in regions(lib.distributions.constraints)]
        about = [[repr(r), r.event_dim, r.is_discrete] for r, _ in regions(lib.distributions.constraints)]
        return {"checks": found, "about": about}
    close(*oracle.both(ask))


def test_dependent_constraints_know_what_they_know():
    assert constraints.is_dependent(constraints.dependent) and constraints.is_dependent(D.Uniform.support)
    assert D.Uniform.support.event_dim == 0
    with pytest.raises(NotImplementedError, match="statically"):
        constraints.dependent.event_dim  # noqa: B018
    with pytest.raises(ValueError, match="dependent"):
        constraints.dependent.check(facula.ones(1))


# ---- transforms -----------------------------------------------------------------------------------------------------

X = N([[-1.0, 0.3, 0.8], [2.0, -0.4, 0.1]])
UP = N([[0.5, 0.3, 0.8], [2.0, 0.4, 0.1]])
SQUARE = N([[0.5, -0.3], [1.2, 0.7]])


def functions(lib):
    T, dist = lib.distributions.transforms, lib.distributions
    yield from ((t, X) for t in (
        T.ExpTransform(), T.SigmoidTransform(), T.TanhTransform(), T.SoftplusTransform(), T.AffineTransform(1.0, -2.0),
        T.AffineTransform(tensor(lib, X[0]), tensor(lib, UP), event_dim=1), T.StickBreakingTransform(),
        T.CorrCholeskyTransform(), T.ComposeTransform([T.AffineTransform(0.5, 2.0), T.ExpTransform()]),
        T.ComposeTransform([T.ExpTransform(), T.ReshapeTransform((3,), (3, 1))]), T.ReshapeTransform((2, 3), (6,)),
        T.IndependentTransform(T.TanhTransform(), 1), T.identity_transform,
        T.CatTransform([T.ExpTransform(), T.TanhTransform()], dim=1, lengths=[1, 2]),
        T.CatTransform([T.StickBreakingTransform(), T.StickBreakingTransform()], dim=0, lengths=[1, 1]),
        T.StackTransform([T.ExpTransform(), T.TanhTransform(), T.identity_transform], dim=1),
        T.CumulativeDistributionTransform(dist.Normal(0.5, 2.0)), T.ExpTransform().inv.inv,
        T.ComposeTransform([T.StickBreakingTransform(), T.PowerTransform(tensor(lib, N(2.0)))])))
    yield from ((t, UP) for t in (T.PowerTransform(2.5), T.PowerTransform(tensor(lib, N([-1.0, 2.0, 0.5]))),
                                  T.ExpTransform().inv, T.ComposeTransform([T.ExpTransform().inv]).inv.inv))


def test_transforms(oracle):
    def ask(lib):
        found = []
        for t, x in functions(lib):
            x = tensor(lib, x).requires_grad_()
            y = t(x)
            slope = t.log_abs_det_jacobian(x, y)
            g, = lib.autograd.grad((y * y).sum() + slope.sum(), x)
            about = [repr(t), bool(t.bijective), t.domain.event_dim, t.codomain.event_dim,
                     list(t.forward_shape(x.shape)), list(t.inverse_shape(y.shape)), repr(t.codomain)]
            try:
                sign = lib.as_tensor(t.sign)
            except NotImplementedError:
                sign = None
            found.append([about, y.detach(), t.inv(y).detach(), slope.detach(), g, sign])
        return found
    close(*oracle.both(ask), 1e-6)


def test_transforms_that_cannot_be_undone(oracle):
    def ask(lib):
        T = lib.distributions.transforms
        return [[t(x), t.inv(t(x)), repr(t), bool(t.bijective)] for t, x in (
            (T.AbsTransform(), tensor(lib, X)), (T.SoftmaxTransform(), tensor(lib, X)),
            (T.LowerCholeskyTransform(), tensor(lib, SQUARE)), (T.PositiveDefiniteTransform(), tensor(lib, SQUARE)))]
    close(*oracle.both(ask), 1e-6)


def test_caches_keep_the_last_pair():
    t = D.TanhTransform(cache_size=1)
    x = facula.tensor([30.0])
    assert t.inv(t(x)) is x
    assert t.with_cache(1) is t and t.with_cache(0) is not t and D.TanhTransform() == t
    assert D.ExpTransform().inv == D.ExpTransform().inv and D.AffineTransform(0.0, 1.0) != D.AffineTransform(0.0, 2.0)


def test_the_ways_to_constraints(oracle):
    def ask(lib):
        found = []
        for region, _ in regions(lib.distributions.constraints):
            for registry in (lib.distributions.biject_to, lib.distributions.transform_to):
                try:
                    t = registry(region)
                except NotImplementedError as error:
                    found.append(str(error))
                    continue
                shape = (2, 2) if region.event_dim == 2 else (2,)
                if repr(region) == "CorrCholesky()":
                    shape = (3,)
                if repr(region) in ("Cat()", "Stack()"):
                    shape = (1, 2)
                y = t(tensor(lib, np.linspace(-1, 1, int(np.prod(shape))).reshape(shape)))
                found.append([repr(t), y, bool(region.check(y).all())])
        return found
    close(*oracle.both(ask), 1e-6)


def test_registering_a_way():
    registry = D.constraint_registry.ConstraintRegistry()
    registry.register(constraints.positive, lambda c: D.ExpTransform())
    assert registry(constraints.greater_than(3)) == D.ExpTransform()
    with pytest.raises(TypeError, match="Constraint"):
        registry.register(int, None)(lambda c: c)
    with pytest.raises(NotImplementedError, match="_Simplex"):
        registry(constraints.simplex)


# ---- divergences ----------------------------------------------------------------------------------------------------

WITHIN = {"Uniform": {"low": N([0.2, 0.5]), "high": N([0.7, 0.9])},
          "Binomial": {"total_count": N([7.0, 7.0]), "probs": N([0.3, 0.6])},
          "Pareto": {"scale": N([0.1, 1.0]), "alpha": N([2.5, 4.0])},
          "MultivariateNormal": {"loc": N([0.0, 1.0, 2.0]), "covariance_matrix": CASES["MultivariateNormal"][0][0][
              "covariance_matrix"]}}


def pair(lib, name, k):
    """The k-th distribution of a family, with a batch of two."""
    rng = np.random.default_rng(sum(map(ord, name)) + k)
    if name in WITHIN and (k == 0 or name == "Binomial"):
        given = WITHIN[name]
    elif name == "MultivariateNormal":
        given = {"loc": rng.normal(size=3), "scale_tril": np.tril(rng.random((3, 3))) + np.eye(3)}
    elif name == "LowRankMultivariateNormal":
        given = {"loc": rng.normal(size=3), "cov_factor": rng.normal(size=(3, 2)), "cov_diag": rng.random(3) + 0.5}
    elif name in ("Categorical", "OneHotCategorical", "Dirichlet"):
        given = {"concentration" if name == "Dirichlet" else "probs": rng.random((2, 3)) + 0.1}
    elif name in ("Bernoulli", "Geometric", "ContinuousBernoulli"):
        given = {"probs": rng.random(2) * 0.8 + 0.1}
    elif name == "Uniform":
        given = {"low": rng.random(2) * 0.1, "high": 1 + rng.random(2)}
    else:
        names = list(getattr(lib.distributions, name).arg_constraints)
        given = {n: rng.random(2) + 0.5 for n in names}
    return build(lib, name, given, grad=True)


PAIRS = sorted((a.__name__, b.__name__) for a, b in kl._KL_REGISTRY
               if a.__name__ in {*CASES, "Normal"} and b.__name__ in CASES)


def test_every_pair_of_pytorchs_is_there(torch):
    from torch.distributions.kl import _KL_REGISTRY
    theirs = {(a.__name__, b.__name__) for a, b in _KL_REGISTRY}
    assert theirs == {(a.__name__, b.__name__) for a, b in kl._KL_REGISTRY if "test" not in a.__module__
                      and a.__name__ != "Mine"}


@pytest.mark.parametrize("pairs", [PAIRS[k::6] for k in range(6)], ids=range(6))
def test_divergences_and_their_gradients(pairs, oracle):
    def ask(lib):
        found = {}
        for first, second in pairs:
            p, ours = pair(lib, first, 0)
            q, others = pair(lib, second, 1)
            value = lib.distributions.kl_divergence(p, q)
            gradients = None
            if value.requires_grad and bool(lib.isfinite(value).all()):
                gradients = [g if g is None else lib.as_tensor(g) for g in lib.autograd.grad(
                    value.sum(), [*ours, *others], allow_unused=True)]
            found[f"{first} {second}"] = [value.detach(), gradients]
        return found
    ours, theirs = oracle.both(ask, [list(p) for p in pairs])
    for name in ours:
        try:
            close(ours[name], theirs[name], 1e-6)
        except AssertionError as error:
            raise AssertionError(f"{name}: {error}") from None


def test_divergences_of_made_distributions(oracle):
    def ask(lib):
        d = lib.distributions
        loc = tensor(lib, X)
        p, q = d.Normal(loc, 1.0), d.Normal(loc + 1, 2.0)
        t = [d.transforms.ExpTransform()]
        return [d.kl_divergence(d.Independent(p, 1), d.Independent(q, 1)),
                d.kl_divergence(d.TransformedDistribution(p, t), d.TransformedDistribution(q, t)),
                d.kl_divergence(d.LogNormal(loc, 1.0), d.LogNormal(loc, 2.0)),
                d.kl_divergence(d.Chi2(tensor(lib, UP)), d.Chi2(tensor(lib, UP + 1)))]
    close(*oracle.both(ask))


def test_no_divergence_and_an_ambiguous_one():
    with pytest.raises(NotImplementedError, match="No KL"):
        D.kl_divergence(D.Normal(0.0, 1.0), D.Cauchy(0.0, 1.0))
    p, q = D.Binomial(3, facula.tensor(0.5)), D.Binomial(4, facula.tensor(0.5))
    with pytest.raises(NotImplementedError, match="total_count"):
        D.kl_divergence(p, q)
    assert D.kl_divergence(q, p).item() == np.inf


# ---- made of others -------------------------------------------------------------------------------------------------


def made(lib):
    d = lib.distributions
    loc = tensor(lib, X)
    mixed = d.MixtureSameFamily(d.Categorical(tensor(lib, UP)), d.Normal(loc, 0.5))
    yield mixed, tensor(lib, N([0.3, -1.0]))
    vectors = d.MixtureSameFamily(d.Categorical(tensor(lib, N([1.0, 2.0]))), d.Independent(d.Normal(loc, 0.5), 1))
    yield vectors, tensor(lib, N([0.3, -1.0, 2.0]))
    yield d.Independent(d.Gamma(tensor(lib, UP), 2.0), 1), tensor(lib, UP)
    yield d.Independent(d.Bernoulli(tensor(lib, UP / 4)), 2), tensor(lib, N([[0.0, 1.0, 1.0], [1.0, 0.0, 1.0]]))
    T = d.transforms
    yield d.TransformedDistribution(d.Normal(loc, 1.0), [T.AffineTransform(1.0, -2.0), T.SigmoidTransform()]), (
        tensor(lib, UP / 3))
    yield d.TransformedDistribution(d.Normal(loc, 1.0), T.StickBreakingTransform()), (
        tensor(lib, N([[0.1, 0.2, 0.3, 0.4]])))
    yield d.TransformedDistribution(d.Uniform(0.0, 1.0), T.AffineTransform(tensor(lib, X[0]), 2.0)), (
        tensor(lib, X[0] + 0.5))


def test_distributions_of_distributions(oracle):
    def ask(lib):
        found = []
        for d, x in made(lib):
            lib.manual_seed(5)
            row = [list(d.batch_shape), list(d.event_shape), repr(d), repr(d.support), d.has_rsample,
                   d.log_prob(x), d.sample((2,)), d.expand((3, *d.batch_shape)).log_prob(x)]
            for run in (lambda d=d: d.mean, lambda d=d: d.variance, lambda d=d, x=x: d.cdf(x), lambda d=d: d.entropy(),
                        lambda d=d: d.icdf(lib.full((), 0.3, dtype=lib.float64))):
                try:
                    row.append(run())
                except (NotImplementedError, ValueError) as error:
                    row.append(type(error).__name__)
            found.append(row)
        return found
    close(*oracle.both(ask), 2e-5)


def test_what_is_refused(oracle):
    def ask(lib):
        d, one = lib.distributions, lib.tensor(1.0)
        found = []
        for run in (
            lambda: d.Normal(0.0, -1.0), lambda: d.Normal(lib.zeros(2), lib.tensor([1.0, -1.0])),
            lambda: d.Normal(0.0, 1.0).log_prob(lib.tensor(float("nan"))), lambda: d.Normal(0.0, 1.0).log_prob(1.0),
            lambda: d.Bernoulli(0.3).log_prob(lib.tensor(2.0)),
            lambda: d.Normal(lib.zeros(2), 1.0).log_prob(lib.zeros(3)),
            lambda: d.Bernoulli(), lambda: d.Bernoulli(0.1, 0.2), lambda: d.Binomial(3), lambda: d.Categorical(one),
            lambda: d.Dirichlet(one), lambda: d.Uniform(1.0, 0.0), lambda: d.Normal(0.0, 1.0).enumerate_support(),
            lambda: d.Independent(d.Normal(0.0, 1.0), 1), lambda: d.MultivariateNormal(lib.zeros(2)),
            lambda: d.MultivariateNormal(lib.zeros(2), -lib.eye(2)), lambda: d.LKJCholesky(1), lambda: d.Geometric(0.0),
            lambda: d.Wishart(one, lib.eye(3)), lambda: d.Binomial(lib.tensor([2.0, 3.0]),
                                                                  lib.tensor([0.5, 0.5])).enumerate_support(),
            lambda: d.MixtureSameFamily(1, d.Normal(0.0, 1.0)), lambda: d.Multinomial(one, lib.ones(2)),
            lambda: d.TransformedDistribution(d.Normal(0.0, 1.0), 3), lambda: d.Normal(0.0, 1.0).mode,
            lambda: d.Categorical(lib.ones(3)).log_prob(lib.tensor(3)),
            lambda: d.Normal(0.0, -1.0, validate_args=False).scale, lambda: d.Poisson(1.0).rsample(),
        ):
            try:
                found.append(type(run()).__name__)
            except (ValueError, NotImplementedError) as error:
                found.append([type(error).__name__, str(error)[:90]])
        return found
    ours, theirs = oracle.both(ask)
    assert ours == theirs


def test_parameters_that_are_still_to_be_computed_are_checked_when_a_value_is_read():
    scale = facula.tensor([1.0, -2.0]).exp().log()
    d = D.Normal(scale * 0.0, scale)
    with pytest.raises(ValueError, match="scale"):
        d.log_prob(facula.zeros(2)).tolist()
    quiet = D.Normal(facula.zeros(2), facula.tensor([1.0, -2.0]), validate_args=False)
    assert np.isnan(quiet.log_prob(facula.zeros(2)).numpy()[1])


def test_better_than_pytorchs():
    """Kumaraswamy's mode is where the density is greatest; the variance of von Mises's angles has all its digits."""
    a, b = facula.tensor(2.0, dtype=facula.float64), facula.tensor(3.0, dtype=facula.float64)
    d = D.Kumaraswamy(a, b)
    around = d.mode + facula.linspace(-0.01, 0.01, 21, dtype=facula.float64)
    assert d.log_prob(around).argmax() == 10
    k = facula.tensor(60.0, dtype=facula.float64)
    angles = facula.linspace(-np.pi, np.pi, 20001, dtype=facula.float64)[:-1]
    v = D.VonMises(facula.zeros((), dtype=facula.float64), k)
    direction = (facula.cos(angles) * v.log_prob(angles).exp()).sum() * (2 * np.pi / 20000)
    np.testing.assert_allclose(v.variance.item(), 1 - direction.item(), rtol=1e-8)


def test_default_validation_can_be_switched_off():
    before = D.Distribution._validate_args
    with pytest.raises(ValueError, match="bool"):
        D.Distribution.set_default_validate_args(3)
    try:
        D.Distribution.set_default_validate_args(False)
        D.Normal(0.0, -1.0)
        with pytest.raises(ValueError):
            D.Normal(0.0, -1.0, validate_args=True)
    finally:
        D.Distribution.set_default_validate_args(before)


def test_in_a_training_loop():
    """An evidence lower bound goes up."""
    facula.manual_seed(0)
    loc, log_scale = facula.zeros(2, requires_grad=True), facula.zeros(2, requires_grad=True)
    target = D.Normal(facula.tensor([1.0, -1.0]), facula.tensor([0.5, 2.0]))
    opt = facula.optim.Adam([loc, log_scale], 0.05)
    for _ in range(150):
        q = D.Normal(loc, log_scale.exp())
        loss = D.kl_divergence(q, target).sum() + 0.0 * q.rsample().sum()
        opt.zero_grad()
        loss.backward()
        opt.step()
    np.testing.assert_allclose(loc.detach().numpy(), [1.0, -1.0], atol=0.05)
    np.testing.assert_allclose(log_scale.exp().detach().numpy(), [0.5, 2.0], atol=0.05)


MODULES = [D.__name__, *[f"{D.__name__}.{m.name}" for m in pkgutil.iter_modules(D.__path__)],
           *[f"{D.transforms.__name__}.{m.name}" for m in pkgutil.iter_modules(D.transforms.__path__)],
           *[f"{kl.__name__}.{m.name}" for m in pkgutil.iter_modules(kl.__path__)]]


@pytest.mark.parametrize("name", MODULES)
def test_examples(name):
    docstrings.check(importlib.import_module(name))
