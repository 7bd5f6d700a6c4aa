"""Muon: momentum steps made orthogonal."""

from __future__ import annotations

import math
from typing import Any

import facula

from .optimizer import TensorOptimizer, number

__all__ = ["Muon"]


class Muon(TensorOptimizer):
    """For matrices: the momentum is replaced by the nearest orthogonal matrix before the step.

    Args:
        params: matrices, or parameter groups of matrices.
        lr: the learning rate.
        weight_decay: decoupled: shrinks the parameter itself.
        momentum, nesterov: of the gradient.
        ns_coefficients, ns_steps, eps: of the Newton-Schulz iteration, which runs in bfloat16.
        adjust_lr_fn: "original" (by the root of rows over columns) or "match_rms_adamw".

    Raises:
        ValueError: a parameter that is no matrix, or an option out of range.

    Source: Jordan et al., "Muon: an optimizer for hidden layers in neural networks", 2024.
    """

    def __init__(self, params: Any, lr: Any = 1e-3, weight_decay: float = 0.1, momentum: float = 0.95,
                 nesterov: bool = True, ns_coefficients: Any = (3.4445, -4.7750, 2.0315), eps: float = 1e-7,
                 ns_steps: int = 5, adjust_lr_fn: str | None = None) -> None:
        if isinstance(lr, facula.Tensor) and lr.numel() != 1:
            raise ValueError("Tensor lr must be 1-element")
        if not 0.0 <= lr:
            raise ValueError(f"Learning rate should be >= 0 but is: {lr}")
        if not 0.0 <= momentum:
            raise ValueError(f"momentum should be >= 0 but is: {momentum}")
        if not 0.0 <= weight_decay:
            raise ValueError(f"weight decay should be >= 0 but is: {weight_decay}")
        if adjust_lr_fn is not None and adjust_lr_fn not in ("original", "match_rms_adamw"):
            raise ValueError(f"Adjust learning rate function {adjust_lr_fn} is not supported")
        super().__init__(params, {
            "lr": lr, "weight_decay": weight_decay, "momentum": momentum, "nesterov": nesterov,
            "ns_coefficients": ns_coefficients, "eps": eps, "ns_steps": ns_steps,
            "adjust_lr_fn": adjust_lr_fn})
        for group in self.param_groups:
            for param in group["params"]:
                if param.dim() != 2:
                    raise ValueError("Muon only supports 2D parameters whereas we found a parameter with "
                                     f"size: {param.size()}")

    def _start(self, group: dict[str, Any], param: Any, state: dict[str, Any]) -> None:
        if param.is_complex():
            raise RuntimeError("Muon does not support complex parameters")
        state["momentum_buffer"] = facula.zeros_like(param.grad, memory_format=facula.preserve_format)

    def _update_group(self, group: dict[str, Any], params: list[Any]) -> None:
        lr, momentum = number(group["lr"]), group["momentum"]
        for param in params:
            gradient = param.grad
            buffer = self.state[param]["momentum_buffer"]
            buffer.lerp_(gradient, 1 - momentum)
            update = gradient.lerp(buffer, momentum) if group["nesterov"] else buffer
            update = _orthogonalized(update, group["ns_coefficients"], group["ns_steps"], group["eps"])
            rows, columns = param.shape
            if group["adjust_lr_fn"] == "match_rms_adamw":
                rate = lr * 0.2 * math.sqrt(max(rows, columns))
            else:
                rate = lr * math.sqrt(max(1, rows / columns))
            param.mul_(1 - lr * group["weight_decay"])
            param.add_(update, alpha=-rate)


def _orthogonalized(matrix: Any, coefficients: Any, steps: int, eps: float) -> Any:
    """The polar factor of a matrix by a quintic Newton-Schulz iteration, roughly."""
    if steps >= 100:
        raise ValueError("Number of steps must be less than 100 for computational efficiency")
    if len(coefficients) != 3:
        raise ValueError("Coefficients must be a tuple of exactly 3 values")
    a, b, c = coefficients
    x = matrix.bfloat16()
    tall = matrix.size(0) > matrix.size(1)
    if tall:
        x = x.T
    x = x / x.norm().clamp(min=eps)
    for _ in range(steps):
        gram = x @ x.T
        x = facula.addmm(x, facula.addmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x.T if tall else x
