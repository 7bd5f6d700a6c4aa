"""`torch.nn.grad`: the gradients of convolutions, as functions."""

from __future__ import annotations

from typing import Any

import facula
from facula.nn import functional as F

__all__ = ["conv1d_input", "conv1d_weight", "conv2d_input", "conv2d_weight", "conv3d_input", "conv3d_weight"]


def _of(which: int, convolution: Any, input: Any, weight: Any, grad_output: Any, *options: Any) -> Any:
    """The gradient of the input (0) or the weight (1), itself differentiable."""
    further = facula.is_grad_enabled() and any(t.requires_grad for t in (input, weight, grad_output))
    with facula.enable_grad():
        pair = [input, weight]
        pair[which] = pair[which].requires_grad_()
        stride, padding, dilation, groups = options
        out = convolution(*pair, None, stride, padding, dilation, groups)
        if out.shape != grad_output.shape:
            raise RuntimeError(f"a convolution of these sizes gives {tuple(out.shape)}, but grad_output has the shape "
                               f"{tuple(grad_output.shape)}")
        found, = facula.autograd.grad(out, pair[which], grad_output, create_graph=further)
    return found


def _empty(size: Any, like: Any) -> Any:
    return facula.zeros(tuple(size), dtype=like.dtype, device=like.device)


def conv1d_input(input_size: Any, weight: Any, grad_output: Any, stride: Any = 1, padding: Any = 0, dilation: Any = 1,
                 groups: int = 1) -> Any:
    """The gradient of the input of `conv1d`, of shape `input_size` (N, C, L).

    Example:
        >>> import facula
        >>> x, w = facula.randn(1, 1, 5, requires_grad=True), facula.randn(1, 1, 2)
        >>> out = facula.nn.functional.conv1d(x, w)
        >>> out.sum().backward()
        >>> bool(facula.allclose(facula.nn.grad.conv1d_input(x.shape, w, facula.ones_like(out)), x.grad))
        True
    """
    return _of(0, F.conv1d, _empty(input_size, grad_output), weight, grad_output, stride, padding, dilation, groups)


def conv1d_weight(input: Any, weight_size: Any, grad_output: Any, stride: Any = 1, padding: Any = 0, dilation: Any = 1,
                  groups: int = 1) -> Any:
    """The gradient of the weight of `conv1d`, of shape `weight_size` (O, C / groups, K)."""
    return _of(1, F.conv1d, input, _empty(weight_size, grad_output), grad_output, stride, padding, dilation, groups)


def conv2d_input(input_size: Any, weight: Any, grad_output: Any, stride: Any = 1, padding: Any = 0, dilation: Any = 1,
                 groups: int = 1) -> Any:
    """The gradient of the input of `conv2d`, of shape `input_size` (N, C, H, W)."""
    return _of(0, F.conv2d, _empty(input_size, grad_output), weight, grad_output, stride, padding, dilation, groups)


def conv2d_weight(input: Any, weight_size: Any, grad_output: Any, stride: Any = 1, padding: Any = 0, dilation: Any = 1,
                  groups: int = 1) -> Any:
    """The gradient of the weight of `conv2d`, of shape `weight_size` (O, C / groups, KH, KW)."""
    return _of(1, F.conv2d, input, _empty(weight_size, grad_output), grad_output, stride, padding, dilation, groups)


def conv3d_input(input_size: Any, weight: Any, grad_output: Any, stride: Any = 1, padding: Any = 0, dilation: Any = 1,
                 groups: int = 1) -> Any:
    """The gradient of the input of `conv3d`, of shape `input_size` (N, C, D, H, W)."""
    return _of(0, F.conv3d, _empty(input_size, grad_output), weight, grad_output, stride, padding, dilation, groups)


def conv3d_weight(input: Any, weight_size: Any, grad_output: Any, stride: Any = 1, padding: Any = 0, dilation: Any = 1,
                  groups: int = 1) -> Any:
    """The gradient of the weight of `conv3d`, of shape `weight_size` (O, C / groups, KD, KH, KW)."""
    return _of(1, F.conv3d, input, _empty(weight_size, grad_output), grad_output, stride, padding, dilation, groups)
