"""What FACULA_DEBUG=1..4 prints, to stderr. Compiler and realize both speak through this page; it knows data only.

1  a line a plan when it is compiled: steps, bytes, milliseconds
2  every run of a plan, kernel by kernel, with times
3  what was not fused and why, and the loops that the groups became
4  the nodes that went into a plan, and the LLVM IR of its kernels
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from typing import Any

from facula import config
from facula.engine.graph.node import Formula, Node

_plans = 0


def wants(level: int) -> bool:
    return config.DEBUG.value >= level


def say(text: str) -> None:
    print("facula: " + text.replace("\n", "\n    "), file=sys.stderr)


def nodes_given(nodes: Sequence[Node], leaves: Sequence[Node]) -> None:
    """Level 4: a line a node, each under the number that its readers name it by."""
    names = {node: f"%{k}" for k, node in enumerate((*leaves, *nodes))}
    lines = [f"graph of {len(nodes)} nodes over {len(leaves)} leaves"]
    for node in (*leaves, *nodes):
        reads = ", ".join(names.get(i, repr(i)) for i in node.inputs)
        what = f"  {node.op.expr!r}" if isinstance(node.op, Formula) else ""
        attrs = "" if node.attrs is None else f"  {node.attrs!r}"
        lines.append(f"{names[node]} = {node!r}({reads}){attrs}{what}")
    say("\n".join(lines))


def plan_compiled(spec: Any, seconds: float) -> int:
    """Level 1, with 3 and 4 as far as the finished plan knows. Returns the number that runs name it by."""
    global _plans
    _plans += 1
    hosts = sum(not hasattr(step, "kernel") for step in spec.steps)
    moved = sum(getattr(step, "bytes", 0) for step in spec.steps)
    say(f"plan {_plans}: {len(spec.steps)} steps ({hosts} on the host), {spec.leaves} leaves, {spec.outputs} outputs, "
        f"{len(spec.aliases)} in donated memory, {moved} bytes moved, {sum(spec.temporaries)} bytes of temporaries, "
        f"compiled in {seconds * 1e3:.1f} ms")
    if wants(3):
        for note in spec.notes:
            say(f"plan {_plans}: not fused: {note}")
    if wants(4):
        for kernel in dict.fromkeys(step.kernel for step in spec.steps if hasattr(step, "kernel")):
            say(f"plan {_plans}: IR of {kernel.name} ({kernel.title})\n{kernel.ir}")
    return _plans


def plan_ran(number: int, steps: Iterable[Any], nanoseconds: Sequence[int], seconds: float) -> None:
    """Level 2."""
    lines = [f"plan {number} ran in {seconds * 1e6:.1f} us"]
    for k, (step, ns) in enumerate(zip(steps, nanoseconds, strict=True)):
        kernel = getattr(step, "kernel", None)
        what = f"kernel {kernel.title or kernel.name}" if kernel else f"host {step.op.name}"
        lines.append(f"{k:3} {ns / 1e3:9.1f} us  {what}, {getattr(step, 'tiles', 1)} tiles, "
                     f"{getattr(step, 'bytes', 0)} bytes")
    say("\n".join(lines))
