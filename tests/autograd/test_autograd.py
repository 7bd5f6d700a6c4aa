"""Autograd against torch: random graphs, hooks, in-place writes, views, double backward, Functions, errors."""

import random

import numpy as np
import pytest

import facula
from nn_oracle import fails_alike


def values(t):
    return None if t is None else t.detach().numpy().copy()


def same(oracle, run):
    """`run(module)` gives a list of tensors: those of facula and torch agree."""
    mine, theirs = oracle.both(run)
    assert len(mine) == len(theirs)
    for a, b in zip(mine, theirs, strict=True):
        assert (a is None) == (b is None)
        if a is not None:
            assert a[1].shape == b[1].shape
            np.testing.assert_allclose(a[1], b[1], rtol=1e-9, atol=1e-12)


def leaf(m, *shape, seed=0, grad=True):
    x = np.random.default_rng(seed).standard_normal(shape)
    return m.tensor(x.tolist(), dtype=m.float64, requires_grad=grad)


@pytest.mark.parametrize("seed", range(25))
def test_random_graphs(oracle, seed):
    def run(m):
        choose = random.Random(seed)
        pool = [leaf(m, 3, 4, seed=k) for k in range(3)] + [leaf(m, 4, seed=9), leaf(m, 3, 1, seed=8)]
        leaves = list(pool)
        for _ in range(20):
            a, b = choose.choice(pool), choose.choice(pool)
            kind = choose.randrange(10)
            if kind == 0:
                c = a + b
            elif kind == 1:
                c = a * b
            elif kind == 2:
                c = a - b * 2
            elif kind == 3:
                c = a.tanh()
            elif kind == 4:
                c = a / (1 + b * b)
            elif kind == 5:
                c = a.sum(-1, keepdim=True) * 0.1
            elif kind == 6:
                c = a.sigmoid().reshape(-1)[:3].reshape(3, 1) if a.numel() >= 3 else a
            elif kind == 7:
                c = a.exp().clamp(max=2.0)
            elif kind == 8:
                c = m.where(a > 0, a, b)
            else:
                c = (a * a).mean(0, keepdim=True)
            pool.append(c)
        loss = sum((p.tanh().sum() for p in pool[5:]), 0.0)
        loss.backward()
        return [loss] + [x.grad for x in leaves]
    same(oracle, run)


@pytest.mark.parametrize("seed", range(6))
def test_double_backward(oracle, seed):
    def run(m):
        x, w = leaf(m, 3, 4, seed=seed), leaf(m, 4, 2, seed=seed + 1)
        y = (x @ w).tanh()
        gx, gw = m.autograd.grad((y * y).sum(), (x, w), create_graph=True)
        ((gx.pow(2).sum() + (gw * gw * gw).sum()) * 0.5).backward()
        return [gx, gw, x.grad, w.grad]
    same(oracle, run)


def test_grad_of_intermediates_and_unused(oracle):
    def run(m):
        x, z = leaf(m, 3), leaf(m, 2, seed=1)
        y = x * x
        u = y.exp().sum()
        found = m.autograd.grad(u, (y, x, z), allow_unused=True, retain_graph=True)
        zeros = m.autograd.grad(u, (z, y), materialize_grads=True)
        return [*found, *zeros, x.grad]
    same(oracle, run)


def test_multi_output_steps(oracle):
    def run(m):
        x = leaf(m, 6)
        a, b, c = x.split(2)
        (a * 2 + c * c).sum().backward()
        return [x.grad]
    same(oracle, run)


def test_accumulation_is_in_place(libraries):
    for m in libraries:
        x = leaf(m, 3)
        (x * 2).sum().backward()
        held = x.grad
        (x * 3).sum().backward()
        assert x.grad is held
        assert held.tolist() == [5.0] * 3
        g = m.ones(3, dtype=m.float64)
        x.grad = None
        x.backward(g)
        x.grad.mul_(7)
        assert g.tolist() == [1.0] * 3


def test_backward_inputs(oracle):
    def run(m):
        x, y = leaf(m, 3), leaf(m, 3, seed=1)
        z = x * y
        (z * x).sum().backward(inputs=[x])
        return [x.grad, y.grad]
    same(oracle, run)


def test_is_grads_batched(oracle):
    def run(m):
        x = leaf(m, 3)
        return list(m.autograd.grad(x * x, x, m.eye(3, dtype=m.float64), is_grads_batched=True))
    same(oracle, run)


def test_hooks(oracle):
    def run(m):
        x = leaf(m, 3)
        seen = []
        y = x * x
        y.retain_grad()
        y.register_hook(lambda g: seen.append(g * 1))
        y.register_hook(lambda g: g * 2)
        gone = y.register_hook(lambda g: g * 100)
        gone.remove()
        x.register_hook(lambda g: g + 1)
        x.register_post_accumulate_grad_hook(lambda t: seen.append(t.grad * 1))
        z = y * 3
        z.grad_fn.register_hook(lambda gi, go: seen.append(go[0] * 1))
        z.grad_fn.register_prehook(lambda go: (go[0] * 10,))
        z.sum().backward()
        return [*seen, x.grad, y.grad]
    same(oracle, run)


def test_node_hook_replaces_gradients(oracle):
    def run(m):
        x = leaf(m, 3)
        z = x.exp()
        z.grad_fn.register_hook(lambda gi, go: (gi[0] * 10,))
        z.sum().backward()
        return [x.grad]
    same(oracle, run)


def test_value_saved_before_an_in_place_write():
    x = leaf(facula, 3)
    y = x.exp()
    z = y * y
    y.mul_(0)  # torch refuses; here the gradient is that of the values used
    z.sum().backward()
    np.testing.assert_allclose(values(x.grad), 2 * np.exp(2 * values(x)), rtol=1e-9)


def test_in_place_on_views(oracle):
    def run(m):
        x, v = leaf(m, 3, 4), leaf(m, 4, seed=1)
        y = x * 2
        row = y[1]
        row.mul_(v)
        y[:, 0] = v[:3]
        y[2].add_(1)
        (y * y).sum().backward()
        return [y, row, x.grad, v.grad]
    same(oracle, run)


def test_in_place_on_a_base_seen_through_a_view(oracle):
    def run(m):
        x = leaf(m, 3, 4)
        y = x * 2
        part = y.view(-1)[2:7]
        y.mul_(y.detach() + 1)
        (part * part).sum().backward()
        return [part, x.grad]
    same(oracle, run)


def test_in_place_chain(oracle):
    def run(m):
        x, w = leaf(m, 3), leaf(m, 3, seed=3)
        y = x.clone()
        y += w
        y *= w
        y.add_(x)
        y.sum().backward()
        return [y, x.grad, w.grad]
    same(oracle, run)


def test_errors_are_torchs(oracle):
    fails_alike(oracle, lambda m: (leaf(m, 3) * 2).backward())
    fails_alike(oracle, lambda m: leaf(m, 3, grad=False).sum().backward())
    fails_alike(oracle, lambda m: m.autograd.grad(leaf(m, 3).sum(), leaf(m, 2)))
    fails_alike(oracle, lambda m: m.autograd.grad(leaf(m, 3).sum(), leaf(m, 2, grad=False)))
    fails_alike(oracle, lambda m: (leaf(m, 3) * 2).backward(m.ones(2)))
    fails_alike(oracle, lambda m: leaf(m, 3).add_(1))
    fails_alike(oracle, lambda m: leaf(m, 3)[0].add_(1))
    fails_alike(oracle, lambda m: leaf(m, 3, grad=False).register_hook(print))
    fails_alike(oracle, lambda m: leaf(m, 3, grad=False).retain_grad())
    fails_alike(oracle, lambda m: (leaf(m, 3) * 2).register_post_accumulate_grad_hook(print))

    def twice(m):
        y = leaf(m, 3).exp().sum()
        y.backward()
        y.backward()
    fails_alike(oracle, twice)


def test_modes(libraries):
    for m in libraries:
        x = leaf(m, 2)
        with m.no_grad():
            assert not m.is_grad_enabled()
            assert not (x * 2).requires_grad
            with m.enable_grad():
                assert (x * 2).requires_grad
            assert not m.is_grad_enabled()
        assert m.is_grad_enabled()

        @m.no_grad()
        def plain(t):
            return t * 2

        @m.no_grad
        def bare(t):
            return t * 2

        @m.no_grad()
        def items(t):
            got = yield t * 2
            assert not m.is_grad_enabled()
            yield t * got
        assert not plain(x).requires_grad and not bare(x).requires_grad
        assert plain.__name__ == "plain"
        it = items(x)
        assert not next(it).requires_grad
        assert m.is_grad_enabled()
        assert not it.send(3.0).requires_grad
        m.set_grad_enabled(False)
        assert not m.is_grad_enabled()
        m.set_grad_enabled(True)
        with m.set_grad_enabled(False):
            assert not m.is_grad_enabled()
        assert m.is_grad_enabled()
        with m.inference_mode():
            assert m.is_inference_mode_enabled() and not m.is_grad_enabled()
        with m.inference_mode(False):
            assert m.is_grad_enabled()

        @m.set_grad_enabled(False)
        def off():
            return m.is_grad_enabled()
        assert m.is_grad_enabled() and off() is False

        @m.inference_mode()
        def inferring():
            return m.is_inference_mode_enabled()
        assert inferring() and not m.is_inference_mode_enabled()
        with pytest.raises(ZeroDivisionError), m.no_grad():
            1 / 0  # noqa: B018
        assert m.is_grad_enabled()


def test_anomaly(libraries):
    for m in libraries:
        x = m.zeros(2, requires_grad=True)
        with m.autograd.detect_anomaly(), pytest.raises(RuntimeError, match="returned nan values"):
            (x.sqrt() * 0).sum().backward()


# ---- Function ------------------------------------------------------------------------------------------


def functions(m):
    class Mul(m.autograd.Function):
        @staticmethod
        def forward(ctx, a, b, scale):
            ctx.save_for_backward(a, b)
            ctx.scale = scale
            return a * b * scale

        @staticmethod
        def backward(ctx, g):
            a, b = ctx.saved_tensors
            return (g * b * ctx.scale if ctx.needs_input_grad[0] else None,
                    g * a * ctx.scale if ctx.needs_input_grad[1] else None, None)

    class Exp(m.autograd.Function):
        @staticmethod
        def forward(x):
            return x.exp()

        @staticmethod
        def setup_context(ctx, inputs, output):
            ctx.save_for_backward(output)

        @staticmethod
        def backward(ctx, g):
            y, = ctx.saved_tensors
            return g * y

    class Two(m.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            big = x > 0
            ctx.mark_non_differentiable(big)
            return x * 2, x * x, big

        @staticmethod
        def backward(ctx, a, b, c):
            return a * 2 + b * 5

    class Raw(m.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            ctx.set_materialize_grads(False)
            return x * 2, x * 3

        @staticmethod
        def backward(ctx, a, b):
            assert b is None
            return a * 2

    class Dirty(m.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            x.mul_(2)
            ctx.mark_dirty(x)
            return x

        @staticmethod
        def backward(ctx, g):
            return g * 2

    class Same(m.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x

        @staticmethod
        def backward(ctx, g):
            return g * 4

    class Wrong(m.autograd.Function):
        @staticmethod
        def forward(ctx, x, y):
            return x * y

        @staticmethod
        def backward(ctx, g):
            return g

    class BadShape(m.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x * 2

        @staticmethod
        def backward(ctx, g):
            return g[:2]

    class Once(m.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            ctx.save_for_backward(x)
            return x * x

        @staticmethod
        @m.autograd.function.once_differentiable
        def backward(ctx, g):
            return g * 2 * ctx.saved_tensors[0]

    return {f.__name__: f for f in (Mul, Exp, Two, Raw, Dirty, Same, Wrong, BadShape, Once)}


def test_function_gradients(oracle):
    def run(m):
        f = functions(m)
        x, w = leaf(m, 3), leaf(m, 3, seed=1, grad=False)
        y = f["Mul"].apply(x, w, 2.0)
        assert y.grad_fn.name() == "MulBackward"
        assert y.grad_fn.needs_input_grad == (True, False, False)
        assert y.grad_fn.scale == 2.0
        z = f["Exp"].apply(y)
        a, b, big = f["Two"].apply(z)
        assert not big.requires_grad
        c, _ = f["Raw"].apply(a)
        s = f["Same"].apply(c)
        assert s is not c
        s.sum().backward()
        return [y, z, s, x.grad]
    same(oracle, run)


def test_function_double_backward(oracle):
    def run(m):
        f = functions(m)
        x = leaf(m, 3)
        y = f["Exp"].apply(f["Mul"].apply(x, x, 0.5))
        g, = m.autograd.grad(y.sum(), x, create_graph=True)
        g2, = m.autograd.grad(g.sum(), x, create_graph=True)
        g3, = m.autograd.grad(g2.sum(), x)
        return [g, g2, g3]
    same(oracle, run)


def test_function_writes_its_input(oracle):
    def run(m):
        f = functions(m)
        x = leaf(m, 3)
        y = x * 3
        z = f["Dirty"].apply(y)
        assert z is y
        y2 = x * 5
        f["Dirty"].apply(y2[1:])
        (z * z + y2).sum().backward()
        return [z, y2, x.grad]
    same(oracle, run)
    fails_alike(oracle, lambda m: functions(m)["Dirty"].apply(leaf(m, 3)))


def test_function_errors(oracle):
    fails_alike(oracle, lambda m: functions(m)["Wrong"].apply(leaf(m, 3), leaf(m, 3)).sum().backward())
    fails_alike(oracle, lambda m: functions(m)["BadShape"].apply(leaf(m, 3)).sum().backward())

    def twice(m):
        x = leaf(m, 3)
        g, = m.autograd.grad(functions(m)["Once"].apply(x).sum(), x, create_graph=True)
        g.sum().backward()
    fails_alike(oracle, twice)


def test_function_without_grad(libraries):
    for m in libraries:
        f = functions(m)
        assert not f["Mul"].apply(leaf(m, 3, grad=False), leaf(m, 3, grad=False), 1.0).requires_grad
        with m.no_grad():
            assert not f["Mul"].apply(leaf(m, 3), leaf(m, 3), 1.0).requires_grad


def test_saved_value_survives_a_write():
    f = functions(facula)
    x = leaf(facula, 3)
    y = x * 1
    before = values(y)
    z = f["Mul"].apply(y, y, 1.0)
    y.zero_()
    z.sum().backward()
    np.testing.assert_allclose(values(x.grad), 2 * before)


def test_variable(libraries):
    for m in libraries:
        x = m.ones(2)
        v = m.autograd.Variable(x, requires_grad=True)
        assert isinstance(v, m.autograd.Variable) and isinstance(x, m.autograd.Variable)
        assert v.requires_grad and v.is_leaf and not x.requires_grad
        v.data[0] = 5
        assert x.tolist() == [5.0, 1.0]


# ---- checks and functional -----------------------------------------------------------------------------


def test_gradcheck(libraries):
    for m in libraries:
        f = functions(m)
        x, w = leaf(m, 3), leaf(m, 3, seed=1)
        assert m.autograd.gradcheck(lambda a, b: (a * b).tanh(), (x, w))
        assert m.autograd.gradgradcheck(lambda a, b: (a * b).tanh(), (x, w))
        assert m.autograd.gradcheck(f["Mul"].apply, (x, w, 2.0))
        with pytest.raises(RuntimeError, match="Jacobian mismatch"):
            m.autograd.gradcheck(lambda a, f=f: f["Two"].apply(a)[1], (x,))
        assert not m.autograd.gradcheck(lambda a, f=f: f["Two"].apply(a)[1], (x,), raise_exception=False)


def test_functional(oracle):
    def run(m):
        F = m.autograd.functional
        x, v, u = leaf(m, 3, grad=False), leaf(m, 3, seed=1, grad=False), leaf(m, 2, seed=2, grad=False)

        def vector(a, b):
            return a.exp().sum() * b, a * 3

        def scalar(a):
            return (a.tanh() * a.pow(3)).sum()
        table = F.jacobian(vector, (x, u))
        out = [table[0][0], table[0][1], table[1][0], table[1][1], F.hessian(scalar, x)]
        out += F.vhp(scalar, x, v)
        out += F.hvp(scalar, x, v)
        out += F.vjp(lambda a: a.exp(), x, v)
        out += F.jvp(lambda a: a.exp() * a.sum(), x, v)
        rows = F.hessian(lambda a, b: (a.sum() * b.exp()).sum(), (x, u))
        out += [rows[0][0], rows[0][1], rows[1][0], rows[1][1]]
        return out
    same(oracle, run)


def test_a_long_chain():
    x = leaf(facula, 2)
    y = x
    for _ in range(20000):
        y = y + 1.0
    y.sum().backward()
    assert x.grad.tolist() == [1.0, 1.0]
    del y


def test_hooks_must_return_gradients(libraries):
    for m in libraries:
        hooks_must_return_gradients(m)


def hooks_must_return_gradients(m):
    x = m.ones(2, requires_grad=True)
    y = x * 1
    y.register_hook(lambda g: 5)
    with pytest.raises(TypeError, match="expected Variable, but hook returned 'int'"):
        y.sum().backward()
    x.register_post_accumulate_grad_hook(lambda t: t)
    (x * 2).sum().backward()
    x.register_post_accumulate_grad_hook(lambda t: t.grad)
    with pytest.raises(RuntimeError, match="should return None"):
        (x * 2).sum().backward()
    z = m.ones(2, requires_grad=True)
    z.register_post_accumulate_grad_hook(lambda t: 5)
    with pytest.raises(TypeError, match="expected Variable, but hook returned 'int'"):
        (z * 2).sum().backward()


def test_what_is_no_number_is_refused(libraries):
    for m in libraries:
        what_is_no_number_is_refused(m)


def what_is_no_number_is_refused(m):
    for data in ({}, {1: 2}, [{}]):
        with pytest.raises(RuntimeError, match="Could not infer dtype of dict"):
            m.tensor(data)
    assert float(m.tensor(2 + 0j)) == 2.0 and int(m.tensor(2 + 0j)) == 2
    for convert in (int, float):
        with pytest.raises(RuntimeError, match="without overflow"):
            convert(m.tensor(2 + 1j))
