"""Calling a module that has hooks, and the hooks that apply to every module.

A call without hooks never comes here: see `Module.__call__`.

    forward pre-hooks -> [mark inputs] -> forward -> forward hooks -> [mark outputs]

The marks are identities in the graph. In backward, the mark at the outputs sees the gradients first (it runs
the pre-hooks and remembers them), and the mark at the inputs sees what comes out (it runs the full hooks). A
gradient that came in past the outputs' mark (what double backward or a captured activation sends) is no concern
of the hooks: they are left out, as in torch.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

import facula
from facula.errors import warn
from facula.utils.hooks import RemovableHandle

# Hooks for all modules. Public functions below register into them; `Module.__call__` reads them.
forward_pre_hooks: OrderedDict[int, Any] = OrderedDict()
forward_hooks: OrderedDict[int, Any] = OrderedDict()
forward_hooks_with_kwargs: OrderedDict[int, bool] = OrderedDict()
forward_hooks_always_called: OrderedDict[int, bool] = OrderedDict()
backward_pre_hooks: OrderedDict[int, Any] = OrderedDict()
backward_hooks: OrderedDict[int, Any] = OrderedDict()
module_registration_hooks: OrderedDict[int, Any] = OrderedDict()
parameter_registration_hooks: OrderedDict[int, Any] = OrderedDict()
buffer_registration_hooks: OrderedDict[int, Any] = OrderedDict()
full_backward: list[bool | None] = [None]  # are the global backward hooks the full sort? None: there are none


def _register(hooks: OrderedDict[int, Any], hook: Any, *extras: Any) -> RemovableHandle:
    handle = RemovableHandle(hooks, extra_dict=list(extras))
    hooks[handle.id] = hook
    return handle


def register_module_forward_pre_hook(hook: Any) -> RemovableHandle:
    """Call `hook(module, args)` before the forward of every module; it may return new arguments."""
    return _register(forward_pre_hooks, hook)


def register_module_forward_hook(hook: Any, *, with_kwargs: bool = False,
                                 always_call: bool = False) -> RemovableHandle:
    """Call `hook(module, args, output)` after the forward of every module; it may return a new output."""
    handle = _register(forward_hooks, hook, forward_hooks_with_kwargs, forward_hooks_always_called)
    if with_kwargs:
        forward_hooks_with_kwargs[handle.id] = True
    if always_call:
        forward_hooks_always_called[handle.id] = True
    return handle


def register_module_full_backward_pre_hook(hook: Any) -> RemovableHandle:
    """Call `hook(module, grad_output)` for every module when gradients for its outputs are known."""
    return _register(backward_pre_hooks, hook)


def register_module_full_backward_hook(hook: Any) -> RemovableHandle:
    """Call `hook(module, grad_input, grad_output)` for every module in backward."""
    if full_backward[0] is False:
        raise RuntimeError("Cannot use both regular backward hooks and full backward hooks as a global "
                           "Module hook. Please use only one of them.")
    full_backward[0] = True
    return _register(backward_hooks, hook)


def register_module_backward_hook(hook: Any) -> RemovableHandle:
    """The old sort of backward hook, attached to the graph node of each module's output."""
    if full_backward[0] is True:
        raise RuntimeError("Cannot use both regular backward hooks and full backward hooks as a global "
                           "Module hook. Please use only one of them.")
    full_backward[0] = False
    return _register(backward_hooks, hook)


def register_module_module_registration_hook(hook: Any) -> RemovableHandle:
    """Call `hook(module, name, submodule)` when a module is registered; it may return another one."""
    return _register(module_registration_hooks, hook)


def register_module_parameter_registration_hook(hook: Any) -> RemovableHandle:
    """Call `hook(module, name, parameter)` when a parameter is registered; it may return another one."""
    return _register(parameter_registration_hooks, hook)


def register_module_buffer_registration_hook(hook: Any) -> RemovableHandle:
    """Call `hook(module, name, buffer)` when a buffer is registered; it may return another one."""
    return _register(buffer_registration_hooks, hook)


def call_with_hooks(module: Any, args: Any, kwargs: Any) -> Any:
    """One call of `module` with everything that is registered on it and globally."""
    called: set[int] = set()
    state = [args, kwargs, None]  # what hooks have made of arguments and result so far
    try:
        return _call(module, state, called)
    except Exception:
        _always_called_hooks(module, state, called)
        raise


def _call(module: Any, state: list[Any], called: set[int]) -> Any:
    args, kwargs = _run_pre_hooks(module, state[0], state[1])
    state[0], state[1] = args, kwargs
    full_hooks, plain_hooks = module._get_backward_hooks()
    pre_hooks = module._get_backward_pre_hooks()
    marks = None
    if full_hooks or pre_hooks:
        marks = BackwardMarks(module, full_hooks, pre_hooks)
        args = marks.mark_inputs(args)

    result = state[2] = module.forward(*args, **kwargs)

    for key, hook in [*forward_hooks.items(), *module._forward_hooks.items()]:
        if key in forward_hooks_always_called or key in module._forward_hooks_always_called:
            called.add(key)
        changed = _run_forward_hook(module, key, hook, args, kwargs, result)
        if changed is not None:
            result = state[2] = changed
    if marks is not None:
        result = marks.mark_outputs(result)
    if plain_hooks:
        _attach_plain_backward_hooks(module, plain_hooks, args, result)
    return result


def _run_pre_hooks(module: Any, args: Any, kwargs: Any) -> Any:
    for key, hook in [*forward_pre_hooks.items(), *module._forward_pre_hooks.items()]:
        if key in module._forward_pre_hooks_with_kwargs:
            changed = hook(module, args, kwargs)
            if changed is not None:
                if not (isinstance(changed, tuple) and len(changed) == 2):
                    raise RuntimeError("forward pre-hook must return None or a tuple of (new_args, "
                                       f"new_kwargs), but got {changed}.")
                args, kwargs = changed
        else:
            changed = hook(module, args)
            if changed is not None:
                args = changed if isinstance(changed, tuple) else (changed,)
    return args, kwargs


def _run_forward_hook(module: Any, key: int, hook: Any, args: Any, kwargs: Any, result: Any) -> Any:
    if key in module._forward_hooks_with_kwargs or key in forward_hooks_with_kwargs:
        return hook(module, args, kwargs, result)
    return hook(module, args, result)


def _always_called_hooks(module: Any, state: list[Any], called: set[int]) -> None:
    """After an error: hooks with `always_call=True` still run; their own errors become warnings."""
    args, kwargs, result = state
    for registered, always, whose in ((forward_hooks, forward_hooks_always_called, "global module"),
                                      (module._forward_hooks, module._forward_hooks_always_called, "module")):
        for key, hook in list(registered.items()):
            if key not in always or key in called:
                continue
            called.add(key)
            try:
                changed = _run_forward_hook(module, key, hook, args, kwargs, result)
                if changed is not None:
                    result = changed
            except Exception as error:
                warn(f"{whose} forward hook with ``always_call=True`` raised an exception that was "
                     f"silenced as another error was raised in forward: {error}")


def _attach_plain_backward_hooks(module: Any, hooks: list[Any], args: Any, result: Any) -> None:
    found = result
    while not isinstance(found, facula.Tensor):
        found = next((v for v in found.values() if isinstance(v, facula.Tensor)), None) \
            if isinstance(found, dict) else found[0]
        if found is None:
            return
    node = found.grad_fn
    if node is None:
        return
    for hook in hooks:
        def run(grad_input: Any, grad_output: Any, hook: Any = hook) -> Any:
            return hook(module, grad_input, grad_output)
        node.register_hook(run)
    module._maybe_warn_non_full_backward_hook(args, result, node)


_identity: Any = None


def _identity_function() -> Any:
    """The autograd function that passes values through and shows gradients to a callback."""
    global _identity
    if _identity is None:
        class BackwardHookFunction(facula.autograd.Function):
            @staticmethod
            def forward(ctx: Any, callback: Any, zeros: bool, *tensors: Any) -> Any:
                ctx.callback = callback
                ctx.set_materialize_grads(zeros)
                marked = tuple(t.view_as(t) for t in tensors)
                ctx.mark_non_differentiable(*[m for m, t in zip(marked, tensors, strict=True) if not t.requires_grad])
                return marked

            @staticmethod
            def backward(ctx: Any, *gradients: Any) -> Any:
                return (None, None, *ctx.callback(gradients))
        _identity = BackwardHookFunction
    return _identity


class BackwardMarks:
    """The two marks of one module call: where its inputs and its outputs pass in the graph."""

    def __init__(self, module: Any, hooks: list[Any], pre_hooks: list[Any]) -> None:
        self.module, self.hooks, self.pre_hooks = module, hooks, pre_hooks
        self.gradients_out: Any = None
        self.inputs_marked = False
        self.input_places: tuple[list[int], int] = ([], 0)
        self.output_places: tuple[list[int], int] = ([], 0)

    def mark_inputs(self, args: Any) -> Any:
        args, self.inputs_marked, self.input_places = self._mark(args, self._at_inputs, True)
        return args

    def mark_outputs(self, result: Any) -> Any:
        if isinstance(result, facula.Tensor):
            marked, _, self.output_places = self._mark((result,), self._at_outputs, False)
            return marked[0]
        if not isinstance(result, tuple):
            warn("For backward hooks to be called, module output should be a Tensor or a tuple of "
                 f"Tensors but received {type(result)}")
            return result
        marked, _, self.output_places = self._mark(result, self._at_outputs, False)
        return type(result)(*marked) if hasattr(result, "_fields") else marked

    def _mark(self, values: Any, callback: Any, zeros: bool) -> Any:
        """`values` with marks in place of tensors. `zeros`: what has no gradient is shown as zeros, else as None."""
        places = [i for i, value in enumerate(values) if isinstance(value, facula.Tensor)]
        tensors = [values[i] for i in places]
        if not (facula.is_grad_enabled() and any(t.requires_grad for t in tensors)):
            return values, False, (places, len(values))
        values = list(values)
        for i, tensor in zip(places, _identity_function().apply(callback, zeros, *tensors), strict=False):
            values[i] = tensor
        return tuple(values), True, (places, len(values))

    def _at_outputs(self, gradients: Any) -> Any:
        full = _spread(gradients, self.output_places)
        for hook in self.pre_hooks:
            changed = hook(self.module, full)
            if changed is not None:
                changed = changed if isinstance(changed, tuple) else (changed,)
                if len(changed) != len(full):
                    raise RuntimeError("Backward pre hook returned an invalid number of grad_output, got "
                                       f"{len(changed)}, but expected {len(full)}")
                full = changed
        self.gradients_out = full
        if not self.inputs_marked:
            self._run_hooks((None,) * self.input_places[1])
        return tuple(full[i] for i in self.output_places[0])

    def _at_inputs(self, gradients: Any) -> Any:
        if self.gradients_out is None:  # of what was taken from inside: double backward, an activation, a list
            return gradients
        full = self._run_hooks(_spread(gradients, self.input_places))
        return tuple(full[i] for i in self.input_places[0])

    def _run_hooks(self, gradients_in: Any) -> Any:
        for hook in self.hooks:
            changed = hook(self.module, gradients_in, self.gradients_out)
            if changed is None:
                continue
            changed = changed if isinstance(changed, tuple) else (changed,)
            if not self.inputs_marked and any(c is not None for c in changed):
                raise RuntimeError("Backward hook for Modules where no input requires gradient should always "
                                   "return None or None for all gradients.")
            if len(changed) != len(gradients_in):
                raise RuntimeError("Backward hook returned an invalid number of grad_input, got "
                                   f"{len(changed)}, but expected {len(gradients_in)}")
            gradients_in = changed
        self.gradients_out = None
        return gradients_in


def _spread(gradients: Any, places: tuple[list[int], int]) -> Any:
    """Gradients of the tensors among the arguments, with None where an argument is no tensor."""
    full: list[Any] = [None] * places[1]
    for i, gradient in zip(places[0], gradients, strict=False):
        full[i] = gradient
    return tuple(full)
