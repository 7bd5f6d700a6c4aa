"""Every operation on an accelerator (the pretend one, unless FACULA_TEST_TARGET names another) gives what it gives on
the cpu, there, with its gradients."""

import numpy as np
import pytest

import facula
from facula.testing.samples import SAMPLES
from placed_programs import announced
from sweep import OPERATIONS, REFUSALS, ask, assert_same, changed, given, look_up, single, tensors_of

# What is said of a tensor's memory, or asks for the cpu's.
OF_THE_CPU = {"Tensor.numpy", "Tensor.__array__", "Tensor.cpu", "Tensor.device", "Tensor.__dlpack__", "asarray",
              "from_numpy", "Tensor.data_ptr", "Tensor.to", "Tensor.get_device", "Tensor.__iter__"}


@pytest.fixture(scope="module", autouse=True)
def there():
    with announced() as place:
        yield place


def places_of(result):
    if isinstance(result, facula.Tensor):
        yield result.device
    elif isinstance(result, (list, tuple)):
        for part in result:
            yield from places_of(part)


@pytest.mark.parametrize("name", [n for n in OPERATIONS if n not in OF_THE_CPU])
def test_results_are_the_cpus_and_lie_there(name, there):
    def move(library, array):
        return single(library, array).to(there)

    for sample in SAMPLES[name]:
        if not any(True for _ in tensors_of([sample.args, sample.kwargs])):
            continue
        found = []

        def on_cpu(result, found=found):
            found.extend(places_of(result))
            return moved(result)

        expected = ask(facula, name, sample.args, sample.kwargs)
        ours = ask(facula, name, sample.args, sample.kwargs, on_cpu, move)
        assert_same(ours, expected, f"{name}{sample}", 2.0)
        assert set(found) <= {there}, f"{name}{sample}: {found}"


def moved(result):
    if isinstance(result, facula.Tensor):
        return result.cpu()
    if isinstance(result, tuple) and hasattr(result, "_fields"):
        return type(result)(*map(moved, result))
    return type(result)(map(moved, result)) if type(result) in (list, tuple) else result


def gradients(name, sample, place):
    """The results' sum's gradients with respect to all floating arguments, on the cpu; or the refusal."""
    leaves = []

    def leaf(library, array):
        t = single(library, array).to(place)
        if t.is_floating_point():
            leaves.append(t.requires_grad_())
        return t

    facula.manual_seed(5)
    try:
        args, kwargs = given(facula, (sample.args, sample.kwargs), leaf)
        result = look_up(facula, name)(*args, **kwargs)
        outs = [t for t in flat(result) if t.requires_grad and t.is_floating_point()]
        if not outs:
            return None
        total = sum((t * facula.arange(1.0, t.numel() + 1, device=place, dtype=t.dtype).reshape(t.shape)).sum()
                    for t in outs)
        found = facula.autograd.grad(total, leaves, allow_unused=True)
    except REFUSALS as refusal:
        return refusal
    assert all(g is None or g.device.type == facula.device(place).type for g in found), name
    return [None if g is None else ("float32", g.cpu().float().numpy()) for g in found]


def flat(result):
    if isinstance(result, facula.Tensor):
        yield result
    elif isinstance(result, (list, tuple)):
        for part in result:
            yield from flat(part)


@pytest.mark.parametrize("name", [n for n in OPERATIONS if n not in OF_THE_CPU and not n.endswith("_")])
def test_gradients_are_the_cpus_and_lie_there(name, there):
    for sample in SAMPLES[name]:
        if not any(a.dtype.kind == "f" for a in tensors_of([sample.args, sample.kwargs])):
            continue
        expected = gradients(name, sample, "cpu")
        ours = gradients(name, sample, there)
        if expected is None or isinstance(expected, Exception):
            assert type(ours) is type(expected), f"{name}{sample}: {ours!r}, not {expected!r}"
            continue
        assert not isinstance(ours, Exception), f"{name}{sample}: {ours!r}"
        for g, wanted in zip(ours, expected, strict=True):
            assert (g is None) == (wanted is None), f"{name}{sample}"
            if wanted is not None:  # what cancels to nothing is a rounding of terms of order one
                scale = max(1, np.abs(wanted[1][np.abs(wanted[1]) < 1e4]).max(initial=0))
                np.testing.assert_allclose(g[1], wanted[1], rtol=1e-4, atol=1e-6 * scale, err_msg=f"{name}{sample}")


def test_arrays_of_a_sample_are_found():
    assert [a.shape for a in tensors_of([np.ones(2), {"x": (np.ones(3),)}])] == [(2,), (3,)]
    assert changed([np.ones(2), 3], len) == [2, 3]
