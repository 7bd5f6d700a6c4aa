"""What the comparison with PyTorch's own samples once found wrong, one test for each class of it.

The numbers are compared with PyTorch where it is installed; what has a closed form is in the tests that need
nothing.
"""

from __future__ import annotations

import math

import numpy as np
import pytest

import facula
import facula.nn.functional as F


def close(got, expected, rtol=1e-5, atol=1e-6):
    np.testing.assert_allclose(got.detach().numpy(), np.asarray(expected), rtol=rtol, atol=atol)


def leaf(array, dtype=None):
    return facula.tensor(np.asarray(array), dtype=dtype, requires_grad=True)


# ---- closed forms -------------------------------------------------------------------------------------------

SEVERED = {
    "fill_": lambda x: (x * 2).fill_(3.0),
    "zero_": lambda x: (x * 2).zero_(),
    "copy_": lambda x: (x * 2).copy_(facula.ones(3)),
    "uniform_": lambda x: (x * 2).uniform_(),
    "fill": lambda x: facula.fill(x, 2.0),
    "bernoulli": lambda x: facula.bernoulli(x.sigmoid()),
    "poisson": lambda x: facula.poisson(x.exp()),
    "normal": lambda x: facula.normal(x, 1.0),
    "matrix_power": lambda x: facula.matrix_power(facula.outer(x, x), 0),
    "cdist": lambda x: facula.cdist(x.reshape(1, 3), facula.ones(2, 3, dtype=facula.float64), 0.0),
    "gather": lambda x: facula.cat([facula.gather(x, 0, facula.empty(0, dtype=facula.uint8)), x * 0]),
}


@pytest.mark.parametrize("name", SEVERED)
def test_overwritten_and_drawn_values_have_a_gradient_of_zero(name):
    x = leaf([0.1, 0.2, 0.3])
    out = SEVERED[name](x)
    assert out.requires_grad
    out.sum().backward()
    assert x.grad.tolist() == [0.0, 0.0, 0.0]


def test_copy_passes_the_gradient_to_the_source():
    x, y = leaf([1.0, 2.0]), leaf([3.0, 4.0])
    ((x * 2).copy_(y) * facula.tensor([5.0, 6.0])).sum().backward()
    assert x.grad.tolist() == [0.0, 0.0]
    assert y.grad.tolist() == [5.0, 6.0]


def test_a_leaf_still_refuses_to_be_overwritten():
    with pytest.raises(RuntimeError, match="leaf Variable"):
        leaf([1.0]).zero_()


@pytest.mark.parametrize("kind, tolerance", [("float32", 1e-6), ("float64", 1e-14)])
def test_matrix_exp_of_a_rotation(kind, tolerance):
    """exp of a skew matrix turns by its angle, whatever the number of full turns."""
    angles = np.array([0.0, 0.5, 30.0])
    matrices = angles[:, None, None] * np.array([[0.0, -1.0], [1.0, 0.0]])
    got = facula.linalg.matrix_exp(facula.tensor(matrices, dtype=getattr(facula, kind)))
    expected = np.stack([[[math.cos(a), -math.sin(a)], [math.sin(a), math.cos(a)]] for a in angles])
    close(got, expected, rtol=0, atol=tolerance * 30)


def test_addbmm_in_place_takes_the_shape_of_the_result():
    x = facula.ones(1)
    out = x.addbmm_(facula.ones(2, 3, 4), facula.ones(2, 4, 5), beta=2)
    assert out is x and x.shape == (3, 5)
    assert (x == 10).all()


def test_unique_consecutive_of_nothing():
    values, inverse, counts = facula.unique_consecutive(facula.ones(5, 0, 5), True, True, dim=1)
    assert values.shape == (5, 0, 5) and inverse.shape == (0,) and counts.shape == (0,)
    with pytest.raises(RuntimeError, match="0 sized dimensions"):
        facula.unique_consecutive(facula.ones(5, 0), dim=0)


def test_matrix_norms_of_nothing_are_zero():
    for order in (1, math.inf, 2, "nuc", "fro"):
        assert facula.linalg.matrix_norm(facula.ones(3, 0, 2), order).tolist() == [0.0, 0.0, 0.0]
    with pytest.raises(IndexError):
        facula.linalg.matrix_norm(facula.ones(3, 0, 2), -2)


def test_quantile_moves_with_q():
    x, q = leaf([1.0, 2.0, 4.0]), leaf([0.25, 0.75])
    facula.quantile(x, q).sum().backward()
    assert q.grad.tolist() == [2.0, 4.0]
    assert x.grad.tolist() == [0.5, 1.0, 0.5]


def test_histogram_of_one_value():
    counts, edges = facula.histogram(facula.tensor([3.0]), 1)
    assert counts.tolist() == [1.0] and edges.tolist() == [2.5, 3.5]


def test_vander_of_a_number():
    assert facula.linalg.vander(facula.tensor(2.0), N=3).tolist() == [[1.0, 2.0, 4.0]]


def test_as_strided_scatter_leaves_the_region_no_gradient():
    """PyTorch gives the opposite (docs/differences.md)."""
    x, part = leaf(np.arange(4.0)), leaf([7.0, 8.0])
    out = facula.as_strided_scatter(x, part, (2,), (2,), 1)
    (out * facula.tensor([1.0, 2.0, 3.0, 4.0], dtype=out.dtype)).sum().backward()
    assert x.grad.tolist() == [1.0, 0.0, 3.0, 0.0]
    assert part.grad.tolist() == [2.0, 4.0]


@pytest.mark.parametrize("offset", [None, 0, 3, 10, 16])
def test_a_region_outside_the_elements_of_its_base_has_gradients_within_them(offset):
    """It was written before (or behind) the gradient's memory: crashes, now and then, far away."""
    memory = facula.arange(20.0, dtype=facula.float64)
    x = memory.as_strided((10,), (1,), 5).requires_grad_()
    y = x.as_strided((2, 2), (1, 2)) if offset is None else x.as_strided((2, 2), (1, 2), offset)
    weight = leaf([[1.0, 2.0], [3.0, 4.0]])
    (grad,) = facula.autograd.grad(y, x, weight, create_graph=True)
    expected = np.zeros(30)
    at = 5 if offset is None else offset
    expected[[at, at + 2, at + 1, at + 3]] = [1.0, 2.0, 3.0, 4.0]
    assert grad.tolist() == expected[5:15].tolist()
    (grad * facula.arange(10.0)).sum().backward()
    scale = np.zeros(30)
    scale[5:15] = np.arange(10.0)
    assert weight.grad.tolist() == [[scale[at], scale[at + 2]], [scale[at + 1], scale[at + 3]]]


def test_no_view_leaves_its_storage():
    x = facula.arange(5.0)
    for call in (lambda: x.as_strided((2,), (1,), -1), lambda: x.as_strided((2,), (1,), 4),
                 lambda: facula.as_strided_copy(x, (2,), (1,), -2),
                 lambda: facula.as_strided_scatter(x, facula.ones(2), (2,), (1,), -1),
                 lambda: facula.empty(0).set_(x.untyped_storage(), -1, (2,), (1,)),
                 lambda: facula.empty(0).set_(x.untyped_storage(), 3, (2,), (-4,)),
                 lambda: facula.empty(0).set_(x.untyped_storage(), 0, (2, 2), (1,))):
        with pytest.raises(RuntimeError):
            call()


def test_set_has_the_storage_grow_and_reads_its_bytes_as_what_it_holds():
    x = facula.arange(5.0)
    longer = facula.empty(0).set_(x.untyped_storage(), 3, (4,), (1,))
    assert longer.tolist() == [3.0, 4.0, 0.0, 0.0] and x.untyped_storage().nbytes() == 28
    assert x.tolist() == [0.0, 1.0, 2.0, 3.0, 4.0]
    bits = facula.empty(0, dtype=facula.int32).set_(facula.ones(2).untyped_storage())
    assert bits.tolist() == [0x3F800000] * 2
    wide = facula.empty(0, dtype=facula.float64).set_(x.untyped_storage())  # 28 bytes: 3 and a half
    assert wide.shape == (3,)


@pytest.mark.parametrize("shape", [(4, 3), (3, 4), (3, 3)])
def test_pseudo_inverse_and_least_squares_follow_finite_differences(shape):
    rng = np.random.default_rng(0)
    a, b = rng.standard_normal(shape), rng.standard_normal((shape[0], 2))
    weight = rng.standard_normal((shape[1], 2))

    def value(a, b):
        return (np.linalg.pinv(a) @ b * weight).sum()

    x, y = leaf(a), leaf(b)
    (facula.linalg.lstsq(x, y, driver="gelsd").solution * facula.tensor(weight)).sum().backward()
    z = leaf(a)
    (facula.linalg.pinv(z) @ facula.tensor(b) * facula.tensor(weight)).sum().backward()
    for i in np.ndindex(a.shape):
        step = np.zeros(a.shape)
        step[i] = 1e-6
        slope = (value(a + step, b) - value(a - step, b)) / 2e-6
        assert float(x.grad[i]) == pytest.approx(slope, rel=1e-5, abs=1e-6)
        assert float(z.grad[i]) == pytest.approx(slope, rel=1e-5, abs=1e-6)
    close(y.grad, np.linalg.pinv(a).T @ weight)


def test_residuals_of_least_squares():
    a, b = facula.tensor([[1.0], [1.0]]), facula.tensor([[1.0], [3.0]])
    assert facula.linalg.lstsq(a, b).residuals.shape == (0,)  # gelsy gives none
    assert facula.linalg.lstsq(a, b, driver="gels").residuals.tolist() == pytest.approx([2.0])


def test_one_draw_is_drawn_alike_with_and_without_replacement():
    weights = facula.arange(1.0, 6.0)
    facula.manual_seed(3)
    first = facula.multinomial(weights, 1, True).item()
    facula.manual_seed(3)
    assert facula.multinomial(weights, 1, False).item() == first


def test_lu_puts_the_matrix_together_again():
    a = np.random.default_rng(1).standard_normal((2, 4, 3))
    p, lower, upper = facula.linalg.lu(facula.tensor(a))
    close(p @ lower @ upper, a)
    square = a[:, :3]
    data, pivots = facula.linalg.lu_factor(facula.tensor(square))
    b = np.ones((2, 3, 2))
    close(facula.linalg.lu_solve(data, pivots, facula.tensor(b)), np.linalg.solve(square, b))


def test_convolution_is_the_sum_over_the_window():
    x = facula.arange(16.0).reshape(1, 1, 4, 4)
    assert F.conv2d(x, facula.ones(1, 1, 2, 2), stride=2).flatten().tolist() == [10.0, 18.0, 42.0, 50.0]
    assert F.avg_pool2d(x, 2).flatten().tolist() == [2.5, 4.5, 10.5, 12.5]
    assert F.max_pool2d(x, 2).flatten().tolist() == [5.0, 7.0, 13.0, 15.0]


def test_a_window_of_infinity_stays_where_it_is():
    """Nothing is multiplied by a weight of zero."""
    x = facula.tensor([[[math.inf, 1.0, 2.0, 3.0, 4.0]]])
    assert F.adaptive_avg_pool1d(x, 3).tolist() == [[[math.inf, 2.0, 3.5]]]


@pytest.mark.parametrize("groups", [1, 2])
def test_convolution_by_the_definition(groups):
    rng = np.random.default_rng(0)
    x, w = rng.standard_normal((2, 4, 9)), rng.standard_normal((6, 4 // groups, 3))
    g = rng.standard_normal((2, 6, 4))
    dx, dw, out = np.zeros(x.shape), np.zeros(w.shape), np.zeros(g.shape)
    wide, dwide = np.pad(x, ((0, 0), (0, 0), (1, 1))), np.zeros((2, 4, 11))
    for n, o, p, c, k in np.ndindex(2, 6, 4, 4 // groups, 3):
        source, at = o // (6 // groups) * (4 // groups) + c, 2 * p + 2 * k
        out[n, o, p] += wide[n, source, at] * w[o, c, k]
        dwide[n, source, at] += g[n, o, p] * w[o, c, k]
        dw[o, c, k] += g[n, o, p] * wide[n, source, at]
    dx = dwide[:, :, 1:-1]
    a, b = leaf(x), leaf(w)
    got = F.conv1d(a, b, stride=2, padding=1, dilation=2, groups=groups)
    got.backward(facula.tensor(g))
    for mine, expected in ((got, out), (a.grad, dx), (b.grad, dw)):
        close(mine, expected, rtol=1e-10, atol=1e-12)
    back = F.conv_transpose1d(facula.tensor(g), b, stride=2, padding=1, dilation=2, groups=groups,
                              output_padding=0)
    close(back, dx, rtol=1e-10, atol=1e-12)


def test_special_functions_at_known_points():
    table = {"i0": (1.0, 1.2660658777520084), "i1": (1.0, 0.5651591039924851), "erfcx": (1.0, 0.427583576155807),
             "ndtri": (0.975, 1.959963984540054), "log_ndtr": (-40.0, -804.608442013754),
             "entr": (0.5, 0.34657359027997264)}
    for name, (x, expected) in table.items():
        got = getattr(facula.special, name)(facula.tensor(x, dtype=facula.float64)).item()
        assert got == pytest.approx(expected, rel=1e-13), name
    one = facula.tensor(1.0, dtype=facula.float64)
    assert facula.polygamma(1, one).item() == pytest.approx(math.pi ** 2 / 6, rel=1e-14)
    assert facula.special.zeta(2 * one, one).item() == pytest.approx(math.pi ** 2 / 6, rel=1e-14)
    assert facula.igamma(one, 2 * one).item() == pytest.approx(1 - math.exp(-2), rel=1e-14)


def test_fourier_and_back():
    x = np.random.default_rng(0).standard_normal((3, 10))
    y = facula.tensor(x)
    close(facula.fft.irfft(facula.fft.rfft(y), 10), x)
    spectrum = facula.fft.fft2(y)
    np.testing.assert_allclose(spectrum.numpy(), np.fft.fft2(x), rtol=1e-10, atol=1e-12)
    window = facula.hann_window(8, dtype=facula.float64)
    signal = facula.tensor(np.random.default_rng(1).standard_normal(64))
    there = facula.stft(signal, 8, window=window, return_complex=True)
    close(facula.istft(there, 8, window=window, length=64), signal.numpy(), rtol=1e-9, atol=1e-12)


# ---- against PyTorch ----------------------------------------------------------------------------------------

def on_both(oracle, function, *arrays):
    """The results and gradients of `function(library, *leaves)`, of torch and ours."""
    def ask(lib):
        leaves = [lib.tensor(a).requires_grad_() for a in arrays]
        out = function(lib, *leaves)
        weight = lib.tensor(np.random.default_rng(5).standard_normal(tuple(out.shape)))
        (out * weight.to(out.dtype)).sum().abs().backward()
        return [out.detach().numpy(), *[x.grad.numpy() for x in leaves]]

    return oracle(ask, *arrays), ask(facula)


def random(*shape, kind="float64", seed=0):
    rng = np.random.default_rng(seed)
    x = rng.standard_normal(shape)
    return x if kind == "float64" else x + 1j * rng.standard_normal(shape)


DECOMPOSITIONS = {
    "eigh of the upper triangle": lambda lib, x: lib.linalg.eigh(x, UPLO="U")[1].abs(),
    "eig": lambda lib, x: lib.linalg.eig(x)[1].abs(),
    "eigvals": lambda lib, x: lib.linalg.eigvals(x).abs().sum(),
    "pinv of hermitian": lambda lib, x: lib.linalg.pinv(x + x.mH, hermitian=True),
    "qr": lambda lib, x: lib.linalg.qr(x)[1].abs(),
    "svd": lambda lib, x: lib.linalg.svd(x)[0].abs(),
    "slogdet": lambda lib, x: lib.linalg.slogdet(x)[1],
    "lu_factor": lambda lib, x: lib.linalg.lu_factor(x)[0],
    "matrix_exp": lambda lib, x: lib.linalg.matrix_exp(x),
    "householder_product": lambda lib, x: lib.linalg.householder_product(x, x[0, :3]),
}


@pytest.mark.parametrize("kind", ["float64", "complex128"])
@pytest.mark.parametrize("name", DECOMPOSITIONS)
def test_decompositions(name, kind, oracle):
    expected, got = on_both(oracle, DECOMPOSITIONS[name], random(4, 4, kind=kind))
    for a, b in zip(got, expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-8, atol=1e-10)


COMPLEX = {
    "addmm": lambda lib, x, y: lib.addmm(x, x, y, beta=1 + 2j, alpha=2 - 1j),
    "baddbmm": lambda lib, x, y: lib.baddbmm(x[None], x[None], y[None], beta=1j, alpha=2 - 1j),
    "cumprod": lambda lib, x, y: lib.cumprod(x, 0) + y,
    "prod": lambda lib, x, y: lib.prod(x, 1) + y.sum(1),
    "abs": lambda lib, x, y: lib.abs(x) + lib.sgn(y),
    "logaddexp": lambda lib, x, y: lib.logaddexp(x, y),
    "logsumexp": lambda lib, x, y: lib.logsumexp(x * 5, 0) + y.sum(0),
    "logdet": lambda lib, x, y: lib.logdet(x) + y.sum(),
    "fft": lambda lib, x, y: lib.fft.ifft(lib.fft.fftn(x, norm="ortho") * y),
    "conv1d": lambda lib, x, y: lib.conv1d(x[None], y[:, :, None]),
}


@pytest.mark.parametrize("name", COMPLEX)
def test_complex_values_and_gradients(name, oracle):
    expected, got = on_both(oracle, COMPLEX[name], random(4, 4, kind="complex"), random(4, 4, kind="complex", seed=1))
    for a, b in zip(got, expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-8, atol=1e-10)


WINDOWS = {
    "conv2d": lambda lib, x, w: lib.conv2d(x, w[:, :, :2], stride=(2, 1), padding=(1, 0), dilation=(1, 2)),
    "conv2d same": lambda lib, x, w: lib.conv2d(x, w, padding="same"),
    "conv_transpose2d": lambda lib, x, w: lib.conv_transpose2d(x, w, stride=2, padding=1, output_padding=1),
    "max_pool2d": lambda lib, x, w: lib.nn.functional.max_pool2d(x, 3, 2, 1, ceil_mode=True) + w.sum(),
    "avg_pool2d": lambda lib, x, w: lib.nn.functional.avg_pool2d(x, 3, 2, 1, True, False) + w.sum(),
    "adaptive_max_pool2d": lambda lib, x, w: lib.nn.functional.adaptive_max_pool2d(x, (3, 2)) + w.sum(),
    "adaptive_avg_pool2d": lambda lib, x, w: lib.nn.functional.adaptive_avg_pool2d(x, (3, 2)) + w.sum(),
    "interpolate": lambda lib, x, w: lib.nn.functional.interpolate(x, scale_factor=1.7, mode="bilinear") + w.sum(),
    "bicubic": lambda lib, x, w: lib.nn.functional.interpolate(
        x, (4, 9), mode="bicubic", antialias=True) + w.sum(),
    "grid_sample": lambda lib, x, w: lib.nn.functional.grid_sample(
        x, lib.tanh(w[:2, :, :, :2]), padding_mode="reflection", align_corners=False),
    "unfold": lambda lib, x, w: lib.nn.functional.unfold(x, (2, 3), padding=1, stride=2) + w.sum(),
}


@pytest.mark.parametrize("name", WINDOWS)
def test_windows(name, oracle):
    expected, got = on_both(oracle, WINDOWS[name], random(2, 3, 7, 5), random(3, 3, 3, 3, seed=1))
    for a, b in zip(got, expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("name", ["i0", "i0e", "i1", "i1e", "erfcx", "log_ndtr", "ndtr", "digamma"])
def test_special_functions(name, oracle):
    at = np.array([-30.0, -3.3, -0.6, 0.2, 1.0, 4.5, 24.0, 26.0])
    if name in ("erfcx", "ndtr"):  # the one overflows there, torch's other one is 0
        at = at[2:]
    expected, got = on_both(oracle, lambda lib, x: getattr(lib.special, name)(x), at)
    for a, b in zip(got, expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-300)


@pytest.mark.parametrize("kind", ["RNN", "GRU", "LSTM"])
def test_packed_sequences(kind, oracle):
    """Each sequence ends where it ends, in both directions, and what was sorted comes back in order."""
    sequences = [random(n, 3, seed=n).astype("float32") for n in (2, 5, 3)]

    def ask(lib):
        lib.manual_seed(0)
        layer = getattr(lib.nn, kind)(3, 4, 2, bidirectional=True)
        tools = lib.nn.utils.rnn
        out, state = layer(tools.pack_sequence([lib.tensor(s) for s in sequences], enforce_sorted=False))
        padded, lengths = tools.pad_packed_sequence(out)
        padded.sum().backward()
        last = state[1] if kind == "LSTM" else state
        return [padded.detach().numpy(), last.detach().numpy(), lengths.numpy(), layer.weight_hh_l0.grad.numpy()]

    for a, b in zip(oracle(ask), ask(facula), strict=True):
        np.testing.assert_allclose(b, a, rtol=1e-5, atol=1e-6)


def test_transformer_sees_no_future():
    facula.manual_seed(0)
    model = facula.nn.Transformer(8, 2, 1, 1, 16, dropout=0.0, batch_first=True)
    source, target = facula.rand(1, 4, 8), facula.rand(1, 5, 8)
    mask = model.generate_square_subsequent_mask(5)
    before = model(source, target, tgt_mask=mask)
    target[0, 3:] = 0
    after = model(source, target, tgt_mask=mask)
    assert facula.equal(before[0, :3], after[0, :3])
    assert not facula.equal(before[0, 3:], after[0, 3:])


# ---- slopes far out, at ties and at zero ----------------------------------------------------------------------

FAR = {"sigmoid": facula.sigmoid, "silu": F.silu, "elu": F.elu, "selu": F.selu, "celu": F.celu, "mish": F.mish,
       "softplus": F.softplus, "logsigmoid": F.logsigmoid, "gelu": F.gelu, "tanh": facula.tanh,
       "logit of sigmoid": lambda x: facula.sigmoid(x / 100).logit(),
       "gates": lambda x: facula.nn.LSTMCell(1, 1)(x.reshape(-1, 1))[0]}


@pytest.mark.parametrize("name", FAR)
def test_slopes_far_out_are_finite(name):
    x = leaf([-1000.0, -100.0, -20.0, 20.0, 100.0, 1000.0], facula.float32)
    (slope,) = facula.autograd.grad(FAR[name](x).sum(), x, create_graph=True)
    (curvature,) = facula.autograd.grad(slope.sum(), x)
    assert slope.isfinite().all() and curvature.isfinite().all()


TIES = {
    "logaddexp": (lambda a, b: facula.logaddexp(a, b), [1.0, -3.0], [1.0, -3.0], [0.5, 0.5], [0.5, 0.5]),
    "logaddexp2": (lambda a, b: facula.logaddexp2(a, b), [1.0, -3.0], [1.0, -3.0], [0.5, 0.5], [0.5, 0.5]),
    "fmax": (facula.fmax, [1.0, 2.0], [1.0, 3.0], [1.0, 0.0], [0.0, 1.0]),
    "fmin": (facula.fmin, [1.0, 2.0], [1.0, 3.0], [1.0, 1.0], [0.0, 0.0]),
    "atan2": (facula.atan2, [0.0, 1.0], [0.0, 1.0], [0.0, 0.5], [0.0, -0.5]),
    "xlogy": (facula.xlogy, [0.0, 0.0, 2.0], [0.0, math.e, 1.0], [0.0, 1.0, 0.0], [math.nan, 0.0, 2.0]),
    "xlog1py": (facula.special.xlog1py, [0.0, 0.0], [-1.0, math.e - 1], [0.0, 1.0], [math.nan, 0.0]),
}


@pytest.mark.parametrize("name", TIES)
def test_slopes_at_ties_and_at_zero(name):
    function, a, b, slope_a, slope_b = TIES[name]
    a, b = leaf(a), leaf(b)
    function(a, b).sum().backward()
    close(a.grad, slope_a)
    close(b.grad, slope_b)


def test_logaddexp_is_smooth_at_ties_and_exact_at_infinity():
    a, b = leaf([0.3, 2.0]), leaf([0.3, 2.0])
    (slope,) = facula.autograd.grad(facula.logaddexp(a, b).sum(), a, create_graph=True)
    close(facula.autograd.grad(slope.sum(), a)[0], [0.25, 0.25])
    inf = float("inf")
    left, right = facula.tensor([inf, -inf, inf, 1.0]), facula.tensor([inf, -inf, -inf, -inf])
    assert facula.logaddexp(left, right).tolist() == [inf, -inf, inf, 1.0]
    assert facula.logaddexp2(left, right).tolist() == [inf, -inf, inf, 1.0]
    assert facula.fmax(left, facula.tensor(math.nan)).tolist() == left.tolist()
    assert facula.fmin(facula.tensor(math.nan), left).tolist() == left.tolist()


@pytest.mark.parametrize("bounds", [(None, 300), (-1000, None), (-200, 5)])
def test_bounds_that_the_type_cannot_hold_are_refused(bounds):
    with pytest.raises(RuntimeError, match="without overflow"):
        facula.tensor([0, 100], dtype=facula.int8).clamp(*bounds)


def test_mish_is_smooth_at_zero():
    x = leaf([0.0])
    (slope,) = facula.autograd.grad(F.mish(x).sum(), x, create_graph=True)
    close(facula.autograd.grad(slope.sum(), x)[0], [0.64])


def test_integer_types_refuse_numbers_that_they_cannot_hold():
    x = facula.tensor([1, 2], dtype=facula.uint8)
    with pytest.raises(RuntimeError, match="value cannot be converted to type uint8_t without overflow"):
        facula.where(x > 1, x, 300)
    with pytest.raises(RuntimeError, match="value cannot be converted to type uint8_t without overflow"):
        F.pad(x, (1, 1), value=300)
    with pytest.raises(RuntimeError, match="value cannot be converted to type int without overflow"):
        facula.where(x > 1, 2**40, x.int())
    assert facula.where(x > 1, x, -1).tolist() == [255, 2]


def test_the_sum_of_bools_stays_a_bool():
    yes = facula.tensor([True, False])
    assert facula.add(yes, True, alpha=True).tolist() == [True, True]
    assert facula.add(yes, True, alpha=False).tolist() == [True, False]


@pytest.mark.parametrize("dtype", [facula.float32, facula.complex64])
def test_logsumexp_of_nothing_stays_on_the_tape(dtype):
    x = facula.zeros(0, 3, dtype=dtype, requires_grad=True)
    for out in (x.logsumexp(0), x.logsumexp((0, 1), True)):
        assert out.requires_grad and (out.detach().real == -math.inf).all()
        out.abs().sum().backward()
        assert x.grad.shape == (0, 3)


@pytest.mark.parametrize("of", ["uint8", "int8", "int16", "int32", "int64"])
def test_places_in_a_shape_that_the_dtype_of_the_index_does_not_hold(of):
    index = facula.tensor([[3, 1], [0, 2]], dtype=getattr(facula, of))
    rows, columns = facula.unravel_index(index, (4, 1 << 30))
    assert rows.dtype is columns.dtype is facula.int64
    assert rows.tolist() == [[0, 0], [0, 0]] and columns.tolist() == [[3, 1], [0, 2]]


@pytest.mark.parametrize("of", ["uint8", "int32", "bool"])
def test_tensordot_sums_what_meets_a_size_of_one_in_its_own_dtype(of):
    kind = getattr(facula, of)
    a, b = facula.ones(2, 1, 3, dtype=kind), facula.ones(4, 5, dtype=kind)
    if of == "bool":
        a, b = a.to(facula.int8), b.to(facula.int8)
    out = facula.tensordot(a, b, dims=([1], [0]))
    assert out.dtype is a.dtype
    assert out.tolist() == [[[4] * 5] * 3] * 2
