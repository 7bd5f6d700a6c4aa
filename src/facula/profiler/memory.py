"""`facula.memory_summary()`: what memory tensors and the engine hold."""

from __future__ import annotations

import gc
from collections import defaultdict

from facula._tensor.cells import Storage
from facula._tensor.handle import Tensor
from facula.engine.runtime import buffer
from facula.engine.session import session
from facula.ops.listening import quiet


def memory_summary(device: object = None, abbreviated: bool = False, row_limit: int = 10) -> str:
    """A table of memory on the cpu: held now, the most that was held since the start (or
    `facula.profiler.memory.reset_peak`), and which tensors the program holds, by shape and dtype.

    Args:
        device: "cpu" or None; for others ask their modules (`facula.cuda.memory_summary`).
        abbreviated: leave out the tensors.
        row_limit: so many kinds of tensors at most, those that take most first.

    Raises:
        ValueError: of another device.

    Example:
        >>> import facula
        >>> x = facula.ones(256, 1024).exp_()
        >>> print(facula.memory_summary().splitlines()[0])
        memory of tensors on the cpu
    """
    if device is not None and str(device) != "cpu":
        raise ValueError(f"memory_summary: {device}: only the cpu's memory is told of here")
    lines = ["memory of tensors on the cpu", f"  held now         {_size(buffer.held()):>12}",
             f"  most held        {_size(buffer.most_held()):>12}", f"  pending nodes    {len(session.pending):>12,}"]
    if not abbreviated:
        found: dict[tuple[str, str], list[int]] = defaultdict(lambda: [0, 0])
        seen = set()
        with quiet():
            for thing in gc.get_objects():
                if issubclass(type(thing), Tensor) and _has_memory(thing) and id(thing) not in seen:
                    seen.add(id(thing))
                    entry = found[str(list(thing.shape)), str(thing.dtype).removeprefix("torch.")]
                    entry[0] += 1
                    entry[1] += thing.numel() * thing.element_size()
        rows = sorted(found.items(), key=lambda item: -item[1][1])
        lines.append(f"tensors that the collector knows: {sum(entry[0] for _, entry in rows):,}")
        for (shape, kind), (count, size) in rows[:row_limit]:
            lines.append(f"  {_size(size):>12}  {count:>6} x {shape} {kind}")
        if len(rows) > row_limit:
            rest = sum(entry[1] for _, entry in rows[row_limit:])
            lines.append(f"  {_size(rest):>12}  of {len(rows) - row_limit} others")
    return "\n".join(lines)


def _has_memory(t: Tensor) -> bool:
    """Does it hold memory of the cpu? Those of a capture (`torch.export`) stand for others."""
    return (t._node is not None or isinstance(t._storage, Storage)) and t.device.type == "cpu"


def reset_peak() -> None:
    """The most that was held is what is held now."""
    buffer.reset_most_held()


def _size(count: int) -> str:
    for unit, size in (("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)):
        if count >= size:
            return f"{count / size:.2f} {unit}"
    return f"{count} B"
