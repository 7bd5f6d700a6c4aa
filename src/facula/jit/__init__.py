"""`torch.jit`, as far as programs use it without a file: scripted functions run as the Python that they are.

Facula compiles whatever runs, so `script` gives back what it is given, and the decorators that tell PyTorch's scripting
compiler what to leave alone do so too; a scripted module is the module. Tracing, saving and loading programs are not in
Facula yet, and say so.

Example:
    >>> import facula
    >>> @facula.jit.script
    ... def double(x: facula.Tensor) -> facula.Tensor: return 2 * x
    >>> double(facula.ones(1))
    tensor([2.])
    >>> facula.jit.is_scripting(), facula.jit.is_tracing()
    (False, False)
"""

from __future__ import annotations

import contextlib
import typing
from collections.abc import Callable, Iterator
from typing import Any

from facula import absent
from facula.nn.modules.module import Module

_PLAIN = "call the function itself, Facula compiles what it does"
_FILES = "save the state_dict (torch.save) and build the module from its class"
Final = typing.Final
Error = type("Error", (RuntimeError,), {"__doc__": "What PyTorch raises of a scripted program; nothing raises it here.",
                                        "__module__": __name__})
trace = absent.function("torch.jit.trace", _PLAIN)
trace_module = absent.function("torch.jit.trace_module", _PLAIN)
save = absent.function("torch.jit.save", _FILES)
load = absent.function("torch.jit.load", _FILES)
fork = absent.function("torch.jit.fork", "call the function")
wait = absent.function("torch.jit.wait", "call the function")
ScriptFunction = absent.kind("torch.jit.ScriptFunction", _PLAIN)
TracedModule = absent.kind("torch.jit.TracedModule", _PLAIN)
TopLevelTracedModule = absent.kind("torch.jit.TopLevelTracedModule", _PLAIN)
RecursiveScriptModule = absent.kind("torch.jit.RecursiveScriptModule", _PLAIN)
CompilationUnit = absent.kind("torch.jit.CompilationUnit", _PLAIN)

__all__ = ["Attribute", "CompilationUnit", "Error", "Final", "RecursiveScriptModule", "ScriptFunction", "ScriptModule",
           "TopLevelTracedModule", "TracedModule", "annotate", "export", "fork", "freeze", "ignore", "interface",
           "is_scripting", "is_tracing", "isinstance", "load", "onednn_fusion_enabled", "optimize_for_inference",
           "optimized_execution", "save", "script", "script_if_tracing", "script_method", "strict_fusion", "trace",
           "trace_module", "unused", "wait"]


class ScriptModule(Module):
    """A module whose methods are marked with `script_method`: here a module like any other."""


def script(obj: Any = None, optimize: Any = None, _frames_up: int = 0, _rcb: Any = None,
           example_inputs: Any = None) -> Any:
    """The function, class or module itself: it runs as Python, and Facula compiles what it does.

    Example:
        >>> import facula
        >>> net = facula.nn.Linear(1, 1)
        >>> facula.jit.script(net) is net
        True
    """
    return obj


def script_if_tracing(fn: Any) -> Any:
    """The function itself: nothing is traced."""
    return fn


script_method = export = interface = script_if_tracing


def ignore(drop: Any = False, **kwargs: Any) -> Any:
    """The function itself, as decorator with and without arguments: nothing is left out."""
    return drop if callable(drop) else lambda fn: fn


def unused(fn: Any) -> Any:
    """The function itself: nothing is left out."""
    return fn


def annotate(the_type: Any, the_value: Any) -> Any:
    """The value: types are Python's affair here."""
    return the_value


def Attribute(value: Any, type: Any) -> Any:
    """The value: types are Python's affair here."""
    return value


def isinstance(obj: Any, target_type: Any) -> bool:
    """Is it of that type? Of `List[int]` and the like the container and all that is in it are asked.

    Example:
        >>> import facula
        >>> facula.jit.isinstance([1, 2], list[int]), facula.jit.isinstance([1, "a"], list[int])
        (True, False)
    """
    import builtins
    origin, inner = typing.get_origin(target_type), typing.get_args(target_type)
    if builtins.isinstance(target_type, tuple):
        return any(isinstance(obj, one) for one in target_type)
    if origin is None:
        return target_type is Any or builtins.isinstance(obj, target_type)
    if origin is typing.Union or getattr(origin, "__name__", "") == "UnionType":
        return any(obj is None if one is type(None) else isinstance(obj, one) for one in inner)
    if not builtins.isinstance(obj, origin):
        return False
    if origin is dict:
        return all(isinstance(k, inner[0]) and isinstance(v, inner[1]) for k, v in obj.items())
    if origin is tuple and Ellipsis not in inner:
        return len(obj) == len(inner) and all(map(isinstance, obj, inner))
    return all(isinstance(one, inner[0]) for one in obj)


def is_scripting() -> bool:
    """False: no function is being scripted."""
    return False


is_tracing = is_scripting


def freeze(mod: Any, preserved_attrs: Any = None, optimize_numerics: bool = True) -> Any:
    """The module itself.

    Raises:
        RuntimeError: it is in training mode.
    """
    if getattr(mod, "training", False):
        raise RuntimeError("Freezing is currently only implemented for modules in eval mode. Please call .eval() on "
                           "your module before freezing.")
    return mod


def optimize_for_inference(mod: Any, other_methods: Any = None) -> Any:
    """The module itself."""
    return mod


@contextlib.contextmanager
def optimized_execution(should_optimize: bool) -> Iterator[None]:
    """Accepted: how PyTorch's interpreter is to run changes nothing here."""
    yield


class strict_fusion:
    """Accepted as a context: nothing is checked."""

    def __enter__(self) -> None:
        pass

    def __exit__(self, *exc: object) -> None:
        pass


def onednn_fusion_enabled() -> bool:
    """False: there is no oneDNN."""
    return False


def enable_onednn_fusion(enabled: bool) -> None:
    """Accepted: there is no oneDNN."""


def set_fusion_strategy(strategy: Any) -> list[Any]:
    """Accepted: Facula fuses by itself. Gives the strategy that was set, none."""
    return []


def _overload(func: Callable[..., Any]) -> Callable[..., Any]:
    return func


_overload_method = _script_if_tracing = _overload


def __getattr__(name: str) -> Any:
    raise absent.missing("jit", name)
