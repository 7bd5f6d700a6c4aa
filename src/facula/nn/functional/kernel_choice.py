"""Which of PyTorch's kernels of attention a program allows. `nn.attention.sdpa_kernel` and `backends.cuda` set it.

Facula has one way to compute attention, by its formula. What is asked here is whether PyTorch would have had a kernel
on the CPU, so that a program which forbids all of them hears of it here too.
"""

from __future__ import annotations

from typing import Any

allowed = {"cudnn": True, "flash": True, "mem_efficient": True, "math": True, "overrideable": True}
priority = ["flash", "mem_efficient", "math", "cudnn", "overrideable"]


def require(query: Any, key: Any, value: Any, mask: Any, dropout_p: float) -> None:
    """RuntimeError where none of the kernels that are allowed computes this attention on the CPU."""
    if allowed["math"]:
        return
    if not allowed["flash"]:
        raise RuntimeError("No viable backend for scaled_dot_product_attention was found. This is likely due to "
                           "turning off both the math kernel and the fused kernels.")
    if query.dim() != 4 or not query.shape[-1] == key.shape[-1] == value.shape[-1] or dropout_p > 0.0 \
            or mask is not None and mask.requires_grad:
        raise RuntimeError("No available kernel.  Aborting execution.")
