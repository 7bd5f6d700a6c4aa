"""`HashStore`: a store between the threads of one process."""

from __future__ import annotations

import threading
import time
from typing import Any

from facula.distributed.store.base import Store
from facula.distributed.store.table import Table


class HashStore(Store):
    """A store in this process's memory.

    Example:
        >>> from facula.distributed import HashStore
        >>> store = HashStore()
        >>> store.multi_set(["a", "b"], ["1", "2"])
        >>> store.multi_get(["a", "b"]), store.num_keys(), store.check(["c"])
        ([b'1', b'2'], 2, False)
    """

    def __init__(self) -> None:
        super().__init__()
        self._table, self._changed = Table(), threading.Condition()

    def _do(self, what: str, *arguments: Any) -> Any:
        with self._changed:
            if what == "has":
                return self._table.has(*arguments)
            found = answer(self._table, what, arguments)
            self._changed.notify_all()
            return found

    def _wait(self, keys: list[bytes], until: float) -> bool:
        with self._changed:
            return self._changed.wait_for(lambda: self._table.has(keys), max(until - time.monotonic(), 0))

    def _pop(self, key: bytes, until: float) -> bytes | None:
        with self._changed:
            self._changed.wait_for(lambda: self._table.length(key), max(until - time.monotonic(), 0))
            return self._table.pop(key)


def answer(table: Table, what: str, arguments: tuple[Any, ...]) -> Any:
    """What a table answers to a request by name."""
    if what == "set":
        table.values[arguments[0]] = arguments[1]
        return None
    if what == "get":
        return table.values.get(arguments[0])
    if what == "keys":
        return list(table.values)
    return getattr(table, what)(*arguments)
