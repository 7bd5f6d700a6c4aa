"""`Store`: the methods that all stores have, and PrefixStore, which puts something before every key."""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from facula.distributed.constants import DistStoreError, QueueEmptyError, seconds

DEFAULT_TIMEOUT = 300.0


def as_bytes(value: Any) -> bytes:
    """Text as UTF-8, bytes as they are. TypeError of anything else."""
    if isinstance(value, str):
        return value.encode()
    if isinstance(value, (bytes, bytearray, memoryview)):
        return bytes(value)
    raise TypeError(f"a store holds str and bytes, got {type(value).__name__}")


class Store:
    """Values by key, which processes share. A store of one's own defines the methods that begin with `_`, or the
    public ones, as PyTorch's do.

    Keys are text. Values go in as text or bytes and come out as bytes.
    """

    def __init__(self) -> None:
        self._seconds = DEFAULT_TIMEOUT

    # ---- what a kind of store defines ------------------------------------------------------------------------

    def _do(self, what: str, *arguments: Any) -> Any:
        """One of the Table's methods, or "set", "get" (None where absent), "keys"."""
        raise NotImplementedError(f"{type(self).__name__} does not define what `{what}` does")

    def _wait(self, keys: list[bytes], until: float) -> bool:
        """Until all keys are there: False if they are not by then (`time.monotonic`)."""
        pause = 0.0005
        while not self._do("has", keys):
            if time.monotonic() >= until:
                return False
            time.sleep(pause)
            pause = min(pause * 1.5, 0.02)
        return True

    def _pop(self, key: bytes, until: float) -> bytes | None:
        """The first value of a queue, None if there is none by then."""
        pause = 0.0005
        while True:
            found: bytes | None = self._do("pop", key)
            if found is not None or time.monotonic() >= until:
                return found
            time.sleep(pause)
            pause = min(pause * 1.5, 0.02)

    # ---- what users call -------------------------------------------------------------------------------------

    @property
    def timeout(self) -> timedelta:
        """How long `get` and `wait` wait."""
        return timedelta(seconds=self._seconds)

    def set_timeout(self, timeout: timedelta) -> None:
        """How long `get` and `wait` wait, from now on."""
        self._seconds = seconds(timeout, DEFAULT_TIMEOUT)

    def set(self, key: str, value: Any) -> None:
        """Put a value under a key.

        Example:
            >>> from facula.distributed import HashStore
            >>> store = HashStore()
            >>> store.set("colour", "red")
            >>> store.get("colour")
            b'red'
        """
        self._do("set", as_bytes(key), as_bytes(value))

    def get(self, key: str) -> bytes:
        """The value of a key, as soon as there is one.

        Raises:
            DistStoreError: there was none within the store's timeout.
        """
        self.wait([key])
        found: bytes | None = self._do("get", as_bytes(key))
        if found is None:  # deleted since
            return self.get(key)
        return found

    def add(self, key: str, amount: int) -> int:
        """Add to the number under a key (0 if there is none), as one step; the sum.

        Example:
            >>> from facula.distributed import HashStore
            >>> store = HashStore()
            >>> store.add("count", 2), store.add("count", 3)
            (2, 5)
        """
        return int(self._do("add", as_bytes(key), int(amount)))

    def append(self, key: str, value: Any) -> None:
        """Put `value` behind the key's value."""
        self._do("append", as_bytes(key), as_bytes(value))

    def compare_set(self, key: str, expected_value: Any, desired_value: Any) -> bytes:
        """Put `desired_value` where `expected_value` stands, or where nothing is expected and nothing stands; the
        value that stands then.

        Example:
            >>> from facula.distributed import HashStore
            >>> store = HashStore()
            >>> store.compare_set("owner", "", "rank 0"), store.compare_set("owner", "", "rank 1")
            (b'rank 0', b'rank 0')
        """
        return bytes(self._do("compare_set", as_bytes(key), as_bytes(expected_value), as_bytes(desired_value)))

    def check(self, keys: Sequence[str]) -> bool:
        """Are all of these keys there?"""
        return bool(self._do("has", [as_bytes(key) for key in keys]))

    def wait(self, keys: Sequence[str], timeout: timedelta | None = None) -> None:
        """Wait until all of these keys are there.

        Raises:
            DistStoreError: they were not within `timeout`, or else the store's.
        """
        limit = seconds(timeout, self._seconds)
        if not self._wait([as_bytes(key) for key in keys], time.monotonic() + limit):
            raise DistStoreError(f"wait timeout after {round(limit * 1000)}ms, keys: "
                                 + ", ".join(f"/{key}" for key in keys))

    def delete_key(self, key: str) -> bool:
        """Remove a key. Was it there?"""
        return bool(self._do("delete", as_bytes(key)))

    def num_keys(self) -> int:
        """How many keys there are."""
        return len(self._do("keys"))

    def list_keys(self) -> list[str]:
        """The keys there are."""
        return [key.decode() for key in self._do("keys")]

    def multi_get(self, keys: Sequence[str]) -> list[bytes]:
        """The values of several keys, once all are there."""
        self.wait(keys)
        return [self.get(key) for key in keys]

    def multi_set(self, keys: Sequence[str], values: Sequence[Any]) -> None:
        """Set several keys. ValueError if there are not as many values."""
        for key, value in zip(keys, values, strict=True):
            self.set(key, value)

    def queue_push(self, key: str, value: Any) -> None:
        """Put a value at the end of a queue."""
        self._do("push", as_bytes(key), as_bytes(value))

    def queue_pop(self, key: str, block: bool = True) -> bytes:
        """The first value of a queue.

        Raises:
            QueueEmptyError: there is none, and `block` is False.
            DistStoreError: none came within the timeout.
        """
        found = self._pop(as_bytes(key), time.monotonic() + (self._seconds if block else 0))
        if found is None:
            if not block:
                raise QueueEmptyError(f"queue is empty: {key}")
            raise DistStoreError(f"wait timeout after {round(self._seconds * 1000)}ms, queue: /{key}")
        return found

    def queue_len(self, key: str) -> int:
        """How many values a queue has."""
        return int(self._do("length", as_bytes(key)))

    def barrier(self, key: str, world_size: int, timeout: timedelta | None = None) -> None:
        """Wait until `world_size` callers have come to this key. DistStoreError if they have not in time."""
        if self.add(f"{key}/count", 1) >= world_size:
            self.set(f"{key}/open", b"1")
        self.wait([f"{key}/open"], timeout)

    def has_extended_api(self) -> bool:
        """True: `append`, `multi_get` and `multi_set` are there."""
        return True

    def clone(self) -> Store:
        """Another way to the same table, for another thread: no call of one waits for a call of the other."""
        return self


class PrefixStore(Store):
    """A store whose keys have `prefix/` before them in another one.

    Example:
        >>> from facula.distributed import HashStore, PrefixStore
        >>> whole = HashStore()
        >>> PrefixStore("mine", whole).set("key", "1")
        >>> whole.list_keys()
        ['mine/key']
    """

    def __init__(self, prefix: str, store: Store) -> None:
        super().__init__()
        self._prefix, self._store = as_bytes(prefix) + b"/", store
        self._seconds = getattr(store, "_seconds", DEFAULT_TIMEOUT)

    @property
    def underlying_store(self) -> Store:
        """The store whose keys these are."""
        return self._store

    @property
    def _underlying_non_prefix_store(self) -> Store:
        store: Store = self._store
        while isinstance(store, PrefixStore):
            store = store._store
        return store

    def set_timeout(self, timeout: timedelta) -> None:
        """How long `get` and `wait` wait, of the store beneath too."""
        super().set_timeout(timeout)
        self._store.set_timeout(timeout)

    def _do(self, what: str, *arguments: Any) -> Any:
        if what == "keys":
            return [key[len(self._prefix):] for key in self._store._do("keys") if key.startswith(self._prefix)]
        key, *rest = arguments
        named = [self._prefix + k for k in key] if what == "has" else self._prefix + key
        return self._store._do(what, named, *rest)

    def _wait(self, keys: list[bytes], until: float) -> bool:
        return self._store._wait([self._prefix + key for key in keys], until)

    def _pop(self, key: bytes, until: float) -> bytes | None:
        return self._store._pop(self._prefix + key, until)

    def clone(self) -> Store:
        """The same keys by another way."""
        return PrefixStore(self._prefix[:-1].decode(), self._store.clone())
