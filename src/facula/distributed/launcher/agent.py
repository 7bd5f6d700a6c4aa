"""The launcher of one node: round after round, until all workers are done or no restarts are left."""

from __future__ import annotations

import argparse
import os
import secrets
import signal
import socket
import sys
import tempfile
import time
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from facula.distributed.constants import DistError, DistNetworkError
from facula.distributed.elastic.multiprocessing.errors import ChildFailedError, ProcessFailure
from facula.distributed.launcher import workers as processes
from facula.distributed.launcher.meeting import Meeting, Share
from facula.distributed.launcher.workers import Worker
from facula.distributed.store import PrefixStore, TCPStore
from facula.distributed.store.tcp import is_this_machine

SECRET = "FACULA_DISTRIBUTED_SECRET"


class SignalException(Exception):
    """The launcher has been told to end."""

    def __init__(self, number: int) -> None:
        super().__init__(f"ended by {signal.Signals(number).name}")
        self.sigval = number


def launch(options: argparse.Namespace) -> None:
    """Run the program that the options name, on this node, to its end.

    Raises:
        ChildFailedError: workers have failed, and there are no restarts left.
        SignalException: the launcher was told to end, and has ended the workers.
        DistError: the nodes have not come together.
    """
    _secret(options)
    before = _handle(options.signals_to_handle.split(","))
    store = None
    try:
        store = _store(options)
        _rounds(options, store)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        if store is not None:
            store.close()


def _secret(options: argparse.Namespace) -> None:
    """See to it that there is one: workers inherit it."""
    from facula import config
    if os.environ.get(SECRET) or config.DISTRIBUTED_OPEN.value:
        return
    if options.max_nodes > 1:
        raise DistError(f"several nodes have to have one secret: set {SECRET} to the same text on each of them "
                        "(or FACULA_DISTRIBUTED_OPEN=1, which lets everybody in who reaches the port)")
    os.environ[SECRET] = config.DISTRIBUTED_SECRET.value = secrets.token_hex(32)


def _handle(names: Sequence[str]) -> dict[int, Any]:
    def told(number: int, frame: Any) -> None:
        raise SignalException(number)
    found = {}
    for name in names:
        number = getattr(signal, name.strip(), None)
        if number is not None:
            found[number] = signal.signal(number, told)
    return found


def _store(options: argparse.Namespace) -> TCPStore:
    """The store of all nodes: held by this one if it is node 0, or the endpoint is here and nobody has been before."""
    patience = timedelta(seconds=float(options.configuration.get("timeout", 600)))
    alone = options.standalone or options.max_nodes == 1
    if alone and not options.rdzv_endpoint and (options.standalone or options.master_addr == "127.0.0.1"):
        # One node: no port is worth a quarrel, unless one was asked for.
        port = 0 if options.standalone or options.master_port == 29500 else options.master_port
        return TCPStore("127.0.0.1", port, None, True, patience, wait_for_workers=False)
    host, _, text = (options.rdzv_endpoint or f"{options.master_addr}:{options.master_port}").rpartition(":")
    host, port = (host, int(text)) if host else (text, 29400)
    if options.rdzv_backend == "static":
        return TCPStore(host, port, None, options.node_rank == 0, patience, wait_for_workers=False)
    said = options.configuration.get("is_host", "").lower()
    here = said in ("1", "true", "yes") or (not said and _is_here(host))
    if here:
        try:
            return TCPStore(host, port, None, True, patience, wait_for_workers=False)
        except DistNetworkError:
            if said:
                raise
    return TCPStore(host, port, None, False, patience, wait_for_workers=False)


def _is_here(host: str) -> bool:
    """Is that an address of this machine? The kernel knows: it lets us listen there."""
    if is_this_machine(host):
        return True
    try:
        with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM) as sock:
            sock.bind((host, 0))
    except OSError:
        return False
    return True


def _rounds(options: argparse.Namespace, store: TCPStore) -> None:
    told = options.configuration
    fixed = options.node_rank if options.rdzv_backend == "static" and not options.standalone else None
    if options.max_nodes == 1:
        fixed = 0
    meeting = Meeting(PrefixStore(f"launcher/{options.rdzv_id}", store), options.workers, options.min_nodes,
                      options.max_nodes, fixed, float(told.get("join_timeout", told.get("timeout", 600))),
                      float(told.get("last_call_timeout", 30)))
    folder = _folder(options)
    failures = 0
    try:
        while True:
            share = meeting.join()
            attempt = _Attempt(options, store, meeting, share, folder, failures)
            try:
                ended = attempt.run()
            except BaseException:
                meeting.fail(f"the launcher of node {share.place} is ending")
                attempt.stop()
                raise
            attempt.stop()
            if ended == "done":
                return
            if ended != "joined":
                if failures >= options.max_restarts:
                    raise ChildFailedError(options.training_script if attempt.failed else
                                           f"{options.training_script} (on another node: {ended})", attempt.failed)
                failures += 1
                print(f"facula launch: {ended.partition(chr(10))[0]}; starting all workers anew ({failures} of at most "
                      f"{options.max_restarts} times)", file=sys.stderr, flush=True)
            meeting.next()
    finally:
        meeting.leave()


def _folder(options: argparse.Namespace) -> str:
    if options.log_dir:
        os.makedirs(options.log_dir, exist_ok=True)
    return tempfile.mkdtemp(prefix=f"{options.rdzv_id}_", dir=options.log_dir)


class _Attempt:
    """The workers of one round."""

    def __init__(self, options: argparse.Namespace, store: TCPStore, meeting: Meeting, share: Share, folder: str,
                 restarts: int) -> None:
        self.options, self.store, self.meeting, self.share = options, store, meeting, share
        self.folder, self.restarts = os.path.join(folder, f"attempt_{meeting.round}"), restarts
        self.workers: list[Worker] = []
        self.failed: dict[int, ProcessFailure] = {}  # before the others were ended

    def run(self) -> str:
        """Start them, and watch: "done", "joined" (a node has come), or what has failed."""
        for local_rank in range(self.options.workers):
            self.workers.append(self._started(local_rank))
        beats = time.monotonic()
        while True:
            codes = [worker.poll() for worker in self.workers]
            if any(codes):
                self.failed = self._failures()
                rank = min(self.failed, key=lambda r: self.failed[r].timestamp)
                self.meeting.fail(self.failed[rank].told(rank))
            elif all(code == 0 for code in codes):
                return self._others()
            why = self.meeting.failed()
            if why is not None:
                return why
            if time.monotonic() - beats > 1.0:
                beats = time.monotonic()
                lost = self.meeting.lost()
                if lost is not None:
                    self.meeting.fail(f"node {lost} has given no sign of life")
                elif self.meeting.wanted():
                    return "joined"
            time.sleep(self.options.monitor_interval)

    def _others(self) -> str:
        """This node's workers are done: wait for the other nodes', which may fail yet."""
        self.meeting.done()
        while not self.meeting.all_done():
            why = self.meeting.failed()
            if why is not None:
                return why
            lost = self.meeting.lost()
            if lost is not None:
                self.meeting.fail(f"node {lost} has given no sign of life")
            time.sleep(self.options.monitor_interval)
        if self.share.nodes > 1 and self.share.place == 0:
            time.sleep(3 * self.options.monitor_interval)  # the others have still to look at the store
        return "done"

    def _failures(self) -> dict[int, ProcessFailure]:
        """By rank, of this node's workers."""
        return {self.share.first_rank + w.local_rank: w.failure() for w in self.workers
                if w.poll() not in (None, 0)}

    def stop(self) -> None:
        """End what still runs."""
        processes.stop(self.workers, self.options.grace)

    def _started(self, local_rank: int) -> Worker:
        options = self.options
        label = f"[{options.role}{local_rank}]:"
        if options.console and local_rank not in options.console:
            label = None  # type: ignore[assignment]
        return Worker(local_rank, _command(options), self._environment(local_rank),
                      os.path.join(self.folder, str(local_rank)), options.redirects_of[local_rank],
                      options.tee_of[local_rank], label)

    def _environment(self, local_rank: int) -> dict[str, str]:
        options, share = self.options, self.share
        rank, count = share.first_rank + local_rank, options.workers
        found = {**os.environ, "RANK": str(rank), "LOCAL_RANK": str(local_rank), "WORLD_SIZE": str(share.world_size),
                 "LOCAL_WORLD_SIZE": str(count), "GROUP_RANK": str(share.place), "GROUP_WORLD_SIZE": str(share.nodes),
                 "ROLE_RANK": str(rank), "ROLE_WORLD_SIZE": str(share.world_size), "ROLE_NAME": options.role,
                 "MASTER_ADDR": self.store.host, "MASTER_PORT": str(self.store.port),
                 "TORCHELASTIC_RESTART_COUNT": str(self.meeting.round),
                 "TORCHELASTIC_MAX_RESTARTS": str(options.max_restarts), "TORCHELASTIC_RUN_ID": options.rdzv_id,
                 "TORCHELASTIC_USE_AGENT_STORE": "True"}
        if count > 1:
            # Ranks that each take all processors get in each other's way.
            found.setdefault("OMP_NUM_THREADS", "1")
            found.setdefault("FACULA_NUM_THREADS", str(max((os.cpu_count() or 1) // count, 1)))
        return found


def _command(options: argparse.Namespace) -> list[str]:
    if options.no_python:
        return [options.training_script, *options.training_script_args]
    module = ["-m"] if options.module else []
    return [sys.executable, "-u", "-m", "facula", "run", *module, options.training_script,
            *options.training_script_args]
