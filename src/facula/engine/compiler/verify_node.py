"""What each primitive promises about shape and dtype (engine/graph/node.py says it in words, the primitives say what is
wrong), checked of one node."""

from __future__ import annotations

from facula.engine.graph.node import Formula, Node
from facula.engine.graph.primitives import KINDS
from facula.engine.graph.typing import natural_types
from facula.errors import VerifyError


def around(node: Node, depth: int = 3) -> str:
    """The part of the graph above `node`, a line a node, for an error's message."""
    lines: list[str] = []

    def walk(n: Node, level: int) -> None:
        what = f" = {n.op.expr!r}"[:200] if isinstance(n.op, Formula) else ""
        attrs = f" {n.attrs!r}"[:200] if n.attrs is not None else ""
        lines.append("  " * (level + 1) + f"{n!r}{attrs}{what}")
        if level < depth and len(lines) < 40:
            for source in n.inputs:
                walk(source, level + 1)

    walk(node, 0)
    return "\n" + "\n".join(lines)


def verify_node(node: Node) -> None:
    if any(n < 0 for n in node.shape):
        _refuse(node, "a negative size")
    if isinstance(node.op, Formula):
        _formula(node, node.op)
        return
    kind = KINDS.get(node.op.kind)
    wrong = kind.wrong(node) if kind is not None else ""
    if wrong:
        _refuse(node, wrong)


def _refuse(node: Node, what: str) -> None:
    raise VerifyError(f"{node!r}: {what}{around(node)}")


def _formula(node: Node, op: Formula) -> None:
    if len(node.inputs) < op.operands:
        _refuse(node, f"{op.operands} operands wanted, {len(node.inputs)} given")
    if len(node.scalars or ()) < op.scalars:
        _refuse(node, f"{op.scalars} numbers wanted, {len(node.scalars or ())} given")
    for source in node.inputs:
        lead = len(node.shape) - len(source.shape)
        if lead < 0 or any(n not in (1, m) for n, m in zip(source.shape, node.shape[lead:], strict=True)):
            _refuse(node, f"{source!r} does not broadcast to it")
    try:
        natural_types(op, tuple(i.dtype for i in node.inputs), node.dtype)
    except KeyError as pair:
        _refuse(node, f"no common type of {pair}")
