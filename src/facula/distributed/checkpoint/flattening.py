"""A nested dictionary as one of names, and back. Names are joined by dots, as PyTorch joins them: dictionaries are
opened, lists where they have tensors or dictionaries in them; tuples stay whole."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from facula._tensor.handle import Tensor

Path = tuple[Any, ...]  # keys of dictionaries, and numbers in lists


def _is_opened(value: Any) -> bool:
    """Does a list have something inside that has a name of its own?"""
    if isinstance(value, list):
        return any(map(_is_opened, value))
    return isinstance(value, (Mapping, Tensor))


def flattened(state_dict: Mapping[Any, Any]) -> tuple[dict[str, Any], dict[str, Path], dict[str, Path]]:
    """The values by name, where each stands, and the same as PyTorch writes it: keys as strings, and numbers where
    there are lists. ValueError where two have the same name.

    Example:
        >>> from facula.distributed.checkpoint.flattening import flattened
        >>> flattened({"a": {1: 1}, "c": [{"d": 2}], "e": [3]})[0]
        {'a.1': 1, 'c.0.d': 2, 'e': [3]}
    """
    values: dict[str, Any] = {}
    paths: dict[str, Path] = {}
    told: dict[str, Path] = {}

    def walk(value: Any, path: Path, names: Path) -> None:
        if isinstance(value, Mapping):
            for key, inner in value.items():
                walk(inner, (*path, key), (*names, str(key)))
        elif isinstance(value, list) and _is_opened(value):
            for number, inner in enumerate(value):
                walk(inner, (*path, number), (*names, number))
        else:
            name = ".".join(map(str, path))
            if name in values:
                raise ValueError(f"duplicated flatten key {name}: two values of the state_dict have this name")
            values[name], paths[name], told[name] = value, path, names
    walk(state_dict, (), ())
    return values, paths, told


def put(state_dict: Any, path: Path, value: Any) -> None:
    """Set what stands there."""
    for step in path[:-1]:
        state_dict = state_dict[step]
    state_dict[path[-1]] = value


def nested(values: Mapping[str, Any], paths: Mapping[str, Path]) -> dict[str, Any]:
    """The nested dictionary of values by name. Steps that are numbers are places in lists."""
    whole: dict[str, Any] = {}
    for name, value in values.items():
        path, at = paths.get(name) or (name,), whole
        for step in path[:-1]:
            at = at.setdefault(step, {})
        at[path[-1]] = value
    made: dict[str, Any] = _with_lists(whole)
    return made


def _with_lists(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    inner = {key: _with_lists(part) for key, part in value.items()}
    if inner and all(type(key) is int for key in inner) and sorted(inner) == list(range(len(inner))):
        return [inner[number] for number in range(len(inner))]
    return inner
