"""Every node in NumPy: the reference, the back end without a compiler, and what runs the host steps.

What a primitive means stands with it (engine/graph/primitives/); formulas and the routines of CALLs are here.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from facula.dtypes import dtype, from_numpy_dtype, int64
from facula.engine.graph import node as g
from facula.engine.graph.expr import Expr
from facula.engine.graph.node import Formula, Node
from facula.engine.graph.primitives import KINDS
from facula.engine.graph.primitives.elements import attributes, convert, coordinate, load, number, store
from facula.engine.graph.typing import argument_types, natural_types, own_type
from facula.engine.runtime.interpreter_scalar import FUNCTIONS
from facula.engine.runtime.routines import ROUTINES
from facula.errors import LinAlgError

Array = np.ndarray[Any, Any]


def compute(node: Node, arrays: list[Any]) -> Any:
    """The value of `node`, from those of its inputs: an array as memory holds it, of `node.dtype.numpy` and
    `node.shape`, contiguous. A CALL gives a tuple of arrays, which its PICKs take as `arrays[0]`."""
    if node.op is g.PICK:
        picked = arrays[0][attributes(node.attrs)[0]]
        if type(picked) is np.ndarray and picked.dtype == node.dtype.numpy and picked.shape == node.shape \
                and picked.flags.c_contiguous:
            return picked
    with np.errstate(all="ignore"):
        if node.op is g.PICK:
            picked = np.asarray(arrays[0][attributes(node.attrs)[0]])
            if picked.dtype != node.dtype.numpy:
                picked = store(convert(picked, from_numpy_dtype(picked.dtype), node.dtype), node.dtype)
            return _finished(picked, node)
        inputs = [load(np.asarray(a), i.dtype) for a, i in zip(arrays, node.inputs, strict=True)]
        if node.op is g.CALL:
            routine, *args = attributes(node.attrs)
            try:
                return ROUTINES[str(routine)](*inputs, *args)
            except np.linalg.LinAlgError as error:
                raise LinAlgError(f"linalg.{routine}: {error}{_unless_finite(inputs)}") from None
        meaning = _formula if isinstance(node.op, Formula) else KINDS[node.op.kind].meaning
        return _finished(store(np.asarray(meaning(node, inputs)), node.dtype), node)


def _unless_finite(inputs: list[Array]) -> str:
    return "" if all(np.isfinite(x).all() for x in inputs) else " (the input has elements that are not finite)"


def _finished(x: Array, node: Node) -> Array:
    return np.ascontiguousarray(np.broadcast_to(x, node.shape)).reshape(node.shape)


# -- formulas


class _Evaluation:
    """One formula over the elements of one node's inputs."""

    def __init__(self, node: Node, op: Formula, inputs: list[Array]) -> None:
        self.node = node
        self.inputs = inputs
        self.types = natural_types(op, tuple([i.dtype for i in node.inputs]), node.dtype)
        self.done: dict[tuple[Expr, dtype], Array] = {}

    def value(self, e: Expr, want: dtype) -> Array:
        found = self.done.get((e, want))
        if found is None:
            x, own = self._own(e, want)
            found = self.done[e, want] = convert(x, own, want)
        return found

    def _own(self, e: Expr, want: dtype) -> tuple[Array, dtype]:
        """The value in the type that `e` has by itself, and that type."""
        node, value = self.node, e.value
        if e.fn == "in":
            assert isinstance(value, int)
            return self.inputs[value], node.inputs[value].dtype
        if e.fn == "lit":
            return number(value, want), want
        if e.fn == "scalar":
            assert isinstance(value, int)
            return number(attributes(node.scalars)[value], want), want
        if e.fn == "index":
            assert isinstance(value, int)
            return coordinate(node.shape, value), int64
        wanted = argument_types(e, want, self.types, node.dtype)
        own = own_type(e, wanted)
        args = [self.value(a, t) for a, t in zip(e.args, wanted, strict=True)]
        if e.fn == "cast":
            return convert(args[0], wanted[0], own), own
        out = np.asarray(FUNCTIONS[e.fn](*args))
        return out.astype(own.compute.numpy, copy=False), own


def _formula(node: Node, inputs: list[Array]) -> Array:
    op = node.op
    assert isinstance(op, Formula)
    evaluation = _Evaluation(node, op, inputs)
    own = evaluation.types[op.expr] or node.dtype
    return convert(evaluation.value(op.expr, own), own, node.dtype)
