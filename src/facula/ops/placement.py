"""Where the arguments of the running operation are.

The engine records a node where its inputs are (engine/moving.py). Two questions are left to the operations: whether
elements of the cpu that meet those of another device are the program's (an error) or the operation's own (a table of
weights, a mask), and where constants and tables go that are made of shapes alone. Both are answered by the arguments of
the outermost operation that is running now. While there are tensors on other devices every public call passes its door
(listening.py), which says so here; otherwise nothing does.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from facula._tensor.handle import Tensor, device_of
from facula.devices import CPU, device
from facula.dtypes import FLOAT
from facula.engine import moving, recorder
from facula.engine.placing import running
from facula.ops import listening

# They are told where to put things.
_FACTORIES = frozenset(("facula.ops.create.creation", "facula.ops.create.conversion", "facula.ops.random.sampling"))
# An index, or what is written, may lie on the cpu where the tensor itself is on another device.
_LENIENT = frozenset(("getitem", "index_select", "gather", "take"))
_INTO = frozenset(("setitem", "copy", "index_put"))


def called(door: listening.Door, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """A public call, while there are tensors on other devices than the cpu."""
    names = running.names
    depth = len(names)
    try:  # from the first name on: an interrupt may come after any call, and no name may stay
        names.append(door.name)
        if not depth:
            running.place = CPU if door.form.__module__ in _FACTORIES else None
            running.find = lambda: _common(args, kwargs)
            running.given = args, kwargs
        return door.heard(args, kwargs)
    finally:
        if not depth:
            running.place = running.given = None
            running.find = _on_the_cpu
        del names[depth:]


def engine_called(door: listening.Door, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """A call in which the engine itself calls operations, each as if the program did: the walk of a backward pass."""
    kept = running.names, running.place, running.find, running.given
    running.names, running.place, running.find, running.given = [], None, _on_the_cpu, None
    try:
        return door.heard(args, kwargs)
    finally:
        running.names, running.place, running.find, running.given = kept


def _on_the_cpu() -> device:
    return CPU


def _common(args: tuple[Any, ...], kwargs: dict[str, Any]) -> device:
    return next((device_of(t) for t in _tensors(args, kwargs) if device_of(t) is not CPU), CPU)


def refuse() -> None:
    """RuntimeError if the running operation was given tensors of the cpu and of another device."""
    if running.given is None:
        return
    given = list(_tensors(*running.given))
    on_cpu = [t for t in given if device_of(t) is CPU and t.shape]
    elsewhere = next((device_of(t) for t in given if device_of(t) is not CPU), None)
    if not on_cpu or elsewhere is None:
        return
    names = {name.rpartition(".")[2].strip("_") for name in running.names}
    indices = all(t.dtype.category < FLOAT for t in on_cpu)
    if device_of(given[0]) is not CPU and (
            not names.isdisjoint(_INTO) or indices and not names.isdisjoint(_LENIENT)):
        return
    if "embedding" in names and indices:  # F.embedding takes the index first
        return
    first = next(device_of(t) for t in given if device_of(t) is not CPU or t.shape)
    other = CPU if first is not CPU else elsewhere
    raise RuntimeError(f"Tensor on device {other} is not on the expected device {first}! Expected all tensors to be on "
                       "the same device.")


def _tensors(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Iterator[Tensor]:
    """The tensors that a function was called with, but for `out`: registry.py looks at that."""
    yield from _inside(args, 3)
    for name, value in kwargs.items():
        if name != "out":
            yield from _inside(value, 2)


def _inside(value: Any, depth: int) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif depth and isinstance(value, (list, tuple, dict)):
        for part in value.values() if isinstance(value, dict) else value:
            yield from _inside(part, depth - 1)


moving.check.on_mixture = refuse
recorder.above.devices_change = listening.look_again
listening.placed.call, listening.placed.engine_call = called, engine_called
