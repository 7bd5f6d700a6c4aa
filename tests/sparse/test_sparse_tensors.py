"""Sparse tensors as things: made, printed, copied, saved, moved, refused, trained with."""

import copy
import importlib
import io
import pickle

import numpy as np
import pytest

import docstrings
import facula


def example(library, **options):
    return library.sparse_coo_tensor([[0, 1, 1], [2, 0, 2]], [3.0, 4.0, 5.0], (2, 3), **options)


MAKES = {
    "inferred": lambda t: t.sparse_coo_tensor([[0, 1], [2, 0]], [1, 2]),
    "repeated": lambda t: t.sparse_coo_tensor([[0, 0], [1, 1]], [1.0, 2.0], (2, 3)).coalesce(),
    "hybrid": lambda t: t.sparse_coo_tensor([[1, 0]], [[1.0, 2.0], [3.0, 4.0]], (3, 2)),
    "nothing": lambda t: t.sparse_coo_tensor(size=(2, 3)),
    "dtype": lambda t: t.sparse_coo_tensor([[0]], [1], (2,), dtype=t.float64),
    "leaf": lambda t: example(t, requires_grad=True),
    "bool": lambda t: t.sparse_coo_tensor([[0, 0, 1]], [True, False, False], (2,)).coalesce(),
    "csr": lambda t: t.sparse_csr_tensor([0, 1, 3], [2, 0, 2], [3.0, 4.0, 5.0], (2, 3)),
    "csr inferred": lambda t: t.sparse_csr_tensor([0, 1, 3], [2, 0, 2], [3, 4, 5]),
    "csc": lambda t: t.sparse_csc_tensor([0, 1, 1, 3], [1, 0, 1], [4.0, 3.0, 5.0]),
    "by layout": lambda t: t.sparse_compressed_tensor([0, 1, 3], [2, 0, 2], [3.0, 4.0, 5.0], layout=t.sparse_csr),
    "of a dense one": lambda t: t.arange(6.0).view(2, 3).to_sparse(),
    "rows of a dense one": lambda t: t.tensor([[0.0, 0.0], [1.0, 2.0]]).to_sparse(1),
    "as csr": lambda t: t.arange(6.0).view(2, 3).to_sparse(layout=t.sparse_csr),
    "as csc": lambda t: t.arange(6.0).view(2, 3).to_sparse_csc(),
    "as ints": lambda t: example(t).int(),
    "as bools": lambda t: example(t).bool(),
    "twice": lambda t: example(t).clone().mul_(2),
    "cleared": lambda t: example(t).zero_(),
    "copied": lambda t: t.zeros_like(example(t)).copy_(example(t)),
    "added to": lambda t: example(t).add_(example(t)),
    "resized": lambda t: example(t).sparse_resize_((4, 3), 2, 0),
    "resized and cleared": lambda t: example(t).sparse_resize_and_clear_((4, 3), 1, 1),
}


@pytest.mark.parametrize("name", MAKES)
def test_making(oracle, name):
    def found(library):
        s = MAKES[name](library)
        parts = [getattr(s, part)().tolist() for part in (
            ("_indices", "_values") if s.is_sparse else ("crow_indices", "col_indices", "values")
            if s.layout is library.sparse_csr else ("ccol_indices", "row_indices", "values"))]
        return [repr(s), parts, s.to_dense().tolist(), list(s.shape), s._nnz(), s.sparse_dim(), s.dense_dim(),
                s.is_sparse and s.is_coalesced(), s.is_sparse_csr, s.requires_grad, s.is_leaf, s.numel(), s.ndim,
                str(s.dtype), str(s.device)]
    assert found(facula) == oracle(found, name)


REFUSED = {
    "counts": lambda t: t.sparse_coo_tensor([[0, 1]], [1.0], (2,)),
    "dimensions": lambda t: t.sparse_coo_tensor([[0]], [1.0], (2, 3)),
    "sizes": lambda t: t.sparse_coo_tensor([[0]], [[1.0, 2.0]], (2, 3)),
    "too large": lambda t: t.sparse_coo_tensor([[5]], [1.0], (2,), check_invariants=True),
    "negative": lambda t: t.sparse_coo_tensor([[-1]], [1.0], (2,), check_invariants=True),
    "not in order": lambda t: t.sparse_coo_tensor([[1, 0]], [1.0, 2.0], (2,), is_coalesced=True, check_invariants=True),
    "indices": lambda t: example(t).indices(),
    "values": lambda t: example(t).values(),
    "crow_indices": lambda t: example(t).crow_indices(),
    "coalesce": lambda t: example(t).to_sparse_csr().coalesce(),
    "dense coalesce": lambda t: t.ones(2).coalesce(),
    "dense values": lambda t: t.ones(2).values(),
    "dense crow_indices": lambda t: t.ones(2).crow_indices(),
    "add a dense one": lambda t: example(t) + t.ones(2, 3),
    "add a number": lambda t: example(t) + 1,
    "divide by a tensor": lambda t: example(t) / t.ones(2, 3),
    "power 0": lambda t: example(t) ** 0,
    "cos": lambda t: example(t).cos(),
    "eq": lambda t: example(t) == 1,
    "where": lambda t: t.where(t.ones(2, 3) > 1, example(t), example(t)),
    "numpy": lambda t: example(t).numpy(),
    "bool": lambda t: bool(example(t)),
    "view": lambda t: example(t).reshape(6),
    "slice": lambda t: example(t)[0:1],
    "mask": lambda t: example(t)[t.tensor([True, False])],
    "out of range": lambda t: example(t)[2],
    "mm": lambda t: t.sparse.mm(example(t), t.ones(2, 2)),
    "mm of dtypes": lambda t: t.sparse.mm(example(t), t.ones(3, 2, dtype=t.float64)),
    "mv": lambda t: example(t) @ t.ones(2),
    "add sizes": lambda t: example(t) + example(t).t(),
    "mul sizes": lambda t: example(t).coalesce() * t.eye(2).to_sparse(),
    "cat sizes": lambda t: t.cat([example(t), t.eye(2).to_sparse()]),
    "cat a dense one": lambda t: t.cat([example(t), t.ones(2, 3)]),
    "dimension": lambda t: example(t).transpose(0, 2),
    "to_sparse": lambda t: t.ones(2, 2).to_sparse(3),
    "leaf": lambda t: example(t, requires_grad=True).mul_(2),
    "cast": lambda t: example(t).int().mul_(0.5),
    "copy a dense one": lambda t: example(t).copy_(t.ones(2, 3)),
    "mask sizes": lambda t: t.ones(2, 2).sparse_mask(example(t).coalesce()),
    "softmax of ints": lambda t: t.sparse.softmax(example(t).int(), 1),
    "no such reduction": lambda t: t.sparse.mm(example(t).to_sparse_csr(), t.ones(3, 1), "most"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refusals(oracle, name):
    def found(library):
        try:
            REFUSED[name](library)
        except Exception as error:
            return type(error).__name__
    assert found(facula) == oracle(found, name)


def test_layouts_that_are_not_there():
    for call in (lambda: facula.ones(2, 2).to_sparse_bsr((1, 1)), lambda: facula.ones(2, 2).to_sparse_bsc((1, 1)),
                 lambda: facula.sparse_compressed_tensor([0, 1], [0], [1.0], layout=facula.sparse_bsr),
                 lambda: facula.sparse_csr_tensor([[0, 1]], [[0]], [[1.0]]),
                 lambda: facula.ones(2, 2, 2).to_sparse_csr(), lambda: facula.sparse.to_sparse_semi_structured(1)):
        with pytest.raises(NotImplementedError, match="not in Facula yet"):
            call()
    with pytest.raises(RuntimeError, match="the pointers tell of 4 values"):
        facula.sparse_csr_tensor([0, 1, 4], [2, 0, 1], [3.0, 4.0, 5.0])


def test_gradients_of_leaves_are_sparse(oracle):
    def found(library):
        s, m = example(library, requires_grad=True), library.ones(3, 2).requires_grad_()
        out = library.sparse.mm(s, m).square().sum()
        g, = library.autograd.grad(out, s, retain_graph=True)
        out.backward()
        v = library.tensor([3.0, 4.0, 5.0], requires_grad=True)
        t = library.sparse_coo_tensor([[0, 1, 1], [2, 0, 2]], v, (2, 3))
        library.sparse.mm(t, m.detach()).square().sum().backward()
        return [s.grad.to_dense().tolist(), s.grad.is_sparse, g.to_dense().tolist(), m.grad.tolist(), v.grad.tolist(),
                t.is_leaf, s.detach().requires_grad]
    assert found(facula) == oracle(found)
    s = example(facula, requires_grad=True)
    facula.sparse.sum(s).backward()
    assert s.grad.values().tolist() == [1.0] * 3 if s.grad.is_coalesced() else s.grad._values().tolist() == [1.0] * 3
    s.grad = None
    assert s.grad is None


@pytest.mark.parametrize("reduce", ["sum", "mean", "amax", "amin"])
def test_reductions_of_products(oracle, reduce):
    def found(library):
        s = library.sparse_csr_tensor([0, 1, 3, 3], [2, 0, 2], [3.0, -4.0, 5.0], (3, 3))
        m = library.arange(6.0).view(3, 2)
        return library.sparse.mm(s, m, reduce).tolist()
    assert found(facula) == oracle(found, reduce)


def test_rows_of_elements(oracle):
    def found(library):
        s = library.sparse_coo_tensor([[2, 0, 2]], library.arange(6.0).view(3, 2), (3, 2))
        results = [s.coalesce(), -s, s + s, library.sparse.sum(s, 1), library.sparse.sum(s, 0), s.transpose(0, 0), s[2],
                   s.index_select(1, library.tensor([1])), library.cat([s, s], 1), s.unsqueeze(2),
                   library.sparse.softmax(s, 0), library.sparse.softmax(s, 1), s.narrow_copy(0, 1, 2)]
        return [r.to_dense().tolist() for r in results]
    for one, other in zip(found(facula), oracle(found), strict=True):
        np.testing.assert_allclose(np.array(one), np.array(other), rtol=1e-6)


def test_files_go_both_ways(torch):
    for kind in ("coalesce", "clone", "to_sparse_csr", "to_sparse_csc"):
        for one, other in ((torch, facula), (facula, torch), (facula, facula)):
            s, buffer = getattr(example(one), kind)(), io.BytesIO()
            one.save({"s": s}, buffer)
            read = other.load(io.BytesIO(buffer.getvalue()))["s"]
            assert str(read.layout) == str(s.layout) and read.to_dense().tolist() == s.to_dense().tolist()
            assert not s.is_sparse or read.is_coalesced() == s.is_coalesced()


def test_damaged_pickles_are_refused():
    from facula.serialization.rebuild import _rebuild_sparse_tensor
    i, v = facula.tensor([[0], [5]]), facula.ones(1)
    for layout, data in ((facula.sparse_coo, (i, v, (2, 2), True)), (facula.sparse_coo, 3), (3, (i, v, (9, 9))),
                         (facula.sparse_coo, (i, v, (2, 2), True, 1)), (facula.sparse_csr, (i, i, v, (2, 2))),
                         (facula.sparse_coo, (i, v, "x"))):
        with pytest.raises(pickle.UnpicklingError):
            _rebuild_sparse_tensor(layout, data)


def test_copies():
    s = example(facula, requires_grad=True)
    for other in (copy.copy(s), copy.deepcopy(s), pickle.loads(pickle.dumps(s.detach()))):
        assert other.to_dense().tolist() == s.to_dense().tolist()
    other = copy.deepcopy(s)
    other._values().zero_()
    assert other.requires_grad and not other.to_dense().any() and s.to_dense().any()
    with pytest.raises(RuntimeError, match="deepcopy"):
        copy.deepcopy(s * 2)


def test_a_graph_network_trains():
    edges = facula.tensor([[0, 1, 2, 3, 0], [1, 2, 3, 0, 2]])

    class Net(facula.nn.Module):
        def __init__(self):
            super().__init__()
            self.register_buffer("adj", facula.sparse_coo_tensor(edges, facula.ones(5), (4, 4)).coalesce())
            self.one, self.two = facula.nn.Linear(3, 8), facula.nn.Linear(8, 2)

        def forward(self, x):
            return self.adj @ self.two((self.adj @ self.one(x)).relu())
    facula.manual_seed(0)
    net, x, y = Net(), facula.randn(4, 3), facula.tensor([0, 1, 1, 0])
    optimizer, losses = facula.optim.Adam(net.parameters(), 0.05), []
    for _ in range(40):
        optimizer.zero_grad()
        loss = facula.nn.functional.cross_entropy(net(x), y)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.1 < losses[0]
    other = Net()
    other.load_state_dict(net.state_dict())
    assert facula.equal(other(x), net(x)) and other.double().adj.dtype is facula.float64
    assert copy.deepcopy(net).adj.is_sparse


def test_invariants():
    checks = facula.sparse.check_sparse_tensor_invariants
    assert not checks.is_enabled()
    bad = [[5]], [1.0], (2,)
    facula.sparse_coo_tensor(*bad)
    with checks(), pytest.raises(RuntimeError, match="dim 0, size is 2 but found index 5"):
        facula.sparse_coo_tensor(*bad)
    checks.enable()
    assert checks.is_enabled()
    with checks(False):
        facula.sparse_coo_tensor(*bad)
    checks.disable()
    with pytest.raises(RuntimeError):
        checks()(lambda: facula.sparse_coo_tensor(*bad))()


def test_large_and_empty_shapes_take_no_memory():
    s = facula.sparse_coo_tensor([[10**6], [10**6]], [1.0], (10**7, 10**7))
    assert (s + s)[10**6, 10**6].item() == 2 and s.numel() == 10**14 and (s @ facula.sparse_coo_tensor(
        [[10**6], [3]], [2.0], (10**7, 4)))._nnz() == 1
    none = facula.sparse_coo_tensor(size=(0, 3))
    assert none.to_dense().shape == (0, 3) and (none @ facula.ones(3, 2)).shape == (0, 2)
    assert none.coalesce()._nnz() == 0


def test_random_matrices_beside_dense_ones():
    rng = np.random.default_rng(0)
    for n, m, k, nnz in ((1, 1, 1, 3), (7, 5, 3, 20), (40, 30, 8, 400), (30, 40, 1, 0)):
        a, b = (facula.sparse_coo_tensor(facula.tensor(np.stack([rng.integers(0, size, nnz) for size in shape])),
                                         facula.tensor(rng.standard_normal(nnz)), shape) for shape in ((n, m), (m, k)))
        x, y = a.to_dense(), b.to_dense()
        for found, wanted in ((a @ y, x @ y), ((a @ b).to_dense(), x @ y), (a.coalesce().to_dense(), x),
                              (a.to_sparse_csr().to_dense(), x), (a.to_sparse_csc().t().to_dense(), x.t()),
                              (facula.sparse.sum(a, 0).to_dense(), x.sum(0)), (x.to_sparse().to_dense(), x)):
            assert facula.allclose(found, wanted)


@pytest.mark.parametrize("name", ["sparse", "sparse._creating", "sparse._root", "sparse._checks", "sparse._tensor",
                                  "_tensor.sparse_methods"])
def test_examples(name):
    module = importlib.import_module(f"facula.{name}")
    assert docstrings.failures(module)[0] == ""
    assert docstrings.undocumented(module, getattr(module, "__all__", [])) == []
