"""The same values in another tensor: clone, contiguous, detach; views in place and as copies."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from facula._tensor.handle import Tensor, alias, new, share, strides_of
from facula._tensor.layout import in_memory_format, lies_in, order_of_format
from facula._tensor.reading import copied, layout_of, read
from facula._tensor.refusing import refuse_leaf
from facula._tensor.tape import attach, place_of
from facula.autograd.graph import Rule, mode
from facula.engine import recorder
from facula.engine.session import session
from facula.layouts import contiguous_format, preserve_format
from facula.ops.registry import METHODS, also, method, op
from facula.ops.view.broadcasting import expand
from facula.ops.view.diagonals import diagonal
from facula.ops.view.dtype_views import view_as_complex, view_as_real
from facula.ops.view.permuting import permute, swapaxes, swapdims, t, transpose
from facula.ops.view.reshaping import squeeze, unsqueeze, view
from facula.ops.view.slicing import as_strided, narrow, select, unfold
from facula.ops.view.splitting import split, split_with_sizes, unbind
from facula.ops.view.views import geometry, is_contiguous_geometry

_PRESERVED = (None, preserve_format)
_CLONE = Rule("CloneBackward0", lambda ctx, g: (g,))


@op
def clone(input: Tensor, *, memory_format: Any = None) -> Tensor:
    """A copy. (Values are immutable: the elements are copied when either is written.)"""
    if not isinstance(input, Tensor):
        raise TypeError("clone(): argument 'input' (position 1) must be Tensor, not "
                        f"{type(input).__name__}")
    layout = layout_of(input) if memory_format in _PRESERVED else in_memory_format(input.shape, memory_format)
    return attach(copied(input, layout), _CLONE, (input,))


@op(function=False)
def contiguous(input: Tensor, *, memory_format: Any = contiguous_format) -> Tensor:
    """`input` if its elements lie row-major (or as `memory_format` has it), otherwise a copy."""
    if memory_format is contiguous_format:
        return input if is_contiguous_geometry(input) else clone(input, memory_format=contiguous_format)
    if memory_format is preserve_format:
        raise RuntimeError("preserve memory format is unsupported by the contiguous operator")
    order = order_of_format(input.shape, memory_format)
    if lies_in(input.shape, strides_of(input), order) and 0 not in input.shape:  # else a copy
        return input
    return clone(input, memory_format=memory_format)


@op
def detach(input: Tensor) -> Tensor:
    """The same elements without history."""
    if session.traced is not None:
        node = read(input)
        value = recorder.above.detached(node)
        if value is not node:
            return new(value)
    strides, offset = geometry(input)
    return alias(input, input.shape, strides, offset)


@op
def detach_(input: Tensor) -> Tensor:
    """Cut `input` from its history, in place."""
    if input._base is not None:
        raise RuntimeError(
            "Can't detach views in-place. Use detach() instead. If you are using "
            "DistributedDataParallel (DDP) for training, and gradient_as_bucket_view is set as "
            "True, gradients are views of DDP buckets, and hence detach_() cannot be called on "
            "these gradients. To fix this error, please refer to the Optimizer.zero_grad() "
            "function in torch/optim/optimizer.py as a solution."
        )
    input._rg = False
    input._grad_fn = None
    return input


# ---- the other forms of views --------------------------------------------------------------------

def _copying(body: Callable[..., Any], name: str, *also_named: str) -> None:
    def copied(input: Tensor, *args: Any, **kwargs: Any) -> Any:
        if name == "view_copy" and input._storage is not None and args and isinstance(args[0], (int, tuple, list)):
            input = input.contiguous()  # a copy has any shape
        out = body(input, *args, **kwargs)
        if isinstance(out, tuple):
            return tuple([o.clone() for o in out])
        return out.clone()
    copied.__name__ = copied.__qualname__ = name
    copied.__signature__ = inspect.signature(body)  # type: ignore[attr-defined]
    op(copied, method=False, also=also_named, out=True)


_body: Callable[..., Any]
for _body in (view, transpose, t, permute, select, squeeze, unsqueeze, expand, diagonal,
              as_strided, detach, unbind, split, split_with_sizes, unfold, view_as_real,
              view_as_complex):
    _copying(_body, _body.__name__ + "_copy")
_copying(narrow, "narrow_copy", "Tensor.narrow_copy")


def _reshaped(body: Callable[..., Tensor], name: str) -> None:
    def written(self: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        if mode.grad and self._rg:
            refuse_leaf(self)
        result = body(self, *args, **kwargs)
        share(self)
        self.shape, self._strides, self._offset = result.shape, result._strides, result._offset
        self._seen = -1
        self._cached = None
        if result._grad_fn is not None:
            place_of(self, result._grad_fn)
        return self
    written.__name__ = written.__qualname__ = name
    method(written)


for _body in (squeeze, unsqueeze, transpose, t, swapaxes, swapdims, as_strided):
    _reshaped(_body, _body.__name__ + "_")
also(METHODS["as_strided_"], "as_strided_")
