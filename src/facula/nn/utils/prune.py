"""Pruning: parts of a parameter are set to zero, by a mask that stays. `module.<name>` becomes `<name>_orig` times
`<name>_mask`, computed before each forward pass, until `remove` makes it permanent."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import Any

import facula
from facula._tensor.handle import Tensor
from facula.nn.modules.module import Module
from facula.nn.utils._pruned_amounts import amount_of, check_amount, check_structured, keep_largest_channels

__all__ = ["BasePruningMethod", "CustomFromMask", "Identity", "L1Unstructured", "LnStructured", "PruningContainer",
           "RandomStructured", "RandomUnstructured", "custom_from_mask", "global_unstructured", "identity", "is_pruned",
           "l1_unstructured", "ln_structured", "random_structured", "random_unstructured", "remove"]


class BasePruningMethod(ABC):
    """What a way of pruning is: `compute_mask` says what stays. One's own have a `PRUNING_TYPE` of "unstructured",
    "structured" or "global", which says what of an already pruned tensor they look at."""

    _tensor_name: str
    PRUNING_TYPE: str

    def __call__(self, module: Module, inputs: Any) -> None:
        """Before each forward pass."""
        setattr(module, self._tensor_name, self.apply_mask(module))

    @abstractmethod
    def compute_mask(self, t: Tensor, default_mask: Tensor) -> Any:
        """The mask (of ones and zeros) for importance scores `t`, which keeps pruned what `default_mask` has so."""

    def apply_mask(self, module: Module) -> Any:
        """The parameter as it was, times the mask."""
        if self._tensor_name is None:
            raise AssertionError(f"Module {module} has to be pruned")
        mask = getattr(module, self._tensor_name + "_mask")
        original = getattr(module, self._tensor_name + "_orig")
        return mask.to(dtype=original.dtype) * original

    @classmethod
    def apply(cls, module: Module, name: str, *args: Any, importance_scores: Tensor | None = None,
              **kwargs: Any) -> BasePruningMethod:
        """Prune a parameter, also one that is pruned already. Returns the hook."""
        old = [(key, hook) for key, hook in module._forward_pre_hooks.items()
               if isinstance(hook, BasePruningMethod) and hook._tensor_name == name]
        if len(old) > 1:
            raise AssertionError("Avoid having multiple pruning hooks on the same tensor "
                                 f"{name} in module {module}. Use a PruningContainer.")
        method: BasePruningMethod = cls(*args, **kwargs)
        method._tensor_name = name
        if old:
            container = old[0][1]
            if not isinstance(container, PruningContainer):
                container = PruningContainer(container)
            container.add_pruning_method(method)
            method = container
        original = getattr(module, name + "_orig") if old else getattr(module, name)
        scores = getattr(module, name) if importance_scores is None else importance_scores
        if scores.shape != original.shape:
            raise AssertionError(f"importance_scores should have the same shape as parameter {name} of {module}")
        before = getattr(module, name + "_mask").detach().clone() if old else facula.ones_like(original)
        mask = method.compute_mask(scores, default_mask=before)  # may refuse: nothing has been changed yet
        if old:
            del module._forward_pre_hooks[old[0][0]]
            delattr(module, name)
        else:
            module.register_parameter(name + "_orig", original)
            del module._parameters[name]
        module.register_buffer(name + "_mask", mask)
        setattr(module, name, method.apply_mask(module))
        module.register_forward_pre_hook(method)
        return method

    def prune(self, t: Tensor, default_mask: Tensor | None = None, importance_scores: Tensor | None = None) -> Any:
        """A pruned copy of a tensor: no module has a part in it."""
        scores = t if importance_scores is None else importance_scores
        if scores.shape != t.shape:
            raise AssertionError("importance_scores should have the same shape as tensor t")
        before = facula.ones_like(t) if default_mask is None else default_mask
        return t * self.compute_mask(scores, default_mask=before)

    def remove(self, module: Module) -> None:
        """Make what is pruned permanent: the parameter again, with zeros, and no mask."""
        name = self._tensor_name
        if name is None:
            raise AssertionError(f"Module {module} has to be pruned before pruning can be removed")
        weight = self.apply_mask(module)
        if hasattr(module, name):
            delattr(module, name)
        original = module._parameters[name + "_orig"]
        original.data = weight.data  # type: ignore[union-attr]
        del module._parameters[name + "_orig"], module._buffers[name + "_mask"]
        setattr(module, name, original)


class PruningContainer(BasePruningMethod):
    """Methods of one tensor, in order: each looks at what those before it have left."""

    def __init__(self, *args: Any) -> None:
        self._pruning_methods: tuple[Any, ...] = ()
        if not isinstance(args, Iterable):
            self._tensor_name = args._tensor_name
            self.add_pruning_method(args)
        elif len(args) == 1:
            self._tensor_name = args[0]._tensor_name
            self.add_pruning_method(args[0])
        else:
            for method in args:
                self.add_pruning_method(method)

    def add_pruning_method(self, method: Any) -> None:
        if not isinstance(method, BasePruningMethod) and method is not None:
            raise TypeError(f"{type(method)} is not a BasePruningMethod subclass")
        if method is not None and self._tensor_name != method._tensor_name:
            raise ValueError("Can only add pruning methods acting on the parameter named "
                             f"'{self._tensor_name}' to PruningContainer {self}. Found '{method._tensor_name}'")
        self._pruning_methods += (method,)

    def __len__(self) -> int:
        return len(self._pruning_methods)

    def __iter__(self) -> Any:
        return iter(self._pruning_methods)

    def __getitem__(self, k: int) -> Any:
        return self._pruning_methods[k]

    def compute_mask(self, t: Tensor, default_mask: Tensor) -> Any:
        """The mask of the newest method, on what the mask so far has left of the scores."""
        method, mask = self._pruning_methods[-1], default_mask.to(dtype=t.dtype)
        kind = method.PRUNING_TYPE
        if kind == "unstructured":
            where: Any = mask == 1
        elif kind == "structured":  # channels that are all zero are gone
            dim = method.dim if method.dim >= 0 else method.dim + t.ndim
            left = mask.sum(dim=[d for d in range(t.ndim) if d != dim]) != 0
            where = (slice(None),) * dim + (left,)
        elif kind == "global":
            where = (slice(None),) * t.ndim
        else:
            raise ValueError(f"Unrecognized PRUNING_TYPE {kind}")
        partial = method.compute_mask(t[where], default_mask=mask[where])
        new = mask.clone()
        new[where] = partial.to(mask.dtype)
        return new


class Identity(BasePruningMethod):
    """Prunes nothing, but puts the mask there."""

    PRUNING_TYPE = "unstructured"

    def compute_mask(self, t: Tensor, default_mask: Tensor) -> Any:
        return default_mask


class _Elements(BasePruningMethod):
    """Prunes elements: those of the least `_worth`."""

    PRUNING_TYPE = "unstructured"

    def __init__(self, amount: float) -> None:
        check_amount(amount)
        self.amount = amount

    @abstractmethod
    def _worth(self, t: Tensor) -> Tensor: ...

    def compute_mask(self, t: Tensor, default_mask: Tensor) -> Any:
        count = amount_of(self.amount, t.nelement())
        mask = default_mask.clone(memory_format=facula.contiguous_format)
        if count:
            mask.view(-1)[facula.topk(self._worth(t).view(-1), k=count, largest=False).indices] = 0
        return mask


class RandomUnstructured(_Elements):
    """Prunes elements at random. `amount`: an int counts them, a float is a part of those that are left."""

    def _worth(self, t: Tensor) -> Any:
        return -facula.rand_like(t)  # PyTorch takes the greatest


class L1Unstructured(_Elements):
    """Prunes the elements of least magnitude. `amount` as of `RandomUnstructured`."""

    def _worth(self, t: Tensor) -> Any:
        return facula.abs(t)


class _Channels(BasePruningMethod):
    """Prunes whole channels along `dim`: those of the least `_worth`."""

    PRUNING_TYPE = "structured"
    amount: float
    dim: int

    @abstractmethod
    def _worth(self, t: Tensor) -> Tensor: ...

    def compute_mask(self, t: Tensor, default_mask: Tensor) -> Any:
        check_structured(t, self.dim)
        channels = t.shape[self.dim]
        count = amount_of(self.amount, channels)
        if not count:
            return default_mask
        return keep_largest_channels(self._worth(t), channels - count, t, self.dim, default_mask)


class RandomStructured(_Channels):
    """Prunes channels at random. `amount` as of `RandomUnstructured`."""

    def __init__(self, amount: float, dim: int = -1) -> None:
        check_amount(amount)
        self.amount, self.dim = amount, dim

    def _worth(self, t: Tensor) -> Any:
        return facula.rand(t.shape[self.dim])


class LnStructured(_Channels):
    """Prunes the channels whose `n`-norm is least."""

    def __init__(self, amount: float, n: Any, dim: int = -1) -> None:
        check_amount(amount)
        self.amount, self.n, self.dim = amount, n, dim

    def _worth(self, t: Tensor) -> Any:
        dim = self.dim % t.ndim
        return facula.norm(t, p=self.n, dim=[d for d in range(t.ndim) if d != dim])


class CustomFromMask(BasePruningMethod):
    """Prunes by a mask that is given, of ones and zeros."""

    PRUNING_TYPE = "global"

    def __init__(self, mask: Tensor) -> None:
        self.mask = mask

    def compute_mask(self, t: Tensor, default_mask: Tensor) -> Any:
        if default_mask.shape != self.mask.shape:
            raise AssertionError(f"mask shape {self.mask.shape} does not match {default_mask.shape}")
        return default_mask * self.mask.to(dtype=default_mask.dtype)


# ---- functions --------------------------------------------------------------------------------------------


def identity(module: Module, name: str) -> Module:
    """Put a mask of ones on a parameter."""
    Identity.apply(module, name)
    return module


def random_unstructured(module: Module, name: str, amount: float) -> Module:
    """Prune elements of a parameter at random.

    Args:
        module: whose parameter it is.
        name: of the parameter.
        amount: how many (int), or which part of those left (float from 0 to 1).

    Example:
        >>> import facula.nn as nn
        >>> m = nn.utils.prune.random_unstructured(nn.Linear(2, 3), "weight", amount=1)
        >>> int((m.weight_mask == 0).sum())
        1
    """
    RandomUnstructured.apply(module, name, amount)
    return module


def l1_unstructured(module: Module, name: str, amount: float, importance_scores: Tensor | None = None) -> Module:
    """Prune the elements of a parameter that are least in magnitude (or in `importance_scores`, of its shape).

    Example:
        >>> import facula.nn as nn
        >>> sorted(nn.utils.prune.l1_unstructured(nn.Linear(2, 3), "weight", amount=0.2).state_dict())
        ['bias', 'weight_mask', 'weight_orig']
    """
    L1Unstructured.apply(module, name, amount=amount, importance_scores=importance_scores)
    return module


def random_structured(module: Module, name: str, amount: float, dim: int) -> Module:
    """Prune channels along `dim` at random."""
    RandomStructured.apply(module, name, amount, dim)
    return module


def ln_structured(module: Module, name: str, amount: float, n: Any, dim: int,
                  importance_scores: Tensor | None = None) -> Module:
    """Prune the channels along `dim` whose `n`-norm is least. `n`: as the `p` of `facula.norm`."""
    LnStructured.apply(module, name, amount, n, dim, importance_scores=importance_scores)
    return module


def global_unstructured(parameters: Any, pruning_method: type[BasePruningMethod], importance_scores: Any = None,
                        **kwargs: Any) -> None:
    """Prune several parameters as if they were one.

    Args:
        parameters: pairs of (module, name).
        pruning_method: one whose `PRUNING_TYPE` is "unstructured".
        importance_scores: a dict from such pairs to tensors. Default: the parameters themselves.
        **kwargs: of the method, such as `amount`.

    Raises:
        TypeError: if `parameters` are no pairs, the method is not unstructured, or `importance_scores` no dict.
    """
    if not isinstance(parameters, Iterable):
        raise TypeError("global_unstructured(): parameters is not an Iterable")
    parameters = list(parameters)
    scores = {} if importance_scores is None else importance_scores
    if not isinstance(scores, dict):
        raise TypeError("global_unstructured(): importance_scores must be of type dict")
    relevant = facula.nn.utils.parameters_to_vector(
        [scores.get((module, name), getattr(module, name)) for module, name in parameters])
    masks = facula.nn.utils.parameters_to_vector(
        [getattr(module, name + "_mask", facula.ones_like(getattr(module, name))) for module, name in parameters])
    container = PruningContainer()
    container._tensor_name = "temp"
    method: Any = pruning_method(**kwargs)
    method._tensor_name = "temp"
    container.add_pruning_method(method)
    if method.PRUNING_TYPE != "unstructured":
        raise TypeError('Only "unstructured" PRUNING_TYPE supported for the `pruning_method`. Found method '
                        f"{pruning_method} of type {method.PRUNING_TYPE}")
    final = container.compute_mask(relevant, masks)
    at = 0
    for module, name in parameters:
        parameter = getattr(module, name)
        count = parameter.numel()
        custom_from_mask(module, name, mask=final[at:at + count].view_as(parameter))
        at += count


def custom_from_mask(module: Module, name: str, mask: Tensor) -> Module:
    """Prune a parameter by a mask of its shape: ones stay.

    Example:
        >>> import facula
        >>> import facula.nn as nn
        >>> m = nn.utils.prune.custom_from_mask(nn.Linear(5, 3), "bias", facula.tensor([0, 1, 0]))
        >>> m.bias_mask
        tensor([0., 1., 0.])
    """
    CustomFromMask.apply(module, name, mask)
    return module


def remove(module: Module, name: str) -> Module:
    """Make what is pruned of a parameter permanent. ValueError if it is not pruned."""
    for key, hook in module._forward_pre_hooks.items():
        if isinstance(hook, BasePruningMethod) and hook._tensor_name == name:
            hook.remove(module)
            del module._forward_pre_hooks[key]
            return module
    raise ValueError(f"Parameter '{name}' of module {module} has to be pruned before pruning can be removed")


def is_pruned(module: Module) -> bool:
    """Is a parameter of the module, or of one in it, pruned?"""
    return any(isinstance(hook, BasePruningMethod)
               for _, part in module.named_modules() for hook in part._forward_pre_hooks.values())


