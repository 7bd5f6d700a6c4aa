"""A step of an optimizer whose parameters are DTensors: each rank updates its pieces, and what belongs to them.

The updates of these optimizers treat each element by itself, so pieces are enough. For the time of a step parameters
and state are this rank's pieces, so that the update is recorded as for any tensors; outside they are DTensors, which
is how checkpoints find them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from facula._tensor.handle import Tensor
from facula.distributed.tensor._dtensor import DTensor, laid, made
from facula.distributed.tensor._moving import of_gradient
from facula.optim import optimizer as optimizers

_BY_ELEMENT = frozenset(("SGD", "Adam", "AdamW", "Adagrad", "Adadelta", "Adamax", "NAdam", "RAdam", "RMSprop", "Rprop",
                         "ASGD"))


def _pieces(optimizer: Any) -> Callable[[], None] | None:
    """Have an optimizer work on pieces; what it returns undoes that. None where there is nothing to do."""
    groups = [group for group in optimizer.param_groups if any(isinstance(p, DTensor) for p in group["params"])]
    if not groups:
        return None
    kinds = [kind for kind in type(optimizer).__mro__ if kind.__module__.startswith("facula.optim")]
    if not any(kind.__name__ in _BY_ELEMENT for kind in kinds):
        raise NotImplementedError(f"{type(optimizer).__name__} with DTensors as parameters is not in Facula: "
                                  f"{', '.join(sorted(_BY_ELEMENT))} are")
    before = [(group, group["params"]) for group in groups]
    state, whole = optimizer.state, {}
    for group, params in before:
        for p in params:
            if isinstance(p, DTensor):
                if any(q != g for q, g in zip(p.placements, of_gradient(p.placements), strict=True)):
                    raise NotImplementedError(f"{type(optimizer).__name__}: a parameter of summands, {p.placements}")
                whole[p._local] = p
                if p in state:
                    state[p._local] = {name: laid(value, p.placements)._local if isinstance(value, DTensor) else value
                                       for name, value in state.pop(p).items()}
        group["params"] = [p._local if isinstance(p, DTensor) else p for p in params]

    def undo() -> None:
        for group, params in before:
            group["params"] = params
        for local, p in whole.items():
            if local in state:
                state[p] = {name: made(value, p.device_mesh, p.placements, p.shape)
                            if isinstance(value, Tensor) and value.shape == local.shape and value.dim() else value
                            for name, value in state.pop(local).items()}
    return undo


def load() -> None:
    """Have optimizers ask."""
    if _pieces not in optimizers.stand_ins:
        optimizers.stand_ins.append(_pieces)
