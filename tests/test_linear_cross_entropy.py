"""linear_cross_entropy against PyTorch's, and its gradients by finite differences."""

import numpy as np
import pytest

import facula

CASES = [
    ((7, 5), (4, 5), False, {}), ((5,), (4, 5), False, {}), ((7, 5), (4, 5), True, {"reduction": "none"}),
    ((6, 3), (4, 2, 5, 3), False, {"reduction": "sum"}), ((6, 3), (4, 2, 3), True, {"label_smoothing": 0.2}),
    ((7, 5), (4, 5), False, {"ignore_index": 2, "reduction": "none"}), ((7, 5), (4, 5), True, {"weight": True}),
]


def arguments(library, x, w, bias, options, probabilities, of):
    rng = np.random.default_rng(0)
    make = lambda *shape: library.tensor(rng.standard_normal(shape), dtype=getattr(library, of))  # noqa: E731
    options = dict(options)
    given = [make(*x), make(*w)]
    places = (*x[:-1], *w[1:-1])
    if probabilities:
        target = make(*x[:-1], w[0], *w[1:-1]).softmax(len(x) - 1)
        options.pop("ignore_index", None)
    else:
        target = library.tensor(rng.integers(0, w[0], places))
    if options.pop("weight", False):
        options["weight"] = make(w[0]).abs()
    if bias:
        options["linear_bias"] = make(*w[:-1])
    return given, target, options


@pytest.mark.parametrize("of", ["float32", "float64"])
@pytest.mark.parametrize("probabilities", [False, True])
@pytest.mark.parametrize("x, w, bias, options", CASES)
def test_values(oracle, x, w, bias, options, probabilities, of):
    def answer(library):
        given, target, more = arguments(library, x, w, bias, options, probabilities, of)
        for t in given:
            t.requires_grad_()
        loss = library.nn.functional.linear_cross_entropy(*given, target, **more)
        loss.sum().backward()
        return [loss.detach().numpy(), *(t.grad.numpy() for t in given)]

    expected = oracle(answer, x, w, bias, options, probabilities, of)
    for ours, theirs in zip(answer(facula), expected, strict=True):
        assert ours.shape == theirs.shape and ours.dtype == theirs.dtype
        np.testing.assert_allclose(ours, theirs, rtol=1e-5 if of == "float32" else 1e-11, atol=1e-6)


@pytest.mark.parametrize("x, w, bias, options", CASES)
def test_gradients(x, w, bias, options):
    given, target, more = arguments(facula, x, w, bias, options, False, "float64")
    for t in given:
        t.requires_grad_()
    assert facula.autograd.gradcheck(
        lambda a, b: facula.nn.functional.linear_cross_entropy(a, b, target, **more), given)


@pytest.mark.parametrize("x, w, bias", [((7, 4), (4, 5), None), ((5,), (4, 2, 5), None), ((7, 5), (5,), None),
                                        ((7, 5), (4, 5), (5,)), ((2, 7, 5), (4, 5), None)])
def test_shapes_that_do_not_fit(x, w, bias):
    with pytest.raises(RuntimeError, match="linear_cross_entropy"):
        facula.nn.functional.linear_cross_entropy(
            facula.ones(*x), facula.ones(*w), facula.zeros(7, dtype=facula.int64),
            linear_bias=None if bias is None else facula.ones(*bias))


def test_an_empty_batch_and_options():
    options = facula.nn.LinearCrossEntropyOptions(batch_chunk_size=2)
    x, w = facula.ones(0, 5), facula.ones(4, 5)
    loss = facula.nn.functional.linear_cross_entropy(
        x, w, facula.zeros(0, dtype=facula.int64), reduction="none", options=options)
    assert loss.shape == (0,)
