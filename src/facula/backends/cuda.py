"""Switches of CUDA's libraries, kept without effect, and of attention (`nn/functional/kernel_choice.py`)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from facula.nn.functional.kernel_choice import allowed as _attention


class _Switches:
    """Named switches that can be read and set; AttributeError for a name that does not exist."""

    def __init__(self, **switches: Any) -> None:
        self.__dict__.update(switches)

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(f"Unknown attribute {name}")

    def __setattr__(self, name: str, value: Any) -> None:
        if name not in self.__dict__:
            raise AttributeError(f"Unknown attribute {name}")
        self.__dict__[name] = value


matmul = _Switches(allow_tf32=False, allow_fp16_reduced_precision_reduction=True,
                   allow_bf16_reduced_precision_reduction=True, allow_fp16_accumulation=False,
                   fp32_precision="none")
cufft_plan_cache = _Switches(size=0, max_size=0, clear=lambda: None)
_sums = {"fp16_bf16_math": False}


def is_built() -> bool:
    """Was this library built with CUDA?

    Example:
        >>> from facula.backends import cuda
        >>> cuda.is_built()
        False
    """
    return False


def preferred_linalg_library(backend: Any = None) -> str:
    """Which library computes decompositions on CUDA devices: always the default."""
    return "default"


def preferred_blas_library(backend: Any = None) -> str:
    """Which library multiplies matrices on CUDA devices: always cuBLAS."""
    return "cublas"


def flash_sdp_enabled() -> bool:
    """May attention use the flash kernel?"""
    return _attention["flash"]


def enable_flash_sdp(enabled: bool) -> None:
    """Let attention use the flash kernel, or not."""
    _attention["flash"] = bool(enabled)


def mem_efficient_sdp_enabled() -> bool:
    """May attention use the memory-efficient kernel?"""
    return _attention["mem_efficient"]


def enable_mem_efficient_sdp(enabled: bool) -> None:
    """Let attention use the memory-efficient kernel, or not."""
    _attention["mem_efficient"] = bool(enabled)


def math_sdp_enabled() -> bool:
    """May attention be computed by its formula?"""
    return _attention["math"]


def enable_math_sdp(enabled: bool) -> None:
    """Let attention be computed by its formula, or not."""
    _attention["math"] = bool(enabled)


def cudnn_sdp_enabled() -> bool:
    """May attention use cuDNN?"""
    return _attention["cudnn"]


def enable_cudnn_sdp(enabled: bool) -> None:
    """Let attention use cuDNN, or not."""
    _attention["cudnn"] = bool(enabled)


def fp16_bf16_reduction_math_sdp_allowed() -> bool:
    """May attention by its formula sum in 16 bits?"""
    return _sums["fp16_bf16_math"]


def allow_fp16_bf16_reduction_math_sdp(enabled: bool) -> None:
    """Let attention by its formula sum in 16 bits, or not."""
    _sums["fp16_bf16_math"] = bool(enabled)


def is_flash_attention_available() -> bool:
    """Was this library built with the flash kernel for CUDA?"""
    return False


class SDPAParams:
    """The arguments of an attention, to be asked whether a kernel takes them."""

    def __init__(self, query: Any, key: Any, value: Any, attn_mask: Any = None, dropout: float = 0.0,
                 is_causal: bool = False, enable_gqa: bool = False) -> None:
        self.query, self.key, self.value, self.attn_mask = query, key, value, attn_mask
        self.dropout, self.is_causal, self.enable_gqa = dropout, is_causal, enable_gqa


def is_ck_sdpa_available() -> bool:
    """Is there AMD's kernel of attention? No."""
    return False


def can_use_flash_attention(params: Any, debug: bool = False) -> bool:
    """Could the flash kernel compute this on a CUDA device? Never."""
    return False


can_use_efficient_attention = can_use_cudnn_attention = can_use_flash_attention


@contextmanager
def sdp_kernel(enable_flash: bool = True, enable_math: bool = True, enable_mem_efficient: bool = True,
               enable_cudnn: bool = True) -> Iterator[None]:
    """Context manager: which kernels attention may use inside."""
    before = dict(_attention)
    _attention.update(flash=enable_flash, math=enable_math, mem_efficient=enable_mem_efficient,
                      cudnn=enable_cudnn, overrideable=False)
    try:
        yield
    finally:
        _attention.update(before)
