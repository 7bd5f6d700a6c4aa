"""`torch.autograd.variable`: the old name of tensors, under the name of its page in PyTorch."""

from __future__ import annotations

from facula.autograd.function import Variable

__all__ = ["Variable"]
