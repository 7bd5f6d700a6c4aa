"""Averaged stochastic gradient descent."""

from __future__ import annotations

from typing import Any

import facula

from ._scalars import made, number_in, put
from .optimizer import TensorOptimizer, check_at_least_zero, check_rate, gradient_of, number, zeros_for

__all__ = ["ASGD"]


class ASGD(TensorOptimizer):
    """Gradient descent with a decaying rate that also keeps the average of the parameters (state "ax").

    Args:
        params: tensors or parameter groups.
        lr: the first learning rate.
        lambd: decay of the parameters and of the rate.
        alpha: power of the rate's decay.
        t0: the step at which averaging starts.
        weight_decay: times the parameter is added to the gradient.

    Source: Polyak and Juditsky, "Acceleration of stochastic approximation by averaging", 1992.
    """

    def __init__(self, params: Any, lr: Any = 1e-2, lambd: float = 1e-4, alpha: float = 0.75, t0: float = 1e6,
                 weight_decay: float = 0, foreach: bool | None = None, maximize: bool = False,
                 differentiable: bool = False, capturable: bool = False) -> None:
        check_rate(lr)
        check_at_least_zero("weight_decay", weight_decay)
        super().__init__(params, {
            "lr": lr, "lambd": lambd, "alpha": alpha, "t0": t0, "weight_decay": weight_decay,
            "foreach": foreach, "maximize": maximize, "differentiable": differentiable,
            "capturable": capturable})

    def _start(self, group: dict[str, Any], param: Any, state: dict[str, Any]) -> None:
        state["step"] = made(0.0)
        state["eta"] = made(number(group["lr"]))
        state["mu"] = made(1.0)
        state["ax"] = zeros_for(param)

    def _update_group(self, group: dict[str, Any], params: list[Any]) -> None:
        lr, lambd, alpha, t0 = number(group["lr"]), group["lambd"], group["alpha"], group["t0"]
        for param in params:
            state = self.state[param]
            gradient = gradient_of(param, group["maximize"], group["weight_decay"])
            average, value = state["ax"], param
            if param.is_complex():
                gradient, average, value = (facula.view_as_real(t) for t in (gradient, average, param))
            step = self._steps.advance(state)
            rate, mu = number_in(state["eta"]), number_in(state["mu"])
            value.mul_(1 - lambd * rate)
            value.add_(gradient, alpha=-rate)
            if mu != 1:
                average.add_(value.sub(average).mul_(mu))
            else:
                average.copy_(value)
            put(state["eta"], lr / ((1 + lambd * lr * step) ** alpha))
            put(state["mu"], 1 / max(1, step - t0))
