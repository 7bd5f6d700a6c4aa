"""Orthogonal tensors, weight and spectral normalization: the parametrizations and the older hooks."""

import pytest

import facula
from facula import nn
from facula.nn.utils import parametrizations as Z


@pytest.mark.parametrize("inputs, outputs", [(3, 3), (4, 2), (2, 4)])
@pytest.mark.parametrize("map_", [None, "matrix_exp", "cayley", "householder"])
@pytest.mark.parametrize("trivial", [True, False])
def test_orthogonal_before_and_after_a_step(inputs, outputs, map_, trivial):
    m = Z.orthogonal(nn.Linear(inputs, outputs), orthogonal_map=map_, use_trivialization=trivial)
    one = facula.eye(min(inputs, outputs))
    optimizer = facula.optim.SGD(m.parameters(), lr=0.1)
    before = m.weight.detach().clone()
    for _ in range(2):
        q = m.weight.T if inputs < outputs else m.weight
        assert facula.allclose(q @ q.T if inputs >= outputs else q @ q.T, one, atol=1e-5)
        optimizer.zero_grad()
        (m(facula.ones(2, inputs)) ** 2).sum().backward()
        optimizer.step()
    assert not facula.allclose(m.weight, before, atol=1e-4)


def test_an_orthogonal_matrix_can_be_assigned():
    m = Z.orthogonal(nn.Linear(3, 3))
    turned = facula.tensor([[0.0, 1, 0], [-1, 0, 0], [0, 0, 1]])
    m.weight = turned
    assert facula.allclose(m.weight, turned, atol=1e-6)
    m = Z.orthogonal(nn.Linear(3, 3), use_trivialization=False)
    with pytest.raises(NotImplementedError, match="use_trivialization=False"):
        m.weight = turned
    with pytest.raises(ValueError, match="Expected a matrix or batch of matrices of shape"):
        m.weight = facula.eye(2)


def test_unitary():
    m = Z.orthogonal(nn.Linear(3, 3, dtype=facula.complex64))
    assert facula.allclose(m.weight @ m.weight.mH, facula.eye(3, dtype=facula.complex64), atol=1e-5)


@pytest.mark.parametrize("change, error", [
    (lambda: Z.orthogonal(nn.Linear(3, 3), "bias"), "Got a tensor of 1 dimensions"),
    (lambda: Z.orthogonal(nn.Linear(3, 3), "weights"), "has no parameter or buffer with name 'weights'"),
    (lambda: Z.orthogonal(nn.Linear(3, 3), orthogonal_map="qr"), "orthogonal_map has to be one of"),
    (lambda: Z.orthogonal(nn.Linear(3, 3, dtype=facula.complex64), orthogonal_map="householder"),
     "does not support complex"),
    (lambda: Z.spectral_norm(nn.Linear(3, 3), n_power_iterations=0), "to be positive"),
    (lambda: nn.utils.spectral_norm(nn.Linear(3, 3), n_power_iterations=0), "to be positive"),
])
def test_what_is_no_such_tensor_or_number(change, error):
    with pytest.raises(ValueError, match=error):
        change()


@pytest.mark.parametrize("dim, shape", [(0, (4, 1)), (1, (1, 3)), (None, ())])
@pytest.mark.parametrize("norm", [Z.weight_norm, nn.utils.weight_norm])
@pytest.mark.filterwarnings("ignore:.*is deprecated")
def test_weight_norm_keeps_the_value_and_splits_its_gradient(dim, shape, norm):
    m = nn.Linear(3, 4)
    weight = m.weight.detach().clone()
    norm(m, dim=dim)
    g, v = (m.weight_g, m.weight_v) if norm is nn.utils.weight_norm else (
        m.parametrizations.weight.original0, m.parametrizations.weight.original1)
    assert g.shape == shape and v.shape == (4, 3)
    assert facula.allclose(m.weight, weight)
    m(facula.ones(2, 3)).sum().backward()
    along = None if dim is None else [1 - dim]
    # g changes lengths, v directions alone: its gradient is at right angles to it
    assert facula.allclose((v.grad * v).sum(along) if along else (v.grad * v).sum(), facula.zeros(()), atol=1e-5)
    assert g.grad.shape == shape


@pytest.mark.filterwarnings("ignore:.*is deprecated")
def test_older_files_of_weight_norm_load_into_the_newer():
    old = nn.utils.weight_norm(nn.Linear(3, 4))
    new = Z.weight_norm(nn.Linear(3, 4))
    new.load_state_dict(old.state_dict())
    assert facula.equal(new.weight, old.weight)
    nn.utils.remove_weight_norm(old)
    assert sorted(old.state_dict()) == ["bias", "weight"] and facula.equal(new.weight, old.weight)
    with pytest.raises(ValueError, match="not found"):
        nn.utils.remove_weight_norm(old)
    nn.utils.weight_norm(old)
    with pytest.raises(RuntimeError, match="Cannot register two weight_norm hooks"):
        nn.utils.weight_norm(old)


@pytest.mark.parametrize("make, dim", [(lambda: nn.Linear(6, 4), 0), (lambda: nn.ConvTranspose2d(2, 3, 3), 1)])
@pytest.mark.parametrize("norm", [Z.spectral_norm, nn.utils.spectral_norm])
def test_spectral_norm_makes_the_largest_singular_value_one(make, dim, norm):
    m = make()
    norm(m, n_power_iterations=30)
    x = facula.ones(2, 6) if dim == 0 else facula.ones(2, 2, 5, 5)
    m(x)
    matrix = m.weight.transpose(0, dim).flatten(1)
    assert abs(float(facula.linalg.matrix_norm(matrix, 2)) - 1) < 1e-3
    m.eval()
    m(x)
    first = m.weight.detach().clone()
    m(x)
    assert facula.equal(m.weight, first)  # no iterations in evaluation


def test_spectral_norm_of_a_vector_is_its_length():
    m = Z.spectral_norm(nn.Linear(3, 4), "bias")
    assert facula.allclose(m.bias.norm(), facula.tensor(1.0))


def test_the_older_spectral_norm_saves_loads_and_goes():
    m = nn.utils.spectral_norm(nn.Linear(6, 4))
    m(facula.ones(2, 6))
    m.eval()
    m(facula.ones(2, 6))
    state = m.state_dict()
    assert sorted(state) == ["bias", "weight_orig", "weight_u", "weight_v"]
    assert state._metadata[""]["spectral_norm"] == {"weight.version": 1}
    m.load_state_dict(state)
    before = m.weight.detach().clone()
    early = {name: value for name, value in state.items() if name != "weight_v"} | {"weight": before.clone()}
    m.load_state_dict(early)  # from before v was in files
    m(facula.ones(2, 6))
    assert facula.allclose(m.weight, before, atol=1e-5)
    nn.utils.remove_spectral_norm(m)
    assert sorted(m.state_dict()) == ["bias", "weight"] and facula.allclose(m.weight, before, atol=1e-5)
    assert not m._state_dict_hooks and not m._load_state_dict_pre_hooks
    with pytest.raises(ValueError, match="not found"):
        nn.utils.remove_spectral_norm(m)


def test_skip_init_and_memory_formats():
    m = nn.utils.skip_init(nn.Linear, 5, 2)
    assert m.weight.shape == (2, 5) and m.weight.device.type == "cpu"
    assert nn.utils.skip_init(nn.Linear, 5, 2, device="meta").weight.is_meta
    with pytest.raises(RuntimeError, match="Expected a Module"):
        nn.utils.skip_init(int)
    net = nn.Sequential(nn.Conv2d(8, 4, 3), nn.Linear(2, 2))
    nn.utils.convert_conv2d_weight_memory_format(net, facula.channels_last)
    assert net[0].weight.is_contiguous(memory_format=facula.channels_last)
    assert net[1].weight.is_contiguous()
