"""What the functions of control flow have to agree in: both branches of a `cond` give results alike, a loop's body
gives what it takes, nobody writes into what it is given or hands it back.

That is looked at with tensors that are described only (`export/`), once for functions and operands of a kind, before
one of them runs. Of functions that cannot be described so nothing is said: they run as Python does.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from types import FunctionType
from typing import Any

from facula._higher_order_ops._operators import HigherOrderOperator, heard
from facula._tensor.handle import Tensor
from facula.autograd.graph import mode
from facula.engine.session import session

_MOST = 512


class _Above:
    """What captures functions (`export/_subgraphs.py`) and stands above this page."""

    def __init__(self) -> None:
        self.looked: dict[Any, tuple[bool, ...]] = {}

    def look(self, operator: HigherOrderOperator, args: tuple[Any, ...]) -> tuple[bool, ...]:
        """Raise what a capture of this call would. Which results of a branch may require gradients?"""
        found: tuple[bool, ...] = import_module("facula.export._described").look(operator, args)
        return found


above = _Above()


def agree(operator: HigherOrderOperator, functions: tuple[Any, ...], flat: tuple[Any, ...],
          args: tuple[Any, ...]) -> tuple[bool, ...]:
    """Raise UncapturedHigherOrderOpError if the functions of a call do not agree. `functions`: the program's own;
    `flat`: the tensors that they are given; `args`: those of the operation. Gives which results require gradients by
    one of the branches, as far as that is known."""
    if heard() or session.traced is not None:
        return ()
    key = (operator, mode.grad, *map(_told, functions), *[_told(leaf) for leaf in flat])
    known = above.looked.get(key)
    if known is None:
        known = above.look(operator, args)
        if len(above.looked) >= _MOST:
            above.looked.clear()
        above.looked[key] = known
    return known


def _told(value: Any) -> Any:
    """What of a value an answer may depend on: of a tensor all but its elements. (That numbers of others are given
    anew does not matter: then a look is left out.)"""
    if isinstance(value, Tensor):
        return value.shape, value.dtype, value.requires_grad, value.device
    if isinstance(value, FunctionType):
        cells = value.__closure__ or ()
        return (value.__code__, *map(_told, value.__defaults__ or ()),
                *[_told(cell.cell_contents) if _filled(cell) else None for cell in cells])
    if isinstance(value, (int, float, bool, str)):
        return value
    return id(value)


def _filled(cell: Any) -> bool:
    try:
        return cell.cell_contents is not cell
    except ValueError:
        return False


def flat_function(function: Callable[..., Any], unflatten: Callable[..., Any], specs: list[Any],
                  flatten: Callable[[Any], tuple[list[Any], Any]]) -> Callable[..., Any]:
    """A function of leaves that gives leaves as a tuple; the tree that they came in is appended to `specs`."""
    def flat(*leaves: Any) -> tuple[Any, ...]:
        found, spec = flatten(function(*unflatten(leaves)))
        specs.append(spec)
        return tuple(found)
    return flat
