"""`torch.onnx.symbolic_helper`: what functions that translate operations to ONNX are written with. They can be written
and registered; nothing calls them, because Facula exports nothing to ONNX yet.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from facula import absent

__all__ = ["parse_args"]


def parse_args(*arg_descriptors: str) -> Callable[[Any], Any]:
    """What the arguments of a translating function are: "v" a value, "i" an integer, "f" a float, ... Kept.

    Example:
        >>> from facula.onnx import symbolic_helper
        >>> @symbolic_helper.parse_args("v", "i")
        ... def symbolic(g, x, k): return g.op("Mine", x, k_i=k)
        >>> symbolic._arg_descriptors
        ('v', 'i')
    """
    def decorate(function: Any) -> Any:
        function._arg_descriptors = arg_descriptors
        return function
    return decorate


def __getattr__(name: str) -> Any:
    if name.startswith("__"):
        raise AttributeError(name)
    return absent.function(f"torch.onnx.symbolic_helper.{name}")
