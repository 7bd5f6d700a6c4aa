"""Stochastic gradient descent."""

from __future__ import annotations

from typing import Any

import facula

from ._updates import MOMENTUM, STEP, rewrite
from .optimizer import TensorOptimizer, check_at_least_zero, check_rate, number

__all__ = ["SGD"]


class SGD(TensorOptimizer):
    """`p = p - lr * v`, with `v = momentum * v + (1 - dampening) * gradient`.

    Args:
        params: tensors or parameter groups.
        lr: the learning rate.
        momentum: 0 means that v is the gradient.
        dampening: how much of the gradient does not enter v.
        weight_decay: times the parameter is added to the gradient.
        nesterov: look ahead: step along `gradient + momentum * v`.
        maximize: climb instead of descend.
        foreach, fused: accepted; the update of all parameters is compiled into few kernels anyway.

    Raises:
        ValueError: an option out of range.

    Source: Sutskever et al., "On the importance of initialization and momentum in deep learning", 2013.

    Example:
        >>> import facula
        >>> facula.optim.SGD([facula.zeros(1, requires_grad=True)], lr=0.1, momentum=0.9).defaults["momentum"]
        0.9
    """

    def __init__(self, params: Any, lr: Any = 1e-3, momentum: float = 0, dampening: float = 0,
                 weight_decay: Any = 0, nesterov: bool = False, *, maximize: bool = False,
                 foreach: bool | None = None, differentiable: bool = False,
                 fused: bool | None = None) -> None:
        check_rate(lr)
        check_at_least_zero("momentum", momentum)
        check_at_least_zero("weight_decay", weight_decay)
        defaults = {"lr": lr, "momentum": momentum, "dampening": dampening, "weight_decay": weight_decay,
                    "nesterov": nesterov, "maximize": maximize, "foreach": foreach,
                    "differentiable": differentiable, "fused": fused}
        if nesterov and (momentum <= 0 or dampening != 0):
            raise ValueError("Nesterov momentum requires a momentum and zero dampening")
        super().__init__(params, defaults)
        if fused:
            self._step_supports_amp_scaling = True
            if differentiable:
                raise RuntimeError("`fused` does not support `differentiable`")
            if foreach:
                raise RuntimeError("`fused` and `foreach` cannot be `True` together.")

    def _update_group(self, group: dict[str, Any], params: list[Any]) -> None:
        minus_lr = -(group["lr"] if group["differentiable"] else number(group["lr"]))
        momentum, dampening, decay = group["momentum"], group["dampening"], group["weight_decay"]
        nesterov, maximize = group["nesterov"], group["maximize"]
        rate_is_tensor = isinstance(minus_lr, facula.Tensor)
        state = self.state
        for param in params:
            gradient = param.grad
            if maximize:
                gradient = -gradient
            if decay != 0:
                gradient = gradient.add(param, alpha=decay)
            if momentum != 0:
                entry = state[param]
                buffer = entry.get("momentum_buffer")
                if buffer is None:
                    buffer = entry["momentum_buffer"] = gradient.detach().clone()
                else:
                    rewrite(buffer, MOMENTUM, (gradient,), (momentum, 1 - dampening))
                gradient = gradient.add(buffer, alpha=momentum) if nesterov else buffer
            if rate_is_tensor:
                param.add_(gradient * minus_lr)
            else:
                rewrite(param, STEP, (gradient,), (minus_lr,))
