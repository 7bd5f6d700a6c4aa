"""What operations do to sparse tensors, beside torch: results, layouts, and gradients by the values."""

import numpy as np
import pytest

import facula

# Of a tensor s (3, 4), another u of its shape, a matrix m (4, 2), a full one d (3, 4).
CASES = {
    "to_dense": lambda t, s, u, m, d: s.to_dense(),
    "coalesce": lambda t, s, u, m, d: s.coalesce(),
    "neg": lambda t, s, u, m, d: -s,
    "abs": lambda t, s, u, m, d: s.abs(),
    "sin": lambda t, s, u, m, d: t.sin(s),
    "tanh": lambda t, s, u, m, d: s.tanh(),
    "expm1": lambda t, s, u, m, d: t.special.expm1(s),
    "square": lambda t, s, u, m, d: s.square(),
    "relu": lambda t, s, u, m, d: t.nn.functional.relu(s),
    "sign": lambda t, s, u, m, d: s.sign(),
    "pow": lambda t, s, u, m, d: s ** 3,
    "times 2": lambda t, s, u, m, d: 2 * s,
    "times a number": lambda t, s, u, m, d: s * t.tensor(2.0, dtype=t.float64),
    "over 2": lambda t, s, u, m, d: s / 2,
    "floor over 2": lambda t, s, u, m, d: s // 2,
    "sum": lambda t, s, u, m, d: s + u,
    "same sum": lambda t, s, u, m, d: s + s,
    "difference": lambda t, s, u, m, d: t.sub(s, u, alpha=2),
    "dense sum": lambda t, s, u, m, d: d + s,
    "dense difference": lambda t, s, u, m, d: d - s,
    "product": lambda t, s, u, m, d: s.coalesce() * u.coalesce(),
    "dense product": lambda t, s, u, m, d: s * d,
    "row product": lambda t, s, u, m, d: d[0] * s,
    "mm": lambda t, s, u, m, d: t.sparse.mm(s, m),
    "matmul": lambda t, s, u, m, d: s @ m,
    "mv": lambda t, s, u, m, d: s @ m[:, 0],
    "vm": lambda t, s, u, m, d: d[:, 0] @ s,
    "from the left": lambda t, s, u, m, d: m.t() @ s.t(),
    "sparse product": lambda t, s, u, m, d: t.sparse.mm(s, u.t()),
    "addmm": lambda t, s, u, m, d: t.sparse.addmm(d[:, :2], s, m, beta=2, alpha=3),
    "torch.addmm": lambda t, s, u, m, d: t.addmm(d[:, :2], s, m),
    "smm": lambda t, s, u, m, d: t.smm(s, m),
    "hspmm": lambda t, s, u, m, d: t.hspmm(s, m),
    "bmm": lambda t, s, u, m, d: t.bmm(t.stack([s, u]), t.stack([m, 2 * m])),
    "linear": lambda t, s, u, m, d: t.nn.functional.linear(d, s),
    "all": lambda t, s, u, m, d: s.sum(),
    "sum of rows": lambda t, s, u, m, d: t.sparse.sum(s, 1),
    "sum of columns": lambda t, s, u, m, d: t.sum(s, dim=0),
    "sum kept": lambda t, s, u, m, d: s.sum(0, keepdim=True),
    "sum of both": lambda t, s, u, m, d: t.sparse.sum(s, (0, -1)),
    "norm": lambda t, s, u, m, d: s.norm(),
    "norm 1": lambda t, s, u, m, d: t.norm(s, 1),
    "softmax": lambda t, s, u, m, d: t.sparse.softmax(s, 1),
    "softmax of columns": lambda t, s, u, m, d: t.sparse.softmax(s, 0),
    "log_softmax": lambda t, s, u, m, d: t.sparse.log_softmax(s, -1),
    "t": lambda t, s, u, m, d: s.t(),
    "transpose": lambda t, s, u, m, d: s.transpose(-1, 0),
    "permute": lambda t, s, u, m, d: s.permute(1, 0),
    "unsqueeze": lambda t, s, u, m, d: s.unsqueeze(1),
    "cat": lambda t, s, u, m, d: t.cat([s, u]),
    "cat of columns": lambda t, s, u, m, d: t.cat([s, u], 1),
    "stack": lambda t, s, u, m, d: t.stack([s, u], 1),
    "select": lambda t, s, u, m, d: s[1],
    "column": lambda t, s, u, m, d: s[:, -2],
    "element": lambda t, s, u, m, d: s[1, 2],
    "index_select": lambda t, s, u, m, d: s.index_select(0, t.tensor([2, 0, 2])),
    "columns": lambda t, s, u, m, d: s.index_select(-1, t.tensor([3, 1])),
    "narrow_copy": lambda t, s, u, m, d: s.narrow_copy(1, 1, 2),
    "mask": lambda t, s, u, m, d: d.sparse_mask(s.coalesce()),
    "sparse mask": lambda t, s, u, m, d: u.coalesce().sparse_mask(s.coalesce()),
    "to": lambda t, s, u, m, d: s.to(t.float32),
    "clone": lambda t, s, u, m, d: s.clone(),
    "csr": lambda t, s, u, m, d: s.to_sparse_csr(),
    "csc": lambda t, s, u, m, d: s.to_sparse_csc(),
    "csr and back": lambda t, s, u, m, d: s.to_sparse_csr().to_sparse(),
    "isnan": lambda t, s, u, m, d: s.isnan(),
    "zeros_like": lambda t, s, u, m, d: t.zeros_like(s),
}
# Of the same in another layout.
COMPRESSED = ("to_dense", "neg", "abs", "sin", "relu", "times 2", "mm", "matmul", "mv", "addmm", "all", "t",
              "dense sum", "select", "clone", "same sum", "to")
NO_GRADIENT = ("sign", "floor over 2", "isnan", "zeros_like", "sparse mask")


def operands(library, form):
    rng = np.random.default_rng(3)
    numbers = {"repeated": [0, 5, 5, 11, 2, 6, 6], "in order": [0, 2, 5, 6, 11], "empty": []}[form]
    at = np.array(numbers, dtype=np.int64)
    i = library.tensor(np.stack([at // 4, at % 4]).tolist(), dtype=library.int64).reshape(2, -1)
    v = library.tensor(rng.standard_normal(len(at)).tolist(), dtype=library.float64)
    s = library.sparse_coo_tensor(i, v, (3, 4))
    u = library.sparse_coo_tensor([[0, 0, 2], [0, 3, 1]], [1.0, 2.0, 3.0], (3, 4), dtype=library.float64)
    m, d = (library.tensor(rng.standard_normal(shape).tolist(), dtype=library.float64) for shape in ((4, 2), (3, 4)))
    return s, u, m, d


def told(library, out):
    dense = out.to_dense() if out.layout is not library.strided else out
    return {"layout": str(out.layout).replace("facula", "torch"), "value": dense.tolist(), "shape": list(out.shape),
            "dtype": str(out.dtype).replace("facula", "torch")}


def alike(found, wanted):
    for key in ("layout", "dtype", "shape"):
        assert found[key] == wanted[key], key
    np.testing.assert_allclose(np.array(found["value"]), np.array(wanted["value"]), rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("form", ["repeated", "in order", "empty"])
@pytest.mark.parametrize("name", CASES)
def test_operations(oracle, name, form):
    def found(library):
        return told(library, CASES[name](library, *operands(library, form)))
    alike(found(facula), oracle(found, name, form))


@pytest.mark.parametrize("layout", ["csr", "csc"])
@pytest.mark.parametrize("name", COMPRESSED)
def test_operations_of_compressed_layouts(oracle, name, layout):
    def found(library):
        s, u, m, d = operands(library, "in order")
        s, u = (getattr(x, f"to_sparse_{layout}")() for x in (s, u))
        return told(library, CASES[name](library, s, u, m, d))
    alike(found(facula), oracle(found, name, layout))


@pytest.mark.parametrize("form", ["repeated", "in order"])
@pytest.mark.parametrize("name", [name for name in CASES if name not in NO_GRADIENT])
def test_gradients(name, form):
    s, u, m, d = operands(facula, form)

    def function(v, m, d):
        if name == "to":  # float32 has too few digits for differences
            return facula.sparse_coo_tensor(s._indices(), v, (3, 4)).to(facula.float64).to_dense()
        out = CASES[name](facula, facula.sparse_coo_tensor(s._indices(), v, (3, 4)), u, m, d)
        return out.to_dense() if out.layout is not facula.strided else out
    values = [x.clone().requires_grad_() for x in (s._values(), m, d)]
    used = [x.requires_grad for x in (function(values[0], m, d), function(s._values(), values[1], d),
                                      function(s._values(), m, values[2]))]
    assert any(used)
    for x, on in zip(values, used, strict=True):
        x.requires_grad_(on)
    assert facula.autograd.gradcheck(function, values)
    assert facula.autograd.gradgradcheck(function, values)
