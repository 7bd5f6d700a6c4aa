"""Padding, and moving elements between channels and space."""

from __future__ import annotations

from typing import Any

import facula
from facula._tensor.handle import read
from facula.ops.index.index_nodes import bounds


def pad(input: Any, pad: Any, mode: str = "constant", value: float | None = None) -> Any:
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
        return facula.constant_pad_nd(input, amounts, 0 if value is None else value)
    if value is not None and value != 0:
        raise RuntimeError(f'Padding mode "{mode}" doesn\'t take in value argument')
    if mode not in ("reflect", "replicate", "circular"):
        raise NotImplementedError(f"Unrecognised padding mode {mode}")
    sides = len(amounts) // 2
    if sides not in (1, 2, 3) or dims not in (sides + 1, sides + 2):
        raise NotImplementedError("Only 2D, 3D, 4D, 5D padding with non-constant padding are supported for "
                                  "now")
    for i in range(sides):
        before, after = amounts[2 * i], amounts[2 * i + 1]
        if before or after:
            input = _pad_dim(input, dims - 1 - i, before, after, mode)
    return input


def _pad_dim(input: Any, dim: int, before: int, after: int, mode: str) -> Any:
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
    return input.index_select(dim, facula.tensor(source, dtype=facula.int64, device=input.device))


def pixel_shuffle(input: Any, upscale_factor: int) -> Any:
    """(*, C * r^2, H, W) to (*, C, H * r, W * r).

    Raises:
        RuntimeError: fewer than 3 dimensions, or channels that are not divisible by r^2.
    """
    r = upscale_factor
    if input.dim() < 3:
        raise RuntimeError("pixel_shuffle expects input to have at least 3 dimensions, but got input with "
                           f"{input.dim()} dimension(s)")
    if r <= 0:
        raise RuntimeError(f"pixel_shuffle expects a positive upscale_factor, but got {r}")
    *batch, channels, height, width = input.shape
    if channels % (r * r) != 0:
        raise RuntimeError("pixel_shuffle expects its input's 'channel' dimension to be divisible by the "
                           f"square of upscale_factor, but input.size(-3)={channels} is not divisible by "
                           f"{r * r}")
    n = len(batch)
    split = input.reshape(*batch, channels // (r * r), r, r, height, width)
    order = (*range(n), n, n + 3, n + 1, n + 4, n + 2)
    return split.permute(order).reshape(*batch, channels // (r * r), height * r, width * r)


def pixel_unshuffle(input: Any, downscale_factor: int) -> Any:
    """(*, C, H * r, W * r) to (*, C * r^2, H, W)."""
    r = downscale_factor
    if input.dim() < 3:
        raise RuntimeError("pixel_unshuffle expects input to have at least 3 dimensions, but got input with "
                           f"{input.dim()} dimension(s)")
    if r <= 0:
        raise RuntimeError(f"pixel_unshuffle expects a positive downscale_factor, but got {r}")
    *batch, channels, height, width = input.shape
    for name, size, place in (("height", height, -2), ("width", width, -1)):
        if size % r != 0:
            raise RuntimeError(f"pixel_unshuffle expects {name} to be divisible by downscale_factor, but "
                               f"input.size({place})={size} is not divisible by {r}")
    n = len(batch)
    split = input.reshape(*batch, channels, height // r, r, width // r, r)
    order = (*range(n), n, n + 2, n + 4, n + 1, n + 3)
    return split.permute(order).reshape(*batch, channels * r * r, height // r, width // r)


def channel_shuffle(input: Any, groups: int) -> Any:
    """Deals the channels of (N, C, *) out over `groups` groups.

    Raises:
        RuntimeError: fewer than 3 dimensions, or channels that are not divisible.
    """
    if input.dim() < 3:
        raise RuntimeError("channel_shuffle expects input with > 2 dims, but got input with sizes "
                           f"{list(input.shape)}")
    if groups <= 0:
        raise RuntimeError("Number of groups to divide channels in must be positive. Value of "
                           f"groups:{groups}")
    batch, channels, *rest = input.shape
    if channels % groups != 0:
        raise RuntimeError(f"Number of channels must be divisible by groups. Got {channels} channels and "
                           f"{groups} groups.")
    return input.reshape(batch, groups, channels // groups, *rest).transpose(1, 2).reshape(input.shape)


native_channel_shuffle = channel_shuffle


def one_hot(tensor: Any, num_classes: int = -1) -> Any:
    """Class indices (*) to vectors (*, num_classes) that are 1 at the index and 0 elsewhere, as int64.

    Args:
        num_classes: by default one more than the largest index.

    Raises:
        RuntimeError: not int64, or an index outside.

    Example:
        >>> import facula
        >>> facula.nn.functional.one_hot(facula.tensor([0, 2]))
        tensor([[1, 0, 0],
                [0, 0, 1]])
    """
    if tensor.dtype is not facula.int64:
        raise RuntimeError("one_hot is only applicable to index tensor of type LongTensor.")
    if tensor.numel() == 0:
        if num_classes <= 0:
            raise RuntimeError("Can not infer total number of classes from empty tensor.")
        return facula.empty((*tensor.shape, num_classes), dtype=facula.int64, device=tensor.device)
    largest = -1
    if tensor.is_meta and num_classes == -1:
        raise RuntimeError("Tensor.item() cannot be called on meta tensors")
    if not tensor.is_meta:
        lowest, largest = bounds(read(tensor))
        if lowest < 0:
            raise RuntimeError("Class values must be non-negative.")
    if num_classes == -1:
        num_classes = largest + 1
    elif num_classes < 1:
        raise RuntimeError("num_classes should be positive")
    elif largest >= num_classes:
        raise RuntimeError("Class values must be smaller than num_classes.")
    classes = facula.arange(num_classes, device=tensor.device)
    return (tensor.unsqueeze(-1) == classes).to(facula.int64)
