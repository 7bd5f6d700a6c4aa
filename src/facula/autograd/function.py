"""`Function`: an operation with a gradient of the user's own."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from facula._tensor.assigning import update
from facula._tensor.handle import Tensor, alias, device_of, new, strides_of
from facula._tensor.reading import kept, read
from facula._tensor.tape import edge_of
from facula.autograd import graph, walk
from facula.autograd.graph import GradNode, Rule, Saved, grad_node, mode
from facula.autograd.walk import expands
from facula.dtypes import FLOAT
from facula.engine.moving import moved
from facula.engine.session import session
from facula.errors import warn
from facula.ops.casting import constant, to_dtype
from facula.ops.elementwise.pointwise import sum_to
from facula.ops.listening import call_user


class FunctionCtx:
    """What `forward` and `backward` share."""

    needs_input_grad: tuple[bool, ...] = ()
    _to_save: tuple[Any, ...] = ()
    _for_forward: tuple[Any, ...] = ()
    _dirty: tuple[Any, ...] = ()
    _fixed: tuple[Any, ...] = ()
    _materialize = True
    _node: GradNode | None = None
    _inputs: tuple[bool, ...] = ()

    def save_for_backward(self, *tensors: Any) -> None:
        """Keep tensors for `backward`, which finds them in `saved_tensors`, with their values of now."""
        self._to_save = tensors

    def save_for_forward(self, *tensors: Any) -> None:
        """Keep tensors for `jvp`, which finds them in `saved_tensors`."""
        self._for_forward = tensors

    def mark_dirty(self, *args: Any) -> None:
        """Say which inputs `forward` has overwritten."""
        self._dirty = args

    def mark_non_differentiable(self, *args: Any) -> None:
        """Say which outputs have no gradient."""
        self._fixed = args

    def set_materialize_grads(self, value: bool) -> None:
        """Shall `backward` see zeros (the default) or None where an output has no gradient?"""
        self._materialize = value

    @property
    def saved_tensors(self) -> tuple[Any, ...]:
        return self._to_save if self._node is None else self._node.saved

    saved_variables = saved_tensors


class FunctionMeta(type):
    """The type of Functions. A class has nothing more for it: the rule of its step is made when it is first applied."""


class Function(FunctionCtx, metaclass=FunctionMeta):
    """Base class of operations with a `forward` and a `backward` of their own; call them by `apply`.

    Example:
        >>> import facula
        >>> class Double(facula.autograd.Function):
        ...     @staticmethod
        ...     def forward(ctx, x):
        ...         return x * 2
        ...     @staticmethod
        ...     def backward(ctx, g):
        ...         return g * 2
        >>> x = facula.ones(2, requires_grad=True)
        >>> Double.apply(x).sum().backward()
        >>> x.grad
        tensor([2., 2.])
    """

    generate_vmap_rule = False

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        warn(f"{type(self)} should not be instantiated. Methods on autograd functions are all static, so you "
             "should invoke them on the class itself. Instantiating an autograd function will raise an error "
             "in a future version of PyTorch.", DeprecationWarning)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        raise RuntimeError(
            "Legacy autograd function with non-static forward method is deprecated. Please use new-style "
            "autograd function with static forward method."
        )

    @staticmethod
    def forward(*args: Any, **kwargs: Any) -> Any:
        raise NotImplementedError("You must implement the forward function for custom autograd.Function.")

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> Any:
        raise NotImplementedError("setup_context is not implemented.")

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Any) -> Any:
        raise NotImplementedError("You must implement either the backward or vjp method for your custom "
                                  "autograd.Function to use it with backward mode AD.")

    vjp = backward

    @staticmethod
    def jvp(ctx: Any, *grad_inputs: Any) -> Any:
        raise NotImplementedError("You must implement the jvp function for custom autograd.Function to use it with "
                                  "forward mode AD.")

    @classmethod
    def apply(cls, *args: Any) -> Any:
        """Run `forward` and put its results on the tape."""
        edges = tuple([edge_of(a) if isinstance(a, Tensor) else None for a in args])
        ctx = FunctionCtx()
        ctx.needs_input_grad = tuple([e is not None for e in edges])
        recording = mode.grad
        mode.grad = False
        try:
            if cls.setup_context is not Function.setup_context:
                result = cls.forward(*args)
                cls.setup_context(ctx, args, result)
            else:
                result = cls.forward(ctx, *args)
            if session.traced is not None:
                graph.function_tangents(cls, ctx, args, result if isinstance(result, tuple) else (result,))
        finally:
            mode.grad = recording
        live = recording and any(ctx.needs_input_grad)
        plain = type(result) is Tensor and not (result._rg or result._base is not None or ctx._dirty or ctx._fixed)
        if live and plain and result.dtype.category >= FLOAT:
            for a in args:
                if result is a:
                    break
            else:
                return _finish_one(cls, ctx, args, edges, result)
        outs = _finish(cls, ctx, args, edges, result if isinstance(result, tuple) else (result,), live)
        return tuple(outs) if isinstance(result, tuple) else outs[0]


class FunctionRule:
    """The rule of one Function class."""

    def __init__(self, function: type[Function]) -> None:
        self.name = function.__name__ + "Backward"
        self.function = function

    def backward(self, node: GradNode, *grads: Any) -> tuple[Any, ...]:
        ctx = node.__dict__["_ctx"]
        if ctx._materialize and len(grads) > 1:  # an only gradient is there, or this would not be asked for
            present = next((g for g in grads if g is not None), None)
            grads = tuple([_zeros(m, present) if g is None and m is not None else g
                           for g, m in zip(grads, node.__dict__["_out_meta"], strict=False)])
        cls = self.function
        own = cls.vjp if cls.vjp is not Function.vjp else cls.backward
        ctx._node = node
        try:
            result = call_user(own, ctx, *grads)
        finally:
            ctx._node = None
        if type(result) is Tensor and len(node.edges) == 1 and ctx._inputs[0]:
            if result.shape == node.shapes[0] and result.dtype is node.dtypes[0]:
                return (result if node.edges[0] is not None else None,)
        return self.checked(ctx, node, result if isinstance(result, tuple) else (result,))

    def checked(self, ctx: FunctionCtx, node: GradNode, result: tuple[Any, ...]) -> tuple[Any, ...]:
        expected = len(node.edges)
        if len(result) > expected and all(g is None for g in result[expected:]):
            result = result[:expected]
        if len(result) != expected:
            raise RuntimeError(f"function {self.name} returned an incorrect number of gradients (expected {expected}, "
                               f"got {len(result)})")
        out: list[Any] = []
        for i, g in enumerate(result):
            if g is not None and not ctx._inputs[i]:
                raise RuntimeError(f"function {self.name} returned a gradient different than None at position {i + 1}, "
                                   "but the corresponding forward input was not a Variable")
            if g is not None and not isinstance(g, Tensor):
                raise RuntimeError(f"expected Variable or None (got {type(g).__name__})")
            if g is None or node.edges[i] is None:
                out.append(None)
                continue
            shape, of = node.shapes[i], node.dtypes[i]
            if g.shape != shape:
                if not expands(shape, g.shape):
                    raise RuntimeError(f"Function {self.name} returned an invalid gradient at index {i} - got "
                                       f"{list(g.shape)} but expected shape compatible with {list(shape)}")
                g = sum_to(g, shape)
            if g.dtype is not of:
                g = to_dtype(g.real if g.dtype.is_complex and not of.is_complex else g, of)
            out.append(g)
        return tuple(out)


walk.users = (FunctionRule,)


def _rule_of(cls: type[Function]) -> FunctionRule:
    """One rule a class, kept by the class itself."""
    found = cls.__dict__.get("_rule")
    if found is None:
        found = cls._rule = FunctionRule(cls)  # type: ignore[attr-defined]
    return found  # type: ignore[no-any-return]


def _zeros(shape_and_dtype: tuple[Any, Any], like: Any) -> Any:
    """Zeros on the device of `like`."""
    zeros = constant(0, *shape_and_dtype)
    return new(zeros if like is None else moved(zeros, device_of(like)))


def _finish_one(cls: type[Function], ctx: FunctionCtx, args: tuple[Any, ...], edges: tuple[Any, ...], out: Any) -> Any:
    """`_finish` for one new tensor, where nothing is marked."""
    node = _step(cls, ctx, args, edges)
    _keep(ctx, node, args, (out,))
    out._grad_fn = node
    out._rg = True
    return out


def _step(cls: type[Function], ctx: FunctionCtx, args: tuple[Any, ...], edges: tuple[Any, ...]) -> GradNode:
    tensors, shapes, dtypes = [], [], []
    for a in args:
        is_tensor = isinstance(a, Tensor)
        tensors.append(is_tensor)
        shapes.append(a.shape if is_tensor else None)
        dtypes.append(a.dtype if is_tensor else None)
    ctx._inputs = tuple(tensors)
    node = grad_node(_rule_of(cls), edges, (), tuple(shapes), tuple(dtypes))
    node.__dict__["_ctx"] = ctx
    return node


def _keep(ctx: FunctionCtx, node: GradNode, args: tuple[Any, ...], outs: tuple[Any, ...]) -> None:
    """What `save_for_backward` was given is kept with the step, by value."""
    saved: list[Any] = []
    for i, t in enumerate(ctx._to_save):
        if t is None:
            saved.append(None)
            continue
        if not isinstance(t, Tensor):
            raise TypeError(f"save_for_backward can only save variables, but argument {i} is of type "
                            f"{type(t).__name__}")
        own = None
        value, order = kept(t)
        for k, o in enumerate(outs):
            if o is t:
                own = k
                break
        if own is not None and (any(t is a for a in args) and not any(t is d for d in ctx._dirty)):
            own = None  # an input passed through: it is the input that was saved
        if own is not None and _differentiable(t, ctx):
            saved.append(Saved(value, None, own, True, order))
        else:
            edge = None if own is not None else edge_of(t)
            saved.append(Saved(value, edge, None, edge is not None, order))
    node._saved = tuple(saved)
    if mode.hooks:
        graph.packed(node, ctx._to_save, outs)
    ctx._to_save = ()


def _finish(cls: type[Function], ctx: FunctionCtx, args: tuple[Any, ...], edges: tuple[Any, ...],
            outs: tuple[Any, ...], live: bool) -> list[Any]:
    """The results of `forward` as `apply` returns them: aliases made, history set, tensors saved."""
    results = list(outs)
    if any(all(o is not d for o in outs) for d in ctx._dirty):
        raise RuntimeError("Some elements marked as dirty during the forward method were not returned as output. The "
                           "inputs that are modified inplace must all be outputs of the Function.")
    for k, o in enumerate(outs):
        if not isinstance(o, Tensor):
            continue
        if any(o is d for d in ctx._dirty):
            continue
        if any(o is a for a in args) or live and (o._rg or o._base is not None):
            results[k] = alias(o, o.shape, strides_of(o), o._offset if o._storage is not None else 0)
    if not live:
        ctx._to_save = ()
        return results
    node = _step(cls, ctx, args, edges)
    node.outputs = len(outs)
    node.__dict__["_out_meta"] = [(o.shape, o.dtype) if isinstance(o, Tensor) else None for o in outs]
    _keep(ctx, node, args, outs)
    for k, o in enumerate(outs):
        if not isinstance(o, Tensor) or not _differentiable(o, ctx):
            continue
        if any(o is d for d in ctx._dirty):
            if o._rg and o._grad_fn is None:
                raise RuntimeError("a leaf Variable that requires grad has been used in an in-place operation.")
            fresh = new(read(o))
            fresh._grad_fn, fresh._rg = node, True
            if k:
                fresh._output_nr = k
            results[k] = update(o, fresh)
            continue
        out = results[k]
        out._grad_fn, out._rg = node, True
        if k:
            out._output_nr = k
    ctx._dirty = ctx._fixed = ()
    return results


def _differentiable(t: Any, ctx: FunctionCtx) -> bool:
    return (t.dtype.is_floating_point or t.dtype.is_complex) and not any(t is f for f in ctx._fixed)


def _twice(ctx: Any, *grads: Any) -> Any:
    raise RuntimeError("trying to differentiate twice a function that was marked with @once_differentiable")


_TWICE = Rule("DelayedErrorBackward", _twice)


class InplaceFunction(Function):
    """A Function that is told whether it shall write in place: `self.inplace`."""

    def __init__(self, inplace: bool = False) -> None:
        super().__init__()
        self.inplace = inplace


def once_differentiable(function: Callable[..., Any]) -> Callable[..., Any]:
    """Decorates a `backward` that must not be differentiated itself."""
    @functools.wraps(function)
    def wrapper(ctx: Any, *args: Any) -> Any:
        recording = mode.grad
        mode.grad = False
        try:
            result = function(ctx, *args)
        finally:
            mode.grad = recording
        edges = tuple(edge_of(a) for a in args if isinstance(a, Tensor))
        if not recording or all(e is None for e in edges):
            return result
        outs = []
        for o in result if isinstance(result, tuple) else (result,):
            if isinstance(o, Tensor) and (o.dtype.is_floating_point or o.dtype.is_complex):
                o = alias(o, o.shape, strides_of(o), o._offset if o._storage is not None else 0)
                o._grad_fn = grad_node(_TWICE, edges, (), (), ())
                o._rg = True
            outs.append(o)
        return tuple(outs) if isinstance(result, tuple) else outs[0]
    return wrapper


class _VariableMeta(type):
    def __instancecheck__(cls, instance: Any) -> bool:
        return isinstance(instance, Tensor)

    def __call__(cls, data: Any = None, requires_grad: bool = False, volatile: bool = False) -> Any:
        from facula.ops.create.creation import empty
        if data is None:
            data = empty(0)
        t = data.detach()
        t._rg = bool(requires_grad)
        return t


class Variable(metaclass=_VariableMeta):
    """An old name of Tensor: `Variable(t)` is `t` without history."""
