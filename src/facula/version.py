"""Versions: Facula's own, and the one of the PyTorch API that it follows.

`facula.__version__` has both, because programs written for PyTorch compare `torch.__version__` with the
PyTorch release that brought what they need; the part after `+` (a PEP 440 local label) is Facula's own.
This module is also `torch.version`, hence the last lines.
"""

from __future__ import annotations

from facula.torch_version import TorchVersion

facula_version = "0.1.0"
api_version = "2.13.0"
__version__ = TorchVersion(f"{api_version}+facula{facula_version}")

debug = False
cuda: str | None = None
hip: str | None = None
rocm: str | None = None
xpu: str | None = None
git_version = "unknown"
