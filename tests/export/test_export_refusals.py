"""What cannot be captured is said, with the program's line."""

from __future__ import annotations

import numpy as np
import pytest

import facula
from facula.export import export
from facula.fx.experimental.symbolic_shapes import GuardOnDataDependentSymNode
from interrupting import Twice
from sample_calls import Calling


def in_autocast(x):
    with facula.autocast("cpu"):
        return x[None] @ x[:, None]


@pytest.mark.parametrize("function", [
    lambda x: x if x.sum() > 0 else -x, lambda x: x * x.sum().item(), lambda x: x[x > 0], lambda x: x.nonzero(),
    lambda x: x * float(x[0]), lambda x: x[int(x[0])], lambda x: x.tolist(), lambda x: 1.0 in x,
    lambda x: x if facula.equal(x, x) else x, lambda x: facula.tensor([x[0], 1.0]), lambda x: x.unique()])
def test_what_depends_on_elements(function):
    with pytest.raises(GuardOnDataDependentSymNode, match=r"data-dependent(?s:.)*test_export_refusals.py.*lambda"):
        export(Calling(function), (facula.ones(3),))


@pytest.mark.parametrize(("function", "kind", "told"), [
    (lambda x: x.numpy(), RuntimeError, "not supported for tensor subclasses"),
    (lambda x: np.asarray(x), RuntimeError, "not supported"),
    (lambda x: facula.vmap(lambda a: a * 2)(x), RuntimeError, "cannot see it|vmap"),
    (lambda x: facula.autograd.grad(x.sum(), x), RuntimeError, "does not require grad"),
    (lambda x: x.sum().backward(), NotImplementedError, "training_step"),
    (lambda x: x.requires_grad_(), NotImplementedError, "requires_grad_"),
    (lambda x: facula.add(x, 1, out=facula.empty(3)), NotImplementedError, "out="),
    (lambda x: x.resize_(2), NotImplementedError, "in place"),
    (lambda x: facula.rand(3, generator=facula.Generator()), NotImplementedError, "generator"),
    (lambda x: in_autocast(x), NotImplementedError, "autocast"),
    (lambda x: {1, 2}, RuntimeError, "not supported or pytree-flattenable")])
def test_what_else_is_refused(function, kind, told):
    with pytest.raises(kind, match=told):
        export(Calling(function), (facula.ones(3),))


def test_an_error_of_the_program_is_its_own():
    with pytest.raises(RuntimeError, match="must match the size"):
        export(Calling(lambda x: x + facula.ones(2)), (facula.ones(3),))
    with pytest.raises(KeyError):
        export(Calling(lambda x: {}["x"]), (facula.ones(3),))
    assert not facula.ops.listening.state.modes


def test_attributes():
    class Keeps(facula.nn.Module):
        def forward(self, x):
            self.kept = x * 2
            return x

    module = Keeps()
    with pytest.raises(ValueError, match=r"The tensor attribute self.kept was assigned during export"):
        export(module, (facula.ones(3),))
    assert not hasattr(module, "kept")

    class Counts(facula.nn.Module):
        calls = 0

        def forward(self, x):
            self.calls += 1
            return x

    module = Counts()
    export(module, (facula.ones(3),))
    assert module.calls == 0


def test_arguments():
    with pytest.raises(ValueError, match="Expected `mod` to be an instance"):
        export(lambda x: x, (facula.ones(3),))
    with pytest.raises(RuntimeError, match="Expecting `args` to be a tuple"):
        export(facula.nn.ReLU(), facula.ones(3))
    with pytest.raises(RuntimeError, match="Unsupported input type"):
        export(facula.nn.ReLU(), (object(),))
    exported = export(Calling(lambda x, n: x * n), (facula.ones(3), 2)).module()
    assert exported(facula.ones(3), 2).tolist() == [2, 2, 2]
    with pytest.raises(AssertionError, match="Guard failed: args_1 == 2"):
        exported(facula.ones(3), 3)
    with pytest.raises(ValueError, match="input tree spec"):
        exported(facula.ones(3))


def test_a_function_with_a_backward_of_its_own_is_warned_of():
    with pytest.warns(UserWarning, match="not its backward"):
        program = export(Calling(Twice.apply), (facula.ones(3),))
    assert program.module()(facula.ones(3)).tolist() == [2, 2, 2]
