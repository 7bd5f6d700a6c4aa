"""`FakeTensorProp`: notes shapes without computing values, with tensors on "meta"."""

from __future__ import annotations

import copy
from typing import Any

import facula
from facula._tensor.handle import Tensor
from facula.fx._compatibility import compatibility
from facula.fx.interpreter import Interpreter
from facula.fx.node import Node, map_aggregate
from facula.fx.passes.shape_prop import _extract_tensor_metadata

__all__ = ["FakeTensorProp"]


def _on_meta(value: Any) -> Any:
    return map_aggregate(value, lambda part: part.to("meta") if isinstance(part, Tensor) else part)


@compatibility(is_backward_compatible=False)
class FakeTensorProp(Interpreter):
    """Runs a graph on the device "meta". Each node gets its value there as `meta["val"]`, and `meta["tensor_meta"]`.

    Raises:
        NotImplementedError: a `mode`: there are no fake tensors beside those on "meta".

    Example:
        >>> import facula
        >>> from facula.fx.passes.fake_tensor_prop import FakeTensorProp
        >>> module = facula.fx.symbolic_trace(facula.nn.Linear(3, 2))
        >>> FakeTensorProp(module).propagate(facula.ones(5, 3)).shape
        torch.Size([5, 2])
    """

    def __init__(self, module: Any, mode: Any = None) -> None:
        if mode is not None:
            raise facula.absent.refusal("FakeTensorMode", "FakeTensorProp(module) has tensors on \"meta\"")
        root = copy.deepcopy(module).to("meta")
        super().__init__(root, graph=module.graph)

    def run_node(self, n: Node) -> Any:
        """The value of a node on "meta", which is noted."""
        result = super().run_node(n)
        n.meta["val"] = result
        if isinstance(result, Tensor):
            n.meta["tensor_meta"] = _extract_tensor_metadata(result)
        n.meta["type"] = type(result)
        return result

    def propagate(self, *args: Any) -> Any:
        """Run with the shapes of these arguments. Gives the output on "meta"."""
        return self.propagate_dont_convert_inputs(*_on_meta(args))

    def propagate_dont_convert_inputs(self, *args: Any) -> Any:
        """Run with arguments that are on "meta" already."""
        return super().run(*args)
