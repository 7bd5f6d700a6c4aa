"""Updates of many parameters at once come to the bits of one after the other, whatever the parameters are like."""

import numpy as np
import pytest

import facula
from facula import nn, optim
from facula._tensor import rows as tensor_rows
from facula.engine import recorder
from facula.engine.cpython import liveness
from facula.engine.trace import rows
from facula.optim import _rows
from facula.optim import optimizer as module

pytestmark = pytest.mark.skipif(not recorder.LIMIT, reason="every operation runs at its call")
compiled = pytest.mark.compiled

KINDS = [("Adam", {}), ("Adam", {"weight_decay": 0.1, "maximize": True}), ("AdamW", {"amsgrad": True}), ("AdamW", {}),
         ("SGD", {"lr": 0.1}), ("SGD", {"lr": 0.1, "momentum": 0.9}),
         ("SGD", {"lr": 0.1, "momentum": 0.9, "nesterov": True, "weight_decay": 0.1}), ("RMSprop", {}),
         ("RMSprop", {"centered": True, "momentum": 0.9}), ("Adagrad", {"initial_accumulator_value": 0.3}),
         ("Adadelta", {}), ("Adamax", {}), ("NAdam", {}), ("RAdam", {}), ("ASGD", {}), ("Rprop", {})]
SHAPES = [(3,), (4, 5), (2, 3, 4), (), (0, 2), (700,), (4, 5)]


@pytest.fixture(autouse=True)
def few_are_many(monkeypatch):
    monkeypatch.setattr(_rows, "MANY", 2)


@pytest.fixture
def runs(monkeypatch):
    """Per executed plan: how many rows' worth of results, and whether memory was taken over."""
    seen = []
    run = rows.Rows.run

    def counted(self, *arguments):
        seen.append((len(self.step.results), bool(self.takes)))
        return run(self, *arguments)

    monkeypatch.setattr(rows.Rows, "run", counted)
    return seen


def one_by_one(monkeypatch):
    monkeypatch.setattr(module, "updated", lambda optimizer, group, params: params)


def bits(values):
    return [v.detach().contiguous().view(facula.uint8).numpy().tobytes() if v.dim() else v.item() for v in values]


def trained(kind, options, make, steps=5, between=None):
    facula.manual_seed(0)
    params = make()
    optimizer = getattr(optim, kind)(params, **options)
    for k in range(steps):
        for p in params:
            p.grad = facula.randn(p.shape).to(p.dtype)
        optimizer.step()
        if between is not None:
            between(k, params, optimizer)
    return bits(params), [bits([v for v in optimizer.state[p].values() if isinstance(v, facula.Tensor)])
                          for p in params], [p._version > 0 for p in params]


def of(*shapes, dtype=facula.float32):
    return lambda: [nn.Parameter(facula.randn(s).to(dtype)) for s in shapes]


def agree(monkeypatch, *arguments, **options):
    together = trained(*arguments, **options)
    with monkeypatch.context() as patch:
        one_by_one(patch)
        apart = trained(*arguments, **options)
    assert together == apart


@pytest.mark.parametrize("dtype", [facula.float32, facula.float64, facula.bfloat16], ids=str)
@pytest.mark.parametrize(("kind", "options"), KINDS, ids=lambda k: str(k))
def test_every_optimizer(kind, options, dtype, monkeypatch):
    agree(monkeypatch, kind, options, of(*SHAPES, dtype=dtype))


@compiled
@pytest.mark.parametrize(("kind", "options"), [k for k in KINDS if k[0] != "ASGD"], ids=lambda k: str(k))
def test_they_are_run_together_and_in_place(kind, options, runs):
    trained(kind, options, of((3,), (4, 5), (700,)))
    assert len(runs) >= 4
    if liveness.known():
        assert all(in_place for _, in_place in runs[1:])


@compiled
def test_a_step_records_one_parameter_whatever_their_number(monkeypatch):
    params = of(*[(5,)] * 40)()
    optimizer = optim.AdamW(params)
    asked = []
    update = type(optimizer)._update_group
    monkeypatch.setattr(type(optimizer), "_update_group", lambda self, group, some: (
        asked.append(len(some)), update(self, group, some)))
    for _ in range(3):
        for p in params:
            p.grad = facula.randn(5)
        optimizer.step()
    assert asked == [1, 1, 1]


@compiled
def test_a_few_are_recorded(monkeypatch, runs):
    monkeypatch.setattr(_rows, "MANY", 32)
    trained("SGD", {"lr": 0.1}, of((3,), (4,)))
    trained("AdamW", {}, of((3,), (4,)))
    assert not runs


@compiled
def test_hundreds_are_several_plans(runs):
    trained("AdamW", {}, of(*[(k % 7 + 1,) for k in range(500)]), steps=2)
    counts = [count for count, _ in runs]
    assert sum(counts) == 2 * 3 * 500 and len(counts) > 4


def mixed():
    """Parameters that are not all simple: other layouts, views, one that NumPy sees, a complex one, one twice."""
    whole = facula.randn(6, 4)
    seen = facula.randn(4, 4)
    array = seen.numpy()
    params = [nn.Parameter(facula.randn(3, 4)), nn.Parameter(facula.randn(2, 3, 4, 5).to(
        memory_format=facula.channels_last)), nn.Parameter(whole[1:3]), nn.Parameter(whole[3:]),
        nn.Parameter(seen), nn.Parameter(facula.randn(5, 2).t()), nn.Parameter(facula.randn(7)),
        nn.Parameter(facula.randn(3, dtype=facula.float64)), nn.Parameter(facula.randn(2, dtype=facula.float64))]
    params[4].array = array
    return params


@pytest.mark.parametrize("kind", ["AdamW", "SGD", "RMSprop"])
def test_what_is_not_simple_goes_the_ordinary_way(kind, monkeypatch):
    agree(monkeypatch, kind, {}, mixed)


def test_writes_are_seen_by_whoever_shares_the_memory():
    params = [nn.Parameter(facula.ones(3)) for _ in range(4)]
    views = [p.detach()[1:] for p in params]
    array = params[0].detach().numpy()
    optimizer = optim.SGD(params, lr=1.0)
    address = params[1].data_ptr()
    for _ in range(3):
        for p in params:
            p.grad = facula.full((3,), 0.25) + facula.zeros(3)
        optimizer.step()
    assert all(v.tolist() == [0.25, 0.25] for v in views) and array.tolist() == [0.25] * 3
    assert params[1].data_ptr() == address and params[1].tolist() == [0.25] * 3


def test_values_that_somebody_holds_stay(monkeypatch):
    params = [nn.Parameter(facula.full((4,), 2.0) + facula.zeros(4)) for _ in range(3)]
    optimizer = optim.SGD(params, lr=1.0)
    losses = []
    for _ in range(3):
        loss = sum((p * p).sum() for p in params)
        optimizer.zero_grad()
        loss.backward(retain_graph=True)
        before = [p.clone() for p in params]
        losses.append((before, [p.detach().numpy().copy() for p in params]))
        optimizer.step()
    for before, values in losses:
        for tensor, array in zip(before, values, strict=True):
            np.testing.assert_array_equal(tensor.detach().numpy(), array)


def test_what_the_tape_has_saved_is_not_overwritten():
    params = [nn.Parameter(facula.ones(3)) for _ in range(3)]
    optimizer = optim.SGD(params, lr=1.0)
    for k in range(3):
        values = [p.tolist() for p in params]
        loss = sum((p * p).sum() for p in params)
        optimizer.zero_grad()
        loss.backward(retain_graph=True)
        optimizer.step()
        optimizer.zero_grad()
        loss.backward()
        assert [p.grad.tolist() for p in params] == [[2 * v for v in value] for value in values], k
        for p, value in zip(params, values, strict=True):
            assert p.tolist() == [v - 2 * v for v in value]


def test_parameters_that_join_later_or_have_no_gradient(monkeypatch):
    def between(k, params, optimizer):
        if k == 1:
            more = [nn.Parameter(facula.randn(3)) for _ in range(3)]
            optimizer.add_param_group({"params": more, "lr": 0.5})
            params += more
        if k == 2:
            params[0].requires_grad_(False)

    def step(kind):
        facula.manual_seed(1)
        params = of((2,), (3,), (4,))()
        optimizer = getattr(optim, kind)(params)
        for k in range(5):
            for i, p in enumerate(params):
                p.grad = None if (i + k) % 3 == 0 else facula.randn(p.shape)
            optimizer.step()
            between(k, params, optimizer)
        return bits(params), [{n: float(v) if v.dim() == 0 else v.tolist() for n, v in optimizer.state[p].items()}
                              for p in params]

    for kind in ("Adam", "NAdam"):
        together = step(kind)
        with monkeypatch.context() as patch:
            one_by_one(patch)
            assert step(kind) == together


def test_a_loaded_state_goes_on(monkeypatch, tmp_path):
    def between(k, params, optimizer):
        if k == 2:
            facula.save(optimizer.state_dict(), tmp_path / "state.pt")
            optimizer.load_state_dict(facula.load(tmp_path / "state.pt"))

    for kind, options in (("AdamW", {}), ("NAdam", {}), ("SGD", {"lr": 0.1, "momentum": 0.9})):
        agree(monkeypatch, kind, options, of((3,), (4, 2), (5,)), between=between)


def test_one_number_as_learning_rate_and_a_scheduler(monkeypatch):
    def between(k, params, optimizer):
        optimizer.param_groups[0]["lr"] = 0.1 / (k + 1)

    agree(monkeypatch, "AdamW", {"lr": facula.tensor(0.2)}, of((3,), (4, 2), (5,)), between=between)


def test_tied_parameters_are_written_once_each(monkeypatch):
    def make():
        base = facula.randn(4)
        return [nn.Parameter(base), nn.Parameter(base), nn.Parameter(facula.randn(4))]

    agree(monkeypatch, "SGD", {"lr": 0.1}, make)


def test_parts_of_one_memory_are_updated_in_their_order(monkeypatch):
    def make():
        base = facula.randn(4)
        return [nn.Parameter(base[:2]), nn.Parameter(base), nn.Parameter(facula.randn(4)), nn.Parameter(base[1:])]

    agree(monkeypatch, "SGD", {"lr": 0.1, "weight_decay": 0.5}, make)


def test_modes_that_listen_hear_of_every_parameter():
    from facula.overrides import TorchFunctionMode
    heard = []

    class Listening(TorchFunctionMode):
        def __torch_function__(self, function, types, args=(), kwargs=None):
            heard.append(function)
            return function(*args, **(kwargs or {}))

    params = of((3,), (3,), (3,))()
    optimizer = optim.AdamW(params)
    counts = []
    for _ in range(2):
        for p in params:
            p.grad = facula.randn(3)
        heard.clear()
        with Listening():
            optimizer.step()
        counts.append(len(heard))
    assert counts[0] > 3


@compiled
def test_rows_that_are_others_each_time_are_not_compiled_for_ever(monkeypatch):
    """Which parameters have a gradient differs from step to step."""
    from fresh import nothing_seen
    nothing_seen(monkeypatch)
    made = []
    real = rows._made
    monkeypatch.setattr(rows, "_made", lambda *arguments: (made.append(1), real(*arguments))[1])
    monkeypatch.setattr(rows, "PATIENCE", 5)
    monkeypatch.setattr(rows, "_fresh", 0)
    params = of(*[(k + 1,) for k in range(9)])()
    optimizer = optim.SGD(params, lr=0.5)
    for k in range(30):
        chosen = [p for i, p in enumerate(params) if (k * 13 + 7) >> (i % 6) & 1 or i == k % 9]
        for p in params:
            p.grad = None
        for p in chosen:
            p.grad = facula.ones(p.shape) + facula.zeros(p.shape)
        before = [p.tolist() for p in params]
        optimizer.step()
        for p, old in zip(params, before, strict=True):
            assert p.tolist() == facula.tensor(old).sub(0.5 if p.grad is not None else 0.0).tolist()
    assert len(made) < 30


def test_what_another_thread_records_meanwhile_stays(monkeypatch):
    """It is neither lost nor taken for a part of the update."""
    beside = []
    x = facula.full((4,), 2.0) + facula.zeros(4)
    update = optim.AdamW._update_group

    def disturbed(self, group, params):
        beside.append(x * 3)
        update(self, group, params)
        beside.append(x + len(beside))

    monkeypatch.setattr(tensor_rows, "others", [None])  # as after a second thread has begun
    monkeypatch.setattr(optim.AdamW, "_update_group", disturbed)
    together = trained("AdamW", {}, of((4,), (3,), (4,)))
    with monkeypatch.context() as patch:
        one_by_one(patch)
        assert trained("AdamW", {}, of((4,), (3,), (4,))) == together
    assert [t.tolist() for t in beside] == [[6.0] * 4 if k % 2 == 0 else [2.0 + k] * 4 for k in range(len(beside))]


@pytest.mark.alone
@compiled
def test_an_interrupt_leaves_what_can_go_on():
    from interrupting import at
    finished = False
    for k in range(0, 4000, 7):
        params = [nn.Parameter(facula.full((3,), float(i)) + facula.zeros(3)) for i in range(3)]
        optimizer = optim.AdamW(params, lr=0.5)
        for _ in range(2):
            for p in params:
                p.grad = facula.randn(3)
            optimizer.step()
        for p in params:
            p.grad = facula.randn(3)
        came, _, _ = at(k, optimizer.step)
        values = [p.tolist() for p in params] + [v.tolist() for p in params for v in optimizer.state[p].values()]
        optimizer.step()
        assert all(np.isfinite(v).all() for v in values)
        assert all(np.isfinite(p.tolist()).all() for p in params)
        if not came:
            finished = True
            break
    assert finished
