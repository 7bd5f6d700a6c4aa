"""Every operation captured: what module() gives is what the operation gives, to the bit."""

from __future__ import annotations

import numpy as np
import pytest

import facula
from facula.export import Dim, export
from facula.fx.experimental.symbolic_shapes import GuardOnDataDependentSymNode
from facula.testing.samples import SAMPLES
from sample_calls import Calling, apart
from sweep import OPERATIONS, look_up

# Of which there is no graph: the answer depends on elements (or has none on "meta"), Python's functions, other shapes.
NOT_CAPTURED = {"Tensor.__contains__", "Tensor.__iter__", "Tensor.__rdiv__", "Tensor.apply_", "Tensor.map_",
                "Tensor.requires_grad_", "Tensor.resize_", "Tensor.resize_as_", "Tensor.set_", "Tensor.is_nonzero",
                "Tensor.item", "Tensor.tolist", "allclose", "argwhere", "bincount", "equal", "geqrf", "histogram",
                "histogramdd", "linalg.lstsq", "masked_select", "nn.functional.one_hot", "nonzero", "unique",
                "unique_consecutive", "repeat_interleave", "binomial"}
# Every third: the others have passed, too.
NAMES = [name for name in OPERATIONS if name not in NOT_CAPTURED][1::3]


def same(name, one, other):
    if isinstance(one, facula.Tensor):
        assert one.dtype == other.dtype and one.shape == other.shape, name
        if "empty" not in name:
            a, b = (t.detach().resolve_conj() for t in (one, other))
            a, b = (t.float() if t.dtype == facula.bfloat16 else t for t in (a, b))
            np.testing.assert_array_equal(a.numpy(), b.numpy(), err_msg=name)
    elif isinstance(one, (tuple, list)):
        assert len(one) == len(other), name
        for a, b in zip(one, other, strict=True):
            same(name, a, b)
    else:
        assert one == other or one != one, name


def outcome(function, tensors):
    facula.manual_seed(1)
    with facula.no_grad():
        return function(*[t.clone() for t in tensors])


@pytest.mark.parametrize("names", [NAMES[k::8] for k in range(8)], ids=range(8))
def test_it_is_what_the_operation_gives(names):
    for name in names:
        call, tensors = apart(SAMPLES[name][0], look_up(facula, name))
        program = export(Calling(call), tuple(tensors))
        same(name, outcome(call, tensors), outcome(program.module(), tensors))


def test_with_all_sizes_left_open_as_far_as_they_can_be():
    for name in NAMES[::7]:
        call, tensors = apart(SAMPLES[name][0], look_up(facula, name))
        if not tensors:
            continue
        shapes = (tuple(dict.fromkeys(range(t.dim()), Dim.AUTO) for t in tensors),)
        try:
            program = export(Calling(call), tuple(tensors), dynamic_shapes=shapes)
        except NotImplementedError as error:
            assert "sizes are open" in str(error)
            continue
        same(name, outcome(call, tensors), outcome(program.module(), tensors))


def test_those_without_a_graph_say_so():
    for name in ("argwhere", "masked_select", "nonzero", "unique", "Tensor.item", "equal"):
        call, tensors = apart(SAMPLES[name][0], look_up(facula, name))
        with pytest.raises(GuardOnDataDependentSymNode):
            export(Calling(call), tuple(tensors))
