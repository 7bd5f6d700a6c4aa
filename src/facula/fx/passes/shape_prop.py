"""`ShapeProp`: runs a graph and notes of each value its shape, dtype and layout."""

from __future__ import annotations

import traceback
from typing import Any, NamedTuple

import facula
from facula._tensor.handle import Tensor
from facula.fx._compatibility import compatibility
from facula.fx.interpreter import Interpreter
from facula.fx.node import Node, map_aggregate

__all__ = ["ShapeProp", "TensorMetadata"]


@compatibility(is_backward_compatible=True)
class TensorMetadata(NamedTuple):
    """What is known of a tensor without its elements: `node.meta["tensor_meta"]`."""

    shape: Any
    dtype: Any
    requires_grad: bool
    stride: tuple[int, ...]
    memory_format: Any
    is_quantized: bool
    qparams: dict[str, Any]


def _extract_tensor_metadata(result: Tensor, include_contiguity: bool = True) -> TensorMetadata:
    """`TensorMetadata` of a tensor."""
    layout = None
    if include_contiguity:
        for memory_format in (facula.contiguous_format, facula.channels_last, facula.channels_last_3d):
            if result.is_contiguous(memory_format=memory_format):
                layout = memory_format
                break
    return TensorMetadata(result.shape, result.dtype, result.requires_grad, result.stride(), layout, False, {})


@compatibility(is_backward_compatible=True)
class ShapeProp(Interpreter):
    """Runs a module's graph; each node gets `meta["tensor_meta"]` (a TensorMetadata, or a tree of them) and
    `meta["type"]`.

    Example:
        >>> import facula
        >>> from facula.fx.passes.shape_prop import ShapeProp
        >>> module = facula.fx.symbolic_trace(lambda x: x.sum(0))
        >>> _ = ShapeProp(module).propagate(facula.ones(2, 3))
        >>> [tuple(node.meta["tensor_meta"].shape) for node in module.graph.nodes]
        [(2, 3), (3,), (3,)]
    """

    def __init__(self, gm: Any, fake_mode: Any = None) -> None:
        super().__init__(gm)
        if fake_mode is not None:
            raise facula.absent.refusal("ShapeProp(fake_mode=)", "give tensors on \"meta\"")
        self.fake_module = None
        self.fake_mode = fake_mode
        self.real_module = self.module

    def run_node(self, n: Node) -> Any:
        """The value of a node, which is noted."""
        try:
            result = super().run_node(n)
        except Exception as error:
            traceback.print_exc()
            raise RuntimeError(f"ShapeProp error for: node={n.format_node()} with meta={n.meta}") from error
        found = False

        def noted(value: Any) -> Any:
            nonlocal found
            if isinstance(value, Tensor):
                found = True
                return _extract_tensor_metadata(value)
            return value
        meta = map_aggregate(result, noted)
        if found:
            n.meta["tensor_meta"] = meta
        n.meta["type"] = type(result)
        return result

    def propagate(self, *args: Any) -> Any:
        """Run the module with these arguments. Gives its output."""
        return super().run(*args)
