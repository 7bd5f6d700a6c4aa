"""The NumPy interpreter over the computer's own memory: what runs where there is no compiler."""

from __future__ import annotations

from typing import Any

import numpy as np

from facula.engine.graph.node import CONST, Node
from facula.engine.runtime import interpreter
from facula.engine.runtime.buffer import allocate
from facula.engine.trace.step import computed


def run(order: list[Node], outputs: list[Node]) -> None:
    """Compute `order`, arguments first, and keep the `outputs` among it. What was there before is in memory."""
    values: dict[Node, Any] = {}

    def fetch(node: Node) -> Any:
        found = values.get(node)
        if found is None and node.op is CONST:
            found = interpreter.compute(node, [])
        elif found is None:  # not by `value_of`: that would raise what waiting checks have found
            assert node.buffer is not None
            found = node.buffer.array(node.shape, node.dtype)
        return found

    for node in order:
        values[node] = interpreter.compute(node, [fetch(source) for source in node.inputs])
    for node in outputs:
        array = values[node]
        if not isinstance(array, np.ndarray):
            continue  # a CALL: only its PICKs are values
        buffer = allocate(array.nbytes)
        buffer.array(node.shape, node.dtype)[...] = array
        computed(node, buffer)
