"""A module called with other parameters and buffers than its own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import facula
from facula.errors import warn
from facula.undisturbed import PutBack

__all__ = ["functional_call"]


def functional_call(module: Any, parameters_and_buffers: dict[str, Any], args: Any = None,
                    kwargs: dict[str, Any] | None = None, *, tie_weights: bool = True, strict: bool = False) -> Any:
    """The older name of `facula.func.functional_call`, for one dictionary.

    Example:
        >>> import facula
        >>> from facula.nn.utils import stateless
        >>> stateless.functional_call(facula.nn.ReLU(), {}, facula.tensor([-1.0, 2.0]))
        tensor([0., 2.])
    """
    warn("`torch.nn.utils.stateless.functional_call` is deprecated as of PyTorch 2.0 and will be removed in a future "
         "version of PyTorch. Please use `torch.func.functional_call` instead which is a drop-in replacement.",
         FutureWarning)
    return called(module, parameters_and_buffers, args, kwargs, tie_weights, strict)


def called(module: Any, values: Mapping[str, Any], args: Any, kwargs: dict[str, Any] | None, tie_weights: bool,
           strict: bool) -> Any:
    """`module(*args, **kwargs)` with `values` in place of its parameters and buffers of these names."""
    args = () if args is None else args if isinstance(args, tuple) else (args,)
    with reparametrized(module, values, tie_weights, strict):
        return module(*args, **(kwargs or {}))


class reparametrized(PutBack):
    """While entered, the module and its parts have `values`. What they had comes back, whatever happens."""

    def __init__(self, module: Any, values: Mapping[str, Any], tie_weights: bool, strict: bool) -> None:
        self.places = _places(module, values, tie_weights, strict)
        self.before = [(table, key, table.get(key, _nothing)) for table, key, _ in self.places]

    def change(self) -> None:
        for table, key, value in self.places:
            table[key] = value

    def put_back(self) -> None:
        for table, key, value in self.before:
            if value is _nothing:
                table.pop(key, None)
            else:
                table[key] = value


def _places(module: Any, values: Mapping[str, Any], tie_weights: bool,
            strict: bool) -> list[tuple[dict[str, Any], str, Any]]:
    """Where each value goes: a table, its key there, and the value."""
    named = [*module.named_parameters(remove_duplicate=False), *module.named_buffers(remove_duplicate=False)]
    names = [name for name, _ in named]
    values = _tied(named, values) if tie_weights else dict(values)
    if strict:
        unexpected, missing = sorted(values.keys() - set(names)), sorted(set(names) - values.keys())
        if unexpected or missing:
            lines = [f"\n\t{kind} key(s): {', '.join(map(repr, found))}." for kind, found in (
                ("Unexpected", unexpected), ("Missing", missing)) if found]
            raise RuntimeError(f"Error(s) in reparametrizing for {type(module).__name__}:{''.join(lines)}")
    for value in values.values():
        if not isinstance(value, facula.Tensor):
            raise TypeError(f"{value} is not an instance of torch.Tensor")
    return [(*_place(module, name), value) for name, value in values.items()]


_nothing = object()


def _tied(named: list[tuple[str, Any]], values: Mapping[str, Any]) -> dict[str, Any]:
    """`values` also under the names that the module has for the same tensors."""
    groups: dict[int, list[str]] = {}
    for name, tensor in named:
        groups.setdefault(id(tensor), []).append(name)
    found = dict(values)
    for names in groups.values():
        given = [name for name in names if name in values]
        if len({id(values[name]) for name in given}) > 1:
            raise ValueError(f"functional_call got multiple values for keys {given}, which are tied. Consider using "
                             "tie_weights=False")
        if given:
            found.update((name, values[given[0]]) for name in names)
    return found


def _place(module: Any, name: str) -> tuple[dict[str, Any], str]:
    """The table that has (or is to have) the tensor of that name, and its key there."""
    *path, key = name.split(".")
    if not key:
        raise KeyError('tensor name can\'t be empty string ""')
    for part in path:
        if part not in module._modules:
            raise AttributeError(f"{type(module).__name__} has no attribute `{part}`")
        module = module._modules[part]
    table: dict[str, Any] = module._parameters if key in module._parameters else module._buffers
    return table, key
