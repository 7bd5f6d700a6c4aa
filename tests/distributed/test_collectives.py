"""Collectives of 2 to 4 processes: what each writes, of all dtypes, strides and sizes; what they refuse."""

import threading
import time

import numpy as np
import pytest

import facula
import ranks
from facula import distributed as dist
from facula.distributed.work import Work

pytestmark = pytest.mark.processes
FLOATS = [facula.float32, facula.float64, facula.float16, facula.bfloat16]
INTEGERS = [facula.uint8, facula.int8, facula.int16, facula.int32, facula.int64]
OTHERS = [facula.bool, facula.complex64, facula.complex128]


def _same(found, wanted):
    assert found.dtype is wanted.dtype and found.shape == wanted.shape
    assert found.tolist() == wanted.tolist()


def _every_dtype(rank, size):
    numbers = [[[k * (r + 1) % 5 for k in range(3)], [r, 1, 0]] for r in range(size)]
    for of in FLOATS + INTEGERS + OTHERS:
        parts = [facula.tensor(n, dtype=of) for n in numbers]
        x = facula.tensor(numbers[rank], dtype=of)
        dist.broadcast(x, size - 1)
        _same(x, parts[-1])
        lists = [facula.zeros(2, 3, dtype=of) for _ in range(size)]
        dist.all_gather(lists, parts[rank])
        for found, wanted in zip(lists, parts, strict=True):
            _same(found, wanted)
        x = facula.tensor(numbers[rank], dtype=of)
        dist.all_reduce(x)
        _same(x, facula.tensor(np.sum(numbers, 0).tolist(), dtype=of))
        into = facula.zeros(size * 2, 3, dtype=of)
        dist.all_gather_into_tensor(into, parts[rank])
        _same(into, facula.tensor(sum(numbers, []), dtype=of))
    return True


def test_every_dtype():
    assert all(ranks.run(3, _every_dtype, 3))


def _every_op(rank, size):
    op = dist.ReduceOp
    arrays = [np.arange(1, 7, dtype=np.int64) + r for r in range(size)]
    wanted = {op.SUM: sum(arrays), op.PRODUCT: np.prod(arrays, 0), op.MIN: np.min(arrays, 0), op.MAX: np.max(arrays, 0),
              op.BAND: np.bitwise_and.reduce(arrays), op.BOR: np.bitwise_or.reduce(arrays),
              op.BXOR: np.bitwise_xor.reduce(arrays)}
    for kind, values in wanted.items():
        x = facula.tensor(arrays[rank])
        dist.all_reduce(x, kind)
        assert x.tolist() == values.tolist(), kind
        x = facula.tensor(arrays[rank])
        dist.reduce(x, 1, dist.ReduceOp(kind))
        assert x.tolist() == (values if rank == 1 else arrays[rank]).tolist()
    x = facula.full((2,), 3.0)
    dist.all_reduce(x, dist._make_nccl_premul_sum(0.5))
    assert x.tolist() == [1.5 * size] * 2
    x = facula.full((2,), float(rank), dtype=facula.bfloat16)
    dist.all_reduce(x, op.AVG)
    assert x.tolist() == [(size - 1) / 2] * 2
    whole = facula.tensor([-128, 7], dtype=facula.int8)
    assert "AVG" in ranks.raised(RuntimeError, lambda: dist.all_reduce(whole, op.AVG))  # the mean is no int8
    x = facula.tensor([rank == 0, True])
    dist.all_reduce(x, op.BAND)
    assert x.tolist() == [False, True]
    z = facula.tensor([1 + 2j])
    assert "complex" in ranks.raised(ValueError, lambda: dist.all_reduce(z, op.MAX))
    assert "BAND" in ranks.raised(ValueError, lambda: dist.all_reduce(x.float(), op.BAND))
    assert not dist.supports_complex(op.PRODUCT) and dist.supports_complex(op.SUM)
    return True


def test_every_reduction():
    assert all(ranks.run(3, _every_op, 3))


def _sums_in_order(rank, size):
    facula.manual_seed(1)
    rows = facula.randn(size, 9001)
    total = rows[0].clone()
    for row in rows[1:]:
        total += row
    for count in (5, 9001):  # one round, and shares
        x = rows[rank, :count].clone()
        dist.all_reduce(x)
        _same(x, total[:count])
        x = rows[rank, :count].clone()
        dist.reduce(x, 2)
        _same(x, total[:count] if rank == 2 else rows[rank, :count])
    share = facula.empty(9001 // size)
    dist.reduce_scatter_tensor(share, rows[rank, :9001 // size * size].contiguous())
    _same(share, total[:9001 // size * size].reshape(size, -1)[rank])
    return True


def test_sums_have_the_bits_of_adding_one_rank_after_the_other():
    assert all(ranks.run(4, _sums_in_order, 4))


def _strides_and_nothing(rank, size):
    base = facula.zeros(4, 6)
    view = base[1:3, ::2].t()
    view.fill_(rank + 1.0)
    dist.all_reduce(view)
    assert view.stride() == (2, 6) and base.sum().item() == 6 * 3
    assert base[1, 2].item() == 3.0 and base[1, 1].item() == 0
    dist.broadcast(base.t(), 1)
    expanded = facula.tensor([float(rank)]).expand(3)
    lists = [facula.zeros(3) for _ in range(size)]
    dist.all_gather(lists, expanded)
    assert [t.tolist() for t in lists] == [[0.0] * 3, [1.0] * 3]
    for empty in (facula.empty(0), facula.empty(0, 3), facula.empty(2, 0).t()):
        dist.all_reduce(empty)
        dist.broadcast(empty, 0)
        dist.all_gather([facula.empty(empty.shape) for _ in range(size)], empty)
    scalar = facula.tensor(rank + 1)
    dist.all_reduce(scalar)
    assert scalar.item() == 3 and scalar.shape == ()
    leaf = facula.ones(2, requires_grad=True)
    dist.all_reduce(leaf)
    assert leaf.tolist() == [2.0, 2.0] and leaf.requires_grad
    return True


def test_strides_scalars_and_no_elements():
    assert all(ranks.run(2, _strides_and_nothing, 2))


def _lists(rank, size):
    parts = [facula.full((2,), float(10 * rank + r)) for r in range(size)]
    found = facula.zeros(2)
    dist.scatter(found, parts if rank == 1 else None, src=1)
    assert found.tolist() == [10.0 + rank] * 2
    gathered = [facula.zeros(2) for _ in range(size)] if rank == 2 else None
    dist.gather(facula.full((2,), float(rank)), gathered, dst=2)
    assert rank != 2 or [t[0].item() for t in gathered] == [0, 1, 2]
    dist.reduce_scatter(found, parts)
    assert found.tolist() == [30.0 + 3 * rank] * 2
    outs = [facula.zeros(2) for _ in range(size)]
    dist.all_to_all(outs, parts)
    assert [t[0].item() for t in outs] == [10.0 * r + rank for r in range(size)]
    uneven = [facula.full((rank + 1,), float(rank)) for _ in range(size)]
    rooms = [facula.zeros(r + 1) for r in range(size)]
    dist.all_to_all(rooms, uneven)
    assert [t.tolist() for t in rooms] == [[float(r)] * (r + 1) for r in range(size)]
    single = facula.zeros(size, 2)
    dist.all_to_all_single(single, facula.stack(parts))
    assert single[:, 0].tolist() == [10.0 * r + rank for r in range(size)]
    room = facula.zeros(6)
    dist.all_to_all_single(room, facula.full((3 * (rank + 1),), float(rank)), [1, 2, 3], [rank + 1] * 3)
    assert room.tolist() == [0, 1, 1, 2, 2, 2]
    many = [facula.ones(2) * rank, facula.ones(3, 1)]
    dist.all_reduce_coalesced(many)
    assert many[0].tolist() == [3, 3] and many[1].tolist() == [[3]] * 3
    tables = [[facula.zeros(2), facula.zeros(1, 1)] for _ in range(size)]
    dist.all_gather_coalesced(tables, [facula.ones(2) * rank, facula.full((1, 1), float(rank))])
    assert [(t[0].tolist(), t[1].item()) for t in tables] == [([float(r)] * 2, r) for r in range(size)]
    return True


def test_lists_and_pieces():
    assert all(ranks.run(3, _lists, 3))


def _later(rank, size):
    works, tensors = [], [facula.full((3,), float(rank + k)) for k in range(4)]
    for k, tensor in enumerate(tensors):
        works.append(dist.all_reduce(tensor, async_op=True) if k % 2 else dist.broadcast(tensor, 1, async_op=True))
    between = facula.ones(1)
    dist.all_reduce(between)  # goes on beside those
    assert between.item() == size
    for work in works:
        assert work.wait() and work.is_completed() and work.is_success() and work.exception() is None
    assert [t[0].item() for t in tensors] == [1.0, 3.0, 3.0, 7.0]
    x = facula.ones(2)
    future = dist.all_reduce(x, async_op=True).get_future()
    doubled = future.then(lambda f: f.value()[0] * 2).then(lambda f: f.value() + 1)
    assert doubled.wait().tolist() == [5.0, 5.0] and future.done() and future.wait()[0] is x
    both = facula.futures.collect_all([dist.barrier(async_op=True).get_future(), doubled])
    assert len(both.wait()) == 2
    with dist._coalescing_manager(async_ops=True) as manager:
        pair = [facula.ones(1), facula.ones(2)]
        for tensor in pair:
            dist.all_reduce(tensor)
    manager.wait()
    assert [t[0].item() for t in pair] == [2, 2]
    return True


def test_works_and_futures():
    assert all(ranks.run(2, _later, 2))


def _objects(rank, size):
    found = [None] * size
    dist.all_gather_object(found, {"rank": rank, "long": "x" * (rank * 100000)})
    assert [f["rank"] for f in found] == list(range(size)) and len(found[2]["long"]) == 200000
    lists = [None] * size if rank == 0 else None
    dist.gather_object((rank,), lists)
    assert rank or lists == [(0,), (1,), (2,)]
    objects = [rank, facula.ones(2) * rank]
    dist.broadcast_object_list(objects, 1)
    assert objects[0] == 1 and objects[1].tolist() == [1, 1]
    out = [None]
    dist.scatter_object_list(out, ["a", "b", "c"] if rank == 2 else None, src=2)
    assert out == ["abc"[rank]]
    if rank == 0:
        dist.send_object_list([1, "two"], 1)
    elif rank == 1:
        got = [None, None]
        assert dist.recv_object_list(got, None) == 0 and got == [1, "two"]
    return True


def test_objects():
    assert all(ranks.run(3, _objects, 3))


def _point_to_point(rank, size):
    x = facula.full((3,), float(rank))
    if rank == 0:
        room = facula.zeros(3)
        for other in (1, 2):
            assert dist.recv(room, other, tag=5) == other and room.tolist() == [other] * 3
        seen = {dist.recv(room) for _ in range(2)}
        assert seen == {1, 2}
        dist.barrier()  # what follows has the same tag
        big = facula.zeros(100000)
        works = [dist.irecv(big, 1), dist.isend(x, 1)]
        for work in works:
            work.wait()
        assert big.sum().item() == 100000 and works[0].source_rank() == 1
    else:
        dist.send(x, 0, tag=5)
        dist.barrier(group=dist.new_group([1, 2], use_local_synchronization=True))
        dist.send(x, 0)
        dist.barrier()
        if rank == 1:
            sending = dist.isend(facula.ones(100000), 0)
            dist.recv(x, 0)
            sending.wait()
            assert x.tolist() == [0, 0, 0]
    right, left = (rank + 1) % size, (rank - 1) % size
    for shape in ((2,), (50000,)):
        mine, theirs = facula.full(shape, float(rank)), facula.zeros(shape)
        for work in dist.batch_isend_irecv([dist.P2POp(dist.isend, mine, right), dist.P2POp(dist.irecv, theirs, left)]):
            work.wait()
        assert theirs[0].item() == left
    # Two messages of one tag come in their order, though the second is small.
    if rank == 1:
        works = [dist.isend(facula.ones(400000), 2), dist.isend(facula.zeros(1), 2)]
        [work.wait() for work in works]
    elif rank == 2:
        first, second = facula.zeros(400000), facula.ones(1)
        dist.recv(first, 1)
        dist.recv(second, 1)
        assert first[-1].item() == 1 and second.item() == 0
    assert "same as the rank" in ranks.raised(ValueError, lambda: dist.send(x, rank))
    assert "P2POp" in ranks.raised(ValueError, lambda: dist.batch_isend_irecv([]))
    assert "op" in ranks.raised(ValueError, lambda: dist.P2POp(dist.broadcast, x, 0))
    return True


def test_point_to_point():
    assert all(ranks.run(3, _point_to_point, 3))


def _groups(rank, size):
    pair = dist.new_group([3, 1])
    if rank in (1, 3):
        assert dist.get_rank(pair) == (0 if rank == 1 else 1) and dist.get_world_size(pair) == 2
        assert dist.get_process_group_ranks(pair) == [1, 3] and dist.get_group_rank(pair, 3) == 1
        assert dist.get_global_rank(pair, 0) == 1 and dist.get_backend(pair) == "gloo"
        x = facula.ones(2) * rank
        dist.all_reduce(x, group=pair)
        assert x.tolist() == [4, 4]
        dist.broadcast(x.fill_(rank), 3, group=pair)
        assert x.tolist() == [3, 3]
        dist.broadcast(x.fill_(rank), group=pair, group_src=0)
        assert x.tolist() == [1, 1]
    else:
        assert pair is dist.GroupMember.NON_GROUP_MEMBER and dist.get_rank(pair) == -1
        with pytest.warns(UserWarning, match="does not belong"):
            assert dist.all_reduce(facula.ones(1), group=pair) is None
    unsorted = dist.new_group([2, 0], sort_ranks=False)
    if rank in (0, 2):
        assert dist.get_rank(unsorted) == (1 if rank == 0 else 0)
    mine, groups = dist.new_subgroups(2)
    x = facula.ones(1) * rank
    dist.all_reduce(x, group=mine)
    assert x.item() == (1 if rank < 2 else 5) and len(groups) == 2
    rows, _ = dist.new_subgroups_by_enumeration([[0, 2], [1, 3]])
    found = [None, None]
    dist.all_gather_object(found, rank, group=rows)
    assert found == [rank % 2, rank % 2 + 2]
    assert "divisible" in ranks.raised(ValueError, lambda: dist.new_subgroups(3))
    assert "within the world_size" in ranks.raised(ValueError, lambda: dist.new_group([0, 9]))
    if rank in (1, 3):
        dist.destroy_process_group(pair)
    dist.barrier()
    return dist.get_rank()


def test_groups():
    assert ranks.run(4, _groups, 4) == [0, 1, 2, 3]


def _refused(rank, size):
    one, whole = facula.ones(1), facula.ones(1, dtype=facula.int32)
    for kind, text, call in (
            (TypeError, "tensor", lambda: dist.all_reduce(3)),
            (TypeError, "tensor_list", lambda: dist.all_gather(one, one)),
            (ValueError, "different dtypes", lambda: dist.all_gather([one, whole], one)),
            (ValueError, "2 ranks", lambda: dist.all_gather([one], one)),
            (ValueError, "size", lambda: dist.all_gather([facula.ones(2)] * 2, one)),
            (ValueError, "world_size", lambda: dist.all_gather_into_tensor(facula.ones(3), one)),
            (ValueError, "not part of group", lambda: dist.broadcast(one, 5)),
            (ValueError, "Must specify src", lambda: dist.broadcast(one)),
            (ValueError, "both", lambda: dist.broadcast(one, 0, group_src=0)),
            (ValueError, "NOT be specified", lambda: dist.gather(one, [one] * 2, dst=1 - rank)),
            (ValueError, "must be specified", lambda: dist.scatter(one, None, src=rank)),
            (RuntimeError, "divide equally", lambda: dist.all_to_all_single(facula.ones(3), facula.ones(3))),
            (RuntimeError, "Split sizes",
             lambda: dist.all_to_all_single(facula.ones(3), facula.ones(3), [1, 1], [1, 2])),
            (ValueError, "twice", lambda: dist.init_process_group("gloo")),
            (ValueError, "Invalid process group", lambda: dist.all_reduce(one, group=3))):
        assert text in ranks.raised(kind, call), text
    dist.barrier()
    return True


def test_what_is_refused_leaves_the_group_as_it_was():
    assert all(ranks.run(2, _refused, 2))


def test_before_there_is_a_group():
    assert not dist.is_initialized() and dist.group.WORLD is None and dist.is_available()
    for call in (dist.get_rank, dist.barrier, lambda: dist.all_reduce(facula.ones(1)), lambda: dist.new_group([0])):
        with pytest.raises(ValueError, match="has not been initialized"):
            call()
    with pytest.raises(AssertionError):
        dist.destroy_process_group()
    with pytest.raises(ValueError, match="Invalid backend"):
        dist.init_process_group("no_such", store=dist.HashStore(), rank=0, world_size=1)
    with pytest.raises(NotImplementedError, match="nccl"):
        dist.init_process_group("nccl", store=dist.HashStore(), rank=0, world_size=1)
    with pytest.raises(RuntimeError, match="No rendezvous handler"):
        dist.init_process_group("gloo", init_method="carrier://pigeon", rank=0, world_size=1)
    with pytest.raises(ValueError, match="world size parameter missing"):
        dist.init_process_group("gloo", init_method="tcp://127.0.0.1:1", rank=0)


def test_a_world_of_one_and_a_fake_one(monkeypatch):
    monkeypatch.setenv("RANK", "0")
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    with pytest.raises(ValueError, match="environment variable WORLD_SIZE expected"):
        dist.init_process_group("gloo")
    dist.init_process_group(store=dist.HashStore(), rank=0, world_size=1)
    x = facula.ones(2)
    dist.all_reduce(x)
    dist.barrier()
    assert x.tolist() == [1, 1] and dist.get_backend() == "gloo" and dist.get_backend_config() == "cpu:gloo"
    dist.destroy_process_group()
    dist.init_process_group("fake", rank=3, world_size=8)
    assert dist.get_rank() == 3 and dist.get_world_size() == 8
    lists = [facula.zeros(1) for _ in range(8)]
    dist.all_gather(lists, facula.ones(1))
    dist.barrier()
    dist.destroy_process_group()
    assert not dist.is_initialized()


def test_lists_without_tensors_are_refused():
    dist.init_process_group("fake", rank=0, world_size=2)
    try:
        with pytest.raises(ValueError, match="non-empty"):
            dist.all_reduce_coalesced([])
        with pytest.raises(ValueError, match="non-empty"):
            dist.all_gather_coalesced([[], []], [])
        with pytest.raises(ValueError, match="output_device"):
            facula.nn.parallel.DistributedDataParallel(facula.nn.Linear(2, 1), output_device=0)
    finally:
        dist.destroy_process_group()


def test_what_is_made_of_a_works_future_comes_when_it_is_looked_at():
    written = []
    work = Work([7], "", lambda: written.append(1))
    future = work.get_future()
    ends = future.then(lambda f: f.value()[0]).then(lambda f: f.value() + 1)
    both = facula.futures.collect_all([ends, future])
    assert not ends.done() and not both.done() and not written
    work._complete()
    assert not written  # nobody has looked
    assert both.done() and ends.value() == 8 and written == [1]
    assert work.get_future() is future and future.wait() == [7]
    failed = Work(None, "")
    failed._complete(dist.DistBackendError("gone"))
    with pytest.raises(dist.DistBackendError, match="gone"):
        failed.get_future().then(lambda f: f.value()).wait()


def test_a_works_future_is_told_once_whoever_looks():
    for _ in range(50):
        work = Work([1], "", lambda: time.sleep(0.0005))
        futures = [work.get_future()]
        work._complete()
        errors = []

        def look(work=work, future=futures[0], errors=errors):
            try:
                work.wait()
                assert work.get_future().wait() == [1] == future.wait()
            except BaseException as error:
                errors.append(error)
        threads = [threading.Thread(target=look) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not errors
