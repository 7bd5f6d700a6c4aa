"""Hooks on steps of the tape, on the ends of it and on several tensors: what they are given and may return."""

import pytest

import facula
from facula.autograd import grad, graph


def leaf(*values):
    return facula.tensor(list(values), requires_grad=True)


def test_what_a_hook_returns_is_as_many_gradients():
    x, w = leaf(1.0, 2.0), leaf(3.0, 4.0)

    def gradients(pre=None, post=None):
        y = x * w
        if pre:
            y.grad_fn.register_prehook(pre)
        if post:
            y.grad_fn.register_hook(post)
        return [None if g is None else g.tolist() for g in grad(y.sum(), [x, w], allow_unused=True)]

    assert gradients(post=lambda gi, go: (gi[0] * 2, None)) == [[6.0, 8.0], None]
    assert gradients(pre=lambda go: (go[0] * 2,)) == [[6.0, 8.0], [2.0, 4.0]]
    with pytest.raises(RuntimeError, match=r"incorrect number of values \(got 1, but expected 2\)"):
        gradients(post=lambda gi, go: (gi[0],))
    with pytest.raises(TypeError, match="expected tuple, but hook returned 'Tensor'"):
        gradients(post=lambda gi, go: gi[0])
    with pytest.raises(RuntimeError, match=r"incorrect number of values \(got 2, but expected 1\)"):
        gradients(pre=lambda go: (go[0], go[0]))
    with pytest.raises(TypeError, match="expected tuple"):
        gradients(pre=lambda go: go[0])


@pytest.mark.parametrize("place", ["leaf", "inner"])
def test_a_tensors_hook_keeps_shape_and_type(place):
    for answer, error, words in ((lambda g: g.double(), RuntimeError, "type of value .was torch.FloatTensor got"),
                                 (lambda g: g[:1], RuntimeError, "changed the size"),
                                 (lambda g: 3, TypeError, "hook returned 'int'")):
        x = leaf(1.0, 2.0)
        y = x * 2
        (x if place == "leaf" else y).register_hook(answer)
        with pytest.raises(error, match=words):
            y.sum().backward()
        assert x.grad is None


def test_the_end_of_the_tape_is_a_step_with_hooks():
    x = leaf(1.0, 2.0)
    y, z = x * 2, x * 3
    end = y.grad_fn.next_functions[0][0]
    assert end is z.grad_fn.next_functions[0][0] is graph.get_gradient_edge(x).node
    assert end.variable is x
    calls = []
    handles = [end.register_hook(lambda gi, go: calls.append(("after", gi, go[0].tolist(), x.grad.tolist()))),
               end.register_prehook(lambda go: (go[0] * 10,)),
               x.register_post_accumulate_grad_hook(lambda t: calls.append("added"))]
    del end
    y.sum().backward()
    assert x.grad.tolist() == [20.0, 20.0]
    assert calls == ["added", ("after", (), [20.0, 20.0], [20.0, 20.0])]
    assert grad(z.sum(), x, retain_graph=True)[0].tolist() == [3.0, 3.0]  # nothing is added, so nobody is called
    for handle in handles:
        handle.remove()
    z.sum().backward()
    assert len(calls) == 2
    assert x.grad.tolist() == [23.0, 23.0]


def test_edges_stand_for_tensors():
    x = leaf(1.0, 2.0)
    y = x * 3
    middle, start = graph.get_gradient_edge(y), graph.get_gradient_edge(x)
    out = (y * y).sum()
    assert [g.tolist() for g in grad(out, [middle, start], retain_graph=True)] == [[6.0, 12.0], [18.0, 36.0]]
    assert grad([middle], [x], [facula.ones(2)])[0].tolist() == [3.0, 3.0]
    parts = graph.get_gradient_edge(facula.linalg.qr(facula.eye(2) * x)[1])
    assert parts.output_nr == 1
    with pytest.raises(RuntimeError, match="get the gradient edge"):
        graph.get_gradient_edge(facula.ones(2))


def test_one_hook_of_several_tensors():
    x, w, u = leaf(1.0, 2.0), leaf(3.0, 4.0), leaf(5.0, 6.0)
    seen = []
    handle = graph.register_multi_grad_hook(
        (x, w, u), lambda gs: seen.append([None if g is None else g.tolist() for g in gs]))
    (x * w).sum().backward()
    (x * w + u).sum().backward()
    u.sum().backward()
    assert seen == [[[3.0, 4.0], [1.0, 2.0], None], [[3.0, 4.0], [1.0, 2.0], [1.0, 1.0]], [None, None, [1.0, 1.0]]]
    handle.remove()
    u.sum().backward()
    assert len(seen) == 3


def test_one_hook_of_inner_tensors_and_of_the_first():
    x = leaf(1.0, 2.0)
    a, b = x * 2, x * 3
    seen, firsts = [], []
    graph.register_multi_grad_hook((a, b), lambda gs: seen.append([None if g is None else g.tolist() for g in gs]))
    graph.register_multi_grad_hook((a, b), lambda g: firsts.append(g.tolist()), mode="any")
    (a * b).sum().backward(retain_graph=True)
    a.sum().backward(retain_graph=True)
    grad((a * b).sum(), a)
    assert seen == [[[3.0, 6.0], [2.0, 4.0]], [[1.0, 1.0], None], [[3.0, 6.0], None]]
    assert len(firsts) == 3
    with pytest.raises(ValueError, match="'all', 'any'"):
        graph.register_multi_grad_hook((a,), print, mode="some")
    assert graph.mode.task is None


def test_a_failed_pass_leaves_no_trace():
    x = leaf(1.0, 2.0)
    y = x * 2

    def bad(g):
        raise ValueError("no")

    handle = y.register_hook(bad)
    for call in (lambda: y.sum().backward(), lambda: grad(y.sum(), x)):
        with pytest.raises(ValueError, match="no"):
            call()
        assert graph.mode.task is None
    handle.remove()
    y.sum().backward()
    assert x.grad.tolist() == [2.0, 2.0]


def test_gradients_that_are_given():
    x = leaf(1.0, 2.0)
    y = x * 2
    for given in (facula.ones(2, dtype=facula.int64), facula.ones(2, dtype=facula.float64)):
        found = grad(y, x, given, retain_graph=True)[0]
        assert (found.dtype, found.tolist()) == (facula.float32, [2.0, 2.0])
    with pytest.raises(RuntimeError, match="`inputs` argument to `grad"):
        grad(y.sum(), [])
    with pytest.raises(RuntimeError, match=r"grad_output\[0\] has a shape of torch.Size\(\[\]\)"):
        grad(y, x, facula.ones(2), is_grads_batched=True)
    with pytest.raises(RuntimeError, match="only for scalar outputs"):
        grad(y, x, is_grads_batched=True)
    with pytest.raises(RuntimeError, match="retain_grad"):
        facula.autograd.backward(y.sum(), inputs=[facula.ones(1)])
    facula.autograd.backward((y * y).sum(), inputs=[y])
    assert y.grad.tolist() == [4.0, 8.0]
    assert y.retains_grad
    assert x.grad is None


def test_dirty_arguments_are_results():
    class Writes(facula.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            ctx.mark_dirty(x)
            return x.mul_(2) * 1

        @staticmethod
        def backward(ctx, g):
            return g

    with pytest.raises(RuntimeError, match="not returned as output"):
        Writes.apply(leaf(1.0) * 1)


def test_versions_and_contexts_of_saved_tensors():
    x = facula.ones(2)
    graph.increment_version(x)
    graph.increment_version([x, x])
    assert x._version == 3
    w = leaf(1.0, 2.0)
    with graph.allow_mutation_on_saved_tensors():
        y = w * 1
        z = y * y
        y.zero_()
    z.sum().backward()
    assert w.grad.tolist() == [2.0, 4.0]



class Square(facula.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x * x

    @staticmethod
    def backward(ctx, g):
        return g * 2 * ctx.saved_tensors[0]


def test_passes_within_hooks_keep_to_themselves():
    z = leaf(1.0, 2.0)

    @facula.enable_grad()
    def another(g=None):
        Square.apply(z * 2).sum().backward()

    for _ in range(5):
        another()  # by now it is replayed
    x, w = leaf(1.0, 2.0), leaf(1.0, 2.0)
    for _ in range(3):
        a, seen = x * 2, []
        handle = graph.register_multi_grad_hook((a, x, w), lambda gs, seen=seen: seen.append(len(gs)))
        y = a * a
        y.register_hook(another)
        (y * w).sum().backward()
        handle.remove()
        assert seen == [3]
        assert graph.mode.task is None
    assert z.grad.tolist() == [64.0, 128.0]


def test_a_gradient_that_is_none_runs_hooks():
    class Nothing(facula.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x * 1

        @staticmethod
        def backward(ctx, g):
            return None

    w, seen = leaf(1.0, 2.0), []
    y = w * 2
    y.register_hook(lambda g: seen.append(("tensor", g)))
    y.grad_fn.register_prehook(lambda gs: seen.append(("pre", gs)))
    y.grad_fn.register_hook(lambda inputs, outputs: seen.append(("post", inputs[0], outputs)))
    w.register_hook(lambda g: seen.append(("leaf", g)))
    w.register_post_accumulate_grad_hook(lambda t: seen.append(("accumulated", t is w)))
    Nothing.apply(y).sum().backward()
    assert seen == [("tensor", None), ("pre", (None,)), ("post", None, (None,)), ("leaf", None), ("accumulated", True)]
    assert w.grad is None
    (Nothing.apply(y) + y).sum().backward()
    assert w.grad.tolist() == [2.0, 2.0]


def test_one_of_several_results_without_a_gradient():
    class Two(facula.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            ctx.set_materialize_grads(False)
            return x * 1, x * 2

        @staticmethod
        def backward(ctx, g, h):
            seen.append((g is None, h is None))
            return g

    w, seen = leaf(1.0, 2.0), []
    a, b = Two.apply(w)
    b.register_hook(lambda g: seen.append(g))
    a.sum().backward()
    assert seen == [None, (False, True)] and w.grad.tolist() == [1.0, 1.0]
