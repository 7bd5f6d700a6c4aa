"""How processes find each other: a URL, from which come a store, a rank and the world's size.

    env://                 RANK, WORLD_SIZE, MASTER_ADDR, MASTER_PORT, as launchers set them
    tcp://host:port        rank 0 holds the store there
    file:///path           a store in a file
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any
from urllib.parse import parse_qs, urlparse

from facula.distributed.constants import default_pg_timeout
from facula.distributed.store import FileStore, PrefixStore, Store, TCPStore

_handlers: dict[str, Callable[..., Iterator[Any]]] = {}


def register_rendezvous_handler(scheme: str, handler: Callable[..., Iterator[Any]]) -> None:
    """Have `scheme://...` answered by `handler(url, timeout=..., **kwargs)`, a generator of (store, rank, world size).

    RuntimeError where the scheme has a handler.
    """
    if scheme in _handlers:
        raise RuntimeError(f"Rendezvous handler for {scheme}:// already registered")
    _handlers[scheme] = handler


def rendezvous(url: str, rank: int = -1, world_size: int = -1, **kwargs: Any) -> Iterator[tuple[Store, int, int]]:
    """A generator of (store, rank, world size) for a URL; `rank` and `world_size`, if given, count more than its own.

    Raises:
        ValueError: the URL or the environment lacks something.
        RuntimeError: nobody handles such URLs.
    """
    if not isinstance(url, (str, bytes)):
        raise RuntimeError(f"`url` must be a string. {type(url)}: {url}")
    if not isinstance(rank, int) or not isinstance(world_size, int):
        raise RuntimeError(f"`rank` and `world_size` must be integers, got {rank!r} and {world_size!r}")
    found = urlparse(url)
    if rank != -1 or world_size != -1:
        query = {key: values[0] for key, values in parse_qs(found.query).items()}
        if rank != -1:
            query["rank"] = str(rank)
        if world_size != -1:
            query["world_size"] = str(world_size)
        found = found._replace(query="&".join(f"{k}={v}" for k, v in query.items()))
        url = found.geturl()
    if found.scheme not in _handlers:
        raise RuntimeError(f"No rendezvous handler for {found.scheme}://")
    return _handlers[found.scheme](url, **kwargs)


def _numbers(url: str, names: tuple[str, ...] = ("rank", "world_size")) -> list[int]:
    query = parse_qs(urlparse(url).query)
    found = []
    for name in names:
        if name not in query:
            raise ValueError(f"Error initializing torch.distributed using {urlparse(url).scheme}:// rendezvous: "
                             f"{'world size' if name == 'world_size' else name} parameter missing")
        found.append(int(query[name][0]))
    return found


def _file(url: str, **kwargs: Any) -> Iterator[tuple[Store, int, int]]:
    path = urlparse(url).path
    if not path:
        raise ValueError("Error initializing torch.distributed using file:// rendezvous: path missing")
    rank, size = _numbers(url)
    yield FileStore(path, size), rank, size
    raise RuntimeError("Unable to perform rerendezvous using file:// method")


def _tcp(url: str, timeout: timedelta = default_pg_timeout, **kwargs: Any) -> Iterator[tuple[Store, int, int]]:
    found = urlparse(url)
    if found.port is None:
        raise ValueError("Error initializing torch.distributed using tcp:// rendezvous: port number missing")
    rank, size = _numbers(url)
    assert found.hostname is not None
    yield _store(found.hostname, found.port, rank, size, timeout), rank, size
    raise RuntimeError("Unable to perform rerendezvous using tcp:// method")


def _store(host: str, port: int, rank: int, size: int, timeout: timedelta) -> Store:
    if not 0 <= port < 65536:
        raise ValueError(f"port must have value from 0 to 65535 but was {port}")
    if os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True":
        # The launcher holds the store, over all restarts: each attempt has keys of its own.
        attempt = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
        return PrefixStore(f"/worker/attempt_{attempt}",
                           TCPStore(host, port, size, False, timeout, wait_for_workers=False))
    return TCPStore(host, port, size, rank == 0, timeout, multi_tenant=True)


def _env(url: str, timeout: timedelta = default_pg_timeout, **kwargs: Any) -> Iterator[tuple[Store, int, int]]:
    query = parse_qs(urlparse(url).query)

    def value(name: str) -> str:
        found = os.environ.get(name)
        if found is None:
            raise ValueError("Error initializing torch.distributed using env:// rendezvous: environment variable "
                             f"{name} expected, but not set")
        return found
    rank = int(query["rank"][0]) if "rank" in query else int(value("RANK"))
    size = int(query["world_size"][0]) if "world_size" in query else int(value("WORLD_SIZE"))
    yield _store(value("MASTER_ADDR"), int(value("MASTER_PORT")), rank, size, timeout), rank, size
    raise RuntimeError("Unable to perform rerendezvous using env:// method")


register_rendezvous_handler("tcp", _tcp)
register_rendezvous_handler("env", _env)
register_rendezvous_handler("file", _file)
