"""Results that a tensor no longer has a say in, and that stay on the tape all the same.

`x.zero_()`, `bernoulli(p)`, `matrix_power(a, 0)`: PyTorch's result requires a gradient if the tensor does, and
that gradient is zero, not absent: an optimizer steps on zeros and skips what has none.

The gradients of some linear operations are of this kind under `create_graph`: PyTorch computes that of a pool from
the pool's input, whose own share in it is zero, so that a penalty on it may be differentiated. `leaning` does so.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from facula._tensor.handle import Tensor, new
from facula._tensor.reading import read, restored
from facula._tensor.tape import attach, edge_of, zero_gradients
from facula.autograd.graph import Rule, mode
from facula.ops.casting import constant


def _kept(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:
    return zero_gradients(ctx, g)[0], g if ctx.needs[1] else None


@functools.cache
def _rule(name: str, leans: bool = False) -> Rule:
    return Rule(name, leaning(zero_gradients) if leans else zero_gradients)


_COPY = Rule("CopyBackwards", _kept)


def severed(out: Tensor, *inputs: Any, name: str, leans: bool = False) -> Tensor:
    """`out`, a fresh tensor, on the tape with a gradient of zero for each of `inputs`; it `leans` as the operation's
    own does (see `leaning`)."""
    return attach(out, _rule(name, leans), inputs)


def overwriting(self: Tensor, value: Tensor, name: str = "") -> Tensor:
    """`value` as what `self` is about to be overwritten with: the old history of `self` gets zeros.

    A view needs none of it: its base keeps the history of the elements around it.
    """
    if not self._rg or self._grad_fn is None or self._base is not None:
        return value
    if name:
        return attach(value, _rule(name), (self,))
    return attach(new(read(value)), _COPY, (self, value))


def untouched(input: Tensor, src: Any, name: str) -> Tensor:
    """A copy of `input`, into which nothing of `src` (a tensor, or a number) has been written: an index was empty."""
    return attach(new(read(input)), _untouched(name), (input, src if isinstance(src, Tensor) else None))


@functools.cache
def _untouched(name: str) -> Rule:
    return Rule(name, lambda ctx, g: (g if ctx.needs[0] else None,
                                      zero_gradients(ctx, g)[1] if ctx.needs[1] else None))


# ---- gradients that require a gradient ------------------------------------------------------------------

_LEANS = Rule("LeaningBackward0", lambda ctx, g: (g if ctx.needs[0] else None, zero_gradients(ctx, g)[1]))
_RESTS = Rule("LeaningBackward0", lambda ctx, g: (g, None))


def leaning(backward: Callable[..., Any], zeros: bool = True) -> Callable[..., Any]:
    """A rule's `backward`, whose gradients require one themselves if they are computed under `create_graph`.

    `zeros`: what they give each input of the step is zeros, as a pool's do; else nothing, as a convolution's.
    """
    @functools.wraps(backward)
    def leaned(ctx: Any, *grads: Any) -> Any:
        results = backward(ctx, *grads)
        if not mode.grad:
            return results
        inputs = [_input(ctx, k) for k in range(len(ctx.edges)) if ctx.edges[k] is not None]
        return tuple([g if g is None else _on(g, inputs, zeros) for g in results])
    return leaned


def _input(ctx: Any, k: int) -> Tensor:
    """A tensor in the place on the tape that an input of the step had; its value counts for nothing."""
    edge = ctx.edges[k]
    return edge if isinstance(edge, Tensor) else restored(constant(0, ctx.shapes[k], ctx.dtypes[k]), edge, True)


def _on(g: Tensor, inputs: list[Tensor], zeros: bool) -> Tensor:
    for x in inputs:
        if zeros or edge_of(g) is None:
            g = attach(new(read(g)), _LEANS if zeros else _RESTS, (g, x))
    return g


_PASSED = (Rule("AliasBackward0", leaning(lambda ctx, g: (g,), False)),
           Rule("AliasBackward0", leaning(lambda ctx, g: (g,))))


def leaned(x: Tensor, zeros: bool = True) -> Tensor:
    """`x` as an operation of several steps reads it whose gradient is to be as `leaning` says."""
    return attach(new(read(x)), _PASSED[zeros], (x,)) if mode.grad and edge_of(x) is not None else x
