"""What is recorded without ever being asked for does not grow without end."""

import pytest

import facula as F
from facula.engine import recorder

pytestmark = pytest.mark.skipif(recorder.LIMIT == 0, reason="FACULA_EAGER: nothing stays pending")


def test_a_loop_without_a_question_is_computed_in_whole_turns():
    from facula.engine import realize
    x, a = F.linspace(-1, 1, 50), F.zeros(())
    for _ in range(300):  # the plans of the beginning
        a -= 0.1 * ((a * x - x) * x).sum()
    seen = len(realize._steps)
    most = 0
    for _ in range(600):
        a -= 0.1 * ((a * x - x) * x).sum()
        most = max(most, len(recorder.pending))
    assert most <= recorder.LIMIT + 10
    assert len(realize._steps) == seen  # the same graph each time
    assert a.item() == pytest.approx(1.0, abs=1e-4)


def test_layers_that_a_tape_holds_are_left_together():
    recorder.pending.clear()
    x = F.ones(4, requires_grad=True)
    y = x
    for _ in range(200):
        y = (y * 1.01).tanh()
    assert len(recorder.pending) >= 400
    y.sum().backward()
    assert not recorder.pending and x.grad.isfinite().all()


def test_what_never_repeats_is_bounded():
    x = F.ones(3)
    for k in range(2 * recorder.MOST):
        x = x + 1.0 if (k * k) % 7 < 3 else x * 0.5
        assert len(recorder.pending) <= recorder.MOST
    assert x.isfinite().all()
