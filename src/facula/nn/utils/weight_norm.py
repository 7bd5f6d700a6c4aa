"""The older weight normalization: a hook computes the weight before each forward pass. Newer programs take
`nn.utils.parametrizations.weight_norm`."""

from __future__ import annotations

from typing import Any

from facula.errors import warn
from facula.nn.modules.module import Module
from facula.nn.parameter import Parameter, UninitializedParameter
from facula.nn.utils._norms import lengths, weight_of

__all__ = ["WeightNorm", "remove_weight_norm", "weight_norm"]


class WeightNorm:
    """The hook: `module.<name>` is made of `module.<name>_g` and `module.<name>_v`."""

    def __init__(self, name: str, dim: int | None) -> None:
        self.name = name
        self.dim = -1 if dim is None else dim

    def compute_weight(self, module: Module) -> Any:
        return weight_of(getattr(module, self.name + "_v"), getattr(module, self.name + "_g"), self.dim)

    @staticmethod
    def apply(module: Module, name: str, dim: int | None) -> WeightNorm:
        if any(isinstance(hook, WeightNorm) and hook.name == name for hook in module._forward_pre_hooks.values()):
            raise RuntimeError(f"Cannot register two weight_norm hooks on the same parameter {name}")
        hook = WeightNorm(name, dim)
        weight = getattr(module, name)
        if isinstance(weight, UninitializedParameter):
            raise ValueError("The module passed to `WeightNorm` can't have uninitialized parameters. Make sure to run "
                             "the dummy forward before applying weight normalization")
        del module._parameters[name]
        module.register_parameter(name + "_g", Parameter(lengths(weight, hook.dim).data))
        module.register_parameter(name + "_v", Parameter(weight.data))
        setattr(module, name, hook.compute_weight(module))
        module.register_forward_pre_hook(hook)
        return hook

    def remove(self, module: Module) -> None:
        weight = self.compute_weight(module)
        delattr(module, self.name)
        del module._parameters[self.name + "_g"], module._parameters[self.name + "_v"]
        setattr(module, self.name, Parameter(weight.data))

    def __call__(self, module: Module, inputs: Any) -> None:
        setattr(module, self.name, self.compute_weight(module))


def weight_norm(module: Module, name: str = "weight", dim: int | None = 0) -> Module:
    """Train a parameter's lengths (`<name>_g`) apart from its directions (`<name>_v`): weight = g * v / |v|.

    Deprecated in PyTorch in favour of `nn.utils.parametrizations.weight_norm`.

    Args:
        module: whose parameter it is.
        name: of the parameter.
        dim: along which there is a length for each entry. None: one length for all of it.

    Raises:
        RuntimeError: if the parameter is normalized already.

    Example:
        >>> import facula.nn as nn
        >>> nn.utils.weight_norm(nn.Linear(20, 40)).weight_g.shape
        torch.Size([40, 1])
    """
    warn("`torch.nn.utils.weight_norm` is deprecated in favor of `torch.nn.utils.parametrizations.weight_norm`.",
         FutureWarning)
    WeightNorm.apply(module, name, dim)
    return module


def remove_weight_norm(module: Module, name: str = "weight") -> Module:
    """Make a parameter of what `weight_norm` computes. ValueError if it is not there."""
    for key, hook in module._forward_pre_hooks.items():
        if isinstance(hook, WeightNorm) and hook.name == name:
            hook.remove(module)
            del module._forward_pre_hooks[key]
            return module
    raise ValueError(f"weight_norm of '{name}' not found in {module}")
