"""Programs that were captured do what the program does, to the bit: at the sizes of the example and at others."""

from __future__ import annotations

import copy
import sys
from pathlib import Path

import numpy as np
import pytest

import facula
from facula.export import Dim, export

sys.path.insert(0, str(Path(__file__).parent))
from programs import larger, programs

NAMES = list(programs(facula))
leaves = facula.utils._pytree.tree_leaves


def same(one, other):
    """Are two results of one structure, and their tensors of the same bits?"""
    a, b = facula.utils._pytree.tree_flatten(one), facula.utils._pytree.tree_flatten(other)
    assert a[1] == b[1]
    for x, y in zip(a[0], b[0], strict=True):
        if isinstance(x, facula.Tensor):
            assert x.dtype == y.dtype and x.shape == y.shape and x.requires_grad == y.requires_grad
            np.testing.assert_array_equal(x.detach().numpy(), y.detach().numpy())
        else:
            assert type(x) is type(y) and x == y


def run(module, args, kwargs):
    """What it gives, and what it leaves in its buffers."""
    facula.manual_seed(3)
    args, kwargs = copy.deepcopy((args, kwargs))
    return module(*args, **kwargs), [b.clone() for b in module.buffers() if b.shape != (3,)]


@pytest.mark.parametrize("name", NAMES)
def test_at_the_example(name):
    module, args, kwargs = programs(facula)[name]
    before = copy.deepcopy(module.state_dict())
    facula.manual_seed(5)
    state = facula.get_rng_state()
    program = export(module, args, kwargs)
    assert facula.equal(facula.get_rng_state(), state)  # nothing was computed or drawn
    for key, value in module.state_dict().items():
        assert facula.equal(value, before[key])
    program.validate()
    other = copy.deepcopy(module)
    exported = program.module()
    same(run(exported, args, kwargs), run(other, args, kwargs))
    same(run(exported, args, kwargs), run(other, args, kwargs))  # buffers went on
    for key, value in program.state_dict.items():
        assert value is dict(module.state_dict(keep_vars=True))[key]


@pytest.mark.parametrize("name", NAMES)
def test_at_another_size(name):
    module, args, kwargs = programs(facula)[name]
    more, more_kwargs, shapes = larger(name, args, kwargs, facula)
    program = export(module, args, kwargs, dynamic_shapes=shapes)
    assert [str(found) for found in program.range_constraints.values()] == ["VR[0, int_oo]"]
    exported, other = program.module(), copy.deepcopy(module)
    same(run(exported, more, more_kwargs), run(other, more, more_kwargs))
    same(run(exported, args, kwargs), run(other, args, kwargs))
    with pytest.raises(AssertionError, match="Guard failed"):
        export(module, args, kwargs).module()(*more, **more_kwargs)


def test_gradients_flow_through_what_was_captured():
    module, args, kwargs = programs(facula)["attention"]
    exported, other = export(module, args, kwargs).module(), copy.deepcopy(module)
    assert [name for name, _ in exported.named_parameters()] == [name for name, _ in other.named_parameters()]
    exported(*args).pow(2).sum().backward()
    other(*args).pow(2).sum().backward()
    for (_, a), (_, b) in zip(module.named_parameters(), other.named_parameters(), strict=True):
        np.testing.assert_array_equal(a.grad.numpy(), b.grad.numpy())


def test_tied_weights_stay_tied():
    module, args, _ = programs(facula)["recurrent"]
    program = export(module, args)
    assert sorted(program.state_dict) == sorted(module.state_dict())
    assert [spec.target for spec in program.graph_signature.input_specs].count("embedding.weight") == 1
    exported = program.module()
    assert exported.head.weight is exported.embedding.weight is module.embedding.weight


def test_regions_without_gradients():
    class Net(facula.nn.Module):
        def forward(self, x):
            with facula.no_grad():
                y = x * 2
            return x + y, y

    x = facula.ones(2, requires_grad=True)
    program = export(Net(), (x,))
    both, alone = program.module()(x)
    assert both.requires_grad and not alone.requires_grad
    with facula.no_grad():
        assert not program.module()(x)[0].requires_grad and not facula.is_grad_enabled()
    with pytest.raises(AssertionError):
        program.module()(facula.ones(3))
    assert facula.is_grad_enabled()


def test_what_a_program_makes_of_numbers_is_new_in_each_call():
    class Net(facula.nn.Module):
        def forward(self, x):
            return facula.tensor([1.0, 2.0]).add_(x)

    exported = export(Net(), (facula.ones(2),)).module()
    for _ in range(2):
        assert exported(facula.ones(2)).tolist() == [2.0, 3.0]


def test_a_buffer_that_is_replaced_is_written():
    class Net(facula.nn.Module):
        def __init__(self):
            super().__init__()
            self.register_buffer("mean", facula.zeros(2))

        def forward(self, x):
            self.mean = self.mean * 0.5 + x
            return self.mean + 1

    module = Net()
    exported = export(module, (facula.ones(2),)).module()
    assert module.mean.tolist() == [0, 0]
    assert exported(facula.ones(2)).tolist() == [2, 2] and exported(facula.ones(2)).tolist() == [2.5, 2.5]
    assert exported.mean.tolist() == [1.5, 1.5]


def test_signature_and_tensors():
    module, args, kwargs = programs(facula)["nested"]
    program = export(module, args, kwargs)
    signature = program.graph_signature
    assert signature.user_inputs == ("x", "rest_0", "rest_1", "y", "z_a_0", True)
    assert signature.user_outputs[2:] == (signature.user_outputs[2], signature.user_outputs[3], 8, 3)
    assert signature.buffers == ("count", "mask") and signature.non_persistent_buffers == {"mask"}
    assert set(program.state_dict) == {"count"} and set(program.constants) == {"mask", "scale"}
    assert [name for name, _ in program.named_buffers()] == ["count", "mask"]
    assert signature.inputs_to_lifted_tensor_constants == {"c_scale": "scale"}
    assert program.example_inputs[0] is args and program.call_spec.in_spec.num_leaves == 6
    mlp, args, _ = programs(facula)["mlp"]
    program = export(mlp, args)
    assert [name for name, _ in program.named_parameters()] == [name for name, _ in mlp.named_parameters()]
    assert [entry.fqn for entry in program.module_call_graph] == [name for name, _ in mlp.named_modules()]
    with pytest.raises(RuntimeError, match="Unable to call ExportedProgram directly"):
        program(*args)


def test_decompositions():
    class Net(facula.nn.Module):
        def forward(self, x):
            return facula.nn.functional.silu(x).sum(0)

    aten = facula.ops.aten
    program = export(Net(), (facula.randn(4, 2),), dynamic_shapes=({0: Dim("b")},))
    apart = program.run_decompositions({aten.silu.default: lambda x: x * facula.sigmoid(x)})
    assert [str(n.target) for n in apart.graph.nodes if n.op == "call_function"] == [
        "aten.sigmoid.default", "aten.mul.Tensor", "aten.sum.dim_IntList"]
    x = facula.randn(7, 2)
    np.testing.assert_allclose(apart.module()(x).numpy(), Net()(x).numpy(), rtol=1e-5, atol=1e-6)
    assert str(program.run_decompositions({}).graph) == str(program.graph)
    assert str(program.run_decompositions().graph) == str(apart.graph)


def test_copies():
    module, args, kwargs = programs(facula)["nested"]
    program = export(module, args, kwargs)
    copied = copy.deepcopy(program)
    copied.module()(*args, **kwargs)
    assert module.count.item() == 0 and copied.state_dict["count"].item() == 1
    with pytest.raises(TypeError, match="torch.export.save"):
        __import__("pickle").dumps(program)
