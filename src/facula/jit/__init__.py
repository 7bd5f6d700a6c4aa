"""`torch.jit`: scripted programs run as the Python that they are, traced ones as graphs that can be saved.

    _script.py         script, ScriptFunction, ScriptModule
    _trace.py          trace, trace_module, what they give
    _capture.py        the program of a call, with as many sizes open as it allows
    _serialization.py  save, load

Facula compiles whatever runs, so `script` compiles nothing, and the decorators that tell PyTorch's scripting compiler
what to leave alone give back what they are given.

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
from facula.futures import Future
from facula.jit._capture import TracerWarning
from facula.jit._script import PLAIN as _PLAIN
from facula.jit._script import RecursiveScriptModule, ScriptFunction, ScriptModule, script
from facula.jit._serialization import load, save
from facula.jit._state import is_tracing
from facula.jit._trace import TopLevelTracedModule, TracedModule, trace, trace_module

Final = typing.Final
Error = type("Error", (RuntimeError,), {"__doc__": "What PyTorch raises of a scripted program; nothing raises it here.",
                                        "__module__": __name__})
CompilationUnit = absent.kind("torch.jit.CompilationUnit", _PLAIN)

__all__ = ["Attribute", "CompilationUnit", "Error", "Final", "Future", "RecursiveScriptModule", "ScriptFunction",
           "ScriptModule", "TopLevelTracedModule", "TracedModule", "TracerWarning", "annotate", "export",
           "export_opnames", "fork", "freeze", "ignore", "interface", "is_scripting", "is_tracing", "isinstance",
           "load", "onednn_fusion_enabled", "optimize_for_inference", "optimized_execution", "save", "script",
           "script_if_tracing", "script_method", "strict_fusion", "trace", "trace_module", "unused", "wait"]


def script_if_tracing(fn: Any) -> Any:
    """The function itself: it runs as Python, traced or not."""
    return fn


script_method = export = interface = script_if_tracing


def ignore(drop: Any = False, **kwargs: Any) -> Any:
    """The function itself, as decorator with and without arguments: nothing is left out."""
    return drop if callable(drop) else lambda fn: fn


def unused(fn: Any) -> Any:
    """The function itself: nothing is left out."""
    return fn


def fork(func: Callable[..., Any], *args: Any, **kwargs: Any) -> Future:
    """A Future of what a function gives, which is called now: what it computes is recorded, and computed when a value
    is asked for, like everything else.

    Example:
        >>> import facula
        >>> promised = facula.jit.fork(facula.add, facula.ones(2), 1)
        >>> facula.jit.wait(promised)
        tensor([2., 2.])
    """
    promised = Future()
    promised.set_result(func(*args, **kwargs))
    return promised


def wait(future: Future) -> Any:
    """What `fork` has promised."""
    return future.wait()


def export_opnames(m: Any) -> list[str]:
    """The operations of a traced module, in alphabetical order.

    Raises:
        NotImplementedError: a module that was scripted has no graph.

    Example:
        >>> import facula
        >>> facula.jit.export_opnames(facula.jit.trace(facula.nn.Linear(1, 1), facula.ones(1, 1)))
        ['aten::linear']
    """
    names = set()
    for graph in m._compiled("a list of operations").values():
        for node in graph.graph.nodes:
            target = str(node.target)
            if node.op == "call_function" and target.startswith("aten."):
                _, name, overload = target.split(".")
                names.add(f"aten::{name}" + ("" if overload == "default" else f".{overload}"))
    return sorted(names)


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


class ScriptWarning(Warning):
    """Of what scripting changes in a module: nothing, here."""


class TracingCheckError(Exception):
    """A trace that another run contradicts: never raised here."""


def __getattr__(name: str) -> Any:
    raise absent.missing("jit", name)
