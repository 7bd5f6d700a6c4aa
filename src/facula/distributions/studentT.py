"""Student's t-distribution."""

from __future__ import annotations

import math
from typing import Any

import facula
from facula.distributions import constraints
from facula.distributions.chi2 import Chi2
from facula.distributions.distribution import Distribution
from facula.distributions.utils import broadcast_all, standard_normal
from facula.size import Size

__all__ = ["StudentT"]


class StudentT(Distribution):
    """Student's t-distribution of `df` degrees of freedom, moved by `loc` and stretched by `scale`.

    Example:
        >>> import facula
        >>> from facula.distributions import StudentT
        >>> StudentT(2.0).log_prob(facula.tensor(0.0))
        tensor(-1.0397)
    """

    arg_constraints = {"df": constraints.positive, "loc": constraints.real, "scale": constraints.positive}
    support = constraints.real
    has_rsample = True

    def __init__(self, df: Any, loc: Any = 0.0, scale: Any = 1.0, validate_args: bool | None = None) -> None:
        self.df, self.loc, self.scale = broadcast_all(df, loc, scale)
        self._chi2 = Chi2(self.df)
        super().__init__(self.df.size(), validate_args=validate_args)

    def expand(self, batch_shape: Any, _instance: Any = None) -> Any:
        new = self._expanded(StudentT, batch_shape, _instance, ("df", "loc", "scale"))
        new._chi2 = self._chi2.expand(Size(batch_shape))
        return new

    @property
    def mean(self) -> Any:
        return facula.where(self.df <= 1, math.nan, self.loc)

    @property
    def mode(self) -> Any:
        return self.loc

    @property
    def variance(self) -> Any:
        finite = self.scale.pow(2) * self.df / (self.df - 2)
        found = facula.where(self.df > 2, finite, math.inf)
        return facula.where(self.df <= 1, math.nan, found)

    def rsample(self, sample_shape: Any = Size()) -> Any:  # noqa: B008
        shape = self._extended_shape(sample_shape)
        x = standard_normal(shape, self.df.dtype, self.df.device)
        z = self._chi2.rsample(sample_shape)
        return self.loc + self.scale * (x * facula.rsqrt(z / self.df))

    def _log_normalization(self) -> Any:
        return (self.scale.log() + 0.5 * self.df.log() + 0.5 * math.log(math.pi) + facula.lgamma(0.5 * self.df)
                - facula.lgamma(0.5 * (self.df + 1.0)))

    def log_prob(self, value: Any) -> Any:
        if self._validate_args:
            self._validate_sample(value)
        y = (value - self.loc) / self.scale
        return -0.5 * (self.df + 1.0) * facula.log1p(y**2.0 / self.df) - self._log_normalization()

    def entropy(self) -> Any:
        log_beta = (facula.lgamma(0.5 * self.df) + math.lgamma(0.5) - facula.lgamma(0.5 * (self.df + 1)))
        return (self.scale.log() + 0.5 * (self.df + 1) * (facula.digamma(0.5 * (self.df + 1))
                                                          - facula.digamma(0.5 * self.df))
                + 0.5 * self.df.log() + log_beta)
