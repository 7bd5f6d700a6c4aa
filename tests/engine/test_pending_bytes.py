"""A loop that keeps small results of large arrays must not keep the arrays."""

import tracemalloc

import numpy as np
import pytest

import facula
from facula import config
from facula.engine import recorder
from facula.engine.session import session
from facula.engine.targets import host

MAKE = {"randn": lambda: facula.randn(100, 1000), "from_numpy": lambda: facula.from_numpy(np.ones((100, 1000))),
        "tensor": lambda: facula.tensor(np.ones((100, 1000))), "computed": lambda: facula.rand(100, 1000) * 2 + 1}
KEEP = {"argmax": lambda x: x.argmax(1), "mean": lambda x: x.mean(), "slice": lambda x: x[:2].clone(),
        "element": lambda x: x[3, 4] + 1}


@pytest.mark.parametrize("keep", KEEP)
@pytest.mark.parametrize("make", MAKE)
def test_what_is_pending_holds_few_bytes(make, keep, monkeypatch):
    monkeypatch.setattr(recorder, "MOST_BESIDE", 1 << 21)
    make, keep = MAKE[make], KEEP[keep]
    kept = [keep(make()) for _ in range(40)]  # compiled: that takes memory, too
    kept[0].tolist()
    kept.clear()
    nbytes = make().numpy().nbytes
    tracemalloc.start()
    try:
        for _ in range(40):
            kept.append(keep(make()))
        most = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    # of 40 turns with three arrays each: the interpreter has every result in memory, some in double precision
    arrays = 24 if config.BACKEND.value == "interpreter" or not host.available() else 4
    assert most < (1 << 21) + arrays * nbytes + (1 << 20)


def test_small_arrays_and_others_work_compute_nothing(monkeypatch):
    """Memory is counted while the same node is the oldest."""
    monkeypatch.setattr(recorder, "MOST_BESIDE", 1 << 20)
    x = facula.ones(3)
    x.tolist()
    kept = []
    for _ in range(200):
        kept.append(x + facula.tensor(np.zeros(3)))
    if recorder.LIMIT > 256:
        assert len(session.pending) >= 200
    for _ in range(20):
        large = facula.from_numpy(np.ones(1 << 16))  # half a threshold, and nothing pending is older than it
        (large + 1).sum().item()
    assert session.beside <= 1 << 20
