"""Adam for sparse gradients."""

from __future__ import annotations

from typing import Any

import facula

from .optimizer import TensorOptimizer, number, zeros_for

__all__ = ["SparseAdam"]


class SparseAdam(TensorOptimizer):
    """`Adam` that touches only the rows for which the (sparse) gradient has values.

    Raises:
        ValueError: an option out of range, or a parameter that is sparse itself.
        RuntimeError: a gradient is dense.
    """

    _allow_sparse = True

    def __init__(self, params: Any, lr: Any = 1e-3, betas: Any = (0.9, 0.999), eps: float = 1e-8,
                 maximize: bool = False) -> None:
        if isinstance(lr, facula.Tensor) and lr.numel() != 1:
            raise ValueError("Tensor lr must be 1-element")
        if not 0.0 < lr:
            raise ValueError(f"Invalid learning rate: {lr}")
        if not 0.0 < eps:
            raise ValueError(f"Invalid epsilon value: {eps}")
        for i, beta in enumerate(betas):
            if not 0.0 <= beta < 1.0:
                raise ValueError(f"Invalid beta parameter at index {i}: {beta}")
        super().__init__(params, {"lr": lr, "betas": betas, "eps": eps, "maximize": maximize})
        numbered = [([g, i], p) for g, group in enumerate(self.param_groups)
                    for i, p in enumerate(group["params"])]
        complex_ones = [place for place, p in numbered if p.is_complex()]
        if complex_ones:
            raise ValueError(f"Complex params at indices {complex_ones}: SparseAdam does not support complex "
                             "parameters")
        sparse = [place for place, p in numbered if p.is_sparse]
        if sparse:
            raise ValueError(f"Sparse params at indices {sparse}: SparseAdam requires dense parameter "
                             "tensors")

    def _start(self, group: dict[str, Any], param: Any, state: dict[str, Any]) -> None:
        state["step"] = 0
        state["exp_avg"] = zeros_for(param)
        state["exp_avg_sq"] = zeros_for(param)

    def _update_group(self, group: dict[str, Any], params: list[Any]) -> None:
        lr, eps = number(group["lr"]), group["eps"]
        beta1, beta2 = group["betas"]
        for param in params:
            gradient = param.grad
            if not gradient.is_sparse:
                raise RuntimeError("SparseAdam does not support dense gradients, please consider Adam "
                                   "instead")
            state = self.state[param]
            state["step"] += 1
            step = state["step"]
            gradient = (-gradient if group["maximize"] else gradient).coalesce()
            index = tuple(gradient.indices())
            values = gradient.values()
            if values.numel() == 0:
                continue
            mean, square = state["exp_avg"], state["exp_avg_sq"]
            new_mean = mean[index].lerp(values, 1 - beta1)
            new_square = square[index].lerp(values * values, 1 - beta2)
            mean[index] = new_mean
            square[index] = new_square
            rate = lr * (1 - beta2 ** step) ** 0.5 / (1 - beta1 ** step)
            param[index] = param[index] - rate * (new_mean / (new_square.sqrt() + eps))
