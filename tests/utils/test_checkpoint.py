"""`utils.checkpoint`: gradients as without it, random numbers kept, both forms."""

import numpy as np
import pytest

import docstrings
import facula
from facula.utils import checkpoint as module
from facula.utils.checkpoint import CheckpointError, checkpoint, checkpoint_sequential


def network():
    facula.manual_seed(0)
    return facula.nn.Sequential(facula.nn.Linear(3, 8), facula.nn.Tanh(), facula.nn.Dropout(0.4),
                                facula.nn.Linear(8, 2))


def gradients(run):
    """What `run(net, x)` gives by every parameter and by x, after one seed."""
    net = network()
    x = facula.linspace(-1, 1, 12).reshape(4, 3).requires_grad_()
    facula.manual_seed(7)
    y = run(net, x * 1.0)
    (y * y).sum().backward()
    return [y.detach().numpy(), x.grad.numpy(), *[p.grad.numpy() for p in net.parameters()], facula.rand(2).numpy()]


@pytest.mark.parametrize("reentrant", [True, False])
def test_the_same_gradients_and_random_numbers(reentrant):
    plain = gradients(lambda net, x: net(x))
    again = gradients(lambda net, x: checkpoint(net, x, use_reentrant=reentrant))
    for a, b in zip(plain, again, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("reentrant", [True, False])
@pytest.mark.parametrize("segments", [1, 2, 4])
def test_sequential(reentrant, segments):
    plain = gradients(lambda net, x: net(x))
    again = gradients(lambda net, x: checkpoint_sequential(net, segments, x, use_reentrant=reentrant))
    for a, b in zip(plain, again, strict=True):
        np.testing.assert_array_equal(a, b)


def test_random_numbers_are_others_if_they_are_not_kept():
    drawn = []

    def noisy(x):
        drawn.append(facula.rand(()).item())
        return x * drawn[-1]

    x = facula.ones(1, requires_grad=True)
    for keep in (True, False):
        checkpoint(noisy, x, use_reentrant=False, preserve_rng_state=keep).sum().backward()
    assert drawn[0] == drawn[1] and drawn[2] != drawn[3]


@pytest.mark.parametrize("reentrant", [True, False])
def test_the_function_runs_twice_and_only_once_without_a_backward_pass(reentrant):
    calls = []

    def f(x):
        calls.append(facula.is_grad_enabled())
        return x.exp()

    x = facula.ones(2, requires_grad=True)
    y = checkpoint(f, x, use_reentrant=reentrant)
    assert len(calls) == 1
    y.sum().backward()
    assert len(calls) == 2
    np.testing.assert_allclose(x.grad.numpy(), np.exp(np.ones(2)), rtol=1e-6)
    with facula.no_grad():
        assert not checkpoint(f, x, use_reentrant=reentrant).requires_grad


def test_by_what_the_function_closes_over():
    """Inner tensors of the tape, leaves that are no arguments, and keywords."""
    w = facula.tensor([2.0, 3.0], requires_grad=True)
    x = facula.tensor([1.0, 4.0], requires_grad=True)
    inner = x * x

    def f(scale, *, more):
        a, b = inner.chunk(2)
        return {"y": (inner * w * scale).sin(), "n": 3, "z": [more * w, a + b]}

    def results(run):
        w.grad = x.grad = None
        out = run()
        (out["y"].sum() + 2 * out["z"][0].sum() + out["z"][1].sum()).backward(retain_graph=True)
        assert out["n"] == 3
        return w.grad.numpy(), x.grad.numpy()

    plain = results(lambda: f(0.5, more=x))
    again = results(lambda: checkpoint(f, 0.5, more=x, use_reentrant=False))
    for a, b in zip(plain, again, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6)


def test_nested():
    def inner(x):
        return checkpoint(lambda v: v.sin(), x, use_reentrant=False) * x

    x = facula.linspace(0, 1, 5).requires_grad_()
    checkpoint(inner, x, use_reentrant=False).sum().backward()
    v = np.linspace(0, 1, 5)
    np.testing.assert_allclose(x.grad.numpy(), np.cos(v) * v + np.sin(v), rtol=1e-5)


def test_second_derivatives():
    x = facula.tensor([0.3, 0.7], dtype=facula.float64, requires_grad=True)
    y = checkpoint(lambda v: (v * v).sin(), x * 1.0, use_reentrant=False)
    g, = facula.autograd.grad(y.sum(), x, create_graph=True)
    h, = facula.autograd.grad(g.sum(), x)
    v = x.detach().numpy()
    np.testing.assert_allclose(h.numpy(), 2 * np.cos(v * v) - 4 * v * v * np.sin(v * v), rtol=1e-9)


def test_arguments_written_in_place_afterwards():
    x = facula.ones(3, requires_grad=True)
    h = x * 2
    y = checkpoint(lambda v: v * v, h, use_reentrant=False)
    h.mul_(100.0)
    y.sum().backward()
    np.testing.assert_array_equal(x.grad.numpy(), 8 * np.ones(3))


def test_a_training_loop_with_many_parts():
    """The backward pass is replayed (autograd/partial.py) where it has been seen before."""
    def train(wrapped):
        facula.manual_seed(1)
        net = facula.nn.ModuleList([facula.nn.Linear(4, 4) for _ in range(4)])
        opt, losses = facula.optim.SGD(net.parameters(), 0.1), []
        for _ in range(6):
            h = facula.ones(2, 4)
            for layer in net:
                h = wrapped(lambda v, layer=layer: layer(v).tanh(), h)
            loss = ((h - 0.5) ** 2).mean()
            opt.zero_grad()
            loss.backward()
            opt.step()
            losses.append(loss.item())
        return losses

    np.testing.assert_allclose(train(lambda f, x: checkpoint(f, x, use_reentrant=False)), train(lambda f, x: f(x)),
                               rtol=1e-6)


def test_twice_over_the_same_graph():
    x = facula.ones(2, requires_grad=True)
    y = checkpoint(lambda v: v.exp(), x, use_reentrant=False).sum()
    y.backward(retain_graph=True)
    y.backward()
    np.testing.assert_allclose(x.grad.numpy(), 2 * np.exp(np.ones(2)), rtol=1e-6)


def test_another_second_run_is_an_error():
    shapes = iter([2, 3])
    x = facula.ones(4, requires_grad=True)
    y = checkpoint(lambda v: v[:next(shapes)] * 1.0, x, use_reentrant=False)
    with pytest.raises(CheckpointError, match="different metadata"):
        y.sum().backward()


def test_contexts_of_both_runs():
    seen = []

    class Noted:
        def __init__(self, name):
            self.name = name

        def __enter__(self):
            seen.append(self.name)

        def __exit__(self, *exc):
            pass

    x = facula.ones(2, requires_grad=True)
    checkpoint(lambda v: v * 2, x, use_reentrant=False, context_fn=lambda: (Noted("a"), Noted("b"))).sum().backward()
    assert seen == ["a", "b"]


def test_bad_arguments():
    x = facula.ones(2, requires_grad=True)
    with pytest.raises(ValueError, match="Unexpected keyword"):
        checkpoint(lambda v: v, x, use_reentrant=True, other=1)
    with pytest.raises(ValueError, match="determinism_check"):
        checkpoint(lambda v: v, x, use_reentrant=False, determinism_check="x")
    with pytest.warns(UserWarning, match="use_reentrant"):
        checkpoint(lambda v: v * 1, x)
    with pytest.raises(NotImplementedError, match="not in Facula yet"):
        module.create_selective_checkpoint_contexts([])


def test_examples():
    said, count = docstrings.failures(module)
    assert not said and count, said
    assert not docstrings.undocumented(module, [n for n in module.__all__ if n != "SAC_IGNORED_OPS"])
