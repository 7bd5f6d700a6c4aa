"""`TransformGetItemToIndex`: indexing with a tensor under `vmap`."""

from __future__ import annotations

from typing import Any

from facula._tensor.handle import Tensor
from facula.overrides import TorchFunctionMode

__all__ = ["TransformGetItemToIndex"]


class TransformGetItemToIndex(TorchFunctionMode):
    """While entered, `x[i]` with 0-d integer tensors chooses elements by operations, without asking for their values:
    so it may be done under `vmap`, where an index has a value for each example.

    Example:
        >>> import facula
        >>> from facula._dynamo._trace_wrapped_higher_order_op import TransformGetItemToIndex
        >>> x = facula.tensor([10, 20, 30])
        >>> with TransformGetItemToIndex():
        ...     facula.func.vmap(lambda i: x[i])(facula.tensor([2, 0]))
        tensor([30, 10])
    """

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is Tensor.__getitem__:
            x, index = args
            indices = index if isinstance(index, tuple) else (index,)
            if indices and all(isinstance(i, Tensor) and not i.dim() and not i.is_floating_point()
                               and str(i.dtype) != "torch.bool" for i in indices):
                for i in indices:  # the first dimension, each time
                    x = x.index_select(0, (i + (i < 0) * x.shape[0]).reshape(1)).squeeze(0)
                return x
        return func(*args, **(kwargs or {}))
