"""Results that come about as a view of something that nobody holds are values of their own: `detach_()` asks."""

import pytest

import facula
from facula import nn

F = nn.functional
RESULTS = {
    "group_norm": lambda x: F.group_norm(x.reshape(2, 4, 3), 2),
    "native_group_norm": lambda x: facula.native_group_norm(x.reshape(2, 4, 3), None, None, 2, 4, 3, 2, 1e-5)[0],
    "embedding": lambda x: F.embedding(facula.tensor([[0, 1], [2, 0]]), x),
    "matrix_norm": lambda x: facula.linalg.matrix_norm(x, 1),
    "matrix_norm 2": lambda x: facula.linalg.matrix_norm(x, 2, keepdim=True),
    "norm": lambda x: facula.linalg.norm(x, float("inf")),
    "quantile": lambda x: x.quantile(facula.tensor([0.5, 0.2]), 0),
    "nanquantile": lambda x: x.nanquantile(0.5, 1, keepdim=True),
    "combinations": lambda x: facula.combinations(x.flatten(), 2),
    "stft": lambda x: facula.stft(x.flatten(), 4, return_complex=True),
}


@pytest.mark.parametrize("name", RESULTS)
def test_a_result_is_no_view(name):
    x = (facula.arange(24.0).reshape(6, 4).sin() + 0).requires_grad_()
    y = RESULTS[name](x)
    before = y.tolist()
    assert y._base is None and y.requires_grad
    (g,) = facula.autograd.grad(y.abs().sum(), x, retain_graph=True)
    assert g.shape == x.shape and bool((g != 0).any())
    y.detach_()
    assert not y.requires_grad and y.tolist() == before


def test_what_is_resized_by_out_lies_as_it_would_in_torch():
    x = facula.arange(24.0).reshape(1, 2, 3, 4).to(memory_format=facula.channels_last)
    out = facula.zeros(0)
    facula.stack([x, x], out=out)
    assert out.stride() == (24, 24, 12, 4, 1) and out[1].tolist() == x.tolist()
    out = facula.zeros(0)
    facula.cat([x, x], out=out)
    assert out.stride() == (24, 1, 8, 2) and out[1:].tolist() == x.tolist()
    out = facula.zeros(0)
    facula.kron(x[0, 0].mT, facula.ones(2, 2), out=out)
    assert out.stride() == (6, 1) and out[2].tolist() == [1, 1, 5, 5, 9, 9]
