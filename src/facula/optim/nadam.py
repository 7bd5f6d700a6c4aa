"""NAdam: Adam with Nesterov's look ahead."""

from __future__ import annotations

from typing import Any

import facula

from ._scalars import held, made, number_in, put
from .optimizer import TensorOptimizer, check_at_least_zero, check_betas, check_rate, number, zeros_for

__all__ = ["NAdam"]


class NAdam(TensorOptimizer):
    """`Adam` whose step already contains the coming gradient's share of the mean.

    Args:
        params: tensors or parameter groups.
        lr: the learning rate.
        betas: decay rates of the two means.
        eps: added to the divisor.
        weight_decay: times the parameter is added to the gradient.
        momentum_decay: how slowly the first decay rate comes into force.
        decoupled_weight_decay: shrink the parameter itself instead.

    Source: Dozat, "Incorporating Nesterov momentum into Adam", 2016.
    """

    def __init__(self, params: Any, lr: Any = 2e-3, betas: Any = (0.9, 0.999), eps: float = 1e-8,
                 weight_decay: float = 0, momentum_decay: float = 4e-3, decoupled_weight_decay: bool = False,
                 *, foreach: bool | None = None, maximize: bool = False, capturable: bool = False,
                 differentiable: bool = False) -> None:
        check_rate(lr)
        check_at_least_zero("epsilon", eps)
        check_betas(betas)
        check_at_least_zero("weight_decay", weight_decay)
        check_at_least_zero("momentum_decay", momentum_decay)
        super().__init__(params, {
            "lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay,
            "momentum_decay": momentum_decay, "decoupled_weight_decay": decoupled_weight_decay,
            "maximize": maximize, "foreach": foreach, "capturable": capturable,
            "differentiable": differentiable})

    def _start(self, group: dict[str, Any], param: Any, state: dict[str, Any]) -> None:
        state["step"] = made(0.0)
        state["mu_product"] = made(1.0)
        state["exp_avg"] = zeros_for(param)
        state["exp_avg_sq"] = zeros_for(param)

    def _update_group(self, group: dict[str, Any], params: list[Any]) -> None:
        lr, eps, decay = number(group["lr"]), group["eps"], group["weight_decay"]
        slowness = group["momentum_decay"]
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
            mu = beta1 * (1.0 - 0.5 * (0.96 ** (step * slowness)))
            mu_next = beta1 * (1.0 - 0.5 * (0.96 ** ((step + 1) * slowness)))
            product_held = state["mu_product"]
            product = put(product_held, number_in(product_held) * held(mu, product_held.dtype))
            mean, square, value = state["exp_avg"], state["exp_avg_sq"], param
            if param.is_complex():
                gradient, mean, square, value = (facula.view_as_real(t)
                                                 for t in (gradient, mean, square, param))
            mean.lerp_(gradient, 1 - beta1)
            square.mul_(beta2).addcmul_(gradient, gradient, value=1 - beta2)
            divisor = square.div(1 - beta2 ** step).sqrt().add_(eps)
            value.addcdiv_(gradient, divisor, value=-lr * (1.0 - mu) / (1.0 - product))
            value.addcdiv_(mean, divisor, value=-lr * mu_next / (1.0 - product * mu_next))
