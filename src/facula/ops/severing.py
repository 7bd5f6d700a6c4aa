"""Results that a tensor no longer has a say in, and that stay on the tape all the same.

`x.zero_()`, `bernoulli(p)`, `matrix_power(a, 0)`: PyTorch's result requires a gradient if the tensor does, and
that gradient is zero, not absent: an optimizer steps on zeros and skips what has none.
"""

from __future__ import annotations

import functools
from typing import Any

from facula._tensor.handle import Tensor, attach, new, read, zero_gradients
from facula.autograd.graph import Rule


def _kept(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:
    return zero_gradients(ctx, g)[0], g if ctx.needs[1] else None


@functools.cache
def _rule(name: str) -> Rule:
    return Rule(name, zero_gradients)


_COPY = Rule("CopyBackwards", _kept)


def severed(out: Tensor, *inputs: Any, name: str) -> Tensor:
    """`out`, a fresh tensor, on the tape with a gradient of zero for each of `inputs`."""
    return attach(out, _rule(name), inputs)


def overwriting(self: Tensor, value: Tensor, name: str = "") -> Tensor:
    """`value` as what `self` is about to be overwritten with: the old history of `self` gets zeros.

    A view needs none of it: its base keeps the history of the elements around it.
    """
    if not self._rg or self._grad_fn is None or self._base is not None:
        return value
    if name:
        return attach(value, _rule(name), (self,))
    return attach(new(read(value)), _COPY, (self, value))
