"""What only elements can show to be wrong (indices, classes, divisors) is checked by the graph: nothing is computed for
it, the error comes where a value is read, once, and names the call."""

import inspect
import re
import subprocess
import sys
import threading

import numpy as np
import pytest

import facula as F
from facula import nn
from facula.engine import checks, realize, recorder

lazy = pytest.mark.skipif(recorder.LIMIT == 0 or checks.MOST < 10, reason="errors are raised at their calls, or soon")


@pytest.fixture(autouse=True)
def nothing_left():
    realize.flush()
    yield
    checks.waiting.clear()  # of a test that has failed


@pytest.fixture
def runs(monkeypatch):
    """The graphs that are run, by their number of nodes."""
    found, run_step = [], realize.run_step

    def counted(step, nodes, leaves, numbers):
        found.append(len(nodes))
        run_step(step, nodes, leaves, numbers)
    monkeypatch.setattr(realize, "run_step", counted)
    return found


def pending(*numbers, of=F.int64):
    """An index that is yet to be computed."""
    return F.tensor([n - 1 for n in numbers], dtype=of) + 1


TABLE = F.arange(12.0).reshape(3, 4).clone()
LINE = F.arange(5.0)

# Call, exception, what torch says. {L} is the line, {T} the table
WRONG = {
    "T[I(1, 3)]": (IndexError, "index 3 is out of bounds for dimension 0 with size 3"),
    "T[I(-4, 0)]": (IndexError, "index -4 is out of bounds for dimension 0 with size 3"),
    "T[:, I(1, 4)]": (IndexError, "index 4 is out of bounds for dimension 1 with size 4"),
    "T[I(1, 0), I(0, -5)]": (IndexError, "index -5 is out of bounds for dimension 1 with size 4"),
    "T[I(1, 2, of=F.int32), 1:][I(9)]": (IndexError, "index 9 is out of bounds for dimension 0 with size 2"),
    "T.index_select(0, I(0, 3))": (IndexError, "index out of range in self"),
    "T.index_select(1, I(-1))": (IndexError, "index out of range in self"),
    "T.gather(1, I(0, 4, 1).reshape(3, 1))": (RuntimeError, "index 4 is out of bounds for dimension 1 with size 4"),
    "T.gather(0, I(-1).reshape(1, 1))": (RuntimeError, "index -1 is out of bounds for dimension 0 with size 3"),
    "T.take(I(12))": (IndexError, "out of range: tried to access index 12 on a tensor of 12 elements."),
    "T.take(I(-13))": (IndexError, "out of range: tried to access index -13 on a tensor of 12 elements."),
    "L.take_along_dim(I(5), 0)": (IndexError, "index 5 is out of bounds for dimension 0 with size 5"),
    "L.scatter(0, I(5), 1.0)": (RuntimeError, "index 5 is out of bounds for dimension 0 with size 5"),
    "L.scatter_add(0, I(-1), F.ones(1))": (RuntimeError, "index -1 is out of bounds for dimension 0 with size 5"),
    "L.scatter_reduce(0, I(7), F.ones(1), 'amax')": (RuntimeError, "index 7 is out of bounds for dimension 0"),
    "L.index_add(0, I(5), F.ones(1))": (IndexError, "index out of range in self"),
    "L.index_copy(0, I(5), F.ones(1))": (IndexError, "index 5 is out of bounds for dimension 0 with size 5"),
    "L.index_fill(0, I(-6), 1.0)": (IndexError, "index -6 is out of bounds for dimension 0 with size 5"),
    "L.put(I(5), F.ones(1))": (IndexError, "out of range: tried to access index 5 on a tensor of 5 elements."),
    "L.index_put((I(5),), F.ones(1))": (IndexError, "index 5 is out of bounds for dimension 0 with size 5"),
    "F.embedding(T, I(3))": (IndexError, "index out of range in self"),
    "F.embedding(T, I(-1, of=F.int32))": (IndexError, "index out of range in self"),
    "nn.functional.embedding(I(0, 3).reshape(2, 1), T)": (IndexError, "index out of range in self"),
    "nn.functional.cross_entropy(T, I(0, 4, 1))": (IndexError, "Target 4 is out of bounds."),
    "nn.functional.cross_entropy(T, I(0, -1, 1))": (IndexError, "Target -1 is out of bounds."),
    "nn.functional.nll_loss(T, I(0, 4, 1), F.ones(4))": (IndexError, "Target 4 is out of bounds."),
    "nn.functional.one_hot(I(0, 4), 4)": (RuntimeError, "Class values must be smaller than num_classes."),
    "nn.functional.one_hot(I(0, -1), 4)": (RuntimeError, "Class values must be non-negative."),
    "nn.functional.max_unpool1d(T, I(*[9] * 12).reshape(3, 4), 2)": (RuntimeError, "Found an invalid max index: 9"),
    "F.tensor([5]) // I(0)": (RuntimeError, "ZeroDivisionError"),
    "F.tensor([5, 6]) % I(0, 1)": (RuntimeError, "ZeroDivisionError"),
    "F.tensor([5]).fmod(I(0)[0])": (RuntimeError, "ZeroDivisionError"),
    "nn.functional.gaussian_nll_loss(L, L, L - 1)": (ValueError, "var has negative entry/entries"),
    "F.normal(L, L - 1)": (RuntimeError, "normal expects all elements of std >= 0.0"),
    "F.cov(T, aweights=F.zeros(4) + 0)": (RuntimeError, "cov(): weights sum to zero, can't be normalized"),
}
# torch counts the dimensions with those first that have an index, takes the last line of a matrix on a way of its own,
# and does not check here at all
OWN_WORDS = {"T[:, I(1, 4)]", "T.index_select(1, I(-1))", "L.take_along_dim(I(5), 0)"}


def call(text):
    return eval(text, {"F": F, "nn": nn, "I": pending, "T": TABLE, "L": LINE})


@pytest.mark.parametrize("text", WRONG)
def test_error(text):
    kind, words = WRONG[text]
    with pytest.raises(kind) as error:
        call(text).tolist()
    assert type(error.value) is kind and words in str(error.value)
    assert not checks.waiting and (LINE + 1).tolist() == [1, 2, 3, 4, 5]


@pytest.mark.parametrize("text", WRONG)
def test_words_are_those_of_torch(torch, text):
    def tensor(*numbers, of=torch.int64):
        return torch.tensor(numbers, dtype=of)
    kind, words = WRONG[text]
    if text in OWN_WORDS:
        return
    scope = {"F": torch, "nn": torch.nn, "I": tensor, "T": torch.arange(12.0).reshape(3, 4), "L": torch.arange(5.0)}
    with pytest.raises(Exception) as error:
        eval(text, scope)
    assert type(error.value) is kind and words in str(error.value)


@lazy
@pytest.mark.parametrize("text", WRONG)
def test_nothing_is_computed(runs, text):
    LINE.sum().item()
    runs.clear()
    result = call(text)
    assert not runs or "max_unpool" in text or "put" in text
    with pytest.raises(WRONG[text][0]):
        result.tolist()


@lazy
def test_message_names_the_call():
    index = pending(7)
    line = inspect.currentframe().f_lineno + 1
    y = LINE[index]
    z = y + 1
    with pytest.raises(IndexError, match=rf"\(called at {re.escape(__file__)}:{line}\)$"):
        z.sum().item()


@lazy
def test_message_names_the_model_not_the_framework():
    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = nn.Sequential(nn.Embedding(3, 2))

        def forward(self, x):
            return self.inner(x)
    model = Model()
    with pytest.raises(IndexError, match=rf"{re.escape(__file__)}:{inspect.currentframe().f_lineno - 2}\)"):
        model(pending(0, 3)).sum().backward()


def test_what_is_in_memory_is_checked_at_the_call():
    index = F.tensor([[0, 4], [9, 1]])
    for wrong in (index, index[1], index.t(), index[:, 0], index.reshape(-1), F.full((2,), 5)):
        with pytest.raises(IndexError, match=r"with size 5$"):
            LINE[wrong]
    assert LINE[index[0]].tolist() == [0, 4] and LINE[index[:, 1]].tolist() == [4, 1]


def test_part_of_a_tensor_that_is_wrong_elsewhere():
    index = F.tensor([0, 7, 1, 4, 2, -6])
    assert LINE[index[2:5]].tolist() == [1, 4, 2] and LINE[index[::2]].tolist() == [0, 1, 2]
    assert LINE[index[:1]].tolist() == [0]
    for wrong in (index[1:3], index[4:], index):
        with pytest.raises(IndexError, match=r"size 5$"):
            LINE[wrong]
    fine = F.tensor([0, -1, 3, 4])
    assert LINE[fine].tolist() == [0, 4, 3, 4] and LINE[fine[1:]].tolist() == [4, 3, 4]
    with pytest.raises(IndexError):
        LINE[:4][fine[2:]]
    assert LINE[:4][fine[:2]].tolist() == [0, 3]


def test_no_dimension_to_point_into():
    with pytest.raises(IndexError):  # at the call: there is nothing to give instead
        F.zeros(0)[pending(0)]
    assert F.zeros(0)[F.zeros(0, dtype=F.int64) + 0].shape == (0,)
    assert F.zeros(3, 0)[pending(1)].shape == (1, 0)


# ---- right values ---------------------------------------------------------------------------------------------

RIGHT = ["x[i]", "x[:, j]", "x[i, j]", "x[..., k]", "x[i, :, k]", "x[:, j, k]", "x[i.unsqueeze(1), j]",
         "x[i.reshape(2, 1, 1), j]", "x[None, i]", "x[1:, j]", "x.take(n)"]


@pytest.mark.parametrize("of", [np.int64, np.int32])
@pytest.mark.parametrize("text", RIGHT)
def test_values(text, of):
    x = np.arange(60.0).reshape(3, 4, 5)
    at = {"i": [-3, 2], "j": [1, -4], "k": [4, -5], "n": [-60, 59]}
    if text == "x.take(n)":
        of = np.int64
    expected = eval(text.replace("i.unsqueeze(1)", "i[:, None]"),
                    {"x": x, **{name: np.array(v, of) for name, v in at.items()}})
    indices = {name: F.from_numpy(np.array(v, of)) + 0 for name, v in at.items()}
    got = eval(text, {"x": F.tensor(x), **indices})
    assert got.shape == expected.shape and got.tolist() == expected.tolist()


def test_extreme_indices():
    for wrong in (2**63 - 1, -2**63, 2**32, -2**31 - 1):
        for negative in (True, False):
            index = F.tensor([1, wrong]) * 1
            with pytest.raises(IndexError, match=str(wrong) if negative else "out of range in self"):
                (LINE[index] if negative else LINE.index_select(0, index)).tolist()
        with pytest.raises(IndexError, match=f"Target {wrong} is out"):
            nn.functional.cross_entropy(TABLE[:2], F.tensor([1, wrong]) * 1).item()


@lazy
def test_writing_touches_nothing_outside():
    """Rows of memory right before and behind the one that is written, and the row itself."""
    memory = np.zeros((3, 8), np.float32)
    for row in (0, 1, 2):
        base = F.tensor(memory[row])
        index = F.tensor([-100, -1, 2, 8, 9, 2**40]) * 1
        out = base.scatter(0, index, 1.0)
        with pytest.raises((IndexError, RuntimeError)):
            out.tolist()
        assert out.tolist() == [0, 0, 1, 0, 0, 0, 0, 0]
    for width in (1, 3, 40):
        base = F.zeros(4, width)
        before, behind = F.zeros(64) + 1, F.zeros(64) + 2
        (before.sum() + behind.sum()).item()
        out = base.index_add(0, F.tensor([1, 4, -1]) * 1, F.ones(3, width))
        with pytest.raises(IndexError):
            out.tolist()
        assert out.sum(1).tolist() == [0, width, 0, 0]
        assert before.sum().item() == 64 and behind.sum().item() == 128


@lazy
def test_reading_touches_nothing_outside():
    for width in (1, 3, 40):
        x = F.arange(4.0 * width).reshape(4, width).clone()
        out = x[F.tensor([1, 2**50, -2**50, 4, -1]) * 1]
        with pytest.raises(IndexError):
            out.sum().item()
        assert set(out.reshape(-1).tolist()) <= set(x.reshape(-1).tolist())


def test_gradients():
    w = F.arange(12.0).reshape(4, 3).clone().requires_grad_()
    i, j = F.tensor([1, -1, 1]) * 1, F.tensor([0, 2, -3]) * 1
    w[i].square().sum().backward()
    expected = np.zeros((4, 3))
    expected[1], expected[3] = 4 * np.arange(3, 6), 2 * np.arange(9, 12)
    assert w.grad.tolist() == expected.tolist()
    w.grad = None
    (w[i, j] * F.tensor([1.0, 2.0, 3.0])).sum().backward()
    expected = np.zeros((4, 3))
    expected[1, 0], expected[3, 2] = 4, 2
    assert w.grad.tolist() == expected.tolist()
    w.grad = None
    w.gather(1, F.tensor([[2], [0]]) * 1).sum().backward()
    assert w.grad.nonzero().tolist() == [[0, 2], [1, 0]]


@pytest.mark.parametrize("weight", [None, [1.0, 2.0, 0.5]])
@pytest.mark.parametrize("smoothing", [0.0, 0.3])
def test_cross_entropy_of_pending_targets(weight, smoothing):
    """Whether some targets are ignored is not known then; the result is the same."""
    weight = None if weight is None else F.tensor(weight)
    for targets in ([0, 2, 1, 1], [0, -100, 1, 1], [2, 2, 2, -100]):
        grads = []
        for late in (False, True):
            x = F.arange(12.0).reshape(4, 3).sin().requires_grad_()
            t = F.tensor(targets) * 1 if late else F.tensor(targets)
            loss = nn.functional.cross_entropy(x, t, weight, label_smoothing=smoothing)
            loss.backward()
            grads.append([loss.item(), *x.grad.reshape(-1).tolist()])
            each = nn.functional.cross_entropy(x, t, weight, reduction="none")
            assert [v for v, k in zip(each.tolist(), targets, strict=True) if k == -100] == [0.0] * targets.count(-100)
            assert not each.signbit().any()
        assert np.allclose(grads[0], grads[1], rtol=1e-6, atol=1e-7)


def test_scale_grad_by_freq():
    for embedding in (lambda i, w: nn.functional.embedding(i, w, scale_grad_by_freq=True),
                      lambda i, w: F.embedding(w, i, scale_grad_by_freq=True)):
        w = F.zeros(4, 2, requires_grad=True)
        embedding(F.tensor([1, 3, 1, 1]) * 1, w).sum().backward()
        assert np.allclose(w.grad.tolist(), [[0, 0], [1, 1], [0, 0], [1, 1]])


# ---- when ---------------------------------------------------------------------------------------------------


class Language(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(7, 4)
        self.head = nn.Linear(4, 7)

    def forward(self, x):
        return self.head(self.embedding(x).tanh())


@lazy
def test_a_training_step_is_not_cut(runs):
    """Inputs and targets are picked from the data: one run for the forward and backward pass, one for the step."""
    F.manual_seed(0)
    data = F.randint(0, 7, (20, 4))
    model = Language()
    optimizer = F.optim.SGD(model.parameters(), lr=0.1)
    losses = []
    for k in range(5):
        rows = (F.arange(6) + k) % 20
        x = data[rows]
        loss = nn.functional.cross_entropy(model(x[:, :-1]).reshape(-1, 7), (x[:, 1:] + 0).reshape(-1))
        assert not runs
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        assert 1 <= len(runs) <= 2
        losses.append(loss.item())
        runs.clear()
    assert losses[-1] < losses[0]
    assert not checks.waiting


@lazy
def test_replayed_passes_check_too():
    """The tenth batch is wrong; the ones before it have been run from one plan."""
    model = Language()
    for k in range(14):
        x = F.tensor([k % 7, 1, 2, 7 if k == 9 else 3]) * 1
        loss = nn.functional.cross_entropy(model(x), x % 7)
        if k == 9:
            with pytest.raises(IndexError, match="index out of range in self"):
                loss.backward()
        else:
            loss.backward()
            assert np.isfinite(loss.item())


@lazy
@pytest.mark.parametrize("text", [
    "L.index_add(0, I(9), F.ones(2))", "L.index_copy(0, I(9), F.ones(1).double())", "L.index_fill(0, I(9), F.ones(1))",
    "L.scatter(0, I(9), 1.0, reduce='min')", "L.scatter(0, I(9), 1e300)", "L.put(I(9), F.ones(2))",
    "L.index_put((I(9),), F.ones(2))", "L.__setitem__(I(9), F.ones(1).double())", "F.ones(3).long() % I(0, 1)",
    "nn.functional.cross_entropy(T, I(9, 9))", "F.cov(T, aweights=F.zeros(2) + 0)",
    "nn.functional.gaussian_nll_loss(L, L, T - 20)", "F.normal(T, L - 9)"])
def test_a_call_that_fails_leaves_no_check(text):
    """What is known to be wrong at the call comes first; then the elements do not matter."""
    with pytest.raises((IndexError, RuntimeError, ValueError)):
        call(text)
    assert not checks.waiting


@lazy
def test_raised_once_and_nothing_else_is_hurt():
    a = LINE * 2
    y = LINE[pending(9)] + a[0]
    b = a + 1
    with pytest.raises(IndexError):
        b.tolist()  # torch would have raised earlier
    assert b.tolist() == [1, 3, 5, 7, 9] and y.shape == (1,)
    y.tolist()


@lazy
def test_first_error_counts():
    """What the same thread has recorded later it would not have recorded at all."""
    y = LINE[pending(9)]
    z = TABLE[pending(8)]
    with pytest.raises(IndexError, match="index 9"):
        z.tolist()
    assert not checks.waiting and len(y.tolist()) == 1


@lazy
def test_a_wrong_call_whose_result_is_dropped():
    LINE[pending(5)]
    with pytest.raises(IndexError):
        (LINE + 1).tolist()


@lazy
def test_backward_step_and_read_raise():
    w = F.zeros(3, requires_grad=True)
    optimizer = F.optim.SGD([w], lr=1.0)
    with pytest.raises(IndexError):
        w[pending(3)].sum().backward()
    w.grad = F.ones(3)
    LINE[pending(5)]
    with pytest.raises(IndexError):
        optimizer.step()
    assert w.tolist() == [-1, -1, -1]
    for read in (lambda y: F.cpu.synchronize(), lambda y: y.item(), lambda y: y.numpy(), str, lambda y: y.data_ptr(),
                 bool, float, lambda y: F.autograd.grad((w * y).sum(), w)[0].tolist()):
        y = LINE[pending(5)].sum()
        with pytest.raises(IndexError):
            read(y)


@lazy
def test_not_where_much_is_pending():
    """A loop that asks for nothing has what is pending computed by some innocent call."""
    y = LINE[pending(5)]
    z = LINE
    for _ in range(3 * recorder.MOST if recorder.MOST < 100 else 2000):
        z = z * 1.0
    assert checks.waiting
    with pytest.raises(IndexError):
        y.tolist()  # it has been computed long since


@lazy
def test_a_loop_of_checks(monkeypatch, runs):
    monkeypatch.setattr(checks, "MOST", 10)
    for _ in range(35):
        LINE[pending(1)]
    assert len(checks.waiting) <= 11 and runs
    monkeypatch.setattr(checks, "MOST", 1000)
    LINE[pending(7)]
    with pytest.raises(IndexError, match="index 7"):
        realize.flush()


@lazy
def test_the_thread_that_reads_gets_it():
    caught, made = [], []

    def other():
        made.append(LINE[pending(6)])
    thread = threading.Thread(target=other)
    thread.start()
    thread.join()
    mine = TABLE[pending(5)]
    for _ in range(2):  # that of the other thread is another program's: it is not dropped with mine
        with pytest.raises(IndexError) as error:
            mine.tolist()
        caught.append(str(error.value))
    assert "index 6" in caught[0] and "index 5" in caught[1]
    assert mine.shape == (1, 4)


@lazy
def test_after_a_run_that_was_broken_off(monkeypatch):
    """What a flush had taken and not computed is computed when it is asked for, and so is its check."""
    y = LINE[pending(5)]
    run_step = realize.run_step

    def broken(*args):
        monkeypatch.setattr(realize, "run_step", run_step)
        raise KeyboardInterrupt
    monkeypatch.setattr(realize, "run_step", broken)
    with pytest.raises(KeyboardInterrupt):
        (LINE + 1).tolist()
    with pytest.raises(IndexError):
        y.tolist()


@lazy
def test_in_a_gradient():
    """A rule that looks up indices of its own is walked each time, so that its check is made each time."""
    class Pick(F.autograd.Function):
        @staticmethod
        def forward(ctx, x, index):
            ctx.index = index
            return x * 1

        @staticmethod
        def backward(ctx, g):
            return g * LINE[ctx.index].sum(), None

    for k in range(8):
        x = F.ones(2, requires_grad=True)
        loss = Pick.apply(x, F.tensor([5 if k == 6 else 1]) * 1).sum()
        if k == 6:
            with pytest.raises(IndexError):
                loss.backward()
        else:
            loss.backward()
            assert x.grad.tolist() == [1, 1]


def test_meta_tensors_are_not_checked():
    index = F.tensor([9]).to("meta") + 1
    assert F.zeros(3, device="meta")[index].shape == (1,)
    assert not checks.waiting


@lazy
def test_what_nobody_has_read_is_told_at_the_end(python_environment):
    program = "import facula as F\nx = F.zeros(3)\nx[F.tensor([4]) + 0]\nprint('end')\n"
    done = subprocess.run([sys.executable, "-c", program], env=python_environment, capture_output=True, text=True)
    assert done.stdout == "end\n" and "index 4 is out of bounds" in done.stderr and "<string>:3" in done.stderr


def test_eager_errors_come_at_the_call(python_environment):
    program = ("import facula as F\nx = F.zeros(3)\ntry:\n    x[F.tensor([4]) + 0]\n"
               "except IndexError as error:\n    print(error)\n")
    done = subprocess.run([sys.executable, "-c", program], env={**python_environment, "FACULA_EAGER": "1"},
                          capture_output=True, text=True)
    assert done.stdout == "index 4 is out of bounds for dimension 0 with size 3\n"
