"""`torch.library.opcheck`: does an operation do what it says of itself?"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import facula
from facula.library.operation import CustomOpDef, Overload
from facula.utils._pytree import tree_leaves, tree_map

_ALL = ("test_schema", "test_autograd_registration", "test_faketensor", "test_aot_dispatch_dynamic")


class OpCheckError(Exception):
    """A check of `opcheck` has failed."""


def opcheck(op: Any, args: tuple[Any, ...], kwargs: dict[str, Any] | None = None, *,
            test_utils: str | Sequence[str] = _ALL, raise_exception: bool = True, atol: float | None = None,
            rtol: float | None = None) -> dict[str, Any]:
    """Call an operation in several ways, and compare.

    Args:
        op: what `custom_op` has made, or `torch.ops.namespace.name`, or its `default`.
        args, kwargs: what it is called with. Tensors that require gradients are differentiated by.
        test_utils: which checks: "test_schema" (writes into no argument that it does not name), "test_faketensor"
            (the fake implementation gives the same shapes and dtypes), "test_autograd_registration" (there is a
            gradient if one is asked for), "test_aot_dispatch_dynamic" ("test_faketensor", and a second call gives the
            same results and gradients).
        raise_exception: raise at the first failure.

    Returns:
        For each check "SUCCESS" or the exception.

    Raises:
        OpCheckError: a check has failed.

    Example:
        >>> import facula
        >>> @facula.library.custom_op("docs::halved", mutates_args=())
        ... def halved(x: facula.Tensor) -> facula.Tensor:
        ...     return x / 2
        >>> facula.library.opcheck(halved, (facula.ones(2),), test_utils="test_schema")
        {'test_schema': 'SUCCESS'}
    """
    operation = op._operation if isinstance(op, Overload) else op
    if not isinstance(operation, CustomOpDef):
        raise ValueError(f"opcheck(op, ...): op must be a custom operation or its overload, got {type(op)}")
    names = (test_utils,) if isinstance(test_utils, str) else tuple(test_utils)
    unknown = set(names) - set(_ALL)
    if unknown:
        raise ValueError(f"opcheck(op, ..., test_utils={test_utils}): expected a subset of {_ALL}, got {unknown}")
    found: dict[str, Any] = {}
    for name in names:
        try:
            _CHECKS[name](operation, args, kwargs or {}, {"atol": atol, "rtol": rtol})
            found[name] = "SUCCESS"
        except Exception as error:
            if raise_exception:
                raise OpCheckError(f"opcheck(op, ...): {name} failed with {error} (scroll up for stack trace)"
                                   ) from error
            found[name] = error
    return found


def _copies(tree: Any) -> Any:
    return tree_map(lambda t: t.detach().clone().requires_grad_(t.requires_grad) if isinstance(t, facula.Tensor) else t,
                    tree)


def _tensors(tree: Any) -> list[Any]:
    return [t for t in tree_leaves(tree) if isinstance(t, facula.Tensor)]


def _schema(operation: CustomOpDef, args: Any, kwargs: Any, close: Any) -> None:
    args, kwargs = _copies((args, kwargs))
    values = operation._schema.bound(operation._qualname, args, kwargs)
    before = {name: _copies(value) for name, value in values.items()}
    with facula.no_grad():
        operation(*args, **kwargs)
    written = operation._schema.written
    for name, value in values.items():
        for t, was in zip(_tensors(value), _tensors(before[name]), strict=True):
            if name not in written and not facula.equal(t.nan_to_num(), was.nan_to_num()):
                raise RuntimeError(f"Argument {name} is not defined as mutable but was mutated")


def _fake(operation: CustomOpDef, args: Any, kwargs: Any, close: Any) -> None:
    if operation._fake is None:
        name = operation._qualname.partition("::")[2]
        raise RuntimeError(f"There was no fake impl registered for {operation}. This is necessary for tensors on the "
                           f"meta device to work. Please use `{name}.register_fake` to add an fake impl.")
    args, kwargs = _copies((args, kwargs))
    with facula.no_grad():
        real = _tensors(operation(*args, **kwargs))
        fake = _tensors(operation(*tree_map(_meta, args), **tree_map(_meta, kwargs)))
    pairs = [[(tuple(t.shape), t.dtype) for t in several] for several in (real, fake)]
    if pairs[0] != pairs[1]:
        raise RuntimeError(f"When comparing the output of {operation.default!r} on meta and concrete Tensors, found "
                           f"mismatched tensor metadata: {pairs[1]} and {pairs[0]}")


def _meta(t: Any) -> Any:
    return t.detach().to("meta") if isinstance(t, facula.Tensor) else t


def _results(operation: CustomOpDef, args: Any, kwargs: Any) -> tuple[list[Any], list[Any]]:
    """The results, and the gradients of their sum by the arguments that require them."""
    args, kwargs = _copies((args, kwargs))
    outs = _tensors(operation(*args, **kwargs))
    by = [t for t in _tensors((args, kwargs)) if t.requires_grad]
    live = [t.sum() for t in outs if t.requires_grad]
    grads = facula.autograd.grad(live, by, allow_unused=True) if live and by else ()
    return [t.detach() for t in outs], list(grads)


def _gradient(operation: CustomOpDef, args: Any, kwargs: Any, close: Any) -> None:
    if any(t.requires_grad for t in _tensors((args, kwargs))):
        _results(operation, args, kwargs)


def _again(operation: CustomOpDef, args: Any, kwargs: Any, close: Any) -> None:
    _fake(operation, args, kwargs, close)
    first, second = (_results(operation, args, kwargs) for _ in range(2))
    facula.testing.assert_close(first, second, equal_nan=True, **close)


_CHECKS: dict[str, Callable[..., None]] = {
    "test_schema": _schema, "test_autograd_registration": _gradient, "test_faketensor": _fake,
    "test_aot_dispatch_dynamic": _again}
