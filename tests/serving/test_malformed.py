"""Requests that are wrong, over sockets: nothing fails of them, and nothing is left of them. `tools/soak.py requests`
sends a hundred times as many."""

import random

import pytest

import malformed

pytestmark = pytest.mark.processes
pytest.importorskip("uvicorn")


def test_nothing_comes_of_malformed_requests(tmp_path):
    lines, wrong = malformed.run(tmp_path, 1000, 20)
    assert not wrong, "\n".join([*lines, *wrong[:20]])


def test_they_are_of_every_kind():
    """The generator makes all kinds, repeats itself from a seed, and mostly makes what is wrong."""
    draw = random.Random(1)
    made = [malformed.request(draw) for _ in range(500)]
    assert {kind for kind, _, _ in made} == {"json", "text", "binary", "headers", "http"}
    again = random.Random(1)
    assert [malformed.request(again) for _ in range(500)] == made
