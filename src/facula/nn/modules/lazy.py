"""Modules that learn the shape of their parameters from the first input."""

from __future__ import annotations

from typing import Any

from ..parameter import is_lazy


class LazyModuleMixin:
    """Mixed into a module class, puts off making its parameters until the first call.

    The class makes `UninitializedParameter`s in its constructor, overrides `initialize_parameters`, which
    gets the first call's arguments, and names in `cls_to_become` what it turns into afterwards.
    """

    cls_to_become: Any = None

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        module: Any = self
        self._load_hook = module._register_load_state_dict_pre_hook(self._lazy_load_hook)
        self._initialize_hook = module.register_forward_pre_hook(self._infer_parameters, with_kwargs=True)

    def _save_to_state_dict(self, destination: Any, prefix: str, keep_vars: bool) -> None:
        for tables in (self._parameters, self._buffers):  # type: ignore[attr-defined]
            for name, tensor in tables.items():
                if tensor is None or name in self._non_persistent_buffers_set:  # type: ignore[attr-defined]
                    continue
                # detach() would lose the uninitialized type
                destination[prefix + name] = tensor if keep_vars or is_lazy(tensor) else tensor.detach()

    def _lazy_load_hook(self, state_dict: Any, prefix: str, *_: Any) -> None:
        """Give uninitialized tensors the shapes found in a state dictionary."""
        for tables in (self._parameters, self._buffers):  # type: ignore[attr-defined]
            for name, tensor in tables.items():
                given = state_dict.get(prefix + name)
                if tensor is not None and given is not None and is_lazy(tensor) and not is_lazy(given):
                    tensor.materialize(given.shape)

    def initialize_parameters(self, *args: Any, **kwargs: Any) -> None:
        """Make the parameters; called with the first call's arguments."""
        raise NotImplementedError(f"initialize_parameters is not implemented for {type(self).__name__}")

    def has_uninitialized_params(self) -> bool:
        """Is any parameter or buffer still without shape?"""
        tensors = [*self._parameters.values(), *self._buffers.values()]  # type: ignore[attr-defined]
        return any(is_lazy(tensor) for tensor in tensors)

    def _infer_parameters(self, module: Any, args: Any, kwargs: Any) -> None:
        module.initialize_parameters(*args, **kwargs)
        if module.has_uninitialized_params():
            raise RuntimeError(f"module {module._get_name()} has not been fully initialized")
        module._initialize_hook.remove()
        module._load_hook.remove()
        del module._initialize_hook
        del module._load_hook
        if module.cls_to_become is not None:
            module.__class__ = module.cls_to_become
