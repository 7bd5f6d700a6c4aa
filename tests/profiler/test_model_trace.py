"""What a model's call is made of: `facula.summary`, flop counts, memory."""

import pytest

import docstrings
import facula
from facula import monitor, nn
from facula.profiler import memory, model_trace
from facula.utils import flop_counter, module_tracker
from facula.utils.flop_counter import FlopCounterMode


@pytest.mark.parametrize("module", [memory, model_trace, flop_counter, module_tracker], ids=lambda m: m.__name__)
def test_examples_run(module):
    docstrings.check(module)


def a_model():
    return nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(288, 10))


def test_parts_of_a_model():
    model = a_model()
    trace = model_trace.traced(model, facula.ones(2, 3, 8, 8))
    assert [(p.path, p.kind, p.output, p.parameters, p.flops, p.bytes) for _, p in trace.root.walk()] == [
        ("", "Sequential", (2, 10), 3114, 42624, 80), ("0", "Conv2d", (2, 8, 6, 6), 224, 31104, 2304),
        ("1", "ReLU", (2, 8, 6, 6), 0, 0, 2304), ("2", "Flatten", (2, 288), 0, 0, 2304),
        ("3", "Linear", (2, 10), 2890, 11520, 80)]
    nodes = {node.name: node for node in trace.nodes()}
    assert nodes["1/relu"].inputs == ["0/conv2d"] and nodes["0/conv2d"].inputs == ["input", "0/weight", "0/bias"]
    assert nodes["output"].inputs == ["3/linear"] and nodes["0/weight"].shapes == [(8, 3, 3, 3)]


def test_shared_modules_and_attention_are_told_of_once():
    shared = nn.Linear(4, 4)
    trace = model_trace.traced(nn.Sequential(shared, nn.ReLU(), shared), facula.ones(2, 4))
    assert trace.root.parameters == 20 and [p.again for p in trace.root.parts] == [False, False, True]
    layer = nn.TransformerEncoderLayer(8, 2, 16)
    table = facula.summary(layer, facula.ones(2, 5, 8))
    assert table.trace.root.parameters == sum(p.numel() for p in layer.parameters())
    assert "self_attn (MultiheadAttention)" in table and repr(table) == str(table)


def test_times_are_measured_and_less_than_the_whole():
    root = model_trace.traced(a_model(), facula.ones(2, 3, 8, 8), timed=True).root
    assert all(part.seconds > 0 for _, part in root.walk())
    assert sum(part.seconds for part in root.parts) <= root.seconds
    assert root.flops == 42624


@pytest.mark.compiled
def test_kernels_of_a_call():
    a, b = facula.rand(32, 16), facula.rand(16, 8)
    found = model_trace.kernels_of(lambda: a @ b)
    assert sum(kernel["flops"] for kernel in found) == 2 * 32 * 16 * 8
    assert all(kernel["seconds"] > 0 for kernel in found)
    from facula.engine import plan_log
    assert plan_log.records is None


def counted(call):
    with FlopCounterMode(display=False) as counter:
        call()
    return counter


@pytest.mark.parametrize("call, flops", [
    (lambda: facula.ones(2, 3) @ facula.ones(3, 4), 48), (lambda: facula.ones(3).dot(facula.ones(3)), 6),
    (lambda: facula.bmm(facula.ones(5, 2, 3), facula.ones(5, 3, 4)), 240),
    (lambda: facula.addmm(facula.ones(4), facula.ones(2, 3), facula.ones(3, 4)), 48),
    (lambda: facula.einsum("bij,bjk->bik", facula.ones(5, 2, 3), facula.ones(5, 3, 4)), 240),
    (lambda: nn.functional.conv2d(facula.ones(1, 4, 5, 5), facula.ones(6, 2, 3, 3), groups=2), 2 * 6 * 9 * 18),
    (lambda: nn.functional.conv_transpose1d(facula.ones(1, 2, 5), facula.ones(2, 3, 2)), 2 * 10 * 6),
    (lambda: nn.functional.scaled_dot_product_attention(*[facula.ones(2, 5, 8)] * 3), 2 * 2 * 5 * 5 * 16),
    (lambda: nn.LSTM(8, 4)(facula.ones(2, 5, 8)), 2 * 10 * 16 * 8 + 2 * 10 * 16 * 4),
    (lambda: facula.ones(2, 3) + 1, 0)])
def test_counts(call, flops):
    assert counted(call).get_total_flops() == flops


def test_backward_is_counted_where_gradients_go():
    model = a_model()
    counter = counted(lambda: model(facula.ones(2, 3, 8, 8)).sum().backward())
    assert counter.get_flop_counts()["Global"] == {"conv2d": 31104, "linear": 11520, "linear_backward": 23040,
                                                   "conv2d_backward": 31104}
    assert counter.get_flop_counts()["Sequential.3"] == {"linear": 11520, "linear_backward": 23040}
    assert "Sequential.3" in counter.get_table(2) and "Sequential.3" not in counter.get_table(1)


def test_own_formulas_and_ends_with_errors():
    counter = FlopCounterMode(display=False, custom_mapping={facula.exp: lambda x, out_val: 7})
    with counter:
        facula.exp(facula.ones(2))
    assert counter.get_total_flops() == 7
    with pytest.raises(RuntimeError), FlopCounterMode(display=False) as counter:
        nn.Sequential(nn.Linear(3, 3))(facula.ones(2, 4))
    assert not facula.nn.modules._hooks.forward_hooks
    with pytest.raises(NotImplementedError, match="einsum"):
        counted(lambda: facula.einsum("i,i,i->", *[facula.ones(2)] * 3))


def test_memory():
    x = facula.ones(1 << 20).exp_()
    x.sum().item()
    said = facula.memory_summary()
    assert "4.00 MiB" in said and "[1048576] float32" in said
    assert "float32" not in facula.memory_summary(abbreviated=True)
    with pytest.raises(ValueError, match="cuda"):
        facula.memory_summary("cuda")


def test_a_graph_can_be_logged(tmp_path):
    import json
    with monitor.init(dir=tmp_path, id="r", system=None) as run:
        run.log({"model": monitor.Graph(a_model(), facula.ones(2, 3, 8, 8))})
    found = monitor.Folder(tmp_path).get("r")
    about = json.loads(found.things("model")[0].bytes)
    assert found.keys() == {"model": "graph"} and about["root"]["parts"][0]["output"] == [2, 8, 6, 6]
    assert all(part["seconds"] > 0 for part in about["root"]["parts"])
