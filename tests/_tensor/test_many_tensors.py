"""What is done to many tensors as one plan (_tensor/many.py) comes to the bits of one after the other."""

import numpy as np
import pytest

import facula
from facula import nn
from facula._tensor import many
from facula.engine import recorder
from facula.engine.trace import rows as trace
from facula.nn.utils import clip_grad_norm_, clip_grad_value_, clip_grads_with_norm_, get_total_norm

pytestmark = pytest.mark.skipif(not recorder.LIMIT, reason="every operation runs at its call")
SHAPES = [(3,), (4, 5), (2, 3, 4), (700,), (4, 5), (130, 70)]
DTYPES = [facula.float32, facula.float64, facula.bfloat16, facula.float16]


@pytest.fixture(autouse=True)
def few_are_many(monkeypatch):
    monkeypatch.setattr(many, "MANY", 2)


def gradients(shapes=SHAPES, dtype=facula.float32):
    facula.manual_seed(3)
    return [facula.randn(shape).to(dtype) for shape in shapes]


def plain():
    return gradients()


def other_kinds():
    found = gradients([(3,), (4, 5), (), (0, 2), (6, 4), (), (5,), (2, 2), (7,), (1,)])
    found[4] = found[4].t()  # in another order
    found[6] = facula.randn(9)[2:7]  # a part
    found[7] = facula.zeros(2, 2)  # a number, as yet
    return found


def shared_memory():
    whole = facula.randn(40)
    return [whole[:10].view(2, 5), whole[10:30], whole[30:], *gradients([(3,), (3,)])]


def of_numpy():
    array = np.arange(6, dtype=np.float32)
    return [facula.from_numpy(array), *gradients([(6,), (2, 3)])]


def twice():
    found = gradients([(3,), (4,), (5,)])
    return [found[0], found[1], found[0], found[2]]


def types_of_two():
    return gradients([(3,), (4,), (2, 2)]) + gradients([(5,), (3,)], facula.float64) + gradients([(7,)])


MAKE = [plain, other_kinds, shared_memory, of_numpy, twice, types_of_two]


def parameters(grads):
    found = []
    for g in grads:
        found.append(nn.Parameter(facula.zeros(g.shape, dtype=g.dtype)))
        found[-1].grad = g
    return found


def bits(tensors):
    return [np.frombuffer(t.detach().clone().contiguous().reshape(-1).view(facula.uint8).numpy().tobytes(), np.uint8)
            .tolist() if t.numel() else [] for t in tensors]


def both(monkeypatch, run):
    """What `run` gives, and what it gives one after the other."""
    facula.manual_seed(3)
    together = run()
    with monkeypatch.context() as patch:
        patch.setattr(many, "MANY", 1 << 40)
        facula.manual_seed(3)
        return together, run()


@pytest.mark.parametrize("norm", [2, 1, 3, 0, 0.5, float("inf"), -float("inf")])
@pytest.mark.parametrize("dtype", DTYPES, ids=lambda d: d.name)
def test_norms_and_what_they_clip(norm, dtype, monkeypatch):
    def run():
        grads = gradients(dtype=dtype)
        return [clip_grad_norm_(parameters(grads), 0.5, norm), *grads, get_total_norm(grads, norm)]

    together, apart = both(monkeypatch, run)
    assert bits(together) == bits(apart) and [t.dtype for t in together] == [t.dtype for t in apart]


@pytest.mark.parametrize("make", MAKE)
@pytest.mark.parametrize("of", [2.0, float("inf")])
def test_whatever_they_are_like(make, of, monkeypatch):
    def run():
        grads = [g for g in make() if of == 2.0 or g.numel()]
        total = clip_grad_norm_(parameters(grads), 0.5, of)
        clip_grad_value_(parameters(grads), 0.07)
        return [total, *grads]

    together, apart = both(monkeypatch, run)
    assert bits(together) == bits(apart)
    assert [t.stride() for t in together] == [t.stride() for t in apart]


@pytest.mark.compiled
def test_a_clip_records_one_gradient_whatever_their_number():
    record, counts = recorder.record, []
    for count in (20, 60):
        params = parameters(gradients([(3, 4)] * count))
        for _ in range(3):
            before = len(recorder.pending)
            total = clip_grad_norm_(params, 0.5)
            counts.append(len(recorder.pending) - before)
            assert np.isfinite(total.item())
    assert record is recorder.record and max(counts) < 15, counts


@pytest.mark.compiled
def test_they_are_written_where_they_lie(monkeypatch):
    taken = []
    run = trace.Rows.run

    def seen(self, *arguments):
        taken.append((len(self.step.results), bool(self.takes)))
        return run(self, *arguments)

    monkeypatch.setattr(trace.Rows, "run", seen)
    params = parameters([g + 1 for g in gradients([(50, 4)] * 5)])
    clip_grad_norm_(params, 0.5)
    clip_grad_norm_(params, 0.4)
    assert len(taken) == 4 and taken[0] == taken[2] == (1, False) and taken[1][0] == taken[3][0] == 5


def test_hundreds_are_several_plans(monkeypatch):
    shapes = [(1 + k % 5,) for k in range(1700)]

    def run():
        grads = gradients(shapes)
        return [clip_grad_norm_(parameters(grads), 0.5), *grads]

    together, apart = both(monkeypatch, run)
    assert bits(together) == bits(apart)


def test_values_that_somebody_holds_stay():
    grads = [g + 1 for g in gradients()]
    held = [(g * 1, g.clone(), g.detach()) for g in grads]
    before = [g.tolist() for g in grads]
    versions = [g._version for g in grads]
    clip_grad_value_(parameters(grads), 0.5)
    for g, (product, copy, same), old, version in zip(grads, held, before, versions, strict=True):
        assert product.tolist() == copy.tolist() == old and same.tolist() == g.tolist() and g._version > version
        assert g.abs().max() <= 0.5


def test_a_norm_of_nothing_wrong_is_said_and_of_something_refused():
    grads = gradients()
    grads[2][0] = float("nan")
    with pytest.raises(RuntimeError, match="non-finite"):
        clip_grad_norm_(parameters(grads), 1.0, error_if_nonfinite=True)
    clip_grads_with_norm_(parameters(grads[:2]), 1.0, facula.tensor(2.0))
    assert bits(grads[:2]) == bits([g * facula.tensor(1.0 / (2.0 + 1e-6)) for g in gradients()[:2]])


def test_modes_that_listen_hear_of_each():
    from facula.overrides import TorchFunctionMode

    class Heard(TorchFunctionMode):
        def __torch_function__(self, function, types, args=(), kwargs=None):
            names.append(getattr(function, "__name__", ""))
            return function(*args, **(kwargs or {}))

    names = []
    with Heard():
        clip_grad_value_(parameters(gradients()), 0.5)
    assert sum("clamp" in name for name in names) == len(SHAPES)


def test_what_reads_values_is_done_one_by_one():
    """A change that looks at elements cannot be told of others."""
    grads = gradients()
    wanted = [g * float(g.abs().max()) for g in grads]
    many.changed(grads, lambda g: g.mul_(float(g.abs().max())))
    assert bits(grads) == bits(wanted)
    grads = gradients()
    means = many.gathered(grads, lambda g: g.mean() if g.dim() else g)
    np.testing.assert_array_equal(means.numpy(), [g.mean().item() for g in grads])
    firsts = many.gathered(grads, lambda g: g.flatten()[0])
    np.testing.assert_array_equal(firsts.numpy(), [g.flatten()[0].item() for g in grads])
