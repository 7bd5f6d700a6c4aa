"""What an operation takes and gives, as torch writes it: `(Tensor x, int k=2, *, Tensor? out=None) -> Tensor`."""

from __future__ import annotations

import ast
import inspect
import re
import types
import typing
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import facula

_TYPES: dict[Any, str] = {facula.Tensor: "Tensor", int: "SymInt", float: "float", bool: "bool", str: "str",
                          complex: "Scalar", facula.dtype: "ScalarType", facula.device: "Device"}
_NUMBER = typing.Union[int, float, bool]  # noqa: UP007  # as people write it
_ARGUMENT = re.compile(r"^(?P<type>.+?)\s+(?P<name>\w+)(?:\s*=\s*(?P<default>.+))?$")
_WORDS = {"None": None, "True": True, "False": False}


class Schema(NamedTuple):
    """Names of arguments in their order, which of them are given by name alone, defaults; the text; and which of them
    the operation writes."""

    names: tuple[str, ...]
    by_name: frozenset[str]
    defaults: dict[str, Any]
    text: str
    written: frozenset[str] = frozenset()
    kinds: tuple[str, ...] = ()

    def bound(self, what: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
        """name -> value of every argument. TypeError if they do not fit."""
        places = [name for name in self.names if name not in self.by_name]
        if len(args) > len(places):
            raise TypeError(f"{what}() takes {len(places)} positional argument(s) but {len(args)} was/were given. "
                            f"Declaration: {what}{self.text}")
        found = dict(zip(places, args, strict=False))
        for name, value in kwargs.items():
            if name not in self.names or name in found:
                raise TypeError(f"{what}() got {'several values for' if name in found else 'an unknown'} argument "
                                f"{name!r}. Declaration: {what}{self.text}")
            found[name] = value
        missing = [name for name in self.names if name not in found and name not in self.defaults]
        if missing:
            raise TypeError(f"{what}() is missing value for argument '{missing[0]}'. Declaration: {what}{self.text}")
        return {name: found.get(name, self.defaults.get(name)) for name in self.names}


    def takes(self, what: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
        """Do these arguments fit, by their number, names and whether tensors are where tensors are expected?"""
        try:
            found = self.bound(what, args, kwargs)
        except TypeError:
            return False
        kinds = dict(zip(self.names, self.kinds, strict=True))
        return all(isinstance(value, facula.Tensor) == kinds[name].startswith("Tensor") for name, value in found.items()
                   if value is not None and not isinstance(value, (list, tuple)) and kinds[name] != "Scalar")


def parsed(text: str) -> Schema:
    """The Schema of a text. ValueError if it is none."""
    match = re.fullmatch(r"\s*\((?P<arguments>.*)\)\s*->\s*(?P<results>.+?)\s*", text, re.DOTALL)
    if match is None:
        raise ValueError(f"{text!r} is no schema: expected (Type name, ...) -> Type")
    names: list[str] = []
    by_name: set[str] = set()
    defaults: dict[str, Any] = {}
    written: set[str] = set()
    kinds: list[str] = []
    after_star = False
    for part in filter(None, map(str.strip, re.split(r",(?![^\[(]*[\])])", match["arguments"]))):
        if part == "*":
            after_star = True
            continue
        found = _ARGUMENT.match(part)
        if found is None:
            raise ValueError(f"{part!r} is no argument of a schema: expected Type name or Type name=default")
        names.append(found["name"])
        kinds.append(found["type"])
        if "!" in found["type"]:
            written.add(found["name"])
        if after_star:
            by_name.add(found["name"])
        if found["default"] is not None:
            word = found["default"]
            defaults[found["name"]] = _WORDS[word] if word in _WORDS else ast.literal_eval(word)
    return Schema(tuple(names), frozenset(by_name), defaults, f"({match['arguments']}) -> {match['results']}",
                  frozenset(written), tuple(kinds))


def infer_schema(prototype_function: Callable[..., Any], /, *, mutates_args: str | Iterable[str],
                 op_name: str | None = None) -> str:
    """The schema of a function, by its annotations.

    Args:
        mutates_args: names of arguments that it writes into, or "unknown".

    Raises:
        ValueError: a parameter without annotation, or of a type that operations do not take.

    Example:
        >>> import facula
        >>> def scaled(x: facula.Tensor, by: float = 2.0) -> facula.Tensor: return x * by
        >>> facula.library.infer_schema(scaled, mutates_args=())
        '(Tensor x, float by=2.0) -> Tensor'
    """
    signature = inspect.signature(prototype_function)
    hints = typing.get_type_hints(prototype_function)
    written = set(signature.parameters) if mutates_args == "unknown" else set(mutates_args)
    parts: list[str] = []
    star = False
    for name, parameter in signature.parameters.items():
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            raise ValueError(f"infer_schema(func): Parameter {name} is variadic: an operation has a fixed number")
        if name not in hints:
            raise ValueError(f"infer_schema(func): Parameter {name} must have a type annotation. Got func with "
                             f"signature {signature})")
        if parameter.kind is parameter.KEYWORD_ONLY and not star:
            parts.append("*")
            star = True
        kind = _type(hints[name], name, signature)
        if name in written and "Tensor" in kind:
            kind = kind.replace("Tensor", f"Tensor(a{len(parts)}!)")
        default = "" if parameter.default is parameter.empty else f"={_default(parameter.default)}"
        parts.append(f"{kind} {name}{default}")
    unknown = written - set(signature.parameters)
    if unknown:
        raise ValueError(f"infer_schema(func): mutates_args names {sorted(unknown)}, which are no parameters")
    result = _result(hints.get("return"), signature)
    return (op_name or "") + f"({', '.join(parts)}) -> {result}"


def _default(value: Any) -> str:
    return f'"{value}"' if isinstance(value, str) else repr(value)


def _type(hint: Any, name: str, signature: inspect.Signature) -> str:
    if hint in _TYPES:
        return _TYPES[hint]
    origin, parts = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        if set(parts) == set(typing.get_args(_NUMBER)):
            return "Scalar"
        rest = [part for part in parts if part is not type(None)]
        if len(rest) == 1 and len(rest) < len(parts):
            return _type(rest[0], name, signature) + "?"
    if origin in (list, Sequence) and len(parts) == 1:
        return _type(parts[0], name, signature) + "[]"
    raise ValueError(f"infer_schema(func): Parameter {name} has unsupported type {hint}. The valid types are: "
                     "tensors, numbers, str, dtype, device, optional ones and lists of them. Got func with signature "
                     f"{signature})")


def _result(hint: Any, signature: inspect.Signature) -> str:
    if hint in (None, type(None)):
        return "()"
    if typing.get_origin(hint) is tuple:
        return "(" + ", ".join(_type(part, "return", signature) for part in typing.get_args(hint)) + ")"
    return _type(hint, "return", signature)
