"""The lines by which generated code gets its globals, written and read.

They say `torch`, as PyTorch's do; that is Facula, whether it stands in for torch in this process or not.
"""

from __future__ import annotations

import importlib
from types import ModuleType
from typing import Any

import facula
from facula.fx._names import resolved
from facula.fx._namespaces import _custom_builtins


def _format_import_statement(name: str, obj: Any, importer: Any = None) -> str:
    """The line that makes `name` mean `obj`."""
    if name in _custom_builtins:
        return _custom_builtins[name].import_str
    if isinstance(obj, ModuleType):
        return f"import {obj.__name__} as {name}"
    module = obj.__module__
    if module.partition(".")[0] == "facula":
        module = "torch" + module[len("facula"):]
    attribute = getattr(obj, "__name__", None) or obj._name
    return f"from {module} import {attribute} as {name}"


def _format_import_block(globals: dict[str, Any], importer: Any = None) -> str:
    """All the lines, sorted."""
    return "\n".join(sorted({_format_import_statement(name, obj, importer) for name, obj in globals.items()}))


def run_imports(block: str) -> dict[str, Any]:
    """The globals that the lines make."""
    space: dict[str, Any] = {}
    for line in block.split("\n"):
        words = line.split()
        if words[:2] in (["import", "torch"], ["from", "torch"]) or line.startswith(("import torch.", "from torch.")):
            if words[0] == "import":
                space[words[-1]] = _module(words[1])
            else:
                space[words[-1]] = getattr(_module(words[1]), words[3])
        elif words:
            exec(line, space)
    space.pop("__builtins__", None)
    return space


def _module(path: str) -> Any:
    try:
        return facula if path == "torch" else resolved(path)
    except AttributeError:
        return importlib.import_module("facula" + path[len("torch"):])
