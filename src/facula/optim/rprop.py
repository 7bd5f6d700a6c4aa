"""Resilient backpropagation."""

from __future__ import annotations

from typing import Any

import facula

from ._scalars import made
from .optimizer import TensorOptimizer, check_rate, gradient_of, number, zeros_for

__all__ = ["Rprop"]


class Rprop(TensorOptimizer):
    """A step size of its own for each element: grows while the gradient keeps its sign, shrinks when it
    turns.

    Args:
        params: tensors or parameter groups.
        lr: the first step size.
        etas: the factors of shrinking and growing.
        step_sizes: the smallest and the largest step.

    Source: Riedmiller and Braun, "A direct adaptive method for faster backpropagation learning", 1993.
    """

    def __init__(self, params: Any, lr: Any = 1e-2, etas: Any = (0.5, 1.2), step_sizes: Any = (1e-6, 50), *,
                 capturable: bool = False, foreach: bool | None = None, maximize: bool = False,
                 differentiable: bool = False) -> None:
        check_rate(lr)
        if not 0.0 < etas[0] < 1.0 < etas[1]:
            raise ValueError(f"Invalid eta values: {etas[0]}, {etas[1]}")
        super().__init__(params, {
            "lr": lr, "etas": etas, "step_sizes": step_sizes, "foreach": foreach, "maximize": maximize,
            "differentiable": differentiable, "capturable": capturable})

    def _start(self, group: dict[str, Any], param: Any, state: dict[str, Any]) -> None:
        state["step"] = made(0.0)
        state["prev"] = zeros_for(param)
        lr = number(group["lr"])
        state["step_size"] = facula.full_like(param.grad, complex(lr, lr) if param.is_complex() else lr)

    def _update_group(self, group: dict[str, Any], params: list[Any]) -> None:
        shrink, grow = group["etas"]
        smallest, largest = group["step_sizes"]
        for param in params:
            state = self.state[param]
            self._steps.advance(state)
            gradient = gradient_of(param, group["maximize"], 0)
            previous, size, value = state["prev"], state["step_size"], param
            if param.is_complex():
                gradient, previous, size, value = (facula.view_as_real(t)
                                                   for t in (gradient, previous, size, param))
            agreement = gradient * previous
            turned = agreement < 0
            # factors of the steps' own type: `where` of two numbers would round them to the default type
            size.mul_(facula.where(turned, shrink, facula.where(agreement > 0, grow, facula.ones_like(size))))
            size.clamp_(smallest, largest)
            gradient = facula.where(turned, 0.0, gradient)  # no step where the sign turned
            value.addcmul_(gradient.sign(), size, value=-1)
            previous.copy_(gradient)
