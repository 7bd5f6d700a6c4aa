"""AdaptiveLogSoftmaxWithLoss: its parts agree with each other and with what they stand for."""

import pytest

import facula
from facula import nn


def made(**options):
    facula.manual_seed(0)
    return nn.AdaptiveLogSoftmaxWithLoss(16, 100, **{"cutoffs": [10, 50], **options})


@pytest.mark.parametrize("options", [{}, {"head_bias": True, "div_value": 2.0}, {"cutoffs": [20]}])
def test_output_is_the_log_probability_of_the_target(options):
    m = made(**options)
    x, target = facula.randn(8, 16), facula.tensor([0, 5, 12, 70, 99, 3, 49, 50])
    out = m(x, target)
    every = m.log_prob(x)
    assert every.shape == (8, 100)
    assert facula.allclose(every.exp().sum(1), facula.ones(8), atol=1e-5)
    assert facula.allclose(out.output, every.gather(1, target[:, None])[:, 0], atol=1e-5)
    assert facula.allclose(out.loss, -out.output.mean())
    one = m(x[3], target[3])
    assert one.output.shape == () and facula.allclose(one.output, out.output[3], atol=1e-5)
    assert m(x[:1], target[:1]).output.shape == (1,)


def test_the_most_probable_class_is_predicted():
    m = made()
    x = 5 * facula.randn(64, 16)
    sure = m.head(x).argmax(1) < 10
    assert sure.any() and (~sure).any()
    assert facula.equal(m.predict(x)[~sure], m.log_prob(x)[~sure].argmax(1))
    assert facula.equal(m.predict(x)[sure], m.head(x)[sure].argmax(1))


def test_gradients_go_where_targets_are():
    m = made()
    m(facula.randn(4, 16), facula.tensor([1, 2, 3, 20])).loss.backward()
    assert m.tail[0][0].weight.grad.abs().sum() > 0 and m.tail[1][0].weight.grad is None
    assert m.tail[0][0].weight.shape == (4, 16) and m.tail[1][1].weight.shape == (50, 1)


@pytest.mark.parametrize("cutoffs", [[], [5, 5], [0, 5], [50, 10], [100], [2.5]])
def test_cutoffs_that_are_none(cutoffs):
    with pytest.raises(ValueError, match="cutoffs should be a sequence"):
        made(cutoffs=cutoffs)


@pytest.mark.parametrize("shape, target, words", [
    ((8, 16), [1, 2], "same size in the batch dimension"),
    ((2, 16), [1, 100], r"in \[0, 99\], but values in range \[1, 100\]"),
    ((2, 16), [-1, 0], "Target values should be in"), ((2, 16), [[1], [2]], "multi-target not supported"),
    ((2, 16), 3, "0D target tensor expects 1D input"),
])
def test_targets_that_are_none(shape, target, words):
    with pytest.raises(RuntimeError, match=words):
        made()(facula.randn(*shape), facula.tensor(target))
