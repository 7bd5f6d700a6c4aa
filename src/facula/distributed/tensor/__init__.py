"""`torch.distributed.tensor`: tensors that lie on a mesh of ranks, in pieces, whole, or as summands.

    placement_types.py, _layout.py    how they lie; which part a rank has
    _dtensor.py, _creating.py         DTensor, and how one is made
    _moving.py                        from one layout to another, and what becomes of gradients
    _dispatch.py, _rules.py           a call becomes a call with pieces, by a rule
    _pointwise.py, _shapes.py, _composed.py     the rules
    _optimizing.py                    optimizers' steps
    parallel/                         modules cut along tensors
"""

from __future__ import annotations

from typing import Any

from facula import absent
from facula.distributed.device_mesh import DeviceMesh, init_device_mesh
from facula.distributed.tensor import _composed, _optimizing, _pointwise, _shapes  # noqa: F401
from facula.distributed.tensor._creating import (
    distribute_module,
    distribute_tensor,
    empty,
    full,
    ones,
    rand,
    randn,
    zeros,
)
from facula.distributed.tensor._dtensor import DTensor
from facula.distributed.tensor.placement_types import Partial, Placement, Replicate, Shard

__all__ = ["DTensor", "DeviceMesh", "Partial", "Placement", "Replicate", "Shard", "distribute_module",
           "distribute_tensor", "empty", "full", "init_device_mesh", "ones", "rand", "randn", "zeros"]

_optimizing.load()


def __getattr__(name: str) -> Any:
    if name in ("parallel", "experimental"):
        import importlib
        return importlib.import_module(f"facula.distributed.tensor.{name}")
    raise absent.missing("distributed.tensor", name)
