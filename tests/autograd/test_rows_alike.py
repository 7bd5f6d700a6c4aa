"""Inside `rows_alike` a row has the same bits alone as among any number of others."""

import numpy as np
import pytest

import facula
from facula import nn
from facula.autograd.modes import rows_alike

F = nn.functional


def _conv():
    return nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(),
                         nn.Linear(8 * 16, 10), nn.Softmax(-1))


MODELS = {
    "mlp": (lambda: nn.Sequential(nn.Linear(64, 100), nn.GELU(), nn.Linear(100, 10), nn.Softmax(-1)), (64,)),
    "long sums": (lambda: nn.Linear(5000, 7), (5000,)),
    "one column": (lambda: nn.Linear(1000, 1), (1000,)),
    "images": (_conv, (3, 8, 8)),
    "transformer": (lambda: nn.TransformerEncoderLayer(32, 4, 64, batch_first=True), (5, 32)),
    "lstm": (lambda: nn.LSTM(16, 24, batch_first=True), (6, 16)),
    "short sums": (lambda: nn.LayerNorm(5), (5,)),
    "sum of three": (lambda: lambda x: x.exp().sum(-1), (3,)),
    "attention": (lambda: lambda x: F.scaled_dot_product_attention(x, x, x), (2, 7, 8)),
    "half": (lambda: nn.Sequential(nn.Linear(64, 33), nn.Tanh(), nn.Linear(33, 5)).half(), (64,)),
}


@pytest.mark.compiled
@pytest.mark.parametrize("name", MODELS)
def test_a_row_alone_and_among_others(name):
    make, shape = MODELS[name]
    facula.manual_seed(1)
    model = make()
    if isinstance(model, nn.Module):
        model.eval()
    x = facula.randn(33, *shape)
    if name == "half":
        x = x.half()

    def run(part):
        found = model(part)
        return (found[0] if isinstance(found, tuple) else found).numpy().copy()

    with facula.no_grad(), rows_alike():
        alone = np.concatenate([run(x[i:i + 1].clone()) for i in range(33)])
        for rows in (2, 3, 8, 17, 33):
            assert run(x[:rows].clone()).tobytes() == alone[:rows].tobytes(), rows


def test_the_mode_ends():
    from facula.autograd.graph import mode
    with pytest.raises(ZeroDivisionError), rows_alike():
        assert mode.products is not None
        raise ZeroDivisionError
    assert mode.products is None
