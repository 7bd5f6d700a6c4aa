"""Tangents of operations that no primitive can tell: host routines, and what is computed from values looked at.

Their gradient rule is linear in the gradient: differentiated by it, it gives the tangent. `attach` asks here.
"""

from __future__ import annotations

from typing import Any

from facula._tensor.handle import Tensor, device_of, new
from facula._tensor.reading import read
from facula.autograd.backward import grad
from facula.autograd.graph import Rule, Saved, by_rule, grad_node, mode
from facula.dtypes import FLOAT
from facula.engine import recorder
from facula.engine.graph.node import BATCHED, DUAL, LOST, Node
from facula.transforms.batching import Batch, batched
from facula.transforms.forward import Forward, dual
from facula.transforms.levels import DO, Crossing, const, inside, level_of


def give_tangents(outs: tuple[Tensor, ...], rule: Rule, inputs: tuple[Any, ...], saved: tuple[Any, ...]) -> None:
    """Make DUALs of the results of an operation, where its primitives have not done so."""
    if isinstance(rule, Crossing):
        return
    if rule in by_rule:
        for out in outs:
            _lose(out, inputs)
    level = _missing(outs, inputs)
    if level is not None:
        _give(level, outs, rule, inputs, saved)


def _missing(outs: tuple[Tensor, ...], inputs: tuple[Any, ...]) -> Forward | None:
    """The innermost level of which an input is and the results are not."""
    found: Forward | None = None
    for t in inputs:
        node = None if t is None else read(t)
        while node is not None and node.op.kind == "traced":
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


def _zeros(like: Node) -> Node:
    return const(0, like.shape, like.dtype, like.device)


def _lose(out: Tensor, inputs: tuple[Any, ...]) -> None:
    """Take the tangents from a result: its rule gives others."""
    while (level := _missing((new(_zeros(read(out))),), inputs)) is not None and _has(read(out), level):
        out._node = _split(read(out), level)[0]
        inputs = tuple([None if t is None else new(_split(read(t), level)[0]) for t in inputs])


def _split(node: Node, level: Forward) -> tuple[Node, Node | None]:
    """The value and the tangent of a node that is of no other forward level further in."""
    if node.op is BATCHED:
        outer = level_of(node)
        assert isinstance(outer, Batch)
        value, tangent = _split(node.inputs[0], level)
        if value is node.inputs[0]:
            return node, None
        return batched(outer, value, node.shape), None if tangent is None else batched(outer, tangent, node.shape)
    if node.op.kind == "traced" and level_of(node) is level:
        return node.inputs[0], node.inputs[1] if node.op is DUAL else None
    return node, None


def _joined(value: Node, tangent: Node, level: Forward) -> Node:
    """What `_split` takes apart."""
    inner: Batch | None = None
    for node in (value, tangent):
        found = level_of(node)
        if isinstance(found, Batch) and found.order > level.order and (inner is None or found.order > inner.order):
            inner = found
    if inner is None:
        return dual(level, value, tangent)
    mine = [level_of(node) is inner for node in (value, tangent)]
    parts = [DO.over(inner.size, node.inputs[0] if m else node, m)
             for node, m in zip((value, tangent), mine, strict=True)]
    return batched(inner, _joined(parts[0], parts[1], level), value.shape)


def _give(level: Forward, outs: tuple[Tensor, ...], rule: Rule, inputs: tuple[Any, ...],
          saved: tuple[Any, ...]) -> None:
    pairs: list[tuple[Node | None, Node | None]] = [
        (None, None) if t is None else _split(read(t), level) for t in inputs]
    values = tuple([t if value is None or tangent is None else new(value)
                    for t, (value, tangent) in zip(inputs, pairs, strict=True)])
    primals = tuple([new(_split(read(o), level)[0]) for o in outs])
    kept = tuple([_without(s, level, outs, primals, inputs, values) for s in saved])
    give_tangents(primals, rule, values, kept)  # of levels further out
    tangents = _pushed(rule, primals, values, [t for _, t in pairs], kept)
    for out, primal, tangent in zip(outs, primals, tangents, strict=True):
        if out.dtype.category >= FLOAT and not _has(read(out), level):
            t = _zeros(read(out)) if tangent is None else read(tangent)
            out._node = _joined(read(primal), t, level)


def _without(s: Any, level: Forward, outs: tuple[Tensor, ...], primals: tuple[Tensor, ...], inputs: tuple[Any, ...],
             values: tuple[Any, ...]) -> Any:
    """Something saved, without its tangent."""
    if isinstance(s, Node):
        return _split(s, level)[0]
    if not isinstance(s, Tensor):
        return s
    for own, there in zip((*outs, *inputs), (*primals, *values), strict=True):
        if s is own:
            return there
    return new(_split(read(s), level)[0])


def _pushed(rule: Rule, outs: tuple[Tensor, ...], inputs: tuple[Any, ...], tangents: list[Node | None],
            saved: tuple[Any, ...]) -> list[Tensor | None]:
    """The tangents of `outs`, by differentiating the gradients that the rule gives by the gradient it is given."""
    kept: list[Any] = []
    for s in saved:
        if type(s) is tuple and len(s) == 2 and s[0] == "out":
            s = outs[s[1]]
        kept.append(Saved(read(s), None, None, False) if isinstance(s, Tensor) else s)
    before = mode.grad
    mode.grad = True
    try:
        seeds = [_seed(o) for o in outs]
        ends = tuple([None if t is None else _seed(x) for t, x in zip(tangents, inputs, strict=True)])
        step = grad_node(rule, ends, tuple(kept), tuple([None if x is None else x.shape for x in inputs]),
                         tuple([None if x is None else x.dtype for x in inputs]))
        step.outputs = len(outs)
        step.__dict__["_out_meta"] = [(o.shape, o.dtype) for o in outs]
        back = rule.backward(step, *seeds)
        moving = [(b, new(t)) for b, t in zip(back, tangents, strict=False)
                  if t is not None and b is not None and b._rg]
        wanted = [s for s in seeds if s is not None]
        found: Any = [None] * len(wanted)
        if moving:
            with inside():
                found = grad([b for b, _ in moving], wanted, [t for _, t in moving], allow_unused=True)
    finally:
        mode.grad = before
    ready = iter(found)
    return [None if s is None else next(ready) for s in seeds]


# ---- custom Functions ---------------------------------------------------------------------------------------


def function_tangents(cls: Any, ctx: Any, args: tuple[Any, ...], outs: tuple[Any, ...]) -> None:
    """The tangents that a Function's `jvp` gives, in place of those of what `forward` has called."""
    nodes = tuple([read(a) if isinstance(a, Tensor) else None for a in args])
    if _innermost(nodes) is None:
        return
    for out in outs:
        if isinstance(out, Tensor) and (out._node is None or any(out is a for a in args)):
            raise NotImplementedError(f"facula: forward mode of {cls.__name__}, which returns its input or a view of "
                                      "it")
    kept, ctx._to_save = ctx._to_save, ctx._for_forward
    try:
        found = _by_jvp(cls, ctx, nodes, tuple([o._node if isinstance(o, Tensor) else None for o in outs]))
    finally:
        ctx._to_save = kept
    for out, node in zip(outs, found, strict=True):
        if isinstance(out, Tensor):
            fixed = any(out is t for t in ctx._fixed)
            out._node = recorder.above.detached(node) if fixed else node


def _innermost(nodes: tuple[Any, ...]) -> Forward | None:
    found: Forward | None = None
    for node in nodes:
        while node is not None and node.op.kind == "traced":
            level = level_of(node)
            if node.op is DUAL and isinstance(level, Forward) and (found is None or level.order > found.order):
                found = level
            node = node.inputs[0]
    return found


def _by_jvp(cls: Any, ctx: Any, args: tuple[Any, ...], outs: tuple[Any, ...]) -> tuple[Any, ...]:
    level = _innermost(args)
    if level is None:
        return outs
    pairs: list[Any] = [(None, None) if node is None else _split(node, level) for node in args]
    values = _by_jvp(cls, ctx, tuple([v for v, _ in pairs]),
                     tuple([None if o is None else _split(o, level)[0] for o in outs]))
    given = cls.jvp(ctx, *[None if v is None or v.dtype.category < FLOAT else new(_zeros(v))
                           if t is None else new(t) for v, t in pairs])
    tangents = given if isinstance(given, tuple) else (given,)
    if len(tangents) != len(outs):
        raise RuntimeError(f"{cls.__name__}.jvp returned {len(tangents)} tangents for {len(outs)} results")
    return tuple([v if v is None or v.dtype.category < FLOAT else
                  _joined(v, _zeros(v) if t is None else _split(read(t), level)[0], level)
                  for v, t in zip(values, tangents, strict=True)])


def _seed(like: Tensor) -> Tensor | None:
    """A leaf to differentiate by. Its value does not matter, but rules may look at signs: no zeros."""
    if like.dtype.category < FLOAT:
        return None
    t = new(const(1, like.shape, like.dtype, device_of(like)))
    t._rg = True
    return t
