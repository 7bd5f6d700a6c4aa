"""`torch._dynamo`: what libraries touch of PyTorch's tracer. Facula traces no program (see `facula.compiler`): marks
give back what they are given, questions are answered with no, and options are kept without effect.

Example:
    >>> import facula
    >>> facula._dynamo.is_compiling()
    False
"""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

from facula import absent
from facula._dynamo import _trace_wrapped_higher_order_op, exc
from facula.compiler import (
    allow_in_graph,
    assume_constant_result,
    disable,
    is_compiling,
    list_backends,
    nested_compile_region,
    reset,
    set_stance,
    substitute_in_graph,
)

__all__ = ["OptimizedModule", "allow_in_graph", "assume_constant_result", "config", "disable", "disallow_in_graph",
           "exc", "forbid_in_graph", "graph_break", "is_compiling", "list_backends", "mark_dynamic",
           "mark_static", "mark_static_address", "maybe_mark_dynamic", "nested_compile_region", "optimize", "reset",
           "run", "set_stance", "substitute_in_graph", "_trace_wrapped_higher_order_op"]


class _Options(SimpleNamespace):
    """Options of the tracer. Each is None until a program sets it; none has an effect."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return None

    def patch(self, *args: Any, **changes: Any) -> Any:
        """A context in which options are others; here a context without an effect."""
        import contextlib
        return contextlib.nullcontext()


config = _Options()
OptimizedModule = absent.kind("torch._dynamo.OptimizedModule", "torch.compile gives back the module itself")


def graph_break(msg: str = "") -> None:
    """Nothing: no graph of a program is made that could be broken."""


def mark_dynamic(t: Any, index: Any, **options: Any) -> None:
    """Nothing: kernels serve all sizes where they can."""


maybe_mark_dynamic = mark_static = mark_dynamic


def mark_static_address(t: Any, guard: bool = True) -> None:
    """Nothing: a tensor's address does not matter to what is compiled."""


def disallow_in_graph(fn: Any) -> Any:
    """`fn` itself."""
    return fn


forbid_in_graph = disallow_in_graph


def run(fn: Any = None) -> Any:
    """`fn` itself, as function or decorator."""
    return fn if fn is not None else lambda function: function


def optimize(*args: Any, **options: Any) -> Callable[[Any], Any]:
    """A decorator that gives back the function, as `facula.compile` does."""
    return lambda function: function


def __getattr__(name: str) -> Any:
    raise absent.missing("_dynamo", name)
