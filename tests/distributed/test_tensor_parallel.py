"""Modules cut along tensors, and optimizers of DTensors, beside one process."""

import numpy as np
import pytest

import facula
import ranks
from facula import distributed as dist
from facula.distributed.tensor import DTensor, Replicate, Shard, distribute_tensor
from facula.distributed.tensor.parallel import (
    ColwiseParallel,
    RowwiseParallel,
    SequenceParallel,
    loss_parallel,
    parallelize_module,
)

pytestmark = pytest.mark.processes
F, nn = facula.nn.functional, facula.nn


class Block(nn.Module):
    """Attention and an MLP, with norms and residuals."""

    def __init__(self, width=8, heads=4):
        super().__init__()
        self.heads, self.width = heads, width
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.q, self.k, self.v, self.o = (nn.Linear(width, width) for _ in range(4))
        self.w1, self.w2 = nn.Linear(width, 2 * width), nn.Linear(2 * width, width)

    def attend(self, x):
        q, k, v = (f(x).unflatten(-1, (-1, self.width // self.heads)).transpose(1, 2) for f in (self.q, self.k, self.v))
        return self.o(F.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2).flatten(2))

    def forward(self, x):
        x = x + self.attend(self.norm1(x))
        return x + self.w2(F.gelu(self.w1(self.norm2(x))))


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        facula.manual_seed(3)
        self.words, self.block, self.norm, self.out = nn.Embedding(10, 8), Block(), nn.LayerNorm(8), nn.Linear(8, 10)
        self.double()

    def forward(self, x):
        return self.out(self.norm(self.block(self.words(x))))


PLAIN = {"words": RowwiseParallel(input_layouts=Replicate()), "block.[qkv]": ColwiseParallel(),
         "block.o": RowwiseParallel(),
         "block.w1": ColwiseParallel(), "block.w2": RowwiseParallel(),
         "out": ColwiseParallel(output_layouts=Replicate())}
BY_SEQUENCE = {
    "words": RowwiseParallel(input_layouts=Replicate(), output_layouts=Shard(1), use_local_output=False),
    "block.norm?": SequenceParallel(), "block.[qkv]": ColwiseParallel(),
    "block.o": RowwiseParallel(output_layouts=Shard(1), use_local_output=False), "block.w1": ColwiseParallel(),
    "block.w2": RowwiseParallel(output_layouts=Shard(1), use_local_output=False), "norm": SequenceParallel(),
    "out": ColwiseParallel(use_local_output=False)}


def _trained(rank, size, plan, with_loss):
    mesh = dist.init_device_mesh("cpu", (size,), mesh_dim_names=("tp",))
    x = facula.arange(12).reshape(2, 6) * 7 % 10
    target = (x + 1) % 10
    single, ours = Net(), parallelize_module(Net(), mesh["tp"], plan)
    assert ours.block.q.weight.placements == (Shard(0),) and isinstance(ours.block.q.weight, nn.Parameter)
    assert ours.block.q.weight.to_local().shape == (8 // size, 8)
    optimizers = [facula.optim.AdamW(net.parameters(), lr=0.02) for net in (single, ours)]
    for step in range(3):
        wanted = F.cross_entropy(single(x).flatten(0, 1), target.flatten())
        out = ours(x)
        if with_loss:
            assert out.placements == (Shard(2),)
            with loss_parallel():
                found = F.cross_entropy(out.flatten(0, 1), distribute_tensor(target.flatten(), mesh))
                found.backward()
            found = found.full_tensor()
        else:
            found = F.cross_entropy(out.flatten(0, 1), target.flatten())
            found.backward()
        wanted.backward()
        assert found.item() == pytest.approx(wanted.item(), rel=1e-9)
        for (name, p), q in zip(ours.named_parameters(), single.parameters(), strict=True):
            grad = p.grad.full_tensor() if isinstance(p, DTensor) else p.grad
            np.testing.assert_allclose(grad.numpy(), q.grad.numpy(), atol=1e-10, err_msg=name)
        if step == 1 and with_loss:
            norms = [nn.utils.clip_grad_norm_(net.parameters(), 0.1).item() for net in (single, ours)]
            assert norms[1] == pytest.approx(norms[0], rel=1e-9)
        for optimizer in optimizers:
            optimizer.step()
            optimizer.zero_grad()
    for p, q in zip(ours.parameters(), single.parameters(), strict=True):
        whole = p.full_tensor() if isinstance(p, DTensor) else p
        np.testing.assert_allclose(whole.detach().numpy(), q.detach().numpy(), atol=1e-10)
    state = optimizers[1].state[ours.block.q.weight]
    assert state["exp_avg"].placements == (Shard(0),) and state["exp_avg"].shape == (8, 8)
    again = facula.optim.AdamW(ours.parameters())
    again.load_state_dict(optimizers[1].state_dict())
    assert again.state[ours.block.q.weight]["exp_avg"].placements == (Shard(0),)
    return True


@pytest.mark.parametrize("plan", ["plain", "by sequence"])
def test_a_transformer_trains_as_in_one_process(plan):
    assert all(ranks.run(2, _trained, 2, PLAIN if plan == "plain" else BY_SEQUENCE, plan != "plain"))
