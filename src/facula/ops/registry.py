"""One definition, every form: function, method, in-place, `out=`.

    @op(inplace=True, out=True)
    def cumsum(input, dim, *, dtype=None): ...

gives `facula.cumsum`, `Tensor.cumsum`, `Tensor.cumsum_` and `facula.cumsum(..., out=)`, all of one
`Operation` (`ops/op.py`).
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Sequence
from types import FunctionType
from typing import TYPE_CHECKING, Any, TypeVar, overload

from facula._tensor.assigning import update
from facula._tensor.handle import Tensor, device_of, inferred
from facula._tensor.outside import take_shape
from facula._tensor.reading import layout_of, read
from facula._tensor.refusing import refuse_itself, refuse_overlap, refuse_shared, refuse_write
from facula.autograd.graph import mode
from facula.dtypes import DTYPE_NAMES, can_cast
from facula.engine.graph.node import contiguous_strides, elsewhere
from facula.engine.session import session
from facula.engine.threads import others
from facula.errors import warn
from facula.ops.listening import noticed
from facula.ops.op import (
    FUNCTIONS,
    METHODS,
    NAMESPACES,
    Form,
    Operation,
    belongs,
    offer,
    operation_of,
    owner,
    signature_of,
    withdraw,
)
from facula.ops.out_types import APART, COMPUTES_IN_IT, check_out, converts
from facula.ops.result_layouts import ROW_MAJOR_OUT, ruled
from facula.ops.spelling import PARSED, parameters_of, respelled

if TYPE_CHECKING:
    from typing import Literal

Result = TypeVar("Result")
Names = tuple[str, ...]
Rules = tuple[Any, ...]
Body = TypeVar("Body", bound=Callable[..., Any])

__all__ = ["DTYPE_NAMES", "FUNCTIONS", "METHODS", "NAMESPACES", "alias_of", "also", "explained", "functional",
           "in_place", "method", "op", "store_out", "withdraw", "write_back"]


@overload
def op(fn: Body) -> Body: ...
@overload
def op(fn: Callable[..., Result], *, out: Literal[True], name: str | None = ..., function: bool = ...,
       method: bool = ..., inplace: bool = ..., namespace: str | None = ..., also: Names = ..., types: Any = ...,
       rules: Rules = ...) -> Callable[..., Result]: ...
@overload
def op(fn: Body, *, name: str | None = ..., function: bool = ..., method: bool = ..., inplace: bool = ...,
       out: bool = ..., namespace: str | None = ..., also: Names = ..., types: Any = ...,
       rules: Rules = ...) -> Body: ...
@overload
def op(*, out: Literal[True], name: str | None = ...,  # type: ignore[overload-overlap]
       function: bool = ..., method: bool = ..., inplace: bool = ..., namespace: str | None = ..., also: Names = ...,
       types: Any = ..., rules: Rules = ...) -> Callable[[Callable[..., Result]], Callable[..., Result]]: ...
@overload
def op(*, name: str | None = ..., function: bool = ..., method: bool = ..., inplace: bool = ...,
       out: bool = ..., namespace: str | None = ..., also: Names = ..., types: Any = ...,
       rules: Rules = ...) -> Callable[[Body], Body]: ...
def op(fn: Callable[..., Any] | None = None, *, name: str | None = None, function: bool = True,
       method: bool = True, inplace: bool = False, out: bool = False, namespace: str | None = None,
       also: Names = (), types: Any = None, rules: Rules = ()) -> Any:
    """Register an operation. `namespace` puts the function there instead of at the root, and there is no method then;
    `also` are further names of the same form, as `linalg.matmul` or `Tensor.narrow_copy`. `types` is its type rule
    (type_rules.py; a formula's body brings its own), `rules` are those of its gradient."""
    def decorate(body: Callable[..., Any]) -> Callable[..., Any]:
        public = name or body.__name__
        full = f"{namespace}.{public}" if namespace else public if function else f"Tensor.{public}"
        body = ruled(body, full)
        if isinstance(body, FunctionType):
            body.__name__ = public  # errors speak of it
        form = with_out(body) if out else body
        function_name = f"{namespace}.{public}" if namespace else public if function else None
        method_name = f"Tensor.{public}" if method and not namespace else None
        first = function_name or method_name or public
        operation = Operation(first, body, types or getattr(body, "types", None), rules)
        if function_name:
            plain = namespace == "nn.functional" and public not in PARSED
            offer(operation, function_name, form if out or plain else explained(body))
        if method_name:
            offer(operation, method_name, explained(body) if not out and _renamed(body) else form)
        if inplace:
            written = in_place(body, public)
            if function_name:
                offer(operation, function_name + "_", explained(written))
            if method_name:
                offer(operation, method_name + "_", written)
        for spelling in also:
            taken = not out and spelling.startswith("nn.functional.") and public in PARSED
            offer(operation, spelling, explained(body) if taken else form)
        belongs(form, operation)
        return form
    return decorate if fn is None else decorate(fn)


@overload
def functional(fn: Body) -> Body: ...
@overload
def functional(*, also: Names = ..., types: Any = ...) -> Callable[[Body], Body]: ...
def functional(fn: Any = None, *, also: Names = (), types: Any = None) -> Any:
    """Register a function of `nn.functional`. It is called as it stands: no wrapper is put around it."""
    return op(fn, namespace="nn.functional", also=also, types=types)


def method(fn: Body) -> Body:
    """Register a method of Tensor that is no operation: it has no other form."""
    offer(Operation("Tensor." + fn.__name__, fn), "Tensor." + fn.__name__, fn)
    return fn


def also(form: Form, *spellings: str) -> None:
    """Further names of a form: `linalg.matmul`, `Tensor.inverse`. A form of no operation begins one."""
    operation = operation_of(form)
    if operation is None:
        form = ruled(form, spellings[0])
        operation = Operation(spellings[0], inspect.unwrap(form))
    wrapped = None
    for spelling in spellings:
        space, _, name = spelling.rpartition(".")
        if not isinstance(form, FunctionType) or hasattr(form, "explained"):
            bare = True
        else:
            bare = not _renamed(form) if space == "Tensor" else space == "nn.functional" and name not in PARSED
        if not bare and wrapped is None:
            wrapped = explained(form)
        offer(operation, spelling, form if bare or wrapped is None else wrapped)


def also_with_out(form: Form, spelling: str) -> None:
    """Give what `also` has named so an `out=`."""
    operation = owner(spelling)
    assert operation is not None
    offer(operation, spelling, with_out(ruled(form, spelling)))


def _renamed(body: Callable[..., Any]) -> bool:
    """Has `body` an argument, but for the first, that NumPy has another name for? Methods without one are called as
    they stand."""
    return not {"dim", "keepdim", "other"}.isdisjoint(parameters_of(body)[1:])


def alias_of(public: str, *others: str) -> None:
    """Other public names of an operation (`arccos` of `acos`), in-place forms included."""
    for other in others:
        for prefix in ("", "Tensor."):
            for suffix in ("", "_"):
                operation = owner(prefix + public + suffix)
                if operation is not None:
                    offer(operation, prefix + other + suffix, operation.spellings[prefix + public + suffix])


# What a body stumbles over when an argument is of a type that it does not expect. Bodies do not look at the
# types of all their arguments: on the way to an error there is time for it, on the way to a result there is none.
MISTAKES = (AttributeError, TypeError, StopIteration, LookupError, ValueError, OverflowError, RuntimeError)


def explained(body: Callable[..., Any]) -> Callable[..., Any]:
    """`body`, with torch's TypeError for an argument of the wrong type."""
    @functools.wraps(body)
    def form(*args: Any, **kwargs: Any) -> Any:
        try:
            return body(*args, **kwargs)
        except MISTAKES as error:
            if noticed((*args, *kwargs.values())):
                return form(*args, **kwargs)
            again = respelled(body, args, kwargs, error, form.__name__)
            if again is None:
                explain(body, args, kwargs, error)
                raise
        return form(*again[0], **again[1])

    form.explained = True  # type: ignore[attr-defined]
    return form


def explain(body: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any], error: Exception) -> None:
    """Raise TypeError if an argument does not have the type that `body`'s annotation asks for."""
    if type(error) is TypeError and str(error).startswith(body.__name__ + "()"):
        return
    try:
        signature = signature_of(body)
        bound = signature.bind(*args, **kwargs)
    except TypeError:
        return
    for place, (name, parameter) in enumerate(signature.parameters.items()):
        if name not in bound.arguments or parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            continue
        value = bound.arguments[name]
        wanted = str(parameter.annotation)
        if wanted == "Tensor" and not isinstance(value, Tensor):
            expected = "Tensor"
        elif wanted == "int" and not hasattr(type(value), "__index__"):
            expected = "int"
        else:
            continue
        kind = type(value)
        module = kind.__module__.partition(".")[0]
        word = f"{module}.{kind.__name__}" if module == "numpy" else kind.__name__
        where = f" (position {place + 1})" if place < len(args) else ""
        raise TypeError(f"{body.__name__}(): argument '{name}'{where} must be {expected}, not {word}") from error


# Written in place, no operand of these may be what is written: places are read that are not those that are written.
_SCATTERING = frozenset(("index_add", "index_copy", "index_put", "index_reduce", "put", "scatter", "scatter_add",
                         "scatter_reduce"))
# Of these a value without dimensions is read before anything is written, and the index may not be what is written.
_FILLING = frozenset(("index_fill", "masked_fill"))


def _refuse(public: str, t: Tensor, operands: Sequence[Any]) -> None:
    """Raise what torch raises where `t`, which is to be written, and an operand share memory."""
    if public in _SCATTERING:
        refuse_shared(t, operands)
    elif public in _FILLING:
        operands = [x for x in operands if isinstance(x, Tensor) and x.shape]
        if t._storage is not None:
            refuse_overlap(t, operands)
        if public == "index_fill":
            refuse_shared(t, operands)
    elif t._storage is not None:
        refuse_overlap(t, operands)


def in_place(body: Callable[..., Any], public: str) -> Callable[..., Any]:
    name = public + "_"
    special = public in _SCATTERING or public in _FILLING

    @functools.wraps(body)
    def written(self: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        try:
            if special or self._storage is not None:
                _refuse(public, self, args if not kwargs else (*args, *kwargs.values()))
            if others:  # read and write in one
                with session.lock:
                    return write_back(self, body(self, *args, **kwargs), name)
            result = body(self, *args, **kwargs)
        except MISTAKES as error:
            again = respelled(body, (self, *args), kwargs, error, public)
            if again is None:
                explain(body, (self, *args), kwargs, error)
                raise
            return written(*again[0], **again[1])
        return write_back(self, result, name)
    written.__name__ = name
    return written


def write_back(t: Tensor, result: Tensor, what: str) -> Tensor:
    """`store`, with a short way for what nearly always comes: a whole tensor, written without history. Where there are
    other threads the caller has taken his turn."""
    if inferred:
        refuse_write(t)
    if not session.plain:
        return store(t, result, what)
    if not result._rg and result.dtype is t.dtype and result.shape == t.shape and not (t._rg and mode.grad):
        storage = t._storage
        if storage is None:
            t._node = result._node or read(result)
            t._seen += 1
            return t
        base = storage.node
        if t._base is None and not storage.shared and base.shape == t.shape and base.dtype is t.dtype \
                and t._strides == contiguous_strides(t.shape):
            storage.node = result._node or read(result)
            storage.version += 1
            return t
    return store(t, result, what)


def store(t: Tensor, result: Tensor, what: str) -> Tensor:
    """Write `result` into `t`, with torch's checks."""
    if result.shape != t.shape:
        raise RuntimeError(f"{what}: output with shape {list(t.shape)} doesn't match the broadcast shape "
                           f"{list(result.shape)}")
    if result.dtype is not t.dtype:
        if not can_cast(result.dtype, t.dtype):
            raise RuntimeError(f"result type {DTYPE_NAMES[result.dtype.name]} can't be cast to the desired output "
                               f"type {DTYPE_NAMES[t.dtype.name]}")
        if what == "abs_" and t.dtype.is_complex:  # alone among what gives real numbers of complex ones
            raise RuntimeError("In-place abs is not supported for complex tensors.")
        from facula.ops.casting import to_dtype
        result = to_dtype(result, t.dtype)
    return update(t, result)


def with_out(body: Callable[..., Any]) -> Callable[..., Any]:
    name = body.__name__

    @functools.wraps(body)
    def form(*args: Any, out: Any = None, **kwargs: Any) -> Any:
        if out is None:
            try:
                return body(*args, **kwargs)
            except MISTAKES as error:
                if noticed((*args, *kwargs.values())):
                    return form(*args, **kwargs)
                again = respelled(body, args, kwargs, error, form.__name__)
                if again is None:
                    explain(body, args, kwargs, error)
                    raise
            return form(*again[0], **again[1])
        if others:  # `out` may be an operand: read and write in one
            with session.lock:
                return computed(out, args, kwargs)
        return computed(out, args, kwargs)

    def computed(out: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if name in APART:
            given: list[Any] = [*args, *kwargs.values()][:1 if name == "gather" else None]
            for o in (out,) if isinstance(out, Tensor) else [o for o in out if isinstance(o, Tensor)]:
                refuse_itself(o, given[0] if given and isinstance(given[0], (tuple, list)) else given)
        elif name in COMPUTES_IN_IT and isinstance(out, Tensor):
            if kwargs.get("dtype") is None:
                kwargs = {**kwargs, "dtype": out.dtype}
            elif name.startswith("cum"):
                check_out(name, kwargs["dtype"], out.dtype)
        try:
            result = body(*args, **kwargs)
        except MISTAKES as error:
            again = respelled(body, args, kwargs, error, form.__name__)
            if again is None:
                explain(body, args, kwargs, error)
                raise
            result = body(*again[0], **again[1])
        if isinstance(result, Tensor) is not isinstance(out, Tensor) or not (
                isinstance(out, Tensor) or all(isinstance(o, Tensor) for o in out)):
            wanted = "Tensor" if isinstance(result, Tensor) else "tuple of Tensors"
            raise TypeError(f"{form.__name__}(): argument 'out' must be {wanted}, not {type(out).__name__}")
        if isinstance(out, Tensor):
            if out._storage is not None:
                refuse_overlap(out, args[0] if args and isinstance(args[0], (tuple, list)) else args)
            return store_out(out, result, "" if converts(name, args, kwargs) else name, name not in ROW_MAJOR_OUT)
        if len(out) != len(result):
            raise TypeError(f"{name}: out= takes {len(result)} tensors, got {len(out)}")
        for o, r in zip(out, result, strict=False):
            if o._storage is not None:
                refuse_overlap(o, args)
            store_out(o, r, name)
        return type(result)(out) if not hasattr(result, "_fields") else type(result)(*out)

    form.explained = True  # type: ignore[attr-defined]
    return form


def store_out(out: Tensor, result: Tensor, what: str, alike: bool = True, quiet: bool = False) -> Tensor:
    """Write `result` into `out`, resizing it as torch does: so that it lies as the result, if `alike`; with a warning
    unless `quiet`."""
    if out._rg or result._rg:
        raise RuntimeError(f"{what}(): functions with out=... arguments don't support automatic differentiation, "
                           "but one of the arguments requires grad.")
    if result.dtype is not out.dtype:
        check_out(what, result.dtype, out.dtype)
        if not can_cast(result.dtype, out.dtype):
            refusal = TypeError if what in ("cat", "concat", "concatenate") else RuntimeError
            raise refusal(
                f"result type {DTYPE_NAMES[result.dtype.name]} can't be cast to the desired output type "
                f"{DTYPE_NAMES[out.dtype.name]}"
            )
        from facula.ops.casting import to_dtype
        result = to_dtype(result, out.dtype)
    if elsewhere and device_of(out) is not device_of(result):
        raise RuntimeError(f"Attempting to copy from device {result.device} to device {out.device}, but cross-device "
                           "copies are not allowed!")
    if result.shape != out.shape:
        if 0 not in out.shape and not quiet:
            warn(f"An output with one or more elements was resized since it had shape {list(out.shape)}, "
                 f"which does not match the required output shape {list(result.shape)}. This behavior is "
                 "deprecated.", UserWarning)
        take_shape(out, result.shape)  # a view stays one: what is written goes to its base
        layout = layout_of(result)
        if alike and layout is not None:
            out._strides = layout[1]
    return update(out, result)
