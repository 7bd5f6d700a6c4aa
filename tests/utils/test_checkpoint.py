"""`utils.checkpoint`: gradients as without it, random numbers kept, both forms."""

import functools
import gc

import numpy as np
import pytest

import docstrings
import facula
from facula.autograd.graph import Saved
from facula.engine.graph.node import Node
from facula.utils import checkpoint as module
from facula.utils.checkpoint import CheckpointError, checkpoint, checkpoint_sequential, recomputing


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
        return (x * drawn[-1]).exp()  # what saves nothing is not run again

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
    y = checkpoint(lambda v: v[:next(shapes)].exp(), x, use_reentrant=False)
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
    checkpoint(lambda v: v.exp(), x, use_reentrant=False, context_fn=lambda: (Noted("a"), Noted("b"))).sum().backward()
    assert seen == ["a", "b"]


def test_bad_arguments():
    x = facula.ones(2, requires_grad=True)
    with pytest.raises(ValueError, match="Unexpected keyword"):
        checkpoint(lambda v: v, x, use_reentrant=True, other=1)
    with pytest.raises(ValueError, match="determinism_check"):
        checkpoint(lambda v: v, x, use_reentrant=False, determinism_check="x")
    with pytest.warns(UserWarning, match="use_reentrant"):
        checkpoint(lambda v: v * 1, x)
    with pytest.raises(ValueError, match="OpOverload"):
        module.create_selective_checkpoint_contexts([facula.mm])
    with pytest.raises(TypeError, match="list of ops"):
        module.create_selective_checkpoint_contexts(3)


# ---- what the second run does ---------------------------------------------------------------------------------------


def leaf():
    return facula.ones(2, 3, requires_grad=True)


def marked(marks):
    def f(x):
        marks.append("a")
        y = x.exp()
        marks.append("b")
        return y.sum()
    return f


def test_the_second_run_ends_with_the_last_value():
    marks = []
    checkpoint(marked(marks), leaf(), use_reentrant=False).backward()
    assert marks == ["a", "b", "a"]
    marks.clear()
    checkpoint(marked(marks), leaf(), use_reentrant=False, early_stop=False).backward()
    assert marks == ["a", "b", "a", "b"]
    marks.clear()
    with module.set_checkpoint_early_stop(False):
        y = checkpoint(marked(marks), leaf(), use_reentrant=False)
    y.backward()
    assert marks == ["a", "b", "a", "b"]


def test_steps_on_the_tape_are_the_function_s_own_and_hold_no_values():
    x = leaf()
    seen = []

    def f(v):
        y = v * v
        y.register_hook(lambda g: seen.append("hook"))
        return y.exp().sum()

    out = checkpoint(f, x, use_reentrant=False)
    assert out.grad_fn.name() == "SumBackward0"
    stack = [out.grad_fn]
    count = 0
    while stack:
        step = stack.pop()
        for saved in getattr(step, "_saved", None) or ():
            if isinstance(saved, Saved):
                assert saved.node is None
                count += 1
        stack += [s for s, _ in step.next_functions if s is not None]
    assert count == 3
    out.backward()
    assert seen == ["hook"]


def test_values_are_dropped_as_they_are_used():
    """The second run's values are gone when the pass is over, also if the graph is retained."""
    x = leaf()
    frames = []
    first = recomputing.Frame.first

    def noted(self, *given):
        frames.append(self)
        return first(self, *given)

    recomputing.Frame.first = noted
    try:
        out = checkpoint(lambda v: (v * v).exp().sin().sum(), x, use_reentrant=False)
    finally:
        recomputing.Frame.first = first
    left = []
    x.register_hook(lambda g: left.append([len(values) for values in frames[0].values.values()]))
    out.backward(retain_graph=True)
    gc.collect()
    assert left == [[0]] and len(frames[0].values) == 0


@pytest.mark.usefixtures("heap_of_its_own")
@pytest.mark.parametrize("reentrant", [True, False])
def test_one_part_s_values_are_gone_before_the_next_part_s_are_there(reentrant):
    counts = []

    def part(x):
        gc.collect()
        counts.append(sum(type(o) is Node and o.shape == (53,) for o in gc.get_objects()))
        return x.sin().exp().cos().tanh() * 2

    h = facula.linspace(0, 1, 53).requires_grad_() * 1
    for _ in range(5):
        h = checkpoint(part, h, use_reentrant=reentrant)
    h.sum().backward()
    second = counts[5:]
    assert len(second) == 5 and max(second) <= 10, counts  # arguments, gradients: not five values for each part


def test_what_differs_in_the_second_run():
    runs = iter(range(20))

    def fewer(v):
        return v.exp().sin().sum() if next(runs) % 2 == 0 else v.exp().sum()

    def more(v):
        return v.exp().sum() if next(runs) % 2 == 0 else v.exp().sin().sum()

    with pytest.raises(CheckpointError, match=r"(?s)saved during forward: 2.*saved during recomputation: 1"):
        checkpoint(fewer, leaf(), use_reentrant=False).backward()
    checkpoint(more, leaf(), use_reentrant=False).backward()
    with pytest.raises(CheckpointError, match="trying to save more tensors"):
        checkpoint(more, leaf(), use_reentrant=False, early_stop=False).backward()
    with pytest.raises(CheckpointError, match=r"(?s)torch.sin.*recomputation"):
        checkpoint(fewer, leaf(), use_reentrant=False, debug=True).backward()


def test_saved_tensors_are_asked_for_once():
    class Twice(facula.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            ctx.save_for_backward(x)
            return x * x

        @staticmethod
        def backward(ctx, g):
            return g * ctx.saved_tensors[0] + g * ctx.saved_tensors[0]

    with pytest.raises(CheckpointError, match="already unpacked once"):
        checkpoint(lambda v: Twice.apply(v).sum(), leaf(), use_reentrant=False).backward()


def test_nested_runs_and_outer_hooks():
    marks = []
    x = leaf()

    def inner(v):
        marks.append("in")
        return v.tanh()

    def outer(v):
        marks.append("out")
        return checkpoint(inner, v * 2, use_reentrant=False).exp().sum()

    checkpoint(outer, x, use_reentrant=False).backward()
    assert marks == ["out", "in", "out", "in", "in"]
    np.testing.assert_allclose(x.grad.numpy(), 2 * (1 - np.tanh(2) ** 2) * np.exp(np.tanh(2)) * np.ones((2, 3)),
                               rtol=1e-5)
    packed = []
    with facula.autograd.graph.saved_tensors_hooks(lambda t: packed.append(t.shape) or t, lambda t: t):
        y = checkpoint(outer, x, use_reentrant=False)
    assert packed == [x.shape]  # the argument alone
    x.grad = None
    y.backward()
    assert x.grad is not None


def test_a_backward_pass_inside():
    def energy(v):
        e = v.sin().sum()
        force, = facula.autograd.grad(e, v, create_graph=True)
        return (force * v).sum()

    results = []
    for run in (energy, lambda v: checkpoint(energy, v, use_reentrant=False)):
        x = facula.linspace(0, 1, 5).requires_grad_()
        run(x).backward()
        results.append(x.grad.numpy())
    np.testing.assert_array_equal(*results)


def test_the_old_form_with_inputs_is_refused():
    x = leaf()
    with pytest.raises(RuntimeError, match="incompatible with .grad"):
        facula.autograd.grad(checkpoint(lambda v: v.exp().sum(), x, use_reentrant=True), x)
    with pytest.raises(RuntimeError, match="incompatible with .grad"):
        checkpoint(lambda v: v.exp().sum(), x, use_reentrant=True).backward(inputs=[x])


# ---- selective ------------------------------------------------------------------------------------------------------


def block():
    facula.manual_seed(3)
    return facula.nn.Sequential(facula.nn.Linear(3, 5), facula.nn.Tanh(), facula.nn.Softmax(-1), facula.nn.Dropout(0.3),
                                facula.nn.Linear(5, 2, bias=False), facula.nn.GELU())


@pytest.mark.parametrize("kept", [[], ["addmm"], ["addmm", "mm"], ["_softmax", "tanh"], ["native_dropout", "gelu"]])
def test_selective_gradients_are_the_same(kept):
    aten = facula.ops.aten
    contexts = functools.partial(module.create_selective_checkpoint_contexts, [getattr(aten, k).default for k in kept])
    results = []
    for run in (lambda net, x: net(x),
                lambda net, x: checkpoint(net, x, use_reentrant=False, context_fn=contexts)):
        net = block()
        x = facula.linspace(-1, 1, 12).reshape(4, 3).requires_grad_()
        facula.manual_seed(7)
        y = run(net, x)
        (y * y).sum().backward()
        results.append([y.detach().numpy(), x.grad.numpy(), *[p.grad.numpy() for p in net.parameters()]])
    for a, b in zip(*results, strict=True):
        np.testing.assert_array_equal(a, b)


def test_what_a_policy_is_told_and_what_it_may_say():
    told = []

    def policy(ctx, op, *args, **kwargs):
        told.append((str(op), ctx.is_recompute, tuple(ctx.op_output.shape)))
        return op is facula.ops.aten.mm.default

    contexts = functools.partial(module.create_selective_checkpoint_contexts, policy)
    net = block()
    checkpoint(net, facula.ones(4, 3, requires_grad=True), use_reentrant=False, context_fn=contexts).sum().backward()
    assert told == [("aten.addmm.default", False, (4, 5)), ("aten.tanh.default", False, (4, 5)),
                    ("aten._softmax.default", False, (4, 5)), ("aten.native_dropout.default", False, (4, 5)),
                    ("aten.mm.default", False, (4, 2)), ("aten.gelu.default", False, (4, 2))]
    contexts = functools.partial(module.create_selective_checkpoint_contexts, lambda *given: "yes")
    with pytest.raises(TypeError, match="CheckpointPolicy or a bool"):
        checkpoint(net, facula.ones(4, 3, requires_grad=True), use_reentrant=False, context_fn=contexts)


@pytest.mark.parametrize("listening", [False, True])
def test_a_kept_result_is_not_computed_again(listening):
    """The kept value is changed behind the program's back: the gradient is that of the changed one. Also where somebody
    listens to the whole program, so that the walk has a door."""
    somebody = facula.ones(1).as_subclass(type("Somebody", (facula.Tensor,), {
        "__torch_function__": classmethod(lambda cls, func, types, args=(), kwargs=None: NotImplemented)})
    ) if listening else None
    contexts = module.create_selective_checkpoint_contexts([facula.ops.aten.exp.default])
    x = facula.ones(2, requires_grad=True)
    y = checkpoint(lambda v: v.exp().sin().sum(), x, use_reentrant=False, context_fn=lambda: contexts)
    (entry,), = [list(calls.values()) for calls in contexts[1].kept.values()]
    entry[0].fill_(2.0)
    y.backward()
    np.testing.assert_allclose(x.grad.numpy(), np.cos(2.0) * 2.0 * np.ones(2), rtol=1e-6)
    del somebody


def test_examples():
    docstrings.check(module, least=1)
