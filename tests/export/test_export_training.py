"""Training captured: a step as a program gives the bits of the step as it was written."""

from __future__ import annotations

import copy
import io

import pytest

import facula
from facula.export import training_step
from facula.export._training_operations import OPTIMIZERS
from facula.nn import functional as F

DIM = facula.export.Dim("batch")
OPTIONS = {"SGD": [{}, {"momentum": 0.9}, {"momentum": 0.9, "nesterov": True, "weight_decay": 0.1}],
           "Adam": [{}, {"amsgrad": True, "weight_decay": 0.1}, {"capturable": True}],
           "AdamW": [{}, {"maximize": True}],
           "RMSprop": [{}, {"momentum": 0.5, "centered": True}]}


def network():
    facula.manual_seed(0)
    return facula.nn.Sequential(facula.nn.Linear(4, 8), facula.nn.BatchNorm1d(8), facula.nn.ReLU(),
                                facula.nn.Dropout(0.3), facula.nn.Linear(8, 3))


def batches():
    generator = facula.Generator().manual_seed(1)
    for count in (6, 6, 5, 7, 6):
        yield (facula.randn(count, 4, generator=generator),
               facula.randint(0, 3, (count,), generator=generator))


def trained(model, loss_fn, optimizer, before=0):
    """Losses of eager steps."""
    found = []
    for x, y in list(batches())[before:]:
        optimizer.zero_grad()
        loss = loss_fn(model(x), y)
        loss.backward()
        optimizer.step()
        found.append(loss.item())
    return found


def alike(one, other):
    for (name, a), (_, b) in zip(sorted(one.items()), sorted(other.items()), strict=True):
        assert a.dtype == b.dtype and a.detach().numpy().tobytes() == b.detach().numpy().tobytes(), name


def state_of(optimizer, program, model):
    """The optimizer's state by the names that the program has for it."""
    return {f"optimizer.model.{name}.{key}": value for name, p in model.named_parameters()
            for key, value in optimizer.state.get(p, {}).items() if value is not None}


@pytest.mark.parametrize("cls", OPTIMIZERS, ids=lambda cls: cls.__name__)
def test_steps_have_the_bits_of_eager_ones(cls):
    for options in OPTIONS.get(cls.__name__, [{}]):
        for before in (0, 2):
            model, other = network(), network()
            if cls.__name__ == "Muon":  # of matrices alone
                model, other = (facula.nn.Sequential(facula.nn.Linear(4, 3, bias=False)) for _ in range(2))
                other.load_state_dict(model.state_dict())
            loss_fn = facula.nn.CrossEntropyLoss()
            optimizer, same = (cls(m.parameters(), lr=0.05, **options) for m in (model, other))
            facula.manual_seed(5)
            for x, y in list(batches())[:before]:  # the state has begun already
                for m, o in ((model, optimizer), (other, same)):
                    facula.manual_seed(before)
                    o.zero_grad()
                    loss_fn(m(x), y).backward()
                    o.step()
            x, y = next(batches())
            program = training_step(model, loss_fn, optimizer, (x,), (y,), dynamic_shapes=({0: DIM}, {0: DIM}))
            step = program.module()
            facula.manual_seed(7)
            found = [step(x, y).item() for x, y in list(batches())[before:]]
            facula.manual_seed(7)
            assert found == trained(other, loss_fn, same, before), (options, before)
            alike(model.state_dict(), other.state_dict())
            wanted = state_of(same, program, other)
            alike({name: program.state_dict[name] for name in wanted}, wanted)
            assert all(p.grad is None for p in model.parameters()) or before


def test_capturing_changes_nothing():
    model = network()
    optimizer = facula.optim.Adam(model.parameters())
    before, drawn = copy.deepcopy(model.state_dict()), facula.random.get_rng_state()
    training_step(model, facula.nn.CrossEntropyLoss(), optimizer, *[(t,) for t in next(batches())])
    alike(before, model.state_dict())
    assert not optimizer.state and facula.equal(drawn, facula.random.get_rng_state())
    assert model[1].num_batches_tracked == 0


def test_a_file_goes_on_training():
    model, other = network().eval(), network().eval()
    loss_fn = facula.nn.CrossEntropyLoss()
    optimizer, same = (facula.optim.AdamW([{"params": m[0].parameters()}, {"params": m[4].parameters(), "lr": 0.1}],
                                          lr=0.01) for m in (model, other))
    x, y = next(batches())
    program = training_step(model, loss_fn, optimizer, (x,), (y,), dynamic_shapes=({0: DIM}, {0: DIM}))
    wanted = trained(other, loss_fn, same)
    step = program.module()
    found = [step(x, y).item() for x, y in list(batches())[:2]]
    file = io.BytesIO()
    facula.export.save(program, file)
    loaded = facula.export.load(file)
    assert str(loaded) == str(program)
    again = loaded.module()
    found += [again(x, y).item() for x, y in list(batches())[2:]]
    assert found == wanted
    alike({name: loaded.state_dict["model." + name] for name in other.state_dict()}, other.state_dict())
    assert [node.name for node in program.graph.nodes if "adamw_" in str(node.target)] == ["adamw_", "adamw__1"]


def test_a_rate_that_is_a_tensor_may_change():
    model, other = network(), network()
    rates = [facula.tensor(0.1), facula.tensor(0.1)]
    optimizer, same = (facula.optim.SGD(m.parameters(), lr=rate)
                       for m, rate in zip((model, other), rates, strict=True))
    loss_fn = facula.nn.CrossEntropyLoss()
    x, y = next(batches())
    program = training_step(model, loss_fn, optimizer, (x,), (y,))
    step = program.module()
    for rate in (0.1, 0.01):
        program.state_dict["options.0.lr"].fill_(rate)
        rates[1].fill_(rate)
        facula.manual_seed(2)
        found = step(x, y)
        facula.manual_seed(2)
        same.zero_grad()
        loss = loss_fn(other(x), y)
        loss.backward()
        same.step()
        assert found.item() == loss.item()
        alike(model.state_dict(), other.state_dict())
    assert rates[0].item() == rates[1].item()


class Centres(facula.nn.Module):
    """A loss with parameters."""

    def __init__(self):
        super().__init__()
        self.weight = facula.nn.Parameter(facula.ones(3, 3) / 3)

    def forward(self, y, target):
        return ((y - self.weight[target]) ** 2).mean()


def test_losses():
    x, y = next(batches())
    for loss_fn in (lambda a, b: F.cross_entropy(a, b) * 2, Centres()):
        model, other = network(), network()
        twin = copy.deepcopy(loss_fn)
        optimizer, same = (facula.optim.Adagrad([*m.parameters(), *getattr(f, "parameters", list)()], lr=0.1)
                           for m, f in ((model, loss_fn), (other, twin)))
        step = training_step(model, loss_fn, optimizer, (x,), (y,)).module()
        facula.manual_seed(3)
        found = [step(x, y).item() for _ in range(3)]
        facula.manual_seed(3)
        wanted = []
        for _ in range(3):
            same.zero_grad()
            loss = twin(other(x), y)
            loss.backward()
            same.step()
            wanted.append(loss.item())
        assert found == wanted
        alike(model.state_dict(), other.state_dict())


def test_parameters_without_gradients_stay():
    model = facula.nn.ModuleDict({"used": facula.nn.Linear(2, 1), "other": facula.nn.Linear(2, 1)})
    model.forward = lambda x: model["used"](x)
    optimizer = facula.optim.Adam(model.parameters(), weight_decay=0.5)
    before = copy.deepcopy(model["other"].state_dict())
    step = training_step(model, F.mse_loss, optimizer, (facula.ones(3, 2),), (facula.ones(3, 1),)).module()
    first, second = (step(facula.ones(3, 2), facula.ones(3, 1)) for _ in range(2))
    assert second < first
    alike(before, model["other"].state_dict())


def test_what_is_refused():
    model, x, y = facula.nn.Linear(2, 1), facula.ones(3, 2), facula.ones(3, 1)

    def of(optimizer, loss=F.mse_loss, targets=(y,)):
        return training_step(model, loss, optimizer, (x,), targets)
    sgd = facula.optim.SGD(model.parameters(), lr=0.1)
    with pytest.raises(NotImplementedError, match=r"LBFGS.*Adam"):
        of(facula.optim.LBFGS(model.parameters()))
    with pytest.raises(NotImplementedError, match="Mine"):
        of(type("Mine", (facula.optim.SGD,), {})(model.parameters(), lr=0.1))
    with pytest.raises(NotImplementedError, match="dampening"):
        of(facula.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, dampening=0.1))
    with pytest.raises(NotImplementedError, match="differentiable"):
        of(facula.optim.SGD(model.parameters(), lr=0.1, differentiable=True))
    with pytest.raises(ValueError, match="neither the model's nor the loss's"):
        of(facula.optim.SGD(facula.nn.Linear(2, 1).parameters(), lr=0.1))
    with pytest.raises(RuntimeError, match="one element"):
        of(sgd, lambda y, target: y - target)
    with pytest.raises(TypeError, match="tuples"):
        of(sgd, targets=y)
    with pytest.raises(RuntimeError, match="does not require grad"):
        of(sgd, lambda y, target: (y.detach() - target).sum())
    sgd.register_step_post_hook(lambda *args: None)
    with pytest.raises(NotImplementedError, match="hooks"):
        of(sgd)


class Penalty(facula.nn.Module):
    def __init__(self):
        super().__init__()
        self.w = facula.nn.Parameter(facula.tensor([2.0, -1.0, 0.5]))

    def forward(self, x):
        y = facula.tanh(x * self.w).sum()
        slope, = facula.autograd.grad(y, x, create_graph=True)
        other, unused = facula.autograd.grad(y, [self.w, self.k] if hasattr(self, "k") else [self.w, x],
                                             retain_graph=True)
        return slope, (slope ** 2).sum() + other.detach().sum() * y + unused.sum()


def test_gradients_within_a_program():
    model = Penalty()
    program = facula.export.export(model, (facula.ones(3, requires_grad=True),))
    assert sum("facula.grad" in str(node.target) for node in program.graph.nodes) == 2
    file = io.BytesIO()
    facula.export.save(program, file)
    for module in (program.module(), facula.export.load(file).module(), program.run_decompositions(
            {facula.ops.aten.tanh.default: lambda x: facula.tanh(x)}).module()):
        found = []
        for m in (model, module):
            x = facula.tensor([0.3, -2.0, 1.0], requires_grad=True)
            slope, y = m(x)
            m.zero_grad()
            y.backward()
            found.append([slope.tolist(), y.item(), x.grad.tolist(), next(iter(m.parameters())).grad.tolist()])
        assert found[0] == found[1]


def test_gradients_through_control_flow():
    class Net(facula.nn.Module):
        def __init__(self):
            super().__init__()
            self.w = facula.nn.Parameter(facula.tensor([2.0, -1.0, 0.5]))

        def forward(self, x):
            y = facula.cond(x.sum() > 0, lambda x: (x * self.w).sin(), lambda x: x * self.w ** 2, (x,))
            return facula.autograd.grad(y.sum(), [x, self.w])

    model = Net()
    module = facula.export.export(model, (facula.ones(3, requires_grad=True),)).module()
    for sign in (1.0, -1.0):
        x = (facula.arange(3.0) * sign + sign).requires_grad_()
        assert [g.tolist() for g in model(x)] == [g.tolist() for g in module(x)]


def test_backward_is_refused():
    class Net(facula.nn.Module):
        def forward(self, x):
            x.sum().backward()
            return x

    with pytest.raises(NotImplementedError, match=r"autograd.grad gives them.*training_step"):
        facula.export.export(Net(), (facula.ones(3, requires_grad=True),))
