"""SyncBatchNorm and ZeroRedundancyOptimizer: what several ranks compute together, beside one process."""

import numpy as np
import pytest

import facula
import ranks
from facula import distributed as dist
from facula.distributed.optim import ZeroRedundancyOptimizer

pytestmark = pytest.mark.processes
nn = facula.nn


def _normalized(rank, size):
    facula.manual_seed(0)
    whole = facula.randn(7, 3, 4, dtype=facula.float64)
    cuts = [0, 2, 7]
    alone, shared = nn.BatchNorm1d(3).double(), nn.BatchNorm1d(3).double()
    shared = nn.SyncBatchNorm.convert_sync_batchnorm(nn.Sequential(shared))
    assert type(shared[0]) is nn.SyncBatchNorm
    x = whole.clone().requires_grad_()
    own = whole[cuts[rank]:cuts[rank + 1]].clone().requires_grad_()
    for _ in range(2):
        out, ours = alone(x), shared(own)
        (out ** 3).sum().backward()
        (ours ** 3).sum().backward()
    np.testing.assert_allclose(ours.detach().numpy(), out.detach().numpy()[cuts[rank]:cuts[rank + 1]], atol=1e-12)
    np.testing.assert_allclose(own.grad.numpy(), x.grad.numpy()[cuts[rank]:cuts[rank + 1]], atol=1e-10)
    dist.all_reduce(shared[0].weight.grad)
    np.testing.assert_allclose(shared[0].weight.grad.numpy(), alone.weight.grad.numpy(), atol=1e-10)
    for name in ("running_mean", "running_var", "num_batches_tracked"):
        np.testing.assert_allclose(getattr(shared[0], name).numpy(), getattr(alone, name).numpy(), atol=1e-12)
    shared.eval()
    np.testing.assert_allclose(shared(own).detach().numpy(), alone.eval()(own).detach().numpy(), atol=1e-12)
    return True


def test_batch_norm_over_ranks():
    assert all(ranks.run(2, _normalized, 2))
    norm = nn.SyncBatchNorm(2)
    assert norm(facula.randn(4, 2)).shape == (4, 2)  # no group: as BatchNorm


def _sharded(rank, size):
    def net():
        facula.manual_seed(3)
        return nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 2))
    single, ours = net(), net()
    plain = facula.optim.AdamW(single.parameters(), lr=0.01)
    zero = ZeroRedundancyOptimizer(ours.parameters(), facula.optim.AdamW, lr=0.01)
    schedulers = [facula.optim.lr_scheduler.StepLR(o, 2, 0.5) for o in (plain, zero)]
    x = facula.ones(3, 4)
    for _ in range(4):
        for model, optimizer in ((single, plain), (ours, zero)):
            optimizer.zero_grad()
            model(x).pow(2).sum().backward()
            optimizer.step()
        for scheduler in schedulers:
            scheduler.step()
    for p, q in zip(single.parameters(), ours.parameters(), strict=True):
        assert p.tolist() == q.tolist()
    held = sum(len(s) > 0 for s in (zero.optim.state[p] for p in zero.optim.state))
    assert 0 < held < 4
    if rank == 0:
        assert "consolidate_state_dict" in ranks.raised(RuntimeError, zero.state_dict)
    zero.consolidate_state_dict(to=0)
    state = [zero.state_dict() if rank == 0 else None]
    if rank == 0:
        wanted = plain.state_dict()
        assert sorted(state[0]["state"]) == sorted(wanted["state"]) == [0, 1, 2, 3]
        assert state[0]["state"][0]["exp_avg"].tolist() == wanted["state"][0]["exp_avg"].tolist()
        facula.optim.AdamW(net().parameters()).load_state_dict(state[0])
    dist.broadcast_object_list(state, 0)
    again = ZeroRedundancyOptimizer(ours.parameters(), facula.optim.AdamW, lr=0.5)
    again.load_state_dict(state[0])
    for model, optimizer in ((single, plain), (ours, again)):
        optimizer.zero_grad()
        model(x).pow(2).sum().backward()
        optimizer.step()
    assert [p.tolist() for p in single.parameters()] == [p.tolist() for p in ours.parameters()]
    return True


def test_a_sharded_optimizer():
    assert all(ranks.run(2, _sharded, 2))


def _differentiable(rank, size):
    from facula.distributed.nn import functional as F
    x = facula.tensor([1.0 + rank, 2.0], requires_grad=True)
    (F.all_reduce(x) ** 2).sum().backward()
    assert x.grad.tolist() == [2 * 2 * 3.0, 2 * 2 * 4.0]
    x.grad = None
    parts = F.all_gather(x)
    (parts[0] * parts[1]).sum().backward()
    assert x.grad.tolist() == [2 * (2.0 - rank), 4.0]
    x.grad = None
    F.reduce_scatter(facula.empty(1), [x[:1], x[1:]]).sum().backward()
    assert x.grad.tolist() == [1.0, 1.0]
    x.grad = None
    (F.broadcast(x, 0) * (rank + 1)).sum().backward()
    assert x.grad.tolist() == ([3.0, 3.0] if rank == 0 else [0.0, 0.0])
    x.grad = None
    (F.all_to_all_single(facula.empty(2), x) * facula.tensor([1.0, 10.0])).sum().backward()
    assert x.grad.tolist() == ([1.0, 1.0] if rank == 0 else [10.0, 10.0])
    x.grad = None
    (F.scatter([x, 2 * x], src=0) * (rank + 1)).sum().backward()
    assert x.grad.tolist() == ([5.0, 5.0] if rank == 0 else [0.0, 0.0])
    x.grad = None
    total = F.reduce(x, 1)
    total.sum().backward()
    assert x.grad.tolist() == [1.0, 1.0]
    x.grad = None
    parts = F.gather(x, 1)
    (parts[0] * 2 + parts[1] * 3).sum().backward()
    assert x.grad.tolist() == [2.0 + rank] * 2
    return True


def test_collectives_with_gradients():
    assert all(ranks.run(2, _differentiable, 2))
