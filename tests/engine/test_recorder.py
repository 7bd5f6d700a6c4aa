"""What is recorded without ever being asked for does not grow without end."""

import sys
from array import array

import pytest

import facula as F
from facula.engine import recorder
from facula.engine.cpython import liveness
from facula.engine.graph.node import VIEW, Node
from facula.engine.session import session

pytestmark = pytest.mark.skipif(recorder.LIMIT == 0, reason="FACULA_EAGER: nothing stays pending")


@pytest.mark.skipif(not liveness.known(), reason="what a loop leaves behind cannot be told")
def test_a_loop_without_a_question_is_computed_in_whole_turns():
    x, a = F.linspace(-1, 1, 50), F.zeros(())
    for _ in range(300):  # the plans of the beginning
        a -= 0.1 * ((a * x - x) * x).sum()
    seen = len(session.seen)
    most = 0
    for _ in range(600):
        a -= 0.1 * ((a * x - x) * x).sum()
        most = max(most, len(recorder.pending))
    assert most <= recorder.LIMIT + 10
    assert len(session.seen) == seen  # the same graph each time
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

    due = array("q", [3])
    _kept.append((overflow, due))
    record = recording.recorder(Node, made_so_far, overflow, due.buffer_info()[0])
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
    due[0] = 100
    record(VIEW, (x,), None, None, x.shape, x.dtype)
    assert calls == [4, 5]
    with pytest.raises(SystemError):
        record(VIEW, (x,))
    made_so_far.clear()
    assert sys.getrefcount(x) == held  # `node` still refers to it


_kept = []  # machine code refers to it


def _work_of_recording(count, keep):
    """Nodes that were looked at, on the way to `count` pending ones, by what looks for loops."""
    looked, look = [], recorder.above.held_of

    def counted(nodes, lists=1):
        looked.append(len(nodes))
        return look(nodes, lists)

    F.ones(1).sum().item()
    patch = pytest.MonkeyPatch()
    patch.setattr(recorder.above, "held_of", counted)
    patch.setattr(session, "period", 0)
    try:
        x, kept = F.ones(4), []
        for k in range(count):
            y = x * 2.0 if k * k % 7 < 3 else x + 1.0
            if keep:
                kept.append(y)
    finally:
        patch.undo()
    return sum(looked)


@pytest.mark.parametrize("keep", [True, False])
def test_looking_for_loops_does_not_grow_with_what_is_pending(keep):
    for count in (1000, 4000, 8000):
        assert _work_of_recording(count, keep) <= 2 * count


@pytest.mark.parametrize("kinds, expected", [
    ([], []), ([1], [0]), ([1, 1, 1, 1], [0, 3, 2, 1]), ([1, 2, 1, 2, 1], [0, 0, 3, 0, 1]),
    ([1, 1, 2, 1, 1, 2, 1], [0, 1, 0, 4, 1, 0, 1])])
def test_agreement(kinds, expected):
    assert recorder._agreement(kinds) == expected


def test_agreement_is_what_it_says():
    import random
    choice = random.Random(0)
    for _ in range(300):
        kinds = [choice.randrange(2) for _ in range(choice.randrange(12))]
        n = len(kinds)
        wanted = [next((k for k in range(n - p) if kinds[k] != kinds[p + k]), n - p) for p in range(1, n)]
        assert recorder._agreement(kinds)[1:] == wanted


def test_a_repetition_is_three_turns_that_are_alike(monkeypatch):
    import random
    monkeypatch.setattr(recorder.above, "held_of", lambda nodes, lists: bytes(len(nodes)))
    choice = random.Random(0)
    found = []
    for _ in range(300):
        turn = [choice.randrange(3) for _ in range(choice.randrange(1, 5))]
        kinds = [choice.randrange(3) for _ in range(choice.randrange(6))] + turn * choice.randrange(1, 5)
        nodes = [Node(VIEW, (), (k,), None, (), F.float32) for k in kinds]
        n = len(kinds)
        wanted = next((p for p in range(1, n // 3 + 1) if kinds[n - 2 * p:] == kinds[n - 3 * p:n - p]), 0)
        assert recorder.repetition(nodes, 0) == wanted
        if wanted:
            assert recorder.repetition(nodes, wanted) == wanted
        found.append(wanted)
    assert len(set(found)) >= 5  # none, and turns of several lengths
