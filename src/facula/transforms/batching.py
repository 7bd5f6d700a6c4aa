"""`vmap`: every primitive with a hidden leading dimension.

A rule gets, of each input, the physical node and whether it has the hidden dimension, and gives the physical result.
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np

from facula.dtypes import dtype
from facula.engine.graph import node as g
from facula.engine.graph.expr import make, substitute
from facula.engine.graph.node import BATCHED, CALL, PICK, Formula, Node, Primitive
from facula.engine.graph.primitives import KINDS, PRIMITIVES
from facula.engine.graph.primitives.kind import Batching, Recording, sized
from facula.engine.placing import beside
from facula.engine.realize import value_of
from facula.engine.recorder import record
from facula.engine.runtime.routines import ROUTINES, register
from facula.transforms.levels import DO, Level, active_levels, reshaped

RANDOMNESS = ("error", "different", "same")


class Batch(Level):
    """The level of a `vmap` over `size` values."""

    __slots__ = ("size", "randomness")

    name = "vmap"

    def __init__(self, size: int, randomness: str = "error") -> None:
        super().__init__()
        self.size = size
        self.randomness = randomness

    def record(self, op: Primitive, inputs: tuple[Node, ...], attrs: Any, scalars: Any, shape: tuple[int, ...],
               of: dtype) -> Node:
        mine = tuple([node.op is BATCHED and node.attrs is not None and node.attrs[0] is self for node in inputs])
        nodes = tuple([node.inputs[0] if m else node for node, m in zip(inputs, mine, strict=True)])
        if isinstance(op, Formula):
            physical = _formula(self.size, op, nodes, mine, scalars, shape, of)
        else:
            rule = RULES.get(op)
            if rule is None:
                raise NotImplementedError(f"facula: vmap over the primitive {op.name!r} is not implemented")
            physical = rule(DO, self.size, op, nodes, mine, attrs, scalars, shape, of)
        return batched(self, physical, shape)

    def over(self, physical: Node) -> Node:
        """A node (B, ...) as one of this level."""
        return batched(self, physical, physical.shape[1:])

    def values(self, node: Node) -> np.ndarray[Any, Any]:
        """All values of a node of this level, or of one that is the same for all: (B, ...). To be looked at."""
        mine = node.op is BATCHED and node.attrs is not None and node.attrs[0] is self
        return np.broadcast_to(value_of(node.inputs[0] if mine else node),
                               node.inputs[0].shape if mine else (self.size, *node.shape))


def batched(level: Batch, physical: Node, shape: tuple[int, ...]) -> Node:
    """A node with the hidden dimension first, as one of `shape` without it."""
    return beside(physical, BATCHED, (physical,), (level,), sized(shape), physical.dtype)


def different() -> Batch | None:
    """What a random operation is told: the innermost `vmap` that wants numbers for each of its values, None where all
    of them share what is drawn. RuntimeError within one that wants none."""
    found: Batch | None = None
    for level in active_levels():
        if isinstance(level, Batch):
            if level.randomness == "error":
                raise RuntimeError(
                    "vmap: called random operation while in randomness error mode. Please either use the 'same' or "
                    "'different' randomness flags on vmap or perform the randomness operation out of vmap")
            if level.randomness == "different":
                if found is not None:
                    raise NotImplementedError("facula: random operations in a vmap with randomness='different' within "
                                              "another such")
                found = level
    return found


# ---- formulas -----------------------------------------------------------------------------------------


@functools.lru_cache(4096)
def _shifted(formula: Formula) -> Formula:
    """Coordinates count from the second dimension on."""
    table = {e: make("index", value=int(e.value) + 1) for e in formula.order  # type: ignore[call-overload]
             if e.fn == "index"}
    return Formula(formula.name, substitute(formula.expr, table)) if table else formula


def _formula(size: int, op: Formula, nodes: tuple[Node, ...], mine: tuple[bool, ...], scalars: Any,
             shape: tuple[int, ...], of: dtype) -> Node:
    rank = len(shape)
    given = []
    for node, has in zip(nodes, mine, strict=True):
        if has and len(node.shape) <= rank:  # ones between the hidden dimension and its own
            ones = (1,) * (rank + 1 - len(node.shape))
            node = reshaped(node, (size, *ones, *node.shape[1:]))
        given.append(node)
    return record(_shifted(op), tuple(given), None, scalars, sized((size, *shape)), of)


# ---- host routines --------------------------------------------------------------------------------------


@register("each")
def _each(*arguments: Any) -> tuple[Any, ...]:
    """A routine for each place of the hidden dimension of the arrays that have one."""
    n = next(k for k, a in enumerate(arguments) if isinstance(a, tuple))
    arrays, (size, has, routine, *rest) = arguments[:n], arguments[n]
    found = [ROUTINES[routine](*[a[i] if h else a for a, h in zip(arrays, has, strict=True)], *rest)
             for i in range(size)]
    return tuple([np.stack([np.asarray(x) for x in column]) for column in zip(*found, strict=True)])


def _call(do: Recording, size: int, op: Primitive, nodes: tuple[Node, ...], mine: tuple[bool, ...], attrs: Any,
          scalars: Any, shape: tuple[int, ...], of: dtype) -> Node:
    routine, *rest = attrs
    return do.record(op, nodes, ("each", (size, mine, routine, *rest)), scalars, sized((size, *shape)), of)


def _pick(do: Recording, size: int, op: Primitive, nodes: tuple[Node, ...], mine: tuple[bool, ...], attrs: Any,
          scalars: Any, shape: tuple[int, ...], of: dtype) -> Node:
    return do.record(op, nodes, attrs, scalars, sized((size, *shape)), of)


# The rules of the others stand with them (engine/graph/primitives/).
RULES: dict[Primitive, Batching] = {CALL: _call, PICK: _pick, **{
    p: rule for p in PRIMITIVES.values() if p.kind in KINDS and (rule := KINDS[p.kind].batching) is not None}}
# What has no inputs, and what stands for others: never asked.
WITHOUT = frozenset((g.BUFFER, g.CONST, g.META, g.INDEX, g.DUAL, g.LOST, BATCHED))
