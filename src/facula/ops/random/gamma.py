"""Gamma, Dirichlet and binomial numbers, with the gradients by the parameters that reparametrization gives.

A sample z of a density p(z; a) follows `a` by dz/da = -(dF/da) / p, with F the distribution function (Figurnov, Mohamed
and Mnih 2018, "Implicit reparameterization gradients"). In a variable s in which log p is concave that is an integral
of p(s) d(log p)/da from either end to the sample, over p at the sample; from the side of the lesser mass it is taken
by Gauss and Legendre's rule, in doubles.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from facula._tensor.handle import Tensor, is_meta, new
from facula._tensor.tape import attach
from facula.autograd.graph import Rule
from facula.engine.placing import meta_node
from facula.engine.session import session
from facula.ops.create.creation import empty
from facula.ops.random.sampling import _apart, _engine, overwrite, values_of
from facula.ops.random.values import _unsupported, widen
from facula.ops.registry import op
from facula.ops.severing import severed
from facula.ops.special.host_functions import host, routine
from facula.rng.rounding import to_dtype

if TYPE_CHECKING:
    from facula.random import Generator

Values = np.ndarray[Any, Any]
_FAR = 40.0  # exp(-40) of the sample's density: nothing beyond counts


def _drawn(name: str, given: tuple[Tensor, ...], generator: Generator | None,
           draw: Callable[..., Values]) -> Tensor:
    """A tensor of `draw(engine, doubles of each of `given`)`, shaped as they are."""
    first = given[0]
    if not first.dtype.is_floating_point:
        raise _unsupported(name, first.dtype)
    if is_meta(first):
        return new(meta_node(first.shape, first.dtype))
    engine = _engine(generator, first)
    result = empty(tuple(first.shape), dtype=first.dtype, device=first.device)
    if session.traced is not None:
        from facula.engine.recorder import above
        level = above.different()
        if level is not None:
            from facula._tensor.reading import read
            rows = [widen(level.values(read(x)), x.dtype).astype(np.float64) for x in given]
            return _apart(result, lambda n: to_dtype(draw(engine, *rows), first.dtype), level)
    wide = [widen(values_of(x), x.dtype).astype(np.float64) for x in given]
    return overwrite(result, to_dtype(draw(engine, *wide), first.dtype).reshape(tuple(first.shape)))


def _tiny(of: Any) -> float:
    """The least normal number, which samples of the gamma distribution do not fall below."""
    from facula.numeric_limits import finfo
    return float(finfo(of).tiny)


def _digamma(x: Values) -> Values:
    """Of positive numbers: from 10 on by its asymptotic series, below by recurrence."""
    low = np.zeros_like(x)
    for _ in range(10):
        low = np.where(x < 10, low - 1 / x, low)
        x = np.where(x < 10, x + 1, x)
    r = 1 / (x * x)
    return low + np.log(x) - 0.5 / x - r * (1 / 12 - r * (1 / 120 - r * (1 / 252 - r * (1 / 240 - r * (
        1 / 132 - r * (691 / 32760 - r / 12))))))


# ---- gradients by the parameters ------------------------------------------------------------------------------------


@functools.cache
def _quadrature() -> list[tuple[float, float]]:
    """Gauss and Legendre's points in [-1, 1] and their weights, computed when they are first needed."""
    points, weights = np.polynomial.legendre.leggauss(48)
    return list(zip(points.tolist(), weights.tolist(), strict=True))


def _integral(exponent: Any, slope: Any, far: Values) -> Values:
    """The integral of exp(exponent(s)) slope(s) from 0 to `far`, which may be negative, for each element."""
    half = far / 2
    total = np.zeros_like(far)
    for node, weight in _quadrature():
        s = half * (1 + node)
        total += weight * np.exp(exponent(s)) * slope(s)
    return total * half


def _reach(exponent: Any, derivative: Any, start: Values) -> Values:
    """Where a concave exponent, 0 at 0 and falling, has come down to -40; `start` lies beyond that place."""
    s = start
    for _ in range(60):  # Newton's method: from beyond, of a concave function, it does not overshoot
        step = (exponent(s) + _FAR) / derivative(s)
        s = s - np.where(np.isfinite(step), step, 0.0)
    return s


@routine
def standard_gamma_grad(a: Any, z: Any) -> Any:
    """dz/da of a sample z of the gamma distribution of shape a."""
    a, z = np.broadcast_arrays(np.asarray(a, np.float64), np.asarray(z, np.float64))
    good = (a > 0) & (z > 0) & np.isfinite(a) & np.isfinite(z)
    beside = np.where((z == 0) & (a > 0), 0.0, np.nan)
    a, z = np.where(good, a, 1.0), np.where(good, z, 1.0)
    # z e^s for s from -inf or inf to 0: exp(a s + z (1 - e^s)), which falls from 0 on to the side of the lesser mass
    below = z < a
    mean = np.log(z) - _digamma(a)

    def exponent(s: Any) -> Any:
        return a * s - z * np.expm1(s)

    def derivative(s: Any) -> Any:
        return a - z * np.exp(s)
    # The exponent is no more than a s + z; above, where a <= z, than -z (e^s - 1 - s), which is no more than -z s^2 / 2
    # and from e^s = 4 on than -z (e^s - 4) / 2.
    start = np.where(below, -(_FAR + z) / a, np.minimum(np.sqrt(2 * _FAR / z), np.log(2 * _FAR / z + 4)))
    far = _reach(exponent, derivative, start)
    value = _integral(exponent, lambda s: z * (mean + s), far)
    return np.where(good, value, beside)


@routine
def beta_grad(x: Any, a: Any, b: Any) -> Any:
    """dx/da of a sample x of the beta distribution with the parameters a and b."""
    x, a, b = np.broadcast_arrays(*[np.asarray(v, np.float64) for v in (x, a, b)])
    good = (a > 0) & (b > 0) & (x > 0) & (x < 1)
    beside = np.where((x <= 0) | (x >= 1), 0.0, np.nan)
    x, a, b = np.where(good, x, 0.5), np.where(good, a, 1.0), np.where(good, b, 1.0)
    # In the logit t + s of x = sigmoid(t): log p is a log(x) + b log(1 - x), concave, its slope a (1 - x) - b x.
    below = x * (a + b) < a
    logit = np.log(x) - np.log1p(-x)
    mean = np.log(x) - _digamma(a) + _digamma(a + b)

    def logs(s: Any) -> tuple[Any, Any]:
        """log of sigmoid(t + s), and of what it lacks to 1, both less their values at s = 0."""
        t = logit + s
        high = -np.logaddexp(0.0, -t)
        low = -np.logaddexp(0.0, t)
        return high - np.log(x), low - np.log1p(-x)

    def exponent(s: Any) -> Any:
        high, low = logs(s)
        return a * high + b * low

    def derivative(s: Any) -> Any:
        share = np.exp(-np.logaddexp(0.0, -(logit + s)))
        return a - (a + b) * share
    # log sigmoid(t) is no more than t, and no more than 0.
    start = np.where(below, ((a + b) * np.log1p(-x) - _FAR) / a, (_FAR - (a + b) * np.log(x)) / b)
    far = _reach(exponent, derivative, start)
    # From -inf up to x the integral of p d(log p)/da comes with a minus; from x up to inf with a plus. `_integral`
    # goes from x outwards, so both have the same sign. dx = x (1 - x) dt.
    value = _integral(exponent, lambda s: mean + logs(s)[0], far) * x * (1 - x)
    return np.where(good, value, beside)


@op(method=False)
def _standard_gamma_grad(self: Tensor, output: Tensor) -> Tensor:
    """The gradient of samples of `_standard_gamma` by their shapes.

    Example:
        >>> import facula
        >>> facula._standard_gamma_grad(facula.tensor(1.0), facula.tensor(1.0))
        tensor(1.1736)
    """
    return host("standard_gamma_grad", self, output)


@op(method=False)
def _dirichlet_grad(x: Tensor, alpha: Tensor, total: Tensor) -> Tensor:
    """The gradient of samples x of a Dirichlet distribution, each by its own `alpha`, over 1 - x; `total` is the sum of
    the alphas. That of the other elements follows: they shrink in proportion.

    Example:
        >>> import facula
        >>> facula._dirichlet_grad(facula.tensor(0.5), facula.tensor(1.0), facula.tensor(2.0))
        tensor(0.6931)
    """
    return host("beta_grad", x, alpha, total - alpha) / (1 - x)


_GAMMA = Rule("StandardGammaBackward0", lambda ctx, g: (g * _standard_gamma_grad(*ctx.saved),))


def _dirichlet_backward(ctx: Any, g: Tensor) -> tuple[Tensor]:
    alpha, x = ctx.saved
    total = alpha.sum(-1, True).expand(tuple(alpha.shape))
    return (_dirichlet_grad(x, alpha, total) * (g - (x * g).sum(-1, True)),)


_DIRICHLET = Rule("SampleDirichletBackward0", _dirichlet_backward)


# ---- samples --------------------------------------------------------------------------------------------------------


@op(method=False)
def _standard_gamma(self: Tensor, generator: Generator | None = None) -> Tensor:
    """One number of the gamma distribution of scale 1 for each shape in `self`; gradients are reparametrized.

    Raises:
        NotImplementedError: integers, complex numbers.

    Example:
        >>> import facula
        >>> _ = facula.manual_seed(0)
        >>> facula._standard_gamma(facula.tensor([2.0, 0.5]))
        tensor([4.5526, 0.0055])
    """
    least = _tiny(self.dtype) if self.dtype.is_floating_point else 0.0
    out = _drawn("gamma", (self,), generator,
                 lambda engine, shapes: np.maximum(engine.gamma(shapes), least))
    return attach(out, _GAMMA, (self,), (self, out))


@op(method=False)
def _sample_dirichlet(self: Tensor, generator: Generator | None = None) -> Tensor:
    """One sample of the Dirichlet distribution for each row of concentrations, (..., K); gradients are reparametrized.

    Example:
        >>> import facula
        >>> (facula._sample_dirichlet(facula.ones(3)).sum() - 1).abs() < 1e-6
        tensor(True)
    """
    least = _tiny(self.dtype) if self.dtype.is_floating_point else 0.0

    def draw(engine: Any, shapes: Values) -> Values:
        drawn = engine.gamma(shapes)
        shares: Values = np.maximum(drawn / drawn.sum(-1, keepdims=True), least)
        return shares
    out = _drawn("dirichlet", (self,), generator, draw)
    return attach(out, _DIRICHLET, (self,), (self, out))


@op(method=False)
def binomial(count: Tensor, prob: Tensor, generator: Generator | None = None) -> Tensor:
    """The number of successes in `count` trials, each of probability `prob`, for each element. Gradients are zero.

    Raises:
        RuntimeError: not the same shapes or dtypes.

    Example:
        >>> import facula
        >>> facula.binomial(facula.tensor([5.0, 3.0]), facula.tensor([0.0, 1.0]))
        tensor([0., 3.])
    """
    if count.dtype is not prob.dtype:
        raise RuntimeError(f"binomial: expected count and prob to have the same dtype, but got {count.dtype} and "
                           f"{prob.dtype}")
    shape = np.broadcast_shapes(tuple(count.shape), tuple(prob.shape))
    given = count.expand(shape), prob.expand(shape)
    return severed(_drawn("binomial_cpu", given, generator, lambda engine, n, p: engine.binomial(n, p)), *given,
                   name="BinomialBackward0")
