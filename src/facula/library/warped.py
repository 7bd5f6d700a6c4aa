"""Deformable convolution, as torchvision defines it, composed of Facula's operations: its gradients are theirs."""

from __future__ import annotations

from typing import Any

import facula


def deform_conv2d(input: Any, weight: Any, offset: Any, mask: Any, bias: Any, stride_h: int, stride_w: int, pad_h: int,
                  pad_w: int, dilation_h: int, dilation_w: int, groups: int, offset_groups: int, use_mask: bool) -> Any:
    """A convolution whose windows read where `offset` says, each reading multiplied by `mask` if `use_mask`.

    input (N, C, H, W), weight (O, C / groups, KH, KW), offset (N, 2 * offset_groups * KH * KW, OH, OW) of (y, x), mask
    (N, offset_groups * KH * KW, OH, OW), bias (O,), to (N, O, OH, OW).

    Source: Zhu et al., "Deformable ConvNets v2", 2018.
    """
    (n, channels, height, width), (outputs, inner, kh, kw) = input.shape, weight.shape
    oh, ow = offset.shape[2:]
    taps = kh * kw
    wanted = ((height + 2 * pad_h - dilation_h * (kh - 1) - 1) // stride_h + 1,
              (width + 2 * pad_w - dilation_w * (kw - 1) - 1) // stride_w + 1)
    if (oh, ow) != wanted:
        raise RuntimeError(f"offset output dims: ({oh}, {ow}) - computed output dims: {wanted}")
    shifts = offset.reshape(n, offset_groups, taps, 2, oh, ow)
    like = {"dtype": offset.dtype, "device": offset.device}
    rows = (facula.arange(kh, **like) * dilation_h).repeat_interleave(kw)[:, None, None]
    columns = (facula.arange(kw, **like) * dilation_w).repeat(kh)[:, None, None]
    y = shifts[:, :, :, 0] + rows + (facula.arange(oh, **like) * stride_h - pad_h)[:, None]
    x = shifts[:, :, :, 1] + columns + (facula.arange(ow, **like) * stride_w - pad_w)
    inside = (y > -1) & (y < height) & (x > -1) & (x < width)
    pixels = input.reshape(n, offset_groups, channels // offset_groups, height * width)
    y0, x0 = y.detach().floor(), x.detach().floor()
    read = 0
    for down in (0, 1):
        for across in (0, 1):
            row, column = y0 + down, x0 + across
            there = inside & (row >= 0) & (row < height) & (column >= 0) & (column < width)
            place = (row.clamp(0, height - 1) * width + column.clamp(0, width - 1)).long()
            share = (1 - (y - row).abs()) * (1 - (x - column).abs()) * there
            place = place.reshape(n, offset_groups, 1, -1).expand(-1, -1, channels // offset_groups, -1)
            read = read + pixels.gather(3, place).reshape(n, offset_groups, -1, taps, oh, ow) * share[:, :, None]
    if use_mask:
        read = read * mask.reshape(n, offset_groups, 1, taps, oh, ow)
    windows = read.reshape(n, groups, inner * taps, oh * ow)  # type: ignore[attr-defined]
    found = weight.reshape(groups, outputs // groups, inner * taps) @ windows
    return found.reshape(n, outputs, oh, ow) + bias[:, None, None]


def deform_conv2d_backward(grad: Any, input: Any, weight: Any, offset: Any, mask: Any, bias: Any,
                           *options: Any) -> tuple[Any, ...]:
    """The gradients of the five tensors of `deform_conv2d`."""
    with facula.enable_grad():
        leaves = [t.detach().requires_grad_() for t in (input, weight, offset, mask, bias)]
        found = facula.autograd.grad(deform_conv2d(*leaves, *options), leaves, grad, allow_unused=True)
    return tuple(facula.zeros_like(t) if g is None else g for g, t in zip(found, leaves, strict=True))
