"""DTensors on 2 to 4 ranks: layouts, operations and gradients beside those of one process."""

import copy
import importlib
import io
import itertools
import pickle

import numpy as np
import pytest

import docstrings
import facula
import ranks
from facula import distributed as dist
from facula.distributed import checkpoint
from facula.distributed.tensor import (
    DTensor,
    Partial,
    Replicate,
    Shard,
    distribute_module,
    distribute_tensor,
    experimental,
    full,
    ones,
    parallel,
    randn,
    zeros,
)

pytestmark = pytest.mark.processes
F, nn = facula.nn.functional, facula.nn
R = Replicate()


def _close(found, wanted, tol=1e-12):
    np.testing.assert_allclose(found.detach().numpy(), wanted.detach().numpy(), rtol=tol, atol=tol)


def _layouts(rank, size):
    facula.manual_seed(0)
    mesh = dist.init_device_mesh("cpu", (2, 2))
    x = facula.randn(5, 3)
    weights = distribute_tensor(x.cos(), mesh)
    kinds = [R, Shard(0), Shard(1), Partial()]
    befores = list(itertools.product(kinds, kinds))
    afters = list(itertools.product(kinds[:3], kinds[:3]))
    for k, before in enumerate(befores):
        source = x if rank == 0 else facula.zeros_like(x)  # the first rank's elements count
        given = distribute_tensor(source, mesh, before).requires_grad_()
        assert given.shape == (5, 3) and given.placements == before
        for after in (afters[k % 9], afters[(k * 5 + 3) % 9]):
            moved = given.redistribute(placements=after)
            _close(moved.full_tensor(), x, 1e-6)
            assert moved.placements == after
            assert moved.to_local().shape == distribute_tensor(x, mesh, after, src_data_rank=None).to_local().shape
            given.grad = None
            (moved * weights).sum().backward()
            _close(given.grad.full_tensor(), x.cos(), 1e-6)
    return True


def test_layouts_become_others():
    assert all(ranks.run(4, _layouts, 4))


def _operations():
    """Name, function, shapes of its tensors."""
    yield "add", lambda a, b: a + b, [(5, 4), (4,)]
    yield "mul", lambda a, b: (a * b) / 3 - 2, [(5, 4), (5, 1)]
    yield "pointwise", lambda a: F.gelu(a).sigmoid() * a.abs().sqrt().clamp(0.1, 2), [(5, 4)]
    yield "where", lambda a, b: facula.where(a > b, a, b * 2), [(5, 4), (5, 4)]
    yield "matmul", lambda a, b: a @ b, [(5, 4), (4, 6)]
    yield "batched", lambda a, b: facula.matmul(a, b), [(3, 5, 4), (4, 6)]
    yield "bmm", lambda a, b: facula.bmm(a, b), [(5, 2, 4), (5, 4, 3)]
    yield "linear", lambda a, b, c: F.linear(a, b, c), [(2, 5, 4), (6, 4), (6,)]
    yield "addmm", lambda a, b, c: facula.addmm(a, b, c), [(6,), (5, 4), (4, 6)]
    yield "sum", lambda a: a.sum(1) * 2 + a.sum(1), [(5, 4)]
    yield "mean", lambda a: a.mean(0, keepdim=True) + a.mean(), [(5, 4)]
    yield "amax", lambda a: a.max(1).values + a.var(1), [(5, 4)]
    yield "softmax", lambda a: a.softmax(-1) + F.log_softmax(a, 0), [(5, 4)]
    yield "norm", lambda a: facula.linalg.vector_norm(a) + a.norm(dim=1), [(5, 4)]
    yield "layer_norm", lambda a, b, c: F.layer_norm(a, (4,), b, c), [(5, 4), (4,), (4,)]
    yield "rms_norm", lambda a, b: F.rms_norm(a, (4,), b), [(5, 4), (4,)]
    yield "transposed", lambda a: a.transpose(0, 1).permute(1, 2, 0).contiguous().mT, [(5, 4, 6)]
    yield "reshaped", lambda a: a.view(6, 2, 3, 5).flatten(0, 1).unflatten(0, (3, 4)).reshape(3, -1), [(6, 6, 5)]
    yield "parts", lambda a: facula.cat([a[:, 1:3], a[..., None, 0]], 1) + a.chunk(4, 1)[1] + a.unbind(1)[0][:, None], [
        (5, 4)]
    yield "expanded", lambda a: (a.unsqueeze(1).expand(5, 3, 4) * 2).squeeze(0), [(5, 4)]
    yield "stacked", lambda a, b: facula.stack([a, b], 1).tril(), [(5, 4), (5, 4)]
    yield "attention", lambda a, b, c: F.scaled_dot_product_attention(a, b, c, is_causal=True), [(2, 3, 4, 5)] * 3
    yield "mse", lambda a, b: F.mse_loss(a, b) + F.l1_loss(a, b, reduction="sum"), [(5, 4), (5, 4)]
    yield "of two", lambda a, b: a.max(b) + facula.min(a, b).type_as(b[:1]).to(b[:, :1]), [(5, 4), (5, 4)]
    yield "along", lambda a: F.normalize(a) + a.cumsum(1) + a.std(1, True, True) + a.logsumexp(0), [(5, 4, 2)]
    yield "without a rule", lambda a: facula.roll(a, 1, 0), [(5, 4)]


def _every_operation(rank, size):
    facula.manual_seed(1)
    mesh = dist.init_device_mesh("cpu", (size,))
    for number, (name, call, shapes) in enumerate(_operations()):
        plain = [facula.randn(*shape, dtype=facula.float64) for shape in shapes]
        wanted = [t.clone().requires_grad_() for t in plain]
        result = call(*wanted)
        weights = facula.randn(*result.shape, dtype=facula.float64)
        (result * weights).sum().backward()
        kinds = [R, Shard(0), Partial(), Shard(len(shapes[0]) - 1)]
        layouts = [(kind, *[R] * (len(plain) - 1)) for kind in kinds] + [
            tuple(Shard(k % t.dim()) for k, t in enumerate(plain)), tuple(Shard(0) for _ in plain)]
        for layout in (layouts[number % 6], layouts[(number * 5 + 1) % 6]):
            given = [distribute_tensor(t, mesh, [kind], src_data_rank=None).requires_grad_()
                     for t, kind in zip(plain, layout, strict=True)]
            found = call(*given)
            assert isinstance(found, DTensor) and found.shape == result.shape, (name, layout)
            _close(found.full_tensor(), result, 1e-9)
            (found * distribute_tensor(weights, mesh, src_data_rank=None)).sum().backward()
            for t, w, kind in zip(given, wanted, layout, strict=True):
                assert t.grad.placements == (R if kind == Partial() else kind,), (name, layout)
                _close(t.grad.full_tensor(), w.grad, 1e-9)
    return True


def test_operations_and_their_gradients():
    assert all(ranks.run(2, _every_operation, 2))


def _at_the_edges(rank, size):
    mesh = dist.init_device_mesh("cpu", (size,))
    local = facula.full((2, 3), rank + 1.0, requires_grad=True)
    x = DTensor.from_local(local, mesh, [Shard(0)])
    assert x.shape == (4, 3) and x.requires_grad and not x.is_leaf and x.device_mesh is mesh and x.stride() == (3, 1)
    (x.to_local() * (rank + 2)).sum().backward()
    assert local.grad.tolist() == [[rank + 2.0] * 3] * 2
    local.grad = None
    summands = DTensor.from_local(local, mesh, [Partial()])  # 3 in all
    (summands * summands).sum().backward()
    assert local.grad.tolist() == [[6.0] * 3] * 2
    local.grad = None
    whole = DTensor.from_local(local * 0 + 2, mesh, [R])
    (whole.to_local(grad_placements=[Partial()]) * (rank + 1)).sum().backward()  # each rank has a part of the loss
    assert local.grad.tolist() == [[0.0] * 3] * 2
    leaf = distribute_tensor(facula.ones(3), mesh).requires_grad_()
    (leaf.to_local(grad_placements=[Partial()]) * (rank + 1)).sum().backward()
    assert leaf.grad.to_local().tolist() == [3.0] * 3
    uneven = DTensor.from_local(facula.full((2 - rank,), float(rank)), mesh, [Shard(0)], shape=(3,))
    assert uneven.full_tensor().tolist() == [0, 0, 1] and uneven.tolist() == [0, 0, 1] and uneven.sum().item() == 1
    agreed = DTensor.from_local(facula.full((2,), float(rank)), mesh, [R], run_check=True)
    assert agreed.to_local().tolist() == [0, 0]
    assert [t.full_tensor().sum().item() for t in (
        zeros(5, device_mesh=mesh, placements=[Shard(0)]), ones(5, device_mesh=mesh, placements=[Shard(0)]),
        ones(5, device_mesh=mesh, placements=[Partial()]), full((5,), 2.0, device_mesh=mesh))] == [0, 5, 5, 10]
    facula.manual_seed(rank)
    drawn = randn(4, 2, device_mesh=mesh, placements=[Shard(0)]).full_tensor()
    facula.manual_seed(0)
    assert drawn.tolist() == facula.randn(4, 2).tolist()
    # as a leaf, a parameter, in place
    p = nn.Parameter(distribute_tensor(facula.arange(6.0).reshape(3, 2), mesh, [Shard(0)]))
    assert isinstance(p, nn.Parameter) and type(p) is DTensor and p.is_leaf and p.requires_grad
    seen = []
    p.register_hook(lambda g: seen.append(g.placements) or g * 2)
    found, = facula.autograd.grad((p * 3).sum(), p)
    assert found.placements == (Shard(0),) and found.full_tensor().tolist() == [[6.0] * 2] * 3 and len(seen) == 1
    (p * 3).sum().backward()
    assert p.grad.full_tensor().tolist() == [[6.0] * 2] * 3
    copied = copy.deepcopy(p)
    with facula.no_grad():
        p.mul_(2).add_(distribute_tensor(facula.ones(2), mesh))
        p -= 1
        p[:, 0:1]
    assert p.full_tensor().tolist() == [[0, 2], [4, 6], [8, 10]] and copied.full_tensor().tolist()[2] == [4, 5]
    assert isinstance(copied, nn.Parameter)
    p.grad = None
    p.data = copied.data
    assert p.full_tensor().tolist()[2] == [4, 5] and p.detach().copy_(p * 0).full_tensor().sum() == 0
    y = distribute_tensor(facula.ones(2, 2), mesh, [Partial()])
    with experimental.implicit_replication():
        assert (y + facula.ones(2, 2)).full_tensor().tolist() == [[2, 2], [2, 2]]
    assert (y / 2 + y).placements == (Partial(),) and (y + 1).placements == (R,) and (y == 1).all().item()
    assert facula.where(distribute_tensor(facula.tensor([0, 3, 4]), mesh, [Shard(0)]))[0].tolist() == [1, 2]
    assert "DTensor(local_tensor=" in repr(y) and bool((y > 0).all()) and len(y) == 2 and y.ndim == 2
    for kind, call in (
            (RuntimeError, lambda: y + facula.ones(2, 2)), (RuntimeError, lambda: y.redistribute(placements=None)),
            (RuntimeError, lambda: y.redistribute(placements=[R]).redistribute(placements=[Partial()])),
            (ValueError, lambda: distribute_tensor(facula.ones(2), mesh, [R, R])),
            (ValueError, lambda: distribute_tensor(facula.ones(2), mesh, [Shard(1)])),
            (TypeError, lambda: distribute_tensor(facula.ones(2), mesh, [0])),
            (RuntimeError, lambda: distribute_tensor(facula.ones(2, requires_grad=True) * 2, mesh)),
            (RuntimeError, lambda: DTensor.from_local(facula.ones(2), mesh, [Shard(0)], shape=(9,))),
            (RuntimeError, lambda: DTensor(1)), (NotImplementedError, lambda: pickle.dumps(y)),
            (NotImplementedError, lambda: facula.save(y, io.BytesIO())),
            (NotImplementedError, lambda: y.abs_()), (NotImplementedError, lambda: y.bernoulli_()),
            (NotImplementedError, lambda: facula.add(y, y, out=y)),
            (NotImplementedError, lambda: facula.rand_like(y)), (RuntimeError, lambda: y.view(3)),
            (NotImplementedError, lambda: facula.optim.Adafactor([p]).step()),
            (NotImplementedError, lambda: distribute_tensor(facula.ones(2)))):
        with pytest.raises(kind):
            call()
    return True


def test_leaves_writes_and_what_is_refused():
    assert all(ranks.run(2, _at_the_edges, 2))


def _of_models(rank, size):
    mesh = dist.init_device_mesh("cpu", (size,))
    facula.manual_seed(2)
    words = facula.tensor([[0, 5, 3], [6, 2, 3]])
    table = facula.randn(7, 4, requires_grad=True)
    weights = facula.randn(2, 3, 4)
    (F.embedding(words, table, padding_idx=2) * weights).sum().backward()
    for kind in (R, Shard(0), Shard(1)):
        for lying in (R, Shard(0)):
            ours = distribute_tensor(table.detach(), mesh, [kind]).requires_grad_()
            found = F.embedding(distribute_tensor(words, mesh, [lying]), ours, padding_idx=2)
            _close(found.full_tensor(), table[words], 1e-6)
            (found * distribute_tensor(weights, mesh)).sum().backward()
            _close(ours.grad.full_tensor(), table.grad, 1e-6)
    logits, target = facula.randn(5, 4, dtype=facula.float64), facula.tensor([0, 3, -100, 1, 2])
    for options in ({}, {"reduction": "sum"}, {"reduction": "none"}, {"label_smoothing": 0.1},
                    {"weight": facula.rand(4, dtype=facula.float64)}):
        wanted = logits.clone().requires_grad_()
        loss = F.cross_entropy(wanted, target, **options)
        loss.sum().backward()
        for kind in (R, Shard(0), Shard(1), Partial()):
            ours = distribute_tensor(logits, mesh, [kind]).requires_grad_()
            found = F.cross_entropy(ours, distribute_tensor(target, mesh), **options)
            if kind == Shard(1):
                with parallel.loss_parallel():
                    again = F.cross_entropy(ours, distribute_tensor(target, mesh), **options)
                _close(again.full_tensor(), loss)
                found = (found + again) / 2
            found.sum().backward()
            _close(found.full_tensor(), loss)
            _close(ours.grad.full_tensor(), wanted.grad)
    whole = F.dropout(ones(40, device_mesh=mesh), 0.25)
    parts = [None] * size
    dist.all_gather_object(parts, whole.to_local().tolist())
    assert parts[0] == parts[1] and set(parts[0]) == {0.0, float(np.float32(1 / 0.75))}
    cut = F.dropout(ones(80, device_mesh=mesh, placements=[Shard(0)]), 0.25)
    dist.all_gather_object(parts, cut.to_local().tolist())
    assert parts[0] != parts[1] and F.dropout(cut, 0.5, training=False) is cut

    def halves(name, module, mesh):
        if isinstance(module, nn.Linear):
            module.weight = nn.Parameter(distribute_tensor(module.weight.detach(), mesh, [Shard(0)]))
    net, plain = nn.Sequential(nn.Linear(3, 5), nn.BatchNorm1d(5).eval()), nn.Linear(3, 5)
    net[0].load_state_dict(plain.state_dict())
    distribute_module(net, mesh, halves, lambda m, inputs, mesh: DTensor.from_local(inputs[0], mesh, [R]),
                      lambda m, out, mesh: out.full_tensor())
    assert net[0].weight.placements == (Shard(0),) and net[0].bias.placements == (R,)
    assert type(net[1].running_mean) is DTensor
    x = facula.rand(2, 3)
    with pytest.warns(UserWarning, match="batch_norm has no rule for DTensors"):
        found = net(x)
    _close(found, plain(x) / (1 + 1e-5) ** 0.5, 1e-6)
    net.double()
    assert net[0].weight.dtype is facula.float64 and net[0].weight.to_local().dtype is facula.float64
    with pytest.raises(NotImplementedError, match="summands cannot be saved"):
        checkpoint.planner.items_of({"x": ones(2, device_mesh=mesh, placements=[Partial()])})
    return True


def test_embeddings_losses_dropout_and_modules():
    assert all(ranks.run(2, _of_models, 2))


@pytest.mark.parametrize("name", [
    "checkpoint", "checkpoint.filesystem", "checkpoint.flattening", "checkpoint.format_utils", "checkpoint.stateful",
    "checkpoint.state_dict", "checkpoint.state_dict_loader", "checkpoint.state_dict_saver",
    "fsdp._fully_shard", "tensor._creating", "tensor._dtensor",
    "tensor.experimental", "tensor.parallel.api", "tensor.parallel.style"])
def test_examples(name):
    docstrings.check(importlib.import_module(f"facula.distributed.{name}"))
