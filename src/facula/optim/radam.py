"""RAdam: Adam with a rectified start."""

from __future__ import annotations

from typing import Any

import facula

from ._scalars import made
from .optimizer import TensorOptimizer, check_at_least_zero, check_betas, check_rate, number, zeros_for

__all__ = ["RAdam"]


class RAdam(TensorOptimizer):
    """`Adam` that divides by the mean square only once enough of it is known, and then carefully.

    Args:
        params: tensors or parameter groups.
        lr: the learning rate.
        betas: decay rates of the two means.
        eps: added to the divisor.
        weight_decay: times the parameter is added to the gradient.
        decoupled_weight_decay: shrink the parameter itself instead.

    Source: Liu et al., "On the variance of the adaptive learning rate and beyond", 2019.
    """

    def __init__(self, params: Any, lr: Any = 1e-3, betas: Any = (0.9, 0.999), eps: float = 1e-8,
                 weight_decay: float = 0, decoupled_weight_decay: bool = False, *,
                 foreach: bool | None = None, maximize: bool = False, capturable: bool = False,
                 differentiable: bool = False) -> None:
        check_rate(lr)
        check_at_least_zero("epsilon", eps)
        check_betas(betas)
        check_at_least_zero("weight_decay", weight_decay)
        super().__init__(params, {
            "lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay, "maximize": maximize,
            "foreach": foreach, "capturable": capturable, "decoupled_weight_decay": decoupled_weight_decay,
            "differentiable": differentiable})

    def _start(self, group: dict[str, Any], param: Any, state: dict[str, Any]) -> None:
        state["step"] = made(0.0)
        state["exp_avg"] = zeros_for(param)
        state["exp_avg_sq"] = zeros_for(param)

    def _update_group(self, group: dict[str, Any], params: list[Any]) -> None:
        lr, eps, decay = number(group["lr"]), group["eps"], group["weight_decay"]
        beta1, beta2 = group["betas"]
        for param in params:
            state = self.state[param]
            gradient = -param.grad if group["maximize"] else param.grad
            step = self._steps.advance(state)
            if decay != 0:
                if group["decoupled_weight_decay"]:
                    param.mul_(1 - lr * decay)
                else:
                    gradient = gradient.add(param, alpha=decay)
            mean, square, value = state["exp_avg"], state["exp_avg_sq"], param
            if param.is_complex():
                gradient, mean, square, value = (facula.view_as_real(t)
                                                 for t in (gradient, mean, square, param))
            mean.lerp_(gradient, 1 - beta1)
            square.mul_(beta2).addcmul_(gradient, gradient, value=1 - beta2)
            correction2 = 1 - beta2 ** step
            direction = mean / (1 - beta1 ** step)
            longest = 2 / (1 - beta2) - 1  # the length that the moving average of squares tends to
            length = longest - 2 * step * (beta2 ** step) / correction2
            if length > 5.0:
                rectifier = ((length - 4) * (length - 2) * longest
                             / ((longest - 4) * (longest - 2) * length)) ** 0.5
                adaptive = correction2 ** 0.5 / square.sqrt().add_(eps)
                value.add_(direction * lr * adaptive * rectifier, alpha=-1.0)
            else:
                value.add_(direction * lr, alpha=-1.0)
