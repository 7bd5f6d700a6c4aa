"""Several threads write to the same tensors: no write is lost."""

import sys
import threading

import numpy as np
import pytest

import children
import facula as F
from facula import nn
from facula._tensor import cells, methods
from facula.engine import threads
from facula.engine.session import session
from facula.testing.samples import SAMPLES
from many_threads import switch_often, together  # noqa: F401
from sweep import OPERATIONS, given, in_place_form, look_up, single

N, TIMES = 6, 120  # threads, and writes of each


def many(write):
    """`write(thread, k)`, so often in each thread."""
    def work(i):
        for k in range(TIMES):
            write(i, k)
    together([lambda i=i: work(i) for i in range(N)])


WRITES = {
    "elements": (lambda: F.zeros(N, TIMES), lambda x, i, k: x.__setitem__((i, k), 1.0)),
    "rows of views": (lambda: F.zeros(N, TIMES), lambda x, i, k: x[i].__setitem__(k, 1.0)),
    "slices": (lambda: F.zeros(N, TIMES), lambda x, i, k: x.narrow(0, i, 1)[:, k:k + 1].fill_(1.0)),
    "transposed": (lambda: F.zeros(TIMES, N).t(), lambda x, i, k: x.t()[k, i].add_(1)),
    "items": (lambda: F.zeros(N, TIMES), lambda x, i, k: x[i, k:k + 1].copy_(F.ones(1))),
    "masks": (lambda: F.zeros(N * TIMES), lambda x, i, k: x.__setitem__(F.arange(N * TIMES) == i * TIMES + k, 1.0)),
    "indices": (lambda: F.zeros(N, TIMES), lambda x, i, k: x.__setitem__((F.tensor([i]), F.tensor([k])), F.ones(1))),
    "add_": (lambda: F.zeros(1), lambda x, i, k: x.add_(1)),
    "out=": (lambda: F.zeros(1), lambda x, i, k: F.add(x, 1, out=x)),
    "+=": (lambda: F.zeros(3), lambda x, i, k: x.__iadd__(F.tensor([1.0, 0, 0]))),
    "counter": (lambda: F.tensor(0), lambda x, i, k: x.add_(1)),
    "sub_ of a view": (lambda: F.zeros(2, 2), lambda x, i, k: x.view(-1)[3].sub_(-1)),
    "detach": (lambda: F.zeros(1), lambda x, i, k: x.detach().add_(1)),
    "data": (lambda: F.zeros(1), lambda x, i, k: x.data.add_(1)),
    "index_add_": (lambda: F.zeros(4), lambda x, i, k: x.index_add_(0, F.tensor([i % 4]), F.ones(1))),
    "scatter_add_": (lambda: F.zeros(4), lambda x, i, k: x.scatter_add_(0, F.tensor([k % 4]), F.ones(1))),
    "index_put_": (lambda: F.zeros(4), lambda x, i, k: x.index_put_((F.tensor([0]),), F.ones(1), accumulate=True)),
    "addcmul_": (lambda: F.zeros(1), lambda x, i, k: x.addcmul_(F.ones(1), F.ones(1))),
    "clamp_ and add_": (lambda: F.zeros(1), lambda x, i, k: x.clamp_(0, 1e6) is x and x.add_(1)),
    "x[0] += 1": (lambda: F.zeros(2), lambda x, i, k: exec("x[0] += 1", {"x": x})),
    "view(dtype)": (lambda: F.zeros(N * TIMES), lambda x, i, k: x.view(F.int32)[i * TIMES + k].fill_(0x3F800000)),
    "another dtype": (lambda: F.zeros(1, dtype=F.float16), lambda x, i, k: x.add_(F.ones(1, dtype=F.float64))),
    "shared with NumPy": (lambda: F.from_numpy(HELD), lambda x, i, k: x.add_(1)),
}
HELD = np.zeros(1, np.float32)


@pytest.mark.parametrize("name", WRITES)
def test_no_write_is_lost(name):
    make, write = WRITES[name]
    HELD[:] = 0
    x = make()
    many(lambda i, k: write(x, i, k))
    assert x.sum().item() == N * TIMES


def test_views_are_made_while_others_write():
    """The storage is made by whoever comes first; there is one."""
    for _ in range(60):
        x = F.zeros(N)
        together([lambda i=i, x=x: x[i].add_(1) for i in range(N)])
        assert x.tolist() == [1] * N


def test_readers_see_what_was_last_written():
    x = F.zeros(4)
    views = [x.view(2, 2), x[1:], x.detach()]
    stop = threading.Event()

    def read():
        seen = 0
        while not stop.is_set():
            for v in views:
                now = int((v + 0).max())
                assert now >= seen
                seen = now

    def write():
        for _ in range(TIMES):
            x.add_(1)
        stop.set()

    together([read, read, write])
    assert [int(v.max()) for v in views] == [TIMES] * 3


def test_gradients_of_several_passes():
    w = F.ones(3, requires_grad=True)
    many(lambda i, k: (w * 2).sum().backward())
    assert w.grad.tolist() == [2.0 * N * TIMES] * 3


def test_gradients_that_others_have_set_to_zero_or_none():
    for first in (None, F.zeros(3), F.zeros(6)[::2]):
        w = F.ones(3, requires_grad=True)
        w.grad = first
        together([lambda w=w: [(w * w).sum().backward() for _ in range(30)]] * N)
        assert w.grad.tolist() == [60.0 * N] * 3


def test_gradients_through_a_function():
    class Double(F.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x * 2

        @staticmethod
        def backward(ctx, g):
            return g * 2

    w = F.ones(3, requires_grad=True)
    many(lambda i, k: Double.apply(w * 1).sum().backward())
    assert w.grad.tolist() == [2.0 * N * TIMES] * 3


def test_batch_norm_counts_every_batch():
    norm = nn.BatchNorm1d(3, momentum=0.5)
    x = F.ones(4, 3) * F.tensor([1.0, 2.0, 3.0])
    many(lambda i, k: norm(x))
    assert norm.num_batches_tracked.item() == N * TIMES
    np.testing.assert_allclose(norm.running_mean.numpy(), [1, 2, 3], rtol=1e-6)


@pytest.mark.parametrize("shared", [False, True])
def test_steps_of_an_optimizer(shared):
    w = F.zeros(3, requires_grad=True)
    w.grad = F.ones(3)
    optimizers = [F.optim.SGD([w], lr=1.0) for _ in range(N)]
    many(lambda i, k: optimizers[0 if shared else i].step())
    assert w.tolist() == [-N * TIMES] * 3


@pytest.mark.parametrize("kind", ["Adam", "AdamW", "RMSprop", "Adagrad", "NAdam", "RAdam", "Adadelta", "Adamax",
                                  "Rprop", "ASGD"])
def test_steps_of_one_optimizer_by_several_threads(kind):
    """Of equal gradients: the order does not matter."""
    def model():
        w = F.full((3,), 2.0, requires_grad=True)
        w.grad = F.tensor([1.0, -2.0, 0.5])
        return w, getattr(F.optim, kind)([w], lr=0.01)

    w, optimizer = model()
    together([lambda: [optimizer.step() for _ in range(10)]] * 4)
    alone, one = model()
    for _ in range(40):
        one.step()
    np.testing.assert_allclose(w.detach().numpy(), alone.detach().numpy(), rtol=1e-6)


def test_workers_fill_one_tensor():
    from concurrent.futures import ThreadPoolExecutor
    data = F.utils.data.TensorDataset(F.arange(64.0))
    out = F.zeros(8, 8)

    def load(i):
        for k, (batch,) in enumerate(F.utils.data.DataLoader(F.utils.data.Subset(data, range(8 * i, 8 * i + 8)), 2)):
            out[i, 2 * k:2 * k + 2] = batch

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(load, range(8)))
    assert out.view(-1).tolist() == list(range(64))


# ---- each in-place form takes its turn -------------------------------------------------------------------


class Watched(cells.Storage):
    """A storage that knows when it is read and written without the lock."""

    __slots__ = ("_node", "bare")

    @property
    def node(self):
        self.bare += [sys._getframe(1).f_code.co_name] * (not session.lock._is_owned())
        return self._node

    @node.setter
    def node(self, value):
        self.bare += ["write"] * (not session.lock._is_owned())
        self._node = value


# Who asks for the node without reading its elements.
_ASKS = {"device_of", "is_meta", "share", "as_strided"}


@pytest.fixture
def there_are_others():
    threads.others.append(None)
    yield
    threads.others.pop()


@pytest.mark.parametrize("name", [name for name in OPERATIONS if in_place_form(name)])
@pytest.mark.usefixtures("there_are_others")
def test_in_place_forms_read_and_write_in_one(name):
    form = look_up(F.Tensor, in_place_form(name).removeprefix("Tensor."))
    for sample in SAMPLES[name][:3]:
        if not isinstance(sample.args[0], np.ndarray):
            continue
        args, kwargs = given(F, (sample.args, sample.kwargs), single)
        t = F.stack([args[0], args[0]])[1]
        storage = Watched.__new__(Watched)
        storage.bare = []
        old, storage._node = t._storage, t._storage.node
        storage.version, storage.shared = old.version, old.shared
        t._storage = storage
        t._base = None
        storage.bare.clear()
        try:
            form(t, *args[1:], **kwargs)
        except RuntimeError:
            continue  # the result has another shape, or a dtype that the tensor cannot hold
        assert set(storage.bare) <= _ASKS, f"{name}{sample}"


def test_one_thread_takes_no_lock():
    """While there has been one thread, nothing is locked; the second is noticed before it runs."""
    program = """
import threading, facula
from facula.engine import threads
x = facula.zeros(3)
x.add_(1)
x[0] += 1
assert not threads.others
seen = []
t = threading.Thread(target=lambda: seen.append(list(threads.others)))
t.start()
t.join()
assert seen == [[None]]
"""
    children.printed(program)


def test_a_program_that_has_threads_already():
    program = """
import threading
stop = threading.Event()
threading.Thread(target=stop.wait, daemon=True).start()
import facula
from facula.engine import threads
assert threads.others
stop.set()
"""
    children.printed(program)


def test_a_thread_that_did_not_come_by_threading():
    program = """
import _thread, facula, time
from facula.engine import threads
x = facula.zeros(1, requires_grad=True)
done = []
_thread.start_new_thread(lambda: done.append((x * 2).sum().backward()), ())
while not done:
    time.sleep(0.01)
assert threads.others
"""
    children.printed(program)


def test_an_array_is_taken_in_one(monkeypatch):
    """Between the memory's being lent and the array that holds it no other thread finds that nobody holds it."""
    x = F.zeros(2, 3)
    mine, theirs = x[0], x[1]
    first = threading.Thread(target=lambda: None)  # there are others from here on
    first.start()
    first.join()
    taken, looked = methods.strided, []

    def strided(t):
        if not looked:
            looked.append(threading.Thread(target=theirs.tolist))
            looked[0].start()
            looked[0].join(0.3)
        return taken(t)

    monkeypatch.setattr(methods, "strided", strided)
    array = mine.numpy()
    monkeypatch.undo()
    looked[0].join()
    mine.add_(1)
    assert array.tolist() == [1, 1, 1]
    array += 1
    assert mine.tolist() == [2, 2, 2]
