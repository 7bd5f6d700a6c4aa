"""Graphs and their modules: what changes of them do, copies, files, running them node by node."""

from __future__ import annotations

import copy
import importlib
import operator
import pickle
import sys

import pytest

import facula
from facula import fx, nn
from facula.fx._lazy_graph_module import _use_lazy_graph_module
from facula.ops import listening


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(3, 3)
        self.unused = nn.ReLU()
        self.register_buffer("scale", facula.tensor([1.0, 2.0, 3.0]))

    def forward(self, x, more=None):
        y = facula.relu(self.linear(x)) * self.scale
        return {"y": y, "parts": facula.split(y, 1, dim=1)}


@fx.wrap
def clipped(x, most):
    return x.clamp(max=most) if most > 0 else x


def equal(one, other):
    leaves = facula.utils._pytree.tree_leaves
    assert all(facula.equal(a, b) for a, b in zip(leaves(one), leaves(other), strict=True))


def test_a_module_does_the_same_when_it_is_traced_copied_pickled_or_written_down(tmp_path, monkeypatch):
    net, x = Net(), facula.randn(2, 3)
    module = fx.symbolic_trace(net)
    module.meta["note"] = 1
    again = pickle.loads(pickle.dumps(module))
    for other in (module, copy.deepcopy(module), again, copy.copy(module)):
        equal(other(x), net(x))
        assert other.code == module.code and other.meta == {"note": 1}
    assert copy.deepcopy(module).graph.owning_module is not module
    with pytest.warns(UserWarning, match="saved as pickled files instead: \\['inner'\\]"):
        fx.GraphModule({"inner": module, "linear": net.linear}, two_calls()).to_folder(tmp_path / "written", "Written")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setitem(sys.modules, "torch", facula)
    monkeypatch.setitem(sys.modules, "torch.nn", nn)
    monkeypatch.setitem(sys.modules, "torch.fx", fx)
    monkeypatch.setitem(sys.modules, "torch.fx._pytree", importlib.import_module("facula.fx._pytree"))
    monkeypatch.setitem(sys.modules, "torch.utils", facula.utils)
    monkeypatch.setitem(sys.modules, "torch.utils._pytree", importlib.import_module("facula.utils._pytree"))
    equal(importlib.import_module("written").Written()(x), net(net.linear(x)))


def test_what_a_module_takes_from_its_root(oracle):
    """Of a GraphModule, too, what the graph mentions and whether it trains: neither `meta` nor other attributes."""
    def run(library):
        class Inner(library.nn.Module):
            def __init__(self):
                super().__init__()
                self.linear = library.nn.Linear(2, 2)
                self.register_buffer("shift", library.ones(2))
                self.unused, self.number = library.nn.Linear(1, 1), 5

            def forward(self, x):
                return self.linear(x) + self.shift

        root = Inner()
        traced = library.fx.symbolic_trace(root.eval())
        traced.meta["note"] = [1]
        traced.number = 7
        root.linear.train()
        root.meta = {"other": 2}
        told = []
        for made in (library.fx.GraphModule(traced, traced.graph), library.fx.GraphModule(root, traced.graph, "Named"),
                     library.fx.GraphModule({"linear": root.linear, "shift": root.shift}, traced.graph),
                     copy.copy(traced), copy.deepcopy(traced), traced, library.fx.Transformer(traced).transform()):
            told.append([type(made).__name__, str(made).split("(")[0], made.meta, made.training, made.linear.training,
                         sorted(key for key in made.__dict__ if not key.startswith("_")),
                         sorted(made.state_dict()), made.meta is traced.meta])
        return told

    ours, theirs = oracle.both(run)
    assert ours == theirs


def two_calls():
    graph = fx.Graph()
    x = graph.placeholder("x")
    graph.output(graph.call_module("inner", (graph.call_module("linear", (x,)),)))
    return graph


def test_a_graph_is_changed_and_compiled_again():
    module = fx.symbolic_trace(lambda x: facula.relu(x) + 1)
    relu = module.graph.find_nodes(op="call_function", target=facula.relu)[0]
    with module.graph.inserting_after(relu):
        neg = module.graph.call_function(facula.neg, (relu,))
    assert relu.replace_all_uses_with(neg, lambda user: user is not neg) == [neg.next]
    module.graph.lint()
    assert module(facula.ones(1)).item() == 2.0  # the code is the old one
    module.recompile()
    assert module(facula.ones(1)).item() == 0.0
    assert relu < neg and neg.prev is relu and sorted([neg, relu]) == [relu, neg]
    neg.replace_all_uses_with(relu, lambda user: True)
    assert module.graph.eliminate_dead_code() and not module.graph.eliminate_dead_code()
    module.recompile()
    assert module(facula.ones(1)).item() == 2.0 and len(module.graph.nodes) == 4
    with pytest.raises(RuntimeError, match="used before it has been defined"):
        relu.append(module.graph.find_nodes(op="placeholder")[0])
        module.graph.lint()


def test_what_is_done_for_its_effect_stays():
    module = fx.symbolic_trace(lambda x: (facula._assert(x.sum() > 0, "positive"), x.relu(), x + 1)[2])
    module.graph.eliminate_dead_code()
    module.recompile()
    assert [n.name for n in module.graph.nodes] == ["x", "sum_1", "gt", "_assert", "add", "output"]
    with pytest.raises(AssertionError, match="positive"):
        module(-facula.ones(2))


def test_names_that_are_set_on_the_way():
    graph = fx.Graph()
    names = [graph.placeholder(name).name for name in ("foo_1", "foo", "foo", "sum", "a.b", "1x", "if", "", "torch")]
    assert names == ["foo_1", "foo", "foo_2", "sum_1", "a_b", "_1x", "if_1", "_unnamed", "torch_1"]


def test_submodules_of_a_module_are_added_and_deleted():
    module = fx.symbolic_trace(Net())
    assert module.add_submodule("a.b.c", nn.ReLU()) and not module.add_submodule("linear.weight.x", nn.ReLU())
    assert module.delete_submodule("a.b.c") and not module.delete_submodule("nothing.there")
    module.add_submodule("later", nn.ReLU())
    module.delete_all_unused_submodules()
    assert [name for name, _ in module.named_children()] == ["linear"]


def test_wrapped_functions_are_calls_and_others_are_traced():
    module = fx.symbolic_trace(lambda x: clipped(x, 1.0))
    assert module.graph.find_nodes(op="call_function", target=clipped)
    assert clipped(facula.ones(1) * 3, 1.0).item() == 1.0
    assert module(facula.tensor([3.0])).item() == 1.0
    equal(pickle.loads(pickle.dumps(module))(facula.tensor([3.0])), facula.ones(1))


def test_trees_of_arguments_and_what_they_are_known_to_be():
    def call(x, pair, more=True):
        return [x + pair["a"]] if more else x
    module = fx.symbolic_trace(call, concrete_args={"pair": {"a": fx.PH}, "more": True})
    x = facula.ones(2)
    for one in (module, pickle.loads(pickle.dumps(module)), copy.deepcopy(module)):
        equal(one(x, {"a": x}, True), [x + x])
    with pytest.raises(AssertionError, match="more has been specialized to have value True"):
        module(x, {"a": x}, False)


class Doubled(fx.Interpreter):
    def call_module(self, target, args, kwargs):
        return 2 * super().call_module(target, args, kwargs)


def test_interpreter_and_transformer():
    net, x = Net(), facula.randn(2, 3)
    module = fx.symbolic_trace(net)
    equal(fx.Interpreter(module).run(x), net(x))
    equal(fx.Interpreter(module).boxed_run([x, None]), net(x))
    equal(Doubled(module).run(x)["y"], facula.relu(2 * net.linear(x)) * net.scale)
    equal(fx.Transformer(module).transform()(x), net(x))
    with pytest.raises(RuntimeError, match="While executing %linear : "):
        fx.Interpreter(module).run(facula.ones(2, 5))


def test_hooks_on_changes():
    module, told = fx.symbolic_trace(lambda x: x + 1), []
    module._register_create_node_hook(lambda node: told.append(("made", node.name)))
    module._register_erase_node_hook(lambda node: told.append(("gone", node.name)))
    with module._set_replace_hook(lambda old, new, user: told.append((old.name, new, user.name))):
        add = module.graph.find_nodes(op="call_function", target=operator.add)[0]
        with module.graph.inserting_after(add):
            sub = module.graph.call_function(operator.sub, (add.args[0], 1))
        add.replace_all_uses_with(sub)
        module.graph.erase_node(add)
    assert told == [("made", "sub"), ("add", "sub", "output"), ("gone", "add")]


def test_code_can_go_through_a_function():
    module = fx.symbolic_trace(lambda x: x + 1)
    with module.graph.on_generate_code(lambda before: lambda body: ["x = x * 2\n", *body]):
        module.recompile()
        assert module(facula.ones(1)).item() == 3.0
    module.recompile()
    assert module(facula.ones(1)).item() == 2.0


def test_lazy_modules_compile_when_they_are_called():
    with _use_lazy_graph_module(True):
        module = fx.symbolic_trace(lambda x: x + 1)
    assert module._needs_recompile() and module(facula.ones(1)).item() == 2.0 and not module._needs_recompile()


def test_nobody_listens_when_a_function_has_been_traced():
    before = listening.ears.count
    fx.symbolic_trace(lambda x: facula.relu(x) + facula.ones(2))
    assert listening.ears.count == before
    with pytest.raises(fx.proxy.TraceError):
        fx.symbolic_trace(lambda x: 1 if x else 2)
    assert listening.ears.count == before and nn.Module.__call__.__name__ == "__call__"


def test_a_traced_module_trains():
    facula.manual_seed(0)
    net = fx.symbolic_trace(nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 1)))
    optimizer = facula.optim.SGD(net.parameters(), lr=0.1)
    x = facula.randn(16, 3)
    losses = []
    for _ in range(5):
        optimizer.zero_grad()
        loss = (net(x) - x.sum(1, keepdim=True)).square().mean()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0]
