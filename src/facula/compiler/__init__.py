"""`torch.compiler`: questions and marks for PyTorch's compiler, which programs are written around.

Facula compiles whatever runs, as it runs, and has no stage in which a program is traced: so nothing is "compiling"
(`is_compiling()` is False), `compile` gives back what it is given, and marks that tell the tracer what to leave alone
give back the function itself.

Example:
    >>> import facula
    >>> facula.compiler.is_compiling(), facula.compiler.is_exporting()
    (False, False)
    >>> @facula.compiler.disable
    ... def f(x): return x + 1
    >>> f(1)
    2
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

from facula import absent
from facula._tensor.inquiries import compile

__all__ = ["allow_in_graph", "assume_constant_result", "compile", "cudagraph_mark_step_begin", "disable",
           "get_default_backend", "is_compiling", "is_dynamo_compiling", "is_exporting", "list_backends",
           "nested_compile_region", "reset", "set_default_backend", "set_stance", "substitute_in_graph", "wrap_numpy"]

Mark = Callable[..., Any]


def is_compiling() -> bool:
    """False: no program is being traced; Facula compiles what has been recorded."""
    return False


is_dynamo_compiling = is_exporting = is_compiling


def reset() -> None:
    """Forget what PyTorch's compiler has traced: nothing was."""


cudagraph_mark_step_begin = reset


def disable(fn: Any = None, recursive: bool = True, *, reason: str | None = None) -> Any:
    """`fn` itself, as function or decorator: there is no tracer to keep out."""
    return fn if fn is not None else lambda function: function


def allow_in_graph(fn: Any) -> Any:
    """`fn` itself (or the list of them): nothing is traced.

    Raises:
        AssertionError: not callable.
    """
    if isinstance(fn, (list, tuple)):
        return [allow_in_graph(f) for f in fn]
    if not callable(fn):
        raise AssertionError("allow_in_graph expects a callable")
    return fn


def assume_constant_result(fn: Any) -> Any:
    """`fn` itself: it is called each time, so nothing is assumed."""
    return fn


def nested_compile_region(fn: Any = None, **options: Any) -> Any:
    """`fn` itself: every region is compiled alike."""
    return fn if fn is not None else lambda function: function


def substitute_in_graph(original_fn: Any, *, can_constant_fold_through: bool = False,
                        skip_signature_check: bool = False, **options: Any) -> Callable[[Any], Any]:
    """A decorator that gives back the function: nothing is traced, so nothing is substituted."""
    return lambda traceable: traceable


def wrap_numpy(fn: Any) -> Any:
    """Not in Facula: NumPy is not traced."""
    raise absent.refusal("torch.compiler.wrap_numpy", "call the function with arrays, torch.from_numpy its results")


def list_backends(exclude_tags: Any = ("debug", "experimental")) -> list[str]:
    """The compilers to choose from: Facula's own.

    Example:
        >>> import facula
        >>> facula.compiler.list_backends()
        ['facula']
    """
    return ["facula"]


def get_default_backend() -> str:
    """'facula'."""
    return "facula"


def set_default_backend(backend: Any) -> None:
    """Accepts 'facula', and None. NotInFacula for others."""
    if backend not in ("facula", None):
        raise absent.refusal(f"torch.compiler.set_default_backend({backend!r})", "Facula compiles by itself")


@contextlib.contextmanager
def _stance() -> Iterator[None]:
    yield


def set_stance(stance: str = "default", *, skip_guard_eval_unsafe: bool = False, force_backend: Any = None) -> Any:
    """Accepted, also as context manager and decorator: how PyTorch's compiler is to behave changes nothing here.

    Raises:
        RuntimeError: an unknown stance.
    """
    known = ("default", "force_eager", "eager_on_recompile", "fail_on_recompile", "eager_then_compile",
             "aot_eager_then_compile")
    if stance not in known:
        raise RuntimeError(f"invalid torch.compile stance {stance!r}, expected one of {', '.join(known)}")
    return _stance()


def __getattr__(name: str) -> Any:
    raise absent.missing("compiler", name)
