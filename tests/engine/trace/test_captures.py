"""When a backward pass is captured (trace/replay.py): the second time it comes, unless captures have been of no use."""

import pytest

import facula
from facula.autograd import replay
from facula.engine import recorder
from facula.engine.trace.replay import FEW, PATIENT, captures
from fresh import nothing_seen

pytestmark = pytest.mark.skipif(recorder.LIMIT == 0, reason="FACULA_EAGER: nothing is pending")


@pytest.fixture
def captured(monkeypatch):
    """The sizes whose passes were captured, in order; `captured.run(n)` is a pass of size n."""
    nothing_seen(monkeypatch)
    found = []
    capture = replay.capture

    def run(n):
        x = facula.linspace(0, 1, n).requires_grad_()
        size.append(n)
        (x.sin() * x).sum().backward()
        return x.grad.tolist()

    def seen(*given):
        found.append(size[-1])
        return capture(*given)
    size = []
    monkeypatch.setattr(replay, "capture", seen)
    run.sizes = found
    for _ in range(4):
        run(5)  # from then on what is recorded is described by machine code, by other keys
    found.clear()
    captures.unused, captures.new = 0, 0.0
    return run


def test_the_second_time(captured):
    first = captured(9)
    assert [captured(9) for _ in range(5)] == [first] * 5 and captured.sizes == [9]


@pytest.mark.compiled  # the interpreter has no plan to keep, so there is nothing to be run again
def test_later_where_sizes_are_new_each_time_and_captures_were_not_run(captured):
    for n in range(10, 30):
        captured(n)  # nearly all passes are new
    for n in range(10, 10 + FEW):
        captured(n)
    assert captured.sizes == [*range(10, 10 + FEW)] and captures.unused == FEW
    for n in range(30, 50):
        captured(n)
    for k in range(PATIENT):
        captured(40)
        assert (40 in captured.sizes) == (k == PATIENT - 1)
        for n in range(50 + 9 * k, 59 + 9 * k):
            captured(n)


def test_at_once_again_where_they_come_again(captured):
    captures.unused, captures.new = 99, 1.0
    for _ in range(20):
        captured(11)
    assert captured.sizes == [11]
    captured(12)
    captured(12)
    assert captured.sizes == [11, 12]  # few passes are new: what came twice will come again
