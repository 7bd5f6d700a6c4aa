"""The memory format of convolutions' weights alone."""

from __future__ import annotations

from typing import Any

import facula
from facula.nn.modules.module import Module

__all__ = ["convert_conv2d_weight_memory_format", "convert_conv3d_weight_memory_format"]


def convert_conv2d_weight_memory_format(module: Module, memory_format: Any) -> Module:
    """Have the weights of all `Conv2d` and `ConvTranspose2d` in `module` lie in `memory_format`; nothing else moves.

    Example:
        >>> import facula
        >>> import facula.nn as nn
        >>> net = nn.utils.convert_conv2d_weight_memory_format(nn.Conv2d(8, 4, 3), facula.channels_last)
        >>> net.weight.stride()
        (72, 1, 24, 8)
    """
    return _converted(module, (facula.nn.Conv2d, facula.nn.ConvTranspose2d), memory_format)


def convert_conv3d_weight_memory_format(module: Module, memory_format: Any) -> Module:
    """The same for `Conv3d` and `ConvTranspose3d`."""
    return _converted(module, (facula.nn.Conv3d, facula.nn.ConvTranspose3d), memory_format)


def _converted(module: Module, kinds: Any, memory_format: Any) -> Module:
    part: Any
    for part in module.modules():
        if isinstance(part, kinds):
            weight = part.weight
            weight.data = weight.detach().clone(memory_format=memory_format)
    return module
