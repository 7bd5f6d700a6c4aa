"""Listeners that come and go amid each other: Python's collector lets classes die at any time."""

import gc

import pytest

import facula
from facula.engine.placing import running
from facula.ops import listening
from interrupting import Passing, at


def test_a_class_that_dies_while_sides_change(monkeypatch):
    """The doors are open afterwards if somebody listens, whoever was amid a change."""
    change = listening._change_sides
    came = []

    def disturbed(opened):
        if not came:  # a class that listened dies amid the first change
            came.append(opened)
            listening.begin()
            listening.end()
        change(opened)

    before = listening.ears.count
    monkeypatch.setattr(listening, "_change_sides", disturbed)
    listening.begin()
    assert listening._open and listening.ears.count == before + 1
    listening.end()
    assert listening.ears.count == before and listening._open is (before > 0)


@pytest.mark.usefixtures("heap_of_its_own")
def test_results_lie_where_their_tensors_are_while_classes_die():
    for _ in range(30):
        class Listening(facula.Tensor):
            pass

        x = facula.empty(0, 3, device="meta")
        circle = [Listening]
        circle.append(circle)
        del Listening, circle
        gc.collect()
        assert x.repeat(2, 1).device.type == "meta" and facula.stack([x, x]).device.type == "meta"
        del x
        facula.ones(1) + 1


def test_an_interrupt_leaves_no_operation_running():
    """Or constants of later operations went where that one's were."""
    x = facula.empty(2, 3, device="meta")
    for call in (lambda: facula.stack([x, x]).repeat(2, 1, 1), lambda: facula.nn.functional.pad(x, (1, 1))):
        k, came = 0, True
        while came:
            came, _, where = at(k, call)
            assert not running.names and running.place is None and running.given is None, where
            assert running.device.type == "cpu", where
            k += 1
        assert k > 10
    assert facula.stack([x, x]).device.type == "meta" and facula.ones(2).device.type == "cpu"


def test_an_interrupt_leaves_the_modes_that_were_entered():
    x = facula.empty(2, device="meta")  # where FACULA_EAGER computes nothing, or each place met anew would be compiled
    with Passing() as outer, Passing() as inner:
        k, came = 0, True
        while came:
            came, _, where = at(k, lambda: x.add(1))
            assert listening.state.modes == [outer, inner], where
            k += 1
        assert k > 5
    assert listening.state.modes == []
