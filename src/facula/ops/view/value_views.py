"""VIEWs of values, on the tape without sharing memory: what nobody writes into is never copied."""

from __future__ import annotations

from typing import Any

from facula._tensor.handle import Tensor, new
from facula._tensor.layout import viewed
from facula._tensor.reading import lay, read, view_node
from facula._tensor.tape import attach
from facula.autograd.graph import Rule
from facula.engine.graph.node import Node, contiguous_strides


def reshaped(node: Node, shape: tuple[int, ...]) -> Node:
    """A node's elements, in their order, under another shape."""
    if node.shape == shape:
        return node
    return view_node(node, shape, contiguous_strides(shape), 0, node.dtype)


def turned(node: Node, dims: tuple[int, ...]) -> Node:
    """`node` with its dimensions permuted."""
    strides = contiguous_strides(node.shape)
    return view_node(node, tuple([node.shape[d] for d in dims]), tuple([strides[d] for d in dims]),
                     0, node.dtype)


def _shape_rule(name: str) -> Rule:
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor]:
        return (reshape_value(g, ctx.shapes[0]),)
    return Rule(name, backward)


UNSAFE_VIEW_RULE = _shape_rule("UnsafeViewBackward0")
VIEW_RULE = _shape_rule("ViewBackward0")
SQUEEZE_RULE = _shape_rule("SqueezeBackward4")


def reshape_value(t: Tensor, shape: tuple[int, ...], rule: Rule = UNSAFE_VIEW_RULE) -> Tensor:
    """The elements of `t` in another shape: a value of its own, whatever happens to `t` later."""
    if t.shape == shape and rule is not VIEW_RULE:
        return t
    out = new(reshaped(read(t), shape))
    if t._storage is not None:
        lay(out, viewed(t.shape, t._strides, shape))
    return attach(out, rule, (t,))


def owned(t: Tensor) -> Tensor:
    """A view of what nobody else holds as a value of its own, laid out alike: `detach_` and others ask."""
    return t if t._base is None else t.clone()  # type: ignore[attr-defined,no-any-return]


def _permute_backward(ctx: Any, g: Tensor) -> tuple[Tensor]:
    dims = ctx.saved[0]
    inverse = [0] * len(dims)
    for place, d in enumerate(dims):
        inverse[d] = place
    return (permute_value(g, tuple(inverse)),)


_PERMUTE = Rule("PermuteBackward0", _permute_backward)


def permute_value(t: Tensor, dims: tuple[int, ...]) -> Tensor:
    """`t` with its dimensions permuted, as a value of its own."""
    if dims == tuple(range(len(dims))):
        return t
    return attach(new(turned(read(t), dims)), _PERMUTE, (t,), (dims,))


def transposed(t: Tensor) -> Tensor:
    """The matrices of `t` transposed."""
    n = len(t.shape)
    return permute_value(t, (*range(n - 2), n - 1, n - 2))
