"""Parameters that are computed from others: `register_parametrization` puts a module between a tensor of a module and
the one that is trained. `module.weight` is then a property, whose value the parametrization gives at each access."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import facula
from facula._tensor.handle import Tensor
from facula.nn.modules.container import ModuleDict
from facula.nn.modules.module import Module
from facula.nn.parameter import Parameter
from facula.nn.utils._parametrizations_of import ParametrizationList, register_tensor

__all__ = ["ParametrizationList", "cached", "is_parametrized", "register_parametrization", "remove_parametrizations",
           "transfer_parametrizations_and_params", "type_before_parametrizations"]

# Within `cached`: values of (module, name). The module is held with its value, so that no other one gets its id.
_kept: dict[tuple[int, str], tuple[Module, Any]] = {}
_blocks = 0  # how many `cached` blocks are open


@contextmanager
def cached() -> Iterator[None]:
    """Within the block a parametrized tensor is computed once and kept: what reads it often, such as a recurrent layer,
    reads the same value. What is written in between is seen after the block.

    Example:
        >>> import facula
        >>> import facula.nn.utils.parametrize as P
        >>> with P.cached():
        ...     pass
    """
    global _blocks
    _blocks += 1
    try:
        yield
    finally:
        _blocks -= 1
        if not _blocks:
            _kept.clear()


def is_parametrized(module: Module, tensor_name: str | None = None) -> bool:
    """Has `module` a parametrization: any, or one of that tensor?"""
    found = getattr(module, "parametrizations", None)
    if not isinstance(found, ModuleDict):
        return False
    return len(found) > 0 if tensor_name is None else tensor_name in found


def register_parametrization(module: Module, tensor_name: str, parametrization: Module, *,
                             unsafe: bool = False) -> Module:
    """Have `module.tensor_name` computed by `parametrization` from what is trained instead of it.

    The trained tensor is `module.parametrizations.<tensor_name>.original`, or `original0`, `original1`... where the
    parametrization's `right_inverse` gives several. With `right_inverse` the value stays what it was, and the tensor
    can be assigned to. Further parametrizations of a tensor come after those it has;
    its value then is what they make of it.

    Args:
        module: whose tensor it is.
        tensor_name: of a parameter, a buffer, or a parametrized tensor.
        parametrization: a module from the trained tensors to the value.
        unsafe: do without the checks that shape and type are kept, and that it is a function of a tensor.

    Raises:
        ValueError: if there is no such tensor, or the parametrization changes its shape or type.

    Example:
        >>> import facula
        >>> import facula.nn as nn
        >>> import facula.nn.utils.parametrize as P
        >>> class Symmetric(nn.Module):
        ...     def forward(self, X):
        ...         return X.triu() + X.triu(1).mT
        >>> layer = P.register_parametrization(nn.Linear(3, 3), "weight", Symmetric())
        >>> bool((layer.weight == layer.weight.T).all())
        True
    """
    parametrization.train(module.training)
    if is_parametrized(module, tensor_name):
        module.parametrizations[tensor_name].add(parametrization, tensor_name, getattr(module, tensor_name), unsafe)
    elif tensor_name in module._buffers or tensor_name in module._parameters:
        original = getattr(module, tensor_name)
        listed = ParametrizationList([parametrization], original, unsafe=unsafe)
        delattr(module, tensor_name)  # only now: what was refused has changed nothing
        if not is_parametrized(module):
            module.__class__ = _parametrized(module.__class__)
            module.parametrizations = ModuleDict()
        setattr(module.__class__, tensor_name, _value(tensor_name))
        module.parametrizations[tensor_name] = listed
    else:
        raise ValueError(f"Module '{module}' does not have a parameter, a buffer, or a parametrized element with name "
                         f"'{tensor_name}'")
    return module


def remove_parametrizations(module: Module, tensor_name: str, leave_parametrized: bool = True) -> Module:
    """Take the parametrizations of a tensor away. It is a parameter or a buffer again: with the value that they gave,
    or what was trained if not `leave_parametrized`, which needs that to be one tensor.

    Raises:
        ValueError: if the tensor is not parametrized, or `leave_parametrized=False` where there are several originals.
    """
    if not is_parametrized(module, tensor_name):
        raise ValueError(f"Module {module} does not have a parametrization on {tensor_name}")
    listed = module.parametrizations[tensor_name]
    if listed.is_tensor:
        original = listed.original
        if leave_parametrized:
            with facula.no_grad():
                value = getattr(module, tensor_name)
            original.data = value.detach() if value.dtype is original.dtype else value.detach().to(original.dtype)
    elif leave_parametrized:
        value = getattr(module, tensor_name).detach()
        trained = any(isinstance(getattr(listed, f"original{k}"), Parameter) for k in range(listed.ntensors))
        original = Parameter(value) if trained else value
    else:
        raise ValueError("Cannot leave unparametrized (`leave_parametrized=False`) a tensor that is parametrized in "
                         "terms of a sequence of tensors.")
    delattr(module.__class__, tensor_name)
    del module.parametrizations[tensor_name]
    register_tensor(module, tensor_name, original)
    if not is_parametrized(module):
        delattr(module, "parametrizations")
        module.__class__ = module.__class__.__bases__[0]
    return module


def type_before_parametrizations(module: Module) -> type:
    """The class of a module, without what parametrizations have made of it."""
    return module.__class__.__bases__[0] if is_parametrized(module) else type(module)


def transfer_parametrizations_and_params(from_module: Module, to_module: Module,
                                         tensor_name: str | None = None) -> Module:
    """Give `to_module` the parametrizations of `from_module`, of one tensor or all, and what is trained beneath them.
    The parametrizations are shared by both then. Where `to_module` has no such tensor it gets one."""
    if not is_parametrized(from_module):
        return to_module
    names = list(from_module.parametrizations) if tensor_name is None else [tensor_name]
    for name in names:
        listed = from_module.parametrizations[name]
        if not hasattr(to_module, name):
            setattr(to_module, name, Parameter(getattr(from_module, name).detach().clone()))
        for parametrization in listed:
            register_parametrization(to_module, name, parametrization)
        given = to_module.parametrizations[name]
        if hasattr(listed, "original"):
            given.original = listed.original
        else:
            for k in range(listed.ntensors):
                setattr(given, f"original{k}", getattr(listed, f"original{k}"))
    return to_module


# ---- the class of a module that has parametrizations -----------------------------------------------------


def _value(name: str) -> property:
    def get(self: Module) -> Any:
        parametrization = self.parametrizations[name]
        if not _blocks:
            return parametrization()
        key = id(self), name
        if key not in _kept:
            _kept[key] = self, parametrization()
        return _kept[key][1]

    def put(self: Module, value: Tensor | Sequence[Tensor]) -> None:
        self.parametrizations[name].right_inverse(value)
    return property(get, put)


def _refuse_pickling(self: Any) -> Any:
    raise RuntimeError("Serialization of parametrized modules is only supported through state_dict(). See:\n"
                       "https://pytorch.org/tutorials/beginner/saving_loading_models.html"
                       "#saving-loading-a-general-checkpoint-for-inference-and-or-resuming-training")


def _copied(self: Any, memo: dict[int, Any]) -> Any:
    replica = memo.get(id(self))
    if replica is None:
        replica = memo[id(self)] = self.__new__(self.__class__)
        replica.__dict__ = copy.deepcopy(self.__dict__, memo)
    return replica


def _parametrized(of: type) -> type:
    """A class of its own for one module (and its copies): a property for each tensor is put into it."""
    inside: dict[str, Any] = {"__getstate__": _refuse_pickling}
    if not hasattr(of, "__deepcopy__"):
        inside["__deepcopy__"] = _copied
    return type(f"Parametrized{of.__name__}", (of,), inside)
