"""A convolution or linear layer and the batch norm after it as one layer, for inference."""

from __future__ import annotations

import copy
from typing import Any

import facula
from facula._tensor.handle import Tensor
from facula.nn.parameter import Parameter

__all__ = ["fuse_conv_bn_eval", "fuse_conv_bn_weights", "fuse_linear_bn_eval", "fuse_linear_bn_weights"]


def fuse_conv_bn_eval(conv: Any, bn: Any, transpose: bool = False) -> Any:
    """A convolution that does what `conv` and then `bn` do, both in evaluation mode.

    Args:
        transpose: `conv` is a transposed convolution.

    Raises:
        AssertionError: one of them is in training mode.

    Example:
        >>> import facula
        >>> from facula.nn.utils.fusion import fuse_conv_bn_eval
        >>> conv, bn = facula.nn.Conv2d(1, 2, 3).eval(), facula.nn.BatchNorm2d(2).eval()
        >>> x = facula.randn(1, 1, 4, 4)
        >>> bool(facula.allclose(fuse_conv_bn_eval(conv, bn)(x), bn(conv(x)), atol=1e-6))
        True
    """
    _require_eval(conv, bn)
    fused = copy.deepcopy(conv)
    fused.weight, fused.bias = fuse_conv_bn_weights(
        fused.weight, fused.bias, bn.running_mean, bn.running_var, bn.eps, bn.weight, bn.bias, transpose)
    return fused


def _require_eval(layer: Any, bn: Any) -> None:
    if layer.training or bn.training:
        raise AssertionError("Fusion only for eval!")
    if bn.running_mean is None or bn.running_var is None:
        raise AssertionError("Fusion needs the batch norm's running mean and variance (track_running_stats=True)")


def fuse_conv_bn_weights(conv_w: Tensor, conv_b: Tensor | None, bn_rm: Tensor, bn_rv: Tensor, bn_eps: float,
                         bn_w: Tensor | None, bn_b: Tensor | None, transpose: bool = False
                         ) -> tuple[Parameter, Parameter]:
    """Weight and bias of the one convolution, of the parameters of the two.

    Shapes: conv_w (out, in / groups, *kernel), or (in, out / groups, *kernel) with `transpose`; the rest (out,).
    """
    bias = facula.zeros_like(bn_rm) if conv_b is None else conv_b
    weight = facula.ones_like(bn_rm) if bn_w is None else bn_w
    shift = facula.zeros_like(bn_rm) if bn_b is None else bn_b
    scale = weight * facula.rsqrt(bn_rv + bn_eps)
    shape = [1, -1] + [1] * (conv_w.dim() - 2) if transpose else [-1, 1] + [1] * (conv_w.dim() - 2)
    fused_w = (conv_w * scale.reshape(shape)).to(dtype=conv_w.dtype)
    fused_b = ((bias - bn_rm) * scale + shift).to(dtype=bias.dtype)
    return (Parameter(fused_w.detach(), conv_w.requires_grad), Parameter(fused_b.detach(), bias.requires_grad))


def fuse_linear_bn_eval(linear: Any, bn: Any) -> Any:
    """A linear layer that does what `linear` and then `bn` do, both in evaluation mode.

    Raises:
        AssertionError: one of them is in training mode, or `bn` has another number of features (and not one).
    """
    _require_eval(linear, bn)
    fused = copy.deepcopy(linear)
    if linear.out_features != bn.num_features and bn.num_features != 1:
        raise AssertionError("To fuse, linear.out_features == bn.num_features or bn.num_features == 1")
    fused.weight, fused.bias = fuse_linear_bn_weights(
        fused.weight, fused.bias, bn.running_mean, bn.running_var, bn.eps, bn.weight, bn.bias)
    return fused


def fuse_linear_bn_weights(linear_w: Tensor, linear_b: Tensor | None, bn_rm: Tensor, bn_rv: Tensor, bn_eps: float,
                           bn_w: Tensor, bn_b: Tensor) -> tuple[Parameter, Parameter]:
    """Weight and bias of the one linear layer, of the parameters of the two.

    Shapes: linear_w (out, in), the rest (out,) or (1,).
    """
    bias = facula.zeros_like(bn_rm) if linear_b is None else linear_b
    scale = bn_w * facula.rsqrt(bn_rv + bn_eps)
    fused_w = linear_w * scale.unsqueeze(-1).to(dtype=linear_w.dtype)
    fused_b = ((bias - bn_rm) * scale + bn_b).to(dtype=bias.dtype)
    return (Parameter(fused_w.detach(), linear_w.requires_grad), Parameter(fused_b.detach(), bias.requires_grad))
