"""Limiting gradients."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import facula
from facula._tensor.many import changed, gathered
from facula.errors import warn

__all__ = ["clip_grad_norm", "clip_grad_norm_", "clip_grad_value_", "clip_grads_with_norm_", "get_total_norm"]


def _listed(parameters: Any) -> list[Any]:
    if isinstance(parameters, facula.Tensor):
        return [parameters]
    listed = list(parameters)
    if not listed and not isinstance(parameters, (list, tuple, dict)):
        warn("`parameters` is an empty generator, no gradient clipping will occur.")
    return listed


def _total_norm(tensors: list[Any], norm_type: float, error_if_nonfinite: bool) -> Any:
    if not tensors:
        return facula.tensor(0.0)
    norm_type = float(norm_type)
    device = tensors[0].device
    norms = gathered(tensors, lambda t: facula.linalg.vector_norm(t, norm_type).to(device))
    total = facula.linalg.vector_norm(norms, norm_type)
    if error_if_nonfinite and bool(facula.logical_or(total.isnan(), total.isinf())):
        raise RuntimeError(f"The total norm of order {norm_type} for gradients from `parameters` is "
                           "non-finite, so it cannot be clipped. To disable this error and scale the "
                           "gradients by the non-finite norm anyway, set `error_if_nonfinite=False`")
    return total


def get_total_norm(tensors: Any, norm_type: float = 2.0, error_if_nonfinite: bool = False,
                   foreach: bool | None = None) -> Any:
    """The norm of all tensors' elements taken together, as a 0-d tensor.

    Raises:
        RuntimeError: the norm is not finite and `error_if_nonfinite` is set.
    """
    with facula.no_grad():
        return _total_norm([tensors] if isinstance(tensors, facula.Tensor) else list(tensors), norm_type,
                           error_if_nonfinite)


def clip_grads_with_norm_(parameters: Any, max_norm: float, total_norm: Any,
                          foreach: bool | None = None) -> None:
    """Scale gradients in place by `max_norm / total_norm` where that is below 1."""
    gradients = [p.grad for p in _listed(parameters) if p.grad is not None]
    if not gradients:
        return
    with facula.no_grad():
        # Always multiplied, so that nothing has to wait for the norm's value.
        factor = (float(max_norm) / (total_norm + 1e-6)).clamp(max=1.0)
        changed(gradients, lambda gradient, factor: gradient.mul_(factor.to(gradient.device)), factor)


def clip_grad_norm_(parameters: Any, max_norm: float, norm_type: float = 2.0,
                    error_if_nonfinite: bool = False, foreach: bool | None = None) -> Any:
    """Scale gradients in place so that their norm, all taken together, is at most `max_norm`.

    Returns:
        The norm before, a 0-d tensor.

    Raises:
        RuntimeError: the norm is not finite and `error_if_nonfinite` is set.

    Example:
        >>> import facula
        >>> p = facula.nn.Parameter(facula.zeros(2))
        >>> p.grad = facula.tensor([3.0, 4.0])
        >>> facula.nn.utils.clip_grad_norm_([p], 1.0).item()
        5.0
    """
    parameters = _listed(parameters)
    gradients = [p.grad for p in parameters if p.grad is not None]
    with facula.no_grad():
        total = _total_norm(gradients, norm_type, error_if_nonfinite)
    clip_grads_with_norm_(parameters, max_norm, total, foreach)
    return total


def clip_grad_norm(parameters: Any, max_norm: float, norm_type: float = 2.0, error_if_nonfinite: bool = False,
                   foreach: bool | None = None) -> Any:
    """The older name of `clip_grad_norm_`."""
    warn("torch.nn.utils.clip_grad_norm is now deprecated in favor of "
         "torch.nn.utils.clip_grad_norm_.",
         FutureWarning)
    return clip_grad_norm_(parameters, max_norm, norm_type, error_if_nonfinite, foreach)


def clip_grad_value_(parameters: Any, clip_value: float, foreach: bool | None = None) -> None:
    """Limit each element of the gradients to [-clip_value, clip_value], in place."""
    if not isinstance(parameters, Iterable):
        parameters = [parameters]
    limit = float(clip_value)
    with facula.no_grad():
        gradients = [p.grad for p in _listed(parameters) if p.grad is not None]
        changed(gradients, lambda gradient: gradient.clamp_(min=-limit, max=limit))
