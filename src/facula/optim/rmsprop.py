"""RMSprop."""

from __future__ import annotations

from typing import Any

import facula

from ._scalars import made
from ._updates import ROOT, SQUARES, STEP, rewrite
from .optimizer import TensorOptimizer, check_at_least_zero, check_rate, gradient_of, number, zeros_for

__all__ = ["RMSprop"]


class RMSprop(TensorOptimizer):
    """Steps along the gradient divided by the root of a running mean of its squares.

    Args:
        params: tensors or parameter groups.
        lr: the learning rate.
        alpha: decay rate of the mean.
        eps: added to the divisor.
        weight_decay: times the parameter is added to the gradient.
        momentum: of the steps.
        centered: subtract the squared mean gradient, so that the divisor estimates the deviation.

    Source: Hinton, "Neural networks for machine learning", lecture 6, 2012; centered: Graves, 2013.

    Example:
        >>> import facula
        >>> facula.optim.RMSprop([facula.zeros(1, requires_grad=True)]).defaults["alpha"]
        0.99
    """

    def __init__(self, params: Any, lr: Any = 1e-2, alpha: float = 0.99, eps: float = 1e-8,
                 weight_decay: float = 0, momentum: float = 0, centered: bool = False,
                 capturable: bool = False, foreach: bool | None = None, maximize: bool = False,
                 differentiable: bool = False) -> None:
        check_rate(lr)
        check_at_least_zero("epsilon", eps)
        check_at_least_zero("momentum", momentum)
        check_at_least_zero("weight_decay", weight_decay)
        check_at_least_zero("alpha", alpha)
        super().__init__(params, {
            "lr": lr, "momentum": momentum, "alpha": alpha, "eps": eps, "centered": centered,
            "weight_decay": weight_decay, "capturable": capturable, "foreach": foreach, "maximize": maximize,
            "differentiable": differentiable})

    def _start(self, group: dict[str, Any], param: Any, state: dict[str, Any]) -> None:
        state["step"] = made(0.0)
        state["square_avg"] = zeros_for(param)
        if group["momentum"] > 0:
            state["momentum_buffer"] = zeros_for(param)
        if group["centered"]:
            state["grad_avg"] = zeros_for(param)

    def _update_group(self, group: dict[str, Any], params: list[Any]) -> None:
        lr, alpha, eps, momentum = number(group["lr"]), group["alpha"], group["eps"], group["momentum"]
        for param in params:
            state = self.state[param]
            self._steps.advance(state)
            gradient = gradient_of(param, group["maximize"], group["weight_decay"])
            square, mean, buffer = (state.get(name) for name in ("square_avg", "grad_avg", "momentum_buffer"))
            value = param
            if param.is_complex():
                gradient, square, mean, buffer, value = (None if t is None else facula.view_as_real(t) for t in (
                    gradient, square, mean, buffer, value))
            rewrite(square, SQUARES, (gradient,), (alpha, 1 - alpha))
            variance = square
            if group["centered"]:
                mean.lerp_(gradient, 1 - alpha)
                variance = square.addcmul(mean, mean, value=-1)
            if momentum > 0:
                buffer.mul_(momentum)
                rewrite(buffer, ROOT, (gradient, variance), (1.0, eps))
                rewrite(value, STEP, (buffer,), (-lr,))
            else:
                rewrite(value, ROOT, (gradient, variance), (-lr, eps))
