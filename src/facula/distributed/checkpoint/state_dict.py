"""`torch.distributed.checkpoint.state_dict`: states of models and optimizers by the names of parameters, which are the
same for one process, for `DistributedDataParallel`, and for modules in pieces."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import facula
from facula._tensor.handle import Tensor
from facula.distributed import collectives, objects, world
from facula.distributed.tensor import DTensor, distribute_tensor
from facula.nn.parallel import DistributedDataParallel

__all__ = ["StateDictOptions", "get_model_state_dict", "get_optimizer_state_dict", "get_state_dict",
           "set_model_state_dict", "set_optimizer_state_dict", "set_state_dict"]


@dataclass
class StateDictOptions:
    """What states are to be.

    Args:
        full_state_dict: whole tensors in the place of DTensors; what is set has whole tensors.
        cpu_offload: on the cpu; of whole tensors on rank 0 alone, others get an empty dictionary.
        ignore_frozen_params: leave out parameters without gradients.
        strict: names have to be the same when a state is set.
        broadcast_from_rank0: with `full_state_dict`, rank 0 alone has the state that is set.
        keep_submodule_prefixes, flatten_optimizer_state_dict: NotImplementedError unless they are what they are here.
    """

    full_state_dict: bool = False
    cpu_offload: bool = False
    ignore_frozen_params: bool = False
    keep_submodule_prefixes: bool = True
    strict: bool = True
    broadcast_from_rank0: bool = False
    flatten_optimizer_state_dict: bool = False

    def __post_init__(self) -> None:
        if not self.keep_submodule_prefixes or self.flatten_optimizer_state_dict:
            raise NotImplementedError("StateDictOptions: keep_submodule_prefixes=False and "
                                      "flatten_optimizer_state_dict are not in Facula")
        if self.broadcast_from_rank0 and not self.full_state_dict:
            raise ValueError("full_state_dict must be True when broadcast_from_rank0 is True.")


def _bare(model: Any) -> Any:
    """The module whose names count."""
    return model.module if isinstance(model, DistributedDataParallel) else model


def _rank() -> int:
    return world.get_rank() if world.is_initialized() else 0


def _given(value: Any, options: StateDictOptions) -> Any:
    """A value as the options want it."""
    if isinstance(value, dict):
        return {name: _given(inner, options) for name, inner in value.items()}
    if isinstance(value, DTensor) and options.full_state_dict:
        value = value.detach().full_tensor()
    return value.cpu() if isinstance(value, Tensor) and options.cpu_offload else value


def _mine(state: dict[str, Any], options: StateDictOptions) -> dict[str, Any]:
    return {} if options.full_state_dict and options.cpu_offload and _rank() else state


def get_model_state_dict(model: Any, *, submodules: Any = None, options: StateDictOptions | None = None
                         ) -> dict[str, Any]:
    """The state of a model by the names of the module inside of it. All ranks that have it call this.

    NotImplementedError with `submodules`.

    Example:
        >>> import facula
        >>> from facula.distributed.checkpoint.state_dict import get_model_state_dict
        >>> list(get_model_state_dict(facula.nn.Linear(1, 1)))
        ['weight', 'bias']
    """
    if submodules is not None:
        raise NotImplementedError("get_model_state_dict: submodules are not in Facula")
    options, bare = options or StateDictOptions(), _bare(model)
    frozen = {name for name, p in bare.named_parameters() if not p.requires_grad}
    state = {name: _given(value, options) for name, value in bare.state_dict().items()
             if not (options.ignore_frozen_params and name in frozen)}
    return _mine(state, options)


def _told(state: dict[str, Any], options: StateDictOptions) -> dict[str, Any]:
    """The state that rank 0 has, on all ranks: what it is made of first, then tensor by tensor."""
    if not options.broadcast_from_rank0 or not world.is_initialized():
        return state
    plain = [_described(state)]
    objects.broadcast_object_list(plain, 0)
    return _filled(plain[0], state)  # type: ignore[no-any-return]


@dataclass
class _Described:
    """A tensor that is sent by itself."""

    shape: tuple[int, ...]
    dtype: Any


def _described(value: Any) -> Any:
    if isinstance(value, Tensor):
        return _Described(tuple(value.shape), str(value.dtype))
    if isinstance(value, dict):
        return {name: _described(inner) for name, inner in value.items()}
    return value


def _filled(plain: Any, own: Any) -> Any:
    if isinstance(plain, _Described):
        there = isinstance(own, Tensor)
        tensor = own.detach().clone() if there else facula.empty(  # type: ignore[attr-defined]
            plain.shape, dtype=getattr(facula, plain.dtype.partition(".")[2]))
        collectives.broadcast(tensor, 0)
        return tensor
    if isinstance(plain, dict):
        return {name: _filled(inner, own.get(name) if isinstance(own, dict) else None)
                for name, inner in plain.items()}
    return plain


def _laid_as(value: Any, like: Any) -> Any:
    """A whole tensor as the DTensor that it is to go to."""
    if isinstance(value, Tensor) and isinstance(like, DTensor) and not isinstance(value, DTensor):
        if value.shape != like.shape:
            return value
        return distribute_tensor(value.detach(), like.device_mesh, like.placements, src_data_rank=None)
    return value


def set_model_state_dict(model: Any, model_state_dict: dict[str, Any], *, options: StateDictOptions | None = None
                         ) -> Any:
    """Load what `get_model_state_dict` has given; returns missing and unexpected names. Whole tensors are cut for
    parameters in pieces. RuntimeError where names or sizes do not fit."""
    options, bare = options or StateDictOptions(), _bare(model)
    state = _told(model_state_dict, options)
    own = bare.state_dict()
    return bare.load_state_dict({name: _laid_as(value, own.get(name)) for name, value in state.items()},
                                strict=options.strict)


def _listed(optimizers: Any) -> list[Any]:
    return list(optimizers) if isinstance(optimizers, Iterable) else [optimizers]


def _names(model: Any) -> dict[int, str]:
    return {id(p): name for name, p in _bare(model).named_parameters()}


def _begun(optimizer: Any) -> None:
    """Have an optimizer that has made no step make one that changes nothing: its state is there then."""
    if optimizer.state:
        return
    params = [p for group in optimizer.param_groups for p in group["params"] if p.requires_grad]
    if any(p.grad is not None for p in params):
        return
    rates = [group.get("lr") for group in optimizer.param_groups]
    decays = [group.get("weight_decay") for group in optimizer.param_groups]
    try:
        for group in optimizer.param_groups:
            group.update({name: 0.0 for name in ("lr", "weight_decay") if name in group})
        for p in params:
            p.grad = facula.zeros_like(p.detach())
        optimizer.step()
    finally:
        for group, rate, decay in zip(optimizer.param_groups, rates, decays, strict=True):
            group.update({name: old for name, old in (("lr", rate), ("weight_decay", decay)) if name in group})
        optimizer.zero_grad(set_to_none=True)


def get_optimizer_state_dict(model: Any, optimizers: Any, *, submodules: Any = None,
                             options: StateDictOptions | None = None) -> dict[str, Any]:
    """The states of one or several optimizers of a model, by the names of its parameters.

    An optimizer that has made no step makes one that changes nothing, so that there is something to load into.
    NotImplementedError with `submodules`; RuntimeError of a parameter that is none of the model's.
    """
    if submodules is not None:
        raise NotImplementedError("get_optimizer_state_dict: submodules are not in Facula")
    options, names = options or StateDictOptions(), _names(model)
    states: dict[str, Any] = {}
    groups: list[dict[str, Any]] = []
    for optimizer in _listed(optimizers):
        _begun(optimizer)
        for group in optimizer.param_groups:
            for p in group["params"]:
                if id(p) not in names:
                    raise RuntimeError("get_optimizer_state_dict: the optimizer has a parameter that is none of the "
                                       f"model's, of shape {tuple(p.shape)}")
                if p in optimizer.state:
                    states[names[id(p)]] = _given(dict(optimizer.state[p]), options)
            groups.append({**{name: value for name, value in group.items() if name != "params"},
                           "params": [names[id(p)] for p in group["params"]]})
    return _mine({"state": states, "param_groups": groups}, options)


def set_optimizer_state_dict(model: Any, optimizers: Any, optim_state_dict: dict[str, Any], *,
                             options: StateDictOptions | None = None) -> None:
    """Load what `get_optimizer_state_dict` has given. RuntimeError where a parameter or a group is missing."""
    options, names = options or StateDictOptions(), _names(model)
    given = _told(optim_state_dict, options)
    by_name = {name: group for group in given["param_groups"] for name in group["params"]}
    for optimizer in _listed(optimizers):
        _begun(optimizer)
        numbers: dict[int, int] = {}
        groups, states = [], {}
        for group in optimizer.param_groups:
            own = [names[id(p)] for p in group["params"]]
            missing = [name for name in own if name not in by_name]
            if missing:
                raise RuntimeError(f"set_optimizer_state_dict: the state has no parameter {missing[0]}")
            for p, name in zip(group["params"], own, strict=True):
                numbers[id(p)] = len(numbers)
                if name in given["state"]:
                    before = optimizer.state.get(p, {})
                    states[numbers[id(p)]] = {key: _laid_as(value, before.get(key))
                                              for key, value in given["state"][name].items()}
            options_of = {key: value for key, value in by_name[own[0]].items() if key != "params"} if own else {}
            groups.append({**{key: value for key, value in group.items() if key != "params"}, **options_of,
                           "params": [numbers[id(p)] for p in group["params"]]})
        optimizer.load_state_dict({"state": states, "param_groups": groups})


def get_state_dict(model: Any, optimizers: Any, *, submodules: Any = None, options: StateDictOptions | None = None
                   ) -> tuple[dict[str, Any], dict[str, Any]]:
    """The states of a model and of its optimizers."""
    return (get_model_state_dict(model, submodules=submodules, options=options),
            get_optimizer_state_dict(model, optimizers, submodules=submodules, options=options))


def set_state_dict(model: Any, optimizers: Any, *, model_state_dict: dict[str, Any],
                   optim_state_dict: dict[str, Any], options: StateDictOptions | None = None) -> Any:
    """Load the states of a model and of its optimizers."""
    found = set_model_state_dict(model, model_state_dict, options=options)
    set_optimizer_state_dict(model, optimizers, optim_state_dict, options=options)
    return found
