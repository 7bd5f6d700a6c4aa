"""The named tuples of `torch.return_types`."""

from __future__ import annotations

from collections import namedtuple
from typing import Any

_result_types: dict[tuple[str, tuple[str, ...]], Any] = {}


def result_type(name: str, *fields: str) -> Any:
    """The named tuple `torch.return_types.<name>`."""
    fields = fields or ("values", "indices")
    found = _result_types.get((name, fields))
    if found is None:
        base = namedtuple(name, fields)  # type: ignore[misc]

        def show(self: Any) -> str:
            inner = ",\n".join(f"{f}={v!r}" for f, v in zip(fields, self, strict=False))
            return f"torch.return_types.{name}(\n{inner})"
        found = type(name, (base,),
                     {"__slots__": (), "__module__": "torch.return_types", "__repr__": show})
        _result_types[name, fields] = found
    return found
