"""Modules in pieces, beside one process; what a rank has in memory."""

import copy
import gc
import weakref

import numpy as np
import pytest

import facula
import ranks
from facula import distributed as dist
from facula.distributed import checkpoint as dcp
from facula.distributed.fsdp import FSDPModule, MixedPrecisionPolicy, _pieces, fully_shard
from facula.distributed.tensor import DTensor, Shard

pytestmark = pytest.mark.processes
F, nn = facula.nn.functional, facula.nn


class Net(nn.Module):
    """Layers, one shared, one frozen."""

    def __init__(self):
        super().__init__()
        facula.manual_seed(7)
        self.words = nn.Embedding(11, 6)
        self.layers = nn.ModuleList(nn.Sequential(nn.Linear(6, 9), nn.Tanh(), nn.Linear(9, 6)) for _ in range(2))
        self.norm = nn.LayerNorm(6)
        self.out = nn.Linear(6, 11, bias=False)
        self.out.weight = self.words.weight
        self.norm.bias.requires_grad_(False)

    def forward(self, x):
        x = self.words(x)
        for layer in self.layers:
            x = x + layer(x)
        return self.out(self.norm(x))


def _net(mesh, **options):
    net = Net()
    for layer in net.layers:
        fully_shard(layer, mesh=mesh, **options)
    return fully_shard(net, mesh=mesh, **options)


def _loss(net, x):
    return F.cross_entropy(net(x).flatten(0, 1).float(), x.flatten())


def _trained(rank, size, shape, frees, folder):
    mesh = dist.init_device_mesh("cpu", shape)
    single, ours = Net(), _net(mesh, reshard_after_forward=frees)
    assert isinstance(ours, FSDPModule) and type(ours).__name__ == "FSDPNet" and isinstance(ours, Net)
    assert ours.out.weight is ours.words.weight and ours.norm.bias.requires_grad is False
    names = [name for name, _ in single.named_parameters()]
    assert [name for name, _ in ours.named_parameters()] == names and all(
        isinstance(p, DTensor) for p in ours.parameters())
    optimizers = [facula.optim.AdamW([p for p in net.parameters() if p.requires_grad], lr=0.02)
                  for net in (single, ours)]
    x = (facula.arange(4 * size * 5) * 7 % 11).reshape(size, 4, 5)
    for step in range(4):
        for r in range(size):
            for part in (x[r],) if step != 2 else (x[r, :2], x[r, 2:]):
                (_loss(single, part) / size).backward()
        if step == 2:  # two batches, one exchange
            ours.set_requires_gradient_sync(False)
            _loss(ours, x[rank, :2]).backward()
            assert ours.layers[0][0].weight.grad is None
            ours.set_requires_gradient_sync(True)
            _loss(ours, x[rank, 2:]).backward()
        else:
            _loss(ours, x[rank]).backward()
        for (name, p), q in zip(ours.named_parameters(), single.parameters(), strict=True):
            if q.requires_grad:
                np.testing.assert_allclose(p.grad.full_tensor().numpy(), q.grad.numpy(), atol=1e-6, err_msg=name)
        norms = [nn.utils.clip_grad_norm_(net.parameters(), 0.5).item() for net in (single, ours)]
        assert norms[1] == pytest.approx(norms[0], rel=1e-5)
        for optimizer in optimizers:
            optimizer.step()
            optimizer.zero_grad()
    for p, q in zip(ours.parameters(), single.parameters(), strict=True):
        np.testing.assert_allclose(p.full_tensor().detach().numpy(), q.detach().numpy(), atol=1e-5)
    dcp.save({"model": ours.state_dict(), "step": 4}, checkpoint_id=folder)
    other = _net(mesh)
    state = {"model": other.state_dict(), "step": 0}
    dcp.load(state, checkpoint_id=folder)
    other.load_state_dict(state["model"])
    whole = Net()
    state = {"model": whole.state_dict()}
    dcp.load(state, checkpoint_id=folder)
    for p, q, r in zip(ours.parameters(), other.parameters(), whole.parameters(), strict=True):
        assert p.full_tensor().tolist() == q.full_tensor().tolist() == r.tolist()
    with facula.no_grad():
        np.testing.assert_allclose(ours(x[0]).numpy(), whole(x[0]).numpy(), atol=1e-6)
    return True


@pytest.mark.parametrize("shape, frees", [((2,), None), ((3,), False), ((2, 2), True)])
def test_it_trains_as_in_one_process(tmp_path, shape, frees):
    size = int(np.prod(shape))
    assert all(ranks.run(size, _trained, size, shape, frees, tmp_path))


def _edges(rank, size):
    mesh = dist.init_device_mesh("cpu", (size,))
    net = fully_shard(nn.Linear(4, 3), mesh=mesh, mp_policy=MixedPrecisionPolicy(
        facula.bfloat16, facula.float32, facula.float64), shard_placement_fn=lambda p: Shard(p.dim() - 1))
    out = net(facula.ones(2, 4))
    assert out.dtype is facula.float64 and net.weight.dtype is facula.float32 and net.weight.placements == (Shard(1),)
    out.sum().backward()
    assert net.weight.grad.dtype is facula.float32 and net.weight.grad.full_tensor().tolist() == [[2.0] * 4] * 3
    net.unshard()
    assert type(net.weight) is facula.Tensor and net.weight.shape == (3, 4)
    net.reshard()
    assert isinstance(net.weight, DTensor)
    with pytest.raises(RuntimeError):
        net(facula.ones(2, 5))  # an error in the forward pass leaves pieces
    assert isinstance(net.weight, DTensor)
    for kind, call in ((AssertionError, lambda: copy.deepcopy(net)), (ValueError, lambda: fully_shard(net)),
                       (ValueError, lambda: fully_shard(nn.ModuleList([nn.Linear(1, 1)]), mesh=mesh)),
                       (NotImplementedError, lambda: fully_shard([nn.Linear(1, 1)], mesh=mesh))):
        with pytest.raises(kind):
            call()
    return True


def test_dtypes_and_what_is_refused():
    assert all(ranks.run(2, _edges, 2))


def _in_memory(rank, size):
    """How many elements of whole parameters are alive between the passes."""
    mesh = dist.init_device_mesh("cpu", (size,))
    net = nn.Sequential(*[fully_shard(nn.Linear(64, 64, bias=False), mesh=mesh, reshard_after_forward=True)
                          for _ in range(6)])
    alive = []
    made = _pieces.tensor_of

    def counted(array, of):
        found = made(array, of)
        if array.shape == (64, 64):
            alive.append(weakref.ref(array))  # whose memory the node has
        return found
    _pieces.tensor_of = counted
    y = net(facula.ones(1, 64))
    value = y.sum()
    value.item()
    gc.collect()
    between = sum(ref() is not None for ref in alive)
    gathered = len(alive)
    value.backward()
    del y, value
    gc.collect()
    return gathered, between, len(alive), sum(ref() is not None for ref in alive)


def test_whole_parameters_are_let_go_of():
    assert ranks.run(2, _in_memory, 2) == [(6, 0, 11, 0)] * 2  # the first one's input has no gradient
