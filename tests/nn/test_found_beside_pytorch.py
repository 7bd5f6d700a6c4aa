"""What differed from PyTorch 2.13 when programs were compared; what is expected is what it gave."""

import pytest

import facula
from facula import nn


def test_huber_loss_divides_by_how_many_there_are():
    x, weight = facula.tensor([0.5, 2.0]), facula.tensor([0.5, 2.0])
    assert nn.functional.huber_loss(x, facula.zeros(2), weight=weight).item() == 1.53125
    assert nn.functional.huber_loss(x, facula.zeros(2), weight=weight, reduction="sum").item() == 3.0625
    assert nn.functional.mse_loss(x, facula.zeros(2), weight=weight).item() == 8.125 / 2.5


@pytest.mark.parametrize("options", [{}, {"momentum": 0.9}, {"centered": True}, {"momentum": 0.5, "centered": True}],
                         ids=str)
def test_complex_parameters_are_pairs_of_real_ones(options):
    """RMSprop trains them as two."""
    z = nn.Parameter(facula.tensor([1 + 2j, -0.5j], dtype=facula.complex128))
    pairs = nn.Parameter(facula.view_as_real(z.detach().clone()))
    optimizers = [facula.optim.RMSprop([p], lr=0.1, **options) for p in (z, pairs)]
    for k in range(3):
        gradient = facula.tensor([1 - 2j, 3j + k], dtype=facula.complex128)
        z.grad, pairs.grad = gradient, facula.view_as_real(gradient.clone())
        for optimizer in optimizers:
            optimizer.step()
    assert facula.view_as_real(z.detach()).tolist() == pairs.tolist()
    for name, state in optimizers[0].state[z].items():
        if name != "step":
            assert facula.view_as_real(state).tolist() == optimizers[1].state[pairs][name].tolist(), name


@pytest.mark.parametrize("layer", [nn.InstanceNorm1d, nn.InstanceNorm2d, nn.InstanceNorm3d])
def test_nothing_is_learnt_of_nothing(layer):
    norm = layer(2, track_running_stats=True)
    norm(facula.zeros(2, 2, *([0] * (int(layer.__name__[-2])))))
    assert norm.running_mean.tolist() == [0, 0] and norm.running_var.tolist() == [1, 1]
