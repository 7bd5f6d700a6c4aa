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
        rtol, atol = (1e-5, 1e-6) if of == "float32" else (1e-11, 1e-12)
        np.testing.assert_allclose(ours, theirs, rtol=rtol, atol=atol)


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
    with pytest.raises(RuntimeError, match="expected|requires"):
        facula.nn.functional.linear_cross_entropy(
            facula.ones(*x), facula.ones(*w), facula.zeros(7, dtype=facula.int64),
            linear_bias=None if bias is None else facula.ones(*bias))


def test_an_empty_batch_and_options():
    options = facula.nn.LinearCrossEntropyOptions(batch_chunk_size=2)
    x, w = facula.ones(0, 5), facula.ones(4, 5)
    loss = facula.nn.functional.linear_cross_entropy(
        x, w, facula.zeros(0, dtype=facula.int64), reduction="none", options=options)
    assert loss.shape == (0,)


CHUNKED = [((7, 5), (4, 5), False, {}), ((5,), (4, 5), True, {}), ((7, 5), (4, 5), True, {"reduction": "none"}),
           ((7, 5), (4, 5), True, {"weight": True, "reduction": "sum"}), ((8, 5), (4, 5), False, {"weight": True}),
           ((7, 5), (4, 5), False, {"ignore_index": 2, "reduction": "none"}),
           ((7, 5), (4, 5), True, {"ignore_index": 2, "weight": True})]


@pytest.mark.parametrize("of", ["float32", "float64"])
@pytest.mark.parametrize("rows", [1, 3, 100])
@pytest.mark.parametrize("x, w, bias, more", CHUNKED)
def test_a_few_rows_at_a_time_give_what_all_give(x, w, bias, more, rows, of):
    options = facula.nn.LinearCrossEntropyOptions(batch_chunk_size=rows)
    answers = []
    for given_options in (None, options):
        given, target, kwargs = arguments(facula, x, w, bias, more, False, of)
        if bias:
            given.append(kwargs["linear_bias"])
        for t in given:
            t.requires_grad_()
        loss = facula.nn.functional.linear_cross_entropy(*given[:2], target, options=given_options, **kwargs)
        for _ in range(2):  # a second time over the same tape
            (loss * loss).sum().backward(retain_graph=True)
        answers.append([loss.detach().numpy(), *(t.grad.numpy() for t in given)])
    rtol, atol = (1e-5, 1e-6) if of == "float32" else (1e-11, 1e-12)
    for all_at_once, chunked in zip(*answers, strict=True):
        assert all_at_once.shape == chunked.shape and all_at_once.dtype == chunked.dtype
        scale = max(1, np.abs(all_at_once).max())  # of the terms that cancel in the smaller elements
        np.testing.assert_allclose(chunked, all_at_once, rtol=rtol, atol=atol * scale)


@pytest.mark.parametrize("x, w, bias, more", CHUNKED)
def test_gradients_of_a_few_rows_at_a_time(x, w, bias, more):
    given, target, kwargs = arguments(facula, x, w, bias, more, False, "float64")
    for t in given:
        t.requires_grad_()
    options = facula.nn.LinearCrossEntropyOptions(batch_chunk_size=3)

    def loss(a, b):
        return facula.nn.functional.linear_cross_entropy(a, b, target, options=options, **kwargs)

    assert facula.autograd.gradcheck(loss, given)
    assert facula.autograd.gradgradcheck(loss, given)


@pytest.mark.compiled
def test_the_logits_are_never_there_all_at_once():
    """Neither pass holds N * C logits: little more than a chunk's."""
    from facula.engine.runtime import buffer
    rows, classes, features = 256, 1000, 8
    x, w = facula.randn(rows, features, requires_grad=True), facula.randn(classes, features, requires_grad=True)
    target = facula.arange(rows) % classes
    x.grad, w.grad = facula.zeros(rows, features), facula.zeros(classes, features)
    (x.sum() + w.sum() + x.grad.sum() + w.grad.sum() + target.sum()).item()
    most = []
    for size in (None, 16):
        options = None if size is None else facula.nn.LinearCrossEntropyOptions(batch_chunk_size=size)
        before = buffer.held()
        buffer.reset_most_held()
        facula.nn.functional.linear_cross_entropy(x, w, target, options=options).backward()
        w.grad.sum().item()
        most.append(buffer.most_held() - before)
    logits = 4 * rows * classes
    assert most[0] >= logits and most[1] < logits // 2


@pytest.mark.parametrize("more", [{"label_smoothing": 0.1}, {"reduction": "mean", "probabilities": True},
                                  {"places": True}])
def test_what_is_not_cut_into_chunks_says_so(more):
    more = dict(more)
    x, w = facula.ones(4, 3), facula.ones(5, 2, 3) if more.pop("places", False) else facula.ones(5, 3)
    target = facula.zeros(4, *w.shape[1:-1], dtype=facula.int64)
    if more.pop("probabilities", False):
        target = facula.ones(4, 5) / 5
    with pytest.warns(UserWarning, match="``options`` ignored"):
        loss = facula.nn.functional.linear_cross_entropy(
            x, w, target, options=facula.nn.LinearCrossEntropyOptions(batch_chunk_size=2), **more)
    assert abs(loss.item() - np.log(5)) < 1e-5


OPTIONS = [{}, {"batch_chunk_size": 0}, {"batch_chunk_size": -3}, {"batch_chunk_size": 2.5}, {"batch_chunk_size": "x"},
           {"chunking_method": "foo"}, {"chunking_method": None}, {"chunking_method": "aspect_ratio"},
           {"chunking_method": "aspect_ratio:3"}, {"chunking_method": "aspect_ratio:x"},
           {"chunking_method": "aspect_ratio:-1"}, {"chunking_method": "aspect_ratio:0"}, {"acc_policy": "foo"},
           {"acc_policy": None}, {"acc_dtype": "x"}, {"batch_chunk_size": 2, "chunking_method": "aspect_ratio:2"}]


@pytest.mark.parametrize("options", OPTIONS)
def test_options_are_refused_in_torchs_words(torch, options):
    said = []
    for library in (facula, torch):
        try:
            said.append(repr(library.nn.LinearCrossEntropyOptions(**options)))
        except ValueError as error:
            said.append(str(error))
    assert said[0] == said[1]


MISFITS = [((7, 4), (4, 5), (7,), {}), ((5,), (4, 2, 5), (2,), {}), ((7, 5), (5,), (7,), {}), ((7, 5), (), (7,), {}),
           ((7, 5), (4, 5), (7,), {"linear_bias": (5,)}), ((7, 5), (4, 2, 5), (7, 2), {"linear_bias": (4,)}),
           ((2, 7, 5), (4, 5), (2, 7), {}), ((7, 5), (4, 5), (6,), {}), ((7, 5), (4, 5), (7, 2), {}),
           ((7, 5), (4, 5), (7,), {"weight": (3,)}), ((7, 5), (4, 2, 5), (7, 3), {}),
           ((7, 5), (4, 5), (7,), {"label_smoothing": 1.5}), ((7, 5), (4, 5), (7,), {"reduction": "foo"})]


@pytest.mark.parametrize("x, w, target, more", MISFITS)
def test_what_does_not_fit_is_told_in_torchs_words(torch, x, w, target, more):
    said = []
    for library in (facula, torch):
        kwargs = {k: library.ones(v) if isinstance(v, tuple) else v for k, v in more.items()}
        with pytest.raises((RuntimeError, ValueError)) as error:
            library.nn.functional.linear_cross_entropy(
                library.ones(x), library.ones(w), library.zeros(target, dtype=library.int64), **kwargs)
        said.append((type(error.value), str(error.value)))
    assert said[0] == said[1]


def test_no_class_is_ignored_where_targets_are_probabilities():
    with pytest.raises(RuntimeError, match="ignore_index cannot be specified when target contains probabilities"):
        facula.nn.functional.linear_cross_entropy(
            facula.ones(7, 5), facula.ones(4, 5), facula.ones(7, 4), ignore_index=2)


@pytest.mark.parametrize("reduction", ["none", "mean", "sum"])
def test_sixteen_bits_are_rounded_once(reduction):
    """Logits of some rows are never rounded to 16 bits: the loss is that of float32, rounded; gradients, too."""
    rng = np.random.default_rng(4)
    x, w, b = (facula.from_numpy(rng.standard_normal(s).astype(np.float32) * 3).bfloat16()
               for s in ((9, 8), (8, 8), (8,)))
    t = facula.from_numpy(rng.integers(0, 8, 9))
    found = []
    for wide, options in ((False, facula.nn.LinearCrossEntropyOptions(batch_chunk_size=4)), (True, None)):
        leaves = [(v.float() if wide else v.clone()).requires_grad_() for v in (x, w, b)]
        loss = facula.nn.functional.linear_cross_entropy(leaves[0], leaves[1], t, linear_bias=leaves[2],
                                                         reduction=reduction, options=options)
        loss.sum().backward()
        found.append([loss.detach(), *(leaf.grad for leaf in leaves)])
    for few, all_at_once in zip(*found, strict=True):
        assert few.dtype is facula.bfloat16
        near = all_at_once.bfloat16().float()
        assert ((few.float() - near).abs() <= near.abs() / 128).all()  # the last bit, where float32 sums differ
