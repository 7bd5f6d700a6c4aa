"""Saving and loading a module's state: `state_dict`, `load_state_dict` and what can be hooked into them."""

from __future__ import annotations

import weakref
from collections import OrderedDict, namedtuple
from collections.abc import Mapping
from typing import Any

import facula
from facula.errors import warn
from facula.utils.hooks import RemovableHandle

from ..parameter import Parameter, is_lazy

EXTRA_STATE = "_extra_state"


class _IncompatibleKeys(namedtuple("IncompatibleKeys", ["missing_keys", "unexpected_keys"])):
    __slots__ = ()

    def __repr__(self) -> str:
        if not self.missing_keys and not self.unexpected_keys:
            return "<All keys matched successfully>"
        return super().__repr__()

    __str__ = __repr__


class _WrappedHook:
    """A load hook that wants the module as its first argument. Holds the module weakly: no cycle."""

    def __init__(self, hook: Any, module: Any = None) -> None:
        self.hook = hook
        self.with_module = module is not None
        self.module = weakref.ref(module) if module is not None else None

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if self.module is None:
            return self.hook(*args, **kwargs)
        module = self.module()
        if module is None:
            raise RuntimeError("You are trying to call the hook of a dead Module!")
        return self.hook(module, *args, **kwargs)

    def __getstate__(self) -> Any:
        return {"hook": self.hook, "with_module": self.with_module,
                "module": self.module() if self.module is not None else None}

    def __setstate__(self, state: Any) -> None:
        self.__init__(state["hook"], state["module"])  # type: ignore[misc]


class Saving:
    """The part of `Module` that reads and writes state dictionaries."""

    _version: int = 1
    _parameters: dict[str, Any]
    _buffers: dict[str, Any]
    _modules: dict[str, Any]
    _non_persistent_buffers_set: set[str]

    # -- saving ---------------------------------------------------------------------------------
    def state_dict(self, *args: Any, destination: Any = None, prefix: str = "",
                   keep_vars: bool = False) -> Any:
        """All parameters and persistent buffers by dotted name, in registration order.

        The tensors share memory with the module's. The dictionary's `_metadata` has each module's version.

        Args:
            destination: put the entries into this dictionary instead of a new one.
            prefix: put before every name.
            keep_vars: give the parameters themselves instead of detached tensors.

        Example:
            >>> import facula.nn as nn
            >>> list(nn.Sequential(nn.Linear(1, 1)).state_dict())
            ['0.weight', '0.bias']
        """
        if args:
            warn("Positional args are being deprecated, use kwargs instead. Refer to "
                 "https://pytorch.org/docs/main/generated/torch.nn.Module.html"
                 "#torch.nn.Module.state_dict"
                 " for details.", FutureWarning)
            destination = args[0] if destination is None else destination
            prefix = args[1] if len(args) > 1 and prefix == "" else prefix
            keep_vars = args[2] if len(args) > 2 and keep_vars is False else keep_vars
        if destination is None:
            destination = OrderedDict()
            destination._metadata = OrderedDict()
        local_metadata = {"version": self._version}
        if hasattr(destination, "_metadata"):
            destination._metadata[prefix[:-1]] = local_metadata
        for hook in self._state_dict_pre_hooks.values():  # type: ignore[attr-defined]
            hook(self, prefix, keep_vars)
        self._save_to_state_dict(destination, prefix, keep_vars)
        for name, module in self._modules.items():
            if module is not None:
                module.state_dict(destination=destination, prefix=prefix + name + ".", keep_vars=keep_vars)
        for hook in self._state_dict_hooks.values():  # type: ignore[attr-defined]
            changed = hook(self, destination, prefix, local_metadata)
            if not getattr(hook, "_from_public_api", False):
                if changed is not None:
                    destination = changed
            elif changed is not None:
                raise RuntimeError("state_dict post-hook must return None")
        return destination

    def _save_to_state_dict(self, destination: Any, prefix: str, keep_vars: bool) -> None:
        """Put this module's own tensors, not those below, into `destination`."""
        for name, parameter in self._parameters.items():
            if parameter is not None:
                destination[prefix + name] = parameter if keep_vars else parameter.detach()
        for name, buffer in self._buffers.items():
            if buffer is not None and name not in self._non_persistent_buffers_set:
                destination[prefix + name] = buffer if keep_vars else buffer.detach()
        if type(self).get_extra_state is not Saving.get_extra_state:
            destination[prefix + EXTRA_STATE] = self.get_extra_state()

    def get_extra_state(self) -> Any:
        """Override this (and `set_extra_state`) to save more than tensors with the module."""
        raise RuntimeError("Reached a code path in Module.get_extra_state() that should never be called. "
                           "Please file an issue at https://github.com/pytorch/pytorch/issues/new?template="
                           "bug-report.yml to report this bug.")

    def set_extra_state(self, state: Any) -> None:
        """Take back what `get_extra_state` returned."""
        raise RuntimeError("Reached a code path in Module.set_extra_state() that should never be called. "
                           "Please file an issue at https://github.com/pytorch/pytorch/issues/new?template="
                           "bug-report.yml to report this bug.")

    # -- loading --------------------------------------------------------------------------------
    def load_state_dict(self, state_dict: Mapping[str, Any], strict: bool = True,
                        assign: bool = False) -> Any:
        """Copy values from `state_dict` into this module's parameters and buffers.

        Args:
            strict: whether every name has to be there, and no other.
            assign: take the tensors themselves instead of copying their values.

        Returns:
            A named tuple of `missing_keys` and `unexpected_keys`.

        Raises:
            TypeError: `state_dict` is no mapping.
            RuntimeError: names (when strict) or shapes do not fit; the message lists all of them.

        Example:
            >>> import facula.nn as nn
            >>> a, b = nn.Linear(2, 2), nn.Linear(2, 2)
            >>> a.load_state_dict(b.state_dict())
            <All keys matched successfully>
        """
        if not isinstance(state_dict, Mapping):
            raise TypeError(f"Expected state_dict to be dict-like, got {type(state_dict)}.")
        missing: list[str] = []
        unexpected: list[str] = []
        errors: list[str] = []
        metadata = getattr(state_dict, "_metadata", None)
        copied = OrderedDict(state_dict)  # so that _load_from_state_dict can modify it
        if metadata is not None:
            copied._metadata = metadata  # type: ignore[attr-defined]

        def load(module: Any, local: Any, prefix: str = "") -> None:
            local_metadata = {} if metadata is None else metadata.get(prefix[:-1], {})
            if assign:
                local_metadata["assign_to_params_buffers"] = assign
            module._load_from_state_dict(local, prefix, local_metadata, True, missing, unexpected, errors)
            for name, child in module._modules.items():
                if child is not None:
                    below = prefix + name + "."
                    load(child, {k: v for k, v in local.items() if k.startswith(below)}, below)
            incompatible = _IncompatibleKeys(missing, unexpected)
            for hook in module._load_state_dict_post_hooks.values():
                if hook(module, incompatible) is not None:
                    raise AssertionError("Hooks registered with ``register_load_state_dict_post_hook`` are "
                                         "not expected to return new values, if incompatible_keys need to be "
                                         "modified, it should be done inplace.")

        load(self, copied)
        if strict:
            if unexpected:
                errors.insert(0, "Unexpected key(s) in state_dict: "
                                 + ", ".join(f'"{key}"' for key in unexpected) + ". ")
            if missing:
                errors.insert(0, "Missing key(s) in state_dict: " + ", ".join(f'"{key}"' for key in missing)
                              + ". ")
        if errors:
            raise RuntimeError(f"Error(s) in loading state_dict for {type(self).__name__}:\n\t"
                               + "\n\t".join(errors))
        return _IncompatibleKeys(missing, unexpected)

    def _load_from_state_dict(self, state_dict: Any, prefix: str, local_metadata: Any, strict: bool,
                              missing_keys: list[str], unexpected_keys: list[str],
                              error_msgs: list[str]) -> None:
        """Load this module's own entries, not those below. Modules with a history override this."""
        for hook in self._load_state_dict_pre_hooks.values():  # type: ignore[attr-defined]
            hook(state_dict, prefix, local_metadata, strict, missing_keys, unexpected_keys, error_msgs)
        assign = local_metadata.get("assign_to_params_buffers", False)
        own = {name: p for name, p in self._parameters.items() if p is not None}
        own.update((name, b) for name, b in self._buffers.items()
                   if b is not None and name not in self._non_persistent_buffers_set)
        for name, target in own.items():
            key = prefix + name
            if key in state_dict:
                problem = self._load_tensor(name, key, target, state_dict[key], assign)
                if problem:
                    error_msgs.append(problem)
            elif strict:
                missing_keys.append(key)

        extra_key = prefix + EXTRA_STATE
        if type(self).set_extra_state is not Saving.set_extra_state:
            if extra_key in state_dict:
                self.set_extra_state(state_dict[extra_key])
            elif strict:
                missing_keys.append(extra_key)
        elif strict and extra_key in state_dict:
            unexpected_keys.append(extra_key)

        if strict:
            for key in state_dict:
                if key.startswith(prefix) and key != extra_key:
                    first, *below = key[len(prefix):].split(".", 1)
                    # Deeper names are the children's business, if there is such a child.
                    if first not in self._modules if below else first not in own:
                        unexpected_keys.append(key)

    def _load_tensor(self, name: str, key: str, target: Any, given: Any, assign: bool) -> str | None:
        """Put `given` into the parameter or buffer `target`; the text of what is wrong, or None."""
        if not isinstance(given, facula.Tensor):
            return (f'While copying the parameter named "{key}", expected torch.Tensor or Tensor-like object '
                    f"from checkpoint but received {type(given)}")
        lazy = is_lazy(target)
        if not lazy and target.dim() == 0 and given.dim() == 1 and len(given) > 0:
            given = given[0]  # PyTorch 0.3 had no 0-d tensors and saved them with one element
        if not lazy and given.shape != target.shape:
            return (f"size mismatch for {key}: copying a param with shape {given.shape} from checkpoint, the "
                    f"shape in current model is {target.shape}.")
        if target.is_meta and not given.is_meta and not assign:
            warn(f"for {key}: copying from a non-meta parameter in the checkpoint to a meta parameter in the "
                 "current model, which is a no-op. (Did you mean to pass `assign=True` to assign items in "
                 "the state dictionary to their corresponding key in the module instead of copying them in "
                 "place?)")
        try:
            with facula.no_grad():
                if assign:
                    if isinstance(target, Parameter):
                        if not isinstance(given, Parameter):
                            given = Parameter(given, requires_grad=target.requires_grad)
                        else:
                            given.requires_grad_(target.requires_grad)
                    setattr(self, name, given)
                elif not (is_lazy(target) and is_lazy(given)):  # of two without shapes there is nothing to copy
                    target.copy_(given)
        except Exception as error:
            return (f'While copying the parameter named "{key}", whose dimensions in the model are '
                    f"{target.size()} and whose dimensions in the checkpoint are {given.size()}, an "
                    f"exception occurred : {error.args}.")
        return None

    # -- hooks ----------------------------------------------------------------------------------
    def _add_hook(self, hooks: Any, hook: Any) -> RemovableHandle:
        handle = RemovableHandle(hooks)
        hooks[handle.id] = hook
        return handle

    def register_state_dict_pre_hook(self, hook: Any) -> RemovableHandle:
        """Call `hook(module, prefix, keep_vars)` before the module's state is collected."""
        return self._add_hook(self._state_dict_pre_hooks, hook)  # type: ignore[attr-defined]

    def register_state_dict_post_hook(self, hook: Any) -> RemovableHandle:
        """Call `hook(module, state_dict, prefix, local_metadata)` afterwards; it may change the entries."""
        hook._from_public_api = True
        return self._add_hook(self._state_dict_hooks, hook)  # type: ignore[attr-defined]

    def _register_state_dict_hook(self, hook: Any) -> RemovableHandle:
        if getattr(hook, "_from_public_api", False):
            raise RuntimeError("Cannot register the same function as the state dict post hook that was "
                               "previously registered via register_state_dict_post_hook")
        return self._add_hook(self._state_dict_hooks, hook)  # type: ignore[attr-defined]

    def _register_load_state_dict_pre_hook(self, hook: Any, with_module: bool = False) -> RemovableHandle:
        wrapped = _WrappedHook(hook, self if with_module else None)
        return self._add_hook(self._load_state_dict_pre_hooks, wrapped)  # type: ignore[attr-defined]

    def register_load_state_dict_pre_hook(self, hook: Any) -> RemovableHandle:
        """Call `hook(module, state_dict, prefix, metadata, strict, missing, unexpected, errors)` first."""
        return self._register_load_state_dict_pre_hook(hook, with_module=True)

    def register_load_state_dict_post_hook(self, hook: Any) -> RemovableHandle:
        """Call `hook(module, incompatible_keys)` after loading; it may change the lists in place."""
        return self._add_hook(self._load_state_dict_post_hooks, hook)  # type: ignore[attr-defined]
