"""A warning points at the line of the program that has called Facula, on every road to it."""

import re
import warnings
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest

import facula
from facula.ops import listening

ONE = facula.ones(1)
CALLS = {
    "operation": lambda: facula.var(ONE, 0),
    "method": lambda: ONE.std(),
    "out=": lambda: facula.add(ONE, ONE, out=facula.ones(2)),
    "deprecated": lambda: facula.range(0, 3),
    "host": lambda: facula.cov(facula.ones(2, 1)),
    "index": lambda: facula.ones(3)[facula.ones(3, dtype=facula.uint8)],
    "constructor": lambda: facula.tensor(ONE),
    "property": lambda: (facula.ones(1, requires_grad=True) * 2).grad,
    "functional": lambda: facula.nn.functional.softmax(ONE),
    "loss": lambda: facula.nn.functional.mse_loss(ONE, facula.ones(2)),
    "old arguments": lambda: facula.nn.functional.l1_loss(ONE, ONE, size_average=True),
    "module": lambda: facula.nn.Softmax()(ONE),
    "modules": lambda: facula.nn.Sequential(facula.nn.LogSoftmax())(ONE),
    "random": lambda: facula.nn.init.kaiming_normal_(facula.ones(0, 2)),
    "array": lambda: facula.from_numpy(np.broadcast_to(np.ones(1, np.float32), 3)),
}


class Quiet(facula.overrides.TorchFunctionMode):
    def __torch_function__(self, function, types, args=(), kwargs=None):
        return function(*args, **(kwargs or {}))


class Own(facula.Tensor):
    pass


def line_of(call):
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        call()
    assert found
    return {(w.filename, w.lineno) for w in found}


@pytest.mark.parametrize("name", CALLS)
@pytest.mark.parametrize("road", [nullcontext, listening.listening])
def test_plain_calls(name, road):
    call = CALLS[name]
    with road():
        assert line_of(call) == {(__file__, call.__code__.co_firstlineno)}


def test_subclasses():
    own = ONE.as_subclass(Own)
    assert line_of(lambda: own.std()) == {(__file__, test_subclasses.__code__.co_firstlineno + 2)}


def test_under_a_mode_it_is_the_program_still():
    """The mode's own line, which is what has called."""
    with Quiet():
        (file, line), = line_of(lambda: facula.var(ONE, 0))
    assert (file, line) == (__file__, Quiet.__torch_function__.__code__.co_firstlineno + 1)


def test_nobody_counts_frames():
    source = Path(facula.__file__).parent
    found = [path.name for path in source.rglob("*.py")
             if re.search(r"warnings\.warn\(|stacklevel=", path.read_text(encoding="utf-8"))]
    assert found == ["errors.py"]
