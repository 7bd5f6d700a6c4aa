"""`torch.jit`: traces give what the program gives, for other sizes too, from a file too; scripts are the program."""

import copy
import importlib
import io
import json
import pickle
import warnings
import zipfile

import pytest

import docstrings
import facula
from facula import absent, jit, nn

MODELS = {
    "layers": (lambda: nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(),
                                     nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2)).eval(),
               (2, 3, 8, 8), [(5, 3, 8, 8), (1, 3, 6, 9)]),
    "recurrent": (lambda: nn.LSTM(3, 4, batch_first=True), (2, 5, 3), [(4, 7, 3)]),
    "attention": (lambda: nn.TransformerEncoderLayer(8, 2, 16, batch_first=True).eval(), (2, 5, 8), [(3, 9, 8)]),
}


def leaves(result):
    return facula.utils._pytree.tree_leaves(result)


def alike(a, b):
    return all(facula.equal(x, y) for x, y in zip(leaves(a), leaves(b), strict=True))


def reopened(module):
    buffer = io.BytesIO()
    jit.save(module, buffer)
    return jit.load(io.BytesIO(buffer.getvalue()))


@pytest.mark.parametrize("name", MODELS)
def test_a_trace_gives_what_the_module_gives(name):
    make, shape, others = MODELS[name]
    net = make()
    traced = jit.trace(net, facula.randn(shape))
    loaded = reopened(traced)
    assert list(traced.state_dict()) == list(net.state_dict()) == list(loaded.state_dict())
    assert [p for p, _ in traced.named_parameters()] == [p for p, _ in net.named_parameters()]
    assert all(a is b for a, b in zip(traced.parameters(), net.parameters(), strict=True))
    for other in (shape, *others):
        x = facula.randn(other)
        assert alike(traced(x), net(x)) and alike(loaded(x), net(x))
    assert isinstance(traced, jit.TopLevelTracedModule) and isinstance(loaded, jit.RecursiveScriptModule)
    assert traced.original_name == loaded.original_name == type(net).__name__ and loaded.training is net.training


def test_a_trace_trains_the_modules_parameters():
    net = nn.Linear(3, 2)
    traced = jit.trace(net, facula.ones(4, 3))
    traced(facula.ones(5, 3)).sum().backward()
    assert facula.equal(net.weight.grad, facula.full((2, 3), 5.0))
    traced.double()
    assert traced(facula.ones(5, 3, dtype=facula.float64)).dtype is facula.float64
    assert "linear" in traced.code and any(n.op == "call_function" for n in traced.graph.nodes)


class Parts(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.never, self.scale = nn.Linear(4, 4), nn.Linear(2, 2), nn.Buffer(facula.ones(2))
        self.again, self.bn = self.first, nn.BatchNorm1d(4)

    def forward(self, x, options):
        batch, steps, width = x.shape
        y = self.bn(self.again(self.first(x.reshape(batch * steps, width)))).view(batch, steps, width)
        return y * options["by"] + self.scale.sum(), (y.softmax(-1), x)

    def twice(self, x):
        return 2 * self.first(x)


def test_trees_of_arguments_tied_and_unused_parameters_and_running_statistics():
    net = Parts()
    before = net.bn.running_mean.clone()
    traced = jit.trace(net, (facula.randn(2, 3, 4), {"by": facula.tensor(2.0)}))
    assert facula.equal(net.bn.running_mean, before)  # nothing ran
    loaded, twin = reopened(traced), copy.deepcopy(net)
    arguments = facula.randn(4, 5, 4), {"by": facula.tensor(3.0)}
    given, wanted, read = traced(*arguments), twin(*arguments), loaded(*arguments)
    assert alike(given, wanted) and alike(read, wanted)
    assert facula.equal(net.bn.running_mean, twin.bn.running_mean)  # the trace's buffers are the module's
    assert set(loaded.state_dict()) == set(net.state_dict()) and loaded.first.weight is loaded.again.weight


def test_copies_have_tensors_of_their_own():
    net = Parts()
    traced = jit.trace_module(net, {"forward": (facula.randn(2, 3, 4), {"by": facula.tensor(2.0)}),
                                    "twice": facula.randn(3, 4)})
    x = facula.randn(2, 4)
    for other in (copy.deepcopy(traced), reopened(traced)):
        assert other.first.weight is not net.first.weight and other.first.weight is other.again.weight
        with facula.no_grad():
            other.first.weight.zero_()
            other.first.bias.fill_(1.0)
        assert other.twice(x).eq(2).all() and not traced.twice(x).eq(2).all()  # one tensor in all methods
    with pytest.raises(RuntimeError, match=r"torch\.jit\.save"):
        pickle.dumps(traced)


def test_what_python_decides_by_elements_stays_decided():
    net = nn.Linear(2, 2, bias=False)

    class Chooses(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner, self.limit = net, nn.Buffer(facula.tensor(0.5))

        def forward(self, x, *, y):
            return self.inner(x) * int(y.max()) if x.sum() > self.limit else x
    with pytest.warns(jit.TracerWarning, match="might not generalize"):
        traced = jit.trace(Chooses(), example_kwarg_inputs={"x": facula.ones(1, 2), "y": facula.tensor([1, 3])})
    assert list(traced.state_dict()) == ["limit", "inner.weight"] and traced.inner.weight is net.weight
    x = facula.tensor([[-5.0, 1.0]])
    for one in (traced, reopened(traced)):
        assert facula.equal(one(x, y=facula.tensor([0, 0])), net(x) * 3)


def test_what_python_decides_by_sizes_is_checked():
    traced = jit.trace(lambda x: x.sum(0) if x.shape[0] < 4 else x.mean(0), facula.ones(3, 2))
    assert traced(facula.ones(2, 5)).tolist() == [2.0] * 5 and isinstance(traced, jit.ScriptFunction)
    with pytest.raises(RuntimeError, match=r"Guard failed(.|\n)*trace it with such arguments"):
        traced(facula.ones(4, 2))
    for wrong in ((), (facula.ones(3, 2), 1)):
        with pytest.raises(RuntimeError, match="other arguments"):
            traced(*wrong)
    batch = jit.trace(lambda x, y: x.view(x.shape[0], -1) @ y.T, (facula.ones(2, 3, 4), facula.ones(5, 12)))
    assert batch(facula.ones(7, 3, 4), facula.ones(5, 12)).shape == (7, 5)


CALLS = {
    "number": lambda t: t.jit.trace(t.relu, (3,)),
    "text": lambda t: t.jit.trace(t.relu, "a"),
    "dict": lambda t: t.jit.trace(lambda x: {"a": x}, t.ones(2)),
    "constant": lambda t: t.jit.trace(lambda x: 3, t.ones(2)),
    "shape": lambda t: t.jit.trace(t.nn.Linear(3, 2), t.ones(2, 9)),
    "nothing": lambda t: t.jit.trace(t.relu),
    "no file": lambda t: t.jit.load("/no/such/file"),
    "no archive": lambda t: t.jit.load(io.BytesIO(b"abc")),
    "a module": lambda t: t.jit.save(t.nn.ReLU(), io.BytesIO()),
    "a value": lambda t: t.jit.script(3),
    "no dict": lambda t: t.jit.trace_module(t.nn.ReLU(), [1]),
    "no module": lambda t: t.jit.trace_module(t.relu, {}),
    "more": lambda t: t.jit.trace(t.nn.ReLU(), t.ones(2))(t.ones(2), t.ones(2)),
    "less": lambda t: t.jit.trace(t.nn.ReLU(), t.ones(2))()}


@pytest.mark.parametrize("name", CALLS)
def test_refusals(oracle, name):
    def found(library):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                CALLS[name](library)
            except Exception as error:
                return type(error).__name__
    assert found(facula) == oracle(found, name)


def test_results_as_torch_takes_them(oracle):
    def found(library):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            f = library.jit.trace(lambda x, y: (x + y, (x, {"a": y})), (library.ones(2), library.ones(2)), strict=False)
            both = library.jit.trace(lambda x: [x, 2 * x], library.ones(2))
            one, (two, named) = f(library.ones(3), library.ones(3))
            return [one.tolist(), two.tolist(), list(named), [t.tolist() for t in both(library.ones(3))],
                    type(f).__name__, f.name]
    assert found(facula) == oracle(found)


# ---- files ----------------------------------------------------------------------------------------------------------

def test_extra_files(tmp_path):
    path, extra = tmp_path / "net.pt", {"a.txt": "", "never": ""}
    jit.save(jit.trace(nn.ReLU(), facula.ones(2)), path, _extra_files={"a.txt": b"one"})
    loaded = jit.load(str(path), map_location="cpu", _extra_files=extra)
    assert extra == {"a.txt": b"one", "never": ""} and loaded(facula.tensor([-1.0, 1.0])).tolist() == [0, 1]
    f = jit.trace(facula.relu, facula.ones(2))
    f.save(path)
    assert jit.load(path)(facula.tensor([-1.0])).item() == 0 and jit.load(io.BytesIO(f.save_to_buffer()))
    assert jit.load(path, map_location="meta")(facula.ones(2, device="meta")).is_meta


def test_damaged_files_are_refused():
    buffer = io.BytesIO()
    jit.save(jit.trace(nn.Linear(2, 1), facula.ones(2)), buffer)
    with zipfile.ZipFile(buffer) as archive:
        told, program = json.loads(archive.read("jit.json")), archive.read("methods/0")
    wrong = [{**told, "format": "x"}, {**told, "version": 2}, {**told, "name": 3}, {**told, "methods": ["__init__"]},
             {**told, "methods": [3]}, {**told, "methods": ["forward", "other"]}, {**told, "methods": 3}, [], 3, None]
    for entry, rest in (*[(json.dumps(w), program) for w in wrong], ("{", program), (json.dumps(told), program[:300])):
        damaged = io.BytesIO()
        with zipfile.ZipFile(damaged, "w") as archive:
            archive.writestr("jit.json", entry)
            archive.writestr("methods/0", rest)
        with pytest.raises(RuntimeError, match=r"torch\.(jit|export)\.load"):
            jit.load(damaged)
    theirs = io.BytesIO()
    with zipfile.ZipFile(theirs, "w") as archive:
        archive.writestr("net/constants.pkl", b"")
    with pytest.raises(absent.NotInFacula, match="TorchScript"):
        jit.load(theirs)


# ---- scripts --------------------------------------------------------------------------------------------------------

@jit.script
def tripled(x: facula.Tensor, by: int = 3) -> facula.Tensor:
    """Three times."""
    return x * by


def test_scripted_functions():
    assert tripled(facula.ones(1)).item() == 3 and tripled(facula.ones(1), by=2).item() == 2
    assert tripled.name == "tripled" and tripled.__doc__ == "Three times." and "x * by" in tripled.code
    assert pickle.loads(pickle.dumps(tripled)) is tripled and jit.script(tripled) is tripled
    for call in (lambda: tripled.graph, lambda: tripled.save("x")):
        with pytest.raises(absent.NotInFacula, match=r"torch\.jit\.trace"):
            call()

    class Net(nn.Module):
        apply_it = jit.script(lambda x: x + 1)  # no method: it is not given the module
    assert Net().apply_it(1) == 2 and jit.script(Net) is Net


def test_scripted_modules():
    net = nn.Sequential(nn.Linear(2, 2), nn.Sequential(nn.Dropout(0.5)))
    scripted = jit.script(net)
    assert isinstance(scripted, nn.Sequential) and isinstance(scripted[1][0], jit.RecursiveScriptModule)
    assert scripted.original_name == "Sequential" and list(scripted.state_dict()) == list(net.state_dict())
    scripted.eval()
    assert net.training and net[1][0].training and not scripted[1][0].training
    assert scripted[0].weight is net[0].weight and jit.script(scripted) is scripted
    assert facula.equal(scripted(facula.ones(2)), net[0](facula.ones(2)))
    assert copy.deepcopy(scripted)[0].weight is not net[0].weight
    traced = jit.trace(scripted, facula.ones(2))
    assert jit.trace(traced, facula.ones(2)) is traced and jit.export_opnames(traced) == ["aten::linear"]
    for call in (lambda: jit.save(scripted, "x"), lambda: scripted.graph, lambda: jit.export_opnames(scripted)):
        with pytest.raises(absent.NotInFacula, match=r"torch\.jit\.trace"):
            call()


def test_is_tracing():
    seen = []

    def f(x):
        seen.append((jit.is_tracing(), facula._C._get_tracing_state()))
        return x * 2
    traced = jit.trace(f, facula.ones(2))
    f(facula.ones(2))
    assert set(seen[:-1]) == {(True, True)} and seen[-1] == (False, None)
    count = len(seen)
    assert traced(facula.ones(2)).tolist() == [2, 2] and len(seen) == count


def test_fork_and_wait(oracle):
    def found(library):
        promised = library.jit.fork(library.add, library.ones(2), 1)
        return library.jit.wait(promised).tolist()
    assert found(facula) == oracle(found)


@pytest.mark.parametrize("name", ["jit", "jit._script", "jit._trace", "jit._serialization", "jit._state"])
def test_examples(name):
    docstrings.check(importlib.import_module(f"facula.{name}"))
