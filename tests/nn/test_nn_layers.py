"""Every layer and loss: repr, state, value and gradients against torch, on the same numbers."""

import inspect
import warnings

import numpy as np
import pytest

import facula
from facula import nn
from nn_oracle import assert_same, error_of, load_state, state_of, to_library, value_and_gradients
from recorded import snapshot

RNG = np.random.default_rng(0)


@pytest.fixture(autouse=True)
def same_numbers():
    """A test draws the same numbers whatever ran before it."""
    global RNG
    RNG = np.random.default_rng(1)


def floats(*shape):
    return RNG.standard_normal(shape).astype(np.float32)


def unit(*shape):
    return RNG.uniform(0.05, 0.95, shape).astype(np.float32)


def classes(high, *shape):
    return RNG.integers(0, high, shape)


def signs(*shape):
    return (RNG.integers(0, 2, shape) * 2 - 1).astype(np.float32)


KINKS = np.array([-7.0, -3.0, -1.0, -0.5, -0.1, 0.0, 0.1, 0.5, 1.0, 3.0, 7.0, 25.0], np.float32)

ACTIVATIONS = [
    ("ReLU", (), {}), ("ReLU6", (), {}), ("GELU", (), {}), ("GELU", ("tanh",), {}), ("SiLU", (), {}),
    ("Mish", (), {}), ("ELU", (0.7,), {}), ("CELU", (1.3,), {}), ("SELU", (), {}), ("LeakyReLU", (0.2,), {}),
    ("Sigmoid", (), {}), ("Tanh", (), {}), ("Softplus", (), {}), ("Softplus", (2.0, 5.0), {}),
    ("Softsign", (), {}), ("Softshrink", (), {}), ("Hardshrink", (0.3,), {}), ("Tanhshrink", (), {}),
    ("Threshold", (0.1, 20.0), {}), ("Hardtanh", (-2.0, 0.5), {}), ("Hardsigmoid", (), {}),
    ("Hardswish", (), {}), ("LogSigmoid", (), {}), ("PReLU", (), {}), ("Softmax", (0,), {}),
    ("Softmin", (0,), {}), ("LogSoftmax", (0,), {}), ("GLU", (0,), {}),
]
LAYERS = [
    ("Linear", (4, 3), {}, [floats(5, 4)]),
    ("Linear", (4, 3), {"bias": False}, [floats(2, 5, 4)]),
    ("Linear", (4, 3), {}, [floats(4)]),
    ("Bilinear", (3, 4, 2), {}, [floats(5, 3), floats(5, 4)]),
    ("Identity", (1, 2), {"x": 3}, [floats(2)]),
    ("Flatten", (), {}, [floats(2, 3, 4)]),
    ("Flatten", (0, 1), {}, [floats(2, 3, 4)]),
    ("Unflatten", (1, (2, -1)), {}, [floats(3, 6)]),
    ("Embedding", (7, 3), {}, [classes(7, 2, 5)]),
    ("Embedding", (7, 3), {"padding_idx": -2, "max_norm": 0.8}, [np.array([[1, 5], [5, 1]])]),
    ("Embedding", (4, 3), {"scale_grad_by_freq": True}, [classes(4, 9)]),
    ("EmbeddingBag", (7, 3), {"mode": "sum"}, [classes(7, 6), np.array([0, 2, 2])]),
    ("EmbeddingBag", (7, 3), {"mode": "max", "padding_idx": 1}, [classes(7, 2, 4)]),
    ("EmbeddingBag", (7, 3), {}, [classes(7, 2, 4)]),
    ("Dropout", (0.0,), {}, [floats(3)]),
    ("LayerNorm", (4,), {}, [floats(5, 4)]),
    ("LayerNorm", ([3, 4],), {"bias": False}, [floats(2, 3, 4)]),
    ("LayerNorm", (4,), {"elementwise_affine": False, "eps": 1e-3}, [floats(4)]),
    ("RMSNorm", (4,), {}, [floats(5, 4)]),
    ("RMSNorm", ((3, 4),), {"eps": 1e-2, "elementwise_affine": False}, [floats(2, 3, 4)]),
    ("GroupNorm", (2, 4), {}, [floats(3, 4, 5)]),
    ("GroupNorm", (4, 4), {"affine": False}, [floats(3, 4, 2, 2)]),
    ("BatchNorm1d", (4,), {}, [floats(5, 4)]),
    ("BatchNorm1d", (4,), {"momentum": None, "affine": False}, [floats(5, 4, 3)]),
    ("BatchNorm2d", (3,), {"track_running_stats": False}, [floats(2, 3, 4, 4)]),
    ("BatchNorm3d", (2,), {"eps": 0.1}, [floats(2, 2, 2, 3, 3)]),
    ("InstanceNorm1d", (3,), {"affine": True, "track_running_stats": True}, [floats(2, 3, 5)]),
    ("InstanceNorm2d", (3,), {}, [floats(3, 4, 4)]),
    ("LocalResponseNorm", (3,), {}, [floats(2, 5, 4)]),
    ("Softmax2d", (), {}, [floats(2, 3, 2, 2)]),
    ("PixelShuffle", (2,), {}, [floats(1, 8, 2, 3)]),
    ("PixelUnshuffle", (2,), {}, [floats(1, 2, 4, 6)]),
    ("ChannelShuffle", (2,), {}, [floats(1, 4, 2, 2)]),
    ("ZeroPad2d", ((1, 2, 0, 1),), {}, [floats(1, 2, 3, 3)]),
    ("ConstantPad1d", (2, 3.5), {}, [floats(2, 3)]),
    ("ReflectionPad2d", (1,), {}, [floats(1, 2, 3, 3)]),
    ("ReplicationPad1d", ((2, 1),), {}, [floats(1, 2, 3)]),
    ("CircularPad1d", ((2, 1),), {}, [floats(1, 2, 3)]),
    ("CosineSimilarity", (), {}, [floats(4, 3), floats(4, 3)]),
    ("PairwiseDistance", (), {"keepdim": True}, [floats(4, 3), floats(4, 3)]),
    ("PairwiseDistance", (1.0,), {}, [floats(4, 3), floats(4, 3)]),
]
LOSSES = [
    ("L1Loss", {}, [floats(4, 3), floats(4, 3)]),
    ("MSELoss", {}, [floats(4, 3), floats(4, 3)]),
    ("SmoothL1Loss", {"beta": 0.4}, [floats(4, 3), floats(4, 3)]),
    ("HuberLoss", {"delta": 0.4}, [floats(4, 3), floats(4, 3)]),
    ("CrossEntropyLoss", {}, [floats(6, 5), classes(5, 6)]),
    ("CrossEntropyLoss", {"ignore_index": 2, "weight": unit(5)}, [floats(3, 5, 4), classes(5, 3, 4)]),
    ("CrossEntropyLoss", {"label_smoothing": 0.2, "weight": unit(5)}, [floats(6, 5), classes(5, 6)]),
    ("CrossEntropyLoss", {"label_smoothing": 0.2, "ignore_index": 1}, [floats(6, 5), classes(5, 6)]),
    ("CrossEntropyLoss", {"label_smoothing": 0.1, "weight": unit(5)}, [floats(6, 5), unit(6, 5)]),
    ("CrossEntropyLoss", {}, [floats(5), np.array(3)]),
    ("LinearCrossEntropyLoss", {"in_features": 4, "num_classes": 5, "bias": True},
     [floats(6, 4), classes(5, 6)]),
    ("LinearCrossEntropyLoss", {"in_features": 4, "num_classes": 3, "out_features": (2,), "ignore_index": 1},
     [floats(6, 4), classes(3, 6, 2)]),
    ("NLLLoss", {"weight": unit(5), "ignore_index": 3}, [floats(6, 5), classes(5, 6)]),
    ("NLLLoss", {}, [floats(2, 5, 3, 2), classes(5, 2, 3, 2)]),
    ("KLDivLoss", {"log_target": True}, [floats(4, 3), floats(4, 3)]),
    ("KLDivLoss", {}, [floats(4, 3), unit(4, 3)]),
    ("BCELoss", {"weight": unit(3)}, [unit(4, 3), unit(4, 3)]),
    ("BCEWithLogitsLoss", {"weight": unit(3), "pos_weight": unit(3)}, [floats(4, 3), unit(4, 3)]),
    ("BCEWithLogitsLoss", {}, [100 * floats(4, 3), unit(4, 3)]),
    ("HingeEmbeddingLoss", {"margin": 0.7}, [floats(4, 3), signs(4, 3)]),
    ("CosineEmbeddingLoss", {"margin": 0.1}, [floats(4, 3), floats(4, 3), signs(4)]),
    ("MarginRankingLoss", {"margin": 0.2}, [floats(4), floats(4), signs(4)]),
    ("TripletMarginLoss", {"swap": True}, [floats(4, 3), floats(4, 3), floats(4, 3)]),
    ("TripletMarginWithDistanceLoss", {}, [floats(4, 3), floats(4, 3), floats(4, 3)]),
    ("MultiMarginLoss", {"p": 2, "weight": unit(3)}, [floats(4, 3), classes(3, 4)]),
    ("MultiLabelMarginLoss", {}, [floats(2, 4), np.array([[3, 0, -1, 1], [1, -1, 2, 2]])]),
    ("MultiLabelSoftMarginLoss", {"weight": unit(3)}, [floats(4, 3), (signs(4, 3) + 1) / 2]),
    ("SoftMarginLoss", {}, [floats(4, 3), signs(4, 3)]),
    ("PoissonNLLLoss", {"full": True}, [floats(4, 3), classes(5, 4, 3).astype(np.float32)]),
    ("PoissonNLLLoss", {"log_input": False}, [unit(4, 3), unit(4, 3)]),
    ("GaussianNLLLoss", {"full": True}, [floats(4, 3), floats(4, 3), unit(4, 3)]),
]


def build(library, name, args, kwargs):
    kwargs = {key: to_library(library, value) for key, value in kwargs.items()}
    return getattr(library.nn, name)(*args, **kwargs)


def runs(library, module, name, arrays):
    """Value, gradients and buffers of a module in training, and out of it."""
    for training in (True, False):
        module.train(training)
        module.zero_grad()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            constant = (1,) if name == "SoftMarginLoss" else ()  # torch has no gradient for its target
            found = value_and_gradients(library, module, arrays, module.parameters(), constant)
            yield snapshot(library, (*found, dict(module.named_buffers())))


def compare(oracle, name, args, kwargs, arrays):
    def answer(torch):
        torch.manual_seed(3)  # of which its parameters come
        theirs = build(torch, name, args, kwargs)
        state = state_of(torch, theirs)  # as it is before the runs
        return repr(theirs), state, list(runs(torch, theirs, name, arrays))

    shown, state, expected = oracle(answer, args, kwargs, arrays)
    ours = build(facula, name, args, kwargs)
    assert repr(ours) == shown
    assert list(ours.state_dict()) == list(state)
    load_state(ours, state, facula)
    for (value, gradients, buffers), wanted in zip(runs(facula, ours, name, arrays), expected, strict=True):
        assert_same([value, gradients], wanted[:2], rtol=2e-5)
        assert_same(buffers, wanted[2])


@pytest.mark.parametrize("name, args, kwargs", ACTIVATIONS, ids=lambda v: str(v))
def test_activations(oracle, name, args, kwargs):
    compare(oracle, name, args, kwargs, [KINKS])


@pytest.mark.parametrize("name, args, kwargs, arrays", LAYERS, ids=lambda v: "" if isinstance(v, list)
                         else str(v))
def test_layers(oracle, name, args, kwargs, arrays):
    compare(oracle, name, args, kwargs, arrays)


@pytest.mark.parametrize("reduction", ["none", "mean", "sum"])
@pytest.mark.parametrize("name, kwargs, arrays", LOSSES,
                         ids=[f"{i}-{row[0]}" for i, row in enumerate(LOSSES)])
def test_losses(oracle, name, kwargs, arrays, reduction):
    compare(oracle, name, (), {**kwargs, "reduction": reduction}, arrays)


@pytest.mark.parametrize("size_average", [None, True, False])
@pytest.mark.parametrize("reduce", [None, True, False])
def test_old_spellings_of_reduction(oracle, size_average, reduce):
    if size_average is None and reduce is None:
        return

    def results(library):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            loss = library.nn.MSELoss(size_average=size_average, reduce=reduce)
            value = library.nn.functional.mse_loss(library.ones(2), library.zeros(2), size_average, reduce)
        return loss.reduction, value.tolist(), [str(w.message) for w in caught]

    assert results(facula) == oracle(results)


@pytest.mark.parametrize("name", ["ReLU", "ReLU6", "SiLU", "Mish", "ELU", "CELU", "SELU", "LeakyReLU", "Hardtanh",
                                  "Hardswish", "Hardsigmoid"])
def test_inplace_activations(oracle, name):
    def applied(library):
        x = to_library(library, KINKS)
        layer = getattr(library.nn, name)(inplace=True)
        assert layer(x) is x
        return repr(layer), x

    assert_same(*oracle.both(applied))


@pytest.mark.parametrize("name", ["relu", "relu6", "leaky_relu", "elu", "hardtanh", "hardswish", "hardsigmoid",
                                  "softshrink", "hardshrink", "softsign", "celu", "selu"])
def test_gradient_at_the_kink_is_torchs(oracle, name):
    """relu's gradient at 0 is 0, abs' is 0, hardtanh's at its limits is 0: a derived rule easily says 1/2."""
    points = np.array([-6.0, -3.0, -1.0, -0.5, 0.0, 0.5, 1.0, 3.0, 6.0], np.float32)
    assert_same(*oracle.both(
        lambda library: value_and_gradients(library, getattr(library.nn.functional, name), [points])[1]))


def test_binary_cross_entropy_at_certainty(libraries):
    for library in libraries:
        x = library.tensor([0.0, 1.0], requires_grad=True)
        loss = library.nn.functional.binary_cross_entropy(x, library.tensor([1.0, 0.0]))
        loss.backward()
        assert loss.item() == 100.0
        assert np.isfinite(np.asarray(x.grad.tolist())).all()


def test_wrong_calls_raise_what_torch_raises(oracle):
    def calls(library):
        nn, F, zeros = library.nn, library.nn.functional, library.zeros
        long = library.int64
        return {
            "linear": lambda: nn.Linear(3, 4)(zeros(2, 5)),
            "bilinear": lambda: nn.Bilinear(2, 3, 4)(zeros(2, 2), zeros(3, 3)),
            "bilinear size": lambda: nn.Bilinear(0, 3, 4),
            "dropout": lambda: nn.Dropout(1.5),
            "embedding type": lambda: nn.Embedding(3, 2)(zeros(2)),
            "layer norm": lambda: nn.LayerNorm(3)(zeros(2, 4)),
            "group norm": lambda: nn.GroupNorm(3, 4),
            "group norm channels": lambda: F.group_norm(zeros(2, 5, 3), 2),
            "batch norm dims": lambda: nn.BatchNorm1d(3)(zeros(2, 3, 4, 5)),
            "batch norm one value": lambda: nn.BatchNorm1d(3)(zeros(1, 3)),
            "batch norm channels": lambda: nn.BatchNorm1d(3)(zeros(2, 4)),
            "softmax2d": lambda: nn.Softmax2d()(zeros(2)),
            "hardtanh": lambda: nn.Hardtanh(1.0, -1.0),
            "glu": lambda: F.glu(zeros(3)),
            "unflatten": lambda: nn.Unflatten(0, 3),
            "reduction": lambda: F.mse_loss(zeros(1), zeros(1), reduction="all"),
            "cross entropy batch": lambda: F.cross_entropy(zeros(2, 3), zeros(3, dtype=long)),
            "cross entropy shape": lambda: F.cross_entropy(zeros(2, 3, 4), zeros(2, 5, dtype=long)),
            "cross entropy type": lambda: F.cross_entropy(zeros(2, 3), zeros(2)),
            "cross entropy smoothing": lambda: F.cross_entropy(zeros(2, 3), zeros(2, dtype=long),
                                                               label_smoothing=2.0),
            "nll weight": lambda: F.nll_loss(zeros(2, 3), zeros(2, dtype=long), weight=zeros(2)),
            "bce sizes": lambda: F.binary_cross_entropy(zeros(2), zeros(3)),
            "bce logits sizes": lambda: F.binary_cross_entropy_with_logits(zeros(2), zeros(3)),
            "margin ranking": lambda: F.margin_ranking_loss(zeros(2), zeros(2), zeros(2, 1)),
            "cosine embedding": lambda: F.cosine_embedding_loss(zeros(2), zeros(2), zeros(2)),
            "triplet margin": lambda: nn.TripletMarginLoss(margin=0),
            "multi margin p": lambda: nn.MultiMarginLoss(p=3),
            "gaussian var": lambda: F.gaussian_nll_loss(zeros(2), zeros(2), zeros(2) - 1).item(),
            "huber": lambda: F.huber_loss(zeros(2), zeros(2), delta=0.0),
            "one_hot type": lambda: F.one_hot(zeros(2)),
            "one_hot small": lambda: F.one_hot(library.tensor([5]), 3),
            "pad odd": lambda: F.pad(zeros(2), (1,)),
            "pad long": lambda: F.pad(zeros(2), (1, 1, 1, 1)),
            "pad mode": lambda: F.pad(zeros(1, 2, 3), (1, 1), mode="wrap"),
            "reflect too far": lambda: F.pad(zeros(1, 2, 3), (3, 3), mode="reflect"),
            "pixel shuffle": lambda: F.pixel_shuffle(zeros(1, 3, 2, 2), 2),
        }
    ours, theirs = calls(facula), oracle(lambda torch: {name: error_of(f) for name, f in calls(torch).items()})
    for name, expected in theirs.items():
        got = error_of(ours[name])
        assert expected is not None, name
        assert got is not None and got[0] == expected[0], (name, got, expected)


def test_signatures_are_torchs(oracle):
    """Names of the parameters of all constructors, for calls with keywords."""

    def signatures(library):
        found = {}
        for name in names:
            try:
                parameters = inspect.signature(getattr(library.nn, name, None)).parameters.values()
            except (TypeError, ValueError):
                continue
            found[name] = [[p.name, p.kind.name] for p in parameters]
        return found

    names = sorted(name for name in nn.__all__ if not name.startswith("_") and isinstance(getattr(nn, name), type)
                   and name not in ("Container", "NLLLoss2d"))
    ours, theirs = signatures(facula), oracle(signatures, names)
    assert ours.keys() & theirs.keys()
    assert not [name for name in ours.keys() & theirs.keys() if ours[name] != theirs[name]]


def test_same_seed_same_weights(oracle):
    for make in (lambda n: n.Linear(7, 5), lambda n: n.Bilinear(2, 3, 4),
                 lambda n: n.Embedding(5, 3, padding_idx=1)):
        def made(library, make=make):
            library.manual_seed(3)
            return list(make(library.nn).parameters())
        assert_same(*oracle.both(made), rtol=1e-6, atol=1e-6)


def test_dropout_keeps_the_mean():
    x = facula.ones(100_000)
    out = nn.Dropout(0.3)(x)
    kept = (out != 0).to(facula.float32).mean().item()
    assert abs(kept - 0.7) < 0.01 and abs(out.max().item() - 1 / 0.7) < 1e-6
    channels = nn.functional.dropout2d(facula.ones(20, 30, 4, 4), 0.5)
    per_channel = channels.sum((2, 3))
    assert ((per_channel == 0) | (per_channel == 32)).all().item()


def test_clipping(oracle):
    arrays = [floats(3, 4), floats(5), floats(2, 2, 2)]
    for norm in (1.0, 2.0, float("inf")):
        def clipped(library, norm=norm):
            params = [library.nn.Parameter(to_library(library, a)) for a in arrays]
            for p, a in zip(params, arrays, strict=True):
                p.grad = to_library(library, a * 3)
            total = library.nn.utils.clip_grad_norm_(params, 0.5, norm)
            results = [total] + [p.grad for p in params]
            library.nn.utils.clip_grad_value_(params, 0.01)
            return results + [p.grad for p in params]
        assert_same(*oracle.both(clipped, arrays))
    assert error_of(lambda: nn.utils.clip_grad_norm_([_with_nan()], 1.0,
                                                     error_if_nonfinite=True))[0] == "RuntimeError"


def _with_nan():
    p = nn.Parameter(facula.zeros(1))
    p.grad = facula.tensor([float("nan")])
    return p


def test_parameters_as_a_vector():
    net = nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 1))
    vector = nn.utils.parameters_to_vector(net.parameters())
    nn.utils.vector_to_parameters(vector.detach() * 2, net.parameters())
    assert_same(nn.utils.parameters_to_vector(net.parameters()), vector * 2)


@pytest.mark.parametrize("options", [{}, {"batch_first": True, "bias": False}, {"kdim": 3, "vdim": 5},
                                     {"add_bias_kv": True, "add_zero_attn": True}])
def test_attention(oracle, options):
    width = {"kdim": 8, "vdim": 8, **{k: v for k, v in options.items() if k in ("kdim", "vdim")}}
    shape = (2, 5) if options.get("batch_first") else (5, 2)
    arrays = [floats(*shape, 8), floats(*shape, width["kdim"]), floats(*shape, width["vdim"])]

    def results(library, module):
        for average in (True, False):
            padding = library.tensor([[False, False, False, True, True], [False] * 5])
            causal = library.ones(5, 5, dtype=library.bool).triu(1)
            inputs = [to_library(library, a) for a in arrays]
            out, weights = module(*inputs, key_padding_mask=padding, attn_mask=causal,
                                  average_attn_weights=average)
            module.zero_grad()
            (out * out).sum().backward()
            yield snapshot(library, [out, weights, *(p.grad for p in module.parameters())])

    def answer(torch):
        torch.manual_seed(3)  # of which its parameters come
        theirs = torch.nn.MultiheadAttention(8, 2, **options)
        return repr(theirs), state_of(torch, theirs), list(results(torch, theirs))

    shown, state, expected = oracle(answer, options, arrays)
    ours = nn.MultiheadAttention(8, 2, **options)
    assert repr(ours) == shown and list(ours.state_dict()) == list(state)
    load_state(ours, state, facula)
    assert_same(list(results(facula, ours)), expected, rtol=1e-4)


@pytest.mark.parametrize("reduction", ["none", "mean", "sum"])
def test_ctc(oracle, reduction):
    arrays = [floats(7, 3, 5)]
    targets, sizes = np.array([[1, 2, 2], [3, 3, 3], [4, 1, 0]]), ((7, 4, 6), (3, 3, 2))

    def results(library):
        def loss(x):
            return library.nn.functional.ctc_loss(x.log_softmax(2), to_library(library, targets), *sizes,
                                                  reduction=reduction, zero_infinity=True)
        return value_and_gradients(library, loss, arrays)

    assert_same(*oracle.both(results, arrays), rtol=1e-4)
