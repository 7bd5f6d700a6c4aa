"""`facula.backends`: switches of the libraries PyTorch computes with.

Programs set them for speed or determinism. They are kept and can be read back; Facula's own kernels are
deterministic always, so none changes a result.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from facula.backends import (
        cpu,
        cuda,
        cudnn,
        mha,
        mkl,
        mkldnn,
        mps,
        nnpack,
        openmp,
        opt_einsum,
        quantized,
    )

__all__ = ["cpu", "cuda", "cudnn", "cusparselt", "mha", "mkl", "mkldnn", "mps", "nnpack", "openmp",
           "kleidiai", "miopen", "opt_einsum", "quantized", "xnnpack"]

fp32_precision = "none"


def __getattr__(name: str) -> Any:
    if name in __all__:
        import importlib
        return importlib.import_module(f"facula.backends.{name}")
    raise AttributeError(f"module 'torch.backends' has no attribute '{name}'")
