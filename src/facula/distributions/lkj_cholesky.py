"""The distribution of Cholesky factors of correlation matrices."""

from __future__ import annotations

import math
from typing import Any

import facula
from facula.distributions import constraints
from facula.distributions.beta import Beta
from facula.distributions.distribution import Distribution
from facula.distributions.utils import broadcast_all
from facula.size import Size

__all__ = ["LKJCholesky"]


class LKJCholesky(Distribution):
    """Cholesky factors (dim, dim) of correlation matrices M with a density proportional to det(M)^(concentration - 1)
    (Lewandowski, Kurowicka and Joe 2009, "Generating random correlation matrices based on vines and extended onion
    method").

    Args:
        dim: rows; ValueError below 2. concentration: 1 is uniform, more is closer to the identity.

    Example:
        >>> import facula
        >>> from facula.distributions import LKJCholesky
        >>> ((LKJCholesky(3, 1.0).sample() ** 2).sum(-1) - 1).abs().max() < 1e-6
        tensor(True)
    """

    arg_constraints = {"concentration": constraints.positive}
    support = constraints.corr_cholesky

    def __init__(self, dim: int, concentration: Any = 1.0, validate_args: bool | None = None) -> None:
        if dim < 2:
            raise ValueError(f"Expected dim to be an integer greater than or equal to 2. Found dim={dim}.")
        self.dim = dim
        self.concentration, = broadcast_all(concentration)
        batch_shape = self.concentration.size()
        # The onion method: each row's length but for the diagonal is the root of a beta number.
        marginal = self.concentration + 0.5 * (self.dim - 2)
        offset = facula.arange(self.dim - 1, dtype=self.concentration.dtype, device=self.concentration.device)
        offset = facula.cat([offset.new_zeros((1,)), offset])
        self._beta = Beta(offset + 0.5, marginal.unsqueeze(-1) - 0.5 * offset)
        super().__init__(batch_shape, Size((dim, dim)), validate_args)

    def expand(self, batch_shape: Any, _instance: Any = None) -> Any:
        new = self._get_checked_instance(LKJCholesky, _instance)
        batch_shape = Size(batch_shape)
        new.dim, new.concentration = self.dim, self.concentration.expand(batch_shape)
        new._beta = self._beta.expand(batch_shape + (self.dim,))
        return self._finish(new, LKJCholesky, batch_shape)

    def sample(self, sample_shape: Any = Size()) -> Any:  # noqa: B008
        with facula.no_grad():
            y = self._beta.sample(sample_shape).unsqueeze(-1)
            normal = facula.randn(self._extended_shape(sample_shape), dtype=y.dtype, device=y.device).tril(-1)
            sphere = normal / normal.norm(dim=-1, keepdim=True)
            sphere[..., 0, :].fill_(0.0)  # 0/0: the first row has nothing but its diagonal
            w = facula.sqrt(y) * sphere
            eps = facula.finfo(w.dtype).tiny
            diagonal = facula.clamp(1 - facula.sum(w**2, dim=-1), min=eps).sqrt()
            return w + facula.diag_embed(diagonal)

    def log_prob(self, value: Any) -> Any:
        if self._validate_args:
            self._validate_sample(value)
        diagonal = value.diagonal(dim1=-1, dim2=-2)[..., 1:]
        order = facula.arange(2, self.dim + 1, device=self.concentration.device)
        order = 2 * (self.concentration - 1).unsqueeze(-1) + self.dim - order
        unnormalized = facula.sum(order * diagonal.log(), dim=-1)
        rest = self.dim - 1
        alpha = self.concentration + 0.5 * rest
        normalizer = (0.5 * rest * math.log(math.pi) + facula.mvlgamma(alpha - 0.5, rest)
                      - facula.lgamma(alpha) * rest)
        return unnormalized - normalizer
