"""Freed memory is kept for what asks for as much again; what only changes its sizes does not gather it."""

import pytest

import facula
from facula.engine.runtime import buffer


@pytest.fixture
def empty(monkeypatch):
    facula.ones(1).tolist()
    buffer.empty_cache()
    buffer.reset_most_held()
    monkeypatch.setattr(buffer, "IDLE", 1 << 20)


def test_changing_sizes_gather_no_memory(empty):
    held = buffer.held()
    most = 0
    for k in range(400):
        blocks = [buffer.allocate((1 << 16) + 1000 * k) for _ in range(5)]
        del blocks
        most = max(most, buffer._taken)
    size = buffer.class_of((1 << 16) + 399_000)
    assert most - held < (1 << 20) + 3 * 5 * size  # in use, as much again, and what is idle in any case
    assert buffer._taken == buffer.held() + buffer._cached
    assert buffer._cached == sum(size * len(blocks) for size, blocks in buffer._free.items())


def test_sizes_that_return_take_no_fresh_memory(empty):
    def turn():
        return [buffer.allocate(n << 16).ptr for n in (1, 2, 3, 5, 8, 13)]

    turn()
    taken = buffer._taken
    for _ in range(20):
        turn()
    assert buffer._taken == taken
