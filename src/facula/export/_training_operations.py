"""What a captured training step calls beside torch.ops.aten: gradients, and the updates of optimizers.

`torch.ops.facula.grad` is `torch.autograd.grad`: the gradient rules of what the graph has computed before. An update is
named after its optimizer (`torch.ops.facula.adam_`), and is what that does in a step: the same code, so the same bits.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import facula
from facula import optim
from facula._higher_order_ops._operators import heard
from facula._tensor.handle import Tensor
from facula.fx.node import has_side_effect
from facula.ops import custom_namespaces, listening
from facula.optim.optimizer import TensorOptimizer

__all__ = ["OPERATIONS", "Operation", "asked_gradients", "grad", "update_of"]


class Operation:
    """`torch.ops.facula.NAME`."""

    def __init__(self, name: str, run: Callable[..., Any]) -> None:
        self.__name__ = self.__qualname__ = name
        self.__module__ = "torch.ops.facula"  # as generated code writes it
        self.overloadpacket = self
        self.run = run
        custom_namespaces.namespace("facula")._operations[name] = self

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if heard():
            return listening.dispatch(self, f"torch.ops.facula.{self.__name__}", [], args, kwargs)
        return self.run(*args, **kwargs)

    def __repr__(self) -> str:
        return f"facula.{self.__name__}"

    def __deepcopy__(self, memo: Any) -> Operation:
        return self


def _grad(outputs: Any, inputs: Any, grad_outputs: Any = None, retain_graph: Any = None, create_graph: bool = False,
          allow_unused: Any = None, materialize_grads: bool = False) -> tuple[Any, ...]:
    found: tuple[Any, ...] = facula.autograd.grad(
        outputs, inputs, grad_outputs, retain_graph, create_graph, allow_unused=allow_unused,
        materialize_grads=materialize_grads)
    return found


grad = Operation("grad", _grad)


def asked_gradients(outputs: Any, inputs: Any, grad_outputs: Any = None, retain_graph: Any = None,
                    create_graph: bool = False, only_inputs: bool = True, allow_unused: Any = None,
                    is_grads_batched: bool = False, materialize_grads: bool = False) -> tuple[Any, dict[str, Any]]:
    """Arguments of `torch.autograd.grad` in one form: lists, and what is not as by default."""
    if is_grads_batched:
        raise NotImplementedError("torch.export of torch.autograd.grad(is_grads_batched=True) is not in Facula yet")
    lists = [[value] if isinstance(value, Tensor) else list(value)
             for value in (outputs, inputs, () if grad_outputs is None else grad_outputs)]
    options = {"retain_graph": retain_graph, "create_graph": create_graph, "allow_unused": allow_unused,
               "materialize_grads": materialize_grads}
    kwargs = {name: value for name, value in options.items() if value is not None and value is not False}
    return tuple(lists if lists[2] else lists[:2]), kwargs


def _update(cls: Any) -> Callable[..., None]:
    """The step of an optimizer as a function of all that it reads."""
    def run(params: list[Any], grads: list[Any], states: list[dict[str, Any]], options: dict[str, Any]) -> None:
        kept = [dict(state) for state in states]
        optimizer = cls.__new__(cls)
        optimizer.__setstate__({"defaults": dict(options), "param_groups": [{**options, "params": list(params)}],
                                "state": _States(zip(params, kept, strict=True))})
        before = [param.grad for param in params]
        try:
            for param, gradient in zip(params, grads, strict=True):
                param.grad = gradient
            optimizer.step()
        finally:
            for param, gradient in zip(params, before, strict=True):
                param.grad = gradient
        for state, now in zip(states, kept, strict=True):
            for name, value in now.items():
                if state.get(name) is not value:  # another tensor in its place
                    state[name].copy_(value)
    return run


def _functional(cls: Any) -> Callable[..., Any]:
    """The same with new tensors as its result: parameters, and the state of each."""
    step = _update(cls)

    def run(params: list[Tensor], grads: list[Any], states: list[dict[str, Any]],
            options: dict[str, Any]) -> tuple[list[Tensor], list[dict[str, Any]]]:
        made = [param.detach().clone() for param in params]
        kept = [{name: t.clone() for name, t in state.items()} for state in states]
        step(made, grads, kept, options)
        return made, kept
    return run


class _States(dict[Any, Any]):
    """The state of each parameter."""

    def __missing__(self, param: Any) -> dict[str, Any]:
        found: dict[str, Any] = {}
        self[param] = found
        return found


# Of these a step is a function of parameters, gradients, state and options.
OPTIMIZERS: tuple[Any, ...] = tuple([
    found for found in vars(optim).values()
    if isinstance(found, type) and issubclass(found, TensorOptimizer) and found is not optim.SparseAdam])
_UPDATES = {cls: has_side_effect(Operation(f"{cls.__name__.lower()}_", _update(cls))) for cls in OPTIMIZERS}
_FUNCTIONAL = {_UPDATES[cls]: Operation(cls.__name__.lower(), _functional(cls)) for cls in OPTIMIZERS}
OPERATIONS: dict[str, Any] = {f"facula.{one.__name__}": one for one in (
    grad, *_UPDATES.values(), *_FUNCTIONAL.values())}


def functional(update: Operation) -> Operation:
    """The operation that gives what an update writes."""
    return _FUNCTIONAL[update]


def update_of(optimizer: Any) -> Operation:
    """The operation that is a step of an optimizer. NotImplementedError if there is none."""
    found = _UPDATES.get(type(optimizer))
    if found is None:
        names = ", ".join(cls.__name__ for cls in OPTIMIZERS)
        raise NotImplementedError(f"torch.export.training_step: the steps of {type(optimizer).__name__} are not "
                                  f"captured in Facula yet: those of {names} are")
    return found
