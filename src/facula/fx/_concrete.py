"""The arguments of a traced function: placeholders, and what is known of arguments beforehand (`concrete_args`)."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from types import CodeType, FunctionType
from typing import Any

import facula
from facula.errors import warn
from facula.fx._codegen import _PyTreeCodeGen, _PyTreeInfo
from facula.utils import _pytree as pytree

HAS_VARSTUFF = inspect.CO_VARARGS | inspect.CO_VARKEYWORDS


class PHBase:
    """An argument, or a part of one, that is not known beforehand: `PH` in `concrete_args`."""

    def __repr__(self) -> str:
        return "PH"


PH = PHBase()


class PHWithMeta(PHBase):
    """One whose attributes the placeholder gets."""

    def __init__(self, ph_key: str | None = None) -> None:
        super().__init__()
        self.ph_key = ph_key


def _assert_is_none(value: Any, msg: str) -> None:
    """AssertionError unless `value` is None."""
    if value is not None:
        raise AssertionError(msg)


_assert_is_none.__module__ = "facula.fx._symbolic_trace"  # where generated code calls it


def _transfer_attrs(fr: Any, to: Any) -> None:
    for name in dir(fr):
        value = getattr(fr, name)
        if not callable(value) and not name.startswith("__") and not hasattr(to, name):
            setattr(to, name, value)


def _patch_function(fn: FunctionType, nargs: int) -> FunctionType:
    """`fn` with `*args`, `**kwargs` and arguments by name as further positional ones, `nargs` in all: what is traced
    gets a Proxy for each."""
    code: CodeType = fn.__code__.replace(
        co_argcount=nargs, co_posonlyargcount=0, co_kwonlyargcount=0,
        co_flags=fn.__code__.co_flags & ~HAS_VARSTUFF)
    return FunctionType(code, fn.__globals__, fn.__name__, fn.__defaults__, fn.__closure__)


def annotation_of(fn: Any, name: str) -> Any:
    """What a function says of the type of an argument, or of its result ("return"). Facula's own functions say nothing
    to programs: where PyTorch's have annotations at all, they have others."""
    if str(getattr(fn, "__module__", "")).partition(".")[0] == "facula":
        return None
    return getattr(fn, "__annotations__", {}).get(name)


class Arguments:
    """Makes the placeholders of one function."""

    def __init__(self, tracer: Any, fn: Any, is_module: bool, concrete: dict[str, Any] | None) -> None:
        self.tracer, self.is_module, self.concrete = tracer, is_module, concrete
        self.analysed: Any = inspect.unwrap(fn)
        self.signature = inspect.signature(self.analysed)
        self.sizes = 0

    def placeholder(self, name: str) -> Any:
        """The Proxy of an argument, or what is known of it, with a check that it is so."""
        if self.concrete is not None and name in self.concrete:
            return self._known(name, self.concrete[name])
        if name.startswith("*"):
            default: tuple[Any, ...] = ()
        else:
            given = self.signature.parameters[name].default
            default = () if given is inspect.Parameter.empty else (given,)
        return self.tracer.create_proxy("placeholder", name, default, {},
                                        type_expr=annotation_of(self.analysed, name))

    def _known(self, name: str, value: Any) -> Any:
        count = 0

        def replaced(part: Any) -> Any:
            nonlocal count
            count += 1
            parameter = self.signature.parameters[name]
            default = () if parameter.default is inspect.Parameter.empty else (parameter.default,)
            if isinstance(part, PHBase):
                proxy = self.tracer.create_proxy("placeholder", f"{name}_{count}",
                                                 default if part is value else (), {})
                if part is not PH:
                    _transfer_attrs(fr=part, to=proxy.node)
                return proxy
            out = self.tracer.create_proxy("placeholder", f"{name}_{count}", default if part is value else (), {})
            message = f"{name} has been specialized to have value {part} but got another value"
            if isinstance(part, (bool, int, float, str)) and not isinstance(part, facula.Tensor):
                facula._assert(out == part, message)
            elif part is None:
                self.tracer.create_proxy("call_function", _assert_is_none, (out, message), {})
            else:
                warn(f"Was not able to add assertion to guarantee correct input {name} to specialized function. It is "
                     "up to the user to make sure that your inputs match the inputs you specialized the function with.")
            return part
        return pytree.tree_map(replaced, value)


def create_args(tracer: Any, root_fn: Any, is_module: bool,
                concrete_args: dict[str, Any] | tuple[Any, ...] | None = None) -> tuple[Callable[..., Any], list[Any]]:
    """The function to call and the arguments to call it with."""
    fn: Any = inspect.unwrap(root_fn)
    code = fn.__code__
    total = code.co_argcount + code.co_kwonlyargcount
    names = list(code.co_varnames[:total])
    args: list[Any] = []
    if is_module:
        if total == 0:
            raise RuntimeError("``self`` argument cannot be part of *args expansion!")
        args.append(tracer.root)
        names = names[1:]
    if isinstance(concrete_args, tuple):
        if len(names) != len(concrete_args):
            raise RuntimeError(f"Tracing expected {len(names)} arguments but got {len(concrete_args)} concrete "
                               "arguments")
        concrete_args = dict(zip(names, concrete_args, strict=True))
    maker = Arguments(tracer, fn, is_module, concrete_args)
    args += [maker.placeholder(name) for name in names]
    if code.co_kwonlyargcount > 0 or code.co_flags & HAS_VARSTUFF:
        if code.co_flags & inspect.CO_VARARGS:
            args.append(maker.placeholder("*" + code.co_varnames[total]))
        if code.co_flags & inspect.CO_VARKEYWORDS:
            at = total + bool(code.co_flags & inspect.CO_VARARGS)
            args.append(maker.placeholder("**" + code.co_varnames[at]))
        root_fn = _patch_function(fn, len(args))
    flat, in_spec = pytree.tree_flatten(tuple(args))
    if all(child.is_leaf() for child in in_spec.children()):
        return root_fn, args
    offset = 1 if is_module else 0
    tracer.graph._codegen = _PyTreeCodeGen(_PyTreeInfo(names, pytree.tree_structure(tuple(args[offset:])), None))

    def flat_fn(*flat_args: Any) -> Any:
        out = root_fn(*pytree.tree_unflatten(list(flat_args), in_spec))
        results, out_spec = pytree.tree_flatten(out)
        codegen = tracer.graph._codegen
        codegen.pytree_info = codegen.pytree_info._replace(out_spec=out_spec)
        return results
    return flat_fn, flat
