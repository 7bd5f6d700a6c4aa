"""`run_decompositions`: graphs without writes, and operations as compositions of fewer ones."""

from __future__ import annotations

import copy
import io
import sys
from pathlib import Path

import numpy as np
import pytest

import facula
from facula.export import export

sys.path.insert(0, str(Path(__file__).parent))
from programs import programs

aten = facula.ops.aten


class Net(facula.nn.Module):
    def __init__(self, function):
        super().__init__()
        self.__dict__["function"] = function
        self.register_buffer("b", facula.arange(6.0).view(2, 3))
        self.register_buffer("n", facula.zeros((), dtype=facula.int64))

    def forward(self, *args):
        return self.function(self, *args)


def captured(function, *args, **options):
    return export(Net(function), args, **options)


def same(one, other):
    for a, b in zip(*(facula.utils._pytree.tree_leaves(x) for x in (one, other)), strict=True):
        if isinstance(a, facula.Tensor):
            assert a.dtype == b.dtype
            np.testing.assert_array_equal(a.detach().numpy(), b.detach().numpy())
        else:
            assert a == b


def writes(program):
    """The operations in place that a graph has."""
    return [str(node.target) for module in program.graph_module.modules() if hasattr(module, "graph")
            for node in module.graph.nodes if node.op == "call_function" and (
                str(node.target).partition(".")[2].partition(".")[0].endswith("_") or
                node.target is aten.batch_norm.default and node.args[5])]


def swap(s, x):
    s.b[0], s.b[1] = s.b[1].clone(), s.b[0].clone()
    return s.b.sum(0) + x


def through_views(s, x):
    y = x * 2
    view, turned = y[:, 1:], y.t()
    row = y[0]
    view.add_(1)
    first = row.sum()
    turned[0].mul_(3)
    row.view(3, 1)[1].fill_(7)
    y.unsqueeze(0).squeeze(0).permute(1, 0)[2, 1] = -1
    a, b = y.split([1, 2], 1)
    b.copy_(a)
    y.diagonal().zero_()
    y.unbind(0)[1].sub_(x[0])
    return y, view, turned, row, first, s.b.clone()


def masked(s, x):
    y = x.clone()
    y[y > 2] = 0.0
    y[facula.tensor([0, 1]), facula.tensor([1, 2])] += 5
    s.n += 1
    s.b.view(-1)[2:4] = x[0, :2]
    return y.relu_() + s.b, s.n * 2


def drawn(s, x):
    y = facula.empty_like(x).uniform_()
    z = x.clone().bernoulli_(0.5)
    return y, z, x.clone().normal_(1, 2)


def cast(s, x):
    y = x.to(facula.float16)
    y.add_(x.double()).mul_(2)
    n = facula.arange(3)
    n.add_(1)
    return y, n


def branches(s, x):
    def one(x):
        y = x * 2
        y[0].add_(1)
        return y
    s.b.add_(1)
    return facula.cond(x.sum() > 0, one, lambda x: x + s.b, (x,))


FUNCTIONS = [swap, through_views, masked, drawn, cast, branches]


@pytest.mark.parametrize("function", FUNCTIONS, ids=lambda f: f.__name__)
def test_nothing_is_written(function):
    x = facula.tensor([[1.0, 2.0, 3.0], [-4.0, 5.0, 6.0]])
    program = captured(function, x)
    plain = program.run_decompositions({})
    assert writes(program) and not writes(plain)
    file = io.BytesIO()
    facula.export.save(plain, file)
    eager = Net(function)
    modules = [program.module(), copy.deepcopy(plain).module(), facula.export.load(file).module(),
               copy.deepcopy(plain.run_decompositions({})).module()]
    modules[0] = captured(function, x).module()
    for t in (x, -x):
        facula.manual_seed(1)
        wanted = eager(t)
        for module in modules:
            facula.manual_seed(1)
            same(module(t), wanted)
            same([module.b, module.n], [eager.b, eager.n])


def test_open_sizes():
    def function(s, x):
        y = x * 2
        y[1:, :2].add_(1)
        y.view(-1)[::2].zero_()
        parts = y.chunk(2)
        parts[0].mul_(2)
        return y, x.shape[0]

    x = facula.arange(12.0).view(4, 3)
    plain = captured(function, x, dynamic_shapes={"args": ({0: facula.export.Dim("n", min=2)},)}).run_decompositions({})
    assert not writes(plain)
    for t in (x, facula.ones(7, 3), facula.ones(2, 3)):
        same(plain.module()(t), function(None, t))


def test_the_signature():
    def function(s, x, y):
        s.b.add_(x)
        y.mul_(2)
        s.n.add_(1)
        return x + y

    x, y = facula.ones(2, 3), facula.ones(2, 3)
    plain = captured(function, x, y).run_decompositions()
    signature = plain.graph_signature
    assert list(signature.buffers_to_mutate.values()) == ["b", "n"]
    assert list(signature.user_inputs_to_mutate.values()) == ["args_1"]
    assert [spec.kind.name for spec in signature.output_specs] == [
        "BUFFER_MUTATION", "BUFFER_MUTATION", "USER_INPUT_MUTATION", "USER_OUTPUT"]
    z = facula.ones(2, 3) * 3
    assert plain.module()(x, z).tolist() == (x + 6).tolist() and z.tolist() == (x * 6).tolist()


@pytest.mark.parametrize("name", list(programs(facula)))
def test_programs(name):
    module, args, kwargs = programs(facula)[name]
    program = export(module, args, kwargs)
    for table, equal in (({}, True), (None, False)):
        plain = copy.deepcopy(program).run_decompositions(table)
        plain.validate()
        assert not writes(plain)
        eager = copy.deepcopy(module)
        for _ in range(2):
            facula.manual_seed(4)
            wanted = eager(*copy.deepcopy(args), **copy.deepcopy(kwargs))
            facula.manual_seed(4)
            found = plain.module()(*copy.deepcopy(args), **copy.deepcopy(kwargs))
            leaves = [facula.utils._pytree.tree_leaves([x, list(m.buffers())])
                      for x, m in ((found, plain.module()), (wanted, eager))] if name != "nested" else [
                          facula.utils._pytree.tree_leaves(x) for x in (found, wanted)]
            for a, b in zip(*leaves, strict=True):
                if isinstance(a, facula.Tensor):
                    a, b = a.detach().numpy(), b.detach().numpy()
                    np.testing.assert_allclose(a, b, rtol=0 if equal else 1e-5, atol=0 if equal else 1e-6)
                else:
                    assert a == b


def test_a_training_step():
    model = facula.nn.Sequential(facula.nn.Linear(2, 3), facula.nn.BatchNorm1d(3), facula.nn.Linear(3, 1))
    twin = copy.deepcopy(model)
    steps = []
    for m in (model, twin):
        optimizer = facula.optim.Adam(m.parameters(), lr=0.1)
        steps.append(facula.export.training_step(m, facula.nn.MSELoss(), optimizer, (facula.ones(4, 2),),
                                                 (facula.zeros(4, 1),)))
    plain = steps[1].run_decompositions({})
    assert not writes(plain) and len(plain.graph_signature.parameters_to_mutate) == 6
    one, other = steps[0].module(), plain.module()
    generator = facula.Generator().manual_seed(0)
    for _ in range(3):
        x, y = facula.randn(4, 2, generator=generator), facula.randn(4, 1, generator=generator)
        assert one(x, y).item() == other(x, y).item()
    same(list(model.state_dict().values()), list(twin.state_dict().values()))


def test_decompositions():
    table = facula.export.default_decompositions()
    x = facula.arange(24.0).view(2, 3, 4) / 7 - 1
    calls = [lambda x: facula.nn.functional.linear(x, facula.ones(5, 4), facula.ones(5)), lambda x: x @ x.mT,
             lambda x: x.movedim((0, 1), (2, 0)), lambda x: x.transpose(0, -1), lambda x: x[0].T,
             lambda x: x.flatten(1),
             lambda x: x.unflatten(2, (2, 2)), facula.nn.functional.silu, facula.nn.functional.hardswish,
             facula.nn.functional.relu6, lambda x: facula.stack([x, x], 1), lambda x: x.chunk(2, 2)[1] + 1,
             lambda x: facula.nn.functional.mse_loss(x, x * 2), lambda x: facula.nn.functional.l1_loss(x, x * 2),
             lambda x: facula.nn.functional.cross_entropy(x[0], facula.tensor([1, 0, 3])), facula.square,
             lambda x: facula.zeros(2) + facula.ones(2)]
    for call in calls:
        program = captured(lambda s, x, call=call: call(x), x)
        replaced = program.run_decompositions()
        assert not any(node.target in table for node in replaced.graph.nodes), str(replaced.graph)
        np.testing.assert_allclose(replaced.module()(x).numpy(), call(x).numpy(), rtol=1e-6, atol=1e-6)
    kept = {key: value for key, value in table.items() if key is not aten.linear.default}
    program = export(facula.nn.Linear(4, 2), (x,))
    assert "aten.linear.default" in [str(n.target) for n in program.run_decompositions(kept).graph.nodes]


def test_what_cannot_be_told():
    x = facula.ones(2, 3)
    with pytest.raises(NotImplementedError, match="writes into what"):
        captured(lambda s, x: (x * 1).view(facula.int32).add_(1), x).run_decompositions({})
    with pytest.raises(NotImplementedError, match="register_buffer"):
        kept = facula.ones(3)
        captured(lambda s, x: x + kept.add_(1), x).run_decompositions({})
