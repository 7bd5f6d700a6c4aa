"""GraphModules whose code is generated when it is first needed, for passes that change a graph many times."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from facula.fx._codegen import PythonCode
from facula.fx.graph_module import GraphModule


class _Lazy:
    used = False
    skipped = False


@contextmanager
def _force_skip_lazy_graph_module() -> Iterator[None]:
    """Within it GraphModules are plain ones."""
    before, _Lazy.skipped = _Lazy.skipped, True
    try:
        yield
    finally:
        _Lazy.skipped = before


@contextmanager
def _use_lazy_graph_module(should_use: bool) -> Iterator[None]:
    """Within it `symbolic_trace` makes lazy GraphModules."""
    before, _Lazy.used = _Lazy.used, should_use and not _Lazy.skipped
    try:
        yield
    finally:
        _Lazy.used = before


def _get_graph_module_cls() -> type[GraphModule]:
    return _LazyGraphModule if _Lazy.used else GraphModule


def _make_graph_module(*args: Any, graph_module_cls: type[GraphModule] | None = None, **kwargs: Any) -> GraphModule:
    """A GraphModule, lazy or not."""
    return (graph_module_cls or _get_graph_module_cls())(*args, **kwargs)


class _LazyGraphModule(GraphModule):
    """A GraphModule that generates its code when it is called or asked for it."""

    @classmethod
    def from_graphmodule(cls, gm: GraphModule) -> GraphModule:
        """A lazy one that does the same."""
        return gm if isinstance(gm, _LazyGraphModule) else cls(gm, gm.graph)

    @staticmethod
    def force_recompile(gm: Any) -> None:
        """Have the code generated now if it is to be."""
        if isinstance(gm, _LazyGraphModule):
            gm.real_recompile()

    def real_recompile(self) -> None:
        """Generate the code if the graph may have changed."""
        if self._needs_recompile():
            self._real_recompile()

    def _needs_recompile(self) -> bool:
        return "forward" not in vars(type(self)) or type(self).forward is _LazyGraphModule._lazy_forward

    def _lazy_forward(self, *args: Any, **kwargs: Any) -> Any:
        self.real_recompile()
        return self(*args, **kwargs)

    def _real_recompile(self) -> PythonCode:
        return super().recompile()

    def recompile(self) -> Any:
        """Remember that the code is to be generated."""
        type(self).forward = _LazyGraphModule._lazy_forward  # type: ignore[method-assign,assignment]
        return None

    @property
    def code(self) -> str:
        """The text of `forward`, generated now if need be."""
        self.real_recompile()
        return super().code

    def __str__(self) -> str:
        self.real_recompile()
        return super().__str__()

    def __reduce__(self) -> Any:
        self.real_recompile()
        return super().__reduce__()
