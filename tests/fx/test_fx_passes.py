"""Passes over graphs: matching, replacing, splitting, fusing, shapes, and operations recorded from a run."""

from __future__ import annotations

import operator

import pytest

import facula
from facula import fx, nn
from facula.fx.experimental.normalize import NormalizeArgs, NormalizeOperators
from facula.fx.experimental.optimization import fuse, optimize_for_inference, remove_dropout
from facula.fx.experimental.proxy_tensor import make_fx
from facula.fx.passes.fake_tensor_prop import FakeTensorProp
from facula.fx.passes.graph_drawer import FxGraphDrawer
from facula.fx.passes.infra.pass_base import PassBase, PassResult
from facula.fx.passes.infra.pass_manager import PassManager, this_before_that_pass_constraint
from facula.fx.passes.operator_support import OperatorSupport, any_chain, chain, create_op_support
from facula.fx.passes.shape_prop import ShapeProp
from facula.fx.passes.tools_common import legalize_graph
from facula.fx.passes.utils.common import compare_graphs, lift_subgraph_as_module
from facula.fx.passes.utils.matcher_utils import SubgraphMatcher


def replacing(torch):
    from_torch = torch.fx.replace_pattern

    def call(x, w):
        a = torch.relu(x) + w
        b = torch.relu(a) + a
        return torch.sum(b), torch.relu(w) + 3
    found = []
    for pattern, replacement in ((lambda x, y: torch.relu(x) + y, lambda x, y: torch.neg(x * y)),
                                 (lambda x: torch.relu(x) + 3, lambda x: x),
                                 (lambda x: torch.relu(x), lambda x: torch.sigmoid(x))):
        module = torch.fx.symbolic_trace(call)
        matches = from_torch(module, pattern, replacement)
        module.graph.lint()
        found.append([module.code, [str(m.anchor) for m in matches],
                      [{str(k): str(v) for k, v in m.nodes_map.items()} for m in matches]])
    return found


def test_patterns_are_replaced_as_torch_does(oracle):
    assert replacing(facula) == oracle(replacing)


def splitting(torch):
    split = __import__(torch.__name__ + ".fx.passes.split_module", fromlist=["split_module"]).split_module

    class Net(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.p = torch.nn.Parameter(torch.ones(3))
            self.a, self.b = torch.nn.Linear(3, 3), torch.nn.Linear(3, 3)

        def forward(self, x, y=2):
            a = self.a(x) + self.p
            b = self.b(a) + y
            return torch.relu(b) + a + self.p, b
    module = torch.fx.symbolic_trace(Net())
    order = {node.name: k for k, node in enumerate(module.graph.nodes)}
    found = []
    for part in (lambda n: order[n.name] // 3, lambda n: 0, lambda n: n.op):
        try:
            names = {}
            done = split(module, module, part, qualname_map=names)
            found.append([done.code, names, [(name, child.code) for name, child in done.named_children()]])
        except RuntimeError as error:
            found.append(str(error))
    return found


def test_modules_are_split_as_torch_does(oracle):
    assert splitting(facula) == oracle(splitting)


def test_matches_are_found():
    def pattern(x, w):
        return nn.functional.conv2d(x, w).relu()
    graph = fx.symbolic_trace(lambda a, b: facula.conv2d(a, b).relu() + 1).graph
    matcher = SubgraphMatcher(fx.symbolic_trace(pattern).graph)
    match = matcher.match(graph)[0]
    assert [str(n) for n in match.placeholder_nodes] == ["a", "b"] and str(match.returning_nodes) == "[relu]"
    used = fx.symbolic_trace(lambda a, b: (facula.conv2d(a, b).relu(), facula.conv2d(a, b))).graph
    assert len(matcher.match(used)) == 1  # of two equal convolutions
    twice = fx.symbolic_trace(lambda a, b: (lambda c: (c.relu(), c))(facula.conv2d(a, b))).graph
    assert not matcher.match(twice)  # somebody else has what is inside
    assert compare_graphs(graph, fx.symbolic_trace(lambda p, q: facula.conv2d(p, q).relu() + 1).graph)
    assert not compare_graphs(graph, fx.symbolic_trace(lambda p, q: facula.conv2d(p, q).relu() + 2).graph)


def net():
    facula.manual_seed(0)
    found = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.ReLU(), nn.Dropout())
    found(facula.randn(4, 1, 8, 8))
    return found.eval()


def test_convolutions_are_fused_with_their_batch_norms():
    before, x = net(), facula.randn(2, 1, 8, 8)
    for after, left in ((fuse(before), ["0", "2", "3"]), (optimize_for_inference(before), ["0", "2"]),
                        (remove_dropout(before), ["0", "1", "2"])):
        assert facula.allclose(after(x), before(x), atol=1e-6)
        assert [n.target for n in after.graph.find_nodes(op="call_module")] == left
    with pytest.raises(AssertionError, match="Fusion only for eval!"):
        fuse(before.train())


@pytest.mark.parametrize("conv", [nn.Conv1d(4, 6, 3, groups=2), nn.ConvTranspose2d(4, 6, 3, bias=False),
                                  nn.Linear(4, 6)], ids=["conv1d", "transposed", "linear"])
def test_layers_are_fused(conv):
    rest = {nn.Conv1d: (5,), nn.ConvTranspose2d: (5, 5), nn.Linear: ()}[type(conv)]
    bn = (nn.BatchNorm2d if len(rest) == 2 else nn.BatchNorm1d)(6)
    x = facula.randn(3, 4, *rest)
    bn(conv(x))
    conv.eval(), bn.eval()
    if isinstance(conv, nn.Linear):
        fused = nn.utils.fuse_linear_bn_eval(conv, bn)
    else:
        fused = nn.utils.fuse_conv_bn_eval(conv, bn, transpose=isinstance(conv, nn.ConvTranspose2d))
    assert facula.allclose(fused(x), bn(conv(x)), atol=1e-5)
    assert isinstance(fused.weight, nn.Parameter) and fused.weight.requires_grad


def test_shapes_are_noted_with_and_without_values():
    for prop in (ShapeProp, FakeTensorProp):
        module = fx.symbolic_trace(net())
        out = prop(module).propagate(facula.ones(2, 1, 8, 8))
        meta = [node.meta["tensor_meta"] for node in module.graph.nodes]
        assert [tuple(m.shape) for m in meta] == [(2, 1, 8, 8)] + 5 * [(2, 2, 6, 6)]
        assert out.device.type == ("cpu" if prop is ShapeProp else "meta") and meta[1].dtype is facula.float32


def test_arguments_and_operators_are_made_alike():
    module = fx.symbolic_trace(lambda x: facula.add(nn.functional.relu(x, True), x))
    normal = NormalizeOperators(NormalizeArgs(module, normalize_to_only_use_kwargs=False).transform()).transform()
    assert "relu(x, inplace = True)" in normal.code
    kwargs = NormalizeArgs(module).transform()
    assert "relu(input = x, inplace = True)" in kwargs.code
    assert facula.equal(kwargs(facula.ones(2)), module(facula.ones(2)))
    operators = NormalizeOperators(fx.symbolic_trace(lambda x: facula.add(x, 1))).transform()
    assert operators.graph.find_nodes(op="call_function", target=operator.add)


class Dead(PassBase):
    def call(self, graph_module):
        return PassResult(graph_module, graph_module.graph.eliminate_dead_code())


class Wrong(PassBase):
    def call(self, graph_module):
        return None


def test_passes_are_run_in_an_order():
    module = fx.symbolic_trace(lambda x: (x + 1, x)[1])
    assert PassManager([Dead()], steps=3)(module) == PassResult(module, True) and len(module.graph.nodes) == 2
    with pytest.raises(Exception, match="An error occurred when running the 'Wrong' pass after .*: \\['Dead'\\]"):
        PassManager([Dead(), Wrong()])(module)
    first, second = Dead(), Dead()
    manager = PassManager([second, first], constraints=[this_before_that_pass_constraint(first, second)])
    with pytest.raises(RuntimeError, match="pass schedule constraint violated"):
        manager.validate_constraints()
    manager.solve_constraints()
    assert manager.passes == [first, second]


def test_nodes_are_put_into_order_and_supported_or_not():
    module = fx.symbolic_trace(lambda x: facula.relu(x + 1))
    add = module.graph.find_nodes(op="call_function", target=operator.add)[0]
    add.next.append(add)
    legalize_graph(module).graph.lint()
    support = OperatorSupport({"torch.relu": None})
    relu = module.graph.find_nodes(op="call_function", target=facula.relu)[0]
    never = create_op_support(lambda modules, node: False)
    assert support.is_node_supported({}, relu) and not support.is_node_supported({}, add)
    assert any_chain(never, support).is_node_supported({}, relu)
    assert not chain(never, support).is_node_supported({}, relu)


def test_parts_of_graphs_become_modules():
    module = fx.symbolic_trace(net())
    graph = fx.Graph()
    x = graph.placeholder("x")
    graph.output(graph.call_module("0", (x,)))
    part, names = lift_subgraph_as_module(module, graph, "part")
    assert names == {"part.0": "0"} and part(facula.ones(1, 1, 3, 3)).shape == (1, 2, 1, 1)


def test_a_run_is_recorded_with_its_sizes():
    linear = nn.Linear(3, 2)

    def call(x, rest):
        y = linear(x) * x.size(0)
        y[0] = 1
        first, second = (y.T * 2).mT.split(1, dim=1)
        return {"sum": first + rest["a"] + facula.ones(1), "second": second}
    x, a = facula.randn(4, 3), facula.randn(1)
    module = make_fx(call)(x, {"a": a})
    for _ in range(2):
        new = facula.randn(4, 3)
        ours, theirs = module(new, {"a": a}), call(new, {"a": a})
        assert all(facula.equal(ours[key], theirs[key]) for key in theirs)
    assert module.graph.find_nodes(op="get_attr")[0].target == "_param_constant0"
    with pytest.raises(RuntimeError, match="get value out of a tracing tensor"):
        make_fx(lambda t: t * t.sum().item())(x)
    for wrong in (lambda t: facula.func.vmap(facula.sum)(t), lambda t: facula.autograd.grad(t.sum(), t)):
        with pytest.raises(NotImplementedError, match="make_fx"):
            make_fx(wrong)(x.clone().requires_grad_())
    with pytest.raises(NotImplementedError, match="symbolic"):
        make_fx(call, tracing_mode="symbolic")


def test_pictures_need_pydot(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "pydot", None)
    with pytest.raises(RuntimeError, match="pip install pydot"):
        FxGraphDrawer(fx.symbolic_trace(net()), "net")
