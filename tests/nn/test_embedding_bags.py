"""`embedding_bag` where the last offset is not the number of indices, and where offsets make no bags."""

import functools

import numpy as np
import pytest

import facula
from facula.nn import functional as F

INDICES = [1, 4, 2, 0, 3, 1, 5]


def table(library, dtype="float32"):
    return (library.arange(18.0).reshape(6, 3) * 0.375 - 1.5).to(getattr(library, dtype)).requires_grad_()


def bags(indices, offsets, **options):
    """Values, and the gradients of the table and of the factors, of bags that end with the last offset."""
    weight, factors = table(facula, options.pop("dtype", "float32")), None
    if options.pop("weighted", False):
        factors = (facula.arange(7.0) / 2 + 1).to(weight.dtype)[:len(indices)].detach().requires_grad_()
    out = F.embedding_bag(facula.tensor(indices), weight, facula.tensor(offsets), per_sample_weights=factors,
                          include_last_offset=True, **options)
    (out * (facula.arange(float(out.numel())).reshape(out.shape) + 1)).sum().backward()
    return out.tolist(), weight.grad.tolist(), None if factors is None else factors.grad.tolist()


@pytest.mark.parametrize("padding_idx", [None, 1])
@pytest.mark.parametrize("offsets", [[0, 2, 4], [0, 5], [0, 0, 3, 3], [0, 2, 2, 6]], ids=str)
@pytest.mark.parametrize("options", [{"mode": "sum"}, {"mode": "sum", "weighted": True}, {"mode": "mean"},
                                     {"mode": "max"}, {"mode": "sum", "dtype": "float64"}], ids=str)
def test_indices_beyond_the_last_offset_are_in_no_bag(options, offsets, padding_idx):
    """PyTorch counts them to the last bag, or not, by mode, dtype, layout and padding; where it does not, its
    gradient is of memory that nobody wrote, and its mean divides by them all the same."""
    end = offsets[-1]
    out, table_grad, factors_grad = bags(INDICES, offsets, padding_idx=padding_idx, **options)
    other = bags(INDICES[:end], offsets, padding_idx=padding_idx, **options)
    assert out == other[0] and table_grad == other[1]
    if factors_grad is not None:
        assert factors_grad[:end] == other[2] and not any(factors_grad[end:])


def test_sums_up_to_the_last_offset(oracle):
    """Where PyTorch leaves the rest out as well: float32, rows side by side, no padding."""
    def run(library, offsets, weighted):
        factors = library.arange(7.0) / 2 + 1 if weighted else None
        return library.nn.functional.embedding_bag(
            library.tensor(INDICES), table(library).detach(), library.tensor(offsets), mode="sum",
            per_sample_weights=factors, include_last_offset=True)

    for offsets in ([0, 2, 4], [0, 5], [0, 0, 3, 3], [0, 2, 2, 6], [0, 2, 7], [0, 0], [0]):
        for weighted in (False, True):
            ours, theirs = oracle.both(functools.partial(run, offsets=offsets, weighted=weighted), offsets, weighted)
            np.testing.assert_allclose(ours[1], theirs[1], rtol=1e-6)


def test_frequencies_are_those_of_the_row():
    """PyTorch divides by the frequency of another row where a row before it occurs twice."""
    weight = table(facula)
    F.embedding_bag(facula.tensor(INDICES), weight, facula.tensor([0, 2, 7]), mode="sum", include_last_offset=True,
                    scale_grad_by_freq=True).sum().backward()
    assert weight.grad[:, 0].tolist() == [1, 1, 1, 1, 1, 1]


@pytest.mark.parametrize("mode", ["sum", "mean", "max"])
@pytest.mark.parametrize("last", [False, True])
def test_offsets_that_decrease_are_refused(mode, last):
    with pytest.raises(RuntimeError, match=r"embedding_bag: offsets .*must not decrease; got \[0, 4, 2\]"):
        F.embedding_bag(facula.tensor(INDICES), table(facula), facula.tensor([0, 4, 2]), mode=mode,
                        include_last_offset=last)
