"""The von Mises distribution."""

from __future__ import annotations

import math
from typing import Any

import facula
from facula.distributions import constraints
from facula.distributions.distribution import Distribution
from facula.distributions.utils import broadcast_all, lazy_property
from facula.size import Size

__all__ = ["VonMises"]


class VonMises(Distribution):
    """Angles in radians around `loc`, as normal numbers would be on a circle.

    Args:
        concentration: 1 over the variance, roughly.

    Example:
        >>> import facula
        >>> from facula.distributions import VonMises
        >>> VonMises(facula.tensor(0.0), facula.tensor(1.0)).log_prob(facula.tensor(0.0))
        tensor(-1.0738)
    """

    arg_constraints = {"loc": constraints.real, "concentration": constraints.positive}
    support = constraints.real
    has_rsample = False

    def __init__(self, loc: Any, concentration: Any, validate_args: bool | None = None) -> None:
        self.loc, self.concentration = broadcast_all(loc, concentration)
        super().__init__(self.loc.shape, Size(), validate_args)

    def log_prob(self, value: Any) -> Any:
        if self._validate_args:
            self._validate_sample(value)
        # log I0(k) is log(exp(-k) I0(k)) + k
        return (self.concentration * (facula.cos(value - self.loc) - 1) - math.log(2 * math.pi)
                - facula.special.i0e(self.concentration).log())

    @lazy_property
    def _loc(self) -> Any:
        return self.loc.to(facula.double)

    @lazy_property
    def _concentration(self) -> Any:
        return self.concentration.to(facula.double)

    @lazy_property
    def _proposal_r(self) -> Any:
        """Of the wrapped Cauchy distribution that lies above the density."""
        kappa = self._concentration
        tau = 1 + (1 + 4 * kappa**2).sqrt()
        rho = (tau - (2 * tau).sqrt()) / (2 * kappa)
        return facula.where(kappa < 1e-5, 1 / kappa + kappa, (1 + rho**2) / (2 * rho))

    def sample(self, sample_shape: Any = Size()) -> Any:  # noqa: B008
        """By rejection, in double precision (Best and Fisher 1979, "Efficient simulation of the von Mises
        distribution")."""
        shape = self._extended_shape(sample_shape)
        with facula.no_grad():
            x = facula.empty(shape, dtype=facula.double, device=self.loc.device)
            kappa, r = self._concentration.expand(shape), self._proposal_r.expand(shape)
            done = facula.zeros(shape, dtype=facula.bool, device=self.loc.device)
            while not done.all():
                u1, u2, u3 = facula.rand((3, *shape), dtype=facula.double, device=self.loc.device).unbind()
                z = facula.cos(math.pi * u1)
                f = (1 + r * z) / (r + z)
                c = kappa * (r - f)
                accept = ((c * (2 - c) - u2) > 0) | ((c / u2).log() + 1 - c >= 0)
                x = facula.where(accept, (u3 - 0.5).sign() * f.acos(), x)
                done = done | accept
            return ((x + math.pi + self._loc.expand(shape)) % (2 * math.pi) - math.pi).to(self.loc.dtype)

    def expand(self, batch_shape: Any, _instance: Any = None) -> Any:
        return self._expanded(VonMises, batch_shape, _instance, ("loc", "concentration"))

    @property
    def mean(self) -> Any:
        """The angle around which they lie."""
        return self.loc

    @property
    def mode(self) -> Any:
        return self.loc

    @lazy_property
    def variance(self) -> Any:  # type: ignore[override]
        """1 less the length of the mean direction."""
        return 1 - facula.special.i1e(self.concentration) / facula.special.i0e(self.concentration)
