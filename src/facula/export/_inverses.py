"""The base of a view, of a new value of the view: what `x[0] = y` makes of `x`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import facula
from facula.export._traced import program_line
from facula.ops.aten_names import aten

_SAME = frozenset(("alias", "detach", "view_as", "lift_fresh", "contiguous", "to"))
_RESHAPED = frozenset(("view", "reshape", "flatten", "unflatten", "squeeze", "ravel", "reshape_as", "_unsafe_view",
                       "unsqueeze", "atleast_1d", "atleast_2d", "atleast_3d"))
_ITSELF = frozenset(("t", "numpy_T", "mT", "transpose", "swapaxes", "swapdims", "adjoint"))
_SCATTERS = {"select": "select_scatter", "slice": "slice_scatter", "diagonal": "diagonal_scatter",
             "as_strided": "as_strided_scatter"}
_SPLIT = ("split", "split_with_sizes", "chunk", "tensor_split", "unsafe_split", "unsafe_chunk")


def inverse(capture: Any, step: Any, source: Callable[[], Any], value: Any) -> Any:
    """The node of `step.source` with `value` (a node) where the view is. `source()`: the node of what it has now."""
    name, args = step.overload.overloadpacket.__name__, step.args
    create = capture._create
    if name in _SAME:
        return value
    if name in _ITSELF:
        return create(step.overload, (value, *args), step.kwargs)
    if name == "narrow" and all(isinstance(part, int) for part in args):
        dim, start, length = args
        return create(aten.slice_scatter.default, (source(), value, dim, start, start + length), {})
    if name in _RESHAPED and not any(isinstance(part, facula.dtype) for part in args):
        return create(aten.reshape.default, (value, capture.argument(list(capture.shape_of(step.source)))), {})
    if name == "permute":
        count = len(step.source.in_cases[0].shape)
        order = [d % count for d in args[0]]
        return create(aten.permute.default, (value, [order.index(d) for d in range(count)]), {})
    if name == "movedim":
        return create(step.overload, (value, args[1], args[0]), {})
    if name in _SCATTERS:
        return create(getattr(aten, _SCATTERS[name]).default, (source(), value, *args), step.kwargs)
    if name == "unbind":
        return create(aten.select_scatter.default, (source(), value, args[0] if args else 0, step.part), {})
    if name in _SPLIT:
        dim = step.kwargs.get("dim", args[1] if len(args) > 1 else 0)
        start = sum([capture.shape_of(t)[dim] for t in step.before])
        end = start + capture.shape_of(step.this)[dim]
        return create(aten.slice_scatter.default, (source(), value, dim, *capture.argument([start, end])), {})
    raise NotImplementedError(f"run_decompositions of a program that writes into what {step.overload} gives is not in "
                              f"Facula yet{program_line()}")
