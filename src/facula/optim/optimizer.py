"""`Optimizer`: parameter groups, state, and everything about saving and loading them."""

from __future__ import annotations

import functools
from collections import OrderedDict, defaultdict
from collections.abc import Callable, Iterable, Mapping
from copy import deepcopy
from itertools import chain
from typing import Any

import facula
from facula._tensor.cells import FOR_GOOD
from facula._tensor.outside import Unseen
from facula.autograd.graph import mode
from facula.autograd.profiler import listeners, record_function
from facula.engine.threads import turn
from facula.errors import warn
from facula.utils.hooks import RemovableHandle

from ._flush import flush
from ._rows import updated
from ._scalars import Steps

__all__ = ["Optimizer", "register_optimizer_step_post_hook", "register_optimizer_step_pre_hook", "required"]


class _RequiredParameter:
    """The default of an option that has none."""

    def __repr__(self) -> str:
        return "<required parameter>"


required = _RequiredParameter()

_global_pre_hooks: OrderedDict[int, Any] = OrderedDict()
_global_post_hooks: OrderedDict[int, Any] = OrderedDict()
# Asked at each step whether a parameter's elements are in another tensor (distributed/tensor/_optimizing.py): each is
# given the optimizer, has it work on these, and returns what undoes that, or None.
stand_ins: list[Callable[[Any], Callable[[], None] | None]] = []


def _registered(hooks: OrderedDict[int, Any], hook: Any) -> RemovableHandle:
    handle = RemovableHandle(hooks)
    hooks[handle.id] = hook
    return handle


def register_optimizer_step_pre_hook(hook: Any) -> RemovableHandle:
    """Call `hook(optimizer, args, kwargs)` before every step of every optimizer."""
    return _registered(_global_pre_hooks, hook)


def register_optimizer_step_post_hook(hook: Any) -> RemovableHandle:
    """Call `hook(optimizer, args, kwargs)` after every step of every optimizer."""
    return _registered(_global_post_hooks, hook)


def _use_grad_for_differentiable(func: Callable[..., Any]) -> Callable[..., Any]:
    """Record a step's operations for autograd only where the optimizer is `differentiable`."""
    @functools.wraps(func)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        wanted, before = bool(args[0].defaults.get("differentiable", False)), mode.grad
        try:  # `with set_grad_enabled()` has switched before it is entered: an exception may come in between
            mode.grad = wanted
            return func(*args, **kwargs)
        finally:
            mode.grad = before
    return wrapper


class Optimizer:
    """Base class of optimizers.

    Args:
        params: tensors, or `(name, tensor)` pairs, or dictionaries with `params` and options of their own.
        defaults: the options of groups that do not give their own.

    Raises:
        TypeError: `params` is one tensor, or holds something that is no tensor.
        ValueError: no parameters, a parameter twice, or a tensor that was computed.

    Example:
        >>> import facula
        >>> w = facula.nn.Parameter(facula.ones(1))
        >>> optimizer = facula.optim.SGD([w], lr=0.5)
        >>> (w * w).sum().backward()
        >>> optimizer.step()
        >>> w.item()
        0.0
    """

    state: Any
    param_groups: list[dict[str, Any]]
    _step_supports_amp_scaling = False
    _steps: Steps
    _optimizer_step_pre_hooks: OrderedDict[int, Any]
    _optimizer_step_post_hooks: OrderedDict[int, Any]
    _optimizer_state_dict_pre_hooks: OrderedDict[int, Any]
    _optimizer_state_dict_post_hooks: OrderedDict[int, Any]
    _optimizer_load_state_dict_pre_hooks: OrderedDict[int, Any]
    _optimizer_load_state_dict_post_hooks: OrderedDict[int, Any]

    def __init__(self, params: Any, defaults: dict[str, Any]) -> None:
        self.defaults = defaults
        self._make_hook_tables()
        self._patch_step_function()
        if isinstance(params, facula.Tensor):
            raise TypeError("params argument given to the optimizer should be an iterable of Tensors or "
                            "dicts, but got " + facula.typename(params))
        self.state = defaultdict(dict)
        self.param_groups = []
        groups = list(params)
        if len(groups) == 0:
            raise ValueError("optimizer got an empty parameter list")
        if not isinstance(groups[0], dict):
            groups = [{"params": groups}]
        for group in groups:
            self.add_param_group(group)
        self._warned_capturable_if_run_uncaptured = True

    def _make_hook_tables(self) -> None:
        for name in ("_optimizer_step_pre_hooks", "_optimizer_step_post_hooks",
                     "_optimizer_state_dict_pre_hooks", "_optimizer_state_dict_post_hooks",
                     "_optimizer_load_state_dict_pre_hooks", "_optimizer_load_state_dict_post_hooks"):
            self.__dict__.setdefault(name, OrderedDict())

    def __getstate__(self) -> dict[str, Any]:
        return {"defaults": self.defaults, "state": self.state, "param_groups": self.param_groups}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._make_hook_tables()
        self._patch_step_function()
        self.defaults.setdefault("differentiable", False)

    def __repr__(self) -> str:
        text = type(self).__name__ + " ("
        for i, group in enumerate(self.param_groups):
            text += f"\nParameter Group {i}\n"
            text += "".join(f"    {key}: {group[key]}\n" for key in sorted(group) if key != "params")
        return text + ")"

    # -- stepping -------------------------------------------------------------------------------
    @staticmethod
    def profile_hook_step(func: Callable[..., Any]) -> Callable[..., Any]:
        """Wrap a `step` so that it runs the step hooks and hands the recorded work to the engine."""
        @functools.wraps(func)
        def wrapper(*args: Any, **kwargs: Any) -> Any:
            if listeners:
                with record_function(f"Optimizer.step#{type(args[0]).__name__}.step"):
                    return stepped(args, kwargs)
            return stepped(args, kwargs)

        def stepped(args: Any, kwargs: Any) -> Any:
            self = args[0]
            for hook in chain(_global_pre_hooks.values(), self._optimizer_step_pre_hooks.values()):
                changed = hook(self, args, kwargs)
                if changed is not None:
                    if not (isinstance(changed, tuple) and len(changed) == 2):
                        raise RuntimeError(f"{func} must return None or a tuple of (new_args, new_kwargs), "
                                           f"but got {changed}.")
                    args, kwargs = changed
            out = func(*args, **kwargs)
            for hook in chain(self._optimizer_step_post_hooks.values(), _global_post_hooks.values()):
                hook(self, args, kwargs)
            flush()
            return out
        return wrapper

    def _patch_step_function(self) -> None:
        # Once a class: also the step of a user's own optimizer gets hooks and the flush at its end.
        cls = type(self)
        if not getattr(cls.step, "hooked", None):
            cls.step = self.profile_hook_step(cls.step)  # type: ignore[method-assign]
            cls.step.hooked = True  # type: ignore[attr-defined]

    def step(self, closure: Any = None) -> Any:
        """Update the parameters from their gradients.

        Args:
            closure: computes the loss and its gradients anew and returns the loss.
        """
        raise NotImplementedError

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget all parameters' gradients, or fill them with zeros where `set_to_none` is False."""
        if listeners:
            with record_function(f"Optimizer.zero_grad#{type(self).__name__}.zero_grad"):
                self._forget_gradients(set_to_none)
        else:
            self._forget_gradients(set_to_none)

    def _forget_gradients(self, set_to_none: bool) -> None:
        for group in self.param_groups:
            for parameter in group["params"]:
                gradient = parameter.grad
                if gradient is None:
                    continue
                if set_to_none:
                    parameter.grad = None
                    continue
                if gradient.grad_fn is not None:
                    gradient.detach_()
                else:
                    gradient.requires_grad_(False)
                gradient.zero_()

    # -- groups ---------------------------------------------------------------------------------
    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add parameters with options of their own, for example those of a layer that was frozen until now.

        Raises:
            TypeError, ValueError: as the constructor.
        """
        if not isinstance(param_group, dict):
            raise TypeError(f"param_group must be a dict, but got {type(param_group)}")
        params = param_group["params"]
        if isinstance(params, facula.Tensor):
            params = [params]
        elif isinstance(params, set):
            raise TypeError("optimizer parameters need to be organized in ordered collections, but the "
                            "ordering of tensors in sets will change between runs. Please use a list "
                            "instead.")
        param_group["params"] = params = list(params)
        named = [isinstance(param, tuple) for param in params]
        if any(named):
            if not all(named):
                raise ValueError("all optimizer params should be with/without names. Some param names are "
                                 "missing")
            param_group["param_names"] = [name for name, _ in params]
            param_group["params"] = params = [param for _, param in params]
        for param in params:
            if not isinstance(param, facula.Tensor):
                raise TypeError("optimizer can only optimize Tensors, but one of the params is "
                                + facula.typename(param))
            if not self.defaults.get("differentiable", None) and not (param.is_leaf or param.retains_grad):
                raise ValueError("can't optimize a non-leaf Tensor")
        for name, default in self.defaults.items():
            if default is required and name not in param_group:
                raise ValueError("parameter group didn't specify a value of required optimization parameter "
                                 f"{name}")
            param_group.setdefault(name, default)
        if len(params) != len(set(params)):
            warn("optimizer contains a parameter group with duplicate parameters; in future, this "
                 "will cause an error; see github.com/pytorch/pytorch/issues/40967 for more "
                 "information")
        known: set[Any] = set()
        for group in self.param_groups:
            known.update(group["params"])
            if ("param_names" in param_group) != ("param_names" in group):
                with_names = "with names" if "param_names" in group else "without names"
                raise ValueError("all optimizer param groups should be with/without names. cannot add param "
                                 f"group {'with' if 'param_names' in param_group else 'without'} names to "
                                 f"the optimizer, existing groups are {with_names}")
        if not known.isdisjoint(params):
            raise ValueError("some parameters appear in more than one parameter group")
        self.param_groups.append(param_group)

    # -- saving ---------------------------------------------------------------------------------
    def state_dict(self) -> dict[str, Any]:
        """`{"state": {index: ...}, "param_groups": [...]}`; parameters are numbered in the groups' order."""
        for hook in self._optimizer_state_dict_pre_hooks.values():
            hook(self)
        numbers: dict[int, int] = {}
        groups = []
        for group in self.param_groups:
            packed = {key: value for key, value in group.items() if key != "params"}
            for param in group["params"]:
                numbers.setdefault(id(param), len(numbers))
            packed["params"] = [numbers[id(param)] for param in group["params"]]
            groups.append(packed)
        state = {(numbers[id(key)] if isinstance(key, facula.Tensor) else key): value
                 for key, value in self.state.items()}
        result: dict[str, Any] = {"state": state, "param_groups": groups}
        for hook in self._optimizer_state_dict_post_hooks.values():
            changed = hook(self, result)
            if changed is not None:
                result = changed
        return result

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over options and state from `state_dict`; state moves to each parameter's type and device.

        Raises:
            ValueError: other numbers of groups or of parameters in them.
        """
        state_dict = state_dict.copy()
        for hook in self._optimizer_load_state_dict_pre_hooks.values():
            changed = hook(self, state_dict)
            if changed is not None:
                state_dict = changed
        groups = self.param_groups
        saved_groups = deepcopy(state_dict["param_groups"])
        if len(groups) != len(saved_groups):
            raise ValueError("loaded state dict has a different number of parameter groups")
        if any(len(old["params"]) != len(new["params"]) for old,
               new in zip(groups, saved_groups, strict=False)):
            raise ValueError("loaded state dict contains a parameter group that doesn't match the size of "
                             "optimizer's group")
        params = dict(zip(chain.from_iterable(g["params"] for g in saved_groups),
                          chain.from_iterable(g["params"] for g in groups), strict=False))
        saved_state = state_dict["state"]
        state: Any = defaultdict(dict)
        for key, value in saved_state.items():
            if key in params:
                param = params[key]
                state[param] = _moved(param, value, key, saved_groups)
            else:
                state[key] = value
        for old, new in zip(groups, saved_groups, strict=False):
            new["params"] = old["params"]
            if "param_names" in old and "param_names" not in new:
                new["param_names"] = old["param_names"]
        self.__setstate__({"state": state, "param_groups": saved_groups})
        for hook in self._optimizer_load_state_dict_post_hooks.values():
            hook(self)

    # -- hooks ----------------------------------------------------------------------------------
    def register_step_pre_hook(self, hook: Any) -> RemovableHandle:
        """Call `hook(optimizer, args, kwargs)` before each step; it may return new `(args, kwargs)`."""
        return _registered(self._optimizer_step_pre_hooks, hook)

    def register_step_post_hook(self, hook: Any) -> RemovableHandle:
        """Call `hook(optimizer, args, kwargs)` after each step."""
        return _registered(self._optimizer_step_post_hooks, hook)

    def _hook_at(self, hooks: Any, hook: Any, prepend: bool) -> RemovableHandle:
        handle = _registered(hooks, hook)
        if prepend:
            hooks.move_to_end(handle.id, last=False)
        return handle

    def register_state_dict_pre_hook(self, hook: Any, prepend: bool = False) -> RemovableHandle:
        """Call `hook(optimizer)` before the state is collected."""
        return self._hook_at(self._optimizer_state_dict_pre_hooks, hook,
                             prepend)

    def register_state_dict_post_hook(self, hook: Any, prepend: bool = False) -> RemovableHandle:
        """Call `hook(optimizer, state_dict)` afterwards; it may return another dictionary."""
        return self._hook_at(self._optimizer_state_dict_post_hooks, hook,
                             prepend)

    def register_load_state_dict_pre_hook(self, hook: Any, prepend: bool = False) -> RemovableHandle:
        """Call `hook(optimizer, state_dict)` before loading; it may return another dictionary."""
        return self._hook_at(self._optimizer_load_state_dict_pre_hooks, hook,
                             prepend)

    def register_load_state_dict_post_hook(self, hook: Any, prepend: bool = False) -> RemovableHandle:
        """Call `hook(optimizer)` after loading."""
        return self._hook_at(self._optimizer_load_state_dict_post_hooks, hook,
                             prepend)


def _moved(param: Any, value: Any, number: Any, groups: Any, key: Any = None) -> Any:
    """A deep copy of saved state in the parameter's type and on its device; `step` keeps its own type."""
    if isinstance(value, facula.Tensor):
        if key == "step":
            capturable = any(group.get("capturable") or group.get("fused") for group in groups
                             if number in group["params"])
            return value.to(dtype=facula.float32, device=param.device) if capturable else value
        if param.is_floating_point():
            return value.to(dtype=param.dtype, device=param.device)
        return value.to(device=param.device)
    if isinstance(value, dict):
        return {k: _moved(param, v, number, groups, k) for k, v in value.items()}
    if isinstance(value, Iterable) and not isinstance(value, (str, bytes, Mapping)):
        return type(value)(_moved(param, v, number, groups) for v in value)  # type: ignore[call-arg]
    return value


class TensorOptimizer(Optimizer):
    """An optimizer whose step treats one parameter after the other with recorded tensor operations.

    Subclasses define `_start(group, param, state)` (if there is anything to start), which fills the state of
    a parameter that is met for the first time, and `_update_group(group, params)`, which gets the parameters
    that have gradients.
    """

    _allow_sparse = False

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        for group in self.param_groups:  # options that older versions did not have
            for name, default in self.defaults.items():
                if name != "differentiable":
                    group.setdefault(name, default)
        for entry in self.state.values():
            step = entry.get("step") if isinstance(entry, dict) else None
            if step is not None and not isinstance(step, facula.Tensor):
                entry["step"] = facula.tensor(float(step), dtype=facula.float32)

    @_use_grad_for_differentiable
    def step(self, closure: Any = None) -> Any:
        """Update all parameters that have a gradient.

        Args:
            closure: computes the loss and its gradients anew and returns the loss.

        Returns:
            The closure's loss, or None.
        """
        loss = None
        if closure is not None:
            with facula.enable_grad():
                loss = closure()
        if "_steps" not in self.__dict__:
            self._steps = Steps()
        unseen = Unseen()
        with turn():  # parameters and state in one
            undone = [undo for undo in [put(self) for put in stand_ins] if undo] if stand_ins else ()
            try:
                self._update(unseen)
            finally:
                unseen.end()
                for undo in undone:
                    undo()
        return loss

    def _update(self, unseen: Unseen) -> None:
        """`step`, once there are gradients. Nobody outside looks at parameters between."""
        states, start = self.state, self._start
        for group in self.param_groups:
            params = [param for param in group["params"] if param.grad is not None]
            if not params:
                continue
            for param in params:
                if param.grad.is_sparse and not self._allow_sparse:
                    raise RuntimeError(f"{type(self).__name__} does not support sparse gradients")
                storage = param._storage
                if storage is not None and storage.shared is FOR_GOOD and not facula.is_grad_enabled():
                    unseen.add(storage)
                if start is not None and not states.get(param):
                    start(group, param, states[param])
            left = updated(self, group, params)
            if left:
                self._update_group(group, left)

    _start: Any = None

    def _update_group(self, group: dict[str, Any], params: list[Any]) -> None:
        raise NotImplementedError


def zeros_for(param: Any) -> Any:
    """A state tensor of zeros in the parameter's shape and layout."""
    return facula.zeros_like(param, memory_format=facula.preserve_format)


def number(value: Any) -> Any:
    """A learning rate (or other option) as a Python number; it may be a 0-d tensor."""
    return value.item() if isinstance(value, facula.Tensor) else value


def gradient_of(param: Any, maximize: bool, weight_decay: Any) -> Any:
    """The gradient, turned round to maximize, plus `weight_decay` times the parameter."""
    gradient = param.grad
    if maximize:
        gradient = -gradient
    if weight_decay != 0:
        gradient = gradient.add(param, alpha=weight_decay)
    return gradient


def check_rate(lr: Any, foreach: bool | None = None, capturable: bool = False) -> None:
    """Complain about a learning rate that is negative, or a tensor of several elements."""
    if isinstance(lr, facula.Tensor):
        if foreach and not capturable:
            raise ValueError("lr as a Tensor is not supported for capturable=False and foreach=True")
        if lr.numel() != 1:
            raise ValueError("Tensor lr must be 1-element")
    if not 0.0 <= lr:
        raise ValueError(f"Invalid learning rate: {lr}")


def check_at_least_zero(what: str, value: Any) -> None:
    """Complain about a negative option."""
    if not 0.0 <= value:
        raise ValueError(f"Invalid {what} value: {value}")


def check_betas(betas: Any) -> None:
    """Complain about decay rates outside [0, 1)."""
    for i, beta in enumerate(betas):
        if not 0.0 <= beta < 1.0:
            raise ValueError(f"Invalid beta parameter at index {i}: {beta}")
