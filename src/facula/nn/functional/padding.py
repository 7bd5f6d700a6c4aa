"""Moving elements between channels and space; classes as vectors."""

from __future__ import annotations

from typing import Any

from facula.ops.registry import also, functional
from facula.ops.view.value_views import reshape_value


@functional(also=("pixel_shuffle",))
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
    return reshape_value(split.permute(order), (*batch, channels // (r * r), height * r, width * r))


@functional(also=("pixel_unshuffle",))
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
    return reshape_value(split.permute(order), (*batch, channels * r * r, height // r, width // r))


@functional(also=("channel_shuffle",))
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
    dealt = input.reshape(batch, groups, channels // groups, *rest).transpose(1, 2)
    return reshape_value(dealt, tuple(input.shape))


also(channel_shuffle, "nn.functional.native_channel_shuffle", "native_channel_shuffle")
