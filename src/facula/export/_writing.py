"""The graph of a capture as it grows: nodes, what stands in them, and where gradients are switched off."""

from __future__ import annotations

import operator
import sys
from types import FrameType
from typing import Any

import facula
from facula._tensor.handle import Tensor
from facula.autograd.function import Function
from facula.autograd.graph import mode as grad_mode
from facula.devices import device as Device
from facula.errors import warn
from facula.export._regions import set_grad
from facula.export._traced import Traced, place_of, program_frame, program_line
from facula.fx._namespaces import _snake_case
from facula.fx.graph import Graph
from facula.fx.node import Node
from facula.ops.aten_names import aten
from facula.size import Size
from facula.symbolic_numbers import SymBool, _Symbolic


class Writing:
    """What writes nodes. `Capture` (`_capture.py`) is one."""

    graph: Graph
    values: Any
    quiet = False  # nothing is said: no graph is wanted

    def __init__(self) -> None:
        self.graph = Graph()
        self.grad = grad_mode.grad
        self.before: Node | None = None  # gives what `grad` was before the region
        self.steps = 0

    def constant(self, t: Tensor) -> Traced:
        """What stands for a tensor that the program has from elsewhere."""
        raise NotImplementedError

    def from_around(self, t: Traced) -> Traced:
        """What stands for a tensor of the program around a function."""
        raise NotImplementedError

    def create(self, target: Any, args: Any, kwargs: Any) -> Node:
        """A node that says from which line of the program it comes."""
        if grad_mode.grad is not self.grad:
            if self.before is None:
                if not self.quiet:
                    _warn_of_function()
                self.before = self._create(set_grad, (grad_mode.grad,), {})
            else:
                self._create(set_grad, (self.before,), {})
                self.before = None
            self.grad = grad_mode.grad
        return self._create(target, args, kwargs)

    def leave(self) -> None:
        """The end of a function: gradients are switched as they were at its beginning."""
        if self.before is not None:
            self._create(set_grad, (self.before,), {})
            self.before = None

    def _create(self, target: Any, args: Any, kwargs: Any) -> Node:
        packet = getattr(target, "overloadpacket", None)
        name = None if packet is None else "sym_size_int" if target is aten.sym_size.int else \
            _snake_case(packet.__name__)
        node = self.graph.create_node("call_function", target, args, kwargs, name=name)
        where = place_of(program_frame())
        if where:
            node.meta["stack_trace"] = where
        self.steps += 1
        return node

    def node_of(self, number: Any) -> Node:
        """The node that gives a symbolic number: made where it is first used."""
        if number.node is None:
            first, *rest = number.recipe
            if first == "size":
                of, d = rest
                if of.fx.graph is not self.graph:
                    raise RuntimeError("torch.export: a size of a tensor is used outside of the function of "
                                       f"control flow that has computed it{program_line()}")
                number.node = self._create(aten.sym_size.int, (of.fx, d), {})
            else:
                args = tuple([self.node_of(x) if isinstance(x, _Symbolic) else x for x in rest])
                number.node = self._create(_TARGETS.get(first, first), args, {})
            number.node.meta["val"] = number
        return number.node  # type: ignore[no-any-return]

    def argument(self, value: Any) -> Any:
        """What stands in a node for an argument."""
        if isinstance(value, Tensor):
            found = self.from_around(value) if isinstance(value, Traced) else self.constant(value)
            return found.fx if self.values is None else self.values.node_of(found)
        if isinstance(value, _Symbolic):
            return self.node_of(value)
        if isinstance(value, (list, tuple)):
            parts = [self.argument(part) for part in value]
            return parts if isinstance(value, list) or isinstance(value, Size) else tuple(parts)
        if isinstance(value, dict):
            return {key: self.argument(part) for key, part in value.items()}
        if value is None or isinstance(value, (int, float, bool, complex, str, Device, facula.dtype, facula.layout,
                                               facula.memory_format)):
            return value
        if isinstance(value, facula.Generator):
            raise NotImplementedError("torch.export: a generator cannot stand in a graph; leave generator= out"
                                      + program_line())
        number = getattr(value, "item", None)
        if number is not None and type(value).__module__ == "numpy":
            return number()
        raise TypeError(f"torch.export: a {type(value).__name__} cannot stand in a graph{program_line()}")


_TARGETS: dict[Any, Any] = {max: facula.sym_max, min: facula.sym_min}


def _warn_of_function() -> None:
    """Say that gradients end where they are switched off because an autograd.Function runs."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and frame.f_code is not Function.apply.__func__.__code__:  # type: ignore[attr-defined]
        frame = frame.f_back
    if frame is not None:
        warn("torch.export captures what the forward of an autograd.Function does, not its backward: no gradient goes "
             "through it in what module() gives")


def opposite(asked: Any) -> Any:
    """`not asked`, without a formula."""
    return SymBool(asked.recorder, tuple([not v for v in asked.values]), None, (operator.not_, asked))
