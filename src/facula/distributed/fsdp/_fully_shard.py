"""`fully_shard`: each rank keeps a piece of a module's parameters, gradients and optimizer state."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, NoReturn

import facula
from facula.distributed.device_mesh import DeviceMesh, init_device_mesh
from facula.distributed.fsdp._pieces import Pieces, Sharded, is_piece
from facula.distributed.fsdp._policies import MixedPrecisionPolicy, OffloadPolicy
from facula.distributed.tensor import Replicate, Shard, distribute_tensor
from facula.distributed.world import get_world_size

__all__ = ["FSDPModule", "fully_shard", "register_fsdp_forward_method"]

_AS_IT_IS, _WHERE_IT_IS = MixedPrecisionPolicy(), OffloadPolicy()
_running: list[Any] = []  # sharded modules that compute, the outermost first
_classes: dict[type, type] = {}


def _each(module: Any, recurse: bool = True) -> Iterable[FSDPModule]:
    return [m for m in (module.modules() if recurse else [module]) if isinstance(m, FSDPModule)]


class FSDPModule:
    """What a module that `fully_shard` has taken can do beside what it could before."""

    _fsdp: Pieces
    _fsdp_frees: bool | None
    forward: Callable[..., Any]

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return _called(self, super().__call__, args, kwargs)  # type: ignore[misc]

    def unshard(self, async_op: bool = False) -> Any:
        """Have the whole parameters in place until `reshard`. With `async_op` something to `wait` for."""
        self._fsdp.unshard()
        return _Done() if async_op else None

    def reshard(self) -> None:
        """Let go of whole parameters."""
        self._fsdp.reshard()

    def set_requires_gradient_sync(self, requires_gradient_sync: bool, *, recurse: bool = True) -> None:
        """Shall backward passes add gradients over ranks? Without, they are kept whole until one does."""
        for module in _each(self, recurse):
            module._fsdp.sync = requires_gradient_sync

    def set_is_last_backward(self, is_last_backward: bool) -> None:
        """Nothing: what a backward pass has gathered is let go of within it."""

    def set_reshard_after_forward(self, reshard_after_forward: bool, recurse: bool = True) -> None:
        """Shall whole parameters be let go of after the forward pass, and gathered anew for the backward pass?"""
        for module in _each(self, recurse):
            module._fsdp_frees = reshard_after_forward

    def set_reshard_after_backward(self, reshard_after_backward: bool, *, recurse: bool = True) -> None:
        """NotImplementedError if it is to be off: whole parameters are let go of."""
        if not reshard_after_backward:
            raise NotImplementedError("set_reshard_after_backward(False) is not in Facula")

    def set_gradient_divide_factor(self, factor: float) -> None:
        """What gradients are divided by, in the place of the number of ranks."""
        self._fsdp.divisor = factor  # type: ignore[assignment]

    set_reduce_scatter_divide_factor = set_gradient_divide_factor

    def set_modules_to_forward_prefetch(self, modules: list[Any]) -> None:
        """Nothing: parameters are gathered when they are needed."""

    def set_modules_to_backward_prefetch(self, modules: list[Any]) -> None:
        """Nothing: parameters are gathered when they are needed."""

    def __deepcopy__(self, memo: Any) -> NoReturn:
        raise AssertionError("FSDP does not support deepcopy. Please use state dict for serialization.")


class _Done:
    def wait(self) -> None:
        """It is done."""


def _called(module: Any, call: Callable[..., Any], args: Any, kwargs: Any) -> Any:
    """A call with whole parameters."""
    pieces: Pieces = module._fsdp
    wanted = module._fsdp_frees
    # The outermost module's are needed first in the backward pass: they stay.
    pieces.frees = bool(_running) if wanted is None else wanted
    policy = pieces.policy
    if policy.param_dtype is not None and policy.cast_forward_inputs:
        args, kwargs = _cast(args, policy.param_dtype), _cast(kwargs, policy.param_dtype)
    _running.append(module)
    try:
        with pieces.computing():
            found = call(*args, **kwargs)
    finally:
        _running.pop()
    return found if policy.output_dtype is None else _cast(found, policy.output_dtype)


def _cast(value: Any, to: Any) -> Any:
    from facula.utils import _pytree
    return _pytree.tree_map(lambda t: t.to(to) if isinstance(t, facula.Tensor) and t.is_floating_point() else t, value)


def fully_shard(module: Any, *, mesh: DeviceMesh | None = None, reshard_after_forward: bool | None = None,
                shard_placement_fn: Callable[[Any], Any] | None = None,
                mp_policy: MixedPrecisionPolicy = _AS_IT_IS, offload_policy: OffloadPolicy = _WHERE_IT_IS,
                ignored_params: Iterable[Any] | None = None) -> Any:
    """Have each rank keep a piece of a module's parameters, in place; returns it. Its parameters become DTensors.

    They are whole while the module computes, in the forward and again in the backward pass; gradients are averaged over
    ranks. Call it of the parts of a model first, then of the model: a call takes the parameters that none before has
    taken. Each rank takes its pieces of its own parameters, so that these have to be the same on all ranks.

    Args:
        module: a module, or a list of them that compute one after the other.
        mesh: the ranks; all unless told. Of two dimensions: pieces along the second one, copies along the first.
        reshard_after_forward: let go of whole parameters between the passes; unless told all modules but the outermost
            do.
        shard_placement_fn: parameter -> Shard(dim), where pieces are not to be along the first dimension.
        mp_policy: dtypes.
        ignored_params: parameters that stay as they are.

    Raises:
        ValueError: the mesh has more than two dimensions, or the module has been sharded before.
        NotImplementedError: a list of modules, parameters that are DTensors otherwise, or containers without a forward.

    Example:
        >>> import facula, facula.distributed as dist
        >>> from facula.distributed.fsdp import fully_shard
        >>> dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
        >>> net = fully_shard(facula.nn.Linear(2, 2), mesh=dist.init_device_mesh("cpu", (1,)))
        >>> net(facula.ones(1, 2)).sum().backward()
        >>> net.weight.placements, net.weight.grad.full_tensor()
        ((Shard(dim=0),), tensor([[1., 1.],
                [1., 1.]]))
        >>> dist.destroy_process_group()
    """
    if isinstance(module, (list, tuple)):
        raise NotImplementedError("fully_shard of a list of modules is not in Facula; call it of each")
    if isinstance(module, (facula.nn.ModuleList, facula.nn.ModuleDict)):
        raise ValueError(f"fully_shard does not support containers that do not implement forward: {module}"[:500])
    if isinstance(module, FSDPModule):
        raise ValueError(f"fully_shard has been called of this {type(module).__name__} before")
    if isinstance(reshard_after_forward, int) and not isinstance(reshard_after_forward, bool):
        raise NotImplementedError("fully_shard: reshard_after_forward as a number of ranks is not in Facula; True or "
                                  "False")
    mesh = init_device_mesh("cpu", (get_world_size(),)) if mesh is None else mesh
    if mesh.ndim > 2:
        raise ValueError(f"fully_shard expects a 1D or 2D DeviceMesh but got {mesh}")
    taken = _taken(module, mesh, shard_placement_fn, {id(p) for p in ignored_params or ()})
    module._fsdp = Pieces(type(module).__name__, taken, mesh, mp_policy)
    module._fsdp_frees = reshard_after_forward
    kind = type(module)
    if kind not in _classes:
        _classes[kind] = type(f"FSDP{kind.__name__}", (FSDPModule, kind), {})
    module.__class__ = _classes[kind]
    return module


def _taken(module: Any, mesh: DeviceMesh, placement_of: Any, ignored: set[int]) -> list[Sharded]:
    """The parameters that nobody has taken yet, which become DTensors."""
    found: dict[int, tuple[Any, list[tuple[Any, str]]]] = {}
    inside = {id(m) for outer in _each(module) for m in outer.modules()}  # type: ignore[attr-defined]
    for inner in module.modules():
        for name, parameter in inner._parameters.items():
            if parameter is None or id(parameter) in ignored:
                continue
            if is_piece(parameter):
                if id(inner) in inside:
                    continue
                raise NotImplementedError(f"fully_shard: {name} of {type(inner).__name__} is a DTensor already; "
                                          "pieces of pieces are not in Facula")
            found.setdefault(id(parameter), (parameter, []))[1].append((inner, name))
    made = []
    for parameter, places in found.values():
        placement = (placement_of(parameter) if placement_of is not None else None) or Shard(0)
        if not parameter.dim():
            raise ValueError(f"fully_shard: {places[0][1]} is a scalar, of which there are no pieces")
        sharded = distribute_tensor(parameter.detach(), mesh, [*[Replicate()] * (mesh.ndim - 1), placement],
                                    src_data_rank=None)
        member = Sharded(places, facula.nn.Parameter(sharded, parameter.requires_grad), placement.dim % parameter.dim())
        member.put(member.parameter)
        made.append(member)
    return made


def register_fsdp_forward_method(module: Any, method_name: str) -> None:
    """Have a method of a sharded module compute with whole parameters, as a call of the module does."""
    if not isinstance(module, FSDPModule):
        return
    if not hasattr(module, method_name):
        raise ValueError(f"{type(module)} does not have a method {method_name}")
    plain = getattr(module, method_name)

    def method(*args: Any, **kwargs: Any) -> Any:
        return _called(module, plain, args, kwargs)
    object.__setattr__(module, method_name, method)


