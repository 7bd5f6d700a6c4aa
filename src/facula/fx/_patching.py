"""What is exchanged while a function is traced, and put back afterwards: `wrap`, and the calls of modules.

Functions named by `wrap` are replaced in their modules by ones that record a call where a Proxy is among the arguments.
"""

from __future__ import annotations

import builtins
import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FunctionType
from typing import Any, TypeVar

from facula.fx.proxy import Proxy
from facula.utils._pytree import tree_iter

_F = TypeVar("_F", bound=Callable[..., Any])

# (id of a module's globals, name): those globals; and methods (class, name).
_wrapped_fns_to_patch: dict[tuple[int, str], dict[str, Any]] = {}
_wrapped_methods_to_patch: list[tuple[type, str]] = []
_proxyable_classes: dict[type, None] = {}
_MISSING = object()


def _find_proxy(*objects_to_search: Any) -> Proxy | None:
    """A Proxy among the objects, or in their containers."""
    for value in tree_iter(objects_to_search):
        if isinstance(value, Proxy):
            return value
        if isinstance(value, slice):
            found = _find_proxy(value.start, value.stop, value.step)
            if found is not None:
                return found
    return None


def _create_wrapped_func(orig_fn: _F) -> _F:
    """`orig_fn`, recorded as a call where a Proxy is among its arguments."""
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        proxy = _find_proxy(args, kwargs)
        if proxy is None:
            return orig_fn(*args, **kwargs)
        found = proxy.tracer.create_proxy("call_function", orig_fn, args, kwargs)
        found.node.meta["is_wrapped"] = True
        return found
    for name in ("__module__", "__name__", "__qualname__", "__doc__"):
        if hasattr(orig_fn, name):
            setattr(wrapped, name, getattr(orig_fn, name))
    wrapped.__wrapped__ = orig_fn  # type: ignore[attr-defined]
    return wrapped  # type: ignore[return-value]


def _create_wrapped_method(cls: type, name: str) -> Callable[..., Any]:
    """A method of `cls`, recorded as a call where a Proxy is among its arguments."""
    orig_fn = getattr(cls, name)

    def wrapped(*args: Any, **kwargs: Any) -> Any:
        proxy = _find_proxy(args, kwargs)
        if proxy is None:
            return orig_fn(*args, **kwargs)
        return proxy.tracer.create_proxy("call_method", name, args, kwargs)
    return wrapped


class _Patcher:
    """Exchanges entries of namespaces and methods of classes, and puts them back, the last one first."""

    def __init__(self) -> None:
        self.patches_made: list[tuple[Any, str, Any, Any]] = []
        self.visited: set[int] = set()

    def patch(self, frame_dict: dict[str, Any], name: str, new_fn: Callable[..., Any],
              deduplicate: bool = True) -> None:
        """Have `name` mean `new_fn` in a namespace; once, unless `deduplicate` is False."""
        before = frame_dict.get(name, _MISSING)
        if deduplicate and hasattr(before, "_fx_already_patched"):
            return
        new_fn._fx_already_patched = deduplicate  # type: ignore[attr-defined]
        self.patches_made.append((frame_dict, name, before, new_fn))
        frame_dict[name] = new_fn

    def patch_method(self, cls: type, name: str, new_fn: Callable[..., Any], deduplicate: bool = True) -> None:
        """Have a method be another function."""
        before = vars(cls).get(name, _MISSING)
        if deduplicate and hasattr(before, "_fx_already_patched"):
            return
        new_fn._fx_already_patched = deduplicate  # type: ignore[attr-defined]
        self.patches_made.append((cls, name, before, new_fn))
        setattr(cls, name, new_fn)

    def visit_once(self, thing: Any) -> bool:
        """Is it the first time that somebody comes with `thing`?"""
        first = id(thing) not in self.visited
        self.visited.add(id(thing))
        return first

    def revert_all_patches(self) -> list[tuple[Any, str, Any, Any]]:
        """Have everything be as it was."""
        for owner, name, before, _ in reversed(self.patches_made):
            _put(owner, name, before)
        return self.patches_made

    def reapply_all_patches(self) -> list[tuple[Any, str, Any, Any]]:
        """Exchange again what `revert_all_patches` put back."""
        for owner, name, _, new in self.patches_made:
            _put(owner, name, new)
        return self.patches_made

    def __enter__(self) -> _Patcher:
        return self

    def __exit__(self, *exc: object) -> None:
        while self.patches_made:
            owner, name, before, _ = self.patches_made.pop()
            _put(owner, name, before)
        self.visited.clear()


def _put(owner: Any, name: str, value: Any) -> None:
    if isinstance(owner, dict):
        if value is _MISSING:
            owner.pop(name, None)
        else:
            owner[name] = value
    elif value is _MISSING:
        delattr(owner, name)
    else:
        setattr(owner, name, value)


class _Current:
    """The patcher of the tracing that is under way."""

    patcher: _Patcher | None = None


@contextmanager
def _new_patcher() -> Iterator[_Patcher]:
    before = _Current.patcher
    try:
        with _Patcher() as patcher:
            _Current.patcher = patcher
            yield patcher
    finally:
        _Current.patcher = before


@contextmanager
def _maybe_revert_all_patches() -> Iterator[None]:
    """Within it everything is as it is outside of tracing."""
    patcher = _Current.patcher
    try:
        if patcher is not None:
            patcher.revert_all_patches()
        yield
    finally:
        if patcher is not None:
            patcher.reapply_all_patches()


def _patch_wrapped_functions(patcher: _Patcher) -> None:
    """Exchange what `wrap` has named."""
    for (_, name), space in list(_wrapped_fns_to_patch.items()):
        if name not in space and hasattr(builtins, name):
            orig_fn = getattr(builtins, name)
        elif name in space:
            orig_fn = space[name]
        else:
            continue
        patcher.patch(space, name, _create_wrapped_func(orig_fn))
    for cls, name in _wrapped_methods_to_patch:
        patcher.patch_method(cls, name, _create_wrapped_method(cls, name))


def _autowrap_check(patcher: _Patcher, frame_dict: dict[str, Any], function_ids: set[int]) -> None:
    """Exchange the functions of `function_ids` in a namespace that has not been looked at yet."""
    if patcher.visit_once(frame_dict):
        for name, value in list(frame_dict.items()):
            if not name.startswith("_") and callable(value) and id(value) in function_ids:
                patcher.patch(frame_dict, name, _create_wrapped_func(value))


def wrap(fn_or_name: str | Callable[..., Any]) -> Any:
    """Have calls of a function of this module recorded as they are, not traced into. At a module's top level:
    `wrap("name")`, also of a builtin function (`wrap("len")`), or as a decorator.

    Raises:
        RuntimeError: neither a function nor a name.
        NotImplementedError: called within a function.

    Example:
        >>> import facula
        >>> @facula.fx.wrap
        ... def clipped(x, most):
        ...     return x.clamp(max=most) if most > 0 else x
        >>> print(facula.fx.symbolic_trace(lambda x: clipped(x, 1.0)).code.strip().splitlines()[-2].strip())
        clipped = __main___clipped(x, 1.0);  x = None
    """
    if not callable(fn_or_name) and not isinstance(fn_or_name, str):
        raise RuntimeError("Unsupported type for global function! Must be either a callable or string name")
    if callable(fn_or_name):
        if not isinstance(fn_or_name, FunctionType):
            raise AssertionError(f"expected a function of Python's, got {type(fn_or_name)}")
        name = fn_or_name.__code__.co_name
    else:
        name = fn_or_name
    frame = inspect.currentframe()
    caller = frame.f_back if frame is not None else None
    if caller is None:
        raise AssertionError("wrap must be called from Python code")
    if caller.f_code.co_name != "<module>":
        raise NotImplementedError("wrap must be called at the top level of a module")
    _wrapped_fns_to_patch[id(caller.f_globals), name] = caller.f_globals
    return fn_or_name
