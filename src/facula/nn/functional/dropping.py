"""Dropout as functions."""

from __future__ import annotations

import math
from typing import Any

import facula
from facula.errors import warn
from facula.ops.registry import functional


def _check_probability(p: float) -> None:
    if p < 0.0 or p > 1.0:
        raise ValueError(f"dropout probability has to be between 0 and 1, but got {p}")


def _drawn(input: Any, shape: Any, keep: float) -> Any:
    """Ones with probability `keep`, else zeros. No shape: one for each element, in the order of the input's memory."""
    mask = facula.empty_like(input) if shape is None else \
        facula.empty(shape, dtype=input.dtype, device=input.device)
    return mask.bernoulli_(keep)


def _apply(input: Any, p: float, shape: Any, inplace: bool) -> Any:
    """Multiply by a mask of `shape` that is 0 with probability p and 1 / (1 - p) else."""
    if p == 1:
        return input.zero_() if inplace else input * facula.zeros((), dtype=input.dtype, device=input.device)
    keep = 1 - p
    noise = _drawn(input, shape, keep).div_(keep)
    return input.mul_(noise) if inplace else input * noise


@functional(also=("dropout",))
def dropout(input: Any, p: float = 0.5, training: bool = True, inplace: bool = False) -> Any:
    """While training, sets each element to 0 with probability `p` and divides the others by 1 - p.

    Raises:
        ValueError: `p` is not within [0, 1].

    Example:
        >>> import facula
        >>> facula.nn.functional.dropout(facula.ones(2), training=False)
        tensor([1., 1.])
    """
    _check_probability(p)
    if not training or p == 0 or input.numel() == 0:
        return input
    return _apply(input, p, None, inplace)


def _channel_shape(input: Any) -> Any:
    return tuple(input.shape[:2]) + (1,) * (input.dim() - 2)


def _feature_dropout(input: Any, p: float, training: bool, inplace: bool) -> Any:
    if not training or p == 0 or input.numel() == 0:
        return input
    if input.dim() < 2:
        raise RuntimeError("Feature dropout requires at least 2 dimensions in the input")
    return _apply(input, p, _channel_shape(input), inplace)


def _dropout_nd(name: str, input: Any, p: float, training: bool, inplace: bool) -> Any:
    """Channels of (N, C, spatial...); one dimension less means no batch."""
    _check_probability(p)
    dims = input.dim()
    if name == "dropout1d":
        if dims not in (2, 3):
            raise RuntimeError(f"dropout1d: Expected 2D or 3D input, but received a {dims}D input. Note that "
                               "dropout1d exists to provide channel-wise dropout on inputs with 1 spatial "
                               "dimension, a channel dimension, and an optional batch dimension (i.e. 2D or "
                               "3D inputs).")
        batched = dims == 3
    elif name == "dropout2d":
        if dims not in (3, 4):
            warn(f"dropout2d: Received a {dims}-D input to dropout2d, which is deprecated and will "
                 "result in an error in a future release. To retain the behavior and silence this "
                 "warning, please use dropout instead. Note that dropout2d exists to provide "
                 "channel-wise dropout on inputs with 2 spatial dimensions, a channel dimension, "
                 "and an optional batch dimension (i.e. 3D or 4D inputs).")
        if dims == 3:
            warn("dropout2d: Received a 3D input to dropout2d and assuming that channel-wise 1D "
                 "dropout behavior is desired - input is interpreted as shape (N, C, L), where C is "
                 "the channel dim. This behavior will change in a future release to interpret the "
                 "input as one without a batch dimension, i.e. shape (C, H, W). To maintain the 1D "
                 "channel-wise dropout behavior, please switch to using dropout1d instead.")
        batched = True
    else:
        if dims not in (4, 5):
            warn(f"dropout3d: Received a {dims}-D input to dropout3d, which is deprecated and will "
                 "result in an error in a future release. To retain the behavior and silence this "
                 "warning, please use dropout instead. Note that dropout3d exists to provide "
                 "channel-wise dropout on inputs with 3 spatial dimensions, a channel dimension, "
                 "and an optional batch dimension (i.e. 4D or 5D inputs).")
        batched = dims == 5
    if batched:
        return _feature_dropout(input, p, training, inplace)
    view = input.unsqueeze_(0) if inplace else input.unsqueeze(0)
    result = _feature_dropout(view, p, training, inplace)
    return result.squeeze_(0) if inplace else result.squeeze(0)


@functional
def dropout1d(input: Any, p: float = 0.5, training: bool = True, inplace: bool = False) -> Any:
    """Drops whole channels of (N, C, L) or (C, L)."""
    return _dropout_nd("dropout1d", input, p, training, inplace)


@functional
def dropout2d(input: Any, p: float = 0.5, training: bool = True, inplace: bool = False) -> Any:
    """Drops whole channels of (N, C, H, W)."""
    return _dropout_nd("dropout2d", input, p, training, inplace)


@functional
def dropout3d(input: Any, p: float = 0.5, training: bool = True, inplace: bool = False) -> Any:
    """Drops whole channels of (N, C, D, H, W) or (C, D, H, W)."""
    return _dropout_nd("dropout3d", input, p, training, inplace)


_ALPHA = 1.7580993408473766  # -SELU's scale times its alpha: what a dropped unit is set to, negated


def _alpha_dropout(input: Any, p: float, shape: Any, inplace: bool) -> Any:
    if p == 1:
        return _apply(input, 1, shape, inplace)
    scale = 1.0 / math.sqrt((_ALPHA * _ALPHA * p + 1) * (1 - p))
    noise = _drawn(input, shape, 1 - p)
    shift = noise.add(-1).mul_(_ALPHA * scale).add_(_ALPHA * scale * p)
    noise = noise.mul_(scale)
    return input.mul_(noise).add_(shift) if inplace else input * noise + shift


@functional(also=("alpha_dropout",))
def alpha_dropout(input: Any, p: float = 0.5, training: bool = False, inplace: bool = False) -> Any:
    """Dropout that keeps zero mean and unit variance of SELU's outputs."""
    _check_probability(p)
    if not training or p == 0 or input.numel() == 0:
        return input
    return _alpha_dropout(input, p, None, inplace)


@functional(also=("feature_alpha_dropout",))
def feature_alpha_dropout(input: Any, p: float = 0.5, training: bool = False, inplace: bool = False) -> Any:
    """`alpha_dropout` of whole channels of (N, C, *)."""
    _check_probability(p)
    if not training or p == 0 or input.numel() == 0:
        return input
    if input.dim() < 2 and p < 1:
        raise RuntimeError("Feature dropout requires at least 2 dimensions in the input")
    return _alpha_dropout(input, p, _channel_shape(input), inplace)
