"""The cache of what has been seen: bounded in bytes, and so are the plans that only it holds."""

import gc

import pytest

import facula as F
from facula.engine import recorder
from facula.engine.session import session
from facula.engine.trace.kept import Kept
from fresh import nothing_seen


class Thing:
    def __init__(self, weight):
        self.weight = weight


def weight_of(*keys):
    cache = Kept(1 << 30)
    for key in keys:
        cache.keep(key, Thing(0))
    return cache.held


def test_the_oldest_go_first():
    keys = [("a",), ("b",), ("c",), ("d",)]
    cache = Kept(weight_of(*keys) + 3000)
    for key in keys:
        cache.keep(key, Thing(1000))
    assert list(cache) == keys[1:] and cache.held <= cache.most


def test_what_is_put_in_again_is_the_newest():
    cache = Kept(weight_of(("a",), ("b",)) + 2000)
    cache.keep(("a",), 1)
    cache.keep(("b",), Thing(1000))
    cache.keep(("a",), Thing(1000))
    assert list(cache) == [("b",), ("a",)] and cache.held == cache.most
    cache.keep(("c",), Thing(1000))
    assert list(cache) == [("a",), ("c",)]


def test_the_newest_stays_however_large_it_is():
    cache = Kept(100)
    for key in (("a",), ("b",)):
        cache.keep(key, Thing(1 << 20))
    assert list(cache) == [("b",)]
    cache.clear()
    assert not cache and cache.held == 0


def test_what_has_grown_makes_others_go():
    cache = Kept(weight_of(("a",), ("b",)) + 2000)
    cache.keep(("a",), Thing(1000))
    cache.keep(("b",), grown := Thing(1000))
    grown.weight += 1
    cache.grown(1)
    assert list(cache) == [("b",)] and cache.held == weight_of(("b",)) + 1001


@pytest.mark.compiled
@pytest.mark.skipif(recorder.LIMIT == 0, reason="FACULA_EAGER: other graphs")
def test_many_graphs_keep_within_their_bytes_and_their_plans_go_with_them(monkeypatch):
    nothing_seen(monkeypatch)
    monkeypatch.setattr(session, "seen", Kept(60_000))
    w = F.ones(3, requires_grad=True)
    for k in range(2, 40):
        x = F.ones(k)
        for _ in range(3):  # the third time from a replay
            w.grad = None
            (w.sum() * x * 2.0).sum().backward()
            assert w.grad.tolist() == [2.0 * k] * 3
    held = len(session.seen)
    assert 2 <= held < 60 and session.seen.held <= 60_000
    gc.collect()
    assert len(session.plans) <= 2 * held


def test_a_process_has_one():
    assert recorder.pending is session.pending and recorder.lock is session.lock
