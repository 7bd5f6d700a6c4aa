"""What goes between a protocol and a model: requests and replies that no protocol shows in."""

from __future__ import annotations

from typing import Any, NamedTuple

from .elements import Array


class Named(NamedTuple):
    """A tensor of a request or a reply. `array` holds its elements (of BF16 the bits)."""

    name: str
    datatype: str
    array: Array

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.array.shape)


class Request:
    """One question to a model. `deadline` is a time of `time.perf_counter`; `connection` says which requests keep
    their order among themselves; `ran` (seconds that it waited, that its batch took, the batch's rows) comes with the
    reply."""

    __slots__ = ("id", "inputs", "outputs", "parameters", "deadline", "connection", "ran")

    def __init__(self, inputs: list[Named], id: str = "", outputs: list[str] | None = None,
                 parameters: dict[str, Any] | None = None, deadline: float | None = None,
                 connection: object = None) -> None:
        self.id = id
        self.inputs = inputs
        self.outputs = outputs
        self.parameters = parameters or {}
        self.deadline = deadline
        self.connection = connection
        self.ran: tuple[float, float, int] | None = None

    @property
    def signature(self) -> tuple[Any, ...]:
        """What has to agree for two requests to be run together."""
        return tuple([(t.name, t.datatype, t.array.shape[1:]) for t in self.inputs])

    @property
    def rows(self) -> int:
        return self.inputs[0].array.shape[0] if self.inputs and self.inputs[0].array.ndim else 0


class Reply(NamedTuple):
    outputs: list[Named]
    parameters: dict[str, Any] = {}
