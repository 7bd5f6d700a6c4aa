"""A result may get the memory of a value that dies with it: nobody may notice."""

import numpy as np
import pytest

import facula as F
from facula import nn
from facula._tensor.handle import new
from facula.engine import realize, recorder
from facula.engine.graph.node import CALL, PICK
from facula.engine.recorder import record
from facula.engine.runtime.routines import register
from facula.engine.session import session
from facula.engine.trace import rows, work

pytestmark = [pytest.mark.compiled,
              pytest.mark.skipif(recorder.LIMIT == 0, reason="FACULA_EAGER: values are held while they are replaced")]
SIZE = 150


def optimizers(kind, **options):
    def program(k, state):
        if k == 0:
            state["model"] = nn.Sequential(nn.Linear(SIZE, SIZE), nn.Tanh(), nn.Linear(SIZE, SIZE))
            state["opt"] = kind(state["model"].parameters(), lr=0.01, **options)
        loss = state["model"](F.randn(4, SIZE)).square().mean()
        state["opt"].zero_grad()
        loss.backward()
        state["opt"].step()
        return [loss, *state["model"].parameters()]
    program.__name__ = kind.__name__
    return program


def by_hand(k, state):
    """As the seeds' programs: the update is pending when the next loss is differentiated."""
    w = state.setdefault("w", F.randn(SIZE, SIZE, requires_grad=True))
    (F.ones(3, SIZE).mm(w) - 1).pow(2).sum().backward()
    w.data -= 1e-4 * w.grad.data
    w.grad.data.zero_()
    return []


def finally_by_hand(k, state):
    by_hand(k, state)
    return [state["w"]]


def old_values_are_held(k, state):
    x = state.pop("x", None)
    x = F.randn(SIZE, SIZE) if x is None else x
    copy, same = x.clone(), x.detach()
    before = x * 1.0
    x += 1
    after = x * 2
    tail = x[1:]
    x *= 0.5
    state["x"] = x
    return [copy, same, before, after, tail]


def numpy_holds_it(k, state):
    x = state.pop("x", None)
    x = F.randn(SIZE, SIZE) if x is None else x
    array = x.numpy()
    y = x + 1
    z = x.mul_(2) + y
    array[0, 0] = k
    state["x"] = z
    return [x, y, z, F.from_numpy(array)]


def the_tape_holds_it(k, state):
    w = state.setdefault("w", F.randn(SIZE, SIZE, requires_grad=True))
    w.grad = None
    loss = (w * w * 0.5).sum() + w.exp().sum()
    with F.no_grad():
        w -= 0.25
        w *= 0.5
    loss.backward()
    return [w, w.grad]


def read_elsewhere(k, state):
    x = F.randn(SIZE, SIZE) + 1
    F.cpu.synchronize()
    x = [lambda: x + x.t(), lambda: x + x.flip(0), lambda: x.roll(1, 0) * x, lambda: x + x[0], lambda: x - x.mean(),
         lambda: x.cumsum(0) + x, lambda: F.softmax(x, 0), lambda: x.view(-1)[F.arange(SIZE * SIZE).flip(0)]
         + x.view(-1), lambda: F.where(x > 0, x, -x), lambda: x @ x + x, lambda: F.cat([x[1:], x[:1]]) + x][k % 11]()
    return [x]


def several_results(k, state):
    x, y = F.randn(SIZE, SIZE), F.randn(SIZE, SIZE)
    F.cpu.synchronize()
    a, b, c = x + y, x * y, x - y
    if k % 2:
        d = b.sum() + a
        del x, y
        return [a, b, c, d]
    del x, y
    return [a, b, c]


def other_types(k, state):
    x = F.randn(SIZE, SIZE) * 100
    F.cpu.synchronize()
    x = [lambda: x.to(F.int32), lambda: x.double(), lambda: x.half(), lambda: (x > 0).float() + x,
         lambda: x.view(F.int32) + 1][k % 5]()
    return [x]


def swapped(k, state):
    x, y = state.get("xy") or (F.randn(SIZE, SIZE), F.randn(SIZE, SIZE))
    x, y = y * 0.5 + x, x - y
    state["xy"] = x, y
    return [x + 0, y + 0] if k % 3 == 2 else []


@register("fails_at_first")
def _fails_at_first(x):
    if _moods.pop():
        raise ArithmeticError("as asked")
    return (x + 1,)


_moods = []


def a_routine_fails(k, state):
    """What is computed again after an error must not read what had been overwritten already."""
    x = state.pop("x", None)
    x = F.randn(SIZE, SIZE) if x is None else x
    F.cpu.synchronize()
    x = x * 2 + 1
    call = record(CALL, (x[:2, :2].contiguous()._node,), ("fails_at_first",), None, (), x.dtype)
    y = new(record(PICK, (call,), (0,), None, F.Size((2, 2)), x.dtype))
    del call
    _moods[:] = [False, k % 2 == 1]
    if k % 2:
        with pytest.raises(ArithmeticError, match="as asked"):
            y.sum().item()
    else:
        _moods[:] = [False] * 2
    state["x"] = x * 0.5
    return [x, y]


PROGRAMS = [optimizers(F.optim.SGD, momentum=0.9), optimizers(F.optim.Adam), optimizers(F.optim.RMSprop), by_hand,
            finally_by_hand, old_values_are_held, numpy_holds_it, the_tape_holds_it, read_elsewhere, several_results,
            other_types, swapped, a_routine_fails]


def run(program, times=12):
    F.manual_seed(3)
    session.seen.clear()
    session.plans.clear()
    state, history = {}, []
    for k in range(times):
        found = program(k, state)
        history.append([np.array(t.detach().numpy()) for t in found])
        del found
    for t in state.values():
        if isinstance(t, F.Tensor):
            history.append([np.array(t.detach().numpy())])
    return history


@pytest.fixture(autouse=True)
def small_ones_too(monkeypatch):
    monkeypatch.setattr(work, "WORTH_REPLACING", 1 << 12)


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda p: p.__name__)
def test_nobody_notices(program, monkeypatch):
    replacing = run(program)
    with monkeypatch.context() as patch:
        patch.setattr(work, "WORTH_REPLACING", 1 << 60)
        keeping = run(program)
    assert len(replacing) == len(keeping)
    for one, two in zip(replacing, keeping, strict=True):
        for a, b in zip(one, two, strict=True):
            assert a.tobytes() == b.tobytes()


@pytest.mark.parametrize("program", [PROGRAMS[0], PROGRAMS[1], by_hand, swapped], ids=lambda p: p.__name__)
def test_memory_is_taken_over(program, monkeypatch):
    taken = []
    real = realize.allocate_results
    monkeypatch.setattr(realize, "allocate_results",
                        lambda step, plan, leaves: (taken.append(len(plan.aliases)), real(step, plan, leaves))[1])
    together = rows.Rows.run  # where few parameters are many
    monkeypatch.setattr(rows.Rows, "run", lambda self, *arguments: (
        taken.append(len(self.takes)), together(self, *arguments)))
    run(program, 24)
    if session.native is None:
        pytest.skip("this Python takes no builtins")
    assert sum(map(bool, taken)) >= 3
