"""`watch`: what is logged of a model is what NumPy says of it, hooks come and go, and training is what it was."""

import copy
import io
import json
import pickle
from types import SimpleNamespace

import numpy as np
import pytest

import docstrings
import facula
from facula import monitor, nn
from facula.autograd import replay
from facula.autograd.backward import passes
from facula.engine import recorder
from facula.monitor import activations, stepping, watching


@pytest.fixture(autouse=True)
def nothing_running():
    yield
    monitor.finish()
    assert passes == []


def started(tmp_path, **options):
    return monitor.init(dir=tmp_path, system=None, **options)


def read(run):
    run.finish()
    return monitor.Folder(run.path.parent.parent).get(run.id)


def mlp():
    facula.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 1))


def train(model, steps, run=None, optimizer=None, seen=None, given=None):
    optimizer = optimizer or facula.optim.SGD(model.parameters(), lr=0.1)
    facula.manual_seed(1)
    for _ in range(steps):
        optimizer.zero_grad()
        x = facula.randn(4, 6)
        loss = model(x).square().sum()
        loss.backward()
        if given is not None:
            given.append(x.numpy().copy())
        if seen is not None:
            seen.append({n: p.grad.numpy().copy() for n, p in model.named_parameters()})
        optimizer.step()
        if run is not None:
            run.log({"loss": loss})


@pytest.mark.parametrize("module", [watching, activations, stepping], ids=lambda m: m.__name__)
def test_examples_run_and_names_have_docstrings(module):
    docstrings.check(module)


def test_norms_and_histograms(tmp_path):
    model, seen, given = mlp(), [], []
    run = started(tmp_path)
    monitor.watch(model, log="all", log_freq=4, norm_freq=2, timed=False)
    train(model, 6, run, seen=seen, given=given)
    found = read(run)
    norms = found.series("gradient_norms/2")
    assert norms.steps.tolist() == found.series("gradient_norm").steps.tolist() == [0, 2, 4]
    for k, value in zip(norms.steps, norms.values, strict=True):
        want = np.sqrt(sum((seen[k][f"2.{n}"].astype(np.float64) ** 2).sum() for n in ("weight", "bias")))
        assert abs(value - want) < 1e-6 * want
    total = np.sqrt(sum((g.astype(np.float64) ** 2).sum() for g in seen[4].values()))
    assert abs(found.series("gradient_norm").values[2] - total) < 1e-6 * total
    first, second = found.things("gradients/0.weight")
    assert (first.step, second.step, first.facts["count"]) == (0, 4, 30)
    assert abs(second.facts["mean"] - seen[4]["0.weight"].mean()) < 1e-6
    largest = found.series("activations/0")
    assert largest.steps.tolist() == [0, 2, 4] and abs(largest.values[1] - np.abs(given[2]).max()) < 1e-6
    assert set(found.keys()) == {"loss", "gradient_norm", "gradient_norms/0", "gradient_norms/2", "activations/0",
                                 "activations/2"} | {
        f"{what}/{k}.{n}" for what in ("gradients", "parameters") for k in (0, 2) for n in ("weight", "bias")}


@pytest.mark.parametrize(("log", "kinds"), [("gradients", {"gradients"}), ("parameters", {"parameters"}),
                                            (None, set())])
def test_what_is_logged_is_chosen(tmp_path, log, kinds):
    run, model = started(tmp_path), mlp()
    monitor.watch(model, log=log)
    train(model, 1)
    assert {key.partition("/")[0] for key, kind in read(run).keys().items() if kind == "histogram"} == kinds


def test_training_is_what_it_was(tmp_path):
    plain, watched = mlp(), mlp()
    train(plain, 12)
    run = started(tmp_path)
    monitor.watch(watched, log="all", log_freq=3, norm_freq=2)
    train(watched, 12, run)
    for a, b in zip(plain.parameters(), watched.parameters(), strict=True):
        assert a.detach().numpy().tobytes() == b.detach().numpy().tobytes()
        assert not b._hooks and "_post_accumulate_grad_hooks" not in b.__dict__


@pytest.mark.compiled
@pytest.mark.skipif(recorder.LIMIT == 0, reason="FACULA_EAGER: nothing is pending, so nothing is replayed")
def test_passes_between_looks_are_replayed(tmp_path, monkeypatch):
    ran, run_entry = [], replay._run
    monkeypatch.setattr(replay, "_run", lambda *args: (ran.append(1), run_entry(*args))[1])
    model = mlp()
    started(tmp_path)
    monitor.watch(model, norm_freq=10)
    train(model, 10)
    assert len(ran) >= 6


def test_unwatch_takes_everything_away(tmp_path):
    run, model, other = started(tmp_path), mlp(), mlp()
    monitor.watch((model, other), timed=False)
    with pytest.raises(ValueError, match="once per model"):
        monitor.watch(model)
    monitor.unwatch(model)
    assert not model._forward_hooks and not model._forward_pre_hooks
    assert not any(m._forward_pre_hooks for m in model.modules()) and len(passes) == 1
    monitor.watch(model, log=None, idx=0, timed=False)
    train(model, 1)
    monitor.unwatch()
    assert passes == [] and run.observers == []
    train(model, 1)
    assert read(run).series("gradient_norm").length == 1


def test_a_run_that_ends_watches_no_more(tmp_path):
    model = mlp()
    with started(tmp_path):
        monitor.watch(model)
    assert passes == [] and not model._forward_hooks
    train(model, 1)


def test_several_models_have_names_of_their_own(tmp_path):
    run, first, second = started(tmp_path), mlp(), mlp()
    monitor.watch([first, second], log_freq=1)
    train(first, 1)
    train(second, 1)
    keys = read(run).keys()
    assert {"gradient_norms/0", "gradient_norms/graph_1.0", "gradient_norm", "gradient_norm/graph_1",
            "gradients/graph_1.0.weight"} <= set(keys)


def test_models_are_copied_pickled_and_forgotten(tmp_path):
    started(tmp_path)
    model = mlp()
    monitor.watch(model, timed=False)
    twin, again = copy.deepcopy(model), pickle.loads(pickle.dumps(model))
    for copied in (twin, again):
        assert copied(facula.ones(1, 6)).item() == model(facula.ones(1, 6)).item()
        train(copied, 1)
    facula.save(model, io.BytesIO())
    del model
    assert passes[0].model is None
    train(mlp(), 1)


def test_evaluation_and_other_passes_are_no_looks(tmp_path):
    run, model = started(tmp_path), mlp()
    monitor.watch(model, norm_freq=1)
    x = facula.ones(2, requires_grad=True)
    x.sum().backward()  # of something else
    with facula.no_grad():
        model(facula.ones(1, 6))
    x.sum().backward()
    model.eval()
    model(facula.ones(1, 6)).sum().backward()
    assert read(run).keys() == {}


def test_dead_units_are_those_that_stay_zero(tmp_path):
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.second = nn.Conv2d(1, 4, 3), nn.Conv2d(4, 2, 3)
            self.fc, self.last = nn.Linear(32, 10), nn.Linear(10, 1)

        def forward(self, x):
            x = nn.functional.relu(self.conv(x))  # no module: seen all the same
            x = nn.functional.relu(self.second(x)).flatten(1)
            return self.last(self.fc(x).clamp(min=0))

    model = Net()
    with facula.no_grad():
        model.conv.bias.copy_(facula.tensor([-100.0, 100.0, -100.0, -100.0]))
        model.second.bias.fill_(100.0)
        model.fc.bias.copy_(facula.tensor([-1e4] * 4 + [1e4] * 6))
    run = started(tmp_path)
    monitor.watch(model, log=None, norm_freq=2)
    for _ in range(12):
        x = facula.randn(3, 1, 8, 8)
        x[:, :, :2] = 0
        model(x).sum().backward()
        run.log({})
    found = read(run)
    assert sorted(k for k in found.keys() if k.startswith("dead")) == [
        "dead_units/fc", "dead_units/last", "dead_units/second"]
    shares = {k: found.series(f"dead_units/{k}") for k in ("second", "fc", "last")}
    assert shares["second"].steps.tolist() == [8, 10]  # from the fifth look on
    assert {k: s.values[0] for k, s in shares.items()} == {"second": 0.75, "fc": 0.0, "last": 0.4}
    assert [alarm.key for alarm in run.alarms if alarm.name == "dead units"] == ["dead_units/second"]


def test_a_unit_that_wakes_up_is_not_dead():
    looks = activations.Looks()
    masks = [[True, True], [True, False], [True, True], [True, True], [True, True], [True, True], [True, True]]
    shares = []
    for mask in masks:
        looks._zero = {"a": facula.tensor(mask)}
        shares.append(looks.read("net.").get("dead_units/net.a"))
    assert shares == [None, None, None, None, 0.5, 0.5, 1.0]


def test_exploding_gradients_are_named_by_their_layer_before_they_are_clipped(tmp_path):
    run, model = started(tmp_path), mlp()
    monitor.watch(model, log=None, norm_freq=1)
    for scale in [1.0] * 12 + [1e3]:
        model.zero_grad()
        (model(facula.ones(2, 6)).sum() * scale).backward()
        nn.utils.clip_grad_norm_(model.parameters(), 0.1)
        run.log({"scale": scale})
    run.flush()
    alarm, = [alarm for alarm in run.alarms if alarm.name == "exploding gradient"]
    assert alarm.step == 12 and alarm.key == "gradient_norms/2"  # where it begins
    assert "gradient_norms/0, gradient_norm" in alarm.text


def test_a_nan_is_named_by_the_layer_where_it_begins(tmp_path):
    run, model = started(tmp_path), nn.Sequential(nn.Linear(6, 5), nn.Linear(5, 5), nn.Linear(5, 1))
    with facula.no_grad():
        model[0].weight.fill_(1e30)
        model[1].weight.fill_(1e30)
    monitor.watch(model, norm_freq=1)
    model(facula.ones(2, 6)).sum().backward()  # forward
    run.flush()
    assert run.alarms[0].text.startswith("activations/2 is inf (and ")
    monitor.unwatch()
    model = mlp()
    monitor.watch(model, norm_freq=1, idx=1)
    (model[0](facula.ones(2, 6)).sum() + 0 * model(facula.ones(2, 6)).sum().sub(1e9).sqrt()).backward()
    run.flush()
    assert [a.key for a in run.alarms[-1:]] == ["gradient_norms/graph_1.2"]
    found = read(run)
    assert found.things("gradients/graph_1.2.bias")[0].facts == {"lost": 1}
    assert found.things("gradients/0.weight")[0].facts["count"] == 30  # all alike, and large
    assert 1e30 < found.series("gradient_norms/0").values[0] < 1e33


def test_sparse_half_and_shared_gradients(tmp_path):
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.words = nn.Embedding(10, 4, sparse=True)
            self.scale = nn.Parameter(facula.full((2,), 1.0, dtype=facula.float16))
            self.first = nn.Linear(4, 4, bias=False)
            self.second = nn.Linear(4, 4, bias=False)
            self.second.weight = self.first.weight

        def forward(self, x):
            return self.second(self.first(self.words(x))).sum() + (self.scale * 60000).sum().float()

    run, model = started(tmp_path), Net()
    monitor.watch(model, log="all")
    model(facula.tensor([1, 2, 2])).backward()
    found = read(run)
    assert abs(found.series("gradient_norms/model").values[0] - 60000 * 2 ** 0.5) < 1  # no overflow to inf
    want = np.sqrt((model.words.weight.grad.numpy().astype(np.float64) ** 2).sum())
    assert abs(found.series("gradient_norms/words").values[0] - want) < 1e-6 * want
    assert "gradient_norms/first" in found.keys() and "gradient_norms/second" not in found.keys()
    assert run.alarms[0].key == "gradient_norms/model"  # large it is


def test_checkpoints_within_a_pass_are_part_of_it(tmp_path):
    from facula.utils.checkpoint import checkpoint
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b, self.c = nn.Linear(6, 6), nn.Linear(6, 6), nn.Linear(6, 1)

        def forward(self, x):
            for layer in (self.a, self.b):
                x = checkpoint(layer, x, use_reentrant=True)
            return self.c(x).sum()

    run, model = started(tmp_path), Net()
    monitor.watch(model, norm_freq=1, log=None)
    for _ in range(2):
        model.zero_grad()
        model(facula.ones(2, 6, requires_grad=True)).backward()
        run.log({})
    found = read(run)
    want = {n: np.sqrt(sum((p.grad.numpy().astype(np.float64) ** 2).sum() for p in getattr(model, n).parameters()))
            for n in "abc"}
    for n in "abc":
        series = found.series(f"gradient_norms/{n}")
        assert series.steps.tolist() == [0, 1] and abs(series.values[1] - want[n]) < 1e-5 * want[n]


def test_transformed_calls_are_no_looks(tmp_path):
    run, model = started(tmp_path), mlp()
    monitor.watch(model, norm_freq=1)
    parameters = dict(model.named_parameters())

    def loss(parameters, x):
        return facula.func.functional_call(model, parameters, (x,)).sum()

    facula.func.vmap(facula.func.grad(loss), (None, 0))(parameters, facula.ones(3, 1, 6))
    assert len(run.observers) == 2
    train(model, 1)
    assert read(run).series("gradient_norm").length == 1


def test_the_graph_is_that_of_the_first_call_and_leaves_no_trace(tmp_path):
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.norm, self.last = nn.BatchNorm1d(6), nn.Linear(6, 2)

        def forward(self, x, scale=1.0):
            return self.last(nn.functional.dropout(self.norm(x), 0.5)) * scale

    def outcome(watched):
        facula.manual_seed(3)
        model = Net()
        if watched:
            monitor.watch(model, log_graph=True)
        for _ in range(2):
            y = model(facula.ones(4, 6), scale=2.0)
        return y.detach().numpy().tobytes(), model.norm.num_batches_tracked.item(), facula.rand(1).item()

    run = started(tmp_path)
    assert outcome(True) == outcome(False)
    only, = read(run).things("graph_0")
    root = json.loads(only.bytes)["root"]
    assert [part["path"] for part in root["parts"]] == ["norm", "last"] and root["output"]


def test_a_graph_that_cannot_be_made_costs_nothing_else(tmp_path, capsys):
    class Net(nn.Linear):
        def __deepcopy__(self, memo):
            raise RuntimeError("one of a kind")

    run, model = started(tmp_path), Net(2, 1)
    monitor.watch(model, log_graph=True)
    model(facula.ones(1, 2)).sum().backward()
    assert read(run).series("gradient_norm").length == 1
    assert capsys.readouterr().err.count("one of a kind; there is no graph of the model") == 1


def test_large_tensors_are_sampled(monkeypatch):
    monkeypatch.setattr(watching, "SAMPLE", 100)
    whole, part = watching.Sampled(facula.arange(100.0)), watching.Sampled(facula.arange(1000.0))
    assert whole.parts()[0][1]["count"] == 100 and "of" not in whole.parts()[0][1]
    facts = part.parts()[0][1]
    assert facts["of"] == 1000 and facts["count"] == 91 and facts["max"] == 990.0
    assert watching.Sampled(facula.tensor([3 + 4j])).parts()[0][1]["max"] == 5.0


def test_what_fails_is_said_once_and_training_goes_on(tmp_path, monkeypatch, capsys):
    started(tmp_path)
    model = mlp()
    monitor.watch(model, norm_freq=1, timed=False)
    monkeypatch.setattr(watching, "norm", lambda g: 1 / 0)
    train(model, 3)
    assert passes == [] and capsys.readouterr().err.count("division by zero; the model is watched no more") == 1


def test_what_cannot_be_watched_is_refused(tmp_path):
    with pytest.raises(RuntimeError, match="init"):
        monitor.watch(mlp())
    started(tmp_path)
    with pytest.raises(ValueError, match="log must be one of"):
        monitor.watch(mlp(), log="everything")
    with pytest.raises(TypeError, match="Expected a pytorch model"):
        monitor.watch(3)
    with pytest.raises(ValueError, match="norm_freq"):
        monitor.watch(mlp(), norm_freq=0)
    monitor.init(mode="disabled")
    model = mlp()
    assert monitor.watch(model) == () and not model._forward_hooks


def test_steps_are_those_of_the_program():
    run = SimpleNamespace(step=5, logged=None)
    steps = stepping.Steps(run)
    assert [steps.next() for _ in range(2)] == [5, 6]
    run.logged = 0  # logged every fourth time, in steps of its own
    assert [steps.next() for _ in range(4)] == [1, 2, 3, 4]
    run.logged = 1
    assert [steps.next() for _ in range(4)] == [1, 1, 2, 2]
    run.logged = 101
    assert [steps.next() for _ in range(2)] == [126, 151]
    run.logged = 3  # goes back: by the last rate that made sense
    assert steps.next() == 28
