"""Listeners that come and go amid each other: Python's collector lets classes die at any time."""

import gc

import facula
from facula.ops import listening


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

    before = listening._listeners
    monkeypatch.setattr(listening, "_change_sides", disturbed)
    listening.begin()
    assert listening._open and listening._listeners == before + 1
    listening.end()
    assert listening._listeners == before and listening._open is (before > 0)


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
