"""`Stateful`: what has a `state_dict` of its own, and takes it back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol, runtime_checkable

__all__ = ["Stateful"]


@runtime_checkable
class Stateful(Protocol):
    """Something with `state_dict()` and `load_state_dict(state_dict)`: a module, an optimizer, a program's own class.

    Example:
        >>> import facula
        >>> from facula.distributed.checkpoint.stateful import Stateful
        >>> isinstance(facula.nn.Linear(1, 1), Stateful), isinstance({}, Stateful)
        (True, False)
    """

    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, state_dict: dict[str, Any]) -> None: ...


def states_of(values: Mapping[str, Any]) -> dict[str, Any]:
    """The values, those that are stateful as their state."""
    return {name: value.state_dict() if isinstance(value, Stateful) else value for name, value in values.items()}
