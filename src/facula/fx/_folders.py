"""`GraphModule.to_folder`: a module as a Python package that anybody can read and import."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import facula
from facula import nn
from facula.errors import warn
from facula.fx._imports import _format_import_statement

# Modules whose repr is an expression that makes them.
_AS_REPR = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


def write(module: Any, folder: Any, module_name: str) -> None:
    """Write `module.py`, `__init__.py`, the state, and the submodules that cannot be said in Python."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    facula.save(module.state_dict(), folder / "state_dict.pt")
    code = module.graph.python_code("self")
    lines = []
    pickled = []
    for name, child in module.named_children():
        if type(child) in _AS_REPR:
            made = repr(child)
        else:
            path = folder / f"{name}.pt"
            facula.save(child, path)
            pickled.append(name)
            shown = repr(child).replace("\r", " ").replace("\n", " ")
            made = f"torch.load(r'{path}', weights_only=False)) # {shown}"
        lines.append(f"setattr(self, '{name}', {made}" + ("" if name in pickled else ")"))
    for name, buffer in module._buffers.items():
        if buffer is not None:
            lines.append(f"self.register_buffer('{name}', torch.empty({list(buffer.shape)}, dtype={buffer.dtype}))")
    for name, value in module._parameters.items():
        if value is not None:
            lines.append(f"setattr(self, '{name}', torch.nn.Parameter(torch.empty({list(value.shape)}, "
                         f"dtype={value.dtype})))")
    lines.append(f"self.load_state_dict(torch.load(r'{folder}/state_dict.pt'))")
    indent = "\n" + " " * 8
    imports = "\n".join(_format_import_statement(name, obj) for name, obj in code.globals.items())
    body = "\n".join("    " + line if line.strip() else "" for line in code.src.split("\n"))
    (folder / "module.py").write_text(
        f"\nimport torch\n{imports}\n\nfrom torch.nn import *\nclass {module_name}(torch.nn.Module):\n"
        f"    def __init__(self):\n        super().__init__(){''.join(indent + line for line in lines)}\n\n{body}\n")
    (folder / "__init__.py").write_text("from .module import *")
    if pickled:
        warn("Was not able to save the following children modules as reprs -saved as pickled files instead: "
             f"{pickled}")

