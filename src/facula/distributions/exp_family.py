"""`ExponentialFamily`: distributions whose entropy and divergences follow from one function."""

from __future__ import annotations

from typing import Any

import facula
from facula.distributions.distribution import Distribution

__all__ = ["ExponentialFamily"]


class ExponentialFamily(Distribution):
    """p(x) = exp(<t(x), eta> - F(eta) + k(x)): eta are the natural parameters, F the log normalizer.

    The gradient of F by eta is the mean of t(x), so entropies come from F alone (Nielsen and Nock 2010, "Entropies and
    cross-entropies of exponential families").
    """

    @property
    def _natural_params(self) -> tuple[Any, ...]:
        """The natural parameters, made of the others."""
        raise NotImplementedError

    def _log_normalizer(self, *natural_params: Any) -> Any:
        """F of the natural parameters."""
        raise NotImplementedError

    @property
    def _mean_carrier_measure(self) -> Any:
        """The mean of k(x)."""
        raise NotImplementedError

    def entropy(self) -> Any:
        """F(eta) - <eta, grad F(eta)> less the mean of k(x)."""
        result = -self._mean_carrier_measure
        params = [p.detach().requires_grad_() for p in self._natural_params]
        log_normalizer = self._log_normalizer(*params)
        gradients = facula.autograd.grad(log_normalizer.sum(), params, create_graph=True)
        result = result + log_normalizer
        for p, g in zip(params, gradients, strict=True):
            result = result - (p * g).reshape((*self._batch_shape, -1)).sum(-1)
        return result
