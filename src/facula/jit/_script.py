"""Scripted functions and modules: they run as the Python that they are.

PyTorch compiles a subset of Python here. Facula compiles what runs, so a scripted function is the function and a
scripted module is a module of the same class over the same parameters, whose attributes are its own from then on.
"""

from __future__ import annotations

import functools
import inspect
import io
from collections.abc import Callable
from typing import Any

from facula import absent
from facula.nn.modules.module import Module

PLAIN = "its control flow is Python's: torch.jit.trace it with example arguments, a trace has a graph and a file"


class _Files:
    """What writes a module to a file (`_serialization.py`), and stands on this page."""

    write: Callable[[Any, Any, Any], None]


files = _Files()


class ScriptFunction:
    """A function that was scripted or traced. It is called as the function is.

    `code` is its Python text; a traced one has `graph`, `save` and `save_to_buffer` as well.

    Example:
        >>> import facula
        >>> @facula.jit.script
        ... def double(x: facula.Tensor) -> facula.Tensor:
        ...     return 2 * x
        >>> double.name, double(facula.ones(1))
        ('double', tensor([2.]))
    """

    def __init__(self, function: Callable[..., Any], traced: Any = None) -> None:
        functools.update_wrapper(self, function)
        self._function, self._traced = function, traced

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._function(*args, **kwargs)

    @property
    def name(self) -> str:
        """What the function is called."""
        return str(getattr(self, "__name__", type(self._function).__name__)).replace("<lambda>", "_lambda")

    @property
    def qualified_name(self) -> str:
        """Its name with that of its module."""
        return f"__torch__.{getattr(self, '__module__', '')}.{self.name}"

    @property
    def code(self) -> str:
        """Its text. Of what was traced, that of the graph."""
        return str(self._of("code").code) if self._traced is not None else inspect.getsource(self._function)

    @property
    def graph(self) -> Any:
        """The graph of a traced function. NotImplementedError of a scripted one."""
        return self._of("graph").graph

    inlined_graph = graph

    def _of(self, what: str) -> Any:
        if self._traced is None:
            raise absent.refusal(f"{what} of a scripted function", PLAIN)
        return self._traced

    def save(self, filename: Any, _extra_files: Any = None) -> None:
        """Write a traced function to a file: see `torch.jit.save`."""
        files.write(self._of("a file"), filename, _extra_files)

    def save_to_buffer(self, _extra_files: Any = None) -> bytes:
        """The bytes of such a file."""
        buffer = io.BytesIO()
        self.save(buffer, _extra_files)
        return buffer.getvalue()

    def __reduce__(self) -> Any:
        return str(getattr(self, "__qualname__", self.name))


class ScriptModule(Module):
    """A module that was scripted, traced or loaded; or one whose methods are marked with `script_method`.

    `code`, `graph`, `save` and `save_to_buffer` are of what was traced or loaded.
    """

    @property
    def original_name(self) -> str:
        """The name of the module's class."""
        return str(self.__dict__.get("_original_name") or type(self).__name__)

    @property
    def code(self) -> str:
        """The text of `forward`."""
        graphs = self.__dict__.get("_graphs")
        return str(graphs["forward"].code) if graphs else inspect.getsource(type(self).forward)

    def _get_graph(self) -> Any:
        return self._compiled("graph")["forward"].graph

    graph = inlined_graph = property(_get_graph, doc="The graph of `forward`, of what was traced or loaded.")

    def _compiled(self, what: str) -> dict[str, Any]:
        graphs: dict[str, Any] | None = self.__dict__.get("_graphs")
        if not graphs:
            raise absent.refusal(f"{what} of a scripted module ({self.original_name})", PLAIN)
        return graphs

    def save(self, f: Any, _extra_files: Any = None) -> None:
        """Write what was traced to a file: see `torch.jit.save`."""
        self._compiled("a file")
        files.write(self, f, _extra_files)

    def save_to_buffer(self, _extra_files: Any = None) -> bytes:
        """The bytes of such a file."""
        buffer = io.BytesIO()
        self.save(buffer, _extra_files)
        return buffer.getvalue()


class RecursiveScriptModule(ScriptModule):
    """A module that was scripted (it is of its own class, too), or loaded."""


@functools.cache
def _scripted_class(kind: Any) -> Any:
    return type(kind.__name__, (kind, RecursiveScriptModule), {"__module__": kind.__module__, "__doc__": kind.__doc__})


def _scripted(module: Module, known: dict[int, Module]) -> Module:
    """Another module of the same parts, down to the last one; of the same tensors."""
    if isinstance(module, ScriptModule):
        return module
    if id(module) not in known:
        kind = _scripted_class(type(module))  # type: ignore[arg-type]  # a class has a hash
        known[id(module)] = other = kind.__new__(kind)
        other.__dict__.update({key: value.copy() if isinstance(value, dict) else value
                               for key, value in module.__dict__.items()})
        other._modules.update({name: child if child is None else _scripted(child, known)
                               for name, child in module._modules.items()})
    return known[id(module)]


def script(obj: Any = None, optimize: Any = None, _frames_up: int = 0, _rcb: Any = None,
           example_inputs: Any = None) -> Any:
    """A function or module as one that was scripted: it runs as Python, and Facula compiles what it does.

    A function becomes a ScriptFunction; a module a RecursiveScriptModule of the same class, children too, with the same
    parameters and buffers. Attributes that are set on either later are its own. A class stays as it is.

    Raises:
        TypeError: a number or another value that cannot be called.

    Example:
        >>> import facula
        >>> net = facula.nn.Sequential(facula.nn.Linear(2, 2))
        >>> scripted = facula.jit.script(net)
        >>> isinstance(scripted[0], facula.jit.ScriptModule), scripted[0].weight is net[0].weight
        (True, True)
    """
    if isinstance(obj, Module):
        return _scripted(obj, {})
    if isinstance(obj, (ScriptFunction, type, dict, list)) or obj is None:
        return obj
    if not callable(obj):
        raise TypeError(f"torch.jit.script: expected a function, a module or a class, got {obj!r}")
    return ScriptFunction(obj)
