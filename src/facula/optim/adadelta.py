"""Adadelta."""

from __future__ import annotations

from typing import Any

import facula

from ._scalars import made
from .optimizer import TensorOptimizer, check_at_least_zero, check_rate, gradient_of, number, zeros_for

__all__ = ["Adadelta"]


class Adadelta(TensorOptimizer):
    """Steps whose size follows the running mean square of past steps over that of gradients.

    Args:
        params: tensors or parameter groups.
        lr: a factor of the step.
        rho: decay rate of both means.
        eps: added below the roots.
        weight_decay: times the parameter is added to the gradient.

    Source: Zeiler, "ADADELTA: an adaptive learning rate method", 2012.
    """

    def __init__(self, params: Any, lr: Any = 1.0, rho: float = 0.9, eps: float = 1e-6,
                 weight_decay: float = 0, foreach: bool | None = None, *, capturable: bool = False,
                 maximize: bool = False, differentiable: bool = False) -> None:
        check_rate(lr)
        if not 0.0 <= rho <= 1.0:
            raise ValueError(f"Invalid rho value: {rho}")
        check_at_least_zero("epsilon", eps)
        check_at_least_zero("weight_decay", weight_decay)
        super().__init__(params, {
            "lr": lr, "rho": rho, "eps": eps, "weight_decay": weight_decay, "maximize": maximize,
            "capturable": capturable, "foreach": foreach, "differentiable": differentiable})

    def _start(self, group: dict[str, Any], param: Any, state: dict[str, Any]) -> None:
        state["step"] = made(0.0)
        state["square_avg"] = zeros_for(param)
        state["acc_delta"] = zeros_for(param)

    def _update_group(self, group: dict[str, Any], params: list[Any]) -> None:
        lr, rho, eps = number(group["lr"]), group["rho"], group["eps"]
        for param in params:
            state = self.state[param]
            self._steps.advance(state)
            gradient = gradient_of(param, group["maximize"], group["weight_decay"])
            square, steps, value = state["square_avg"], state["acc_delta"], param
            if param.is_complex():
                gradient, square, steps, value = (facula.view_as_real(t)
                                                  for t in (gradient, square, steps, param))
            square.mul_(rho).addcmul_(gradient, gradient, value=1 - rho)
            delta = steps.add(eps).sqrt_().div_(square.add(eps).sqrt_()).mul_(gradient)
            steps.mul_(rho).addcmul_(delta, delta, value=1 - rho)
            value.add_(delta, alpha=-lr)
