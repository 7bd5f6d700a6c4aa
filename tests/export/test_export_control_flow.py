"""Control flow captured: kept as nodes with the functions as graphs, in PyTorch's form."""

from __future__ import annotations

import importlib
import io
import zipfile

import numpy as np
import pytest

import facula
from facula._dynamo.exc import UncapturedHigherOrderOpError

CALLS = {
    "cond": "torch.cond(x.sum() > 0, lambda x: (w(x), {'q': x * k}), lambda x: (x * 2, {'q': x + 1}), (x,))",
    "nested": "torch.cond(x.sum() > 0, lambda x: torch.cond(x.max() > 3, lambda x: w(x), lambda x: x + 2, (x,)), "
              "lambda x: x - k, (x,))",
    "by size": "torch.cond(x.shape[0] > 3, lambda x: x + 1, lambda x: x - 1, (x,))",
    "with a size": "torch.cond(x.sum() > 0, lambda x: x * x.shape[0] + n, lambda x: x + 1, (x,))",
    "without operands": "torch.cond(x.sum() > 0, lambda: torch.ones(2), lambda: torch.zeros(2))",
    "while": "torch.while_loop(lambda i, y: i < 3, lambda i, y: (i + 1, w(y) * k), (torch.zeros((), dtype=torch.int64),"
             " x))",
    "map": "map(lambda row, k: (row * k, row.sum()), x, k)",
    "scan": "scan(lambda c, row: (c + row * k, c * 2), torch.zeros(3), x)"}


def program(torch, text):
    package = torch.__name__ + "._higher_order_ops"
    names = {"torch": torch} | {name: getattr(importlib.import_module(f"{package}.{name}"), name)
                                for name in ("map", "scan")}

    class Net(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.w = torch.nn.Linear(3, 3)
            self.register_buffer("k", torch.full((3,), 1.5))

        def forward(self, x):
            here = {"x": x, "w": self.w, "k": self.k, "n": x.shape[0]}
            return eval(text, names | here)
    return Net()


def captured(torch, text):
    batch = torch.export.Dim("batch")
    return torch.export.export(program(torch, text), (torch.arange(12.0).view(4, 3) - 5,),
                               dynamic_shapes=({0: batch},))


def graphs(module):
    """The operations of a graph, in no order, and of those of functions."""
    calls = [str(node.target) for node in module.graph.nodes if node.op in ("call_function", "get_attr")]
    return [sorted(calls), [[name, graphs(child)] for name, child in module.named_children()]]


# (Sizes that a branch asks for are computed there; PyTorch hands them in.)
@pytest.mark.parametrize("name", [name for name in CALLS if name not in ("nested", "with a size")])
def test_graphs_are_torchs(oracle, name):
    assert graphs(captured(facula, CALLS[name]).graph_module) == oracle(
        lambda torch: graphs(captured(torch, CALLS[name]).graph_module), CALLS[name])


@pytest.mark.parametrize("name", CALLS)
def test_what_they_do(name):
    found = captured(facula, CALLS[name])
    module = found.module()
    net = program(facula, CALLS[name])
    net.load_state_dict(found.state_dict)
    for x in (facula.arange(12.0).view(4, 3) - 5, facula.ones(2, 3), -facula.ones(7, 3), facula.ones(3, 3) * 5):
        one, other = (facula.utils._pytree.tree_leaves(m(x)) for m in (module, net))
        assert len(one) == len(other)
        for a, b in zip(one, other, strict=True):
            np.testing.assert_array_equal(a.detach().numpy(), b.detach().numpy())


def same(one, other):
    for x in (facula.arange(12.0).view(4, 3) - 5, facula.ones(2, 3), -facula.ones(7, 3), facula.ones(3, 3) * 5):
        for a, b in zip(*(facula.utils._pytree.tree_leaves(m(x)) for m in (one, other)), strict=True):
            np.testing.assert_array_equal(a.detach().numpy(), b.detach().numpy())


@pytest.mark.parametrize("name", CALLS)
def test_files_have_the_functions_too(name):
    found = captured(facula, CALLS[name])
    file = io.BytesIO()
    facula.export.save(found, file)
    loaded = facula.export.load(file)
    assert graphs(loaded.graph_module) == graphs(found.graph_module)
    assert str(loaded) == str(found)
    same(loaded.module(), found.module())
    again = io.BytesIO()
    facula.export.save(loaded, again)
    assert zipfile.ZipFile(again).read("program.json") == zipfile.ZipFile(file).read("program.json")


def test_a_file_names_no_other_functions():
    file = io.BytesIO()
    facula.export.save(captured(facula, CALLS["cond"]), file)
    text = zipfile.ZipFile(file).read("program.json").decode()
    for old, new in (("higher_order.cond", "higher_order.call"), ("higher_order.cond", "higher_order.__reduce__"),
                     ('"target":"true_graph_0"', '"target":"false_graph_1"'), ('["true_graph_0",', '["__class__",'),
                     ('"op":"output"', '"op":"get_attr"')):
        assert old in text
        changed = io.BytesIO()
        with zipfile.ZipFile(file) as one, zipfile.ZipFile(changed, "w") as other:
            for name in one.namelist():
                other.writestr(name, text.replace(old, new) if name == "program.json" else one.read(name))
        with pytest.raises(facula.export.DamagedProgram):
            facula.export.load(changed)


def test_operations_are_replaced_in_the_functions_too():
    found = captured(facula, CALLS["nested"])
    table = {facula.ops.aten.add.Tensor: lambda x, y: x - -y, facula.ops.aten.linear.default:
             lambda x, w, b: x @ w.T + b}
    replaced = found.run_decompositions(table)
    assert "aten.linear" not in str(graphs(replaced.graph_module)) and "aten.linear" in str(graphs(found.graph_module))
    same(replaced.module(), found.module())


def test_gradients_go_through():
    net = program(facula, CALLS["cond"])
    module = facula.export.export(net, (facula.ones(4, 3),)).module()
    for x in (facula.ones(4, 3), -facula.ones(4, 3)):
        found = []
        for m in (net, module):
            m.zero_grad()
            y = x.clone().requires_grad_()
            (m(y)[0] ** 2).sum().backward()
            found.append([y.grad, net.w.weight.grad])
        for a, b in zip(*found, strict=True):
            assert (a is None and b is None) or facula.equal(a, b)


class Net(facula.nn.Module):
    def __init__(self, function):
        super().__init__()
        self.__dict__["function"] = function

    def forward(self, x):
        return self.function(x)


def refused(function, error, words):
    with pytest.raises(error, match=words):
        facula.export.export(Net(function), (facula.ones(3),))


def test_what_is_refused():
    cond, loop = facula.cond, facula.while_loop
    refused(lambda x: cond(x.sum() > 0, lambda x: x, lambda x: x + 1, (x,)), UncapturedHigherOrderOpError, "aliasing")
    refused(lambda x: cond(x.sum() > 0, lambda x: x.double(), lambda x: x + 1, (x,)), UncapturedHigherOrderOpError,
            "same dtype(?s:.*)test_export_control_flow")
    refused(lambda x: cond(x.sum() > 0, lambda x: x.add_(1) * 2, lambda x: x + 1, (x,)), UncapturedHigherOrderOpError,
            "mutation")
    refused(lambda x: cond(x.sum() > 0, lambda x: x[:1] + 1, lambda x: x + 1, (x,)), NotImplementedError,
            "different sizes")
    refused(lambda x: cond(x.sum() > 0, lambda x: 3, lambda x: 4, (x,)), NotImplementedError, "numbers")
    refused(lambda x: loop(lambda i, x: i < 3, lambda i, x: (i + 1, x * 2), (0, x)), NotImplementedError, "numbers")
    refused(lambda x: cond(x.sum() > 0, lambda x: x + x.sum().item(), lambda x: x + 1, (x,)), RuntimeError,
            "data-dependent")
    left = []
    refused(lambda x: cond(x.sum() > 0, lambda x: left.append(x + 1) or x * 2, lambda x: x + 1, (x,)) + left[0],
            RuntimeError, "handed out")


def test_a_constant_predicate_is_said():
    with pytest.warns(UserWarning, match="specializes on one of the branches"):
        found = facula.export.export(Net(lambda x: facula.cond(True, lambda x: x + 1, lambda x: x, (x,))),
                                     (facula.ones(3),))
    assert [node.name for node in found.graph.nodes] == ["x", "add", "output"]


def test_regions_without_gradients_end_within():
    def off(x):
        with facula.no_grad():
            return x * 2

    net = Net(lambda x: facula.cond(x.sum() > 0, off, lambda x: x * 3, (x,)) * x)
    module = facula.export.export(net, (facula.ones(3, requires_grad=True),)).module()
    for sign in (1.0, -1.0):
        slopes = []
        for m in (net, module):
            x = (facula.ones(3) * sign).requires_grad_()
            m(x).sum().backward()
            slopes.append(x.grad)
        assert facula.equal(*slopes) and facula.is_grad_enabled()
