"""A target that is written here and announced from here, and behaves otherwise than the pretend accelerator:
synchronous, its memory aligned to 256 bytes, without float64 and complex numbers, without sorting, with programs of its
own.

What it needs is what docs/architecture.md asks of a new target; nothing in Facula knows of it.
"""

import io
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import facula
from facula.devices import device
from facula.engine import targets
from facula.engine.graph.node import BUFFER, CONST, Node, size_of
from facula.engine.realize import flush
from facula.engine.runtime import interpreter
from facula.engine.targets.protocol import Memory, Program, Target
from facula.testing.accelerator import PretendAccelerator, pretend_accelerator
from placed_programs import Placed
from random_programs import Drawn
from test_random_programs import LIMITS, RECORDED, Recording

ALIGN = 256


class Bank(Target):
    """Memory that is one array, from which pieces are cut; addresses are positions in it."""

    def __init__(self, place):
        self.device = place
        self.bytes = np.full(1 << 24, 0x5A, np.uint8)
        self.pieces = {}  # address -> bytes
        self.ran = 0

    def allocate(self, nbytes, size_class=0):
        room, start = max(nbytes, 1), ALIGN  # the first hole: slow, and right
        for at, n in sorted(self.pieces.items()):
            if start + room <= at:
                break
            start = -(-(at + max(n, 1)) // ALIGN) * ALIGN
        if start + nbytes > self.bytes.size:
            raise facula.OutOfMemoryError(f"{self.device}: no room for {nbytes} bytes")
        self.pieces[start] = nbytes
        return Memory(self, start, nbytes)

    def release(self, memory):
        self.bytes[memory.ptr:memory.ptr + memory.nbytes] = 0x5A
        del self.pieces[memory.ptr]

    def upload(self, array):
        found = self.allocate(array.nbytes)
        self.bytes[found.ptr:found.ptr + array.nbytes] = array.reshape(-1).view(np.uint8)
        return found

    def download(self, memory, nbytes):
        return self.bytes[memory.ptr:memory.ptr + nbytes].copy()

    def supports(self, op, inputs, shape, of):
        if of.name == "float64" or of.is_complex:
            return f"no {of.name}"
        return "no sorting" if op.kind == "sort" else ""

    def compile(self, order, leaves, outputs, numbers_at, donated):
        return Steps(self, order, leaves, outputs, numbers_at)

    def synchronize(self):
        pass


@dataclass
class One:
    op: object
    attrs: object
    shape: object
    dtype: object
    sources: list  # of places among the values; a Node without inputs for a constant
    number: int
    numbers: int


class Steps(Program):
    """The nodes' descriptions: a Program outlives the nodes that it was made of."""

    def __init__(self, bank, order, leaves, outputs, numbers_at):
        self.bank = bank
        places = {node: k for k, node in enumerate([*leaves, *order])}
        self.leaves = [(node.shape, node.dtype) for node in leaves]
        self.outputs = [places[node] for node in outputs]
        self.order = []
        for node in order:
            sources = [(n.shape, n.dtype, numbers_at[n]) if n.op is CONST else places[n] for n in node.inputs]
            self.order.append(One(node.op, node.attrs, node.shape, node.dtype, sources, numbers_at.get(node, -1),
                                  len(node.scalars or ())))

    def view(self, buffer, shape, of):
        assert isinstance(buffer, Memory) and buffer.target is self.bank and buffer.ptr % ALIGN == 0
        nbytes = size_of(shape) * of.itemsize
        return self.bank.bytes[buffer.ptr:buffer.ptr + nbytes].view(of.numpy).reshape(shape)

    def run(self, leaves, numbers, outputs):
        self.bank.ran += 1
        described = list(self.leaves)
        values = [self.view(b, *d) for b, d in zip(leaves, self.leaves, strict=True)]
        for one in self.order:
            inputs, arrays = [], []
            for source in one.sources:
                if isinstance(source, tuple):
                    shape, of, at = source
                    inputs.append(Node(CONST, (), None, (numbers[at],), shape, of))
                    arrays.append(interpreter.compute(inputs[-1], []))
                else:
                    inputs.append(Node(BUFFER, (), None, None, *described[source]))
                    arrays.append(values[source])
            scalars = tuple(numbers[one.number:one.number + one.numbers]) if one.numbers else None
            node = Node(one.op, tuple(inputs), one.attrs, scalars, one.shape, one.dtype)
            values.append(interpreter.compute(node, arrays))
            described.append((one.shape, one.dtype))
        found = [np.array(values[k]) for k in self.outputs]  # a result may be a view of a leaf's memory
        for k, buffer, array in zip(self.outputs, outputs, found, strict=True):
            self.view(buffer, *described[k])[...] = array


class Wide(Bank):
    def supports(self, op, inputs, shape, of):
        return ""


@contextmanager
def wide_bank():
    """For FACULA_TEST_TARGET=test_another_target:wide_bank, which has the sweep run on it."""
    targets.register("xpu", 1, Wide)
    try:
        yield device("xpu", 0)
        flush()
    finally:
        targets.unregister("xpu")


@pytest.fixture
def bank():
    targets.register("xpu", 2, Bank)
    yield device("xpu", 0)
    try:
        flush()
    finally:
        targets.unregister("xpu")


def test_it_computes(bank):
    x = facula.arange(6.0, device="xpu").reshape(2, 3)
    assert x.is_xpu and x.device == bank
    assert ((x + 1).exp().sum(1) @ x).tolist() == pytest.approx(
        ((x.cpu() + 1).exp().sum(1) @ x.cpu()).tolist(), rel=1e-6)
    y = facula.zeros(3).xpu()
    y[1:] = x[0, :2] * 2
    assert y.tolist() == [0, 0, 2] and targets.target_of(bank).ran
    assert x.to("xpu:1").device == device("xpu", 1)
    with pytest.raises(RuntimeError, match="same device"):
        x + x.to("xpu:1")


def test_what_it_cannot_do_is_refused_where_it_is_asked(bank):
    x = facula.ones(3, device=bank)
    for call, name, why in (
            (lambda: facula.ones(2, dtype=facula.float64, device=bank), "ones", "float64"),
            (lambda: facula.tensor([1.0]).double().to(bank), "to", "float64"),
            (lambda: x.double(), "double", "float64"), (lambda: x + 1j, "add", "complex64"),
            (lambda: x.sort(), "sort", "no sorting"), (lambda: facula.argsort(x * 2), "argsort", "no sorting"),
            (lambda: facula.nn.Linear(2, 2).double().to(bank), "to", "float64")):
        with pytest.raises(NotImplementedError, match=rf"{name}.*xpu:0.*{why}"):
            call()
    assert (x + 1).tolist() == [2, 2, 2]


def test_the_first_value_there_is_refused_too(bank):
    with pytest.raises(NotImplementedError, match="xpu:0.*float64"):
        facula.ones(2, dtype=facula.float64, device=bank)


def test_training(bank):
    losses = []
    for place in ("cpu", bank):
        facula.manual_seed(0)
        net = facula.nn.Sequential(facula.nn.Conv2d(1, 3, 3), facula.nn.ReLU(), facula.nn.Flatten(),
                                   facula.nn.Linear(3 * 4 * 4, 5)).to(place)
        x, y = facula.randn(4, 1, 6, 6).to(place), (facula.arange(4) % 5).to(place)
        optimizer = facula.optim.AdamW(net.parameters(), lr=0.01)
        found = []
        for _ in range(6):
            optimizer.zero_grad()
            loss = facula.nn.functional.cross_entropy(net(x), y)
            loss.backward()
            optimizer.step()
            found.append(loss.item())
        losses.append(found)
        assert {p.grad.device for p in net.parameters()} == {device(place)}
    np.testing.assert_allclose(*losses, rtol=1e-4)


def test_the_rest_of_the_house_knows_it(bank):
    assert facula.accelerator.current_accelerator() == device("xpu") and facula.accelerator.device_count() == 2
    facula.accelerator.synchronize()
    assert facula.float64 not in facula.accelerator.get_device_capability()["supported_dtypes"]
    with pytest.raises(NotImplementedError, match="xpu:0"):
        facula.accelerator.memory_allocated()
    x = facula.arange(3.0).pin_memory().to(bank, non_blocking=True)
    file = io.BytesIO()
    facula.save(x, file)
    file.seek(0)
    assert facula.load(file).device == bank
    file.seek(0)
    assert facula.load(file, map_location="cpu").tolist() == [0, 1, 2]
    with facula.accelerator.device_index(1):
        assert facula.ones(1, device="xpu").get_device() == 1
    with pretend_accelerator() as other:  # two kinds at once
        assert (x.to(other) + 1).tolist() == [1, 2, 3] and x.to(other).to("xpu").device == bank
        with pytest.raises(RuntimeError, match="device"):
            x + x.to(other)


class BankRecording(Placed, Recording):
    pass


@settings(LIMITS, max_examples=15)
@given(data=st.data())
def test_gradients_of_random_programs_agree(data):
    with wide_bank() as place:
        machine = BankRecording(facula, Drawn(data))
        machine.place = place
        machine.leaves = []
        machine.leaf()
        machine.rebase()
        for _ in range(machine.drawn.between(2, 10)):
            getattr(machine, machine.drawn.one_of(RECORDED))()
        machine.compare_all()
        machine.backward()


def test_cuda_is_a_target_like_others():
    """What a program for GPUs says works as soon as a target says that it is there."""
    assert not facula.cuda.is_available()
    targets.register("cuda", 2, PretendAccelerator)
    try:
        assert facula.cuda.is_available() and facula.cuda.device_count() == 2 and facula.cuda.current_device() == 0
        assert facula.get_device_module() is facula.cuda and len(facula.cuda.default_generators) == 2
        where = facula.device("cuda" if facula.cuda.is_available() else "cpu")
        x = facula.arange(1000.0).cuda()
        assert x.is_cuda and x.device == device("cuda", 0) and facula.nn.Linear(2, 2).cuda().weight.is_cuda
        assert x.cuda(1).device == device("cuda:1") and x.type() == "torch.cuda.FloatTensor"
        facula.cuda.manual_seed_all(3)
        drawn = facula.rand(2, device=where).tolist()
        facula.cuda.manual_seed(3)
        assert facula.rand(2, device="cuda").tolist() == drawn
        state = facula.cuda.get_rng_state()
        a = facula.rand(2, device="cuda").tolist()
        facula.cuda.set_rng_state(state)
        assert facula.rand(2, device="cuda").tolist() == a
        with facula.cuda.device(1):
            assert facula.cuda.current_device() == 1 and facula.zeros(1, device="cuda").get_device() == 1
        facula.cuda.synchronize()
        assert facula.cuda.memory_allocated() >= 4000 and facula.cuda.max_memory_allocated() >= 4000
        assert facula.cuda.mem_get_info()[1] == 1 << 32 and facula.cuda.memory_stats()["allocated_bytes.all.peak"]
        start, end = (facula.cuda.Event(enable_timing=True) for _ in range(2))
        with facula.cuda.stream(facula.cuda.Stream()):
            start.record()
            (x @ x).item()
            end.record()
        assert start.elapsed_time(end) >= 0 and facula.cuda.current_stream().query() in (True, False)
        with pytest.raises(NotImplementedError, match="cudart|get_device_properties"):
            facula.cuda.get_device_properties(0)
        flush()
    finally:
        targets.unregister("cuda")
    assert not facula.cuda.is_available() and facula.cuda.memory_allocated() == 0
    with pytest.raises(AssertionError, match="CUDA"):
        facula.ones(1).cuda()
