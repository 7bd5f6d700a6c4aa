"""The assigned plan replayed value by value: does every step find what it reads, and spare what others still need?"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from facula.engine.compiler.plan import HostStep, Made, Memory, Work
from facula.engine.graph.node import size_of
from facula.errors import VerifyError


def verify_memory(
    work: list[Work],
    steps: list[Made],
    memory: Memory,
    aliases: Mapping[int, int],
    leaves: list[Any],
    outputs: list[Any],
    donated: set[Any],
    size: Callable[[Any], int],
    same: Mapping[Any, Any],
) -> None:
    """`same` maps values to outputs that are the same elements, in the same memory."""
    _verify_table(memory, aliases, leaves, outputs, donated, size, same)
    last: dict[Any, int] = {same.get(o, o): len(work) for o in outputs}
    for k, w in enumerate(work):
        for value in w.reads:
            value = same.get(value, value)
            last[value] = max(k, last.get(value, 0))
    holds: dict[int, Any] = {memory.slots[leaf]: leaf for leaf in leaves}
    for k, w in enumerate(work):
        for value in w.reads:
            found = holds.get(memory.slots[value])
            if size(value) and found is not same.get(value, value):
                raise VerifyError(f"step {k} reads {value!r} from slot {memory.slots[value]}, which holds {found!r}")
        _verify_writes(k, w, memory, holds, last, size, same, len(leaves), set(leaves) - donated)
    for output in outputs:
        found = holds.get(memory.slots[output])
        if size(output) and found is not same.get(output, output):
            raise VerifyError(f"after the last step {found!r} lies where the output {output!r} should")
    _verify_host_steps(steps, memory)


def _verify_writes(k: int, w: Work, memory: Memory, holds: dict[int, Any], last: Mapping[Any, int],
                   size: Callable[[Any], int], same: Mapping[Any, Any], leaves: int, fixed: set[Any]) -> None:
    taken: dict[int, Any] = {}
    for value in w.writes:
        if not size(value):
            continue
        slot = memory.slots[value]
        if slot in taken:
            raise VerifyError(f"step {k} writes both {taken[slot]!r} and {value!r} to slot {slot}")
        taken[slot] = value
        old = holds.get(slot)
        new = same.get(value, value)
        if old is None or old is new:
            continue
        if old in fixed:
            raise VerifyError(f"step {k} writes {value!r} over the leaf {old!r}, which was not donated")
        if last.get(old, -1) > k:
            raise VerifyError(f"step {k} writes {value!r} over {old!r}, which step {last[old]} still needs")
        read = any(same.get(r, r) is old for r in w.reads)
        if read and old is not w.overwrites and old not in w.replaces.get(value, ()):
            raise VerifyError(f"step {k} writes {value!r} over {old!r}, which it reads itself")
    for slot, value in taken.items():
        holds[slot] = same.get(value, value)


def _verify_table(memory: Memory, aliases: Mapping[int, int], leaves: list[Any], outputs: list[Any],
                  donated: set[Any], size: Callable[[Any], int], same: Mapping[Any, Any]) -> None:
    for value, slot in memory.slots.items():
        at = slot - memory.first
        if at >= len(memory.temporaries) or slot < 0:
            raise VerifyError(f"{value!r} has slot {slot}, which does not exist")
        if at >= 0 and size(value) > memory.temporaries[at]:
            raise VerifyError(f"{value!r} takes {size(value)} bytes, slot {slot} has {memory.temporaries[at]}")
        if 0 <= slot < len(leaves) and size(value) > size(leaves[slot]):
            raise VerifyError(f"{value!r} takes {size(value)} bytes, {leaves[slot]!r} has {size(leaves[slot])}")
    for k, leaf in aliases.items():
        if leaves[leaf] not in donated and outputs[k] is not leaves[leaf]:
            raise VerifyError(f"output {k} takes the memory of leaf {leaf}, which was not donated")
    for k, output in enumerate(outputs):
        slot = memory.slots[output]
        if slot < len(leaves) and aliases.get(k) != slot:
            raise VerifyError(f"output {k} is built in the memory of leaf {slot}, and the plan does not say so")
    if len(set(aliases.values())) != len({id(outputs[k]) for k in aliases}):
        raise VerifyError(f"two outputs take the memory of one leaf: {dict(aliases)}")


def _verify_host_steps(steps: list[Made], memory: Memory) -> None:
    """Native steps' arguments are numbers and slots alike; a host step says which is which."""
    calls: set[int] = set()
    for k, step in enumerate(steps):
        if not isinstance(step, HostStep):
            continue
        for operand in step.inputs:
            if operand.call >= 0:
                if operand.call not in calls:
                    raise VerifyError(f"step {k} reads the result of call {operand.call} before it is called")
            elif not _fits(operand.slot, size_of(operand.shape) * operand.dtype.itemsize, memory):
                raise VerifyError(f"step {k} reads {operand} from a slot too small for it")
        if step.call >= 0:
            calls.add(step.call)
        elif not _fits(step.slot, size_of(step.shape) * step.dtype.itemsize, memory):
            raise VerifyError(f"step {k} writes {step.op.name} to a slot too small for it")


def _fits(slot: int, nbytes: int, memory: Memory) -> bool:
    at = slot - memory.first
    return slot >= 0 and at < len(memory.temporaries) and (at < 0 or nbytes <= memory.temporaries[at])
