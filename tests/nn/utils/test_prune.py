"""`nn.utils.prune`: masks that stay on parameters."""

import copy

import pytest

import facula
from facula import nn
from facula.nn.utils import prune


def conv():
    facula.manual_seed(0)
    return nn.Conv2d(4, 6, 3)


def pruned(m, name="weight"):
    return int((getattr(m, name + "_mask") == 0).sum())


def test_l1_takes_the_least():
    m = nn.Linear(3, 2)
    m.weight.data = facula.tensor([[3.0, -1, 2], [0.5, -4, 6]])
    assert prune.l1_unstructured(m, "weight", amount=2) is m
    assert facula.equal(m.weight_mask, facula.tensor([[1.0, 0, 1], [0, 1, 1]]))
    assert facula.equal(m.weight, facula.tensor([[3.0, 0, 2], [0, -4, 6]]))
    assert [name for name, _ in m.named_parameters()] == ["bias", "weight_orig"]
    m(facula.ones(1, 3)).sum().backward()
    assert facula.equal(m.weight_orig.grad, m.weight_mask)
    prune.l1_unstructured(m, "weight", amount=0.5)  # half of the four that are left
    assert facula.equal(m.weight, facula.tensor([[0.0, 0, 0], [0, -4, 6]]))
    assert isinstance(next(iter(m._forward_pre_hooks.values())), prune.PruningContainer)


def test_scores_of_importance_decide():
    m = nn.Linear(3, 1)
    prune.l1_unstructured(m, "weight", amount=1, importance_scores=facula.tensor([[3.0, 0.1, 2.0]]))
    assert m.weight_mask.tolist() == [[1, 0, 1]]


@pytest.mark.parametrize("amount, count", [(0.3, 65), (7, 7), (0, 0), (1.0, 216)])
def test_random_elements(amount, count):
    assert pruned(prune.random_unstructured(conv(), "weight", amount)) == count


def test_channels():
    m = prune.ln_structured(conv(), "weight", amount=0.5, n=2, dim=0)
    norms = m.weight_orig.detach().flatten(1).norm(dim=1)
    kept = m.weight_mask.flatten(1).sum(1) > 0
    assert kept.sum() == 3 and norms[kept].min() > norms[~kept].max()
    prune.random_structured(m, "weight", amount=1, dim=1)
    assert pruned(m) == 3 * 36 + 3 * 9
    prune.ln_structured(m, "weight", amount=1, n=1, dim=0)  # one of the three that are left
    assert (m.weight_mask.flatten(1).sum(1) > 0).sum() == 2


def test_a_mask_of_ones_own():
    m = prune.custom_from_mask(nn.Linear(5, 3), "bias", facula.tensor([0, 1, 0]))
    assert m.bias_mask.tolist() == [0, 1, 0]
    with pytest.raises(AssertionError, match="does not match"):
        prune.custom_from_mask(conv(), "weight", facula.ones(3))


def test_all_parameters_as_one():
    net = nn.Sequential(nn.Linear(4, 2), nn.Linear(2, 1))
    net[0].weight.data = facula.arange(8.0).view(2, 4)
    net[1].weight.data = facula.tensor([[0.5, 9.0]])
    pairs = [(net[0], "weight"), (net[1], "weight")]
    prune.global_unstructured(pairs, pruning_method=prune.L1Unstructured, amount=3)
    assert net[0].weight.tolist() == [[0, 0, 2, 3], [4, 5, 6, 7]] and net[1].weight.tolist() == [[0, 9]]
    prune.global_unstructured(pairs, pruning_method=prune.L1Unstructured, amount=1)
    assert net[0].weight.tolist() == [[0, 0, 0, 3], [4, 5, 6, 7]]
    with pytest.raises(TypeError, match='Only "unstructured"'):
        prune.global_unstructured(pairs, pruning_method=prune.LnStructured, amount=1, n=2)
    with pytest.raises(TypeError, match="not an Iterable"):
        prune.global_unstructured(3, pruning_method=prune.L1Unstructured, amount=1)


def test_removing_makes_it_permanent():
    m = prune.l1_unstructured(conv(), "weight", amount=0.5)
    net = nn.Sequential(m)
    assert prune.is_pruned(net)
    value = m.weight.detach().clone()
    prune.remove(m, "weight")
    assert sorted(m.state_dict()) == ["bias", "weight"] and isinstance(m.weight, nn.Parameter)
    assert facula.equal(m.weight, value) and not prune.is_pruned(net)
    with pytest.raises(ValueError, match="has to be pruned before"):
        prune.remove(m, "weight")


def test_a_way_of_ones_own_and_a_tensor_without_module():
    class EveryOther(prune.BasePruningMethod):
        PRUNING_TYPE = "unstructured"

        def compute_mask(self, t, default_mask):
            mask = default_mask.clone()
            mask.view(-1)[::2] = 0
            return mask
    m = nn.Linear(2, 4)
    assert isinstance(EveryOther.apply(m, "bias"), EveryOther)
    assert m.bias_mask.tolist() == [0, 1, 0, 1]
    assert prune.L1Unstructured(amount=2).prune(facula.tensor([3.0, 1, 2, -0.5])).tolist() == [3, 0, 2, 0]


def test_a_module_is_copied_with_its_masks():
    m = prune.identity(conv(), "weight")
    with facula.no_grad():
        m(facula.ones(1, 4, 5, 5))  # the value is a leaf now, which can be copied
    other = copy.deepcopy(m)
    assert facula.equal(other.weight_orig, m.weight_orig) and prune.is_pruned(other)


@pytest.mark.parametrize("amount, error", [(-1, ValueError), (1.5, ValueError), ("a", TypeError), (10000, ValueError)])
def test_amounts_that_are_none(amount, error):
    m = conv()
    with pytest.raises(error, match="amount"):
        prune.random_unstructured(m, "weight", amount)
    assert sorted(m.state_dict()) == ["bias", "weight"] and not prune.is_pruned(m)


def test_channels_of_a_vector_are_none():
    with pytest.raises(ValueError, match="multidimensional"):
        prune.ln_structured(conv(), "bias", 1, 2, 0)
    with pytest.raises(IndexError, match="Invalid index 9"):
        prune.ln_structured(conv(), "weight", 1, 2, 9)
