"""The continuous Bernoulli distribution."""

from __future__ import annotations

import math
from typing import Any

import facula
from facula.distributions import constraints
from facula.distributions.exp_family import ExponentialFamily
from facula.distributions.odds import Odds
from facula.distributions.utils import broadcast_all, clamp_probs
from facula.nn.functional import binary_cross_entropy_with_logits
from facula.size import Size

__all__ = ["ContinuousBernoulli"]


class ContinuousBernoulli(Odds, ExponentialFamily):
    """Numbers of [0, 1] with the density C probs^x (1 - probs)^(1 - x) (Loaiza-Ganem and Cunningham 2019, "The
    continuous Bernoulli: fixing a pervasive error in variational autoencoders").

    Args:
        probs: of (0, 1), no probabilities though; logits: their log odds.
        lims: between these, around 1/2, where the formulas are 0/0, by Taylor's series.

    Example:
        >>> import facula
        >>> from facula.distributions import ContinuousBernoulli
        >>> ContinuousBernoulli(0.5).log_prob(facula.tensor(0.3)).abs() < 1e-6
        tensor(True)
    """

    arg_constraints = {"probs": constraints.unit_interval, "logits": constraints.real}
    support = constraints.unit_interval
    _mean_carrier_measure = 0
    has_rsample = True

    def __init__(self, probs: Any = None, logits: Any = None, lims: tuple[float, float] = (0.499, 0.501),
                 validate_args: bool | None = None) -> None:
        batch_shape = self._take(probs, logits)
        if probs is not None:
            if validate_args:
                self._expect(constraints.unit_interval, self.probs, "Expected parameter probs {about} of distribution "
                                                                   "{of} to lie in [0, 1]")
            self.probs = clamp_probs(self.probs)
        self._lims = lims
        super().__init__(batch_shape, validate_args=validate_args)

    def expand(self, batch_shape: Any, _instance: Any = None) -> Any:
        new = self._expanded(ContinuousBernoulli, batch_shape, _instance, ("probs", "logits"))
        new._lims = self._lims
        return new

    def _outside_unstable_region(self) -> Any:
        return (self.probs <= self._lims[0]) | (self.probs > self._lims[1])

    def _cut_probs(self) -> Any:
        """The probabilities; those that the formulas do not take, at the edge."""
        return facula.where(self._outside_unstable_region(), self.probs, self._lims[0])

    def _log_odds(self) -> Any:
        """log((1 - p) / p) of the cut probabilities."""
        p = self._cut_probs()
        return facula.log1p(-p) - facula.log(p)

    def _cont_bern_log_norm(self) -> Any:
        """log C = log(2 atanh(1 - 2p) / (1 - 2p))."""
        p = self._cut_probs()
        below, above = facula.where(p <= 0.5, p, 0.0), facula.where(p >= 0.5, p, 1.0)
        log_norm = facula.log(facula.abs(self._log_odds())) - facula.where(
            p <= 0.5, facula.log1p(-2.0 * below), facula.log(2.0 * above - 1.0))
        x = (self.probs - 0.5).pow(2)
        taylor = math.log(2.0) + (4.0 / 3.0 + 104.0 / 45.0 * x) * x
        return facula.where(self._outside_unstable_region(), log_norm, taylor)

    @property
    def mean(self) -> Any:
        p = self._cut_probs()
        mus = p / (2.0 * p - 1.0) + 1.0 / self._log_odds()
        x = self.probs - 0.5
        taylor = 0.5 + (1.0 / 3.0 + 16.0 / 45.0 * x.pow(2)) * x
        return facula.where(self._outside_unstable_region(), mus, taylor)

    @property
    def stddev(self) -> Any:
        return facula.sqrt(self.variance)

    @property
    def variance(self) -> Any:
        p = self._cut_probs()
        found = p * (p - 1.0) / facula.pow(1.0 - 2.0 * p, 2) + 1.0 / facula.pow(self._log_odds(), 2)
        x = (self.probs - 0.5).pow(2)
        taylor = 1.0 / 12.0 - (1.0 / 15.0 - 128.0 / 945.0 * x) * x
        return facula.where(self._outside_unstable_region(), found, taylor)

    def sample(self, sample_shape: Any = Size()) -> Any:  # noqa: B008
        with facula.no_grad():
            return self.rsample(sample_shape)

    def rsample(self, sample_shape: Any = Size()) -> Any:  # noqa: B008
        return self.icdf(facula.rand(self._extended_shape(sample_shape), dtype=self.probs.dtype,
                                     device=self.probs.device))

    def log_prob(self, value: Any) -> Any:
        if self._validate_args:
            self._validate_sample(value)
        logits, value = broadcast_all(self.logits, value)
        return -binary_cross_entropy_with_logits(logits, value, reduction="none") + self._cont_bern_log_norm()

    def cdf(self, value: Any) -> Any:
        if self._validate_args:
            self._validate_sample(value)
        p = self._cut_probs()
        inside = (facula.pow(p, value) * facula.pow(1.0 - p, 1.0 - value) + p - 1.0) / (2.0 * p - 1.0)
        found = facula.where(self._outside_unstable_region(), inside, value)
        return facula.where(value <= 0.0, 0.0, facula.where(value >= 1.0, 1.0, found))

    def icdf(self, value: Any) -> Any:
        p = self._cut_probs()
        inside = (facula.log1p(-p + value * (2.0 * p - 1.0)) - facula.log1p(-p)) / (facula.log(p) - facula.log1p(-p))
        return facula.where(self._outside_unstable_region(), inside, value)

    def entropy(self) -> Any:
        log0, log1 = facula.log1p(-self.probs), facula.log(self.probs)
        return self.mean * (log0 - log1) - self._cont_bern_log_norm() - log0

    @property
    def _natural_params(self) -> tuple[Any]:
        return (self.logits,)

    def _log_normalizer(self, x: Any) -> Any:  # type: ignore[override]
        """log of C's denominator as a function of the log odds."""
        outside = (x <= self._lims[0] - 0.5) | (x > self._lims[1] - 0.5)
        cut = facula.where(outside, x, (self._lims[0] - 0.5) * facula.ones_like(x))
        log_norm = facula.log(facula.abs(facula.special.expm1(cut))) - facula.log(facula.abs(cut))
        taylor = 0.5 * x + facula.pow(x, 2) / 24.0 - facula.pow(x, 4) / 2880.0
        return facula.where(outside, log_norm, taylor)
