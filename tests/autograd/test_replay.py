"""Backward passes that are run instead of walked give the same bits, whatever changes between iterations."""

import pytest

import facula as F
from facula import nn
from facula._tensor.reading import read
from facula.autograd import partial, replay, survey
from facula.engine import recorder
from facula.engine.cpython import liveness
from facula.engine.session import session
from facula.engine.trace import signature
from facula.ops.index.index_nodes import bounds

pytestmark = pytest.mark.skipif(recorder.LIMIT == 0, reason="FACULA_EAGER: nothing is pending, so nothing is replayed")


def mlp(k, state):
    if k == 0:
        state["model"] = nn.Sequential(nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 1))
        state["opt"] = F.optim.SGD(state["model"].parameters(), lr=0.1, momentum=0.5)
    x = F.randn(4, 6)
    loss = nn.functional.mse_loss(state["model"](x), x.sum(1, keepdim=True))
    state["opt"].zero_grad()
    loss.backward()
    state["opt"].step()
    return [loss, *state["model"].parameters()]


def adam(k, state):
    if k == 0:
        state["model"] = nn.Sequential(nn.Linear(6, 5), nn.LayerNorm(5), nn.Tanh(), nn.Dropout(0.3), nn.Linear(5, 3))
        state["opt"] = F.optim.Adam(state["model"].parameters(), lr=0.01)
    loss = nn.functional.cross_entropy(state["model"](F.randn(4, 6)), F.tensor([k % 3, 0, 1, 2]))
    state["opt"].zero_grad(set_to_none=k % 2 == 0)
    loss.backward()
    state["opt"].step()
    return [loss, *state["model"].parameters()]


def leaves(state):
    if not state:
        state["a"], state["b"] = F.randn(3, requires_grad=True), F.randn(2, 3, requires_grad=True)
    return state["a"], state["b"]


def accumulating(k, state):
    a, b = leaves(state)
    (a * b).exp().sum().backward()
    return [a.grad, b.grad]


def numbers_change(k, state):
    a, b = leaves(state)
    ((a + b * (k + 0.5)).sin() * (1 + k)).sum().backward()
    return [a.grad, b.grad]


def constants_change(k, state):
    a, b = leaves(state)
    a.grad = b.grad = None
    (a * b * F.full((2, 3), float(k))).backward(F.full((2, 3), 0.5 + k))
    return [a.grad, b.grad]


def constants_are_viewed(k, state):
    """A view of a constant is another constant: what is recorded of it has the number in it."""
    a, b = leaves(state)
    a.grad = b.grad = None
    (a * b).view(6).backward(F.full((6,), 0.5 + k // 8))
    return [a.grad, b.grad]


def exponent_changes(k, state):
    a, b = leaves(state)
    (a.abs() + b.abs() + 1).pow(k % 3 + 0.5).sum().backward()
    return [a.grad, b.grad]


def walked_twice(k, state):
    a, b = leaves(state)
    loss = (a * b).tanh().sum()
    loss.backward(retain_graph=True)
    loss.backward()
    with pytest.raises(RuntimeError, match="second time"):
        loss.backward()
    return [a.grad, b.grad]


def two_losses(k, state):
    a, b = leaves(state)
    x = a * b
    F.autograd.backward([x.sum(), (x * x).sum()])
    return [a.grad, b.grad]


def shared_and_aliased(k, state):
    a, b = leaves(state)
    x = a * a + a
    x[1] *= 2
    y = (x + b).view(6)[1:5]
    (y * y.detach() + y.unfold(0, 2, 1).sum()).sum().backward()
    a.grad.data.mul_(0.5)
    return [a.grad, b.grad]


def order_of_sums(k, state):
    """The same tape but for the order in which its steps came about, and so that of the sums in `a.grad`."""
    a, _ = leaves(state)
    a.grad = None
    parts = {}
    for i in ((0, 1, 2), (1, 0, 2), (1, 2, 0))[k % 3]:  # 1.25 is lost, or it is not
        parts[i] = a * (1e8, 1.25, -1e8)[i]
    loss = (parts[0] + parts[1] + parts[2]).sum()
    loss.item()  # else the order could be told from what is pending
    loss.backward()
    return [a.grad]


def a_hook_comes(k, state):
    """After the pass has been replayed, which it is from the fifth or sixth time on."""
    a, b = leaves(state)
    if k == 8:
        a.register_hook(lambda g: g * 3)
    x = a * b
    if k == 10:
        x.register_hook(lambda g: g * 2)
    x.sum().backward()
    return [a.grad, b.grad]


def a_leaf_freezes(k, state):
    a, b = leaves(state)
    b.requires_grad_(k % 3 != 2)
    (a * b).exp().sum().backward()
    return [a.grad, b.grad]


def own_function(k, state):
    class Twice(F.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            ctx.save_for_backward(x)
            return x * x

        @staticmethod
        def backward(ctx, g):
            x, = ctx.saved_tensors
            return 2 * x * g + k

    a, b = leaves(state)
    a.grad = b.grad = None
    (Twice.apply(a) * b).sum().backward()
    return [a.grad, b.grad]


class Clipped(F.autograd.Function):
    @staticmethod
    def forward(ctx, x, low):
        ctx.save_for_backward(x)
        ctx.low = low
        return x.clamp(min=low)

    @staticmethod
    def backward(ctx, g):
        x, = ctx.saved_tensors
        g = g.clone()
        g[x < ctx.low] = 0
        return g, None


class Moody(F.autograd.Function):
    """A backward that goes by values and by what the program does meanwhile."""

    mood = 0
    calls = 0

    @staticmethod
    def forward(ctx, x, y):
        ctx.save_for_backward(x, y)
        return x * y

    @staticmethod
    def backward(ctx, g):
        Moody.calls += 1
        x, y = ctx.saved_tensors
        if Moody.mood == 1:
            return F.zeros(x.shape), g * x
        if Moody.mood == 2:
            return g * y, None
        if Moody.mood == 3 and (g * y).sum().item() > -1e9:  # computes what is pending
            return (g * y).double(), (g * x).expand(2, *x.shape)
        if Moody.mood == 4:
            return F.full(x.shape, 2.5), g
        return g * y, g * x


class Scaled(F.autograd.Function):
    @staticmethod
    def forward(ctx, x, factor):
        ctx.factor = factor
        return x * factor

    @staticmethod
    def backward(ctx, g):
        return g * ctx.factor, None


def custom_between(k, state):
    a, b = leaves(state)
    a.grad = b.grad = None
    x = Clipped.apply((a * b).sin() * (k + 1), 0.1 * k)
    (x.exp() * x + a).pow(2).mean().backward()
    return [a.grad, b.grad]


def custom_twice(k, state):
    a, b = leaves(state)
    a.grad = b.grad = None
    x, y = Clipped.apply(a * b, 0.0).unbind(0)
    z = Moody.apply(x * 2, y.cos())
    (z * z + Scaled.apply(z, k + 0.5)).sum().backward(retain_graph=k % 2 == 0)
    return [a.grad, b.grad]


def custom_changes(k, state):
    a, b = leaves(state)
    a.grad = b.grad = None
    Moody.mood = [0, 0, 0, 0, 1, 2, 3, 4, 0, 1, 0, 3][k]  # the same tape each time
    before = Moody.calls
    x = (a * b).tanh()
    y = x[0].exp()
    ((Moody.apply(x[1] * 3, y) * y).sin() + x.sum(0)).sum().backward()
    assert Moody.calls == before + 1
    return [a.grad, *([b.grad] if b.grad is not None else [])]


def custom_of_a_custom(k, state):
    a, b = leaves(state)
    a.grad = b.grad = None

    class Inner(F.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            ctx.save_for_backward(x)
            return x.exp()

        @staticmethod
        def backward(ctx, g):  # as a checkpoint does
            x = ctx.saved_tensors[0].detach().requires_grad_()
            with F.enable_grad():
                y = Scaled.apply(x.exp(), 1.0)
            y.backward(g)
            return x.grad

    state.setdefault("inner", Inner)
    (state["inner"].apply(a * 2) * b).sum().backward()
    return [a.grad, b.grad]


def custom_fails(k, state):
    a, b = leaves(state)
    a.grad = b.grad = None

    class Failing(F.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x * 1

        @staticmethod
        def backward(ctx, g):
            if state.get("fail"):
                raise ArithmeticError("as asked")
            return g

    failing = state.setdefault("failing", Failing)
    x = a.exp()
    loss = (failing.apply(x * b).sin() * b).sum()
    state["fail"] = k == 5
    if k == 5:
        with pytest.raises(ArithmeticError, match="as asked"):
            loss.backward()
    else:
        loss.backward()
    return [] if k == 5 else [a.grad, b.grad]


def custom_on_an_edge(k, state):
    """First, last, alone: with gradients that are views and constants."""
    a, b = leaves(state)
    a.grad = b.grad = None
    Scaled.apply(a, 2.0 + k).sum().backward()
    Scaled.apply((b * b).sum(), 3.0).backward()
    Scaled.apply(a, 1.0).backward(F.arange(3.0))
    return [a.grad, b.grad]


def several_results(k, state):
    _, b = leaves(state)
    values, indices = b.sort(dim=1)
    low, high = b.chunk(2)
    (values[:, 0] * low.max(dim=1)[0] + high.cumsum(1).sum()).sum().backward()
    return [b.grad]


def embedding(k, state):
    if k == 0:
        state["table"] = nn.Embedding(7, 3)
    state["table"](F.tensor([k % 7, 2, 2])).square().sum().backward()
    return [state["table"].weight.grad]


def updates_between(k, state):
    a, b = leaves(state)
    loss = (a * b).sum() ** 2
    loss.backward()
    with F.no_grad():
        a -= 0.1 * a.grad
        b -= 0.1 * b.grad
        a.grad = None
    return [loss, a, b, b.grad]


def convolution(k, state):
    if k == 0:
        state["model"] = nn.Sequential(nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(),
                                       nn.Linear(27, 4))
    state["model"].zero_grad()
    target = F.tensor([k % 4, 1 if k < 5 else -100])  # from some time on one is ignored
    nn.functional.cross_entropy(state["model"](F.randn(2, 1, 8, 8)), target).backward()
    return [p.grad for p in state["model"].parameters()]


def indices_change(k, state):
    _, b = leaves(state)
    rows = b[F.tensor([0, k % 2, -1])]
    (rows * b[:, 1:].sum() * rows.gather(1, F.tensor([[k % 3], [0], [2]]))).sum().backward()
    return [b.grad]


def recurrent(k, state):
    if k == 0:
        state["model"] = nn.LSTM(3, 4)
    state["model"].zero_grad()
    state["model"](F.randn(5, 2, 3))[0].square().sum().backward()
    return [p.grad for p in state["model"].parameters()]


def nothing_to_compute(k, state):
    a, b = leaves(state)
    a.grad = b.grad = None
    a.view(3, 1).backward(F.ones(3, 1))
    if k % 2:
        b.t().flip([0]).backward(F.full((3, 2), 2.0))
    return [a.grad, *([b.grad] if k % 2 else [])]


def rule_looks(k, state):
    """det's rule looks at its matrix, in memory already, and takes another way for a singular one."""
    matrix = F.eye(3) * (k + 1.0) + F.rand(3, 3)
    if k % 3 == 2:
        matrix[0] = matrix[1]
    w = state.setdefault("w", F.zeros(3, 3, requires_grad=True))
    with F.no_grad():
        w.copy_(matrix)
    w.tolist()
    w.grad = None
    F.linalg.det(w).backward()
    return [w.grad]


PROGRAMS = [mlp, adam, accumulating, numbers_change, constants_change,
            constants_are_viewed, exponent_changes, walked_twice, two_losses,
            shared_and_aliased, order_of_sums, a_hook_comes, a_leaf_freezes, own_function, several_results, embedding,
            custom_between, custom_twice, custom_changes, custom_of_a_custom, custom_fails, custom_on_an_edge,
            updates_between, convolution, indices_change, recurrent, nothing_to_compute,
            rule_looks]


def run(program, times=12):
    F.manual_seed(3)
    state, history = {}, []
    for k in range(times):
        # a copy: memory that NumPy holds may change at any time, so a gradient in it is not replayed
        history.append([t.detach().clone().numpy() for t in program(k, state)])
    return history


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda p: p.__name__)
def test_replayed_as_walked(program, monkeypatch):
    replayed = run(program)
    with monkeypatch.context() as patch:
        patch.setattr(replay, "survey", lambda roots, keep: None)
        walked = run(program)
    with monkeypatch.context() as patch:  # the walks in Python instead of machine code
        patch.setattr(session, "survey", None)
        patch.setattr(session, "describe", None)
        patch.setattr(replay, "use_machine_code", lambda: None)
        in_python = run(program)
    for one, two, three in zip(replayed, walked, in_python, strict=True):
        for a, b, c in zip(one, two, three, strict=True):
            assert a.tobytes() == b.tobytes() == c.tobytes()


@pytest.mark.compiled
@pytest.mark.skipif(not liveness.known(), reason="every value counts as held")
def test_a_loop_is_replayed():
    F.manual_seed(0)
    calls = []
    real = replay._run
    state = {}
    try:
        replay._run = lambda *args: (calls.append(1), real(*args))[1]
        for k in range(8):
            updates_between(k, state)
    finally:
        replay._run = real
    assert len(calls) >= 4


def test_a_rule_that_asks_for_a_known_range_is_not_replayed():
    """Which values an index has may decide what a rule does: whoever asks has looked, though nothing is computed."""
    index = read(F.tensor([2, 0, 1]))
    assert bounds(index, 0, 3) == (0, 2)
    before = session.looks
    assert bounds(index, 0, 3) == (0, 2) and session.looks > before


def test_what_a_rule_has_kept_is_told_apart():
    for one, other in ((0.0, -0.0), (1.0, 2.0), ((1, 2), (2, 1)), ("a", "b"), (None, 0)):
        keys = [[], []]
        assert survey._add_static(keys[0], one) and survey._add_static(keys[1], other)
        assert keys[0] != keys[1]
    assert not survey._add_static([], [1])  # it may change


def test_what_surrounds_a_custom_function_is_replayed(monkeypatch):
    F.manual_seed(0)
    calls = []
    real = partial.replayed
    monkeypatch.setattr(partial, "replayed", lambda *args: (calls.append(1), real(*args))[1])
    state = {}
    for k in range(8):
        custom_between(k, state)
    assert len(calls) >= 3


@pytest.mark.compiled
def test_machine_code_and_python_tell_the_same_graphs_apart():
    signature.use_machine_code()
    if session.describe is None:
        pytest.skip("this Python takes no builtins")
    x, y = F.randn(3), F.randn(2, 3)
    (x.sum() + y.sum()).item()
    bodies = [lambda: x + y, lambda: y + x, lambda: x + x, lambda: x * y, lambda: y * 2.0, lambda: y * 3.0,
              lambda: y.double(), lambda: y.sum(0), lambda: y.sum(1), lambda: y.t() + 1, lambda: (x + y) * x,
              lambda: (x + y) * (x + y), lambda: F.cat([x, x]), lambda: F.cat([x, x, x]),
              lambda: F.full((2, 3), 1.0) + y]
    native, python = [], []
    for body in bodies:
        for _ in range(2):
            recorder.pending.clear()
            held = body()
            nodes = recorder.pending[:]
            native.append(signature.signature(nodes, []))
            python.append(signature.described(nodes, []))
            recorder.pending.clear()
            del held
    for i in range(len(native)):
        assert native[i][1] == python[i][1] and native[i][2] == python[i][2]  # leaves and numbers
        for j in range(len(native)):
            assert (native[i][0] == native[j][0]) == (python[i][0] == python[j][0])
