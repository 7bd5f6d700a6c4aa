"""Every operation that has a gradient: first and second derivatives by finite differences, in
float64."""

import warnings

import pytest

import facula
from facula.autograd import gradcheck, gradgradcheck
from facula.testing.samples import SAMPLES
from sweep import OPERATIONS, flat, given, is_variable, look_up, tensors_of


def variables(sample):
    """The sample as a function of its float arrays, and those as float64 leaves."""
    leaves = []

    def place(library, array):
        t = library.from_numpy(array.copy())
        if is_variable(array):
            leaves.append(t.requires_grad_())
        return t

    args, kwargs = given(facula, (sample.args, sample.kwargs), place)
    return args, kwargs, leaves


def function_of(name, sample):
    args, kwargs, leaves = variables(sample)
    function = look_up(facula, name)

    def run(*_):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return flat(sample.of(function(*args, **kwargs)))

    return run, leaves


def differentiable(name):
    """The samples of an operation that have something to differentiate: (sample, function,
    leaves)."""
    for sample in SAMPLES[name]:
        if sample.gradient and any(
            is_variable(a) for a in tensors_of([sample.args, sample.kwargs])
        ):
            run, leaves = function_of(name, sample)
            if any(t.requires_grad for t in run()):
                yield sample, run, leaves


DIFFERENTIABLE = [name for name in OPERATIONS if any(True for _ in differentiable(name))]


@pytest.mark.parametrize("name", OPERATIONS)
def test_requires_grad_where_torch_does(name, oracle):
    """So that no operation drops out of the two sweeps below unnoticed."""
    for sample in SAMPLES[name]:
        if sample.gradient and list(tensors_of([sample.args, sample.kwargs])):
            run, leaves = function_of(name, sample)
            ours = any(t.requires_grad for t in run())
            theirs = bool(leaves) and oracle(
                lambda torch, sample=sample: torch_requires_grad(torch, name, sample),
                *(sample.args, sample.kwargs),
            )
            assert not leaves or ours == theirs, f"{name}{sample}: requires_grad is {ours}"


def torch_requires_grad(torch, name, sample):
    def place(library, array):
        t = library.from_numpy(array.copy())
        return t.requires_grad_() if is_variable(array) else t

    def any_of(result):
        if isinstance(result, torch.Tensor):
            return result.requires_grad
        return isinstance(result, (tuple, list)) and any(any_of(part) for part in result)

    args, kwargs = given(torch, (sample.args, sample.kwargs), place)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return any_of(sample.of(look_up(torch, name)(*args, **kwargs)))


def test_as_strided_of_elements_that_share_memory():
    """Each of them has a part of the gradient."""

    def run(x):
        return x.expand(2, 3).as_strided((2, 2), (1, 1)) * 3

    x = facula.ones(3, dtype=facula.float64, requires_grad=True)
    assert gradcheck(run, (x,)) and gradgradcheck(run, (x,))


@pytest.mark.parametrize("name", DIFFERENTIABLE)
def test_first_gradients(name):
    for sample, run, leaves in differentiable(name):
        assert gradcheck(run, leaves), f"{name}{sample}"


@pytest.mark.parametrize("name", DIFFERENTIABLE)
def test_second_gradients(name):
    facula.manual_seed(3)
    for sample, run, leaves in differentiable(name):
        assert gradgradcheck(run, leaves), f"{name}{sample}"
