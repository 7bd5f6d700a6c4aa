"""The generalized Pareto distribution."""

from __future__ import annotations

import math
from typing import Any

import facula
from facula.distributions import constraints
from facula.distributions.distribution import Distribution
from facula.distributions.utils import broadcast_all
from facula.size import Size

__all__ = ["GeneralizedPareto"]


class GeneralizedPareto(Distribution):
    """What lies beyond a threshold `loc`: P(X > x) = (1 + concentration z)^(-1 / concentration), z = (x - loc) / scale;
    exp(-z) for a concentration of 0, and for a negative one an end at loc - scale / concentration.

    Example:
        >>> import facula
        >>> from facula.distributions import GeneralizedPareto
        >>> GeneralizedPareto(0.0, 1.0, 0.5).cdf(facula.tensor(2.0))
        tensor(0.7500)
    """

    arg_constraints = {"loc": constraints.real, "scale": constraints.positive, "concentration": constraints.real}
    has_rsample = True

    def __init__(self, loc: Any, scale: Any, concentration: Any, validate_args: bool | None = None) -> None:
        self.loc, self.scale, self.concentration = broadcast_all(loc, scale, concentration)
        numbers = all(isinstance(x, (int, float)) for x in (loc, scale, concentration))
        super().__init__(Size() if numbers else self.loc.size(), validate_args=validate_args)

    def expand(self, batch_shape: Any, _instance: Any = None) -> Any:
        return self._expanded(GeneralizedPareto, batch_shape, _instance, ("loc", "scale", "concentration"))

    def _z(self, x: Any) -> Any:
        return (x - self.loc) / self.scale

    def _zero(self) -> tuple[Any, Any]:
        """Where the concentration is 0; and the concentration with 1 there."""
        zero = facula.isclose(self.concentration, facula.zeros_like(self.concentration))
        return zero, facula.where(zero, 1.0, self.concentration)

    def rsample(self, sample_shape: Any = Size()) -> Any:  # noqa: B008
        shape = self._extended_shape(sample_shape)
        return self.icdf(facula.rand(shape, dtype=self.loc.dtype, device=self.loc.device))

    def log_prob(self, value: Any) -> Any:
        if self._validate_args:
            self._validate_sample(value)
        z = self._z(value)
        zero, k = self._zero()
        beyond = -(1 / k + 1) * facula.log1p(k * z)
        return facula.where(zero, -z, beyond) - self.scale.log()

    def log_survival_function(self, value: Any) -> Any:
        """log P(X > value)."""
        if self._validate_args:
            self._validate_sample(value)
        z = self._z(value)
        zero, k = self._zero()
        return facula.where(zero, -z, -facula.log1p(k * z) / k)

    def log_cdf(self, value: Any) -> Any:
        """log P(X <= value)."""
        return facula.log1p(-facula.exp(self.log_survival_function(value)))

    def cdf(self, value: Any) -> Any:
        return facula.exp(self.log_cdf(value))

    def icdf(self, value: Any) -> Any:
        zero, k = self._zero()
        log_left = facula.log1p(-value)
        return self.loc + self.scale * facula.where(zero, -log_left, facula.expm1(-k * log_left) / k)

    @property
    def mean(self) -> Any:
        k = self.concentration
        return facula.where(k < 1, self.loc + self.scale / (1 - facula.where(k < 1, k, 0.5)), math.inf)

    @property
    def variance(self) -> Any:
        k = facula.where(self.concentration < 0.5, self.concentration, 0.25)
        finite = self.scale**2 / ((1 - k)**2 * (1 - 2 * k))
        return facula.where(self.concentration < 0.5, finite, math.inf)

    def entropy(self) -> Any:
        return facula.log(self.scale) + self.concentration + 1

    @property
    def mode(self) -> Any:
        return self.loc

    @constraints.dependent_property(is_discrete=False, event_dim=0)
    def support(self) -> Any:  # type: ignore[override]
        k = facula.where(self.concentration < 0, self.concentration, -1.0)
        upper = facula.where(self.concentration < 0, self.loc - self.scale / k, math.inf)
        return constraints.interval(self.loc, upper)
