"""Padding of the last dimensions: with a constant, by reflection, by the edge, circular."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from facula._tensor.handle import Tensor, new, strides_of
from facula._tensor.layout import preserved
from facula._tensor.reading import lay, read, view_node
from facula._tensor.tape import attach
from facula.autograd.graph import Rule
from facula.engine.graph.node import WRITE, contiguous_strides
from facula.engine.recorder import record
from facula.layouts import contiguous_format
from facula.ops.arguments import ints
from facula.ops.casting import constant
from facula.ops.index.index_nodes import index_leaf
from facula.ops.promotion import scalar_value
from facula.ops.registry import functional, op
from facula.ops.result_layouts import format_of
from facula.ops.severing import leaned


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
    out = new(node)
    if max(pads, default=0) <= 0:  # a copy of what is left
        lay(out, preserved(out.shape, strides_of(input)))
    elif input._storage is not None:
        lay(out, format_of(out.shape, [input]))
    return attach(out, _PAD, (input,), (pads,))


@functional
def pad(input: Tensor, pad: Any, mode: str = "constant", value: float | None = None) -> Tensor:
    """Extends the last dimensions: `pad` is (left, right) of the last, then of the one before it, and so on.

    Args:
        mode: "constant" (with `value`, 0 by default; negative amounts cut off), "reflect" (the edge is not
            repeated), "replicate" or "circular".

    Raises:
        RuntimeError: amounts do not fit the shape.
        NotImplementedError: a mode that is not known, or for this many dimensions.

    Example:
        >>> import facula
        >>> facula.nn.functional.pad(facula.ones(2), (1, 1))
        tensor([0., 1., 1., 0.])
    """
    amounts = [int(n) for n in pad]
    if len(amounts) % 2 != 0:
        raise RuntimeError("Padding length must be divisible by 2")
    dims = input.dim()
    if len(amounts) > 2 * dims:
        raise RuntimeError("Padding length should be less than or equal to two times the input dimension but "
                           f"got padding length {len(amounts)} and input of dimension {dims}")
    if mode == "constant":
        # a double, as in PyTorch: none that is negative becomes a byte
        number = 0 if value is None else value if isinstance(value, complex) else float(value)
        return constant_pad_nd(input, amounts, number)
    if value is not None and value != 0:
        raise RuntimeError(f'Padding mode "{mode}" doesn\'t take in value argument')
    if mode not in ("reflect", "replicate", "circular"):
        raise NotImplementedError(f"Unrecognised padding mode {mode}")
    sides, given = len(amounts) // 2, input
    if mode != "circular":
        input = leaned(input)
    if sides not in (1, 2, 3) or dims not in (sides + 1, sides + 2):
        raise NotImplementedError("Only 2D, 3D, 4D, 5D padding with non-constant padding are supported for "
                                  "now")
    for i in range(sides):
        before, after = amounts[2 * i], amounts[2 * i + 1]
        if before or after:
            input = _pad_dim(input, dims - 1 - i, before, after, mode)
    if not any(amounts):
        input = input.clone(memory_format=contiguous_format)
    if mode != "circular":
        lay(input, format_of(input.shape, [given]))
    return input


def _pad_dim(input: Tensor, dim: int, before: int, after: int, mode: str) -> Tensor:
    """Pad one dimension: which source index each place of the result has is known beforehand."""
    size = input.size(dim)
    places = range(-before, size + after)
    if mode == "reflect":
        if before >= size or after >= size:
            raise RuntimeError("Argument #4: Padding size should be less than the corresponding input "
                               f"dimension, but got: padding ({before}, {after}) at dimension {dim} of input "
                               f"{list(input.shape)}")
        source = [abs(p) if p < size else 2 * (size - 1) - p for p in places]
    elif mode == "replicate":
        if size == 0:
            raise RuntimeError(f"Expected a non-zero size at dimension {dim} for replication padding, but "
                               f"got input {list(input.shape)}")
        source = [min(max(p, 0), size - 1) for p in places]
    else:
        if before > size or after > size:
            raise RuntimeError("Padding value causes wrapping around more than once.")
        # Negative amounts cut off first; what is left is what goes round.
        first, last = max(-before, 0), size - max(-after, 0)
        left = max(last - first, 1)
        source = [first + (p - first) % left for p in places]
    if not source:
        raise RuntimeError(f"input (size {size}) at dimension {dim} is too small for padding ({before}, "
                           f"{after})")
    return input.index_select(dim, new(index_leaf(np.array(source))))
