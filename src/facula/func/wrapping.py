"""What stands around a transform: `functionalize`, `debug_unwrap`."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from facula._tensor.handle import Tensor, new
from facula._tensor.reading import read


def functionalize(func: Callable[..., Any], *, remove: str = "mutations") -> Callable[..., Any]:
    """A function with the results and effects of `func`: values are never written in Facula's graphs, so there is
    nothing to remove.

    Raises:
        RuntimeError: `remove` is neither "mutations" nor "mutations_and_views".

    Example:
        >>> import facula
        >>> facula.func.functionalize(lambda x: x.clone().add_(1))(facula.zeros(2))
        tensor([1., 1.])
    """
    if remove not in ("mutations", "mutations_and_views"):
        raise RuntimeError(f"functionalize(f, remove='mutations'): received invalid argument for remove={remove}. "
                           'Valid options are:\n     remove="mutations": all inplace and out= operators will be '
                           "removed from the program, and replaced with their out-of-place equivalents.\n     "
                           'remove="mutations_and_views": In addition to the above, all aliasing operators {view} will '
                           "be replaced with their non-aliasing counterparts, {view}_copy.\n")

    @functools.wraps(func)
    def functional(*args: Any, **kwargs: Any) -> Any:
        return func(*args, **kwargs)

    return functional


def debug_unwrap(tensor: Tensor, *, recurse: bool = True) -> Tensor:
    """What a tensor inside a transform stands for: with its hidden dimension, or without its tangent; with `recurse`
    through all transforms. To look at while debugging.

    Example:
        >>> import facula
        >>> def shown(x):
        ...     print(x.shape, facula.func.debug_unwrap(x).shape)
        ...     return x
        >>> _ = facula.func.vmap(shown)(facula.ones(2, 3))
        torch.Size([3]) torch.Size([2, 3])
    """
    node = read(tensor)
    if node.op.kind != "traced":
        return tensor
    node = node.inputs[0]
    while recurse and node.op.kind == "traced":
        node = node.inputs[0]
    return new(node)
