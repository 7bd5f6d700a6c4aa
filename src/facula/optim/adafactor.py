"""Adafactor: second moments in the memory of a row and a column."""

from __future__ import annotations

from typing import Any

import facula

from ._scalars import made
from .optimizer import TensorOptimizer, number

__all__ = ["Adafactor"]


class Adafactor(TensorOptimizer):
    """Steps along the gradient divided by the root of its mean square, which is kept by rows and columns
    only.

    Args:
        params: tensors or parameter groups.
        lr: limits the relative step size.
        beta2_decay: power of the step at which the mean's decay rate approaches 1; not positive.
        eps: (added to the squared gradient; smallest scale of a parameter).
        d: clipping threshold of the update's root mean square.
        weight_decay: decoupled: shrinks the parameter itself.

    Source: Shazeer and Stern, "Adafactor: adaptive learning rates with sublinear memory cost", 2018.
    """

    def __init__(self, params: Any, lr: Any = 1e-2, beta2_decay: float = -0.8, eps: Any = (None, 1e-3),
                 d: float = 1.0, weight_decay: float = 0.0, *, foreach: bool | None = None,
                 maximize: bool = False) -> None:
        if isinstance(lr, facula.Tensor) and lr.numel() != 1:
            raise ValueError("Tensor lr must be 1-element")
        if not 0.0 <= lr:
            raise ValueError(f"Learning rate should be >= 0 but is: {lr}")
        if not 0.0 >= beta2_decay:
            raise ValueError(f"beta2_decay should be <= 0 but is: {beta2_decay}")
        if eps[0] is not None and not 0.0 <= eps[0]:
            raise ValueError(f"epsilon1 should be >= 0 but is: {eps[0]}")
        if not 0.0 <= eps[1]:
            raise ValueError(f"epsilon2 should be >= 0 but is: {eps[1]}")
        if not 1.0 <= d:
            raise ValueError(f"Clipping threshold d should be >= 1 but is: {d}")
        if not 0.0 <= weight_decay:
            raise ValueError(f"weight_decay should be >= 0 but is: {weight_decay}")
        super().__init__(params, {"lr": lr, "beta2_decay": beta2_decay, "eps": eps, "d": d,
                                  "weight_decay": weight_decay, "foreach": foreach, "maximize": maximize})

    def _start(self, group: dict[str, Any], param: Any, state: dict[str, Any]) -> None:
        if param.is_complex():
            raise RuntimeError("Adafactor does not support complex parameters")
        state["step"] = made(0.0)
        gradient = param.grad
        if gradient.dim() > 1:
            rows, columns = list(gradient.shape), list(gradient.shape)
            rows[-1] = columns[-2] = 1
            state["row_var"] = gradient.new_zeros(rows)
            state["col_var"] = gradient.new_zeros(columns)
        else:
            state["variance"] = facula.zeros_like(gradient, memory_format=facula.preserve_format)

    def _update_group(self, group: dict[str, Any], params: list[Any]) -> None:
        lr, decay, d = number(group["lr"]), group["weight_decay"], group["d"]
        for param in params:
            state = self.state[param]
            gradient = -param.grad if group["maximize"] else param.grad
            tiny, smallest = group["eps"]
            if tiny is None:
                tiny = facula.finfo(param.dtype).eps
            step = self._steps.advance(state)
            one_minus_beta2 = step ** group["beta2_decay"]
            relative = min(lr, 1 / (step ** 0.5))
            scale = (param.norm(2) / (param.numel() ** 0.5)).clamp(min=smallest) * relative
            if decay != 0:
                param.mul_(1 - lr * decay)
            variance = _mean_square(gradient, state, one_minus_beta2, tiny)
            update = variance.clamp(min=tiny * tiny).rsqrt_().mul_(gradient)
            size = (update.norm(2) / ((update.numel() ** 0.5) * d)).clamp(min=1.0)
            param.add_(update * (-scale / size))


def _mean_square(gradient: Any, state: dict[str, Any], weight: float, tiny: float) -> Any:
    """Move the running mean square by `weight`; for matrices the product of its row and column means."""
    if gradient.dim() <= 1:
        variance = state["variance"]
        variance.lerp_(gradient.square(), weight)
        return variance.clone()
    rows, columns = state["row_var"], state["col_var"]
    rows.lerp_(gradient.norm(dim=-1, keepdim=True).square_().div_(gradient.size(-1)), weight)
    columns.lerp_(gradient.norm(dim=-2, keepdim=True).square_().div_(gradient.size(-2)), weight)
    return (rows @ columns).div_(rows.mean(dim=-2, keepdim=True).clamp_(min=tiny))
