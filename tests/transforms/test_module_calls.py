"""`functional_call` and `stack_module_state`."""

import pytest

import facula
from facula import nn
from facula.func import functional_call, grad, stack_module_state, vmap


class Tied(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Linear(2, 2, bias=False), nn.Linear(2, 2, bias=False)
        self.b.weight = self.a.weight
        self.register_buffer("calls", facula.zeros(1))

    def forward(self, x, scale=1.0):
        self.calls += 1
        return self.b(self.a(x)) * scale


def test_the_module_has_its_own_tensors_again():
    model, x = Tied(), facula.ones(1, 2)
    before = {name: (t, t.clone()) for name, t in [*model.named_parameters(), *model.named_buffers()]}
    calls = facula.zeros(1)
    found = functional_call(model, ({"a.weight": facula.eye(2) * 2}, {"calls": calls}), (x,), {"scale": 0.5})
    assert found.tolist() == [[2.0, 2.0]] and calls.item() == 1
    with pytest.raises(RuntimeError):
        functional_call(model, {"a.weight": facula.eye(3)}, x)
    for name, t in [*model.named_parameters(), *model.named_buffers()]:
        assert t is before[name][0] and facula.equal(t, before[name][1]) or name == "calls"
    assert model.b.weight is model.a.weight


def test_names_that_are_one_tensor():
    model, x = Tied(), facula.ones(1, 2)
    two, one = facula.eye(2) * 2, facula.eye(2)
    assert functional_call(model, {"b.weight": two}, x).tolist() == [[4.0, 4.0]]
    assert functional_call(model, {"a.weight": two, "b.weight": one}, x, tie_weights=False).tolist() == [[2.0, 2.0]]
    with pytest.raises(ValueError, match="which are tied"):
        functional_call(model, {"a.weight": two, "b.weight": one}, x)


@pytest.mark.parametrize(("given", "strict", "error", "says"), [
    ({"nope": 1}, True, RuntimeError, "Unexpected key\\(s\\): 'nope'.\n\tMissing key\\(s\\): 'bias', 'weight'"),
    ([{"weight": 1}, {"weight": 1}], False, ValueError, "multiple dictionaries"),
    (3, False, ValueError, "to be a dict"), ({"weight": 3}, False, TypeError, "not an instance"),
    ({"c.weight": facula.ones(1)}, False, AttributeError, "`c`"), ({"": facula.ones(1)}, False, KeyError, "empty")])
def test_what_does_not_fit_is_refused(given, strict, error, says):
    layer = nn.Linear(2, 2)
    weight = layer.weight
    with pytest.raises(error, match=says):
        functional_call(layer, given, facula.ones(1, 2), strict=strict)
    assert layer.weight is weight and list(layer._buffers) == []


def test_gradients_go_to_what_was_given():
    layer, x = nn.Linear(2, 1), facula.tensor([[1.0, 2.0]])
    values = {name: t.detach() for name, t in layer.named_parameters()}
    found = grad(lambda values: functional_call(layer, values, x).sum())(values)
    assert found["weight"].tolist() == [[1.0, 2.0]] and found["bias"].tolist() == [1.0]
    assert layer.weight.grad is None


def test_many_models_at_once():
    facula.manual_seed(0)
    models = [nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2)) for _ in range(5)]
    x = facula.randn(6, 3)
    parameters, buffers = stack_module_state(models)
    assert all(p.requires_grad and p.is_leaf and len(p) == 5 for p in parameters.values()) and buffers == {}
    found = vmap(lambda p, b: functional_call(models[0], (p, b), (x,)))(parameters, buffers)
    assert facula.allclose(found, facula.stack([model(x) for model in models]), atol=1e-6)


def test_models_that_differ_are_not_stacked():
    layer, frozen = nn.Linear(2, 2), nn.Linear(2, 2)
    frozen.weight.requires_grad_(False)
    for models, says in (([], "at least one"), ([layer, nn.Linear(2, 2).eval()], "training/eval"),
                         ([layer, nn.ReLU()], "same class"), ([layer, frozen], "requires_grad")):
        with pytest.raises(RuntimeError, match=says):
            stack_module_state(models)
