"""What graphs and generated code look like, and what is refused: as torch's."""

from __future__ import annotations

import math
import operator

import pytest


class Refusal:
    """What a function raises, in words."""

    @staticmethod
    def of(call):
        try:
            return call()
        except Exception as error:
            return f"{type(error).__name__}: {error}".replace("facula", "torch")


def texts(torch, root, **options):
    module = torch.fx.symbolic_trace(root, **options)
    return [module.code, str(module.graph), [[n.op, n.name, len(n.users)] for n in module.graph.nodes]]


def net_of(torch):
    nn = torch.nn

    class Inner(nn.Module):
        def __init__(self):
            super().__init__()
            self.linear = nn.Linear(3, 3)
            self.register_buffer("scale", torch.ones(3))

        def forward(self, x):
            return self.linear(x) * self.scale + self.linear.weight

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = Inner()
            self.layers = nn.ModuleList([nn.Linear(3, 3), nn.ReLU()])
            self.p = nn.Parameter(torch.ones(3))
            self.plain = torch.ones(3)

        def forward(self, x, y=None, *args, k=3, **kw):
            z = self.inner(x) + self.p
            for layer in self.layers:
                z = layer(z)
            z = self.inner(z) - self.plain
            a = z.size(0)
            shape = z.shape[1:]
            part = z[0, ..., None, 1:2]
            q = torch.cat([part, part], dim=1).relu_()
            q += 1
            q = -(~(2 ** (3 - q)) // 2 @ q & 1)
            q = torch.nn.functional.dropout(q, training=self.training)
            w = torch.ones(2) + q
            return {"a": q, "b": [w, (q.T, shape)]}, slice(a, None, None), q == 1
    return Net()


def functional(torch):
    F = torch.nn.functional

    def call(x):
        return (F.relu(x), F.gelu(x), F.softmax(x, 1), F.linear(x, x), F.conv2d(x, x), F.layer_norm(x, (3,)),
                F.sigmoid(x), F.max_pool2d(x, 2), F.batch_norm(x, None, None, training=True), F.cross_entropy(x, x),
                F.prelu(x, x), F.scaled_dot_product_attention(x, x, x), F.interpolate(x, scale_factor=2),
                F.pad(x, (1, 1)), F.embedding(x, x), F.adaptive_avg_pool2d(x, 1), F.logsigmoid(x), F.one_hot(x),
                torch.norm(x), torch.einsum("ij->i", x), torch.split(x, 2), torch.linalg.svd(x), torch.fft.fft(x),
                torch.stack([x, x]), torch.where(x > 0, x, 0), torch.sum(x, dim=1, keepdim=True),
                torch.add(x, x, alpha=2))
    return call


def left_operands(torch):
    def call(x):
        t = torch.ones(2)
        return (t * x, t < x, t / x, t // x, t ** x, t[x], t == x, t & x, t % x, t != x, t @ x, t.add(x), x - t, t + x)
    return call


def test_texts_of_a_module(oracle):
    def run(torch):
        net = net_of(torch)
        module = torch.fx.symbolic_trace(net)
        return [*texts(torch, net), str(module),
                [list(n.meta.get("nn_module_stack", {})) for n in module.graph.nodes]]
    import facula
    assert run(facula) == oracle(run)


@pytest.mark.parametrize("make", [functional, left_operands])
def test_calls_are_recorded_as_torch_reports_them(oracle, make):
    def run(torch):
        return texts(torch, make(torch))
    import facula
    assert run(facula) == oracle(run)


def arguments(torch):
    PH = torch.fx.PH

    def tree(x, y, z):
        return {"o": x + y["a"][0] + z}

    def chosen(x, more, mode, n):
        return x * n if more else x

    return [texts(torch, tree, concrete_args={"y": {"a": [PH], "c": 2}}),
            texts(torch, chosen, concrete_args={"more": True, "mode": "m", "n": 3}),
            texts(torch, chosen, concrete_args={"more": False, "mode": None, "n": (1, PH)}),
            texts(torch, lambda x: math.sqrt(x)), texts(torch, lambda x: x.to(torch.float32).to("cpu")),
            texts(torch, lambda x: x.to(device=torch.device("cpu"), memory_format=torch.channels_last)),
            texts(torch, lambda x: x.sum(float("inf")) + x.foo + x.foo(1, k=[x]).bar),
            texts(torch, lambda input, list: (input, list, range(3), 1j, None, Ellipsis))]


def test_arguments(oracle):
    import facula
    assert arguments(facula) == oracle(arguments)


def refusals(torch):
    fx = torch.fx
    graph = fx.Graph()
    x = graph.placeholder("x")
    relu = graph.call_function(torch.relu, (x,))
    add = graph.call_method("add", (relu, x), {"alpha": 2})
    graph.output(add)
    other = fx.Graph()
    other.placeholder("a")

    def loop(x):
        return [a + 1 for a in x]

    def branch(x):
        return 1 if x else 2

    class Net(torch.nn.Module):
        def forward(self, x):
            return x

    def wrapped():
        fx.wrap("foo")
    calls = [
        lambda: graph.erase_node(relu), lambda: graph.create_node("foo", "x"), lambda: graph.call_function("abc"),
        lambda: other.inserting_before(relu), lambda: [other.call_function(torch.relu, (x,)), other.lint()][1],
        lambda: add.kwargs.update(a=3), lambda: x.append(other.output_node()), lambda: add.insert_arg(7, 1),
        lambda: add.update_arg(9, 1), lambda: fx.GraphModule(3, graph),
        lambda: fx.GraphModule({}, graph_with_module(fx)), lambda: fx.symbolic_trace(loop),
        lambda: fx.symbolic_trace(branch), lambda: fx.symbolic_trace(lambda x: len(x)),
        lambda: fx.symbolic_trace(lambda x: x in [1, x]), lambda: fx.symbolic_trace(lambda x: (x, b"bytes")),
        lambda: fx.symbolic_trace(lambda x: {x: 1}), lambda: fx.symbolic_trace(lambda x: int(x)),
        lambda: fx.symbolic_trace(lambda x: range(x)), wrapped, lambda: fx.wrap(3),
        lambda: fx.Interpreter(fx.symbolic_trace(Net())).run(),
        lambda: fx.Tracer().path_of_module(torch.nn.ReLU()), lambda: graph.find_nodes(op="call_function"),
        lambda: fx.symbolic_trace(lambda x, y: x, concrete_args=(1,))]
    # The first line: what follows is a graph, or advice.
    return [str(Refusal.of(call)).partition("\n")[0] for call in calls]


def graph_with_module(fx):
    graph = fx.Graph()
    graph.output(graph.call_module("lin", (graph.placeholder("x"),)))
    return graph


def test_what_is_refused(oracle):
    import facula
    ours, theirs = refusals(facula), oracle(refusals)
    assert ours == theirs


def test_tables_and_readable_code(capsys):
    import facula
    from facula.fx.passes.shape_prop import ShapeProp
    module = facula.fx.symbolic_trace(facula.nn.Sequential(facula.nn.Linear(2, 3), facula.nn.ReLU()))
    ShapeProp(module).propagate(facula.ones(4, 2))
    module.graph.print_tabular()
    shown = capsys.readouterr().out
    assert shown.splitlines()[:3] == [
        "opcode       name     target    args        kwargs",
        "-----------  -------  --------  ----------  --------",
        "placeholder  input_1  input     ()          {}"]
    text = module.print_readable(print_output=False)
    assert '        _0: "f32[4, 3]" = getattr(self, "0")(input_1);  input_1 = None\n' in text
    assert text.startswith("class Sequential(torch.nn.Module):\n    def forward(self, input: \"f32[4, 2]\"):\n")


def test_places_in_the_program_are_kept_where_they_are_wanted():
    import facula

    class Places(facula.fx.Tracer):
        record_stack_traces = True

    def double(x):
        return x * 2
    module = facula.fx.GraphModule({}, Places().trace(double))
    assert "return x * 2" in module.graph.find_nodes(op="call_function", target=operator.mul)[0].stack_trace
    assert "in double, code: return x * 2" in module.print_readable(print_output=False)
