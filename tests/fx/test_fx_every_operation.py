"""Every operation called with proxies: it is recorded as one call of its public name, and the code that is generated
computes what the operation does."""

from __future__ import annotations

import numpy as np
import pytest

import facula
from facula import fx
from facula.fx._names import is_from_torch, qualified_name, resolved
from facula.ops import op
from facula.testing.samples import SAMPLES
from sample_calls import apart
from sweep import OPERATIONS, look_up

ROOMS = ("", "nn", "linalg", "special", "fft")
# Of which one call is another result than the next.
RANDOM = ("rand", "normal", "dropout", "bernoulli", "multinomial", "poisson", "binomial", "exponential", "geometric",
          "cauchy", "uniform", "rrelu", "gumbel", "fractional", "empty", "gamma", "dirichlet", "lowrank")


def test_every_name_is_found_in_generated_code():
    wrong = []
    for operation in op.operations():
        for spelling, form in operation.spellings.items():
            if spelling.partition(".")[0] in ROOMS or "." not in spelling:
                found = resolved(qualified_name(form))
                if not is_from_torch(form) or not callable(found):
                    wrong.append(spelling)
    assert wrong == []


def case(name):
    """The first sample of an operation: (function of its arrays, these as tensors). Tracing has a proxy for each
    argument that has a name, so the function has as many as there are arrays."""
    call, tensors = apart(SAMPLES[name][0], look_up(facula, name))
    listed = ", ".join(f"a{k}" for k in range(len(tensors)))
    return eval(f"lambda {listed}: call({listed})", {"call": call}), tensors


def same(one, other):
    if isinstance(one, facula.Tensor):
        assert one.dtype == other.dtype and one.shape == other.shape
        np.testing.assert_array_equal(one.detach().resolve_conj().numpy(), other.detach().resolve_conj().numpy())
    elif isinstance(one, (tuple, list)):
        assert len(one) == len(other)
        for a, b in zip(one, other, strict=True):
            same(a, b)
    else:
        assert one == other or one != one


# Every third: the others have passed, too, and take a minute.
NAMES = [name for name in OPERATIONS if not name.startswith("Tensor.") and not any(word in name for word in RANDOM)
         and name.partition(".")[0] in (*ROOMS, name)][::3]


@pytest.mark.parametrize("names", [NAMES[k::8] for k in range(8)], ids=range(8))
def test_it_is_one_call_that_does_the_same(names):
    for name in names:
        call, tensors = case(name)
        if not tensors:
            continue
        module = fx.symbolic_trace(call)
        calls = [node for node in module.graph.nodes if node.op not in ("placeholder", "output", "get_attr")]
        assert len(calls) == 1, (name, module.graph)
        target = calls[0].target
        if calls[0].op == "call_function":
            assert op.operation_of(target) is op.operation_of(look_up(facula, name)), name
        with facula.no_grad():
            same(module(*[t.clone() for t in tensors]), call(*[t.clone() for t in tensors]))
