"""Modules as functions of their parameters: `functional_call` and `stack_module_state`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import facula
from facula.nn.modules.batchnorm import _BatchNorm
from facula.nn.utils.stateless import called


def functional_call(module: Any, parameter_and_buffer_dicts: Any, args: Any = None,
                    kwargs: dict[str, Any] | None = None, *, tie_weights: bool = True, strict: bool = False) -> Any:
    """`module(*args, **kwargs)` with other parameters and buffers than its own, which stay as they are.

    Args:
        parameter_and_buffer_dicts: name -> tensor, or several such dictionaries. Those that are not named are the
            module's own. What the module writes in place is written into these tensors.
        args: a tuple of positional arguments, or the only one.
        tie_weights: tensors that are one in the module under several names are replaced under all of them.
        strict: the names must be just those of the module.

    Raises:
        ValueError: a name in several dictionaries, or different tensors for names that are tied.
        RuntimeError: `strict`, and names are missing or unknown.
        TypeError: something named is no tensor.

    Example:
        >>> import facula
        >>> layer = facula.nn.Linear(2, 1, bias=False)
        >>> facula.func.functional_call(layer, {"weight": facula.tensor([[1.0, 2.0]])}, facula.ones(1, 2))
        tensor([[3.]])
    """
    if isinstance(parameter_and_buffer_dicts, dict):
        values = parameter_and_buffer_dicts
    elif isinstance(parameter_and_buffer_dicts, (list, tuple)):
        if not all(isinstance(one, dict) for one in parameter_and_buffer_dicts):
            raise ValueError("Expected all elements of parameter_and_buffer_dicts to be dictionaries")
        names = [name for one in parameter_and_buffer_dicts for name in one]
        repeated = [name for name in dict.fromkeys(names) if names.count(name) > 1]
        if repeated:
            raise ValueError(f"{repeated} appeared in multiple dictionaries; behavior of functional call is ambiguous")
        values = {name: value for one in parameter_and_buffer_dicts for name, value in one.items()}
    else:
        raise ValueError("Expected parameter_and_buffer_dicts to be a dict, or a list/tuple of dicts, but got "
                         f"{type(parameter_and_buffer_dicts)}")
    return called(module, values, args, kwargs, tie_weights, strict)


def stack_module_state(models: Sequence[Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The parameters and the buffers of modules that are alike, each stacked along a new first dimension: what `vmap`
    over `functional_call` takes, to run them all at once.

    Raises:
        RuntimeError: no models, or of different classes, modes or `requires_grad`.

    Example:
        >>> import facula
        >>> parameters, buffers = facula.func.stack_module_state([facula.nn.Linear(3, 2) for _ in range(4)])
        >>> parameters["weight"].shape
        torch.Size([4, 2, 3])
    """
    if not models:
        raise RuntimeError("stack_module_state: Expected at least one model, got 0.")
    if len({model.training for model in models}) > 1:
        raise RuntimeError("stack_module_state: Expected all models to have the same training/eval mode.")
    if len(set(map(type, models))) > 1:
        raise RuntimeError("stack_module_state: Expected all models to be of the same class.")
    parameters = [dict(model.named_parameters()) for model in models]
    buffers = [dict(model.named_buffers()) for model in models]
    return ({name: _stacked(name, [one[name] for one in parameters]) for name in parameters[0]},
            {name: _stacked(name, [one[name] for one in buffers]) for name in buffers[0]})


def _stacked(name: str, tensors: list[Any]) -> Any:
    wanted = tensors[0].requires_grad
    if any(t.requires_grad != wanted for t in tensors):
        raise RuntimeError(f"Expected {name} from each model to have the same .requires_grad")
    return facula.stack(tensors).detach().requires_grad_(wanted)


def replace_all_batch_norm_modules_(root: Any) -> Any:
    """Have every batch norm in a module compute with the numbers of its batch alone, in place, so that `vmap` may run
    it: running statistics, which it would write, are taken away. Returns `root`.

    Example:
        >>> import facula
        >>> facula.func.replace_all_batch_norm_modules_(facula.nn.BatchNorm1d(3)).running_mean is None
        True
    """
    for module in root.modules():
        if isinstance(module, _BatchNorm):
            module.running_mean = None
            module.running_var = None
            module.num_batches_tracked = None
            module.track_running_stats = False
    return root
