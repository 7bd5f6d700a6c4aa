"""Passes as objects: `PassBase`, and what one gives."""

from __future__ import annotations

import abc
from typing import Any, NamedTuple

from facula.fx._compatibility import compatibility

__all__ = ["PassBase", "PassResult"]


@compatibility(is_backward_compatible=False)
class PassResult(NamedTuple):
    """What a pass gives: the module, and whether it has changed it."""

    graph_module: Any
    modified: bool


@compatibility(is_backward_compatible=False)
class PassBase(abc.ABC):
    """A pass: `call(graph_module)` does the work; `requires` and `ensures` check what has to hold before and after.

    Example:
        >>> import facula
        >>> from facula.fx.passes.infra.pass_base import PassBase, PassResult
        >>> class Dead(PassBase):
        ...     def call(self, graph_module):
        ...         return PassResult(graph_module, graph_module.graph.eliminate_dead_code())
        >>> Dead()(facula.fx.symbolic_trace(lambda x: (x + 1, x)[1])).modified
        True
    """

    def __call__(self, graph_module: Any) -> PassResult | None:
        self.requires(graph_module)
        found = self.call(graph_module)
        self.ensures(graph_module)
        return found

    @abc.abstractmethod
    def call(self, graph_module: Any) -> PassResult | None:
        """The work."""

    def requires(self, graph_module: Any) -> None:  # noqa: B027
        """Raises where the pass cannot run on the module."""

    def ensures(self, graph_module: Any) -> None:  # noqa: B027
        """Raises where the pass has not done what it is for."""
