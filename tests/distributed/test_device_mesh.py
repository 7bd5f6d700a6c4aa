"""DeviceMesh: where ranks stand, and which group each has along a dimension."""

import pytest

import facula
import ranks
from facula import distributed as dist

pytestmark = pytest.mark.processes


def _mesh(rank, size):
    mesh = dist.init_device_mesh("cpu", (2, 2), mesh_dim_names=("dp", "tp"))
    assert mesh.shape == (2, 2) and mesh.ndim == 2 and mesh.size() == 4 and mesh.size(1) == 2
    assert mesh.get_coordinate() == [rank // 2, rank % 2] and mesh.get_rank() == rank
    for name, wanted in (("dp", [rank % 2, rank % 2 + 2]), ("tp", [rank // 2 * 2, rank // 2 * 2 + 1])):
        group = mesh.get_group(name)
        assert dist.get_process_group_ranks(group) == wanted
        x = facula.tensor([float(rank)])
        dist.all_reduce(x, group=group)
        assert x.item() == sum(wanted)
        part = mesh[name]
        assert part.mesh.tolist() == wanted and part.get_group() is group and part.ndim == 1
        assert part.get_local_rank() == wanted.index(rank) == mesh.get_local_rank(name)
    assert mesh["tp", "dp"].shape == (2, 2) and mesh["tp", "dp"].mesh.tolist() == [[0, 2], [1, 3]]
    flat = mesh["dp", "tp"]._flatten("all")
    assert flat.mesh.tolist() == [0, 1, 2, 3] and mesh["all"] is flat
    x = facula.ones(1)
    dist.all_reduce(x, group=flat.get_group())
    assert x.item() == 4
    assert len(mesh.get_all_groups()) == 2
    line = dist.DeviceMesh("cpu", facula.arange(4))
    assert line.get_group() is dist.group.WORLD and line == dist.DeviceMesh("cpu", [0, 1, 2, 3]) != mesh
    some = dist.DeviceMesh("cpu", [3, 1])
    if rank in (1, 3):
        assert some.get_coordinate() == [0 if rank == 3 else 1] and dist.get_rank(some.get_group()) == [1, 0][rank == 3]
    else:
        assert some.get_coordinate() is None and "belong" in ranks.raised(RuntimeError, some.get_local_rank)
    assert dist.DeviceMesh.from_group(mesh.get_group("tp"), "cpu").mesh.tolist() == mesh["tp"].mesh.tolist()
    return repr(mesh)


def test_a_mesh_of_two_dimensions():
    assert set(ranks.run(4, _mesh, 4)) == {"DeviceMesh((dp=2, tp=2), 'cpu', stride=(2, 1))"}


def test_what_is_refused():
    dist.init_process_group("fake", rank=0, world_size=4)
    try:
        for kind, call in (
                (RuntimeError, lambda: dist.init_device_mesh("cpu", (2, 2), mesh_dim_names=("a", "a"))),
                (RuntimeError, lambda: dist.init_device_mesh("cpu", (2, 2), mesh_dim_names=("a",))),
                (RuntimeError, lambda: dist.init_device_mesh("cpu", (3, 2))),
                (RuntimeError, lambda: dist.init_device_mesh("cpu:0", (2, 2))),
                (RuntimeError, lambda: dist.DeviceMesh("cpu", [0, 0])),
                (ValueError, lambda: dist.DeviceMesh("cpu", [0.5, 1.0])),
                (RuntimeError, lambda: dist.init_device_mesh("cpu", (2, 2))["a"]),
                (RuntimeError, lambda: dist.init_device_mesh("cpu", (2, 2)).get_group()),
                (KeyError, lambda: dist.init_device_mesh("cpu", (2, 2), mesh_dim_names=("a", "b"))["c"])):
            with pytest.raises(kind):
                call()
    finally:
        dist.destroy_process_group()
