"""Ranks of a test: a function in several forked processes, which share nothing but what they send to each other.

Forked and not started anew: Facula has been imported, so that a test costs what it does, and no more. Nothing is left
when `run` returns: whoever has not ended by then is killed, and that is a failure.
"""

import os
import pickle
import select
import signal
import tempfile
import time
import traceback
from datetime import timedelta


class Failed(AssertionError):
    """A rank has raised something; what, and where."""


def run(size, work, *args, timeout=120.0, backend="gloo", limit=60.0, group=True, killed=()):
    """What `work(rank, *args)` returns in each of `size` processes, as a list. With `group`, each has a default group.

    `killed`: ranks that are expected to die without a word; theirs is None.
    """
    with tempfile.TemporaryDirectory() as folder:
        children = {}
        for rank in range(size):
            reading, writing = os.pipe()
            pid = os.fork()
            if pid == 0:
                os.close(reading)
                _child(writing, rank, size, work, args, os.path.join(folder, "store") if group else folder, backend,
                       limit, group)
            os.close(writing)
            children[reading] = (rank, pid)
        found, late = _collect(dict(children), time.monotonic() + timeout)
        for _, pid in children.values():
            if late:
                os.kill(pid, signal.SIGKILL)
        for _, pid in children.values():
            os.waitpid(pid, 0)
    if late:
        raise Failed(f"ranks {late} have not ended within {timeout} s; the others: {found}")
    failures = [f"rank {rank}: {what}" for rank, (good, what) in sorted(found.items())
                if not good and rank not in killed]
    if failures:
        raise Failed("\n".join(failures))
    return [found[rank][1] if found[rank][0] else None for rank in range(size)]


def _collect(children, until):
    found, said = {}, dict.fromkeys(children, b"")
    while children and time.monotonic() < until:
        for reading in select.select(list(children), [], [], max(until - time.monotonic(), 0))[0]:
            data = os.read(reading, 1 << 20)
            said[reading] += data
            if not data:
                rank, _ = children.pop(reading)
                os.close(reading)
                found[rank] = pickle.loads(said[reading]) if said[reading] else (False, "ended without a word")
    for reading in children:
        os.close(reading)
    return found, sorted(rank for rank, _ in children.values())


def _child(writing, rank, size, work, args, where, backend, limit, group):
    answer = (False, "nothing")
    try:
        import facula.distributed as dist
        if group:
            dist.init_process_group(backend, init_method=f"file://{where}", rank=rank, world_size=size,
                                    timeout=timedelta(seconds=limit))
        answer = (True, work(rank, *args))
        if dist.is_initialized():
            dist.destroy_process_group()
    except BaseException:
        answer = (False, traceback.format_exc())
    finally:
        try:
            with os.fdopen(writing, "wb") as file:
                file.write(pickle.dumps(answer))
        finally:
            os._exit(0)


def raised(kind, call):
    """The text of the exception of that kind that the call raises."""
    try:
        call()
    except kind as error:
        return str(error)
    raise AssertionError(f"{kind.__name__} was expected")
