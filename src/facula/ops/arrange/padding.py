"""Padding of the last dimensions: with a constant, by reflection, by the edge, circular."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from facula._tensor.handle import Tensor, attach, new, read, view_node
from facula.autograd.graph import Rule
from facula.engine.graph.node import WRITE, contiguous_strides
from facula.engine.recorder import record
from facula.ops.arguments import ints
from facula.ops.arrange.joining import cat
from facula.ops.arrange.rearranging import flip
from facula.ops.casting import constant
from facula.ops.index.masking import scalar_value
from facula.ops.registry import op
from facula.ops.view.broadcasting import expand
from facula.ops.view.views import slice_view


def _pad_backward(ctx: Any, g: Tensor) -> tuple[Tensor]:
    pads, = ctx.saved
    return (constant_pad_nd(g, tuple([-p for p in pads]), 0),)


_PAD = Rule("ConstantPadNdBackward0", _pad_backward)


@op(method=False)
def constant_pad_nd(input: Tensor, pad: Sequence[int], value: Any = 0) -> Tensor:
    """`value` around `input`; `pad`: before and after the last dimension, then the one before."""
    pads = ints((tuple(pad),), "pad")
    old = tuple(input.shape)
    n = len(old)
    if len(pads) % 2:
        raise RuntimeError(f"Length of pad must be even but instead it equals {len(pads)}")
    if len(pads) > 2 * n:
        raise RuntimeError("Length of pad should be no more than twice the number of dimensions of "
                           f"the input. Pad length is {len(pads)} while the input has {n} "
                           "dimensions.")
    node = read(input)
    full, inner, cut, put = list(old), list(old), [0] * n, [0] * n
    for k in range(len(pads) // 2):
        d = n - 1 - k
        before, after = pads[2 * k], pads[2 * k + 1]
        full[d] += before + after
        if full[d] < 0:
            raise RuntimeError(f"The input size {old[d]}, plus negative padding {before} and "
                               f"{after} resulted in a negative output size, which is invalid. "
                               f"Check dimension {d} of your input.")
        inner[d] += min(before, 0) + min(after, 0)
        if inner[d] < 0:  # what is cut off at both ends overlaps
            raise RuntimeError("narrow(): length must be non-negative.")
        cut[d], put[d] = max(-before, 0), max(before, 0)
    filling = scalar_value(value or 0, input.dtype)
    if min(inner, default=1) > 0:
        strides = contiguous_strides(old)
        if inner != list(old):
            at = sum(c * s for c, s in zip(cut, strides, strict=False))
            node = view_node(node, tuple(inner), strides, at, input.dtype)
        if full != inner:
            shape = tuple(full)
            to = contiguous_strides(shape)
            base = constant(filling, shape, input.dtype)
            at = sum(p * s for p, s in zip(put, to, strict=False))
            node = record(WRITE, (base, node), (to,), (at,), base.shape, input.dtype)
    else:
        node = constant(filling, tuple(full), input.dtype)
    return attach(new(node), _PAD, (input,), (pads,))


@op(name="pad", namespace="nn.functional")
def pad(input: Tensor, pad: Sequence[int], mode: str = "constant",
        value: float | None = None) -> Tensor:
    """Padding of the last dimensions: constant, reflect, replicate or circular."""
    pads = ints((tuple(pad),), "pad")
    if len(pads) % 2:
        raise RuntimeError("Padding length must be divisible by 2")
    if len(pads) > 2 * len(input.shape):
        raise RuntimeError("Padding length should be less than or equal to two times the input "
                           f"dimension but got padding length {len(pads)} and input of dimension "
                           f"{len(input.shape)}")
    if mode == "constant":
        return constant_pad_nd(input, pads, 0 if value is None else value)
    if value is not None and value != 0:
        raise RuntimeError(f'Padding mode "{mode}" doesn\'t take in value argument')
    if mode not in ("reflect", "replicate", "circular"):
        raise NotImplementedError(f"Unrecognised padding mode {mode}")
    n = len(input.shape)
    if not (len(pads) // 2 in (n - 1, n - 2) and 2 <= n <= 5):
        raise NotImplementedError("Only 2D, 3D, 4D, 5D padding with non-constant padding are "
                                  "supported for now")
    out = input
    for k in range(len(pads) // 2):
        out = _pad_dim(out, n - 1 - k, pads[2 * k], pads[2 * k + 1], mode)
    return out


def _pad_dim(t: Tensor, d: int, before: int, after: int, mode: str) -> Tensor:
    n = t.shape[d]
    if mode == "reflect" and (before >= n or after >= n):
        raise RuntimeError("Argument #4: Padding size should be less than the corresponding input "
                           f"dimension, but got: padding ({before}, {after}) at dimension {d} of "
                           f"input {list(t.shape)}")
    if mode == "circular" and (before > n or after > n):
        raise RuntimeError("Padding value causes wrapping around more than once.")
    middle = t
    if before < 0 or after < 0:
        middle = slice_view(t, d, max(-before, 0), n - max(-after, 0))
    if mode == "circular":
        t, n = middle, middle.shape[d]
    parts = [middle]
    if before > 0:
        if mode == "reflect":
            parts.insert(0, flip(slice_view(t, d, 1, before + 1), (d,)))
        elif mode == "replicate":
            parts.insert(0, _edge(t, d, 0, before))
        else:
            parts.insert(0, slice_view(t, d, n - before, n))
    if after > 0:
        if mode == "reflect":
            parts.append(flip(slice_view(t, d, n - 1 - after, n - 1), (d,)))
        elif mode == "replicate":
            parts.append(_edge(t, d, n - 1, after))
        else:
            parts.append(slice_view(t, d, 0, after))
    return cat(parts, d) if len(parts) > 1 else parts[0]


def _edge(t: Tensor, d: int, i: int, times: int) -> Tensor:
    shape = t.shape
    return expand(slice_view(t, d, i, i + 1), (*shape[:d], times, *shape[d + 1:]))
