"""What torch refuses, and why: numbers where there is no form for them, weights, layouts, flags.

Each kind is asked of every operation that it concerns; where torch is installed, it is asked as well.
"""

from __future__ import annotations

import warnings

import pytest

import facula
import facula.nn.functional as F

# ---- operands of two-argument operations: a tensor (t) or a number (n), in either place ------------------------------

BINARY = """add sub mul div floor_divide remainder fmod pow float_power atan2 hypot xlogy logaddexp logaddexp2
logical_and logical_or logical_xor bitwise_and bitwise_or bitwise_xor bitwise_left_shift bitwise_right_shift eq ne lt le
gt ge fmax fmin maximum minimum nextafter copysign heaviside gcd lcm ldexp rsub igamma igammac special.xlog1py
special.zeta special.gammainc isclose dist equal allclose special.hermite_polynomial_h""".split()
# Which of "t, n" and "n, t" they take; all take two tensors.
BOTH = """add sub mul div floor_divide remainder pow float_power xlogy bitwise_and bitwise_or bitwise_xor
bitwise_left_shift bitwise_right_shift special.xlog1py special.zeta special.hermite_polynomial_h""".split()
SECOND = "fmod eq ne lt le gt ge copysign rsub".split()


def call(lib, name, places):
    kind = lib.int64 if name.startswith("bitwise") or name in ("gcd", "lcm") else lib.float32
    fn = lib
    for part in name.split("."):
        fn = getattr(fn, part)
    return fn(*[lib.tensor([1, 2, 3], dtype=kind) if p == "t" else 2 for p in places])


@pytest.mark.parametrize("name", BINARY)
def test_numbers_are_taken_where_there_is_a_form_for_them(name):
    call(facula, name, "tt")
    for places, taken in (("tn", name in BOTH or name in SECOND), ("nt", name in BOTH)):
        if taken:
            call(facula, name, places)
        else:
            with pytest.raises(TypeError, match="must be Tensor|invalid combination"):
                call(facula, name, places)


@pytest.mark.torch
@pytest.mark.parametrize("places", ["tt", "tn", "nt"])
@pytest.mark.parametrize("name", BINARY)
def test_and_so_in_torch(name, places):
    import torch
    outcomes = []
    for lib in (torch, facula):
        try:
            call(lib, name, places)
            outcomes.append(None)
        except Exception as error:
            outcomes.append(type(error))
    assert outcomes[0] is outcomes[1]


@pytest.mark.parametrize("name", ["add", "radd", "mul", "rmul", "sub", "rsub", "rpow", "rand", "ror", "rxor"])
def test_an_operator_called_of_the_class_wants_a_tensor(name):
    with pytest.raises(TypeError, match="self|Tensor"):
        getattr(facula.Tensor, f"__{name}__")(2, facula.tensor([1, 2]))


# ---- layouts: nothing but strided tensors is made --------------------------------------------------------------------

MAKERS = {
    **dict.fromkeys("zeros ones empty rand randn eye arange".split(), (3,)), "full": ((3,), 1.0),
    "scalar_tensor": (1.0,),
    "linspace": (0, 1, 3), "logspace": (0, 1, 3), "empty_strided": ((3,), (1,)), "empty_permuted": ((3,), (0,)),
    **dict.fromkeys("zeros_like ones_like empty_like rand_like randn_like".split(), "like")}


@pytest.mark.parametrize("name", MAKERS)
def test_another_layout_than_strided_is_refused(name):
    arguments = (facula.ones(3),) if MAKERS[name] == "like" else MAKERS[name]
    make = getattr(facula, name)
    assert make(*arguments, layout=facula.strided).layout is facula.strided
    with pytest.raises(NotImplementedError, match="strided tensors only"):
        make(*arguments, layout=facula.sparse_coo)


WINDOWS = "bartlett blackman cosine exponential gaussian general_hamming hamming hann kaiser nuttall".split()


@pytest.mark.parametrize("name", WINDOWS)
def test_windows_refuse_layouts(name):
    with pytest.raises(ValueError, match="strided tensors only"):
        getattr(facula.signal.windows, name)(3, layout=facula.sparse_coo)
    if name + "_window" in ("bartlett_window", "blackman_window", "hamming_window", "hann_window", "kaiser_window"):
        with pytest.raises(RuntimeError, match="strided tensors only"):
            getattr(facula, name + "_window")(3, layout=facula.sparse_coo)


# ---- reductions of losses -------------------------------------------------------------------------------------------

X, Y, ONE = ((5, 4), "float"), ((5, 4), "label"), ((5,), "label")
LOSSES = {
    **dict.fromkeys("""binary_cross_entropy binary_cross_entropy_with_logits l1_loss mse_loss smooth_l1_loss
       huber_loss kl_div poisson_nll_loss soft_margin_loss multilabel_soft_margin_loss
       hinge_embedding_loss""".split(), (X, X)),
    "cross_entropy": (X, ONE), "nll_loss": (X, ONE), "multi_margin_loss": (X, ONE), "multilabel_margin_loss": (X, Y),
    "gaussian_nll_loss": (X, X, X), "triplet_margin_loss": (X, X, X), "cosine_embedding_loss": (X, X, ONE),
    "margin_ranking_loss": (X, X, X)}


@pytest.mark.parametrize("name", LOSSES)
def test_an_unknown_reduction_is_a_value_error(name):
    arguments = [facula.full(shape, 0.5) if kind == "float" else facula.zeros(shape, dtype=facula.int64)
                 for shape, kind in LOSSES[name]]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with pytest.raises(ValueError, match="abc is not (a )?valid"):
            getattr(F, name)(*arguments, reduction="abc")


@pytest.mark.parametrize("name", ["multi_margin_loss", "multilabel_margin_loss"])
def test_the_reduction_is_looked_at_before_the_target(name):
    target = facula.zeros(5) if name == "multi_margin_loss" else facula.zeros(5, 4)
    with pytest.raises(ValueError, match="abc"):
        getattr(F, name)(facula.ones(5, 4), target, reduction="abc")


# ---- weights, tolerances, steps, dimensions --------------------------------------------------------------------------

x, whole, square = facula.ones(5), facula.ones(5, dtype=facula.int64), facula.ones(5, 5)
REFUSED = {
    "cov: two dimensions": (RuntimeError, "one or fewer", lambda: facula.cov(x, fweights=facula.ones(5, 5))),
    "cov: counts": (RuntimeError, "integral", lambda: facula.cov(x, fweights=x)),
    "cov: bools": (RuntimeError, "integral", lambda: facula.cov(x, fweights=x > 0)),
    "cov: importances": (RuntimeError, "floating point", lambda: facula.cov(x, aweights=whole)),
    "cov: number": (RuntimeError, "same numel", lambda: facula.cov(x, aweights=x[:1])),
    "cov: negative": (RuntimeError, "cannot be negative", lambda: facula.cov(x, aweights=-x)),
    "cov: negative counts": (RuntimeError, "cannot be negative", lambda: facula.cov(x, fweights=-whole)),
    "isclose: rtol": (RuntimeError, "rtol must be greater", lambda: facula.isclose(x, x, rtol=-0.4)),
    "allclose: atol": (RuntimeError, "atol must be greater", lambda: facula.allclose(x, x, atol=-0.4)),
    "linspace": (TypeError, "'steps'", lambda: facula.linspace(0, 3, 1.0)),
    "logspace": (TypeError, "'steps'", lambda: facula.logspace(0, 3, 1.0)),
    "arange": (RuntimeError, "nonzero", lambda: facula.arange(0, 3, 0)),
    "arange: a rounded step": (ValueError, "nonzero", lambda: facula.arange(0, 64, 0.5, dtype=facula.int64)),
    "gradient": (RuntimeError, "dim 1 appears", lambda: facula.gradient(facula.ones(3, 3), dim=[1, -1])),
    "squeeze": (RuntimeError, "dim 0 appears", lambda: facula.ones(3, 3).squeeze((0, -2))),
    "sum": (RuntimeError, "dim 0 appears", lambda: facula.ones(3, 3).sum((0, -2))),
    "empty_permuted: number": (RuntimeError, "does not match", lambda: facula.empty_permuted((2,), (0, 1))),
    "empty_permuted: range": (RuntimeError, "out of range", lambda: facula.empty_permuted((2,), (3,))),
    "empty_permuted: twice": (RuntimeError, "Duplicate", lambda: facula.empty_permuted((2, 3), (0, 0))),
    "narrow: of many": (RuntimeError, "0-dim integral", lambda: x.narrow(0, facula.tensor([1]), 1)),
    "narrow: of a bool": (RuntimeError, "0-dim integral", lambda: x.narrow(0, facula.tensor(True), 1)),
    "masked_scatter": (RuntimeError, "boolean masks", lambda: x.masked_scatter((x > 0).to(facula.uint8), x)),
    "masked_fill": (RuntimeError, "without overflow", lambda: whole.masked_fill(x > 0, facula.tensor(1 + 2j))),
    "linalg.cross": (RuntimeError, "same number", lambda: facula.linalg.cross(facula.ones(5, 5, 3), facula.ones(5, 3))),
    "rrelu": (RuntimeError, "less than or equal", lambda: F.rrelu(x, 0.3, 0.1)),
    "adaptive_avg_pool2d": (ValueError, "at least 3", lambda: F.adaptive_avg_pool2d(facula.ones(2, 2), 1)),
    "adaptive_max_pool3d": (ValueError, "at least 4", lambda: F.adaptive_max_pool3d(facula.ones(2, 2, 2), 1)),
    "ormqr: no matrix": (RuntimeError, "at least 2", lambda: facula.ormqr(facula.ones(()), x, square)),
    "ormqr: tau": (RuntimeError, "must be equal to min", lambda: facula.ormqr(square[:, :3], x[:2], square)),
    "ormqr: other": (RuntimeError, "equal to input.shape", lambda: facula.ormqr(square[:, :3], x[:3], square[:4])),
}


@pytest.mark.parametrize("name", REFUSED)
def test_arguments_that_do_not_fit(name):
    error, words, run = REFUSED[name]
    with pytest.raises(error, match=words):
        run().tolist()  # what depends on values may be told when they are read


def test_a_complex_number_without_imaginary_part_is_written():
    assert whole.masked_fill(x > 0, facula.tensor(3 + 0j)).tolist() == [3] * 5


# ---- recurrent layers -----------------------------------------------------------------------------------------------

@pytest.mark.parametrize("name", ["RNN", "LSTM", "GRU"])
def test_recurrent_layers_refuse(name):
    layer = getattr(facula.nn, name)
    for flag in ("bias", "batch_first"):
        with pytest.raises(TypeError, match=f"{flag} should be of type bool, got: int"):
            layer(2, 3, **{flag: 1})
    for size in (0, -1):
        with pytest.raises(ValueError, match="input_size must be greater than zero"):
            layer(size, 3)
    with pytest.raises(ValueError, match="does not match weight dtype"):
        layer(2, 3)(facula.ones(4, 1, 2, dtype=facula.float64))


# ---- _chunk_cat -----------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("shapes, dim, count, words", [
    ([(2, 3), (4,)], -1, 3, "non-negative dim"), ([(2, 3), (4,)], 1, 3, "dim < ndim"),
    ([(2, 3, 4), (4, 3)], 1, 3, "same sizes"), ([(2,), (3,)], 0, 0, "positive num_chunks"),
    ([], 0, 1, "non-empty input tensor list"), ([(0,), (3,)], 0, 1, "non-empty tensor")])
def test_chunk_cat_refuses(shapes, dim, count, words):
    with pytest.raises(RuntimeError, match=words):
        facula._chunk_cat([facula.ones(s) for s in shapes], dim, count)


@pytest.mark.parametrize("name", ["complex", "polar"])
def test_complex_numbers_of_another_precision(name):
    half = facula.ones(3, dtype=facula.float64)
    with pytest.raises(RuntimeError, match="Expected object of scalar type ComplexDouble but got scalar type Compl"):
        getattr(facula, name)(half, half, out=facula.zeros(3, dtype=facula.complex64))
    found = facula.zeros(3, dtype=facula.complex128)
    assert getattr(facula, name)(half, half, out=found) is found and found.real.tolist() != [0, 0, 0]
