"""A training step as a program: the model, its loss, gradients, and the optimizer's update of all that it changes."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

import facula
from facula import optim
from facula._tensor.handle import Tensor
from facula.export._export import export
from facula.export._training_operations import grad, update_of
from facula.export.exported_program import ExportedProgram
from facula.nn import Module

__all__ = ["training_step"]


def training_step(model: Module, loss_fn: Callable[..., Any], optimizer: Any, args: tuple[Any, ...],
                  targets: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None, *,
                  dynamic_shapes: Any = None) -> ExportedProgram:
    """A step of training as an ExportedProgram:

        loss = loss_fn(model(*args, **kwargs), *targets)
        loss.backward()
        optimizer.step()

    Nothing is computed or changed now. The program takes `(*args, *targets, **kwargs)` and gives the loss; each call of
    its `module()` is one step, with the bits that the lines above give. Its `state_dict` has all that a step changes:
    the model's parameters and buffers as `model.NAME`, those of a loss that is a module as `loss.NAME`, the optimizer's
    state as `optimizer.model.NAME.STATE`, options that are tensors as `options.GROUP.OPTION` (a learning rate that is
    to change). These are the model's and the optimizer's own tensors, as far as there are any.

    In the graph `torch.ops.facula.grad` gives the gradients (`torch.autograd.grad`), and `torch.ops.facula.adam_` or
    its like is the update.

    Args:
        model, loss_fn: what is trained; the loss is a tensor of one element.
        optimizer: one of `torch.optim` over parameters of theirs, whose step takes no closure.
        args, targets, kwargs: examples of what a step is given.
        dynamic_shapes: as of `export`, for `(*args, *targets)` in their order, or by names: those of the model's
            `forward`, and `target` (of several `target_0`, `target_1` ...).

    Raises:
        ValueError: a parameter of the optimizer's that neither model nor loss has.
        NotImplementedError: another optimizer, hooks of its steps, options or state that a graph cannot have.
        And what `export` raises.

    Example:
        >>> import facula
        >>> model = facula.nn.Linear(2, 1)
        >>> optimizer = facula.optim.SGD(model.parameters(), lr=0.1)
        >>> x, y = facula.ones(4, 2), facula.zeros(4, 1)
        >>> program = facula.export.training_step(model, facula.nn.MSELoss(), optimizer, (x,), (y,))
        >>> [str(node.target) for node in program.graph.nodes if node.op == "call_function"][-4:]
        ['facula.grad', '<built-in function getitem>', '<built-in function getitem>', 'facula.sgd_']
        >>> step = program.module()
        >>> first, second = step(x, y), step(x, y)
        >>> bool(second < first)
        True
    """
    if not isinstance(args, tuple) or not isinstance(targets, tuple):
        raise TypeError(f"torch.export.training_step: args and targets are tuples, got {type(args).__name__} and "
                        f"{type(targets).__name__}")
    step = _Step(model, loss_fn, optimizer, len(args), len(targets))
    return export(step, (*args, *targets), kwargs, dynamic_shapes=dynamic_shapes)


class _Step(Module):
    """The step as a module, which is captured."""

    def __init__(self, model: Module, loss_fn: Any, optimizer: Any, inputs: int, targets: int) -> None:
        super().__init__()
        self.model = model
        self.__dict__["optimizer_update"] = update_of(optimizer)
        if isinstance(loss_fn, Module):
            self.loss = loss_fn
        else:
            self.__dict__["loss"] = loss_fn
        self.__dict__["inputs"] = inputs
        names = {id(t): name for name, t in self.named_parameters()}
        self.__dict__["groups"] = [self._group(optimizer, group, number, names)
                                   for number, group in enumerate(optimizer.param_groups)]
        for hooks in (optimizer._optimizer_step_pre_hooks, optimizer._optimizer_step_post_hooks):
            if hooks:
                raise NotImplementedError("torch.export.training_step of an optimizer with hooks of its steps is not "
                                          "in Facula yet")

        def forward(*args: Any, **kwargs: Any) -> Any:
            return self._run(*args, **kwargs)
        forward.__signature__ = _signature(model, inputs, targets)  # type: ignore[attr-defined]
        self.__dict__["forward"] = forward

    def _group(self, optimizer: Any, group: dict[str, Any], number: int, names: dict[int, str]) -> Any:
        """(names of parameters, names of each one's state, options) of a group, whose tensors become buffers."""
        params, states = [], []
        for param in group["params"]:
            if id(param) not in names:
                raise ValueError("torch.export.training_step: the optimizer has a parameter of shape "
                                 f"{tuple(param.shape)} that is neither the model's nor the loss's")
            path = names[id(param)]
            params.append(path)
            state = _state(optimizer, group, param)
            states.append({key: self._held(f"optimizer.{path}.{key}", value) for key, value in state.items()})
        options = {}
        for key, value in group.items():
            if key not in ("params", "param_names"):
                options[key] = self._held(f"options.{number}.{key}", value) if isinstance(value, Tensor) else value
        if options.get("differentiable"):
            raise NotImplementedError("torch.export.training_step of an optimizer that is differentiable is not in "
                                      "Facula yet")
        return params, states, options

    def _held(self, path: str, t: Any) -> _Path:
        """A tensor of the optimizer's as a buffer."""
        if not isinstance(t, Tensor):
            raise NotImplementedError(f"torch.export.training_step: the optimizer's state {path!r} is a "
                                      f"{type(t).__name__}, no tensor: that is not in Facula yet")
        where: Module = self
        *parts, name = path.split(".")
        for part in parts:
            if part not in where._modules:
                where.add_module(part, Module())
            where = where._modules[part]  # type: ignore[assignment]
        where.register_buffer(name, t)
        return _Path(path)

    def _run(self, *args: Any, **kwargs: Any) -> Any:
        loss = self.loss(self.model(*args[:self.inputs], **kwargs), *args[self.inputs:])
        if not isinstance(loss, Tensor) or loss.numel() != 1:
            raise RuntimeError("torch.export.training_step: the loss must be a tensor of one element, got "
                               f"{tuple(loss.shape) if isinstance(loss, Tensor) else type(loss).__name__}")
        paths = [path for params, _, _ in self.groups for path in params]
        grads = iter(grad([loss], [self._at(path) for path in paths], allow_unused=True))
        for params, states, options in self.groups:
            given = ([self._at(path) for path in params], [next(grads) for _ in params],
                     [{key: self._at(path) for key, path in state.items()} for state in states],
                     {key: self._at(value) if isinstance(value, _Path) else value for key, value in options.items()})
            self.optimizer_update(*given)
        return loss

    def _at(self, path: str) -> Any:
        found: Any = self
        for part in path.split("."):
            found = getattr(found, part)
        return found


class _Path(str):
    """Where a tensor of the optimizer's is."""


def _state(optimizer: Any, group: dict[str, Any], param: Any) -> dict[str, Any]:
    """The optimizer's state of a parameter: as it is, or as it begins."""
    state = dict(optimizer.state.get(param, {}))
    if not state and optimizer._start is not None:
        before = param.grad
        try:
            if before is None:  # some begin with tensors like it
                param.grad = facula.zeros_like(param)
            optimizer._start(group, param, state)
        finally:
            param.grad = before
    if isinstance(optimizer, optim.SGD) and group["momentum"] and state.get("momentum_buffer") is None:
        if group["dampening"]:
            raise NotImplementedError("torch.export.training_step of SGD with dampening before its first step, which "
                                      "is another than those after it, is not in Facula yet: take one step first")
        # What the first gradient is added to without a change, whatever its sign.
        state["momentum_buffer"] = facula.full_like(param, -0.0).detach()
    return {key: value for key, value in state.items() if value is not None}


def _signature(model: Module, inputs: int, targets: int) -> inspect.Signature:
    """The names of a step's arguments: those of the model, and `target`."""
    kinds = inspect.Parameter
    given = list(inspect.signature(model.forward).parameters.values())
    plain = [p for p in given if p.kind in (kinds.POSITIONAL_ONLY, kinds.POSITIONAL_OR_KEYWORD)][:inputs]
    named = [p for p in given if p.kind in (kinds.KEYWORD_ONLY, kinds.POSITIONAL_OR_KEYWORD) and p not in plain]
    names = [p.name for p in plain] + [f"input_{k}" for k in range(len(plain), inputs)]
    names += ["target"] if targets == 1 else [f"target_{k}" for k in range(targets)]
    more = [kinds(p.name, kinds.KEYWORD_ONLY, default=p.default) for p in named if p.name not in names]
    more += [p for p in given if p.kind is kinds.VAR_KEYWORD]
    return inspect.Signature([kinds(name, kinds.POSITIONAL_OR_KEYWORD) for name in names] + more)
