"""Plans are found again by the structure of what is computed: whatever makes another plan of it must be in the key."""

import numpy as np
import pytest

import facula as F
from facula._tensor.handle import new
from facula.engine import recorder
from facula.engine.graph.node import CALL, PICK
from facula.engine.trace import work
from fresh import nothing_seen

pytestmark = [pytest.mark.compiled,
              pytest.mark.skipif(recorder.LIMIT == 0, reason="FACULA_EAGER: every operation is a plan of its own")]
A = np.arange(9, dtype=np.float32).reshape(3, 3) * 1.25 - 3


@pytest.fixture(autouse=True)
def empty(monkeypatch):
    nothing_seen(monkeypatch)
    monkeypatch.setattr(work, "WORTH_REPLACING", 1)


def made(array=A):
    x = F.from_numpy(array.copy()) * 1
    F.cpu.synchronize()  # computed now
    return x


def test_dtypes():
    for of in (F.int32, F.int64, F.float64, F.int8, F.bool):
        y = made().to(of)
        assert y.numpy().dtype == of.numpy and y.tolist() == A.astype(of.numpy).tolist()


def test_attributes():
    for dim in (0, 1, 0):
        assert made().sum(dim).tolist() == A.sum(dim).tolist()
        assert made().cumsum(dim).tolist() == np.cumsum(A, dim).tolist()
        assert made().argmax(dim).tolist() == A.argmax(dim).tolist()
    for turned in (lambda x: x.T, lambda x: x[::-1].copy() if isinstance(x, np.ndarray) else x.flip(0), lambda x: x):
        assert (turned(made()) + 1).tolist() == (turned(A) + 1).tolist()


def test_what_is_held():
    for hold in (False, True, False):
        between = made() + 1
        result = between * 2
        if not hold:
            del between
        assert result.tolist() == ((A + 1) * 2).tolist()
        if hold:
            assert between.tolist() == (A + 1).tolist()


@pytest.mark.parametrize("both", [False, True])
def test_which_leaf_dies(both):
    for dies in (0, 1, 2, 0, 1):
        x = [made(), made(-A)]
        held = [x[0]._node.buffer.array((3, 3), F.float32), x[1]._node.buffer.array((3, 3), F.float32)]
        kept = [array.copy() for array in held]
        del held[:]
        alive = [t for k, t in enumerate(x) if k != dies]
        a, b = x
        del x
        result = a * 2 + b
        more = a - b if both else None
        del a, b
        assert result.tolist() == (A * 2 - A).tolist()
        assert more is None or more.tolist() == (2 * A).tolist()
        wanted = [values for k, values in enumerate(kept) if k != dies]
        assert [t.tolist() for t in alive] == [values.tolist() for values in wanted]


@pytest.mark.filterwarnings("error")
def test_a_call_that_somebody_holds_is_no_value():
    x = made(A + 9 * np.eye(3, dtype=np.float32))
    call = recorder.record(CALL, (x._node,), ("slogdet",), None, (), F.float32)
    results = [new(recorder.record(PICK, (call,), (k,), None, F.Size(()), F.float32)) for k in range(2)]
    wanted = np.linalg.slogdet(A + 9 * np.eye(3, dtype=np.float32))
    assert [r.item() for r in results] == [float(w) for w in wanted]
    assert call.buffer is None
