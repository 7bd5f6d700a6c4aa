"""`torch.return_types`: the named tuples that operations of several results return.

Example:
    >>> import facula
    >>> type(facula.max(facula.eye(2), 0)) is facula.return_types.max
    True
"""

from __future__ import annotations

from typing import Any

from facula.ops import return_types as _made


def __getattr__(name: str) -> Any:
    if name not in _made.names():
        raise AttributeError(f"module 'facula.return_types' has no attribute {name!r}")
    return _made.result_type(name)


def __dir__() -> list[str]:
    return _made.names()
