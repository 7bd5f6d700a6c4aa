"""Control flow looked at before it runs: its functions captured with the tensors at hand, and compared."""

from __future__ import annotations

import contextlib
from typing import Any

from facula.export._capture import Capture
from facula.export._cases import Plan
from facula.export._control import HANDLERS
from facula.export._hearing import Listener
from facula.export._traced import Missed
from facula.fx.experimental.symbolic_shapes import GuardOnDataDependentSymNode


def look(operator: Any, args: tuple[Any, ...]) -> tuple[bool, ...]:
    """Raise UncapturedHigherOrderOpError where functions do not agree. What cannot be captured is passed over."""
    found: Any = ()
    capture = Capture(Plan({}))
    capture.quiet = True
    with contextlib.suppress(NotImplementedError, GuardOnDataDependentSymNode, Missed):
        found = HANDLERS[operator](Listener(capture), True, *args)
    capture.close()
    return found or ()
