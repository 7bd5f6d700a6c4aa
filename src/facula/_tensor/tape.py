"""A tensor's place on the tape: where its gradient goes, and how results are put there."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from facula._tensor.cells import OUTSIDE
from facula._tensor.handle import Tensor, blank, device_of, inferred, new, strides_of
from facula._tensor.reading import kept
from facula.autograd import graph
from facula.autograd.graph import GradNode, Rule, Saved, grad_node, mode, next_seq
from facula.devices import CPU
from facula.dtypes import FLOAT
from facula.engine.graph.node import elsewhere
from facula.engine.placing import constant_node
from facula.engine.session import session


class _Rules:
    """Gradient rules of views and of writes through them. They are made of operations, which stand above:
    ops/view/regions.py and ops/view/views.py put them here."""

    as_strided: Rule
    write: Rule
    retyped_view: Rule  # of a complex base through its real numbers, or the other way round: ops/view/dtype_views.py
    retyped_write: Rule
    alias: Rule


rules = _Rules()


def edge_of(t: Tensor) -> Any:
    """Where a gradient with respect to `t` goes: None if it needs none."""
    if not t._rg and t._base is None:
        return None
    if t._base is not None:
        refresh(t)
        if not t._rg:
            return None
    grad_fn = t._grad_fn
    if grad_fn is None:
        return t
    return grad_fn if not t._output_nr else (grad_fn, t._output_nr)


def refresh(t: Tensor) -> None:
    """A view whose base has been written since: its history is now a view of the base's new history."""
    base = t._base
    if base is None or t._storage is None or t._grad_version == t._storage.version:
        return
    if t._grad_fn is not None and not (t._storage.version - t._grad_version) % OUTSIDE:
        return  # an array is gone: its history is what it was, and has its hooks
    if t._grad_version < -1:
        _refuse_stale(t, base)
        return
    if base._rg and base._grad_fn is not None:
        place_of(t, grad_node(
            rules.as_strided if t.dtype is base.dtype else rules.retyped_view, (edge_of(base),),
            (base.shape, strides_of(base), base._offset, t.shape, t._strides, t._offset), (base.shape,),
            (base.dtype,)))
        t._rg = True
    t._grad_version = t._storage.version


def off_tape(version: int) -> int:
    """`_grad_version` of a view that is made while nothing is recorded: it never follows its base's history."""
    return -2 - 2 * version - mode.inference


def of_two_modes(t: Tensor, what: str) -> RuntimeError:
    """A view was made off the tape, and `what` happens on it."""
    made, block, now = ("inference mode", "inference_mode", "in normal mode") if t._grad_version & 1 else (
        "no_grad mode", "no_grad", "with grad mode enabled")
    return RuntimeError(f"A view was created in {made} and {what} modified inplace {now}. Given that this use case is "
                        "ambiguous and error-prone, it is forbidden. You can clarify your code by moving both the view "
                        f"and the inplace either both inside the {block} block (if you don't want the inplace to be "
                        "tracked) or both outside (if you want the inplace to be tracked).")


def _refuse_stale(t: Tensor, base: Tensor) -> None:
    """A view from outside the tape, whose base has gone on since, has two histories."""
    if mode.grad and base._rg and base._grad_fn is not None \
            and (t._storage.version - (-2 - t._grad_version >> 1)) % OUTSIDE:
        raise of_two_modes(t, "its base or another view of its base has been")


def place_of(t: Tensor, step: GradNode, number: int = 0) -> None:
    """The history of `t` is now `step`: what `retain_grad` is to store goes along."""
    if t._retains:
        old = t._grad_fn
        kept = (old._cold or {}).get("retain") if old is not None else None
        reference = kept.pop((t._output_nr, id(t)), None) if kept else None
        if reference is not None:
            if step._cold is None:
                step._cold = {}
            step._cold.setdefault("retain", {})[number, id(t)] = reference
    t._grad_fn = step
    if t._output_nr != number:
        t._output_nr = number


def attach(out: Tensor, rule: Rule, inputs: tuple[Any, ...], saved: tuple[Any, ...] = ()) -> Tensor:
    """Put `out` on the tape, if grad mode is on and an input requires grad. Returns `out`.

    `inputs` are the tensors (or None) the rule gives gradients for, in order; `saved` anything: tensors in it
    are kept by value; `out` itself may be among them.
    """
    if session.traced is not None:
        graph.give_tangents((out,), rule, inputs, saved)
    if not mode.grad:
        return out
    edges: list[Any] = []
    shapes: list[Any] = []
    dtypes: list[Any] = []
    live = False
    for i in inputs:
        if i is None:
            edges.append(None)
            shapes.append(None)
            dtypes.append(None)
            continue
        e = None
        if i._rg or i._base is not None:
            e = i._grad_fn if i._storage is None else None
            if type(e) is not GradNode or e.outputs != 1:
                e = edge_of(i)
            if e is not None:
                live = True
        edges.append(e)
        shapes.append(i.shape)
        dtypes.append(i.dtype)
    if not live or out.dtype.category < FLOAT:
        return out
    values: Any = saved
    if inferred:
        refuse_saving(saved)
    for s in saved:
        if isinstance(s, Tensor):
            values = [_saved(s, out, inputs, edges) if isinstance(s, Tensor) else s for s in saved]
            break
    fn = blank(GradNode)
    fn.rule = rule
    fn.edges = tuple(edges)
    fn._saved = tuple(values)
    fn.shapes = tuple(shapes)
    fn.dtypes = tuple(dtypes)
    fn.seq = next_seq()
    fn.outputs = 1
    fn._cold = None
    out._grad_fn = fn
    out._rg = True
    if inferred and mode.hooks:
        graph.packed(fn, [s if isinstance(s, Tensor) else None for s in saved], (out,))
    return out


def refuse_saving(saved: Iterable[Any]) -> None:
    """Raise what PyTorch raises if there is an inference tensor among what is kept for a backward pass."""
    for s in saved:
        if isinstance(s, Tensor) and s._inference:
            raise RuntimeError(
                "Inference tensors cannot be saved for backward. Please do not use Tensors created in inference mode "
                "in computation tracked by autograd. To work around this, you can make a clone to get a normal tensor "
                "and use it in autograd, or use `torch.no_grad()` instead of `torch.inference_mode()`.")


def _saved(t: Tensor, out: Tensor, inputs: tuple[Any, ...], edges: list[Any]) -> Saved:
    """The value of `t`, which is an input or the result in most cases."""
    saved = blank(Saved)
    if t._node is not None:
        saved.node, saved.order = t._node, None
    else:
        saved.node, saved.order = kept(t)
    saved.rg = t._rg
    saved.own = saved.edge = None
    if t is out:
        saved.own = 0
        saved.rg = True
        return saved
    for i, edge in zip(inputs, edges, strict=True):
        if i is t:
            saved.edge = edge
            return saved
    saved.edge = edge_of(t)
    return saved


def attach_many(outs: tuple[Tensor, ...], rule: Rule, inputs: tuple[Any, ...],
                saved: tuple[Any, ...] = ()) -> tuple[Tensor, ...]:
    """As `attach` for an operation of several results: the rule gets one gradient (or None) for each.

    Results among `saved` are named by their position: pass `("out", k)`.
    """
    if session.traced is not None:
        graph.give_tangents(outs, rule, inputs, saved)
    if not mode.grad:
        return outs
    edges = tuple([None if i is None else edge_of(i) for i in inputs])
    if all(e is None for e in edges):
        return outs
    values: list[Any] = []
    if inferred:
        refuse_saving(saved)
    for s in saved:
        if type(s) is tuple and len(s) == 2 and s[0] == "out":
            held, order = kept(outs[s[1]])
            values.append(Saved(held, None, s[1], True, order))
        elif isinstance(s, Tensor):
            held, order = kept(s)
            values.append(Saved(held, edge_of(s), None, s._rg, order))
        else:
            values.append(s)
    node = grad_node(rule, edges, tuple(values), tuple([None if i is None else i.shape for i in inputs]),
                     tuple([None if i is None else i.dtype for i in inputs]))
    node.outputs = len(outs)
    node.__dict__["_out_meta"] = [(o.shape, o.dtype) for o in outs]
    for k, out in enumerate(outs):
        if out.dtype.is_floating_point or out.dtype.is_complex:
            out._grad_fn = node
            out._rg = True
            if k:
                out._output_nr = k
    if inferred and mode.hooks:
        graph.packed(node, [outs[s[1]] if type(s) is tuple and len(s) == 2 and s[0] == "out" else
                            s if isinstance(s, Tensor) else None for s in saved], outs)
    return outs


def zero_gradients(ctx: Any, *grads: Any) -> tuple[Tensor | None, ...]:
    """Of what an operation has read nothing of: zeros, not None. An optimizer steps on zeros."""
    place = next((device_of(g) for g in grads if g is not None), CPU) if elsewhere else CPU
    return tuple([new(constant_node(place, 0j if of.is_complex else 0.0, shape, of)) if needed else None
                  for needed, shape, of in zip(ctx.needs, ctx.shapes, ctx.dtypes, strict=True)])
