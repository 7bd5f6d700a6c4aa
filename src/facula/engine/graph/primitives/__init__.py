"""The primitives, a file for each kind: its type rule, its meaning in NumPy, its rules for forward mode and `vmap`.

node.py says which primitives there are. The kind that a primitive has there is the name of the file here, which
defines `KIND`; one that is missing or misspelt is an ImportError. What machine code there is for a kind is said in
engine/compiler (loops, or `single/` in a file of the same name); without any, it is a step of the host.

Not here: formulas (expr.py and typing.py), routines of the host (CALL and PICK: runtime/routines.py), and what has no
value of its own.
"""

from __future__ import annotations

from importlib import import_module

from facula.engine.graph import node
from facula.engine.graph.node import Primitive
from facula.engine.graph.primitives.kind import Kind

ELSEWHERE = frozenset(("pointwise", "call", "buffer", "meta", "traced"))  # kinds that are told of elsewhere
PRIMITIVES: dict[str, Primitive] = {p.name: p for p in vars(node).values() if isinstance(p, Primitive)}
KINDS: dict[str, Kind] = {kind: import_module(f"{__name__}.{kind}").KIND
                          for kind in dict.fromkeys(p.kind for p in PRIMITIVES.values()) if kind not in ELSEWHERE}
