"""How tensors enter and leave a level, with their place on the tape.

Entering and leaving are operations, each the other's gradient, so a tape may lead from outside through a transformed
function to its inputs. What such a function reads from outside has not entered; a gradient that goes back to it is
brought out at the boundary (`at_boundary`): summed over a hidden dimension, or reduced to its tangent.

Why the tangent: let y = f(x + e t) for a dual number e, y = p + e q. A loss L(p, q) with gradients u by p and v by q
has, by x, the e part of J(x + e t)^T (v + e u), and by t its other part.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from weakref import ref

from facula._tensor.handle import Tensor, device_of, new
from facula._tensor.reading import read
from facula._tensor.tape import attach, attach_many
from facula.autograd import graph
from facula.autograd.graph import GradNode
from facula.dtypes import FLOAT, dtype
from facula.engine import recorder
from facula.engine.graph.node import BATCHED, CONST, DUAL, LOST, Node
from facula.ops.reduce.reductions import summed
from facula.transforms.batching import Batch, batched, different
from facula.transforms.forward import Forward, dual
from facula.transforms.host import function_tangents, give_tangents
from facula.transforms.levels import Crossing, Level, a_walk_begins, a_walk_ends, const, expanded, level_of, reshaped


def zeros_of(t: Tensor) -> Tensor:
    return new(const(0, t.shape, t.dtype, device_of(t)))


def _belongs(node: Node, level: Level) -> bool:
    return node.op.kind == "traced" and level_of(node) is level


# ---- vmap ----------------------------------------------------------------------------------------------


def enter_batch(t: Tensor, level: Batch) -> Tensor:
    """A tensor (B, ...) as one of the shape (...)."""
    return attach(new(batched(level, read(t), t.shape[1:])), _ENTER_BATCH, (t,), (_Held(level),))


def leave_batch(t: Tensor, level: Batch) -> Tensor:
    """The tensor (B, ...) that `t` of shape (...) stands for."""
    node = read(t)
    physical = node.inputs[0] if _belongs(node, level) else expanded(node, (level.size, *node.shape))
    return attach(new(physical), _LEAVE_BATCH, (t,), (_Held(level),))


class _Held:
    """A level among what a step of the tape has saved."""

    __slots__ = ("level",)

    def __init__(self, level: Level) -> None:
        self.level = level


def _enter_batch_back(ctx: Any, g: Tensor) -> tuple[Tensor]:
    level = ctx.saved[0].level
    if level.active:
        raise NotImplementedError("facula: within vmap, the gradient by a tensor that vmap has taken apart")
    return (leave_batch(g, level),)


_ENTER_BATCH = Crossing("EnterVmapBackward0", _enter_batch_back)
_LEAVE_BATCH = Crossing("LeaveVmapBackward0", lambda ctx, g: (enter_batch(g, ctx.saved[0].level),))


# ---- jvp -----------------------------------------------------------------------------------------------


def enter_dual(primal: Tensor, tangent: Tensor, level: Forward) -> Tensor:
    """A tensor and its tangent as one."""
    node = dual(level, read(primal), read(tangent))
    return attach(new(node), _ENTER_DUAL, (primal, tangent), (_Held(level),))


def leave_dual(t: Tensor, level: Forward) -> tuple[Tensor, Tensor | None]:
    """The value of `t` and its tangent; None if it has none."""
    node = read(t)
    if not _belongs(node, level):  # its gradient meets those of what has tangents
        return attach(new(node), _LEAVE_PLAIN, (t,), (_Held(level),)) if t._rg else t, None
    if node.op is LOST:
        assert node.attrs is not None
        raise NotImplementedError(f"facula: forward mode of {node.attrs[1]!r} is not implemented")
    outs = new(node.inputs[0]), new(node.inputs[1])
    primal, tangent = attach_many(outs, _LEAVE_DUAL, (t,), (_Held(level),))
    return primal, tangent


def _enter_dual_back(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:
    level = ctx.saved[0].level
    if level.keeps_gradients:
        return g, None
    primal, tangent = leave_dual(g, level)
    return tangent, primal


def _leave_dual_back(ctx: Any, of_primal: Tensor | None, of_tangent: Tensor | None) -> tuple[Tensor | None]:
    first = of_primal if of_primal is not None else of_tangent
    if first is None:
        return (None,)
    level = ctx.saved[0].level
    level.crossed = True
    return (enter_dual(zeros_of(first) if of_tangent is None else of_tangent,
                       zeros_of(first) if of_primal is None else of_primal, level),)


_ENTER_DUAL = Crossing("MakeDualBackward0", _enter_dual_back)
_LEAVE_DUAL = Crossing("UnpackDualBackward0", _leave_dual_back)
_LEAVE_PLAIN = Crossing("UnpackDualBackward0", lambda ctx, g: _leave_dual_back(ctx, g, None))


# ---- the boundary of a walk ---------------------------------------------------------------------------------


def at_boundary(edges: Any, results: Any) -> tuple[Any, ...]:
    """The gradients of a step: those that go out of levels whose functions have returned are brought out."""
    return tuple([g if e is None or g is None or read(g).op.kind != "traced" else _brought_out(e, g)
                  for e, g in zip(edges, results, strict=False)])


def _brought_out(edge: Any, g: Tensor) -> Tensor | None:
    if type(edge) is tuple:
        edge = edge[0]
    while (level := level_of(node := read(g))) is not None and not level.keeps_gradients:
        if edge.seq > level.start if isinstance(edge, GradNode) else _is_of(read(edge), level):
            return g
        if isinstance(level, Batch):
            g = summed(leave_batch(g, level), 0, False, None)
            continue
        assert isinstance(level, Forward) and node.op is DUAL
        tangent = leave_dual(g, level)[1]
        assert tangent is not None
        g = tangent
    return g


def _is_of(node: Node, level: Level) -> bool:
    """Does the node stand for something of `level`, at whatever depth?"""
    while node.op.kind == "traced":
        if level_of(node) is level:
            return True
        node = node.inputs[0]
    return False


def without_tangents(node: Node) -> Node:
    """The value alone: what `detach` gives, and what may be looked at."""
    if node.op is DUAL or node.op is LOST:
        return without_tangents(node.inputs[0])
    if node.op is BATCHED:
        inner = without_tangents(node.inputs[0])
        level = level_of(node)
        assert isinstance(level, Batch)
        return node if inner is node.inputs[0] else batched(level, inner, node.shape)
    return node


# ---- what the rooms below ask -----------------------------------------------------------------------------


def _check_write(t: Tensor, value: Node) -> None:
    """A hidden dimension cannot be written into a tensor that has none; but constants are nobody's memory yet. A
    tangent can, and is gone when its level ends."""
    old = t._node or t._storage.node
    level = level_of(value)
    if isinstance(level, Forward) and not _is_of(old, level):
        level.written.append(ref(t if t._storage is None else t._storage))
    if isinstance(level, Batch) and old.op is not CONST and not _is_of(old, level):
        raise RuntimeError(
            "vmap: inplace arithmetic(self, *extra_args) is not possible because there exists a Tensor `other` in "
            "extra_args that has more elements than `self`. This happened due to `other` being vmapped over but `self` "
            "not being vmapped over in a vmap. Please try to use out-of-place operators instead of inplace "
            "arithmetic.")


def _value_under(node: Node) -> Node:
    value = without_tangents(node)
    if value.op is BATCHED:
        raise RuntimeError(
            "vmap: the value of a tensor is asked for (.item(), a condition, NumPy, printing, or an operation that "
            "looks at values), but it stands for many. We don't support vmap over calling .item() on a Tensor; please "
            "try to rewrite what you're doing with other operations.")
    raise NotImplementedError("facula: this looks at the values of a tensor that has a tangent, which would be lost: "
                              "detach() it first, or compute without forward mode")


def _everything(node: Node) -> Node:
    while node.op.kind == "traced":
        node = node.inputs[0]
    return node


def _retyped(node: Node, of: dtype, how: Callable[[Node, dtype], Node]) -> Node:
    """`how(node, of)` of what a node stands for. Only the parts of complex numbers have tangents."""
    level = level_of(node)
    if level is None:
        return how(node, of)
    inner = [_retyped(part, of, how) for part in node.inputs]
    if isinstance(level, Batch):
        n = inner[0].shape[0] // max(level.size, 1)
        return batched(level, reshaped(inner[0], (level.size, n)), (n,))
    assert isinstance(level, Forward)
    if len(inner) == 2 and of.category >= FLOAT and node.dtype.to_real() is of.to_real():
        return dual(level, *inner)
    return inner[0]


def _shown(t: Tensor) -> tuple[Tensor, str, str]:
    """The tensor to print for `t`, and what stands before and after it."""
    node = without_tangents(read(t))
    if node.op is not BATCHED:
        return t if node is read(t) else new(node), "", ""
    start, end = "", ""
    while node.op is BATCHED:
        level = level_of(node)
        assert level is not None
        start, end = f"{start}BatchedTensor(lvl={level.order}, bdim=0, value=\n", "\n)" + end
        node = node.inputs[0]
    return new(node), start, end


recorder.above.shown = _shown
recorder.above.different = different
recorder.above.everything = _everything
recorder.above.retyped = _retyped
recorder.above.check_write = _check_write
recorder.above.value_under = _value_under
recorder.above.detached = without_tangents
graph.give_tangents = give_tangents
graph.function_tangents = function_tangents
graph.at_boundary = at_boundary
graph.a_walk_begins = a_walk_begins
graph.a_walk_ends = a_walk_ends
