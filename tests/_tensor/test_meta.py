"""Meta tensors beside the operations (test_sweep_meta.py): where they come from, what they refuse,
modules, files; and that they leave no trace in the engine."""

import builtins
import copy
import gc
import io
import pickle
import threading
import warnings

import numpy as np
import pytest

import facula
import test_nn_layers as layers
from facula import nn
from facula.engine import recorder
from facula.engine.graph.node import elsewhere
from facula.engine.session import session
from nn_oracle import to_library
from recorded import Refused

META = facula.device("meta")


def outcome(ask):
    """What `ask` gives, as text, or the exception's type."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return str(ask())
    except Exception as error:
        return type(error)


def expected(oracle, ask):
    """What `ask` gives of torch: as text, or the exception's type."""

    def told(answer):
        return Refused(answer.__name__, "") if isinstance(answer, type) else answer

    answer = oracle(lambda torch: told(ask(torch)))
    return getattr(builtins, answer.name) if isinstance(answer, Refused) else answer


FACTORIES = """
t.empty(2, 3, device="meta")
t.zeros(2, 3, device="meta", dtype=t.int64)
t.ones((), device="meta")
t.full((2,), 3, device="meta")
t.full((2,), t.tensor(2.0), device="meta")
t.tensor([1, 2], device="meta")
t.tensor(c, device="meta")
t.tensor(m)
t.as_tensor(c, device="meta")
t.as_tensor(m)
t.asarray([1.0, 2.0], device="meta")
t.scalar_tensor(1.0, device="meta")
t.arange(5, device="meta")
t.arange(0, 1, 0.25, device="meta")
t.linspace(0, 1, 5, device="meta")
t.logspace(0, 1, 5, device="meta")
t.eye(3, 4, device="meta")
t.tril_indices(3, 3, device="meta")
t.hann_window(4, device="meta")
t.fft.fftfreq(4, device="meta")
t.rand(2, 3, device="meta")
t.randn(2, 3, device="meta", dtype=t.float64)
t.randint(0, 5, (2,), device="meta")
t.randperm(5, device="meta")
t.normal(0.0, 1.0, (2,), device="meta")
t.empty_strided((2, 2), (1, 2), device="meta").stride()
t.empty_permuted((2, 3), (1, 0), device="meta").stride()
t.empty_like(c, device="meta")
t.zeros_like(m)
t.zeros_like(m, device="cpu")
t.rand_like(m)
m.new_zeros(2)
m.new_tensor([1.0, 2.0])
m.new_full((2,), 1.0)
c.new_ones(2, device="meta")
c.to("meta")
c.to(m)
c.to("meta", t.float64)
m.to("meta") is m
m.long()
m.clone()
m.detach()
m.data
m.T
m[0]
m[:, 1:]
list(m)
m.view(t.int32)
t.view_as_complex(t.empty(2, 2, device="meta"))
t.Tensor(m)
t.nn.Parameter(m).requires_grad
m * t.empty(3, device="meta", requires_grad=True)
t.empty(0, device="meta")
m.device, m.is_meta, m.is_cpu, m.get_device(), m.data_ptr(), m.nbytes, m.storage_offset()
m.untyped_storage().nbytes(), m.untyped_storage().data_ptr()
f"{s}"
"""


@pytest.mark.parametrize("line", FACTORIES.strip().splitlines())
def test_looks_as_in_torch(line, oracle):
    def ask(library):
        m, c, s = (
            library.empty(2, 3, device="meta"),
            library.ones(2, 3),
            library.tensor(1.0, device="meta"),
        )
        return outcome(lambda: eval(line, {"t": library, "m": m, "c": c, "s": s}))

    assert ask(facula) == expected(oracle, ask)


UNDER_A_DEFAULT = """
t.ones(2)
t.tensor([1.0])
t.as_tensor(np.ones(2))
t.as_tensor(c)
t.tensor(c)
t.from_numpy(np.ones(2))
t.Tensor([1.0, 2.0])
t.FloatTensor([1.0])
t.ones_like(c)
c.new_ones(2)
t.arange(3)
t.randperm(3)
t.nn.Parameter(t.ones(2)).device
t.nn.BatchNorm2d(2).running_mean
t.nn.functional.dropout(c, 0.5).device
t.complex(c, c).device
(c + 1).device
"""


@pytest.mark.parametrize("line", UNDER_A_DEFAULT.strip().splitlines())
def test_the_default_device(line, oracle):
    def ask(library):
        names = {"t": library, "c": library.ones(2, 3), "np": np}
        with library.device("meta"):
            inside = outcome(lambda: eval(line, names))
        library.set_default_device("meta")
        try:
            assert outcome(lambda: eval(line, names)) == inside
        finally:
            library.set_default_device(None)
        return inside

    assert ask(facula) == expected(oracle, ask)


NEED_ELEMENTS = """
s.item()
m.item()
s.tolist()
m.tolist()
bool(s)
bool(m)
float(s)
int(s)
s.is_nonzero()
m.numpy()
m.numpy(force=True)
np.array(m)
np.asarray(s)
m.cpu()
m.to("cpu")
m.to("cpu", t.float64)
m.to(c)
m.type_as(c)
t.tensor(m, device="cpu")
t.as_tensor(m, device="cpu")
t.zeros_like(m, device="cpu").copy_(m)
c.copy_(m)
c[0].copy_(m[0])
c.__setitem__(0, m[0])
m[m > 0]
t.where(m > 0)
t.zeros(3)[i[0]]
m[i[0]]
m[i[0]:]
t.tensor([m.sum(), 1.0])
t.full((2,), s)
t.zeros(2, 3, device="meta").sum() > 0 and 1
t.repeat_interleave(m, i, dim=0)
t.tensor_split(m, i)
m.__dlpack__()
m.__dlpack_device__()
t.from_dlpack(m)
m.untyped_storage().tolist()
m.storage()[0]
f"{s:.2f}"
t.nn.functional.one_hot(i)
t.nn.Linear(2, 2, device="meta").to("cpu")
t.nn.Linear(2, 2, device="meta").cpu()
t.ones(2, requires_grad=True).to("meta").sum().backward()
t.ones(2).grad.__class__ and setattr(t.ones(2), "grad", t.ones(2, device="meta"))
setattr(t.ones(2), "data", t.ones(2, device="meta"))
c.set_(m)
t.add(m, m, out=t.empty(2, 3))
t.add(c, c, out=t.empty(2, 3, device="meta"))
(t.ones(2, requires_grad=True) * 2).backward(t.ones(2, device="meta"))
"""


@pytest.mark.parametrize("line", NEED_ELEMENTS.strip().splitlines())
def test_what_needs_elements_raises(line, oracle):
    def ask(library):
        names = {
            "t": library,
            "np": np,
            "m": library.empty(2, 3, device="meta"),
            "c": library.ones(2, 3),
            "s": library.tensor(1.0, device="meta"),
            "i": library.tensor([0, 1], device="meta"),
        }
        return outcome(lambda: eval(line, names))

    theirs = expected(oracle, ask)
    assert isinstance(theirs, type)
    assert issubclass(ask(facula), theirs)


MIXED = """
m + c
c + m
c * s
t.where(c > 0, m, m)
t.where(m > 0, c, c)
t.cat([m, c])
t.cat([c, m])
t.stack([m, c])
m == c
t.lerp(m, c, 0.5)
t.clamp(m, c)
m.masked_fill(c > 0, 1.0)
c.masked_fill(c > 0, s)
t.nn.functional.mse_loss(m, c)
t.nn.functional.cross_entropy(m, i)
t.nn.Linear(3, 2, device="meta")(c)
m.add_(c) if False else m.add(c)
"""
# Where PyTorch answers with memory that nobody has filled, or with a meta tensor by chance.
MIXED_HERE = """
c.T @ m
m @ c.T
t.nn.functional.linear(m, c)
t.nn.functional.linear(c, m)
t.einsum("ij,jk->ik", m, c.T)
c[i.to("meta")]
c.index_select(0, i.to("meta"))
t.nn.functional.embedding(i.to("meta"), c)
c.clone().add_(m)
c.clone().fill_(s)
t.tensor(1.0).add_(s)
"""
ALLOWED = """
m + 1
m + number
number + m
m * s
t.clamp(m, number)
m[i]
m.index_select(0, i)
m.gather(0, t.zeros(2, 3, dtype=t.int64))
t.nn.functional.embedding(i, m)
m.copy_(c)
m.fill_(number)
m.__setitem__(0, c[0])
m.__setitem__(0, number)
m.__setitem__(m > 0, 1.0)
m.__setitem__(i, c)
"""


def mixed(library, line):
    names = {
        "t": library,
        "m": library.empty(2, 3, device="meta"),
        "c": library.ones(2, 3),
        "s": library.tensor(1.0, device="meta"),
        "i": library.tensor([0, 1]),
        "number": library.tensor(2.0),
    }
    return outcome(lambda: eval(line, names))


@pytest.mark.parametrize("line", MIXED.strip().splitlines())
def test_meta_and_cpu_do_not_mix(line, oracle):
    assert expected(oracle, lambda torch: mixed(torch, line)) is RuntimeError
    assert mixed(facula, line) is RuntimeError


@pytest.mark.parametrize("line", MIXED_HERE.strip().splitlines())
def test_meta_and_cpu_do_not_mix_here(line):
    assert issubclass(mixed(facula, line), RuntimeError)


@pytest.mark.parametrize("line", ALLOWED.strip().splitlines())
def test_mixtures_that_are_allowed(line, oracle):
    answer = mixed(facula, line)
    assert answer == expected(oracle, lambda torch: mixed(torch, line))
    assert isinstance(answer, str)


def test_the_error_names_both_devices():
    m, c = facula.empty(2, device="meta"), facula.ones(2)
    with pytest.raises(RuntimeError, match="device cpu is not on the expected device meta"):
        m + c
    with pytest.raises(RuntimeError, match="device meta is not on the expected device cpu"):
        facula.stack([c, m])
    with pytest.raises(RuntimeError, match="all tensors to be on the same device"):
        nn.Linear(2, 2, device="meta")(c)


def test_in_place_counts_versions_and_reaches_aliases():
    m = facula.empty(4, device="meta")
    view = m[1:]
    assert view.mul_(2) is view and m._version == 1 and view._base is m
    m.zero_()
    m.copy_(facula.ones(4))
    m[0] = 1
    assert m._version == 4 and view.is_meta and m.is_meta
    m.resize_(5, 6)
    assert m.shape == (5, 6) and m.is_meta


# ---- autograd ----------------------------------------------------------------------------------


def test_backward():
    x = facula.empty(3, device="meta", requires_grad=True)
    (x**2).sum().backward()
    assert x.grad.is_meta and x.grad.shape == (3,)
    (x * 2).sum().backward()
    assert x.grad.is_meta
    seen = []
    y = x * 2
    y.register_hook(lambda g: seen.append(g.device))
    y.backward(facula.ones(3, device="meta"))
    assert seen == [META]


class Split(facula.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x * 2, x * 3

    @staticmethod
    def backward(ctx, g, h):
        assert g.device == h.device
        return g + h


@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_custom_functions(device):
    for _ in range(3):
        x = facula.ones(3, device=device, requires_grad=True)
        y, _unused = Split.apply(x)
        assert y.device.type == device
        y.sum().backward()
        assert x.grad.device.type == device


def test_training_on_meta_and_then_on_the_cpu():
    """As programs measure a model before they make it."""

    def train(model, device, steps):
        optimizer = facula.optim.Adam(model.parameters(), 0.1)
        x = facula.ones(4, 3, device=device)
        for _ in range(steps):
            optimizer.zero_grad()
            loss = model(x).square().mean()
            loss.backward()
            optimizer.step()
        return loss

    def made(device=None):
        return nn.Sequential(
            nn.Linear(3, 5, device=device), nn.Tanh(), nn.Linear(5, 1, device=device)
        )

    facula.manual_seed(0)
    model = made()
    start = copy.deepcopy(model.state_dict())
    expected = train(model, "cpu", 6).item()
    ghost = made("meta")
    assert train(ghost, "meta", 6).is_meta
    assert all(p.is_meta and p.grad.is_meta for p in ghost.parameters())
    keep = facula.ones(2, device="meta")  # recording asks about devices meanwhile
    ghost.load_state_dict(copy.deepcopy(start), assign=True)
    assert train(ghost, "cpu", 6).item() == expected
    ghost = made("meta").to_empty(device="cpu")
    ghost.load_state_dict(start)
    assert train(ghost, "cpu", 6).item() == expected
    assert keep.is_meta


# ---- modules -----------------------------------------------------------------------------------

RECURRENT = [
    ("LSTM", (3, 4), {}, [layers.floats(5, 2, 3)]),
    ("GRU", (3, 4, 2), {"bidirectional": True, "dropout": 0.5}, [layers.floats(5, 2, 3)]),
    ("LSTMCell", (3, 4), {}, [layers.floats(2, 3)]),
    ("MultiheadAttention", (4, 2), {}, [layers.floats(5, 2, 4)] * 3),
    ("Transformer", (4, 2, 1, 1, 8), {}, [layers.floats(5, 2, 4)] * 2),
    ("Dropout", (0.5,), {}, [layers.floats(5, 4)]),
    ("RReLU", (), {}, [layers.floats(5, 4)]),
]
MODULES = [
    *((name, args, kwargs, [layers.KINKS]) for name, args, kwargs in layers.ACTIVATIONS),
    *layers.LAYERS,
    *(
        (name, (), {k: facula.from_numpy(v) if isinstance(v, np.ndarray) else v
                    for k, v in kwargs.items()}, arrays)
        for name, kwargs, arrays in layers.LOSSES
    ),
    *RECURRENT,
]  # fmt: skip
# They look at their values: the number of batches. As in torch, which looks whether a variance is negative, too.
LOOK = [("BatchNorm1d", "momentum")]


def faces(result):
    if isinstance(result, facula.Tensor):
        return [(result.shape, result.dtype, result.is_meta)]
    return [face for part in result or () for face in faces(part)]


def moved(value, device):
    if isinstance(value, facula.Tensor):
        return value.detach().to(device).requires_grad_(value.requires_grad)
    if isinstance(value, (list, tuple)):
        return type(value)(moved(part, device) for part in value)
    if isinstance(value, dict):
        return {key: moved(part, device) for key, part in value.items()}
    return value


def inputs_of(arrays):
    return [
        t.requires_grad_() if isinstance(t, facula.Tensor) and t.is_floating_point() else t
        for t in to_library(facula, list(arrays))
    ]


@pytest.mark.parametrize(("name", "args", "kwargs", "arrays"), MODULES)
@pytest.mark.parametrize("how", ["inside the context", "moved"])
def test_modules(name, args, kwargs, arrays, how):
    layer = getattr(nn, name)(*args, **kwargs)
    inputs = inputs_of(arrays)
    expected = [(shape, of, True) for shape, of, _ in faces(layer(*inputs))]
    if how == "moved":
        ghost = getattr(nn, name)(*args, **kwargs).to("meta")
    else:
        with META:
            ghost = getattr(nn, name)(*args, **moved(kwargs, "meta"))
    tensors = [*ghost.parameters(), *ghost.buffers()]
    assert all(t.is_meta for t in tensors)
    inputs = moved(inputs, "meta")
    if any(name == known and option in kwargs for known, option in LOOK):
        with pytest.raises(RuntimeError, match="cannot be called on meta tensors"):
            ghost(*inputs)
        return
    out = ghost(*inputs)
    assert faces(out) == expected
    out = out[0] if isinstance(out, tuple) else out
    if out.requires_grad:
        out.sum().backward()
        for t in [*ghost.parameters(), *inputs]:
            if isinstance(t, facula.Tensor) and t.requires_grad and t.grad is not None:
                assert t.grad.is_meta and t.grad.shape == t.shape
    ghost.to_empty(device="cpu").load_state_dict(layer.state_dict())
    assert not any(t.is_meta for t in [*ghost.parameters(), *ghost.buffers()])
    for ours, theirs in zip(ghost.state_dict().values(), layer.state_dict().values(), strict=True):
        assert facula.equal(ours, theirs)


def test_moving_makes_new_parameters_as_in_torch(oracle):
    def ask(t):
        layer = t.nn.Linear(2, 2)
        weight = layer.weight
        there = layer.to("meta").weight
        back = layer.to_empty(device="cpu").weight
        return [
            weight is there,
            there is back,
            there.is_meta,
            back.is_meta,
            back.requires_grad,
            [k for k, v in layer.named_parameters()],
        ]

    assert ask(facula) == expected(oracle, ask)


def test_loading_into_a_meta_module(libraries):
    for t in libraries:
        layer, source = t.nn.Linear(2, 2, device="meta"), t.nn.Linear(2, 2)
        with pytest.warns(UserWarning, match="which is a no-op.*assign=True"):
            layer.load_state_dict(source.state_dict())
        assert layer.weight.is_meta
        layer.load_state_dict(source.state_dict(), assign=True)
        assert not layer.weight.is_meta and layer.weight.requires_grad
        assert isinstance(layer.weight, t.nn.Parameter)
        assert t.equal(layer(t.ones(2)), source(t.ones(2)))


def test_lazy_modules():
    layer = nn.LazyLinear(3, device="meta")
    assert layer(facula.empty(2, 5, device="meta")).shape == (2, 3)
    assert layer.weight.is_meta and layer.weight.shape == (3, 5)


# ---- files, copies -----------------------------------------------------------------------------


def test_saving_and_loading(libraries):
    def saved(t):
        made = {
            "x": t.empty(2, 3, device="meta").T,
            "p": t.nn.Parameter(t.empty(3, device="meta", dtype=t.float64)),
            "c": t.ones(2),
        }
        file = io.BytesIO()
        t.save(made, file)
        return file.getvalue()

    for data in map(saved, libraries):
        for t in libraries:
            loaded = t.load(io.BytesIO(data))
            assert loaded["x"].is_meta and loaded["x"].stride() == (1, 3)
            assert loaded["p"].is_meta and loaded["p"].requires_grad
            assert isinstance(loaded["p"], t.nn.Parameter) and loaded["p"].dtype is t.float64
            assert loaded["c"].tolist() == [1, 1]
            loaded = t.load(io.BytesIO(data), map_location="meta")
            assert all(v.is_meta for v in loaded.values())


def test_copies_and_pickles():
    m = facula.empty(2, 3, device="meta").T
    for other in (pickle.loads(pickle.dumps(m)), copy.deepcopy(m), copy.copy(m)):
        assert other.is_meta and other.stride() == (1, 3) and other.shape == (3, 2)
    layer = copy.deepcopy(nn.Linear(2, 2, device="meta"))
    assert layer.weight.is_meta
    assert pickle.loads(pickle.dumps(layer)).weight.is_meta


# ---- the engine --------------------------------------------------------------------------------


def settled():
    """Recording asks nothing about devices any more."""
    gc.collect()
    _ = facula.ones(2) + 1
    return not elsewhere and session.record is session.native


def test_nothing_is_computed_or_left_behind():
    assert settled()
    limit = recorder.LIMIT
    before = len(recorder.pending)
    x = facula.empty(10**6, 10**6, device="meta")  # 4 TB, if anything were to be computed
    for _ in range(1000):
        x = (x + 1).relu() @ x
    assert len(recorder.pending) == before or not limit
    assert elsewhere and session.record is None
    y = x[0]
    del x
    assert not settled() and y.is_meta
    del y
    assert settled() and recorder.LIMIT == limit


def test_cpu_tensors_beside_meta_ones():
    keep = facula.empty(2, 2, device="meta")
    x = facula.arange(6.0).reshape(2, 3)
    y = (x + 1) @ x.T
    z = keep @ keep
    view = x[0]
    x.mul_(2)
    assert z.is_meta and not y.is_meta
    assert y.tolist() == [[8.0, 26.0], [17.0, 62.0]]
    assert view.tolist() == [0.0, 2.0, 4.0]
    for _ in range(2000):  # a loop that never asks for a value is noticed all the same
        x = x * 1.0
    assert len(recorder.pending) < 1500
    assert x.sum().item() == 30.0


def test_numpy_memory_beside_meta_tensors():
    array = np.ones(3, np.float32)
    shared = facula.from_numpy(array)
    m = facula.empty(3, device="meta")
    m.copy_(shared)
    with pytest.raises(NotImplementedError):
        shared.copy_(m)
    with pytest.raises(RuntimeError):
        shared + m
    shared.add_(1)
    assert array.tolist() == [2.0, 2.0, 2.0] and m.is_meta


def test_random_numbers_are_not_drawn():
    facula.manual_seed(3)
    expected = facula.rand(3).tolist()
    facula.manual_seed(3)
    facula.rand(5, device="meta").normal_()
    facula.randperm(5, device="meta")
    nn.Linear(4, 4, device="meta")
    assert facula.rand(3).tolist() == expected


def test_an_error_leaves_nothing_pending():
    m, c = facula.empty(2, device="meta"), facula.ones(2)
    before = len(recorder.pending)
    for _ in range(3):
        with pytest.raises(RuntimeError):
            c * m
    assert len(recorder.pending) == before
    assert (c + 1).tolist() == [2.0, 2.0]


def test_threads():
    wrong = []

    def work(k):
        try:
            for n in range(200):
                m = facula.empty(3, device="meta") + 1
                c = facula.full((3,), float(k)) * 2 + n
                assert (m * 2).exp().is_meta
                assert c.tolist() == [2.0 * k + n] * 3
        except Exception as error:
            wrong.append(error)

    threads = [threading.Thread(target=work, args=(k,)) for k in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong and settled()
