"""Every operation, over its samples: the same as PyTorch, and on both back ends; none without
samples."""

import pytest

import facula
from facula.ops import registry
from facula.testing.backends import evaluator, interpreter
from facula.testing.samples import NOT_SWEPT, SAMPLES, operations
from sweep import OPERATIONS, ask, assert_same, expected


def test_every_operation_has_samples():
    registered = operations()
    missing = [name for name in registered if not SAMPLES.get(name) and name not in NOT_SWEPT]
    assert not missing, "no samples (facula/testing/samples), and not in NOT_SWEPT with a reason"
    names = {
        *registry.FUNCTIONS,
        *(f"Tensor.{n}" for n in registry.METHODS),
        *(f"{space}.{n}" for space, table in registry.NAMESPACES.items() for n in table),
    }
    assert not {*SAMPLES, *NOT_SWEPT} - names, "no such operation any more"
    assert not SAMPLES.keys() & NOT_SWEPT.keys()


@pytest.mark.parametrize("name", OPERATIONS)
def test_same_as_torch(name, oracle):
    for sample in SAMPLES[name]:
        call = name, sample.args, sample.kwargs, sample.of
        assert_same(ask(facula, *call), expected(oracle, *call), f"{name}{sample}")


@pytest.mark.parametrize("name", OPERATIONS)
def test_same_on_the_interpreter(name):
    for sample in SAMPLES[name]:
        call = name, sample.args, sample.kwargs, sample.of
        compiled = ask(facula, *call)
        assert not isinstance(compiled, Exception), f"{name}{sample}: {compiled!r}"
        with interpreter():
            interpreted = ask(facula, *call)
        assert_same(interpreted, compiled, f"{name}{sample}", factor=0.1)


@pytest.mark.compiled
@pytest.mark.parametrize("name", OPERATIONS)
def test_same_by_evaluating_the_plans(name):
    for sample in SAMPLES[name]:
        call = name, sample.args, sample.kwargs, sample.of
        compiled = ask(facula, *call)
        with evaluator():
            evaluated = ask(facula, *call)
        assert_same(evaluated, compiled, f"{name}{sample}", factor=0.1)
