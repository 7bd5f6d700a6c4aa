"""Making DTensors of tensors, of nothing, and of modules."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import facula
from facula._tensor.handle import Tensor
from facula.distributed.device_mesh import DeviceMesh
from facula.distributed.tensor._dtensor import DTensor, _mesh_or_default, made
from facula.distributed.tensor._layout import checked, coordinate, local_part
from facula.distributed.tensor._moving import agreed, move
from facula.distributed.tensor.placement_types import Placement, Replicate, Shard

__all__ = ["distribute_module", "distribute_tensor", "empty", "full", "ones", "rand", "randn", "zeros"]


def distribute_tensor(tensor: Tensor, device_mesh: DeviceMesh | None = None,
                      placements: Sequence[Placement] | None = None, *, src_data_rank: int | None = 0) -> DTensor:
    """A tensor that all ranks of a mesh have, in that layout. A leaf.

    Args:
        placements: one for each of the mesh's dimensions; whole on each rank if left out.
        src_data_rank: 0: the elements of the first rank count. None: each rank takes its part of its own tensor, and
            nothing is sent.

    Raises:
        RuntimeError: the tensor has been computed from others that require gradients, or is a DTensor that lies in
            another way.
        ValueError, TypeError: placements do not fit.

    Example:
        >>> import facula, facula.distributed as dist
        >>> from facula.distributed.tensor import Shard, distribute_tensor
        >>> dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
        >>> distribute_tensor(facula.ones(2), dist.init_device_mesh("cpu", (1,)), [Shard(0)]).to_local()
        tensor([1., 1.])
        >>> dist.destroy_process_group()
    """
    mesh = _mesh_or_default(device_mesh)
    if src_data_rank not in (0, None):
        raise NotImplementedError(f"distribute_tensor: src_data_rank is 0 or None, got {src_data_rank}")
    if not tensor.is_leaf:
        raise RuntimeError("`distribute_tensor` should be used to distribute leaf tensors! but found non-leaf tensor!")
    wanted = checked(placements, mesh, tensor.dim(), "distribute_tensor")
    if isinstance(tensor, DTensor):
        if tensor.device_mesh != mesh or tensor.placements != wanted:
            raise RuntimeError("Cannot distribute a DTensor with another device mesh or placements: redistribute it")
        return tensor
    at = coordinate(mesh)
    local = tensor.detach()
    whole = (Replicate(),) * mesh.ndim
    if src_data_rank is not None:
        local = agreed(local, mesh, whole)
    if all(isinstance(p, (Replicate, Shard)) for p in wanted):
        sizes, offsets = local_part(tensor.shape, mesh, wanted, at)
        for dim, (size, offset) in enumerate(zip(sizes, offsets, strict=True)):
            local = local.narrow(dim, offset, size)
        local = local.clone(memory_format=facula.contiguous_format)
    else:
        local = move(local, mesh, tensor.shape, whole, wanted)
    found = made(local.requires_grad_(tensor.requires_grad), mesh, wanted, tensor.shape)
    kept: Any = tensor
    result: DTensor = facula.nn.Parameter(
        found, kept.requires_grad) if isinstance(kept, facula.nn.Parameter) else found  # type: ignore[assignment]
    return result


def distribute_module(module: Any, device_mesh: DeviceMesh | None = None,
                      partition_fn: Callable[[str, Any, DeviceMesh], None] | None = None,
                      input_fn: Callable[..., Any] | None = None, output_fn: Callable[..., Any] | None = None) -> Any:
    """Have a module's parameters and buffers be DTensors on a mesh, in place; returns it.

    `partition_fn(name, module, mesh)` is called for each module inside, and distributes what it wants to; the rest
    becomes whole on each rank. `input_fn(module, inputs, mesh)` and `output_fn(module, outputs, mesh)` are asked at
    each call.
    """
    mesh = _mesh_or_default(device_mesh)
    for name, inner in module.named_modules():
        if partition_fn is not None:
            partition_fn(name, inner, mesh)
        for key, parameter in list(inner._parameters.items()):
            if parameter is not None and not isinstance(parameter, DTensor):
                inner.register_parameter(key, facula.nn.Parameter(
                    distribute_tensor(parameter.detach(), mesh), parameter.requires_grad))
        for key, buffer in list(inner._buffers.items()):
            if buffer is not None and not isinstance(buffer, DTensor):
                inner._buffers[key] = distribute_tensor(buffer, mesh)
    if input_fn is not None:
        module.register_forward_pre_hook(lambda m, inputs: input_fn(m, inputs, mesh))
    if output_fn is not None:
        module.register_forward_hook(lambda m, inputs, outputs: output_fn(m, outputs, mesh))
    return module


def _filled(name: str, size: Any, mesh: DeviceMesh | None, placements: Any, requires_grad: bool,
            make: Callable[[tuple[int, ...]], Tensor]) -> DTensor:
    """A DTensor whose piece `make` makes."""
    found = _mesh_or_default(mesh)
    shape = tuple(size[0]) if len(size) == 1 and isinstance(size[0], (tuple, list)) else tuple(size)
    wanted = checked(placements, found, len(shape), name)
    local = make(local_part(shape, found, wanted, coordinate(found))[0])
    for dim, placement in enumerate(wanted):
        if not isinstance(placement, (Replicate, Shard)):  # whoever comes first has the summand, the others zeros
            now = tuple(Replicate() if k == dim else p for k, p in enumerate(wanted))
            local = move(local, found, shape, now, wanted)
    return made(local.requires_grad_(requires_grad), found, wanted, shape)


def _check_layout(layout: Any) -> None:
    if layout not in (None, facula.strided):
        raise NotImplementedError(f"DTensor: layout {layout} is not in Facula")


def zeros(*size: Any, dtype: Any = None, layout: Any = None, requires_grad: bool = False,
          device_mesh: DeviceMesh | None = None, placements: Any = None) -> DTensor:
    """Zeros; no rank has more than its part."""
    _check_layout(layout)
    return _filled("zeros", size, device_mesh, placements, requires_grad, lambda s: facula.zeros(s, dtype=dtype))


def ones(*size: Any, dtype: Any = None, layout: Any = None, requires_grad: bool = False,
         device_mesh: DeviceMesh | None = None, placements: Any = None) -> DTensor:
    """Ones; no rank has more than its part."""
    _check_layout(layout)
    return _filled("ones", size, device_mesh, placements, requires_grad, lambda s: facula.ones(s, dtype=dtype))


def empty(*size: Any, dtype: Any = None, layout: Any = None, requires_grad: bool = False,
          device_mesh: DeviceMesh | None = None, placements: Any = None) -> DTensor:
    """Whatever was there; no rank has more than its part."""
    _check_layout(layout)
    return _filled("empty", size, device_mesh, placements, requires_grad, lambda s: facula.empty(s, dtype=dtype))


def full(size: Any, fill_value: Any, *, dtype: Any = None, layout: Any = None, requires_grad: bool = False,
         device_mesh: DeviceMesh | None = None, placements: Any = None) -> DTensor:
    """One value everywhere; no rank has more than its part."""
    _check_layout(layout)
    return _filled("full", (tuple(size),), device_mesh, placements, requires_grad,
                   lambda s: facula.full(s, fill_value, dtype=dtype))


def rand(*size: Any, requires_grad: bool = False, dtype: Any = None, layout: Any = None,
         device_mesh: DeviceMesh | None = None, placements: Any = None) -> DTensor:
    """Uniform in [0, 1): the numbers that one process draws, by the first rank's generator. Each rank draws all."""
    _check_layout(layout)
    return distribute_tensor(facula.rand(*size, dtype=dtype), device_mesh, placements).requires_grad_(  # type: ignore
        requires_grad)


def randn(*size: Any, requires_grad: bool = False, dtype: Any = None, layout: Any = None,
          device_mesh: DeviceMesh | None = None, placements: Any = None) -> DTensor:
    """Normal numbers, as `rand` draws them."""
    _check_layout(layout)
    return distribute_tensor(facula.randn(*size, dtype=dtype), device_mesh, placements).requires_grad_(  # type: ignore
        requires_grad)


