"""Adam."""

from __future__ import annotations

from typing import Any

import facula

from ._scalars import made
from ._updates import ADAM, MEAN, SCALED, SQUARES, rewrite
from .optimizer import TensorOptimizer, check_at_least_zero, check_rate, number, zeros_for

__all__ = ["Adam"]


class Adam(TensorOptimizer):
    """Steps along a running mean of gradients, divided by the root of a running mean of their squares.

    Args:
        params: tensors or parameter groups.
        lr: the learning rate.
        betas: decay rates of the two means.
        eps: added to the divisor.
        weight_decay: times the parameter is added to the gradient.
        amsgrad: divide by the largest mean of squares so far.
        maximize: climb instead of descend.
        decoupled_weight_decay: shrink the parameter itself instead (this is `AdamW`).
        foreach, capturable, fused: accepted; the update is compiled into few kernels anyway.

    Raises:
        ValueError: an option out of range.

    Source: Kingma and Ba, "Adam: a method for stochastic optimization", 2014.

    Example:
        >>> import facula
        >>> w = facula.zeros(1, requires_grad=True)
        >>> optimizer = facula.optim.Adam([w], lr=0.1)
        >>> w.sum().backward()
        >>> optimizer.step()
        >>> round(w.item(), 4)
        -0.1
    """

    def __init__(self, params: Any, lr: Any = 1e-3, betas: Any = (0.9, 0.999), eps: float = 1e-8,
                 weight_decay: float = 0, amsgrad: bool = False, *, foreach: bool | None = None,
                 maximize: bool = False, capturable: bool = False, differentiable: bool = False,
                 fused: bool | None = None, decoupled_weight_decay: bool = False) -> None:
        check_rate(lr, foreach, capturable)
        check_at_least_zero("epsilon", eps)
        _check_betas(betas, foreach, capturable)
        check_at_least_zero("weight_decay", weight_decay)
        defaults = {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay, "amsgrad": amsgrad,
                    "maximize": maximize, "foreach": foreach, "capturable": capturable,
                    "differentiable": differentiable, "fused": fused,
                    "decoupled_weight_decay": decoupled_weight_decay}
        super().__init__(params, defaults)
        if fused:
            if differentiable:
                raise RuntimeError("`fused` does not support `differentiable`")
            self._step_supports_amp_scaling = True
            if foreach:
                raise RuntimeError("`fused` and `foreach` cannot be `True` together.")

    def _start(self, group: dict[str, Any], param: Any, state: dict[str, Any]) -> None:
        state["step"] = made(0.0)
        state["exp_avg"] = zeros_for(param)
        state["exp_avg_sq"] = zeros_for(param)
        if group["amsgrad"]:
            state["max_exp_avg_sq"] = zeros_for(param)

    def _update_group(self, group: dict[str, Any], params: list[Any]) -> None:
        differentiable = group["differentiable"]
        lr = group["lr"] if differentiable else number(group["lr"])
        beta1, beta2 = (number(beta) for beta in group["betas"])
        eps, decay, maximize = group["eps"], group["weight_decay"], group["maximize"]
        decoupled, amsgrad = group["decoupled_weight_decay"], group["amsgrad"]
        rate_is_tensor = isinstance(lr, facula.Tensor)
        states = self.state
        advance = self._steps.advance
        known: Any = None
        rate: Any = None
        root: Any = None  # known: the step that rate and root below belong to
        for param in params:
            state = states[param]
            gradient = param.grad
            if maximize:
                gradient = -gradient
            step = advance(state)
            if step != known:
                known, rate, root = step, lr / (1 - beta1 ** step), (1 - beta2 ** step) ** 0.5
            if decay != 0:
                if decoupled and not rate_is_tensor:
                    rewrite(param, SCALED, (), (1 - lr * decay,))
                elif decoupled:
                    param.mul_(1 - lr * decay)
                else:
                    gradient = gradient.add(param, alpha=decay)
            mean, square = state["exp_avg"], state["exp_avg_sq"]
            value = param
            if param.is_complex():
                gradient, mean, square, value = (facula.view_as_real(t)
                                                 for t in (gradient, mean, square, param))
            rewrite(mean, MEAN, (gradient,), (1 - beta1,))
            rewrite(square, SQUARES, (gradient,), (beta2, 1 - beta2))
            if amsgrad:
                largest = state["max_exp_avg_sq"]
                if param.is_complex():
                    largest = facula.view_as_real(largest)
                largest.copy_(facula.maximum(largest, square))
                square = largest
            if rate_is_tensor:
                value.add_(mean / (square.sqrt() / root).add_(eps) * -rate)
            else:
                rewrite(value, ADAM, (mean, square), (-rate, root, eps))


def _check_betas(betas: Any, foreach: bool | None, capturable: bool) -> None:
    for i, beta in enumerate(betas):
        if not 0.0 <= beta < 1.0:
            raise ValueError(f"Invalid beta parameter at index {i}: {beta}")
    kinds = {isinstance(beta, facula.Tensor) for beta in betas}
    if kinds == {True, False}:
        raise ValueError("betas must be either both floats or both Tensors")
    if kinds == {True}:
        for i, beta in enumerate(betas):
            if not capturable and foreach:
                raise ValueError(f"betas[{i}] as a Tensor is not supported for capturable=False and "
                                 "foreach=True")
            if beta.numel() != 1:
                raise ValueError(f"Tensor betas[{i}] must be 1-element")
