"""DistributedDataParallel: gradients of several processes beside those of one, bit by bit where that can be."""

import numpy as np
import pytest

import facula
import ranks
from facula import distributed as dist
from facula.distributed.algorithms.ddp_comm_hooks import default_hooks, powerSGD_hook
from facula.nn.parallel import DistributedDataParallel as DDP

pytestmark = pytest.mark.processes
nn = facula.nn


def _net(seed=0):
    facula.manual_seed(seed)
    return nn.Sequential(nn.Linear(6, 16), nn.Tanh(), nn.Linear(16, 8), nn.ReLU(), nn.Linear(8, 3))


def _batches(size, count=5):
    facula.manual_seed(7)
    return facula.randn(size, count, 6), facula.randn(size, count, 3)


def _same_bits(net, other):
    for (name, p), q in zip(net.named_parameters(), other.parameters(), strict=True):
        assert np.array_equal(p.grad.numpy().view(np.int32), q.grad.numpy().view(np.int32)), name


def _accumulated(rank, size, cap):
    x, y = _batches(size)
    single, net = _net(), DDP(_net(rank), bucket_cap_mb=cap)
    optimizers = [facula.optim.SGD(m.parameters(), 0.1, momentum=0.9) for m in (single, net)]
    for _ in range(3):
        for optimizer in optimizers:
            optimizer.zero_grad()
        for r in range(size):
            (nn.functional.mse_loss(single(x[r]), y[r]) / size).backward()
        nn.functional.mse_loss(net(x[rank]), y[rank]).backward()
        _same_bits(single, net.module)
        for optimizer in optimizers:
            optimizer.step()
    return len(net.reducer.buckets), list(net.state_dict())[0]


@pytest.mark.parametrize("size,cap", [(2, None), (4, 1e-5)])
def test_the_bits_of_one_process_that_accumulates(size, cap, monkeypatch):
    monkeypatch.setattr("facula.distributed.reducer.FIRST_BUCKET_BYTES", 1 << 20)
    found = ranks.run(size, _accumulated, size, cap)
    assert {name for _, name in found} == {"module.0.weight"} and len({count for count, _ in found}) == 1


def test_buckets():
    from facula.distributed.reducer import buckets_of
    tensors = [facula.zeros(4), facula.zeros(4, dtype=facula.float64), facula.zeros(8), facula.zeros(2)]
    assert buckets_of(tensors, 32, 8) == [[3], [2], [1], [0]]
    assert buckets_of(tensors, 1000, 1000) == [[3, 2, 0], [1]]


def _without_sync(rank, size):
    x, y = _batches(2 * size)
    single, net = _net(), DDP(_net())
    with net.no_sync():
        nn.functional.mse_loss(net(x[2 * rank]), y[2 * rank]).backward()
    local = [p.grad.clone() for p in net.parameters()]
    nn.functional.mse_loss(single(x[2 * rank]), y[2 * rank]).backward()
    _same_bits(single, net.module)  # nothing has been reduced
    nn.functional.mse_loss(net(x[2 * rank + 1]), y[2 * rank + 1]).backward()
    single.zero_grad()
    for k in range(2 * size):
        (nn.functional.mse_loss(single(x[k]), y[k]) / size).backward()
    for p, q, before in zip(net.parameters(), single.parameters(), local, strict=True):
        np.testing.assert_allclose(p.grad.numpy(), q.grad.numpy(), rtol=1e-4, atol=1e-6)
        assert not facula.equal(p.grad, before)
    return True


def test_no_sync():
    assert all(ranks.run(2, _without_sync, 2))


class _Branches(nn.Module):
    def __init__(self):
        super().__init__()
        self.left, self.right, self.never = nn.Linear(2, 1), nn.Linear(2, 1), nn.Linear(2, 1)

    def forward(self, x, which):
        return {"out": [getattr(self, which)(x)]}


def _unused(rank, size):
    facula.manual_seed(0)
    net = DDP(_Branches(), find_unused_parameters=True)
    x = facula.ones(1, 2)
    net(x, "left" if rank == 0 else "right")["out"][0].sum().backward()
    assert net.module.never.weight.grad is None
    assert net.module.left.bias.grad.item() == net.module.right.bias.grad.item() == 0.5
    net(x, "left")["out"][0].sum().backward()
    assert net.module.left.bias.grad.item() == 1.5 and net.module.right.bias.grad.item() == 0.5
    static = DDP(_Branches(), static_graph=True)
    for _ in range(2):
        static.zero_grad()
        static(x, "left")["out"][0].sum().backward()
    assert static.module.left.bias.grad.item() == 1 and static.module.right.weight.grad is None
    strict = DDP(_Branches())
    strict(x, "left")["out"][0].sum().backward()
    text = ranks.raised(RuntimeError, lambda: strict(x, "left"))
    assert "find_unused_parameters=True" in text and "never.weight" in text
    return True


def test_parameters_that_are_not_used():
    assert all(ranks.run(2, _unused, 2))


def _buffers(rank, size):
    facula.manual_seed(rank)
    net = DDP(nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3)))
    x = facula.randn(4, 2)
    for _ in range(2):
        net(x).sum().backward()
    net(x)
    found = [None] * size
    dist.all_gather_object(found, net.module[0].weight.tolist())
    assert found[0] == found[1]
    own = DDP(nn.BatchNorm1d(2), broadcast_buffers=False)
    own(x + rank).sum().backward()
    dist.all_gather_object(found, own.module.running_mean.tolist())
    assert found[0] != found[1]
    if rank == 0:
        other = nn.Linear(2, 3)
    else:
        other = nn.Linear(2, 4)
    assert "same model across all ranks" in ranks.raised(RuntimeError, lambda: DDP(other))
    assert "doesn't have any parameter" in ranks.raised(RuntimeError, lambda: DDP(nn.ReLU()))
    return True


def test_buffers_and_models_that_differ():
    assert all(ranks.run(2, _buffers, 2))


def _uneven(rank, size):
    facula.manual_seed(0)
    net = DDP(nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2), nn.Linear(2, 1)))
    optimizer = facula.optim.SGD(net.parameters(), 0.1)
    with net.join():
        for k in range(1 + 2 * rank):
            optimizer.zero_grad()
            net(facula.full((3, 2), float(k)) + facula.arange(6.0).reshape(3, 2)).sum().backward()
            optimizer.step()
    found = [None] * size
    dist.all_gather_object(found, [p.tolist() for p in net.parameters()])
    assert found[0] == found[1] == found[2]
    with net.join(enable=False):
        pass

    def early():
        with net.join(throw_on_early_termination=True):
            for _ in range(1 + rank):
                net(facula.ones(3, 2)).sum().backward()
    assert "exhausted inputs" in ranks.raised(RuntimeError, early)
    return True


def test_ranks_with_different_numbers_of_batches():
    assert all(ranks.run(3, _uneven, 3))


def _hooks(rank, size):
    x, y = _batches(size)
    single = _net()
    for r in range(size):
        (nn.functional.mse_loss(single(x[r]), y[r]) / size).backward()
    wanted = [p.grad.numpy() for p in single.parameters()]

    def gradients(hook, state=None, passes=1):
        net = DDP(_net(), bucket_cap_mb=1e-4)
        net.register_comm_hook(state, hook)
        for _ in range(passes):
            net.zero_grad()
            nn.functional.mse_loss(net(x[rank]), y[rank]).backward()
        assert "only be called once" in ranks.raised(RuntimeError, lambda: net.register_comm_hook(None, hook))
        return [p.grad.numpy() for p in net.parameters()]

    for hook, near in ((default_hooks.allreduce_hook, 0), (default_hooks.fp16_compress_hook, 2e-3),
                       (default_hooks.bf16_compress_hook, 2e-2),
                       (default_hooks.fp16_compress_wrapper(default_hooks.allreduce_hook), 2e-3)):
        for found, want in zip(gradients(hook), wanted, strict=True):
            np.testing.assert_allclose(found, want, rtol=near, atol=near / 10)
    state = powerSGD_hook.PowerSGDState(None, 2, start_powerSGD_iter=2, min_compression_rate=1)
    found = gradients(powerSGD_hook.powerSGD_hook, state, 8)
    assert state.compression_stats()[0] > 1 and state.error_dict
    everywhere = [None] * size
    dist.all_gather_object(everywhere, [f.tolist() for f in found])
    assert everywhere[0] == everywhere[1]
    assert np.linalg.norm(found[0] - wanted[0]) < 1.5 * np.linalg.norm(wanted[0])
    np.testing.assert_allclose(found[1], wanted[1], rtol=1e-5, atol=1e-7)  # vectors are not approximated
    return True


def test_communication_hooks():
    assert all(ranks.run(2, _hooks, 2))


def _sampled(rank, size):
    from facula.utils.data import DistributedSampler
    sampler = DistributedSampler(range(7), shuffle=True, seed=3)
    sampler.set_epoch(1)
    found = [None] * size
    dist.all_gather_object(found, list(sampler))
    assert len(found[0]) == len(found[1]) == 4 and set(found[0] + found[1]) == set(range(7))
    return True


def test_a_sampler_asks_the_group():
    assert all(ranks.run(2, _sampled, 2))


def test_shared_out_states_stay_when_parameters_are_added():
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    try:
        zero = dist.optim.ZeroRedundancyOptimizer([facula.nn.Parameter(facula.ones(n)) for n in (4, 3)],
                                                  facula.optim.SGD, lr=0.1, momentum=0.9)
        zero.world_size, zero._owner = 2, {}  # what two ranks would have, as rank 0 sees it
        zero._share_out()
        before = dict(zero._owner)
        mine = [p for p, rank in before.items() if rank == 0]
        zero.optim.state[mine[0]] = {"momentum_buffer": facula.ones(4)}
        zero.add_param_group({"params": [facula.nn.Parameter(facula.ones(100))]})  # which would come first
        assert {p: zero._owner[p] for p in before} == before and len(zero._owner) == 3
        assert zero.optim.state[mine[0]]["momentum_buffer"].tolist() == [1.0] * 4
    finally:
        dist.destroy_process_group()
