"""`Module`: the base class of everything that has parameters.

Spread over five files: this one (attributes, calling, printing), `_traversal.py` (names and children),
`_conversion.py` (dtype, device, mode), `_state.py` (state dictionaries) and `_hooks.py` (calls with hooks).
"""

from __future__ import annotations

import itertools
from collections import OrderedDict
from typing import Any

import facula
from facula._tensor.handle import Tensor
from facula.errors import warn
from facula.utils.hooks import RemovableHandle

from ..parameter import Buffer, Parameter
from . import _hooks
from ._conversion import Conversion
from ._hooks import (
    register_module_backward_hook,
    register_module_buffer_registration_hook,
    register_module_forward_hook,
    register_module_forward_pre_hook,
    register_module_full_backward_hook,
    register_module_full_backward_pre_hook,
    register_module_module_registration_hook,
    register_module_parameter_registration_hook,
)
from ._state import EXTRA_STATE as _EXTRA_STATE_KEY_SUFFIX  # noqa: F401  # by the name that libraries read
from ._state import Saving, _IncompatibleKeys
from ._traversal import Traversal

__all__ = [
    "Module", "_IncompatibleKeys", "register_module_backward_hook",
    "register_module_buffer_registration_hook",
    "register_module_forward_hook", "register_module_forward_pre_hook", "register_module_full_backward_hook",
    "register_module_full_backward_pre_hook", "register_module_module_registration_hook",
    "register_module_parameter_registration_hook",
]

_all_pre = _hooks.forward_pre_hooks
_all_post = _hooks.forward_hooks
_all_backward = _hooks.backward_hooks
_all_backward_pre = _hooks.backward_pre_hooks

_HOOK_TABLES = (
    "_backward_pre_hooks", "_backward_hooks", "_forward_hooks", "_forward_hooks_with_kwargs",
    "_forward_hooks_always_called", "_forward_pre_hooks", "_forward_pre_hooks_with_kwargs",
    "_state_dict_hooks", "_state_dict_pre_hooks", "_load_state_dict_pre_hooks", "_load_state_dict_post_hooks",
)


def _typename(value: object) -> str:
    if isinstance(value, Tensor):
        return str(value.type())
    kind = type(value)
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"


def _add_indent(text: str, spaces: int) -> str:
    """Indent all lines but the first."""
    return text.replace("\n", "\n" + " " * spaces)


class Module(Traversal, Conversion, Saving):
    """Base class of models and layers.

    Subclasses assign parameters and other modules to attributes in `__init__` (after
    `super().__init__()`) and define `forward`; calling the module runs it.

    Example:
        >>> import facula
        >>> class Scale(facula.nn.Module):
        ...     def __init__(self):
        ...         super().__init__()
        ...         self.factor = facula.nn.Parameter(facula.tensor(2.0))
        ...     def forward(self, x):
        ...         return x * self.factor
        >>> Scale()(facula.tensor(3.0)).item()
        6.0
    """

    dump_patches: bool = False
    call_super_init: bool = False
    _compiled_call_impl: Any = None

    training: bool
    _is_full_backward_hook: bool | None

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        if not self.call_super_init:
            if kwargs:
                raise TypeError(f"{type(self).__name__}.__init__() got an unexpected keyword argument "
                                f"'{next(iter(kwargs))}'")
            if args:
                raise TypeError(f"{type(self).__name__}.__init__() takes 1 positional argument but "
                                f"{len(args) + 1} were given")
        state = self.__dict__
        state["training"] = True
        state["_parameters"] = {}
        state["_buffers"] = {}
        state["_non_persistent_buffers_set"] = set()
        state["_is_full_backward_hook"] = None
        for name in _HOOK_TABLES:
            state[name] = OrderedDict()
        state["_modules"] = {}
        if self.call_super_init:
            super().__init__(*args, **kwargs)

    # -- calling --------------------------------------------------------------------------------
    def forward(self, *args: Any) -> Any:
        """What the module computes. Every subclass defines it."""
        raise NotImplementedError(f'Module [{type(self).__name__}] is missing the required "forward" '
                                  'function')

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if (self._forward_pre_hooks or self._forward_hooks or self._backward_hooks or self._backward_pre_hooks
                or _all_pre or _all_post or _all_backward or _all_backward_pre):
            return _hooks.call_with_hooks(self, args, kwargs)
        return self.forward(*args, **kwargs)

    _call_impl = _wrapped_call_impl = __call__

    def compile(self, *args: Any, **kwargs: Any) -> None:
        """Does nothing: all work is compiled anyway."""

    # -- attributes -----------------------------------------------------------------------------
    def __setattr__(self, name: str, value: Any) -> None:
        state = self.__dict__
        if isinstance(value, Parameter):
            if "_parameters" not in state:
                raise AttributeError("cannot assign parameters before Module.__init__() call")
            _forget(state, name, "__dict__", "_buffers", "_modules", "_non_persistent_buffers_set")
            self.register_parameter(name, value)
            return
        parameters = state.get("_parameters")
        if parameters is not None and name in parameters:
            if value is not None:
                raise TypeError(f"cannot assign '{_typename(value)}' as parameter '{name}' "
                                "(torch.nn.Parameter or None expected)")
            self.register_parameter(name, value)
            return
        modules = state.get("_modules")
        if isinstance(value, Module):
            if modules is None:
                raise AttributeError("cannot assign module before Module.__init__() call")
            _forget(state, name, "__dict__", "_parameters", "_buffers", "_non_persistent_buffers_set")
            for hook in _hooks.module_registration_hooks.values():
                changed = hook(self, name, value)
                value = value if changed is None else changed
            modules[name] = value
        elif modules is not None and name in modules:
            if value is not None:
                raise TypeError(f"cannot assign '{_typename(value)}' as child module '{name}' "
                                "(torch.nn.Module or None expected)")
            for hook in _hooks.module_registration_hooks.values():
                changed = hook(self, name, value)
                value = value if changed is None else changed
            modules[name] = value
        elif isinstance(value, Tensor) or value is None:
            self._set_tensor(state, name, value)
        elif name in (state.get("_buffers") or ()):
            raise TypeError(f"cannot assign '{_typename(value)}' as buffer '{name}' "
                            "(torch.nn.Buffer, torch.Tensor or None expected)")
        else:
            object.__setattr__(self, name, value)

    def _set_tensor(self, state: dict[str, Any], name: str, value: Any) -> None:
        """Assign a plain tensor, a `Buffer` or None to an attribute that may be a buffer."""
        buffers = state.get("_buffers")
        is_buffer = value is not None and isinstance(value, Buffer)
        known = buffers is not None and name in buffers
        if not (is_buffer or known):
            object.__setattr__(self, name, value)
            return
        if buffers is None:
            raise AttributeError("cannot assign buffer before Module.__init__() call")
        if is_buffer and not known:
            _forget(state, name, "__dict__", "_parameters", "_modules", "_non_persistent_buffers_set")
            self.register_buffer(name, value, value.persistent)
            return
        for hook in _hooks.buffer_registration_hooks.values():
            changed = hook(self, name, value)
            value = value if changed is None else changed
        if is_buffer:
            persistence = self._non_persistent_buffers_set
            (persistence.discard if value.persistent else persistence.add)(name)
        buffers[name] = value

    def __getattr__(self, name: str) -> Any:
        # Only reached when the attribute is not an ordinary one.
        state = self.__dict__
        if "_parameters" in state:
            table = state["_parameters"]
            if name in table:
                return table[name]
        if "_buffers" in state:
            table = state["_buffers"]
            if name in table:
                return table[name]
        if "_modules" in state:
            table = state["_modules"]
            if name in table:
                return table[name]
        raise AttributeError(f"'{type(self).__name__}' object has no attribute '{name}'")

    def __delattr__(self, name: str) -> None:
        if name in self._parameters:
            del self._parameters[name]
        elif name in self._buffers:
            del self._buffers[name]
            self._non_persistent_buffers_set.discard(name)
        elif name in self._modules:
            del self._modules[name]
        else:
            object.__delattr__(self, name)

    def __dir__(self) -> list[str]:
        names = itertools.chain(dir(type(self)), self.__dict__, self._parameters, self._modules,
                                self._buffers)
        return sorted({name for name in names if not name[:1].isdigit()})

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        for name in _HOOK_TABLES:  # modules pickled by older versions lack some
            self.__dict__.setdefault(name, OrderedDict())
        self.__dict__.setdefault("_non_persistent_buffers_set", set())
        self.__dict__.setdefault("_is_full_backward_hook", None)

    # -- registration ---------------------------------------------------------------------------
    def _check_name(self, kind: str, name: Any, taken: Any) -> None:
        if not isinstance(name, str):
            raise TypeError(f"{kind} name should be a string. Got {_typename(name)}")
        if "." in name:
            raise KeyError(f"{kind} name can't contain \".\""
                           + (f', got: {name}' if kind == "module" else ""))
        if name == "":
            raise KeyError(f"{kind} name can't be empty string \"\"")
        if hasattr(self, name) and name not in taken:
            raise KeyError(f"attribute '{name}' already exists")

    def register_buffer(self, name: str, tensor: Tensor | None, persistent: bool = True) -> None:
        """Add a tensor that belongs to the module but is not trained, such as a running mean.

        Args:
            persistent: whether it is part of `state_dict`.

        Raises:
            KeyError: the name is empty, has a dot or is taken.
            TypeError: not a tensor.

        Example:
            >>> import facula
            >>> m = facula.nn.Module()
            >>> m.register_buffer("mean", facula.zeros(2))
            >>> m.mean
            tensor([0., 0.])
        """
        if "_buffers" not in self.__dict__:
            raise AttributeError("cannot assign buffer before Module.__init__() call")
        self._check_name("buffer", name, self._buffers)
        if tensor is not None and not isinstance(tensor, Tensor):
            raise TypeError(f"cannot assign '{_typename(tensor)}' object to buffer '{name}' "
                            "(torch Tensor or None required)")
        for hook in _hooks.buffer_registration_hooks.values():
            changed = hook(self, name, tensor)
            tensor = tensor if changed is None else changed
        self._buffers[name] = tensor
        if persistent:
            self._non_persistent_buffers_set.discard(name)
        else:
            self._non_persistent_buffers_set.add(name)

    def register_parameter(self, name: str, param: Parameter | None) -> None:
        """Add a parameter under `name`; None reserves the name.

        Raises:
            KeyError: the name is empty, has a dot or is taken.
            TypeError: not a `Parameter`.
            ValueError: a parameter that was computed from other tensors.
        """
        state = self.__dict__
        if "_parameters" not in state:
            raise AttributeError("cannot assign parameter before Module.__init__() call")
        self._check_name("parameter", name, state["_parameters"])
        if param is not None:
            if not isinstance(param, Parameter):
                raise TypeError(f"cannot assign '{_typename(param)}' object to parameter '{name}' "
                                "(torch.nn.Parameter or None required)")
            if param.grad_fn is not None:
                raise ValueError(f"Cannot assign non-leaf Tensor to parameter '{name}'. Model parameters "
                                 f"must be created explicitly. To express '{name}' as a function of another "
                                 "Tensor, compute the value in the forward() method.")
            for hook in _hooks.parameter_registration_hooks.values():
                changed = hook(self, name, param)
                param = param if changed is None else changed
        state["_parameters"][name] = param

    def add_module(self, name: str, module: Module | None) -> None:
        """Add a child module under `name`.

        Raises:
            TypeError: not a module.
            KeyError: the name is empty, has a dot or is taken.
        """
        if not isinstance(module, Module) and module is not None:
            raise TypeError(f"{_typename(module)} is not a Module subclass")
        self._check_name("module", name, self._modules)
        for hook in _hooks.module_registration_hooks.values():
            changed = hook(self, name, module)
            module = module if changed is None else changed
        self._modules[name] = module

    def register_module(self, name: str, module: Module | None) -> None:
        """The same as `add_module`."""
        self.add_module(name, module)

    # -- hooks ----------------------------------------------------------------------------------
    def register_forward_pre_hook(self, hook: Any, *, prepend: bool = False,
                                  with_kwargs: bool = False) -> RemovableHandle:
        """Call `hook(module, args)` before forward; it may return new arguments.

        Args:
            prepend: run before the hooks that are there already.
            with_kwargs: call `hook(module, args, kwargs)`, which may return `(args, kwargs)`.
        """
        handle = RemovableHandle(self._forward_pre_hooks, extra_dict=self._forward_pre_hooks_with_kwargs)
        self._forward_pre_hooks[handle.id] = hook
        if with_kwargs:
            self._forward_pre_hooks_with_kwargs[handle.id] = True
        if prepend:
            self._forward_pre_hooks.move_to_end(handle.id, last=False)
        return handle

    def register_forward_hook(self, hook: Any, *, prepend: bool = False, with_kwargs: bool = False,
                              always_call: bool = False) -> RemovableHandle:
        """Call `hook(module, args, output)` after forward; it may return a new output.

        Args:
            prepend: run before the hooks that are there already.
            with_kwargs: call `hook(module, args, kwargs, output)`.
            always_call: call it also when forward raised.

        Example:
            >>> import facula
            >>> layer = facula.nn.ReLU()
            >>> handle = layer.register_forward_hook(lambda module, args, output: output + 1)
            >>> layer(facula.tensor(1.0)).item()
            2.0
            >>> handle.remove()
        """
        handle = RemovableHandle(self._forward_hooks, extra_dict=[self._forward_hooks_with_kwargs,
                                                                  self._forward_hooks_always_called])
        self._forward_hooks[handle.id] = hook
        if with_kwargs:
            self._forward_hooks_with_kwargs[handle.id] = True
        if always_call:
            self._forward_hooks_always_called[handle.id] = True
        if prepend:
            self._forward_hooks.move_to_end(handle.id, last=False)
        return handle

    def register_full_backward_pre_hook(self, hook: Any, prepend: bool = False) -> RemovableHandle:
        """Call `hook(module, grad_output)` once gradients for the outputs are known; it may return others."""
        handle = RemovableHandle(self._backward_pre_hooks)
        self._backward_pre_hooks[handle.id] = hook
        if prepend:
            self._backward_pre_hooks.move_to_end(handle.id, last=False)
        return handle

    def register_full_backward_hook(self, hook: Any, prepend: bool = False) -> RemovableHandle:
        """Call `hook(module, grad_input, grad_output)` in backward; it may return a new `grad_input`.

        Both are tuples; entries for arguments that are not tensors are None. Keyword arguments are not seen.
        """
        if self._is_full_backward_hook is False:
            raise RuntimeError("Cannot use both regular backward hooks and full backward hooks on a single "
                               "Module. Please use only one of them.")
        self._is_full_backward_hook = True
        handle = RemovableHandle(self._backward_hooks)
        self._backward_hooks[handle.id] = hook
        if prepend:
            self._backward_hooks.move_to_end(handle.id, last=False)
        return handle

    def register_backward_hook(self, hook: Any) -> RemovableHandle:
        """The old sort of backward hook, on the output's graph node. Use `register_full_backward_hook`."""
        if self._is_full_backward_hook is True:
            raise RuntimeError("Cannot use both regular backward hooks and full backward hooks on a single "
                               "Module. Please use only one of them.")
        self._is_full_backward_hook = False
        handle = RemovableHandle(self._backward_hooks)
        self._backward_hooks[handle.id] = hook
        return handle

    def _get_backward_hooks(self) -> tuple[list[Any], list[Any]]:
        """(full hooks, plain hooks) that apply to this module, global ones first."""
        full: list[Any] = []
        plain: list[Any] = []
        (full if _hooks.full_backward[0] else plain).extend(_all_backward.values())
        (full if self._is_full_backward_hook else plain).extend(self._backward_hooks.values())
        return full, plain

    def _get_backward_pre_hooks(self) -> list[Any]:
        return [*_all_backward_pre.values(), *self._backward_pre_hooks.values()]

    def _maybe_warn_non_full_backward_hook(self, inputs: Any, result: Any, grad_fn: Any) -> None:
        results = result if isinstance(result, tuple) else (result,)
        if not all(isinstance(r, facula.Tensor) for r in results):
            warn("Using non-full backward hooks on a Module that does not return a single Tensor or "
                 "a tuple of Tensors is deprecated and will be removed in future versions. Please "
                 "use register_full_backward_hook to get the documented behavior.", FutureWarning)

    # -- printing -------------------------------------------------------------------------------
    def _get_name(self) -> str:
        return type(self).__name__

    def extra_repr(self) -> str:
        """What to print between the module's parentheses; subclasses override it."""
        return ""

    def __repr__(self) -> str:
        extra = self.extra_repr()
        lines = extra.split("\n") if extra else []
        children = [f"({name}): {_add_indent(repr(child), 2)}" for name, child in self._modules.items()]
        if len(lines) == 1 and not children:
            return f"{self._get_name()}({lines[0]})"
        inside = lines + children
        if not inside:
            return f"{self._get_name()}()"
        return f"{self._get_name()}(\n  " + "\n  ".join(inside) + "\n)"

    def _replicate_for_data_parallel(self) -> Module:
        replica = self.__new__(type(self))
        replica.__dict__ = self.__dict__.copy()
        for name in ("_parameters", "_buffers", "_modules"):
            replica.__dict__[name] = replica.__dict__[name].copy()
        replica.__dict__["_is_replica"] = True
        return replica


def _forget(state: dict[str, Any], name: str, *tables: str) -> None:
    """Drop `name` from where it was registered before it becomes something else."""
    for table in tables:
        holder = state if table == "__dict__" else state.get(table)
        if holder is None or name not in holder:
            continue
        if isinstance(holder, set):
            holder.discard(name)
        else:
            del holder[name]
