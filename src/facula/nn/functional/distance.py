"""Distances, similarities and normalization to unit length."""

from __future__ import annotations

from typing import Any

import facula
from facula.ops.registry import DTYPE_NAMES, functional


@functional(also=("pairwise_distance",))
def pairwise_distance(x1: Any, x2: Any, p: float = 2.0, eps: float = 1e-6, keepdim: bool = False) -> Any:
    """The p-norm of `x1 - x2 + eps` along the last dimension."""
    return facula.norm(x1 - x2 + eps, p, dim=-1, keepdim=keepdim)


@functional(also=("cosine_similarity",))
def cosine_similarity(x1: Any, x2: Any, dim: int = 1, eps: float = 1e-8) -> Any:
    """The cosine of the angle between `x1` and `x2` along `dim`; lengths below `eps` count as `eps`.

    Raises:
        RuntimeError: integers.

    Example:
        >>> import facula
        >>> facula.nn.functional.cosine_similarity(facula.ones(1, 2), -facula.ones(1, 2)).item() < -0.99
        True
    """
    dtype = facula.promote_types(x1.dtype, x2.dtype)
    if not dtype.is_floating_point:
        raise RuntimeError(f"expected common dtype to be floating point, yet common dtype is {DTYPE_NAMES[dtype.name]}")
    x1, x2 = facula.broadcast_tensors(x1.to(dtype), x2.to(dtype))
    first, second = _length(x1, dim, eps), _length(x2, dim, eps)
    return ((x1 / first) * (x2 / second)).sum(dim)


def _length(x: Any, dim: int, eps: float) -> Any:
    """Norms that are at least eps. Where eps took over, the gradient still is the norm's, as in PyTorch."""
    norm = facula.norm(x, 2, dim=dim, keepdim=True).clone()
    with facula.no_grad():
        norm.clamp_(min=eps)
    return norm


@functional
def normalize(input: Any, p: float = 2.0, dim: Any = 1, eps: float = 1e-12, out: Any = None) -> Any:
    """`x / max(|x|_p, eps)` along `dim`.

    Example:
        >>> import facula
        >>> facula.nn.functional.normalize(facula.tensor([[3.0, 4.0]]))
        tensor([[0.6000, 0.8000]])
    """
    length = input.norm(p, dim, keepdim=True).clamp(min=eps)
    if out is None:
        return input / length
    return facula.div(input, length.expand_as(input), out=out)


@functional
def pdist(input: Any, p: float = 2.0) -> Any:
    """The p-norm distances of all pairs of rows of (N, D): (N * (N - 1) / 2)."""
    if p < 0:
        raise RuntimeError("pdist only supports non-negative p values")
    return facula.pdist(input, p)
