"""Tangents of operations that no primitive can tell: host routines, and what is computed from values looked at.

Their gradient rule is linear in the gradient: differentiated by it, it gives the tangent. `attach` asks here.
"""

from __future__ import annotations

from typing import Any

from facula._tensor.handle import Tensor, new, read
from facula.autograd.backward import grad
from facula.autograd.graph import Rule, Saved, grad_node, mode
from facula.dtypes import FLOAT
from facula.engine.graph.node import DUAL, LOST, Node
from facula.transforms.forward import Forward, dual
from facula.transforms.levels import Crossing, const, level_of


def give_tangents(outs: tuple[Tensor, ...], rule: Rule, inputs: tuple[Any, ...], saved: tuple[Any, ...]) -> None:
    """Make DUALs of the results of an operation, where its primitives have not done so."""
    if isinstance(rule, Crossing):
        return
    while (level := _missing(outs, inputs)) is not None:
        _give(level, outs, rule, inputs, saved)


def _missing(outs: tuple[Tensor, ...], inputs: tuple[Any, ...]) -> Forward | None:
    """The innermost level of which an input is and the results are not."""
    found: Forward | None = None
    for t in inputs:
        if t is None:
            continue
        node = read(t)
        while node.op.kind == "traced":
            level = level_of(node)
            if node.op is DUAL and isinstance(level, Forward) and (found is None or level.order > found.order) and any(
                    o.dtype.category >= FLOAT and not _has(read(o), level) for o in outs):
                found = level
            node = node.inputs[0]
    return found


def _has(node: Node, level: Forward) -> bool:
    while node.op.kind == "traced":
        if level_of(node) is level:
            return node.op is not LOST
        node = node.inputs[0]
    return False


def _primal(node: Node, level: Forward) -> Node:
    """`node` without what `level` knows of it."""
    return node.inputs[0] if node.op in (DUAL, LOST) and level_of(node) is level else node


def _give(level: Forward, outs: tuple[Tensor, ...], rule: Rule, inputs: tuple[Any, ...],
          saved: tuple[Any, ...]) -> None:
    given = [None if t is None else read(t) for t in inputs]
    moving = [node is not None and node.op is DUAL and level_of(node) is level for node in given]
    if not any(moving):
        raise NotImplementedError(f"facula: forward mode of {rule.name.removesuffix('Backward0')} within vmap")
    values = [_primal(read(o), level) for o in outs]
    kept: list[Any] = []
    for s in saved:
        if isinstance(s, Tensor):
            own = next((k for k, o in enumerate(outs) if s is o), None)
            kept.append(Saved(_primal(read(s), level), None, None, False) if own is None
                        else Saved(values[own], None, None, False))
        elif type(s) is tuple and len(s) == 2 and s[0] == "out":
            kept.append(Saved(values[s[1]], None, None, False))
        else:
            kept.append(_primal(s, level) if isinstance(s, Node) else s)
    before = mode.grad
    mode.grad = True
    try:
        seeds = [_seed(value) if value.dtype.category >= FLOAT else None for value in values]
        ends = tuple([_seed(node) if m and node is not None else None for node, m in zip(given, moving, strict=True)])
        step = grad_node(rule, ends, tuple(kept), tuple([None if t is None else t.shape for t in inputs]),
                         tuple([None if t is None else t.dtype for t in inputs]))
        step.outputs = len(outs)
        step.__dict__["_out_meta"] = [(o.shape, o.dtype) for o in outs]
        back = rule.backward(step, *seeds)
        pairs = [(b, new(node.inputs[1])) for b, node, m in zip(back, given, moving, strict=False)
                 if m and b is not None and node is not None and b._rg]
        wanted = [k for k, seed in enumerate(seeds) if seed is not None]
        found: Any = [None] * len(wanted)
        if pairs:
            found = grad([b for b, _ in pairs], [seeds[k] for k in wanted], [t for _, t in pairs],
                         allow_unused=True)
    finally:
        mode.grad = before
    tangents = dict(zip(wanted, found, strict=True))
    for k, (out, value) in enumerate(zip(outs, values, strict=True)):
        if out.dtype.category < FLOAT or _has(read(out), level):
            continue
        t = tangents.get(k)
        tangent = const(0, out.shape, out.dtype) if t is None else read(t)
        out._node = dual(level, value, tangent)


def _seed(node: Node) -> Tensor:
    """A leaf to differentiate by. Its value does not matter, but rules may look at signs: no zeros."""
    t = new(const(1, node.shape, node.dtype))
    t._rg = node.dtype.category >= FLOAT  # an end of the tape: the caller asks for floats only
    return t
