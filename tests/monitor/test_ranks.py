"""Ranks that come late to a collective, as each of them sees it."""

import threading
from unittest import mock

import pytest

import facula
import ranks
from facula import distributed as dist
from facula import monitor
from facula.autograd.profiler import listeners
from facula.monitor import timing

pytestmark = pytest.mark.processes


def _late(rank, folder, elements, async_op):
    run = monitor.init(dir=folder, id=f"rank{rank}", system=None, alarms=False)
    line = monitor.time_line()
    told = []
    with mock.patch.object(timing, "LEAST", 0.0), mock.patch.object(
            timing.TimeLine, "arrived", lambda self, *seen: (told.append(seen), real(self, *seen))[1]):
        if rank == 2:  # comes when both others' messages have come, and so after them whatever the machine does
            mailbox = dist.group.WORLD._backend.mesh.mailbox
            while sum(len(waiting) for waiting in mailbox._arrived.values()) < 2:
                threading.Event().wait(0.001)
        work = dist.all_reduce(facula.ones(elements), async_op=async_op)
        if work is not None:
            work.wait()
        dist.barrier()  # nobody comes to it from everybody
        w = facula.ones(1, requires_grad=True)
        w.sum().backward()
        facula.optim.SGD([w], lr=0.1).step()
    monitor.finish()
    assert listeners == [] and line not in run.observers
    found = monitor.Folder(folder).get(run.id)
    return told, {r: found.series(f"lag/rank {r}").values.tolist() for r in range(3)}


real = timing.TimeLine.arrived


@pytest.mark.parametrize("async_op", [False, True])
@pytest.mark.parametrize("elements", [4, 10_000])  # one round; shares and then results
def test_a_rank_that_is_late_is_seen_by_all(tmp_path, elements, async_op):
    for rank, (told, lags) in enumerate(ranks.run(3, _late, str(tmp_path), elements, async_op)):
        (me, after), = told
        assert me == rank and set(after) == {0, 1, 2} - {rank}
        came = {**after, rank: 0.0}
        # What the first two send to each other may be on its way still when the third comes, but it has theirs.
        assert came[2] > (max(came[0], came[1]) if rank == 2 else 0)
        if came[2] > max(came[0], came[1]):
            assert lags[2][0] > 0 and min(lags[0], lags[1]) == [0.0]
