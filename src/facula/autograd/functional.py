"""Jacobians, Hessians and their products with vectors."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from facula.autograd.backward import grad
from facula.autograd.modes import enable_grad


def _as_tuple(x: Any, what: str, name: str) -> tuple[bool, tuple[Any, ...]]:
    from facula._tensor.handle import Tensor
    if isinstance(x, tuple):
        items, many = x, True
    else:
        items, many = (x,), False
    for i, t in enumerate(items):
        if not isinstance(t, Tensor):
            where = f"value at index {i}" if many else f"given {what}"
            raise TypeError(f"The {what} given to {name} must be either a Tensor or a tuple of Tensors but the {where} "
                            f"has type {type(t)}.")
    return many, items


def _fresh(inputs: tuple[Any, ...], create_graph: bool) -> tuple[Any, ...]:
    """Inputs to differentiate by: with their history if the result is to be differentiated further."""
    return tuple(t.view_as(t) if create_graph and t.requires_grad else t.detach().requires_grad_() for t in inputs)


def _result(x: tuple[Any, ...], many: bool, create_graph: bool) -> Any:
    x = tuple(t if create_graph or t is None else t.detach() for t in x)
    return x if many else x[0]


def _grad(outputs: tuple[Any, ...], inputs: tuple[Any, ...], weights: Any, create_graph: bool, strict: bool,
          name: str) -> tuple[Any, ...]:
    """`grad`, with zeros for what does not depend; an error instead if `strict`."""
    if strict:
        _depends(outputs, name)
    pairs = [(o, None if weights is None else w) for o, w in
             zip(outputs, weights if weights is not None else (None,) * len(outputs), strict=False) if o.requires_grad]
    found: tuple[Any, ...] = (None,) * len(inputs)
    if pairs:
        found = grad(tuple(o for o, _ in pairs), inputs, tuple(w for _, w in pairs), True, create_graph,
                     allow_unused=True)
    if strict and any(g is None for g in found):
        raise RuntimeError(f"The output of the user-provided function is independent of input "
                           f"{[g is None for g in found].index(True)}. This is not allowed in strict mode.")
    return tuple(t.new_zeros(t.shape) if g is None else g for g, t in zip(found, inputs, strict=False))


def _depends(outputs: tuple[Any, ...], name: str) -> None:
    """RuntimeError if one of the outputs of a user's function (or of its gradient, in `hessian`) is a constant."""
    for k, o in enumerate(outputs):
        if not o.requires_grad and name == "hessian's gradient":
            raise RuntimeError("While computing the hessian, found that the jacobian of the user-provided function "
                               f"with respect to input {k} is independent of the input. This is not allowed in strict "
                               "mode. You should ensure that your function is twice differentiable and that the "
                               "jacobian depends on the inputs (a linear function would violate this).")
        if not o.requires_grad:
            raise RuntimeError(f"Output {k} of the user-provided function does not require gradients. The outputs must "
                               "be computed in a differentiable manner from the input when running in strict mode.")


def _strategy(name: str, strategy: str, vectorize: bool, strict: bool) -> None:
    """The arguments that say how a Jacobian is computed: here they do not, but must make sense."""
    if strategy not in ("forward-mode", "reverse-mode"):
        raise AssertionError('Expected strategy to be either "forward-mode" or "reverse-mode". Hint: If your function '
                             'has more outputs than inputs, "forward-mode" tends to be more performant. Otherwise, '
                             'prefer to use "reverse-mode".')
    if strategy == "forward-mode" and not vectorize:
        raise NotImplementedError("Computing Jacobian using forward-AD or forward-over-reverse Hessian is only "
                                  "implemented for `vectorize=True`.")
    if strict and vectorize:
        raise RuntimeError(f"torch.autograd.functional.{name}: `strict=True` and `vectorized=True` are not supported "
                           "together. Please either set `strict=False` or `vectorize=False`.")


def jacobian(func: Callable[..., Any], inputs: Any, create_graph: bool = False, strict: bool = False,
             vectorize: bool = False, strategy: str = "reverse-mode") -> Any:
    """The derivative of every element of `func(*inputs)` by every element of the inputs.

    Example:
        >>> import facula
        >>> facula.autograd.functional.jacobian(lambda x: x * x, facula.tensor([1.0, 2.0]))
        tensor([[2., 0.],
                [0., 4.]])
    """
    _strategy("jacobian", strategy, vectorize, strict)
    return _jacobian(func, inputs, create_graph, strict, "jacobian")


def _jacobian(func: Callable[..., Any], inputs: Any, create_graph: bool, strict: bool, name: str) -> Any:
    from facula.ops.arrange.joining import stack
    with enable_grad():
        many_in, given = _as_tuple(inputs, "inputs", "jacobian")
        given = _fresh(given, create_graph)
        many_out, outputs = _as_tuple(func(*given), "outputs of the user-provided function", "jacobian")
        if strict:
            _depends(outputs, name)
        rows = []
        for o in outputs:
            columns: list[list[Any]] = [[] for _ in given]
            flat = o.reshape(-1)
            for k in range(flat.numel()):
                found = _grad((flat[k],), given, None, create_graph, strict, name)
                for column, g in zip(columns, found, strict=False):
                    column.append(g)
            rows.append(
                tuple(
                    (stack(column) if column else t.new_zeros((0, *t.shape))).reshape(
                        tuple(o.shape) + tuple(t.shape)
                    )
                    for column, t in zip(columns, given, strict=False)
                )
            )
    rows = [tuple(t if create_graph else t.detach() for t in row) for row in rows]
    table = tuple(row if many_in else row[0] for row in rows)
    return table if many_out else table[0]


def _scalar(func: Callable[..., Any], given: tuple[Any, ...], name: str) -> Any:
    from facula._tensor.handle import Tensor
    out = func(*given)
    if not isinstance(out, Tensor):
        raise RuntimeError(f"The function given to {name} should return a single Tensor")
    if out.numel() != 1:
        raise RuntimeError(f"The Tensor returned by the function given to {name} should contain a single element")
    return out.reshape(())


def hessian(func: Callable[..., Any], inputs: Any, create_graph: bool = False, strict: bool = False,
            vectorize: bool = False, outer_jacobian_strategy: str = "reverse-mode") -> Any:
    """The second derivatives of a scalar function."""
    _strategy("hessian", outer_jacobian_strategy, vectorize, strict)
    many, given = _as_tuple(inputs, "inputs", "hessian")

    def gradient(*x: Any) -> Any:
        return _grad((_scalar(func, x, "hessian"),), x, None, True, strict, "hessian")

    found = _jacobian(gradient, given, create_graph, strict, "hessian's gradient")
    return found if many else found[0][0]


def _vector(v: Any, like: tuple[Any, ...], many: bool, name: str) -> tuple[Any, ...]:
    if v is None:
        if len(like) != 1 or like[0].numel() != 1:
            raise RuntimeError(
                "The vector v can only be None if the user-provided function returns a single Tensor with "
                "a single element."
            )
        return tuple(t.new_ones(t.shape) for t in like)
    _, v = _as_tuple(v, "v", name)
    if len(v) != len(like):
        raise RuntimeError(f"v is a tuple of invalid length: should be {len(like)} but got {len(v)}.")
    for i, (a, b) in enumerate(zip(v, like, strict=False)):
        if a.shape != b.shape:
            where = f"Entry {i} in v" if many else "v"
            raise RuntimeError(f"{where} has invalid size: should be {b.shape} but got {a.shape}.")
    return tuple(v)


def vjp(func: Callable[..., Any], inputs: Any, v: Any = None, create_graph: bool = False,
        strict: bool = False) -> Any:
    """(func(*inputs), v times the Jacobian)."""
    with enable_grad():
        many_in, given = _as_tuple(inputs, "inputs", "vjp")
        given = _fresh(given, create_graph)
        many_out, outputs = _as_tuple(func(*given), "outputs of the user-provided function", "vjp")
        found = _grad(outputs, given, _vector(v, outputs, many_out, "vjp"), create_graph, strict, "vjp")
    return _result(outputs, many_out, create_graph), _result(found, many_in, create_graph)


def jvp(func: Callable[..., Any], inputs: Any, v: Any = None, create_graph: bool = False,
        strict: bool = False) -> Any:
    """(func(*inputs), the Jacobian times v), by differentiating a vjp twice."""
    with enable_grad():
        many_in, given = _as_tuple(inputs, "inputs", "jvp")
        given = _fresh(given, create_graph)
        v = _vector(v, given, many_in, "jvp")
        many_out, outputs = _as_tuple(func(*given), "outputs of the user-provided function", "jvp")
        dummies = tuple(o.new_zeros(o.shape).requires_grad_() for o in outputs)
        backwards = _grad(outputs, given, dummies, True, strict, "jvp")
        found = _grad(backwards, dummies, v, create_graph, False, "jvp")
    return _result(outputs, many_out, create_graph), _result(found, many_out, create_graph)


def vhp(func: Callable[..., Any], inputs: Any, v: Any = None, create_graph: bool = False,
        strict: bool = False) -> Any:
    """(func(*inputs), v times the Hessian) of a scalar function."""
    with enable_grad():
        many, given = _as_tuple(inputs, "inputs", "vhp")
        given = _fresh(given, create_graph)
        v = _vector(v, given, many, "vhp")
        out = _scalar(func, given, "vhp")
        gradient = _grad((out,), given, None, True, strict, "vhp")
        found = _grad(gradient, given, v, create_graph, strict, "vhp")
    return _result((out,), False, create_graph), _result(found, many, create_graph)


def hvp(func: Callable[..., Any], inputs: Any, v: Any = None, create_graph: bool = False,
        strict: bool = False) -> Any:
    """(func(*inputs), the Hessian times v) of a scalar function: the Hessian is symmetric, so this is vhp."""
    with enable_grad():
        many, given = _as_tuple(inputs, "inputs", "hvp")
        given = _fresh(given, create_graph)
        v = _vector(v, given, many, "hvp")
        out = _scalar(func, given, "hvp")
        gradient = _grad((out,), given, None, True, strict, "hvp")
        dummies = tuple(t.new_zeros(t.shape).requires_grad_() for t in given)
        backwards = _grad(gradient, given, dummies, True, strict, "hvp")
        found = _grad(backwards, dummies, v, create_graph, strict, "hvp")
    return _result((out,), False, create_graph), _result(found, many, create_graph)
