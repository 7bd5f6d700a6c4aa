"""What an operation does to pieces: a `Rule` says it once, by names of dimensions, and the layouts that it allows
follow.

A dimension of an input and one of the output have the same label where a piece of the one gives that piece of the
other: in a matrix product ("n k", "k m" -> "n m") each label may be cut, in all that have it; of k, which the output
lacks, each rank then has a summand. For each dimension of the mesh that layout is taken for which least has to be sent.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from facula.distributed.tensor._dtensor import DTensor
from facula.distributed.tensor.placement_types import Partial, Placement, Replicate, Shard

Labels = tuple[Any, ...]  # for each dimension a label, or None: never cut
Option = tuple[list[Placement], list[Placement]]  # of the inputs, of the outputs

WHOLE: Placement = Replicate()
SUMMAND: Placement = Partial()


@dataclass
class Rule:
    """What an operation does to pieces.

    inputs, outputs:    labels of each
    fixed:              labels that stay whole
    reduces:            what becomes of a label that an output lacks: "sum", "max", "min"; None: it stays whole
    linear:             sums of inputs give sums of outputs, all inputs taken together (a + b)
    multilinear:        the inputs of which one may be summands while the others are whole (a * b)
    addends:            inputs that are added to the rest (the bias of a linear layer)
    shapes:             of the outputs, where they do not follow from labels
    call:               computes with (pieces of the inputs, placements of the first output), in place of the operation
    """

    inputs: list[Labels]
    outputs: list[Labels]
    fixed: frozenset[Any] = frozenset()
    reduces: str | None = None
    linear: bool = False
    multilinear: tuple[int, ...] = ()
    addends: tuple[int, ...] = ()
    shapes: list[Any] | None = None
    call: Callable[..., Any] | None = None
    keeps_first: bool = field(default=False)  # in place: the first input stays as it lies


def _placed(labels: Labels, label: Any) -> Placement | None:
    return Shard(labels.index(label)) if label in labels else None


def _options(rule: Rule, now: Sequence[Placement]) -> list[Option]:
    count = len(rule.inputs)
    found: list[Option] = [([WHOLE] * count, [WHOLE] * len(rule.outputs))]
    seen: dict[Any, None] = dict.fromkeys(label for labels in rule.inputs for label in labels if label is not None)
    for label in seen:
        if label in rule.fixed:
            continue
        inputs: list[Placement] = [_placed(labels, label) or WHOLE for labels in rule.inputs]
        outputs: list[Placement] = []
        for labels in rule.outputs:
            placed = _placed(labels, label)
            if placed is None and rule.reduces is None:
                break
            outputs.append(placed or Partial(rule.reduces or "sum"))
        else:
            if any(isinstance(p, Partial) for p in outputs):
                for k in rule.addends:
                    inputs[k] = SUMMAND
            found.append((inputs, outputs))
    out = [SUMMAND] * len(rule.outputs)
    if rule.linear and SUMMAND in now:
        found.append(([SUMMAND] * count, out))
    for k in rule.multilinear:
        if now[k] == SUMMAND:
            found.append(([SUMMAND if j == k or j in rule.addends else WHOLE for j in range(count)], out))
    return found


def _cost(before: Placement, after: Placement, size: int, ranks: int) -> float:
    """About how many elements a rank has to send."""
    if before == after or isinstance(before, Replicate):
        return 0.0
    if isinstance(before, Shard):
        return size / ranks if isinstance(after, Shard) else float(size)
    return 2.0 * size  # summands alone become whole, as in PyTorch, though pieces would be had for half of that


def chosen(rule: Rule, tensors: Sequence[DTensor]) -> Option:
    """The layouts of the inputs and of the outputs, each a tuple of placements."""
    mesh = tensors[0].device_mesh
    wanted: list[list[Placement]] = [[] for _ in tensors]
    gives: list[list[Placement]] = [[] for _ in rule.outputs]
    for dim in range(mesh.ndim):
        now = [t.placements[dim] for t in tensors]
        options = _options(rule, now)
        if rule.keeps_first:
            options = [o for o in options if o[0][0] == now[0] and o[1][0] == now[0]]
            if not options:
                raise NotImplementedError(f"DTensor: written in place, a tensor that lies as {now[0]!r} would lie in "
                                          "another way; redistribute it first")
        inputs, outputs = min(options, key=lambda o: sum(
            _cost(before, after, t.numel(), mesh.size(dim)) for before, after, t in zip(now, o[0], tensors,
                                                                                         strict=True)))
        for places, placement in zip((*wanted, *gives), (*inputs, *outputs), strict=True):
            places.append(placement)
    return [tuple(w) for w in wanted], [tuple(g) for g in gives]  # type: ignore[misc]
