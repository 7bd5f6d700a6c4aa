"""Memory of the computer's that a device reads in its own time."""

import threading

import numpy as np
import pytest

import facula
from facula.engine.targets import target_of
from facula.testing.accelerator import pretend_accelerator


@pytest.fixture
def there():
    with pretend_accelerator(2) as place:
        yield place


def test_pinned_tensors(there):
    x = facula.arange(6.0).reshape(2, 3)
    p = x.pin_memory()
    assert p.is_pinned() and not x.is_pinned() and p.is_cpu and p.tolist() == x.tolist()
    assert p.pin_memory() is p and p[1].is_pinned() and p.detach().is_pinned() and not (p + 1).is_pinned()
    assert x.t().pin_memory().stride() == (1, 3) and x.t().pin_memory().tolist() == x.t().tolist()
    assert p.untyped_storage().is_pinned() and x.untyped_storage().pin_memory().is_pinned()
    address = p.data_ptr()
    p += 1
    p[0, 0] = 7
    facula.exp(facula.zeros(2, 3), out=p[:])
    assert p.is_pinned() and p.data_ptr() == address and p.tolist() == [[1.0] * 3] * 2
    assert facula.zeros(0).pin_memory().is_pinned() and facula.tensor(2.0).pin_memory().item() == 2
    assert facula.tensor([1 + 2j, 3]).pin_memory().tolist() == [1 + 2j, 3] and p.numpy().sum() == 6


def test_a_gradient_goes_through(there):
    x = facula.ones(2, requires_grad=True)
    (x.pin_memory().to(there, non_blocking=True) * 3).sum().backward()
    assert x.grad.is_cpu and x.grad.tolist() == [3, 3]


@pytest.mark.parametrize("line", [
    "facula.ones(2, pin_memory=True)", "facula.empty((2, 3), pin_memory=True)", "facula.tensor([1.0], pin_memory=True)",
    "facula.rand(3, pin_memory=True)", "facula.randperm(3, pin_memory=True)", "facula.arange(3, pin_memory=True)",
    "facula.eye(3, pin_memory=True)", "facula.zeros_like(facula.ones(2), pin_memory=True)",
    "facula.ones(2).new_zeros(3, pin_memory=True)", "facula.linspace(0, 1, 3, pin_memory=True)",
    "facula.full((2,), 3.0, pin_memory=True)", "facula.empty_strided((2, 2), (1, 2), pin_memory=True)",
    "facula.hann_window(4, pin_memory=True)", "facula.logspace(0, 1, 3, pin_memory=True)",
    "facula.fft.fftfreq(4, pin_memory=True)", "facula.randn(2, 2, pin_memory=True, requires_grad=True)"])
def test_factories(line, there):
    found = eval(line)
    facula.manual_seed(1)
    found = eval(line)
    facula.manual_seed(1)
    assert found.is_pinned()
    if "empty" not in line:
        assert found.tolist() == eval(line.replace("pin_memory=True", "pin_memory=False")).tolist()


def test_non_blocking_means_that_the_device_reads_later(there):
    pinned, plain = facula.zeros(3).pin_memory(), facula.zeros(3)
    gate = threading.Event()
    target_of(there).queue.put(gate.wait)
    late, now = pinned.to(there, non_blocking=True), plain.to(there, non_blocking=True)
    copied = pinned.to(there)
    into = facula.ones(3, device=there)
    into.copy_(pinned, non_blocking=True)
    pinned.fill_(9)
    plain.fill_(9)
    gate.set()
    assert late.tolist() == into.tolist() == [9, 9, 9]  # what the program has said that it does not do
    assert now.tolist() == copied.tolist() == [0, 0, 0]
    back = late.to("cpu", non_blocking=True)
    assert back.tolist() == [9, 9, 9]
    assert pinned.to("privateuseone:1", facula.float64, True).tolist() == [9, 9, 9]


def test_memory_lives_until_it_has_been_read(there):
    gate = threading.Event()
    target_of(there).queue.put(gate.wait)
    y = facula.arange(100_000.0).pin_memory().to(there, non_blocking=True)
    for _ in range(5):
        np.full(100_064, 7.0, np.float32)
    gate.set()
    assert facula.equal(y.cpu(), facula.arange(100_000.0))


def test_batches(there):
    class Own:
        def pin_memory(self):
            return "asked"

    samples = [(1.0, {"a": facula.ones(2), "b": "name"}), (2.0, {"a": facula.zeros(2), "b": "other"})]
    loader = facula.utils.data.DataLoader(samples, batch_size=2, pin_memory=True)
    (numbers, rest), = loader
    assert numbers.is_pinned() and rest["a"].is_pinned() and rest["b"] == ["name", "other"]
    loader = facula.utils.data.DataLoader([1], collate_fn=lambda batch: Own(), pin_memory=True)
    assert list(loader) == ["asked"]
    with pytest.warns(UserWarning, match="pin_memory_device is deprecated"):
        list(facula.utils.data.DataLoader([1], pin_memory=True, pin_memory_device="privateuseone"))


def test_what_cannot_be_pinned(there):
    with pytest.raises(RuntimeError, match="only dense CPU tensors can be pinned"):
        facula.ones(2, device=there).pin_memory()
    with pytest.raises(RuntimeError, match="cannot pin 'MetaFloatType' only dense CPU tensors can be pinned"):
        facula.ones(2, device="meta").pin_memory()
    with pytest.raises(RuntimeError, match="Only dense CPU tensors can be pinned"):
        facula.ones(2, device=there, pin_memory=True)
    with pytest.raises(TypeError, match=r"empty\(\): argument 'pin_memory' must be bool, not int"):
        facula.empty(2, pin_memory=1)
    assert facula.empty(2, device="meta", pin_memory=True).is_meta
    with pytest.warns(UserWarning, match="deprecated"), pytest.raises(RuntimeError, match="not an accelerator"):
        facula.ones(2).pin_memory("cpu")


def test_without_an_accelerator():
    for call in (facula.ones(2).pin_memory, facula.ones(2).untyped_storage().pin_memory):
        with pytest.raises(RuntimeError, match="Cannot access accelerator device when none is available"):
            call()
    for make in (facula.ones, facula.rand, facula.arange, facula.eye):
        with pytest.raises(RuntimeError, match="no pinned memory allocator is available on this system"):
            make(2, pin_memory=True)
    assert not facula.ones(2).is_pinned() and not facula.ones(2, pin_memory=None).is_pinned()
    with pytest.warns(UserWarning, match="no accelerator is found, then device pinned memory won't be used"):
        batch, = facula.utils.data.DataLoader([1.0], pin_memory=True)
    assert batch.tolist() == [1.0]


def test_a_storage_grows_with_its_tensor(there):
    for place, pin in (("cpu", False), ("cpu", True), (there, False), ("meta", False)):
        x = facula.zeros(3, device=place, pin_memory=pin)
        view = x[1:]
        storage, typed = x.untyped_storage(), x.storage()
        assert storage.nbytes() == 12 and len(typed) == 3
        x.resize_(5)
        assert storage.nbytes() == len(storage) == 20 and len(typed) == typed.size() == 5
        assert storage.device == x.device == facula.device(place) and view.untyped_storage().nbytes() == 20
        assert x.is_pinned() == storage.is_pinned() == pin
        if place != "meta":
            view[0] = 7
            x[4] = 2
            assert x.tolist() == [0, 7, 0, 0, 2] and storage.data_ptr() == x.data_ptr()
            x.resize_(2)
            assert storage.nbytes() == 20 and x.tolist() == [0, 7]
