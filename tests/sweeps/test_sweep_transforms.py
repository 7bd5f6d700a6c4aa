"""Every operation under the transforms: forward mode is the transpose of reverse mode, vmap is a loop."""


import numpy as np
import pytest

import facula
from facula.func import jvp, vmap
from facula.testing.samples import SAMPLES
from sweep import OPERATIONS, REFUSALS
from transforms_sweep import tensors, variables

# Operations that vmap refuses, since what they do, or how large their result is, depends on values.
REFUSED = {
    **dict.fromkeys(("Tensor.apply_", "Tensor.map_"), "calls a Python function for each element"),
    **dict.fromkeys(("argwhere", "nonzero", "masked_select", "unique", "where", "Tensor.__getitem__",
                     "repeat_interleave"), "has as many results as values say"),
    **dict.fromkeys(("bincount", "geqrf", "histc", "histogram", "histogramdd", "isin", "linalg.ldl_factor",
                     "linalg.ldl_factor_ex", "linalg.ldl_solve", "masked_scatter", "nonzero_static", "segment_reduce",
                     "unravel_index"), "NumPy computes it from values"),
    **dict.fromkeys(("bernoulli", "multinomial", "poisson", "Tensor.bernoulli_"),
                    "probabilities of its own for each value need randomness='different'"),
    **dict.fromkeys(("_sample_dirichlet", "_standard_gamma"), "draws until values say that it is enough"),
    "nn.functional.rrelu": "draws as many numbers as values say",
    "nn.functional.one_hot": "has as many classes as values say, if it is not told",
    **dict.fromkeys(("nn.functional.ctc_loss", "nn.functional.embedding_bag"), "takes its structure from values"),
    **dict.fromkeys(("Tensor.resize_", "Tensor.resize_as_", "Tensor.set_"), "gives its argument another shape"),
    "Tensor.copy_": "nothing is written into a tensor that is the same for all",
}


def gradient_pairs(run, arrays, rng):
    leaves = [t.requires_grad_() for t in tensors(arrays)]
    facula.manual_seed(1)
    outs = run(*leaves)
    moving = [o.requires_grad for o in outs]
    weights = [facula.from_numpy(np.asarray(rng.standard_normal(o.shape))).to(o.dtype) for o in outs if o.requires_grad]
    grads = facula.autograd.grad([o for o in outs if o.requires_grad], leaves, weights, allow_unused=True)
    return moving, weights, grads


def samples_of(name):
    for sample in SAMPLES[name]:
        if sample.gradient:
            run, arrays = variables(name, sample)
            if arrays and answers(run, arrays) and any(o.requires_grad for o in run(
                    *[t.requires_grad_() for t in tensors(arrays)])):
                yield sample, run, arrays


def answers(run, arrays):
    try:
        facula.manual_seed(1)
        return run(*[t.requires_grad_() for t in tensors(arrays)])
    except REFUSALS:
        return ()


@pytest.mark.parametrize("name", OPERATIONS)
def test_forward_mode_is_the_transpose_of_reverse_mode(name):
    """<w, J t> = <J^T w, t>."""
    rng = np.random.default_rng(0)
    for sample, run, arrays in samples_of(name):
        moving, weights, grads = gradient_pairs(run, arrays, rng)
        directions = [rng.standard_normal(a.shape) for a in arrays]
        right = sum(float((g.detach().numpy() * t).sum()) for g, t in zip(grads, directions, strict=True)
                    if g is not None)
        facula.manual_seed(1)
        found = jvp(lambda *x: tuple(o for o, m in zip(run(*x), moving, strict=True) if m),  # noqa: B023
                    tuple(tensors(arrays)), tuple(tensors(directions)))[1]
        left = sum(float((np.conj(w.numpy()) * q.numpy()).real.sum()) for w, q in zip(weights, found, strict=True))
        np.testing.assert_allclose(left, right, rtol=1e-6, atol=1e-8, err_msg=f"{name} {sample}")


def variations(arrays):
    """Two of each array: the elements as they are, and in another order."""
    return [np.stack([a, np.random.default_rng(3).permutation(a.reshape(-1)).reshape(a.shape)]) for a in arrays]


def loops(name):
    """(what is said of it, function, stacked arrays, the two answers) of the samples that answer alike."""
    for sample in SAMPLES[name]:
        for all_arrays in (False, True):
            run, arrays = variables(name, sample, all_arrays)
            if not arrays or all_arrays and all(a.dtype == np.float64 for a in arrays):
                continue
            both = variations(arrays)
            answered = []
            for i in range(2):
                try:
                    facula.manual_seed(1)
                    answered.append([o.numpy() for o in run(*tensors([a[i] for a in both]))])
                except REFUSALS:
                    break
            if len(answered) == 2 and answered[0] and [a.shape for a in answered[0]] == [a.shape for a in answered[1]]:
                yield f"{name} {sample}", run, both, answered


@pytest.mark.parametrize("name", OPERATIONS)
def test_vmap_is_a_loop(name):
    refused = False
    for what, run, both, answered in loops(name):
        facula.manual_seed(1)
        try:
            found = vmap(run, randomness="same")(*tensors(both))
        except (RuntimeError, NotImplementedError) as refusal:
            assert name in REFUSED, f"{what}: {refusal}"
            refused = True
            continue
        for ours, one, other in zip(found, *answered, strict=True):
            np.testing.assert_allclose(ours.numpy(), np.stack([one, other]), rtol=1e-9, atol=1e-12, err_msg=what)
    assert refused == (name in REFUSED)
