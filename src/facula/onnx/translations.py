"""Functions that translate operations to ONNX, as programs register them: kept for an exporter to come."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any

from facula import absent

registered: dict[tuple[str, int], Callable[..., Any]] = {}  # by "namespace::name" and version of ONNX's operations


def register_custom_op_symbolic(symbolic_name: str, symbolic_fn: Callable[..., Any], opset_version: int) -> None:
    """Keep how to translate an operation.

    Raises:
        ValueError: `symbolic_name` is not "namespace::name".
    """
    if not re.fullmatch(r"\w+::\w+[.\w]*", symbolic_name):
        raise ValueError(f"Failed to register operator {symbolic_name}. The symbolic name must match the format "
                         "domain::name, and should start with a letter and contain only alphanumerical characters")
    registered[symbolic_name, opset_version] = symbolic_fn


def unregister_custom_op_symbolic(symbolic_name: str, opset_version: int) -> None:
    """Forget how to translate an operation."""
    registered.pop((symbolic_name, opset_version), None)


class _Opset(ModuleType):
    """`torch.onnx.symbolic_opset11`: PyTorch's own translations; each name raises when it is called."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return absent.function(f"{self.__name__.replace('facula', 'torch', 1)}.{name}")


def opset(name: str) -> ModuleType:
    """The module of that name."""
    full = f"facula.onnx.{name}"
    return sys.modules.setdefault(full, _Opset(full))
