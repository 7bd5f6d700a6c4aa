"""What weight and spectral normalization compute, for the parametrizations and the older hooks alike."""

from __future__ import annotations

from typing import Any

import facula
import facula.nn.functional as F
from facula._tensor.handle import Tensor


def lengths(v: Tensor, dim: int) -> Any:
    """The length of each entry of `v` along `dim`, with the other dimensions kept as 1; with -1 that of all of it."""
    return facula.norm_except_dim(v, 2, dim)


def weight_of(v: Tensor, g: Tensor, dim: int) -> Any:
    """`v`, with the lengths `g`."""
    return v * (g / lengths(v, dim))


def weight_matrix(weight: Tensor, dim: int) -> Tensor:
    """`weight` as a matrix, whose rows go along `dim`."""
    if dim:
        weight = weight.permute(dim, *[d for d in range(weight.ndim) if d != dim])
    return weight.flatten(1)


def power_iterations(matrix: Tensor, u: Tensor, v: Tensor, times: int, eps: float) -> None:
    """Move `u` and `v` towards the singular vectors of the largest singular value, in place and off the tape."""
    with facula.no_grad():
        for _ in range(times):
            u.copy_(F.normalize(facula.mv(matrix, v), dim=0, eps=eps))
            v.copy_(F.normalize(facula.mv(matrix.H, u), dim=0, eps=eps))


def estimated(matrix: Tensor, u: Tensor, v: Tensor) -> Any:
    """The singular value of these vectors, which count as constants: the next iteration writes into them."""
    return facula.vdot(u.clone(), facula.mv(matrix, v.clone()))
