"""Divergences of multivariate normal distributions, and of distributions made of others."""

from __future__ import annotations

from typing import Any

import facula
from facula.distributions.independent import Independent
from facula.distributions.kl.registry import kl_divergence, register_kl
from facula.distributions.lowrank_multivariate_normal import (
    LowRankMultivariateNormal,
    _batch_lowrank_logdet,
    _batch_lowrank_mahalanobis,
)
from facula.distributions.multivariate_normal import MultivariateNormal, _batch_mahalanobis
from facula.distributions.transformed_distribution import TransformedDistribution
from facula.distributions.utils import _sum_rightmost


def _trace_of_square(matrix: Any) -> Any:
    """The trace of M M^T: the sum of the squares."""
    return matrix.pow(2).sum((-2, -1))


def _log_det(p: Any) -> Any:
    if isinstance(p, LowRankMultivariateNormal):
        return _batch_lowrank_logdet(p._unbroadcasted_cov_factor, p._unbroadcasted_cov_diag, p._capacitance_tril)
    return 2 * p._unbroadcasted_scale_tril.diagonal(dim1=-2, dim2=-1).log().sum(-1)


def _roots(p: Any) -> list[Any]:
    """Matrices whose squares M M^T add up to the covariance."""
    if isinstance(p, LowRankMultivariateNormal):
        return [p._unbroadcasted_cov_factor, p._unbroadcasted_cov_diag.sqrt().diag_embed()]
    return [p._unbroadcasted_scale_tril]


def _distance(q: Any, x: Any) -> Any:
    """x^T C^-1 x of q's covariance C."""
    if isinstance(q, LowRankMultivariateNormal):
        return _batch_lowrank_mahalanobis(q._unbroadcasted_cov_factor, q._unbroadcasted_cov_diag, x,
                                          q._capacitance_tril)
    return _batch_mahalanobis(q._unbroadcasted_scale_tril, x)


def _trace(q: Any, root: Any) -> Any:
    """The trace of C^-1 M M^T, of q's covariance C."""
    if isinstance(q, LowRankMultivariateNormal):
        # Woodbury: C^-1 = D^-1 - A^T A
        inner = q._unbroadcasted_cov_factor.mT / q._unbroadcasted_cov_diag.unsqueeze(-2)
        A = facula.linalg.solve_triangular(q._capacitance_tril, inner, upper=False)
        scaled = root * q._unbroadcasted_cov_diag.rsqrt().unsqueeze(-1)
        return _trace_of_square(scaled) - _trace_of_square(A.matmul(root))
    n = q.event_shape[0]
    batch = facula.broadcast_shapes(q._unbroadcasted_scale_tril.shape[:-2], root.shape[:-2])
    lower = q._unbroadcasted_scale_tril.expand((*batch, n, n))
    return _trace_of_square(facula.linalg.solve_triangular(lower, root.expand((*batch, n, root.shape[-1])),
                                                           upper=False))


@register_kl(MultivariateNormal, MultivariateNormal)
@register_kl(LowRankMultivariateNormal, LowRankMultivariateNormal)
@register_kl(MultivariateNormal, LowRankMultivariateNormal)
@register_kl(LowRankMultivariateNormal, MultivariateNormal)
def _normal(p: Any, q: Any) -> Any:
    if p.event_shape != q.event_shape:
        raise ValueError(f"KL-divergence between two {type(p).__name__} and {type(q).__name__} with different event "
                         "shapes cannot be computed")
    traces = sum(_trace(q, root) for root in _roots(p))
    return 0.5 * (_log_det(q) - _log_det(p) + traces + _distance(q, q.loc - p.loc) - p.event_shape[0])


@register_kl(Independent, Independent)
def _independent(p: Any, q: Any) -> Any:
    if p.reinterpreted_batch_ndims != q.reinterpreted_batch_ndims:
        raise NotImplementedError("KL of Independents with different reinterpreted_batch_ndims")
    return _sum_rightmost(kl_divergence(p.base_dist, q.base_dist), p.reinterpreted_batch_ndims)


@register_kl(TransformedDistribution, TransformedDistribution)
def _transformed(p: Any, q: Any) -> Any:
    """A transform changes nothing of the divergence."""
    if p.transforms != q.transforms or p.event_shape != q.event_shape:
        raise NotImplementedError("KL of distributions that are transformed in different ways")
    return kl_divergence(p.base_dist, q.base_dist)
