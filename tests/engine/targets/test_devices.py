"""The rules about devices, on a pretend accelerator that has an address space of its own and works in its own time."""

import copy
import gc
import io
import pickle
import threading

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import facula
from facula.engine.graph.node import elsewhere
from facula.testing.accelerator import pretend_accelerator
from placed_programs import Placed
from random_programs import Drawn
from test_random_programs import LIMITS, MORE, RECORDED, STEPS, Machine, Recording


@pytest.fixture
def there():
    with pretend_accelerator(2) as place:
        yield place


@pytest.fixture
def other(there):
    return facula.device(there.type, 1)


# ---- where things are --------------------------------------------------------------------------


def test_factories(there):
    for t in (facula.zeros(2, device=there), facula.ones(2, device="privateuseone"), facula.arange(2.0, device=there),
              facula.tensor([1.0, 2.0], device=there), facula.rand(2, device=there), facula.empty(2, device=there),
              facula.full((2,), 3.0, device="privateuseone:0"), facula.eye(2, device=there),
              facula.zeros_like(facula.ones(2, device=there)), facula.linspace(0, 1, 2, device=there),
              facula.ones(2, device=there).new_zeros(2), facula.as_tensor(np.ones(2), device=there)):
        assert t.device == there and not t.is_cpu and t.is_privateuseone and t.get_device() == 0
    assert facula.ones(2).is_cpu and facula.ones(2).get_device() == -1


def test_the_default_device(there):
    with facula.device(there):
        assert facula.ones(2).device == there
        assert facula.nn.Linear(2, 2).weight.device == there
        assert facula.tensor([1, 2]).device == there
        assert facula.ones(2, device="cpu").is_cpu
    assert facula.ones(2).is_cpu


def test_a_device_that_is_not_there(there):
    with pytest.raises(RuntimeError, match="invalid device ordinal"):
        facula.ones(2, device="privateuseone:2")
    with pytest.raises(AssertionError, match="CUDA"):
        facula.ones(2, device=there).cuda()


def test_without_one_there_is_none():
    with pytest.raises(NotImplementedError):
        facula.ones(2, device="privateuseone")


# ---- moving ------------------------------------------------------------------------------------


def test_to_and_back(there, other):
    x = facula.arange(6.0).reshape(2, 3)
    y = x.to(there)
    x += 1  # a copy: it does not follow
    assert y.device == there and y.tolist() == [[0, 1, 2], [3, 4, 5]]
    assert y.to(there) is y and y.cpu().is_cpu and x.cpu() is x
    assert y.to(other).device == other and y.to(other).tolist() == y.tolist()
    assert y.to("cpu", facula.int64).dtype is facula.int64
    assert y.to(facula.float64).device == there
    assert y.to(there, copy=True) is not y
    z = y.to("cpu", non_blocking=True)
    assert z.tolist() == y.tolist()


@pytest.mark.parametrize("dtype", ["float64", "float32", "float16", "bfloat16", "int64", "int8", "uint8", "bool",
                                   "complex64"])
def test_every_dtype_moves(dtype, there):
    x = facula.tensor([0, 1, 3]).to(getattr(facula, dtype))
    assert facula.equal(x.to(there).cpu(), x) and x.to(there).dtype is x.dtype


def test_a_move_has_a_gradient(there):
    x = facula.tensor([1.0, 2.0], requires_grad=True)
    (x.to(there) * facula.tensor([3.0, 4.0], device=there)).sum().backward()
    assert x.grad.is_cpu and x.grad.tolist() == [3.0, 4.0]
    y = facula.tensor([1.0, 2.0], device=there, requires_grad=True)
    (y.cpu() * facula.tensor([3.0, 4.0])).sum().backward()
    assert y.grad.device == there and y.grad.tolist() == [3.0, 4.0]


def test_writes_cross(there):
    here, away = facula.zeros(3), facula.zeros(3, device=there)
    away.copy_(facula.tensor([1.0, 2.0, 3.0]))
    here[:2] = away[1:]
    away[0] = facula.tensor(7.0)
    assert here.tolist() == [2, 3, 0] and away.tolist() == [7, 2, 3]
    assert here.is_cpu and away.device == there


def test_strides_are_kept(there):
    x = facula.arange(6.0).reshape(2, 3).T
    assert x.to(there).stride() == (1, 3) and x.to(there).tolist() == x.tolist()


def test_views_alias_there(there):
    x = facula.zeros(2, 3, device=there)
    row, column = x[0], x[:, 1]
    row += 1
    column *= 5
    assert x.tolist() == [[1, 5, 1], [0, 0, 0]] and row.tolist() == [1, 5, 1]
    assert x.view(facula.int32)[0, 0].item() == 0x3F800000


# ---- mixing ------------------------------------------------------------------------------------

MIXED = """
a + c
c + a
a @ c.T
facula.cat([a, c])
facula.stack([c, a])
facula.where(a > 0, a, c)
facula.where(c > 0, a, a)
a.add_(c)
facula.nn.functional.linear(a, c)
facula.nn.functional.linear(c, a)
facula.nn.functional.mse_loss(a, c)
facula.lerp(a, c, 0.5)
a.masked_fill(c > 0, 1.0)
facula.einsum("ij,kj->ik", a, c)
c[facula.tensor([0, 1], device=there)]
a + a.to("privateuseone:1")
a.copy_(c) + c
facula.add(a, a, out=c)
"""


@pytest.mark.parametrize("line", MIXED.strip().splitlines())
def test_devices_do_not_mix(line, there):
    names = {"facula": facula, "a": facula.ones(2, 3, device=there), "c": facula.ones(2, 3), "there": there}
    with pytest.raises(RuntimeError, match="device"):
        eval(line, names)
    assert (names["a"] + 1).tolist() == [[2] * 3] * 2 and (names["c"] + 1).tolist() == [[2] * 3] * 2


ALLOWED = """
a + facula.tensor(2.0)
facula.tensor(2.0) * a
a * 2
a[facula.tensor([0, 1])]
a[:, facula.tensor([True, False, True])]
facula.where(a > 0, a, facula.tensor(0.0))
"""


@pytest.mark.parametrize("line", ALLOWED.strip().splitlines())
def test_numbers_and_indices_may_be_the_cpus(line, there):
    names = {"facula": facula, "a": facula.arange(6.0, device=there).reshape(2, 3)}
    found = eval(line, names)
    assert found.device == there
    assert found.tolist() == eval(line, names | {"a": facula.arange(6.0).reshape(2, 3)}).tolist()


# ---- values that leave -------------------------------------------------------------------------


def test_memory_is_not_the_processors(there):
    x = facula.arange(3.0, device=there)
    for call in (x.numpy, lambda: np.asarray(x), lambda: np.add(x, 1)):
        with pytest.raises(TypeError, match="Use Tensor.cpu"):
            call()
    with pytest.raises((BufferError, ValueError)):
        x.__dlpack__()
    assert x.numpy(force=True).tolist() == [0, 1, 2]
    assert x[1].item() == 1 and x.tolist() == [0, 1, 2] and float(x.sum()) == 3 and bool(x[1])
    assert "device='privateuseone:0'" in repr(x)
    assert x.data_ptr() >= 1 << 56 and x[1:].data_ptr() == x.data_ptr() + 4
    assert x.type() == "torch.privateuseone.FloatTensor"


def test_an_error_of_the_device_comes_out(monkeypatch, there):
    from facula.engine.evaluator import plan
    x = facula.ones(3, device=there)
    x.tolist()

    def broken(*args):
        raise ZeroDivisionError("of the device")

    with monkeypatch.context() as patched:
        patched.setattr(plan, "run", broken)
        y = x + 1
        with pytest.raises(ZeroDivisionError, match="of the device"):
            y.tolist()
    assert (x + 2).tolist() == [3, 3, 3]


@pytest.mark.usefixtures("heap_of_its_own")
def test_memory_comes_back():
    from facula.engine.targets import target_of
    with pretend_accelerator(capacity=1 << 20) as place:
        for _ in range(50):  # 50 times 400 KB in 1 MB
            x = facula.ones(100_000, device=place) * 2
            assert x.sum().item() == 200_000
        del x
        gc.collect()
        target_of(place).synchronize()
        assert target_of(place).used == 0
        with pytest.raises(facula.OutOfMemoryError):
            (facula.ones(1 << 20, device=place) * 2).tolist()
        assert facula.ones(3, device=place).sum().item() == 3


@pytest.mark.usefixtures("heap_of_its_own")
def test_nothing_is_left_behind(there):
    gc.collect()
    before = len(elsewhere)  # what failed tests hold
    x = facula.ones(3, device=there) + 1
    assert len(elsewhere) > before
    del x
    gc.collect()
    (facula.ones(2) + 1).tolist()  # what was pending is gone
    assert len(elsewhere) == before
    assert (facula.ones(2) + 1).tolist() == [2, 2]


# ---- training ----------------------------------------------------------------------------------


def trained(place, steps=6):
    facula.manual_seed(3)
    net = facula.nn.Sequential(facula.nn.Linear(4, 8), facula.nn.ReLU(), facula.nn.BatchNorm1d(8),
                               facula.nn.Linear(8, 3))
    x, y = facula.randn(16, 4), facula.arange(16) % 3
    net, x, y = net.to(place), x.to(place), y.to(place)
    optimizer = facula.optim.AdamW(net.parameters(), lr=0.05)
    losses = []
    for _ in range(steps):
        optimizer.zero_grad()
        loss = facula.nn.functional.cross_entropy(net(x), y)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return net, optimizer, losses


def test_training_there_is_training_here(there):
    net, optimizer, losses = trained(there)
    expected = trained("cpu")[2]
    np.testing.assert_allclose(losses, expected, rtol=1e-5)
    assert losses[-1] < losses[0]
    assert {p.device for p in net.parameters()} == {p.grad.device for p in net.parameters()} == {there}
    assert {b.device for b in net.buffers()} == {there}
    for state in optimizer.state.values():
        assert state["exp_avg"].device == there


def test_a_module_moves(there):
    net = facula.nn.Linear(2, 3)
    weight = net.weight
    weight.grad = facula.ones(3, 2)
    assert net.to(there) is net and net.weight is weight  # the same parameter, elsewhere
    assert weight.device == there and weight.grad.device == there
    net.cpu()
    assert weight.is_cpu and weight.grad.is_cpu
    assert copy.deepcopy(net.to(there)).weight.device == there


def test_transforms_there(there):
    x = facula.tensor([1.0, 2.0, 3.0], device=there)
    value, tangent = facula.func.jvp(lambda t: (t * t).sin().sum(), (x,), (facula.ones(3, device=there),))
    assert value.device == tangent.device == there
    here = facula.tensor([1.0, 2.0, 3.0])
    assert tangent.item() == pytest.approx((2 * here * (here * here).cos()).sum().item(), rel=1e-5)
    rows = facula.arange(6.0, device=there).reshape(2, 3)
    sums = facula.func.vmap(lambda row: (row * x).sum())(rows)
    assert sums.device == there and sums.tolist() == [8.0, 26.0]


# ---- random numbers ----------------------------------------------------------------------------


def test_generators_per_device(there, other):
    facula.manual_seed(7)
    a, b, c = facula.rand(3, device=there), facula.rand(3, device=other), facula.rand(3)
    facula.manual_seed(7)
    assert facula.rand(3).tolist() == c.tolist()  # the others drew nothing of its numbers
    assert facula.rand(3, device=there).tolist() == a.tolist()
    assert facula.rand(3, device=other).tolist() == b.tolist()
    generator = facula.Generator(there).manual_seed(1)
    first = facula.rand(2, device=there, generator=generator)
    assert first.tolist() == facula.rand(2, device=there, generator=generator.manual_seed(1)).tolist()
    with pytest.raises(RuntimeError, match="Expected a 'privateuseone' device type for generator but found 'cpu'"):
        facula.rand(2, device=there, generator=facula.Generator())
    with pytest.raises(RuntimeError, match="Expected a 'cpu' device type for generator"):
        facula.rand(2, generator=generator)


# ---- files -------------------------------------------------------------------------------------


def test_checkpoints(there, other):
    net, optimizer, _ = trained(there, 2)
    file = io.BytesIO()
    facula.save({"net": net.state_dict(), "optimizer": optimizer.state_dict()}, file)

    def loaded(**options):
        file.seek(0)
        return facula.load(file, **options)

    for place, options in ((there, {}), (facula.device("cpu"), {"map_location": "cpu"}),
                           (other, {"map_location": {str(there): str(other)}}), (other, {"map_location": other}),
                           (facula.device("cpu"), {"map_location": lambda storage, location: storage})):
        found = loaded(**options)
        assert {t.device for t in found["net"].values()} == {place}
        assert found["net"]["0.weight"].tolist() == net[0].weight.tolist()
    fresh = trained("cpu", 1)[0]
    fresh.load_state_dict(loaded()["net"])  # from there to here
    assert fresh[0].weight.is_cpu and fresh[0].weight.tolist() == net[0].weight.tolist()


def test_a_file_from_a_device_that_is_gone():
    file = io.BytesIO()
    with pretend_accelerator() as place:
        facula.save(facula.arange(3.0, device=place), file)
    file.seek(0)
    with pytest.raises(RuntimeError, match="map_location"):
        facula.load(file)
    file.seek(0)
    assert facula.load(file, map_location="cpu").tolist() == [0, 1, 2]


def test_pickle_and_deepcopy(there):
    x = facula.arange(3.0, device=there, requires_grad=True)
    for y in (pickle.loads(pickle.dumps(x)), copy.deepcopy(x)):
        assert y.device == there and y.tolist() == [0, 1, 2] and y.requires_grad
    weight = facula.nn.Parameter(facula.ones(2, device=there), requires_grad=False)
    weight.note = "kept"
    again = pickle.loads(pickle.dumps(weight))
    assert type(again) is facula.nn.Parameter and again.note == "kept" and not again.requires_grad
    assert again.device == there


def test_constants_lie_where_they_are_made_of(there, other):
    image, weight = facula.zeros(1, 2, 4, 4, device=there), facula.ones(3, 2, 3, 3, device=there)
    assert facula.nn.functional.conv2d(image, weight).device == there
    still = facula.func.jvp(lambda t: facula.ones_like(t), (weight,), (weight,))
    assert still[0].device == still[1].device == there
    assert facula.func.grad(lambda t: t.sum())(weight).device == there
    with pytest.raises(RuntimeError, match="device"):
        facula.zeros(2).set_(facula.zeros(2, device=there))
    assert facula.zeros(2, device=there).resize_(5).device == there


# ---- the rest of the engine --------------------------------------------------------------------


def test_cpu_work_goes_on_beside_it(there):
    away = facula.ones(4, device=there)
    x = facula.arange(4.0)
    for _ in range(50):
        x = x * 1.0 + 1.0
        away = away + 1.0
    assert x.tolist() == [50, 51, 52, 53] and away.tolist() == [51] * 4


def test_dead_work_is_not_done(there):
    x = facula.ones(3, device=there)
    for _ in range(10):
        x / 0
    y = x + 1
    del x
    assert y.tolist() == [2, 2, 2]


def test_threads(there):
    wrong = []

    def work(k):
        try:
            for n in range(40):
                away = facula.full((3,), float(k), device=there) * 2 + n
                here = facula.full((3,), float(k)) * 2 + n
                assert away.tolist() == here.tolist() == [2.0 * k + n] * 3
        except BaseException as error:
            wrong.append(error)

    threads = [threading.Thread(target=work, args=(k,)) for k in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


class PlacedMachine(Placed, Machine):
    pass


class PlacedRecording(Placed, Recording):
    pass


@settings(LIMITS, max_examples=MORE or 40)
@given(data=st.data())
def test_random_programs_agree(data):
    with pretend_accelerator() as place:
        machine = PlacedMachine(facula, Drawn(data))
        machine.place = place
        machine.create()
        for _ in range(machine.drawn.between(3, 25)):
            step = machine.drawn.one_of([s for s in STEPS if "numpy" not in s and "array" not in s])
            getattr(machine, step)()
            if not machine.live:
                machine.create()
        assert all(ours.device == place for ours, _ in machine.live)
        machine.compare_all()


@settings(LIMITS, max_examples=MORE or 40)
@given(data=st.data())
def test_gradients_of_random_programs_agree(data):
    with pretend_accelerator() as place:
        machine = PlacedRecording(facula, Drawn(data))
        machine.place = place
        machine.leaves = []
        machine.leaf()
        machine.rebase()
        for _ in range(machine.drawn.between(2, 15)):
            getattr(machine, machine.drawn.one_of(RECORDED))()
        machine.compare_all()
        machine.same_flags()
        machine.backward()
        assert all(ours.grad is None or ours.grad.device == place for ours, _ in machine.leaves)
