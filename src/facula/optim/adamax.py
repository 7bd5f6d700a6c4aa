"""Adamax: Adam with the largest gradient instead of the mean square."""

from __future__ import annotations

from typing import Any

import facula

from ._scalars import made
from .optimizer import (
    TensorOptimizer,
    check_at_least_zero,
    check_betas,
    check_rate,
    gradient_of,
    number,
    zeros_for,
)

__all__ = ["Adamax"]


class Adamax(TensorOptimizer):
    """Steps along a running mean of gradients, divided by a decaying maximum of their sizes.

    Args:
        params: tensors or parameter groups.
        lr: the learning rate.
        betas: decay rates of mean and maximum.
        eps: added to the gradient's size.
        weight_decay: times the parameter is added to the gradient.

    Source: Kingma and Ba, "Adam: a method for stochastic optimization", 2014, section 7.
    """

    def __init__(self, params: Any, lr: Any = 2e-3, betas: Any = (0.9, 0.999), eps: float = 1e-8,
                 weight_decay: float = 0, foreach: bool | None = None, *, maximize: bool = False,
                 differentiable: bool = False, capturable: bool = False) -> None:
        check_rate(lr)
        check_at_least_zero("epsilon", eps)
        check_betas(betas)
        check_at_least_zero("weight_decay", weight_decay)
        super().__init__(params, {
            "lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay, "foreach": foreach,
            "maximize": maximize, "differentiable": differentiable, "capturable": capturable})

    def _start(self, group: dict[str, Any], param: Any, state: dict[str, Any]) -> None:
        state["step"] = made(0.0)
        state["exp_avg"] = zeros_for(param)
        state["exp_inf"] = zeros_for(param)

    def _update_group(self, group: dict[str, Any], params: list[Any]) -> None:
        lr, eps = number(group["lr"]), group["eps"]
        beta1, beta2 = group["betas"]
        for param in params:
            state = self.state[param]
            step = self._steps.advance(state)
            gradient = gradient_of(param, group["maximize"], group["weight_decay"])
            mean, largest, value = state["exp_avg"], state["exp_inf"], param
            if param.is_complex():
                gradient, mean, largest, value = (facula.view_as_real(t)
                                                  for t in (gradient, mean, largest, param))
            mean.lerp_(gradient, 1 - beta1)
            largest.copy_(facula.maximum(largest.mul_(beta2), gradient.abs().add_(eps)))
            value.addcdiv_(mean, largest, value=-lr / (1 - beta1 ** step))
