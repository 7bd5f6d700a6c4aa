"""Where a program switches gradients off and on: what stands for that in a graph."""

from __future__ import annotations

from facula.autograd.graph import mode
from facula.fx.node import has_side_effect

__all__ = ["set_grad"]


@has_side_effect
def set_grad(enabled: bool) -> bool:
    """Switch gradients on or off. Gives what they were, for the end of the region: a graph that is called within
    `no_grad` leaves them off.

    Example:
        >>> import facula
        >>> from facula.export._regions import set_grad
        >>> before = set_grad(False)
        >>> set_grad(before), facula.is_grad_enabled()
        (False, True)
    """
    before, mode.grad = mode.grad, enabled and not mode.inference
    return before
