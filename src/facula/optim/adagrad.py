"""Adagrad."""

from __future__ import annotations

from typing import Any

import facula

from ._scalars import made
from ._updates import ROOT, SUM_OF_SQUARES, rewrite
from .optimizer import TensorOptimizer, check_at_least_zero, check_rate, gradient_of, number

__all__ = ["Adagrad"]


class Adagrad(TensorOptimizer):
    """Steps along the gradient divided by the root of the sum of its squares so far.

    Args:
        params: tensors or parameter groups.
        lr: the learning rate.
        lr_decay: the rate is divided by `1 + (step - 1) * lr_decay`.
        weight_decay: times the parameter is added to the gradient.
        initial_accumulator_value: what the sum of squares starts with.
        eps: added to the divisor.

    Source: Duchi et al., "Adaptive subgradient methods", 2011.

    Example:
        >>> import facula
        >>> facula.optim.Adagrad([facula.zeros(1, requires_grad=True)]).defaults["lr"]
        0.01
    """

    def __init__(self, params: Any, lr: Any = 1e-2, lr_decay: float = 0, weight_decay: float = 0,
                 initial_accumulator_value: float = 0, eps: float = 1e-10, foreach: bool | None = None, *,
                 maximize: bool = False, differentiable: bool = False, fused: bool | None = None) -> None:
        check_rate(lr)
        check_at_least_zero("lr_decay", lr_decay)
        check_at_least_zero("weight_decay", weight_decay)
        check_at_least_zero("initial_accumulator_value", initial_accumulator_value)
        check_at_least_zero("epsilon", eps)
        super().__init__(params, {
            "lr": lr, "lr_decay": lr_decay, "eps": eps, "weight_decay": weight_decay,
            "initial_accumulator_value": initial_accumulator_value, "foreach": foreach, "maximize": maximize,
            "differentiable": differentiable, "fused": fused})
        if fused:
            if differentiable:
                raise RuntimeError("`fused` does not support `differentiable`")
            if foreach:
                raise RuntimeError("`fused` and `foreach` cannot be `True` together.")
        for group in self.param_groups:  # unlike the others, the state is there from the start
            for param in group["params"]:
                self._start(group, param, self.state[param])

    def _start(self, group: dict[str, Any], param: Any, state: dict[str, Any]) -> None:
        initial = group["initial_accumulator_value"]
        state["step"] = made(0.0)
        state["sum"] = facula.full_like(param, complex(initial, initial) if param.is_complex() else initial,
                                        memory_format=facula.preserve_format).detach()

    def share_memory(self) -> None:
        """Move the state into memory that other processes can map."""
        for group in self.param_groups:
            for param in group["params"]:
                self.state[param]["sum"].share_memory_()

    def _update_group(self, group: dict[str, Any], params: list[Any]) -> None:
        lr, lr_decay, eps = number(group["lr"]), group["lr_decay"], group["eps"]
        for param in params:
            state = self.state[param]
            step = self._steps.advance(state)
            gradient = gradient_of(param, group["maximize"], group["weight_decay"])
            total, value = state["sum"], param
            if param.is_complex():
                gradient, total, value = (facula.view_as_real(t) for t in (gradient, total, param))
            rewrite(total, SUM_OF_SQUARES, (gradient,), ())
            rewrite(value, ROOT, (gradient, total), (-lr / (1 + (step - 1) * lr_decay), eps))
