"""`nn.utils.parametrize`: tensors that are computed from what is trained instead of them."""

import copy
import pickle

import pytest

import facula
from facula import nn
from facula.nn.utils import parametrize as P


class Symmetric(nn.Module):
    def forward(self, X):
        return X.triu() + X.triu(1).mT

    def right_inverse(self, A):
        return A.triu()


class Twice(nn.Module):
    def forward(self, X):
        return X * 2

    def right_inverse(self, A):
        return A / 2


class OneMore(nn.Module):
    def forward(self, X):
        return X + 1


class Halves(nn.Module):
    def forward(self, a, b):
        return a + b

    def right_inverse(self, X):
        return X * 0.25, X * 0.75


class Giving(nn.Module):
    def __init__(self, result):
        super().__init__()
        self.result = result

    def forward(self, X):
        return self.result(X)


def layer():
    facula.manual_seed(0)
    return nn.Linear(3, 3)


def test_the_value_is_computed_and_what_is_trained_is_the_parameter_itself():
    m = layer()
    weight = m.weight
    assert P.register_parametrization(m, "weight", Symmetric()) is m
    assert m.parametrizations.weight.original is weight
    assert [name for name, _ in m.named_parameters()] == ["bias", "parametrizations.weight.original"]
    assert facula.equal(m.weight, m.weight.T)
    assert m.weight is not m.weight
    m(facula.ones(1, 3)).sum().backward()
    assert facula.equal(weight.grad, facula.tensor([[1.0, 2, 2], [0, 1, 2], [0, 0, 1]]))


def test_a_right_inverse_keeps_the_value_and_takes_others():
    m = layer()
    before = m.weight.detach().clone()
    P.register_parametrization(m, "weight", Halves())
    assert facula.allclose(m.weight, before)
    assert list(m.state_dict()) == ["bias", "parametrizations.weight.original0", "parametrizations.weight.original1"]
    m.weight = facula.ones(3, 3)
    assert facula.equal(m.parametrizations.weight.original1, facula.full((3, 3), 0.75))
    P.register_parametrization(m, "weight", Twice())  # after those it has
    assert facula.equal(m.weight, facula.full((3, 3), 2.0))
    m.weight = facula.ones(3, 3)
    assert facula.equal(m.weight, facula.ones(3, 3))


def test_without_a_right_inverse_nothing_can_be_assigned():
    m = P.register_parametrization(layer(), "weight", OneMore())
    with pytest.raises(RuntimeError, match="OneMore does not implement right_inverse"):
        m.weight = facula.zeros(3, 3)


def test_removing_leaves_the_value_or_what_was_trained():
    for leave in (True, False):
        m = layer()
        weight, original = m.weight, m.weight.detach().clone()
        P.register_parametrization(m, "weight", OneMore())
        P.register_parametrization(m, "bias", Twice())
        P.remove_parametrizations(m, "weight", leave_parametrized=leave)
        assert m.weight is weight and not P.is_parametrized(m, "weight") and P.is_parametrized(m)
        assert facula.equal(m.weight, original + 1 if leave else original)
        P.remove_parametrizations(m, "bias")
        assert type(m) is nn.Linear and not P.is_parametrized(m)
    m = P.register_parametrization(layer(), "weight", Halves())
    with pytest.raises(ValueError, match="Cannot leave unparametrized"):
        P.remove_parametrizations(m, "weight", leave_parametrized=False)
    assert isinstance(P.remove_parametrizations(m, "weight").weight, nn.Parameter)


@pytest.mark.parametrize("result, words", [
    (lambda X: X[:1], "may not change the shape"), (lambda X: X.double(), "may not change the dtype"),
    (lambda X: 3, "must return a tensor. Got int"),
])
def test_what_is_refused_has_changed_nothing(result, words):
    m = layer()
    value = m.weight.detach().clone()
    with pytest.raises(ValueError, match=words):
        P.register_parametrization(m, "weight", Giving(result))
    assert type(m) is nn.Linear and isinstance(m.weight, nn.Parameter) and facula.equal(m.weight, value)
    P.register_parametrization(m, "weight", Twice())
    with pytest.raises(ValueError, match=words):
        P.register_parametrization(m, "weight", Giving(result))
    assert len(m.parametrizations.weight) == 1 and facula.equal(m.weight, value)


def test_unsafe_does_without_the_checks():
    m = P.register_parametrization(layer(), "weight", Giving(lambda X: X[:1]), unsafe=True)
    assert m.weight.shape == (1, 3)


def test_there_must_be_such_a_tensor():
    with pytest.raises(ValueError, match="does not have a parameter, a buffer, or a parametrized element"):
        P.register_parametrization(layer(), "weights", Twice())
    with pytest.raises(ValueError, match="does not have a parametrization on weight"):
        P.remove_parametrizations(layer(), "weight")


def test_buffers_stay_buffers():
    m = P.register_parametrization(nn.BatchNorm1d(3), "running_mean", OneMore())
    assert "parametrizations.running_mean.original" in dict(m.named_buffers())
    assert facula.equal(m.running_mean, facula.ones(3))


def test_a_copy_is_of_the_same_class_and_a_file_has_the_state_alone():
    m = P.register_parametrization(layer(), "weight", Symmetric())
    other = copy.deepcopy(m)
    assert facula.equal(other.weight, m.weight)
    assert other.parametrizations.weight.original is not m.parametrizations.weight.original
    with pytest.raises(RuntimeError, match="only supported through state_dict"):
        pickle.dumps(m)
    fresh = P.register_parametrization(nn.Linear(3, 3), "weight", Symmetric())
    fresh.load_state_dict(m.state_dict())
    assert facula.equal(fresh.weight, m.weight)
    assert repr(m).splitlines()[0] == "ParametrizedLinear("


def test_cached_values_are_kept_for_the_block():
    m = P.register_parametrization(layer(), "weight", Symmetric())
    with P.cached():
        for k in range(20):  # a module that is gone leaves its id to another
            other = P.register_parametrization(layer(), "weight", Twice())
            other.weight = facula.full((3, 3), float(k))
            assert other.weight[0, 0] == k
            del other
        first = m.weight
        with P.cached():
            assert m.weight is first
        assert m.weight is first
    assert m.weight is not first


def test_types_and_transfers():
    m = layer()
    assert P.type_before_parametrizations(m) is nn.Linear
    P.register_parametrization(m, "weight", Twice())
    assert P.type_before_parametrizations(m) is nn.Linear and type(m) is not nn.Linear
    other = P.transfer_parametrizations_and_params(m, nn.Linear(3, 3))
    assert other.parametrizations.weight.original is m.parametrizations.weight.original
    assert facula.equal(other.weight, m.weight)


def test_training_mode_is_that_of_the_module():
    m = layer().eval()
    parametrization = Twice()
    P.register_parametrization(m, "weight", parametrization)
    assert not parametrization.training
