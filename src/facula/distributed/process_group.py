"""`ProcessGroup`: some ranks of the world, what they have called so far, and who carries it out."""

from __future__ import annotations

import contextlib
import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any

from facula.distributed.backends.base import Backend, Call
from facula.distributed.constants import DistBackendError, seconds
from facula.distributed.work import Work
from facula.undisturbed import reentrant_lock

KEPT_CALLS = 64  # of the flight recorder


class ProcessGroup:
    """A group of processes; `init_process_group` and `new_group` make them.

    Collectives of one group are numbered in the order of their calls, on each rank; a call with `async_op=True` is
    carried out by a thread of the group's own, in that order.
    """

    def __init__(self, name: str, ranks: Sequence[int], backend: Backend, timeout: float, store: Any = None,
                 desc: str = "") -> None:
        self._name, self._ranks, self._backend, self._limit = name, list(ranks), backend, timeout
        self._store, self._desc = store, desc or "undefined"
        self._number = 0
        self._works: deque[Work] = deque()
        self._jobs: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._sends: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._sender: threading.Thread | None = None
        self._sending = 0
        self._lock = reentrant_lock()
        self.calls: deque[list[Any]] = deque(maxlen=KEPT_CALLS)  # [number, note, state, since]
        self._coalescing: list[Callable[[], Work | None]] | None = None

    def rank(self) -> int:
        """This process's rank within the group."""
        return self._backend.rank

    def size(self) -> int:
        """How many ranks it has."""
        return self._backend.size

    def name(self) -> str:
        """The backend's name."""
        return self._backend.name

    @property
    def group_name(self) -> str:
        """The group's name, the same on all its ranks."""
        return self._name

    @property
    def group_desc(self) -> str:
        """What it was said to be for."""
        return self._desc

    @property
    def bound_device_id(self) -> Any:
        """None: groups are not bound to a device."""
        return None

    def get_group_store(self) -> Any:
        """The store by which its ranks have found each other."""
        return self._store

    def set_timeout(self, timeout: timedelta) -> None:
        """How long a collective may take, from now on."""
        self._limit = seconds(timeout, self._limit)

    def _get_backend_name(self) -> str:
        return self._backend.name

    def _get_sequence_number_for_group(self) -> int:
        return self._number

    def __repr__(self) -> str:
        return f"<torch.distributed.distributed_c10d.ProcessGroup {self._name!r} of ranks {self._ranks}>"

    # ---- calls -----------------------------------------------------------------------------------------------

    def _call(self, note: str, run: Callable[[Call], Any], then: Callable[[Any], None] | None = None,
              outputs: Any = None, async_op: bool = False, limit: float | None = None) -> Work | None:
        """A collective: `run(call)` moves bytes, `then(what it returns)` writes tensors."""
        self._settle()
        number, self._number = self._number, self._number + 1
        patience = self._limit if limit is None else limit
        entry = [number, note, "called", time.time()]
        self.calls.append(entry)
        if not async_op:
            found = self._carry_out(number, note, run, patience, entry)
            if then is not None:
                then(found)
            return None
        box: list[Any] = []
        work = Work(outputs, note, None if then is None else lambda: then(box[0]))
        self._works.append(work)
        self._jobs.put((work, box, number, note, run, patience, entry))
        if self._thread is None:
            self._thread = threading.Thread(target=self._work_off, name=f"facula group {self._name}", daemon=True)
            self._thread.start()
        return work

    def _carry_out(self, number: int, note: str, run: Callable[[Call], Any], patience: float, entry: list[Any]) -> Any:
        call = Call(number, note, time.monotonic() + patience, patience)
        self._backend.begin(call)
        try:
            entry[2] = "running"
            found = run(call)
            entry[2] = "done"
            return found
        except BaseException as error:  # whoever comes next would take up half a collective
            entry[2] = f"failed: {error}"
            self._backend.fail(str(error) if isinstance(error, DistBackendError) else
                               f"{note} was interrupted on rank {self._ranks[self.rank()]}: {error!r}")
            raise
        finally:
            self._backend.end(call)

    def _work_off(self) -> None:
        while (job := self._jobs.get()) is not None:
            work, box, number, note, run, patience, entry = job
            try:
                box.append(self._carry_out(number, note, run, patience, entry))
            except BaseException as error:
                work._complete(error if isinstance(error, Exception) else RuntimeError(repr(error)))
            else:
                work._complete()
            del job, work, box, run  # what they hold is not to live until the next one comes

    def _settle(self) -> None:
        """Write the results of what has been done since, in order."""
        while self._works and self._works[0]._event.is_set():
            self._works.popleft()._finish()

    # ---- point to point --------------------------------------------------------------------------------------

    def _post_send(self, array: Any, to: int, tag: int, work: Work) -> None:
        """Have it sent by a thread, after what was to be sent before."""
        with self._lock:
            self._sending += 1
            if self._sender is None:
                self._sender = threading.Thread(target=self._send_off, name=f"facula sends {self._name}", daemon=True)
                self._sender.start()
        self._sends.put((array, to, tag, work))

    def _send_off(self) -> None:
        while (job := self._sends.get()) is not None:
            array, to, tag, work = job
            try:
                self._backend.send(array, to, tag, self._limit)
            except Exception as error:
                work._complete(error)
            else:
                work._complete()
            with self._lock:
                self._sending -= 1
            del job, array, work

    # ---- ends ------------------------------------------------------------------------------------------------

    def abort(self) -> None:
        """Whatever is under way fails, on all ranks."""
        self._backend.fail(f"rank {self._ranks[self.rank()]} has aborted the process group")

    def shutdown(self) -> None:
        """Carry out what was called, and end."""
        for thread, jobs in ((self._thread, self._jobs), (self._sender, self._sends)):
            if thread is not None:
                jobs.put(None)
                thread.join(self._limit)
        with contextlib.suppress(DistBackendError):
            self._settle()
        self._backend.close()


def flight_record(group: ProcessGroup) -> str:
    """The last calls of a group, a line each: number, what it is, its state, how long ago.

    Example:
        >>> from facula.distributed.backends.fake import Fake
        >>> from facula.distributed.process_group import ProcessGroup, flight_record
        >>> flight_record(ProcessGroup("0", [0, 1], Fake(0, 2), 1.0))
        "group '0', rank 0 of 2: no calls"
    """
    head = f"group {group.group_name!r}, rank {group.rank()} of {group.size()}: "
    if not group.calls:
        return head + "no calls"
    now = time.time()
    return "\n".join([head + f"{group._number} calls, the last:",
                      *(f"  {number:6} {note}: {state}, {now - since:.1f} s ago"
                        for number, note, state, since in group.calls)])
