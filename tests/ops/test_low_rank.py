"""svd_lowrank and pca_lowrank give decompositions; segment_reduce of odd segments."""

import numpy as np
import pytest

import docstrings
import facula


def low(*shape, rank=3, of="float64"):
    rng = np.random.default_rng(3)
    a = rng.standard_normal((*shape[:-1], rank)) @ rng.standard_normal((rank, shape[-1]))
    return facula.tensor(a, dtype=getattr(facula, of))


@pytest.mark.parametrize("shape", [(9, 5), (5, 9), (2, 3, 7, 6), (4, 4)])
def test_svd_lowrank(shape):
    facula.manual_seed(0)
    a = low(*shape)
    u, s, v = facula.svd_lowrank(a, q=4)
    assert u.shape == (*shape[:-1], 4) and v.shape == (*shape[:-2], shape[-1], 4)
    assert facula.allclose(u * s.unsqueeze(-2) @ v.mT, a, atol=1e-10)
    eye = facula.eye(4, dtype=a.dtype)
    assert facula.allclose(u.mT @ u, eye.expand(*shape[:-2], 4, 4), atol=1e-10)
    assert facula.allclose(s[..., :3], facula.linalg.svdvals(a)[..., :3], atol=1e-10)
    moved = facula.svd_lowrank(a + 1.0, q=4, M=facula.ones(1, dtype=a.dtype))[1]
    assert facula.allclose(moved, s, atol=1e-10)


def test_svd_lowrank_of_complex_numbers():
    a = facula.complex(low(6, 4, rank=2), low(6, 4, rank=2) * 2)
    u, s, v = facula.svd_lowrank(a, q=3)
    assert facula.allclose(u * s @ v.mH, a, atol=1e-10)


def test_pca_lowrank():
    x = low(20, 6) + 5
    u, s, v = facula.pca_lowrank(x)
    centred = x - x.mean(0)
    assert facula.allclose(u * s @ v.T, centred, atol=1e-9)
    assert facula.allclose(s, facula.linalg.svdvals(centred), atol=1e-9)
    with pytest.raises(ValueError, match="must be non-negative integer and not greater"):
        facula.pca_lowrank(x, q=7)
    with pytest.raises(ValueError, match="niter"):
        facula.pca_lowrank(x, niter=-1)


REFUSED = [("svd_lowrank", of, {}) for of in ("int64", "int32", "bool", "uint8", "float16")] + [
    ("pca_lowrank", of, {}) for of in ("int64", "bool")] + [
    ("pca_lowrank", "int64", {"center": False}), ("svd_lowrank", "float32", {"M": "int64"}),
    ("svd_lowrank", "float32", {"M": "float64"}), ("svd_lowrank", "float64", {"M": "float32"})]


@pytest.mark.parametrize("name, of, more", REFUSED)
def test_what_is_refused_is_refused_in_torchs_words(torch, name, of, more):
    said = []
    for library in (facula, torch):
        kwargs = {k: library.ones(5, 4, dtype=getattr(library, v)) if k == "M" else v for k, v in more.items()}
        with pytest.raises(RuntimeError) as error:
            getattr(library, name)(library.ones(5, 4, dtype=getattr(library, of)), q=2, **kwargs)
        said.append((type(error.value), str(error.value)))
    assert said[0] == said[1]


def test_a_matrix_that_is_taken_off_is_broadcast():
    a = low(6, 4)
    assert facula.allclose(facula.svd_lowrank(a + 1.0, q=4, M=facula.ones(4, dtype=a.dtype))[1],
                           facula.svd_lowrank(a, q=4)[1], atol=1e-9)
    with pytest.raises(RuntimeError, match="expanded size"):
        facula.svd_lowrank(a, q=2, M=facula.ones(3, 4, dtype=a.dtype))


@pytest.mark.parametrize("name", ["svd_lowrank", "pca_lowrank"])
def test_sparse_matrices_are_named_in_the_refusal(name):
    class coo_matrix:  # as SciPy's
        def tocoo(self):
            return self

    with pytest.raises(NotImplementedError, match="sparse matrices are not implemented, got .*coo_matrix"):
        getattr(facula, name)(coo_matrix())


@pytest.mark.parametrize("name", ["svd_lowrank", "pca_lowrank", "segment_reduce"])
def test_examples(name):
    docstrings.check_one(getattr(facula, name), name, facula=facula)


def test_empty_segments():
    x = facula.tensor([1.0, 2.0])
    lengths = facula.tensor([2, 0])
    found = [facula.segment_reduce(x, how, lengths=lengths).tolist()[1]
             for how in ("sum", "prod", "max", "min", "mean")]
    assert found[:4] == [0.0, 1.0, float("-inf"), float("inf")] and np.isnan(found[4])
    with pytest.raises(RuntimeError, match="sum to"):
        facula.segment_reduce(x, "sum", lengths=facula.tensor([1]))
    with pytest.raises(RuntimeError, match="negative"):
        facula.segment_reduce(x, "sum", lengths=facula.tensor([3, -1]))
    with pytest.raises(RuntimeError, match="reach past"):
        facula.segment_reduce(x, "sum", offsets=facula.tensor([0, 3]))
    one = facula.tensor([1])
    assert facula.segment_reduce(x, "sum", lengths=one, unsafe=True).tolist() == [1.0]


def test_largest_elements_share_a_segments_gradient():
    x = facula.tensor([1.0, 5.0, 5.0, 2.0], requires_grad=True)
    facula.segment_reduce(x, "max", lengths=facula.tensor([3, 1]), initial=5).sum().backward()
    assert x.grad.tolist() == [0.0, 0.5, 0.5, 0.0]  # `initial` has its part of the second segment
