"""Control flow as operations: `torch.cond`, `torch.while_loop`, `map`, `scan`, `associative_scan`.

    _operators.py    what they come to: `torch.ops.higher_order.NAME`, with functions of flat lists of tensors
    _agreement.py    what a program's functions have to agree in, looked at before the first one runs
    cond.py, while_loop.py, map.py, scan.py, associative_scan.py       what programs call

A call runs the functions as Python does, so gradients come by themselves; `torch.export` keeps it as one node, with the
functions as graphs.
"""

from __future__ import annotations

from typing import Any

from facula import absent
from facula._higher_order_ops.associative_scan import associative_scan
from facula._higher_order_ops.cond import cond
from facula._higher_order_ops.map import map
from facula._higher_order_ops.scan import scan
from facula._higher_order_ops.while_loop import while_loop

__all__ = ["associative_scan", "cond", "map", "scan", "while_loop"]


def __getattr__(name: str) -> Any:
    raise absent.missing("_higher_order_ops", name)
