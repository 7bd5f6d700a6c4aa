"""What is recorded without ever being asked for does not grow without end."""

import sys

import pytest

import facula as F
from facula.engine import recorder
from facula.engine.graph.node import VIEW, Node

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


@pytest.mark.compiled
def test_record_in_machine_code():
    from facula.engine.cpython import recording
    made_so_far, calls = [], []
    _kept.append((made_so_far, calls))

    def overflow():
        calls.append(len(made_so_far))
        if len(made_so_far) == 5:
            raise ArithmeticError("as asked")

    _kept.append(overflow)
    record = recording.recorder(Node, made_so_far, overflow, 3)
    if record is None:
        pytest.skip("this Python takes no builtins")
    x = F.randn(2, 3)._node
    fields = VIEW, (x,), ((1, 3),), (0,), x.shape, x.dtype
    node = record(*fields)
    assert type(node) is Node and made_so_far == [node] and not calls
    assert (node.op, node.inputs, node.attrs, node.scalars, node.shape, node.dtype) == fields
    assert node.buffer is None and node.slot is None and not hasattr(node, "range")
    held = sys.getrefcount(x)
    for _ in range(3):
        record(VIEW, (x,), None, None, x.shape, x.dtype)
    assert calls == [4] and sys.getrefcount(x) == held + 3
    with pytest.raises(ArithmeticError, match="as asked"):
        record(VIEW, (x,), None, None, x.shape, x.dtype)
    assert len(made_so_far) == 5
    with pytest.raises(SystemError):
        record(VIEW, (x,))
    made_so_far.clear()
    assert sys.getrefcount(x) == held  # `node` still refers to it


_kept = []  # machine code refers to it
