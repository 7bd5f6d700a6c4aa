"""Reverse mode: `vjp` and `grad`, which may stand inside any other transform."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from facula._tensor.handle import Tensor, device_of, new
from facula._tensor.reading import read
from facula._tensor.tape import edge_of
from facula.autograd.backward import grad as gradients_of
from facula.autograd.graph import GradNode
from facula.autograd.modes import enable_grad
from facula.dtypes import FLOAT
from facula.func.trees import leaves, mapped, numbered, only_tensors, rebuilt, with_aux
from facula.transforms.crossing import zeros_of
from facula.transforms.levels import const
from facula.utils._pytree import tree_structure


def _inner(x: Any) -> Any:
    """A tensor to differentiate by: the same value, with the history that an outer transform follows."""
    if not isinstance(x, Tensor):
        raise ValueError(f"Thing passed to transform API must be Tensor, got {type(x)}")
    if x.dtype.category < FLOAT:
        raise RuntimeError("only Tensors of floating point dtype can require gradients")
    t = x.view_as(x) if edge_of(x) is not None else new(read(x))
    if not t.requires_grad:
        t.requires_grad_()
    return t


def _leads_out(tensors: list[Any], inner: list[Any]) -> bool:
    """Is a leaf on the tapes of `tensors` that is not among `inner`?"""
    own = {id(t) for t in inner}
    stack = [edge_of(t) for t in tensors if isinstance(t, Tensor)]
    seen: set[int] = set()
    while stack:
        edge = stack.pop()
        if type(edge) is tuple:
            edge = edge[0]
        if edge is None or id(edge) in seen:
            continue
        seen.add(id(edge))
        if type(edge) is GradNode:
            stack.extend(edge.edges)
        elif id(edge) not in own:
            return True
    return False


def _off(tree: Any) -> Any:
    """The values, off the tape."""
    return mapped(lambda t: new(read(t)) if isinstance(t, Tensor) and t.requires_grad else t, tree)


def vjp(func: Callable[..., Any], *primals: Any, has_aux: bool = False) -> tuple[Any, ...]:
    """(func(*primals), a function from gradients by the results to the tuple of gradients by the primals).

    Example:
        >>> import facula
        >>> y, back = facula.func.vjp(lambda x: x.sin(), facula.zeros(2))
        >>> back(facula.ones(2))
        (tensor([1., 1.]),)
    """
    with enable_grad():
        inner = mapped(_inner, primals)
        result = func(*inner)
        aux = None
        if has_aux:
            result, aux = with_aux("vjp(f, *primals)", result)
        outs, by = leaves(result), leaves(inner)
        only_tensors("vjp(f, *primals): expected f(*primals)", outs)
        outer = _leads_out(outs, by)

    def back(cotangents: Any, retain_graph: bool = True, create_graph: bool | None = None) -> Any:
        given = leaves(cotangents)
        if tree_structure(cotangents) != tree_structure(result):
            raise RuntimeError("Expected pytree structure of cotangents to be the same as pytree structure of outputs "
                               f"to the function. cotangents: {tree_structure(cotangents)}, primal output: "
                               f"{tree_structure(result)}")
        again = outer or any(isinstance(c, Tensor) and c.requires_grad for c in given)
        return rebuilt(inner, _gradients(outs, by, given, again))

    shown = result if outer else _off(result)
    return (shown, back, aux if outer else _off(aux)) if has_aux else (shown, back)


def _gradients(outs: list[Any], by: list[Any], cotangents: list[Any], create_graph: bool) -> list[Any]:
    wanted = [t for t in by if isinstance(t, Tensor) and t.requires_grad]
    pairs = [(o, c) for o, c in zip(outs, cotangents, strict=True) if o.requires_grad]
    found: Any = [None] * len(wanted)
    if pairs and wanted:
        with enable_grad():
            found = gradients_of([o for o, _ in pairs], wanted, [c for _, c in pairs], retain_graph=True,
                                 create_graph=create_graph, allow_unused=True)
    ready = iter(found)
    out: list[Any] = []
    for t in by:
        g = next(ready) if isinstance(t, Tensor) and t.requires_grad else None
        out.append(zeros_of(t) if g is None and isinstance(t, Tensor) else g)
    return out


def grad_and_value(func: Callable[..., Any], argnums: int | tuple[int, ...] = 0,
                   has_aux: bool = False) -> Callable[..., Any]:
    """As `grad`, with the function's value: (gradient, value), or (gradient, (value, aux))."""

    @functools.wraps(func)
    def differentiated(*args: Any, **kwargs: Any) -> Any:
        numbers = numbered(argnums, len(args))
        given = list(args)
        for n in numbers:
            given[n] = mapped(_inner, args[n])
        with enable_grad():
            out = func(*given, **kwargs)
        aux = None
        if has_aux:
            out, aux = with_aux("grad_and_value(f)(*args)", out)
        if not isinstance(out, Tensor):
            raise RuntimeError(f"grad_and_value(f)(*args): Expected f(*args) to return a Tensor, got {type(out)}")
        if out.shape:
            raise RuntimeError("grad_and_value(f)(*args): Expected f(*args) to return a scalar Tensor, got tensor with "
                               f"{len(out.shape)} dims. Maybe you wanted to use the vjp or jacrev APIs instead?")
        if out.dtype.is_complex:
            raise RuntimeError(f"grad can be implicitly created only for real scalar outputs but got {out.dtype}")
        trees = tuple([given[n] for n in numbers])
        by = leaves(trees)
        outer = _leads_out([out], by)
        found = rebuilt(trees, _gradients([out], by, [new(const(1, (), out.dtype, device_of(out)))], outer))
        if not outer:
            out, aux = _off(out), _off(aux)
        gradient = found if isinstance(argnums, tuple) else found[0]
        return (gradient, (out, aux)) if has_aux else (gradient, out)

    return differentiated


def grad(func: Callable[..., Any], argnums: int | tuple[int, ...] = 0, has_aux: bool = False) -> Callable[..., Any]:
    """The function that gives the gradient of a scalar function by its argument number `argnums` (or several).

    Example:
        >>> import facula
        >>> facula.func.grad(lambda x: x.sin().sum())(facula.zeros(2))
        tensor([1., 1.])
    """
    both = grad_and_value(func, argnums, has_aux)

    @functools.wraps(func)
    def gradient(*args: Any, **kwargs: Any) -> Any:
        found, value = both(*args, **kwargs)
        return (found, value[1]) if has_aux else found

    return gradient
