"""When a rank dies, is late, or calls something else, the others get an error within the time-out, and it says who."""

import os
import signal
import threading
import time
import warnings

import pytest

import facula
import ranks
from facula import distributed as dist
from facula.distributed.backends import sockets
from facula.distributed.fabric import mesh as fabric_mesh

pytestmark = pytest.mark.processes


def _killed(rank, size, how):
    dist.all_reduce(facula.ones(1))
    if rank == 1:
        if how == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        time.sleep(0.05)
        os._exit(3)
    since = time.monotonic()
    if how == "recv":
        text = ranks.raised(dist.DistBackendError, lambda: dist.recv(facula.ones(1), 1))
    elif how == "async":
        work = dist.all_reduce(facula.ones(100000), async_op=True)
        text = ranks.raised(dist.DistBackendError, work.wait)
    else:
        text = ranks.raised(dist.DistBackendError, lambda: [dist.all_reduce(facula.ones(100000)) for _ in range(9)])
    assert "rank 1" in text and time.monotonic() - since < 50
    assert "rank 1" in ranks.raised(dist.DistBackendError, dist.barrier)  # and so does all that comes after
    return True


@pytest.mark.parametrize("how", ["kill", "exit", "recv", "async"])
def test_a_rank_that_dies(how):
    found = ranks.run(3, _killed, 3, how, killed=(1,), limit=60)
    assert found[0] and found[2]


def _late(rank, size):
    if rank == 1:
        time.sleep(2.5)
        return ranks.raised(dist.DistBackendError, lambda: dist.all_reduce(facula.ones(3)))
    return ranks.raised(dist.DistBackendError, lambda: dist.all_reduce(facula.ones(3)))


def test_a_rank_that_is_late_is_named():
    on_time, late = ranks.run(2, _late, 2, limit=1.0)
    for text in (on_time, late):
        assert "all_reduce(SUM, float32, 3 elements), number 0" in text and "1 s for rank 1" in text


def _stopped(rank, size):
    mine = facula.tensor([os.getpid()])
    found = [facula.zeros(1, dtype=facula.int64) for _ in range(size)]
    dist.all_gather(found, mine)
    other = int(found[1].item())
    if rank == 1:
        os.kill(other, signal.SIGSTOP)
        dist.all_reduce(facula.ones(3))
        return None
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        thread = threading.Timer(2.0, lambda: os.kill(other, signal.SIGCONT))
        thread.start()
        try:
            dist.all_reduce(facula.ones(3))  # it goes on, and so does this
        finally:
            os.kill(other, signal.SIGCONT)
        said = [str(w.message) for w in caught]
    return said


def test_a_rank_that_is_stopped_is_named_long_before_the_time_is_over(monkeypatch):
    monkeypatch.setattr(fabric_mesh, "BEAT_SECONDS", 0.1)  # ranks are forked
    monkeypatch.setattr(sockets, "SILENT_SECONDS", 1.0)
    for said in ranks.run(3, _stopped, 3, limit=60)[::2]:
        assert len(said) == 1 and "rank 1, which has given no sign of life" in said[0] and "all_reduce" in said[0]


def _disagree(rank, size, what):
    x = facula.ones(4)
    if rank == 0:
        call = lambda: dist.all_reduce(x)  # noqa: E731
    elif what == "shape":
        call = lambda: dist.all_reduce(facula.ones(3))  # noqa: E731
    elif what == "dtype":
        call = lambda: dist.all_reduce(x.double())  # noqa: E731
    else:
        call = lambda: dist.broadcast(x, 1)  # noqa: E731
    return ranks.raised(dist.DistBackendError, lambda: [call(), dist.barrier()])


@pytest.mark.parametrize("what", ["shape", "dtype", "collective"])
def test_ranks_that_disagree(what):
    for text in ranks.run(3, _disagree, 3, what):
        assert "disagree about collective number 0" in text and "all_reduce(SUM, float32, 4 elements)" in text


@pytest.mark.parametrize("what", ["shape", "dtype", "collective"])
@pytest.mark.parametrize("slow", ["abort", "post"])
def test_nobody_leaves_before_it_has_said_why(what, slow, monkeypatch):
    quick = getattr(fabric_mesh.Mesh, slow)

    def slowly(self, *given):
        if slow == "abort" or given[1][2] and self.rank:  # another rank's barrier
            time.sleep(0.3)  # as where others have the processors
        return quick(self, *given)

    monkeypatch.setattr(fabric_mesh.Mesh, slow, slowly)  # ranks are forked
    for text in ranks.run(3, _disagree, 3, what):
        assert "disagree about collective number 0" in text


def _monitored(rank, size):
    from datetime import timedelta
    dist.monitored_barrier()
    if rank == 2:
        time.sleep(0.5)
        return ""
    limit = timedelta(seconds=0.2) if rank == 0 else timedelta(seconds=0.4)
    return ranks.raised(dist.DistBackendError, lambda: dist.monitored_barrier(timeout=limit, wait_all_ranks=True))


def test_a_monitored_barrier_names_who_is_missing():
    root, other, _ = ranks.run(3, _monitored, 3)
    assert "Ranks 2 failed to pass monitoredBarrier" in root and "rank 0" in other


def _sizes(rank, size):
    if rank == 0:
        dist.send(facula.ones(3), 1)
        dist.barrier()
        return ""
    text = ranks.raised(dist.DistBackendError, lambda: dist.recv(facula.ones(2), 0))
    dist.barrier()
    return text


def test_a_message_of_another_size():
    assert "12 bytes" in ranks.run(2, _sizes, 2)[1]


def _nothing_comes(rank, size):
    if rank == 0:
        text = ranks.raised(dist.DistBackendError, lambda: dist.recv(facula.ones(2), 1))
        record = dist.flight_record(dist.group.WORLD)
    else:
        time.sleep(1.5)
    dist.all_reduce(facula.ones(1))  # the group lives on
    return (text, record) if rank == 0 else ""


def test_a_receive_that_gets_nothing():
    text, record = ranks.run(2, _nothing_comes, 2, limit=2.0)[0]
    assert "from rank 1, 2 elements" in text and "no calls" in record


def _leaves(rank, size):
    dist.all_reduce(facula.ones(1))
    if rank == 0:
        return ""
    if rank == 1:
        pair = dist.new_group([1, 2], use_local_synchronization=True)
        time.sleep(0.2)  # rank 0 has left by now
        dist.barrier(pair)
        return ""
    pair = dist.new_group([1, 2], use_local_synchronization=True)
    dist.barrier(pair)
    return ranks.raised(dist.DistBackendError, lambda: dist.recv(facula.ones(1), 0))


def test_a_rank_that_leaves_is_missed_by_those_who_wait_for_it():
    assert "rank 0 has left" in ranks.run(3, _leaves, 3)[2]
