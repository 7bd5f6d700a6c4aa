"""Results as PyTorch has them beside their values: no views of what nobody holds (`detach_()` asks), layouts, signs."""

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


def test_numbers_go_into_a_tensor_of_as_many_elements_as_it_is():
    out = facula.zeros(1, 3)
    for numbers in (facula.arange(3, out=out), facula.linspace(0, 2, 3, out=out)):
        assert numbers is out and out.tolist() == [[0, 1, 2]]
    facula.arange(3, out=(out := facula.zeros(0, 3)))
    assert out.tolist() == [0, 1, 2]


def test_images_without_elements_are_copied():
    x = facula.zeros(2, 3, 2, 0)
    assert x.contiguous(memory_format=facula.channels_last) is not x and x.contiguous() is x


def test_the_modulus_is_not_written_over_complex_numbers():
    x = facula.tensor([3 + 4j])
    with pytest.raises(RuntimeError, match="In-place abs is not supported"):
        x.abs_()
    assert x.tolist() == [3 + 4j] and x.abs().tolist() == [5]


def test_a_loss_of_nothing_is_0_whatever_is_known_of_the_target():
    x = facula.ones(1, 1)
    for target in (facula.tensor([0]), x[:, 0].long() % 1):
        assert str(F.cross_entropy(x, target).item()) == "0.0"


def test_lines_lie_as_their_weight_does():
    x = facula.arange(96.0).reshape(2, 12, 4).mT
    assert F.conv1d(x, facula.ones(2, 4, 2)).stride() == (22, 11, 1)
    assert F.conv1d(x, facula.ones(2, 3, 4).mT).stride() == (20, 1, 2)
    assert F.conv1d(x, facula.ones(2, 4, 2))[0, 0, :2].tolist() == [28, 60]


def test_columns_of_no_images_keep_their_history():
    x = facula.zeros(0, 4, 3, 3, requires_grad=True)
    y = F.fold(F.unfold(x, 2), (3, 3), 2)
    y.sum().backward()
    assert y.shape == x.grad.shape == (0, 4, 3, 3)


def test_bools_have_no_bounds_but_tensors():
    x = facula.tensor([True, False])
    for call in (lambda: x.clamp_min(True), lambda: x.clamp_max(False), lambda: x.clamp(False, True),
                 lambda: x.clamp(x, x)):
        with pytest.raises(NotImplementedError, match="clamp.*not implemented for 'Bool'"):
            call()
    assert x.clamp_min(~x).tolist() == [True, True] and x.clamp(0, 1).tolist() == [1, 0]


def test_filling_at_an_index_of_the_same_dtype():
    x, y = facula.tensor([1, 2, 3, 4]), facula.zeros(3, dtype=facula.bool)
    x.index_fill_(0, facula.tensor([3, -2]), 7)
    y.masked_fill_(facula.tensor([True, False, True]), True)
    assert x.tolist() == [1, 2, 7, 7] and y.tolist() == [True, False, True]


def test_nothing_shares_no_memory():
    x = facula.zeros(2, 0)
    x.copy_(x.flatten())
    x.add_(x[0])
    facula.broadcast_to(x[0], (2, 0)).ge_(x[0])
    assert x.shape == (2, 0)


def test_a_view_keeps_its_hooks_when_an_array_of_its_memory_is_gone():
    leaf = facula.ones(2, 3, requires_grad=True)
    x = leaf * 2
    x.detach().numpy()[...] = -1.5
    y = x.select(0, 0)
    y.register_hook(lambda g: g * 2)
    (g,) = facula.autograd.grad((y * x[:, 2:]).sum(), y)
    assert g.tolist() == [-6.0] * 3
    y.sum().backward()
    assert leaf.grad.tolist() == [[4.0] * 3, [0.0] * 3]
