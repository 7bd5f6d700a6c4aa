"""Kullback and Leibler's divergences (`torch.distributions.kl`).

    registry.py    kl_divergence, register_kl
    alike.py       of two distributions of one family
    mixed.py       of distributions on the same numbers, and infinite ones
    gaussians.py   of multivariate normal distributions, Independent, transformed ones

Example:
    >>> import facula
    >>> from facula.distributions import Exponential, Gamma, kl_divergence
    >>> kl_divergence(Exponential(1.0), Gamma(1.0, 1.0))
    tensor(0.)
"""

from __future__ import annotations

from facula.distributions.kl import alike, gaussians, mixed  # noqa: F401  (they register)
from facula.distributions.kl.registry import _KL_REGISTRY, kl_divergence, register_kl

__all__ = ["_KL_REGISTRY", "kl_divergence", "register_kl"]
