"""Arguments of a call as the signature of what is called has them: each once, with defaults, by position or name."""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable
from typing import Any, NamedTuple

import facula
from facula.fx._compatibility import compatibility
from facula.nn import Module
from facula.ops.op import operation_of, signature_of

__all__ = ["ArgsKwargsPair", "check_for_mutable_operation", "create_type_hint", "get_signature_for_torch_op",
           "normalize_function", "normalize_module", "type_matches"]


class ArgsKwargsPair(NamedTuple):
    """The arguments of a call."""

    args: tuple[Any, ...]
    kwargs: dict[str, Any]


@compatibility(is_backward_compatible=False)
def check_for_mutable_operation(target: Callable[..., Any], args: Any, kwargs: Any) -> None:
    """RuntimeError if a call of `target` overwrites one of its arguments."""
    name = getattr(target, "__name__", "")
    in_place = operation_of(target) is not None and name.endswith("_") and not name.endswith("__")
    named = getattr(target, "__module__", "") == "_operator" and name.startswith("i") and name in (
        "iadd", "isub", "imul", "itruediv", "ifloordiv", "imod", "ipow", "iand", "ior", "ixor", "imatmul")
    schema = getattr(target, "_schema", None)
    if in_place or named or getattr(schema, "is_mutable", False) or kwargs.get("out") is not None:
        raise RuntimeError(f"Tried to trace mutable operation {name}. FX only supports functional code, so operations "
                           "that mutate operands in-place (e.g. via `out` arguments) are not supported")


@compatibility(is_backward_compatible=False)
def get_signature_for_torch_op(op: Callable[..., Any], return_schemas: bool = False) -> Any:
    """The signatures of an operation as a list, or None if it is none of Facula's."""
    if isinstance(op, type) or operation_of(op) is None:
        return (None, None) if return_schemas else None
    found = [signature_of(op)]
    return (found, []) if return_schemas else found


@compatibility(is_backward_compatible=False)
def create_type_hint(x: Any) -> Any:
    """Of a tuple or list of types the annotation: `List[int]`, `Tuple[int, ...]`."""
    if isinstance(x, (list, tuple)):
        outer: Any = typing.List if isinstance(x, list) else (lambda kind: typing.Tuple[kind, ...])  # noqa: UP006
        made = outer.__getitem__ if isinstance(x, list) else outer
        if not x:
            return made(Any)
        kinds = list(x)
        base = kinds[0]
        for kind in kinds[1:]:
            if not (isinstance(base, type) and isinstance(kind, type)):
                return made(Any)
            if issubclass(base, kind):
                base = kind
            elif not issubclass(kind, base):
                return made(Any)
        return made(base)
    return x


@compatibility(is_backward_compatible=False)
def type_matches(signature_type: Any, argument_type: Any) -> bool:
    """May an argument of that type stand where the signature has the other?"""
    origin = getattr(signature_type, "__origin__", signature_type)
    if signature_type is argument_type or signature_type is Any:
        return True
    if origin is typing.Union and signature_type != argument_type:
        return any(type_matches(kind, argument_type) for kind in signature_type.__args__)
    if getattr(signature_type, "__origin__", None) is list:
        inner = signature_type.__args__[0]
        if inner is int and argument_type is int:
            return True
        if getattr(argument_type, "__origin__", None) in (list, tuple):
            kinds = [kind for kind in argument_type.__args__ if kind is not ...]
            return all(type_matches(inner, kind) for kind in kinds)
    if signature_type is facula.dtype and argument_type is int:
        return True
    if signature_type is float and argument_type is int:
        return True
    return bool(inspect.isclass(argument_type) and inspect.isclass(signature_type)
                and issubclass(argument_type, signature_type))


@compatibility(is_backward_compatible=False)
def normalize_function(target: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any] | None = None,
                       arg_types: tuple[Any, ...] | None = None, kwarg_types: dict[str, Any] | None = None,
                       normalize_to_only_use_kwargs: bool = False) -> ArgsKwargsPair | None:
    """The arguments of a call of one of Facula's functions, with defaults filled in. None for other functions, and
    where they do not fit.

    Example:
        >>> import facula
        >>> from facula.fx.operator_schemas import normalize_function
        >>> normalize_function(facula.nn.functional.relu, (1,), {}, normalize_to_only_use_kwargs=True)
        ArgsKwargsPair(args=(), kwargs={'input': 1, 'inplace': False})
    """
    if isinstance(target, type) or operation_of(target) is None and not _of_functional(target):
        return None
    return _args_kwargs_to_normalized_args_kwargs(signature_of(target), args, kwargs or {},
                                                  normalize_to_only_use_kwargs)


def _of_functional(target: Any) -> bool:
    return callable(target) and getattr(facula.nn.functional, getattr(target, "__name__", ""), None) is target


@compatibility(is_backward_compatible=False)
def normalize_module(root: Module, target: str, args: tuple[Any, ...], kwargs: dict[str, Any] | None = None,
                     normalize_to_only_use_kwargs: bool = False) -> ArgsKwargsPair | None:
    """The arguments of a call of a submodule of `torch.nn`. None for those of other classes."""
    try:
        module = root.get_submodule(target)
    except AttributeError as error:
        raise RuntimeError(f"Tried to normalize node with target {target} but root did not have that target!") \
            from error
    kind = type(module)
    if getattr(facula.nn, kind.__name__, None) is not kind:
        return None
    return _args_kwargs_to_normalized_args_kwargs(inspect.signature(module.forward), args, kwargs or {},
                                                  normalize_to_only_use_kwargs)


def _args_kwargs_to_normalized_args_kwargs(sig: inspect.Signature, args: tuple[Any, ...], kwargs: dict[str, Any],
                                           normalize_to_only_use_kwargs: bool) -> ArgsKwargsPair | None:
    """The arguments bound to a signature. None where one of its parameters is of a kind with `*`."""
    kinds = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    if any(p.kind not in kinds for p in sig.parameters.values()):
        if list(sig.parameters) != ["input", "from", "to", "generator"]:
            return None
    try:
        bound = sig.bind(*args, **kwargs)
    except TypeError:
        return None
    bound.apply_defaults()
    positional: list[Any] = []
    named: dict[str, Any] = {}
    for k, (name, parameter) in enumerate(sig.parameters.items()):
        by_name = normalize_to_only_use_kwargs or parameter.kind is parameter.KEYWORD_ONLY or k >= len(args)
        if by_name:
            named[name] = bound.arguments[name]
        else:
            positional.append(bound.arguments[name])
    return ArgsKwargsPair(tuple(positional), named)
