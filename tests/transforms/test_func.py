"""facula.func and autograd.forward_ad: nested transforms, the tape across them, what they refuse."""

import gc

import numpy as np
import pytest

import facula
from facula import nn
from facula.autograd import forward_ad
from facula.engine.session import session
from facula.func import grad, grad_and_value, hessian, jacfwd, jacrev, jvp, vjp, vmap

F64 = facula.float64


def close(a, b, tolerance=1e-9):
    np.testing.assert_allclose(a.detach().numpy(), b.detach().numpy(), rtol=tolerance, atol=tolerance)


@pytest.fixture
def x():
    return facula.tensor([[0.3, -1.2, 2.0], [1.5, 0.7, -0.4]], dtype=F64)


@pytest.fixture
def t():
    return facula.tensor([[1.0, 0.5, -1.0], [0.25, 2.0, 0.0]], dtype=F64)


def smooth(x):
    return (x.sin() * x.cumsum(-1)).softmax(-1) @ facula.arange(9, dtype=F64).reshape(3, 3).cos()


# ---- Jacobians and Hessians, every way --------------------------------------------------------------------


def test_jacobians_agree(x):
    for function in (smooth, lambda x: x.prod(0), lambda x: facula.linalg.inv(x @ x.mT),
                     lambda x: facula.linalg.lu(x[:, :2])[2], lambda x: facula.fft.rfft(x).abs(),
                     lambda x: nn.functional.max_pool1d(x[None], 2)):
        close(jacfwd(function)(x), jacrev(function)(x))
        second = [outer(inner(function))(x) for outer in (jacfwd, jacrev) for inner in (jacfwd, jacrev)]
        for other in second[1:]:
            close(second[0], other)


def test_hessian_of_a_small_network():
    """Forward over reverse mode, against second differences, for all parameters at once."""
    facula.manual_seed(0)
    net = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2), nn.Softplus(), nn.Linear(2, 1)).double()
    data, wanted = facula.rand(5, 3, dtype=F64), facula.rand(5, 1, dtype=F64)
    shapes = [tuple(p.shape) for p in net.parameters()]
    sizes = [p.numel() for p in net.parameters()]
    flat = facula.cat([p.detach().reshape(-1) for p in net.parameters()])

    def loss(w):
        w1, b1, w2, b2, w3, b3 = [part.reshape(s) for part, s in zip(w.split(sizes), shapes, strict=True)]
        hidden = nn.functional.softplus((data @ w1.T + b1).tanh() @ w2.T + b2)
        return (hidden @ w3.T + b3 - wanted).square().mean()

    close(loss(flat), (net(data) - wanted).square().mean())
    found = jacfwd(jacrev(loss))(flat)
    assert found.shape == (sum(sizes),) * 2
    close(found, found.T)
    close(found, hessian(loss)(flat))
    gradient, h = grad(loss), 1e-5
    for k in range(0, sum(sizes), 5):
        step = facula.zeros_like(flat)
        step[k] = h
        close(found[k], (gradient(flat + step) - gradient(flat - step)) / (2 * h), 1e-7)


def test_gradients_for_each_sample():
    w, b = facula.rand(4, 3, dtype=F64), facula.rand(4, dtype=F64)
    data = facula.rand(6, 3, dtype=F64)

    def loss(parameters, sample):
        return (parameters["w"] @ sample + parameters["b"]).sigmoid().square().sum()

    found = vmap(grad(loss), in_dims=(None, 0))({"w": w, "b": b}, data)
    for k in range(6):
        one = grad(loss)({"w": w, "b": b}, data[k])
        close(found["w"][k], one["w"])
        close(found["b"][k], one["b"])


def test_jacobians_by_several_arguments(x):
    def function(a, b, pair):
        return a * b, pair["c"].sum() * b

    given = (x[0], x[1], {"c": x})
    forward, reverse = (j(function, argnums=(0, 2))(*given) for j in (jacfwd, jacrev))
    for found in (forward, reverse):
        close(found[0][0], facula.diag(x[1]))
        close(found[1][1]["c"], x[1][:, None, None].expand(3, 2, 3))
        assert not found[1][0].any() and not found[0][1]["c"].any()
    by_two = hessian(lambda a, b: (a * a * b).sum(), argnums=(0, 1))(x[0], x[1])
    close(by_two[0][0], facula.diag(2 * x[1]))
    close(by_two[0][1], facula.diag(2 * x[0]))
    assert not by_two[1][1].any()


# ---- nesting -------------------------------------------------------------------------------------------


def test_nested_vmap(x):
    a, b = facula.rand(2, 4, dtype=F64), facula.rand(3, 4, dtype=F64)
    found = vmap(lambda p: vmap(lambda q: (p * q).sum())(b))(a)
    close(found, a @ b.T)
    inner = vmap(lambda p: vmap(lambda q, r: q * r + p.sum(), in_dims=(0, None))(p, x[0]))
    close(inner(a[:, :3]), facula.stack([r[:3, None] * x[0] + r[:3].sum() for r in a]))


def test_perturbations_are_not_confused():
    one = facula.tensor(1.0, dtype=F64)
    two = facula.tensor(2.0, dtype=F64)

    def derivative(f, at):
        return jvp(f, (at,), (one,))[1]

    # d/dx x * (d/dy (x + y)) = 1, with either mode inside either
    assert derivative(lambda x: x * derivative(lambda y: x + y, one), one).item() == 1.0
    assert derivative(lambda x: x * grad(lambda y: x + y)(one), one).item() == 1.0
    assert grad(lambda x: x * derivative(lambda y: x + y, one))(one).item() == 1.0
    assert grad(lambda x: x * grad(lambda y: x + y)(one))(one).item() == 1.0
    # d/dx (x * d/dy (x * y * y) at 2) = 8 x
    assert derivative(lambda x: x * derivative(lambda y: x * y * y, two), two).item() == 16.0
    third = derivative(lambda x: derivative(lambda x: derivative(lambda x: x**4, x), x), two)
    assert third.item() == 48.0


def test_forward_and_vectorized_in_either_order(x, t):
    for function in (smooth, lambda x: x.max(0)[0], lambda x: x.logcumsumexp(0), lambda x: facula.fft.fft(x).abs()):
        outside = jvp(vmap(function), (x,), (t,))
        inside = vmap(lambda x, t: jvp(function, (x,), (t,)))(x, t)  # noqa: B023
        loop = [jvp(function, (a,), (b,)) for a, b in zip(x, t, strict=True)]
        for k in range(2):
            close(outside[k], inside[k])
            close(inside[k], facula.stack([pair[k] for pair in loop]))


# ---- the tape across a transform ----------------------------------------------------------------------------


def tape(function, *leaves):
    leaves = [leaf.clone().requires_grad_() for leaf in leaves]
    return facula.autograd.grad(function(*leaves), leaves)


def test_backward_through_vmap(x):
    w = facula.rand(3, dtype=F64)
    for function, same in (
            (lambda x, w: vmap(lambda r: (r * w).sum().sin())(x).sum(), lambda x, w: (x @ w).sin().sum()),
            # one path through the captured tensor outside of vmap, too
            (lambda x, w: vmap(lambda r: (r * (w * w)).sin())(x).sum() + w.prod(),
             lambda x, w: (x * (w * w)).sin().sum() + w.prod()),
            (lambda x, w: vmap(lambda c, v: c.sum() * v, in_dims=(1, 0))(x, w).sum(),
             lambda x, w: (x.sum(0) * w).sum()),
            (lambda x, w: vmap(lambda r: w.exp() + 0 * r)(x).sum(), lambda x, w: 2 * w.exp().sum() + 0 * x.sum()),
            (lambda x, w: vmap(lambda r: w.exp())(x).sum() + x.sum(), lambda x, w: 2 * w.exp().sum() + x.sum())):
        for ours, theirs in zip(tape(function, x, w), tape(same, x, w), strict=True):
            close(ours, theirs)


def test_backward_through_jvp(x, t):
    w = facula.rand(3, dtype=F64)

    def ours(x, t, w):
        p, q = jvp(lambda x: (x * w).sin(), (x,), (t,))
        return (p * p).sum() + (q.exp() * p).sum()

    def theirs(x, t, w):
        p, q = (x * w).sin(), (x * w).cos() * w * t
        return (p * p).sum() + (q.exp() * p).sum()

    for a, b in zip(tape(ours, x, t, w), tape(theirs, x, t, w), strict=True):
        close(a, b)

    def plain_results(x, t, w):
        (p, q), (dp, dq) = jvp(lambda x: (w * w, x * (w * w)), (x,), (t,))
        return (p + dp).sum() + (q * dq).sum()

    for a, b in zip(tape(plain_results, x, t, w),
                    tape(lambda x, t, w: (w * w).sum() + (x * w * w * t * w * w).sum(), x, t, w), strict=True):
        close(a, b)


def test_second_derivatives_through_vmap(x):
    def ours(x):
        return grad(lambda x: vmap(lambda r: (r**3).sum())(x).sum())(x).square().sum()

    close(tape(ours, x)[0], tape(lambda x: (3 * x * x).square().sum(), x)[0])
    # a gradient penalty inside vmap, differentiated outside
    close(tape(lambda x: vmap(lambda r: grad(lambda r: (r**3).sum())(r).square().sum())(x).sum(), x)[0],
          tape(lambda x: (3 * x * x).square().sum(), x)[0])


def test_gradients_taken_inside_stay_inside(x):
    leaf = x[0].clone().requires_grad_()
    out = leaf.sin()
    found = vmap(lambda v: facula.autograd.grad(out, leaf, v, retain_graph=True)[0])(facula.eye(3, dtype=F64))
    close(found, facula.diag(x[0].cos()))


def test_vjp(x):
    out, back = vjp(lambda a, b: (a * b, a.sum()), x, x + 1)
    a, b = back((facula.ones_like(x), facula.tensor(2.0, dtype=F64)))
    close(a, x + 1 + 2)
    close(b, x)
    assert not out[0].requires_grad and not a.requires_grad
    value, extra = grad_and_value(lambda a: (a.sum(), "more"), has_aux=True)(x)[1]
    assert extra == "more" and not value.requires_grad


# ---- arguments ---------------------------------------------------------------------------------------------


def test_dims_and_trees(x):
    def function(pair, table):
        return {"sum": pair[0] + table["b"], "outer": pair[0][:, None] * pair[1]}

    a, b, c = facula.rand(3, 5, dtype=F64), facula.rand(4, dtype=F64), facula.rand(5, dtype=F64)
    found = vmap(function, in_dims=((1, None), {"b": 0}), out_dims={"sum": 1, "outer": -1})((a, b), {"b": c})
    for k in range(5):
        one = function((a[:, k], b), {"b": c[k]})
        close(found["sum"][:, k], one["sum"])
        close(found["outer"][..., k], one["outer"])
    close(vmap(lambda r, k: r[k], in_dims=-1)(x, facula.tensor([1, 0, 1])), facula.tensor([1.5, -1.2, -0.4], dtype=F64))
    close(vmap(lambda r: r * 2, chunk_size=1)(x), x * 2)
    both = vmap(lambda r: (r, facula.ones(3)), out_dims=(0, None))(x)
    assert both[1].shape == (3,)
    with pytest.raises(ValueError, match="can not return a BatchedTensor"):
        vmap(lambda r: r, out_dims=None)(x)
    factor = facula.tensor([1.0, 2.0])
    close(vmap(lambda r, factor=None: r * factor)(x, factor=factor), x * factor[:, None])


@pytest.mark.parametrize("function, arguments, error, words", [
    (lambda: vmap(lambda a: a), (), ValueError, "no inputs"),
    (lambda: vmap(lambda a: a, in_dims=2), (facula.ones(2, 3),), ValueError, "dimensionality 2"),
    (lambda: vmap(lambda a: a, in_dims=None), (facula.ones(2),), ValueError, "expected `in_dims` to be int"),
    (lambda: vmap(lambda a: a, in_dims=(None,)), (facula.ones(2),), ValueError, "at least one input"),
    (lambda: vmap(lambda a: a), (3.0,), ValueError, "cannot vmap over non-Tensor arguments"),
    (lambda: vmap(lambda a: 3), (facula.ones(2),), ValueError, "must only return Tensors"),
    (lambda: vmap(lambda a, b: a), (facula.ones(2), facula.ones(3)), ValueError, "same size"),
    (lambda: vmap(lambda a: a.item()), (facula.ones(2),), RuntimeError, r"vmap over calling .item\(\)"),
    (lambda: vmap(lambda a: a if a > 0 else -a), (facula.ones(2),), RuntimeError, "a condition"),
    (lambda: vmap(lambda a: a[a > 0]), (facula.ones(2, 3),), RuntimeError, "looks at values"),
    (lambda: vmap(lambda a: facula.rand(2)), (facula.ones(2),), RuntimeError, "randomness error mode"),
    (lambda: vmap(lambda a: a.numpy()), (facula.ones(2),), RuntimeError, "NumPy"),
])
def test_vmap_refuses(function, arguments, error, words):
    with pytest.raises(error, match=words):
        function()(*arguments)


def test_writing(x):
    outer = facula.rand(3, dtype=F64)
    with pytest.raises(RuntimeError, match="inplace arithmetic"):
        vmap(lambda r: outer.add_(r))(x)
    with pytest.raises(RuntimeError, match="inplace arithmetic"):
        vmap(lambda r: outer[1:].copy_(r[1:]))(x)

    def written(r):
        y = facula.zeros(3, dtype=F64)
        y[:2] = r[1:]
        y[2].add_(r[0])
        r = r.clone()
        r.mul_(2)[0] = 5.0
        return y + r

    close(vmap(written)(x), facula.stack([written(r) for r in x]))
    t = facula.ones(3, dtype=F64)
    close(jvp(written, (x[0],), (t,))[1], jacrev(written)(x[0]) @ t)


def test_random_numbers(x):
    different = vmap(lambda r: facula.rand(3) + 0 * r.sum(), randomness="different")(x)
    assert (different[0] != different[1]).all()
    same = vmap(lambda r: facula.rand(3) + 0 * r.sum(), randomness="same")(x)
    assert (same[0] == same[1]).all()
    kept = vmap(lambda r: nn.functional.dropout(facula.ones(99), 0.5), randomness="different")(x)
    assert (kept[0] != kept[1]).any()
    assert vmap(lambda p: facula.bernoulli(p), randomness="different")(facula.tensor([[0.0] * 9, [1.0] * 9])).tolist() \
        == [[0.0] * 9, [1.0] * 9]
    orders = vmap(lambda r: facula.randperm(50), randomness="different")(x)
    assert (orders.sort()[0] == facula.arange(50)).all() and (orders[0] != orders[1]).any()


def test_values_under_forward_mode_may_be_looked_at(x, t):
    def function(x):
        assert x[0, 0].item() == 0.3 and "-1.2" in repr(x)
        if x.sum() > 0:
            return x * float(x[0, 2])  # a number: the tangent is not in it
        return x

    close(jvp(function, (x,), (t,))[1], 2 * t)
    with pytest.raises(NotImplementedError, match="tangent"):
        jvp(lambda x: facula.from_numpy(x.numpy()), (x,), (t,))


def test_detach_cuts_forward_mode(x, t):
    close(jvp(lambda x: x.detach() * x, (x,), (t,))[1], x * t)
    close(jvp(lambda x: vmap(lambda r: r.detach() * r)(x), (x,), (t,))[1], x * t)
    assert not jvp(lambda x: x.detach(), (x,), (t,))[1].any()
    close(jvp(lambda x: vmap(lambda r: r * 2)(x), (x,), (t,))[1], 2 * t)


def test_jvp_checks(x, t):
    for arguments, error in (((x, t), RuntimeError), (((x,), (t[0],)), RuntimeError), (((x,), (t, t)), RuntimeError),
                             (((x,), (t * 1j,)), RuntimeError), (((x.long(),), (t.long(),)), ValueError)):
        with pytest.raises(error):
            jvp(lambda x: x, *arguments)
    with pytest.raises(RuntimeError, match="independent"):
        jvp(lambda x: facula.ones(2), (x,), (t,), strict=True)
    out, tangent, aux = jvp(lambda x: (x * x, {"three": x * 3}), (x,), (t,), has_aux=True)
    close(tangent, 2 * x * t)
    close(aux["three"], 3 * x)


# ---- custom Functions ------------------------------------------------------------------------------------


class Through(facula.autograd.Function):
    """Rounds, with the slope of its input."""

    @staticmethod
    def forward(ctx, x, factor):
        ctx.save_for_backward(factor)
        ctx.save_for_forward(factor)
        return x.round() * factor

    @staticmethod
    def backward(ctx, g):
        return g * ctx.saved_tensors[0], None

    @staticmethod
    def jvp(ctx, t, _):
        return t * ctx.saved_tensors[0]


class Backwards(facula.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x * 2

    @staticmethod
    def backward(ctx, g):
        return g * 2


def test_custom_functions(x, t):
    factor = facula.tensor(3.0, dtype=F64)
    value, tangent = jvp(lambda x: Through.apply(x, factor).square(), (x,), (t,))
    close(value, (x.round() * 3).square())
    close(tangent, 2 * x.round() * 3 * 3 * t)
    close(jacfwd(jacfwd(lambda x: Through.apply(x, factor).square().sum()))(x[0]), 18 * facula.eye(3, dtype=F64))
    with pytest.raises(NotImplementedError, match="jvp"):
        jvp(Backwards.apply, (x,), (t,))
    close(vmap(grad(lambda r: Backwards.apply(r).sin().sum()))(x), 2 * (2 * x).cos())


# ---- dual tensors by hand ---------------------------------------------------------------------------------


def test_dual_tensors(x, t):
    with pytest.raises(RuntimeError, match="enter_dual_level"):
        forward_ad.make_dual(x, t)
    with forward_ad.dual_level():
        dual = forward_ad.make_dual(x, t)
        out = forward_ad.unpack_dual((dual * dual)[1:].exp())
        close(out.primal, (x * x)[1:].exp())
        close(out.tangent, ((x * x).exp() * 2 * x * t)[1:])
        assert forward_ad.unpack_dual(x).tangent is None
        with pytest.raises(RuntimeError, match="Nested"):
            forward_ad.enter_dual_level()
        leaf = x.clone().requires_grad_()
        q = forward_ad.unpack_dual(forward_ad.make_dual(leaf, t) ** 3).tangent
        close(facula.autograd.grad(q.sum(), leaf)[0], 6 * x * t)
        inner = forward_ad.make_dual(x, t).requires_grad_()
        close(forward_ad.unpack_dual(facula.autograd.grad((inner**3).sum(), inner)[0]).tangent, 6 * x * t)
        kept = dual * 2
    assert forward_ad.unpack_dual(kept).tangent is None
    close(kept + 1, 2 * x + 1)


def test_tangents_leave_what_is_written(x, t):
    """A running mean keeps its value, not a tangent that would keep the level alive."""
    net = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4)).double()
    expected = 0.1 * net[0](x).mean(0)
    jvp(net, (x,), (t,))
    close(net[1].running_mean, expected)
    total = facula.zeros(4, dtype=F64)
    part = total[1:]
    jvp(lambda x: part.copy_(x[0]) * 2, (x,), (t,))
    close(total[1:], x[0])
    close(part, x[0])
    assert session.traced is None


# ---- what stays behind ------------------------------------------------------------------------------------


def test_nothing_stays_behind(x, t):
    """Recording is as quick as ever once the last value of a transform is gone, without the garbage collector."""
    gc.collect()
    gc.disable()
    try:
        vmap(jacfwd(jacrev(smooth)))(x)
        jvp(vmap(lambda r: facula.linalg.inv(r[:, None] * r + facula.eye(3, dtype=F64))), (x,), (t,))
        leaf = x.clone().requires_grad_()
        vmap(lambda r: r.sin().sum())(leaf).sum().backward()
        assert session.traced is None
    finally:
        gc.enable()
