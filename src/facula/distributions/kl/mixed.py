"""Divergences of distributions of different families: where p has values that q has not, they are infinite."""

from __future__ import annotations

import math
from typing import Any

import facula
from facula.distributions.bernoulli import Bernoulli
from facula.distributions.beta import Beta
from facula.distributions.binomial import Binomial
from facula.distributions.continuous_bernoulli import ContinuousBernoulli
from facula.distributions.exponential import Exponential
from facula.distributions.gamma import Gamma
from facula.distributions.gumbel import Gumbel
from facula.distributions.kl.registry import infinite_like, infinite_where, register_kl, x_log_x
from facula.distributions.laplace import Laplace
from facula.distributions.normal import Normal
from facula.distributions.pareto import Pareto
from facula.distributions.poisson import Poisson
from facula.distributions.uniform import Uniform
from facula.distributions.utils import euler_constant

_LOG_2PI = math.log(2 * math.pi)

# ---- infinite ones, by a tensor of p that has the batch's shape -----------------------------------------------------

for _p, _shaped, _qs in (
    (Beta, "concentration1", (Pareto,)),
    (ContinuousBernoulli, "probs", (Pareto,)),
    (Exponential, "rate", (Beta, ContinuousBernoulli, Pareto, Uniform)),
    (Gamma, "concentration", (Beta, ContinuousBernoulli, Pareto, Uniform)),
    (Gumbel, "loc", (Beta, ContinuousBernoulli, Exponential, Gamma, Pareto, Uniform)),
    (Laplace, "loc", (Beta, ContinuousBernoulli, Exponential, Gamma, Pareto, Uniform)),
    (Normal, "loc", (Beta, ContinuousBernoulli, Exponential, Gamma, Pareto, Uniform)),
    (Pareto, "scale", (Beta, ContinuousBernoulli, Uniform)),
    (Poisson, "rate", (Bernoulli, Binomial)),
):
    for _q in _qs:
        @register_kl(_p, _q)
        def _infinite(p: Any, q: Any, shaped: str = _shaped) -> Any:
            return infinite_like(getattr(p, shaped))


# ---- on [0, 1] ------------------------------------------------------------------------------------------------------


@register_kl(Bernoulli, Poisson)
def _bernoulli_poisson(p: Any, q: Any) -> Any:
    return -p.entropy() - (p.probs * q.rate.log() - q.rate)


@register_kl(Beta, ContinuousBernoulli)
def _beta_continuous_bernoulli(p: Any, q: Any) -> Any:
    return -p.entropy() - p.mean * q.logits - facula.log1p(-q.probs) - q._cont_bern_log_norm()


@register_kl(Beta, Exponential)
@register_kl(ContinuousBernoulli, Exponential)
@register_kl(Gamma, Exponential)
def _to_exponential(p: Any, q: Any) -> Any:
    return -p.entropy() - q.rate.log() + q.rate * p.mean


@register_kl(Beta, Gamma)
def _beta_gamma(p: Any, q: Any) -> Any:
    mean_log = facula.digamma(p.concentration1) - facula.digamma(p.concentration1 + p.concentration0)
    return (-p.entropy() + q.concentration.lgamma() - q.concentration * q.rate.log()
            - (q.concentration - 1) * mean_log + q.rate * p.mean)


@register_kl(Beta, Normal)
@register_kl(ContinuousBernoulli, Normal)
def _to_normal(p: Any, q: Any) -> Any:
    square = q.scale.pow(2)
    return -p.entropy() + 0.5 * (square.log() + _LOG_2PI) + 0.5 * (p.variance + (p.mean - q.loc).pow(2)) / square


@register_kl(Beta, Uniform)
@register_kl(ContinuousBernoulli, Uniform)
def _to_uniform(p: Any, q: Any) -> Any:
    found = -p.entropy() + (q.high - q.low).log()
    low, high = p.support.lower_bound, p.support.upper_bound
    return infinite_where((q.low > low) | (q.high < high), found)


# ---- of an exponential, a gamma, a Gumbel, a Laplace, a normal number -----------------------------------------------


@register_kl(Exponential, Gamma)
def _exponential_gamma(p: Any, q: Any) -> Any:
    ratio = q.rate / p.rate
    return (-q.concentration * facula.log(ratio) + ratio + q.concentration.lgamma()
            + q.concentration * euler_constant - (1 + euler_constant))


@register_kl(Exponential, Gumbel)
def _exponential_gumbel(p: Any, q: Any) -> Any:
    product, ratio = p.rate * q.scale, q.loc / q.scale
    return product.log() - 1 - ratio + facula.exp(ratio) * product / (product + 1) + product.reciprocal()


@register_kl(Exponential, Normal)
def _exponential_normal(p: Any, q: Any) -> Any:
    square, rate_square = q.scale.pow(2), p.rate.pow(2)
    return (0.5 * facula.log(rate_square * square * 2 * math.pi) - 1
            + (rate_square.reciprocal() - q.loc / p.rate + q.loc.pow(2) * 0.5) / square)


@register_kl(Gamma, Gumbel)
def _gamma_gumbel(p: Any, q: Any) -> Any:
    product, ratio = p.rate * q.scale, q.loc / q.scale
    a = p.concentration
    return ((a - 1) * a.digamma() - a.lgamma() - a + product.log() + a / product
            + facula.exp(ratio) * (1 + product.reciprocal()).pow(-a) - ratio)


@register_kl(Gamma, Normal)
def _gamma_normal(p: Any, q: Any) -> Any:
    square, rate_square, a = q.scale.pow(2), p.rate.pow(2), p.concentration
    return (0.5 * facula.log(rate_square * square * 2 * math.pi) - a - a.lgamma() + (a - 1) * a.digamma()
            + (0.5 * (a.pow(2) + a) / rate_square - q.loc * a / p.rate + 0.5 * q.loc.pow(2)) / square)


@register_kl(Gumbel, Normal)
def _gumbel_normal(p: Any, q: Any) -> Any:
    ratio = p.scale / q.scale
    return (-(ratio / math.sqrt(2 * math.pi)).log() + (math.pi * ratio * 0.5).pow(2) / 3
            + ((p.loc + p.scale * euler_constant - q.loc) / q.scale).pow(2) * 0.5 - (euler_constant + 1))


@register_kl(Laplace, Normal)
def _laplace_normal(p: Any, q: Any) -> Any:
    square = q.scale.pow(2)
    ratio = p.scale.pow(2) / square
    return -0.5 * facula.log(2 * ratio / math.pi) + ratio + 0.5 * (p.loc - q.loc).pow(2) / square - 1


@register_kl(Normal, Gumbel)
def _normal_gumbel(p: Any, q: Any) -> Any:
    mean, square, loc = p.loc / q.scale, (p.scale / q.scale).pow(2), q.loc / q.scale
    return (-0.5 * square.log() + mean - loc + facula.exp(-mean + 0.5 * square + loc) - 0.5 * (1 + _LOG_2PI))


@register_kl(Normal, Laplace)
def _normal_laplace(p: Any, q: Any) -> Any:
    distance = p.loc - q.loc
    relative = distance / p.scale
    mean = (math.sqrt(2 / math.pi) * p.scale * facula.exp(-0.5 * relative.pow(2))
            + distance * facula.erf(math.sqrt(0.5) * relative))  # of |x - q.loc|
    return -(p.scale / q.scale).log() + mean / q.scale - 0.5 * (1 + math.log(0.5 * math.pi))


# ---- of a Pareto number ---------------------------------------------------------------------------------------------


@register_kl(Pareto, Exponential)
def _pareto_exponential(p: Any, q: Any) -> Any:
    product = p.scale * q.rate
    found = (p.alpha / product).log() - p.alpha.reciprocal() + p.alpha * product / (p.alpha - 1) - 1
    return infinite_where(p.alpha <= 1, found)


@register_kl(Pareto, Gamma)
def _pareto_gamma(p: Any, q: Any) -> Any:
    mean_log = p.scale.log() + p.alpha.reciprocal()
    found = (p.alpha.log() - mean_log + q.concentration.lgamma() - q.concentration * q.rate.log()
             + (1 - q.concentration) * mean_log + q.rate * p.alpha * p.scale / (p.alpha - 1) - 1)
    return infinite_where(p.alpha <= 1, found)


@register_kl(Pareto, Normal)
def _pareto_normal(p: Any, q: Any) -> Any:
    common = p.scale / (p.alpha - 1)
    found = ((math.sqrt(2 * math.pi) * q.scale * p.alpha / p.scale).log() - p.alpha.reciprocal()
             + (p.alpha * common.pow(2) / (p.alpha - 2) + (p.alpha * common - q.loc).pow(2)) / (2 * q.scale.pow(2)) - 1)
    return infinite_where(p.alpha <= 2, found)


# ---- of a uniform number --------------------------------------------------------------------------------------------


def _mean_log(low: Any, high: Any) -> Any:
    """Of the logarithm of a number uniform in [low, high]."""
    return (x_log_x(high) - x_log_x(low)) / (high - low) - 1


@register_kl(Uniform, Beta)
def _uniform_beta(p: Any, q: Any) -> Any:
    a, b = q.concentration1, q.concentration0
    found = ((1 - b) * _mean_log(1 - p.high, 1 - p.low) + a.lgamma() + b.lgamma() - (a + b).lgamma()
             - (p.high - p.low).log() - (a - 1) * _mean_log(p.low, p.high))
    return infinite_where((p.high > q.support.upper_bound) | (p.low < q.support.lower_bound), found)


@register_kl(Uniform, ContinuousBernoulli)
def _uniform_continuous_bernoulli(p: Any, q: Any) -> Any:
    found = -p.entropy() - p.mean * q.logits - facula.log1p(-q.probs) - q._cont_bern_log_norm()
    return infinite_where((p.high >= q.support.upper_bound) | (p.low <= q.support.lower_bound), found)


@register_kl(Uniform, Exponential)
def _uniform_exponential(p: Any, q: Any) -> Any:
    found = q.rate * (p.high + p.low) / 2 - ((p.high - p.low) * q.rate).log()
    return infinite_where(p.low < q.support.lower_bound, found)


@register_kl(Uniform, Gamma)
def _uniform_gamma(p: Any, q: Any) -> Any:
    found = (-(p.high - p.low).log() + q.concentration.lgamma() - q.concentration * q.rate.log()
             + (1 - q.concentration) * _mean_log(p.low, p.high) + q.rate * (p.high + p.low) / 2)
    return infinite_where(p.low < q.support.lower_bound, found)


@register_kl(Uniform, Gumbel)
def _uniform_gumbel(p: Any, q: Any) -> Any:
    common = q.scale / (p.high - p.low)
    high, low = (p.high - q.loc) / q.scale, (p.low - q.loc) / q.scale
    return common.log() + 0.5 * (high + low) - common * (facula.exp(-high) - facula.exp(-low))


@register_kl(Uniform, Normal)
def _uniform_normal(p: Any, q: Any) -> Any:
    common = p.high - p.low
    return ((math.sqrt(2 * math.pi) * q.scale / common).log()
            + 0.5 * (common.pow(2) / 12 + ((p.high + p.low - 2 * q.loc) / 2).pow(2)) / q.scale.pow(2))


@register_kl(Uniform, Pareto)
def _uniform_pareto(p: Any, q: Any) -> Any:
    found = (_mean_log(p.low, p.high) * (q.alpha + 1)
             - (q.alpha.log() + q.alpha * q.scale.log() + (p.high - p.low).log()))
    return infinite_where(p.low < q.support.lower_bound, found)
