"""Jacobians and Hessians: a `vmap` of `jvp` or of `vjp`."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from facula._tensor.handle import Tensor
from facula.func.gradients import vjp
from facula.func.tangents import jvp
from facula.func.trees import leaves, mapped, numbered, rebuilt
from facula.func.vectorized import vmap
from facula.transforms.crossing import zeros_of


def _basis(t: Tensor) -> Tensor:
    """(n, *shape): the unit vectors of the elements of `t`."""
    from facula.ops.create.creation import eye
    n = t.numel()
    return eye(n, dtype=t.dtype).reshape(n, *t.shape)


def _replaced(args: tuple[Any, ...], argnums: int | tuple[int, ...], by: Any) -> list[Any]:
    inner = list(args)
    for n, x in zip(argnums, by, strict=True) if isinstance(argnums, tuple) else ((argnums, by),):
        inner[n] = x
    return inner


def _named(args: tuple[Any, ...], argnums: int | tuple[int, ...]) -> Any:
    return tuple([args[n] for n in argnums]) if isinstance(argnums, tuple) else args[argnums]


def jacfwd(func: Callable[..., Any], argnums: int | tuple[int, ...] = 0, has_aux: bool = False, *,
           randomness: str = "error") -> Callable[..., Any]:
    """The Jacobian by argument number `argnums` (or several), one `jvp` for each of its elements, all in one `vmap`.

    Of a result of shape R by a tensor of shape S it has shape R + S; trees of both give trees of trees.

    Example:
        >>> import facula
        >>> facula.func.jacfwd(lambda x: x * x)(facula.tensor([1.0, 2.0]))
        tensor([[2., 0.],
                [0., 4.]])
    """

    @functools.wraps(func)
    def jacobian(*args: Any) -> Any:
        numbered(argnums, len(args))
        by = _named(args, argnums)
        flat = leaves(by)
        for x in flat:
            if not isinstance(x, Tensor):
                raise ValueError(f"Thing passed to transform API must be Tensor, got {type(x)}")
        columns = []
        aux: Any = None
        shape: Any = None
        for k, x in enumerate(flat):
            def push(v: Any, k: int = k, x: Any = x) -> Any:
                def of_one(one: Any) -> Any:
                    moved = rebuilt(by, [one if i == k else other for i, other in enumerate(flat)])
                    return func(*_replaced(args, argnums, moved))
                return jvp(of_one, (x,), (v,), has_aux=has_aux)[1:]
            out = vmap(push, out_dims=-1, randomness=randomness)(_basis(x))
            shape, aux = out[0], out[1] if has_aux else None
            columns.append([t.reshape(*t.shape[:-1], *x.shape) for t in leaves(shape)])
        rows = [rebuilt(by, list(row)) for row in zip(*columns, strict=True)]
        found = rebuilt(shape, rows)
        return (found, mapped(lambda a: a[..., 0], aux)) if has_aux else found

    return jacobian


def jacrev(func: Callable[..., Any], argnums: int | tuple[int, ...] = 0, has_aux: bool = False, *,
           chunk_size: int | None = None) -> Callable[..., Any]:
    """The Jacobian by argument number `argnums` (or several), one `vjp` for each element of the result, in one
    `vmap`, or `chunk_size` of them at a time.

    Shapes are those of `jacfwd`.

    Example:
        >>> import facula
        >>> facula.func.jacrev(lambda x: x * x)(facula.tensor([1.0, 2.0]))
        tensor([[2., 0.],
                [0., 4.]])
    """

    if chunk_size is not None and chunk_size < 1:
        raise ValueError("jacrev: `chunk_size` should be greater than 0.")

    @functools.wraps(func)
    def jacobian(*args: Any) -> Any:
        numbered(argnums, len(args))

        def of_one(by: Any) -> Any:
            return func(*_replaced(args, argnums, by))
        out, back, *rest = vjp(of_one, _named(args, argnums), has_aux=has_aux)
        outs = leaves(out)
        rows = []
        for k, o in enumerate(outs):
            def pull(v: Any, k: int = k) -> Any:
                return back(rebuilt(out, [v if i == k else zeros_of(other) for i, other in enumerate(outs)]))[0]
            found = vmap(pull, chunk_size=chunk_size)(_basis(o))
            rows.append(rebuilt(found, [t.reshape(*o.shape, *t.shape[1:]) for t in leaves(found)]))
        found = rebuilt(out, rows)
        return (found, rest[0]) if has_aux else found

    return jacobian


def hessian(func: Callable[..., Any], argnums: int | tuple[int, ...] = 0) -> Callable[..., Any]:
    """The second derivatives by argument number `argnums`: forward over reverse mode.

    Example:
        >>> import facula
        >>> facula.func.hessian(lambda x: (x ** 3).sum())(facula.tensor([1.0, 2.0]))
        tensor([[ 6.,  0.],
                [ 0., 12.]])
    """
    return jacfwd(jacrev(func, argnums), argnums)
