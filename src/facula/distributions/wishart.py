"""Wishart's distribution."""

from __future__ import annotations

import math
from typing import Any

import facula
from facula.distributions import constraints
from facula.distributions.chi2 import Chi2
from facula.distributions.exp_family import ExponentialFamily
from facula.distributions.multivariate_normal import _precision_to_scale_tril
from facula.distributions.utils import lazy_property
from facula.errors import warn
from facula.size import Size

__all__ = ["Wishart"]

_log_2 = math.log(2)


def _mvdigamma(x: Any, p: int) -> Any:
    """The derivative of mvlgamma."""
    halves = facula.arange(p, dtype=x.dtype, device=x.device).div(2)
    return facula.digamma(x.unsqueeze(-1) - halves.expand(x.shape + (-1,))).sum(-1)


class Wishart(ExponentialFamily):
    """Positive definite matrices (..., D, D): X^T X of `df` normal vectors as rows of X.

    Args:
        df: degrees of freedom, more than D - 1.
        covariance_matrix, precision_matrix, scale_tril: one of them, (..., D, D), as of MultivariateNormal.

    Example:
        >>> import facula
        >>> from facula.distributions import Wishart
        >>> Wishart(facula.tensor(3.0), facula.eye(2)).mean
        tensor([[3., 0.],
                [0., 3.]])
    """

    support = constraints.positive_definite
    has_rsample = True
    _mean_carrier_measure = 0

    @property
    def arg_constraints(self) -> dict[str, Any]:
        return {"covariance_matrix": constraints.positive_definite, "precision_matrix": constraints.positive_definite,
                "scale_tril": constraints.lower_cholesky, "df": constraints.greater_than(self.event_shape[-1] - 1)}

    def __init__(self, df: Any, covariance_matrix: Any = None, precision_matrix: Any = None, scale_tril: Any = None,
                 validate_args: bool | None = None) -> None:
        given = {"covariance_matrix": covariance_matrix, "precision_matrix": precision_matrix,
                 "scale_tril": scale_tril}
        named = [(name, matrix) for name, matrix in given.items() if matrix is not None]
        if len(named) != 1:
            raise AssertionError("Exactly one of covariance_matrix or precision_matrix or scale_tril may be "
                                 "specified.")
        (name, matrix), = named
        if matrix.dim() < 2:
            raise ValueError("scale_tril must be at least two-dimensional, with optional leading batch dimensions")
        if isinstance(df, (int, float)):
            batch_shape = Size(matrix.shape[:-2])
            self.df = facula.tensor(df, dtype=matrix.dtype, device=matrix.device)
        else:
            batch_shape = facula.broadcast_shapes(matrix.shape[:-2], df.shape)
            self.df = df.expand(batch_shape)
        event_shape = matrix.shape[-2:]
        if self.df.le(event_shape[-1] - 1).any():
            raise ValueError(f"Value of df={df} expected to be greater than ndim - 1 = {event_shape[-1] - 1}.")
        setattr(self, name, matrix.expand((*batch_shape, -1, -1)))
        super().__init__(batch_shape, event_shape, validate_args=validate_args)
        if self.df.lt(event_shape[-1]).any():
            warn("Low df values detected. Singular samples are highly likely to occur for ndim - 1 < df < ndim.")
        if name == "scale_tril":
            self._unbroadcasted_scale_tril = scale_tril
        elif name == "covariance_matrix":
            self._unbroadcasted_scale_tril = facula.linalg.cholesky(covariance_matrix)
        else:
            self._unbroadcasted_scale_tril = _precision_to_scale_tril(precision_matrix)
        self._dist_chi2 = self._chi2_of(batch_shape)

    def _chi2_of(self, batch_shape: Any) -> Chi2:
        steps = facula.arange(self._event_shape[-1], dtype=self.df.dtype, device=self.df.device)
        return Chi2(df=self.df.unsqueeze(-1) - steps.expand((*batch_shape, -1)))

    def expand(self, batch_shape: Any, _instance: Any = None) -> Any:
        new = self._get_checked_instance(Wishart, _instance)
        batch_shape = Size(batch_shape)
        new._unbroadcasted_scale_tril = self._unbroadcasted_scale_tril.expand(batch_shape + self.event_shape)
        new.df = self.df.expand(batch_shape)
        for name in ("covariance_matrix", "precision_matrix", "scale_tril"):
            if name in self.__dict__:
                setattr(new, name, getattr(self, name).expand(batch_shape + self.event_shape))
        self._finish(new, Wishart, batch_shape)
        new._dist_chi2 = new._chi2_of(batch_shape)
        return new

    def _whole(self, matrix: Any) -> Any:
        return matrix.expand(self._batch_shape + self._event_shape)

    @lazy_property
    def scale_tril(self) -> Any:
        """The Cholesky factor of the vectors' covariance."""
        return self._whole(self._unbroadcasted_scale_tril)

    @lazy_property
    def covariance_matrix(self) -> Any:
        """The vectors' covariance."""
        return self._whole(self._unbroadcasted_scale_tril @ self._unbroadcasted_scale_tril.mT)

    @lazy_property
    def precision_matrix(self) -> Any:
        """Its inverse."""
        L = self._unbroadcasted_scale_tril
        identity = facula.eye(self._event_shape[-1], dtype=L.dtype, device=L.device)
        return self._whole(facula.cholesky_solve(identity, L))

    @property
    def mean(self) -> Any:
        return self.df.view((*self._batch_shape, 1, 1)) * self.covariance_matrix

    @property
    def mode(self) -> Any:
        factor = self.df - self.covariance_matrix.shape[-1] - 1
        factor = facula.where(factor <= 0, facula.nan, factor)
        return factor.view((*self._batch_shape, 1, 1)) * self.covariance_matrix

    @property
    def variance(self) -> Any:
        V = self.covariance_matrix
        diagonal = V.diagonal(dim1=-2, dim2=-1)
        return self.df.view((*self._batch_shape, 1, 1)) * (V.pow(2) + facula.einsum("...i,...j->...ij", diagonal,
                                                                                    diagonal))

    def _bartlett_sampling(self, sample_shape: Any = Size()) -> Any:  # noqa: B008
        """A triangular matrix of normal numbers, with chi numbers on its diagonal, times its transpose."""
        p = self._event_shape[-1]
        noise = self._dist_chi2.rsample(sample_shape).sqrt().diag_embed(dim1=-2, dim2=-1)
        rows, columns = facula.tril_indices(row=p, col=p, offset=-1)
        noise[..., rows, columns] = facula.randn(Size(sample_shape) + self._batch_shape + (p * (p - 1) // 2,),
                                                 dtype=noise.dtype, device=noise.device)
        chol = self._unbroadcasted_scale_tril @ noise
        square = chol @ chol.mT
        return (square + square.mT) / 2  # symmetric to the last bit, as its check wants it

    def rsample(self, sample_shape: Any = Size(), max_try_correction: int | None = None) -> Any:  # noqa: B008
        """Bartlett's decomposition; samples that rounding has made singular are drawn again, a few times.

        Args:
            max_try_correction: how often: 3 of matrices up to 10 rows, else 10.
        """
        tries = max_try_correction
        if tries is None:
            tries = 3 if self._event_shape[-1] > 10 else 10
        sample_shape = Size(sample_shape)
        with facula.no_grad():
            self._bartlett_sampling(sample_shape)  # PyTorch draws every sample twice and gives the second
        sample = self._bartlett_sampling(sample_shape)
        for _ in range(tries):
            singular = ~self.support.check(sample)
            if not singular.any():
                break
            warn("Singular sample detected.")
            sample = facula.where(singular[..., None, None], self._bartlett_sampling(sample_shape), sample)
        return sample

    def _log_diagonal(self) -> Any:
        return self._unbroadcasted_scale_tril.diagonal(dim1=-2, dim2=-1).log().sum(-1)

    def log_prob(self, value: Any) -> Any:
        if self._validate_args:
            self._validate_sample(value)
        nu, p = self.df, self._event_shape[-1]
        trace = facula.cholesky_solve(value, self._unbroadcasted_scale_tril).diagonal(dim1=-2, dim2=-1).sum(-1)
        return (-nu * (p * _log_2 / 2 + self._log_diagonal()) - facula.mvlgamma(nu / 2, p=p)
                + (nu - p - 1) / 2 * facula.linalg.slogdet(value).logabsdet - trace / 2)

    def entropy(self) -> Any:
        nu, p = self.df, self._event_shape[-1]
        return ((p + 1) * (p * _log_2 / 2 + self._log_diagonal()) + facula.mvlgamma(nu / 2, p=p)
                - (nu - p - 1) / 2 * _mvdigamma(nu / 2, p=p) + nu * p / 2)

    @property
    def _natural_params(self) -> tuple[Any, Any]:
        p = self._event_shape[-1]
        return -self.precision_matrix / 2, (self.df - p - 1) / 2

    def _log_normalizer(self, x: Any, y: Any) -> Any:  # type: ignore[override]
        p = self._event_shape[-1]
        return ((y + (p + 1) / 2) * (-facula.linalg.slogdet(-2 * x).logabsdet + _log_2 * p)
                + facula.mvlgamma(y + (p + 1) / 2, p=p))
