"""Marks for PyTorch's scripting compiler under the names that libraries import them by (`torch._jit_internal`)."""

from __future__ import annotations

from typing import Any, Final

from facula.jit import _overload, _overload_method, export, ignore, is_scripting, is_tracing, unused

__all__ = ["Final", "_overload", "_overload_method", "boolean_dispatch", "export", "ignore", "is_scripting",
           "is_tracing", "unused"]


def boolean_dispatch(arg_name: str, arg_index: int, default: bool, if_true: Any, if_false: Any, module_name: str,
                     func_name: str) -> Any:
    """A function that is `if_true` or `if_false`, as one of its arguments says."""
    def fn(*args: Any, **kwargs: Any) -> Any:
        chosen = kwargs.get(arg_name, args[arg_index] if arg_index < len(args) else default)
        return (if_true if chosen else if_false)(*args, **kwargs)
    fn.__name__ = func_name
    fn.__doc__ = if_true.__doc__ or if_false.__doc__
    return fn
