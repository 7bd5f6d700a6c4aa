"""`parallelize_module`: a plan of styles, applied to the modules that it names."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from fnmatch import fnmatch
from typing import Any

from facula.distributed.device_mesh import DeviceMesh
from facula.distributed.tensor import _composed
from facula.distributed.tensor._dtensor import _mesh_or_default
from facula.distributed.tensor.parallel.style import ParallelStyle
from facula.errors import warn

__all__ = ["loss_parallel", "parallelize_module"]


def parallelize_module(module: Any, device_mesh: DeviceMesh | None = None, parallelize_plan: Any = None, *,
                       src_data_rank: int | None = 0) -> Any:
    """Cut a module along its tensors, in place; returns it. All ranks of the mesh call it.

    Args:
        device_mesh: of one dimension; of several take one by its name: `mesh["tp"]`.
        parallelize_plan: a style, or names of modules inside (with `*` and `?`) to styles.
        src_data_rank: 0: the first rank's parameters count. None: each rank takes its part of its own.

    Raises:
        ValueError: the mesh has several dimensions.
        TypeError: what is no style.
        NotImplementedError: a style that does not fit the module.

    Example:
        >>> import facula, facula.distributed as dist
        >>> from facula.distributed.tensor.parallel import ColwiseParallel, RowwiseParallel, parallelize_module
        >>> dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
        >>> mesh, nn = dist.init_device_mesh("cpu", (1,)), facula.nn
        >>> net = nn.Sequential(nn.Linear(2, 8), nn.ReLU(), nn.Linear(8, 2))
        >>> net = parallelize_module(net, mesh, {"0": ColwiseParallel(), "2": RowwiseParallel()})
        >>> net[0].weight.placements, net(facula.ones(3, 2)).shape
        ((Shard(dim=0),), torch.Size([3, 2]))
        >>> dist.destroy_process_group()
    """
    mesh = _mesh_or_default(device_mesh)
    if mesh.ndim != 1:
        raise ValueError(f"parallelize_module: a mesh of one dimension is needed, got {mesh}; take one by its name, as "
                         "in mesh['tp']")
    if parallelize_plan is None:
        warn("No parallelize_plan is provided and auto-parallel is not supported at the moment, so this "
             "parallelize_module call will do nothing.")
        return module
    if isinstance(parallelize_plan, ParallelStyle):
        parallelize_plan.src_data_rank = src_data_rank
        return parallelize_plan._apply(module, mesh)
    if not isinstance(parallelize_plan, dict):
        raise TypeError("Expect Union[ParallelStyle, Dict[str, ParallelStyle]] for parallelize_plan, "
                        f"{type(parallelize_plan)} found!")
    for path, style in parallelize_plan.items():
        found = [module] if path == "" else _named(module, path.split("."))
        if not found:
            warn(f"Parallelize plan key '{path}' could not be resolved: no submodule matching it is in "
                 f"{type(module).__name__}")
        for inner in found:
            parallelize_module(inner, mesh, style, src_data_rank=src_data_rank)
    return module


def _named(module: Any, steps: list[str]) -> list[Any]:
    """The modules of that path, each of whose steps may be a pattern."""
    found = [module]
    for step in steps:
        found = [child for parent in found for name, child in parent.named_children() if fnmatch(name, step)]
    return found


@contextlib.contextmanager
def loss_parallel() -> Iterator[None]:
    """Within, `cross_entropy` of logits whose classes are in pieces leaves them so: no rank has all of them."""
    _composed.sharded_classes.append(True)
    try:
        yield
    finally:
        _composed.sharded_classes.pop()
