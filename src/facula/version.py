"""What this is a version of: PyTorch's number, whose API is followed, and our own name behind it."""

from __future__ import annotations

from facula.torch_version import TorchVersion

__all__ = ["__version__", "cuda", "debug", "facula_version", "git_version", "hip", "rocm", "xpu"]

facula_version = "0.1.0"
__version__ = TorchVersion("2.13.0+facula")
debug = False
cuda: str | None = None
git_version = "unknown"
hip: str | None = None
rocm: str | None = None
xpu: str | None = None
