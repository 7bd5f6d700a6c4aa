"""`torch._custom_ops`: the older way to register operations, from before `torch.library.custom_op`."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from facula import library
from facula.library import infer_schema

__all__ = ["custom_op", "impl", "impl_abstract", "impl_backward", "impl_save_for_backward", "infer_schema"]


def custom_op(qualname: str, func_or_schema: Any = None) -> Any:
    """Define the operation `qualname`, by a schema or by the annotations of a function (also as a decorator).

    Example:
        >>> import facula
        >>> from facula import _custom_ops
        >>> _custom_ops.custom_op("docs_older::halved", "(Tensor x) -> Tensor")
        >>> _custom_ops.impl("docs_older::halved")(lambda x: x / 2) is not None
        True
        >>> facula.ops.docs_older.halved(facula.ones(2))
        tensor([0.5000, 0.5000])
    """
    if isinstance(func_or_schema, str):
        library.define(qualname, func_or_schema)
        return None

    def define(function: Any) -> Any:
        library.define(qualname, infer_schema(function, mutates_args=()))
        return function
    return define if func_or_schema is None else define(func_or_schema)


def impl(qualname: str, *, device_types: str | Iterable[str] = ("cpu", "cuda"), func: Any = None) -> Any:
    """The implementation of an operation for types of devices."""
    return library.register_kernel(qualname, device_types, func)


def impl_abstract(qualname: str, *, func: Any = None) -> Any:
    """What of tensors without elements comes of an operation: `torch.library.register_fake`."""
    return library.register_fake(qualname, func)


def impl_save_for_backward(qualname: str, *, func: Any = None) -> Any:
    """What a gradient needs: `func(inputs, output)`, with the arguments as attributes of `inputs`."""
    def decorate(function: Callable[..., Any]) -> Any:
        library._found(qualname)._kept = function
        _connect(qualname)
        return function
    return decorate if func is None else decorate(func)


def impl_backward(qualname: str, output_differentiability: Any = None, *, func: Any = None) -> Any:
    """The gradient: `func(ctx, saved, *grads)`, a dictionary from the names of the tensors among the arguments to their
    gradients. `output_differentiability`: for each result whether it has one (default: all have)."""
    def decorate(function: Callable[..., Any]) -> Any:
        operation = library._found(qualname)
        operation._by_names, operation._differentiable = function, output_differentiability
        _connect(qualname)
        return function
    return decorate if func is None else decorate(func)


class _Arguments:
    def __init__(self, values: dict[str, Any]) -> None:
        self.__dict__.update(values)


def _connect(qualname: str) -> None:
    """Once both halves are there: make of them what `register_autograd` takes."""
    operation = library._found(qualname)
    if operation._kept is None or operation._by_names is None:
        return
    kept, by_names, differentiable = operation._kept, operation._by_names, operation._differentiable
    schema = operation._schema
    expected = {name for name, kind in zip(schema.names, schema.kinds, strict=True) if kind.startswith("Tensor")}

    def setup(ctx: Any, inputs: Any, output: Any) -> None:
        ctx.saved = kept(_Arguments(dict(zip(schema.names, inputs, strict=False))), output)
        if differentiable is not None:
            outputs = output if isinstance(output, (tuple, list)) else (output,)
            ctx.mark_non_differentiable(*[o for o, has in zip(outputs, differentiable, strict=True) if not has])

    def backward(ctx: Any, *grads: Any) -> Any:
        found = by_names(ctx, ctx.saved, *grads)
        if not isinstance(found, dict) or set(found) != expected:
            raise RuntimeError(f"In the backward function defined for {qualname}, expected the returned gradients to "
                               f"be a dict with the keys {sorted(expected)}, one for each tensor that it takes, but "
                               f"got {sorted(found) if isinstance(found, dict) else type(found)}")
        return tuple(found.get(name) for name in schema.names)
    operation.register_autograd(backward, setup_context=setup)
