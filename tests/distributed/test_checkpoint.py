"""Checkpoints of several ranks: what is saved is what is loaded, by any number of ranks, and it is data."""

import os
import pickle
import shutil
import signal

import numpy as np
import pytest

import facula
import ranks
from facula import distributed as dist
from facula.distributed import checkpoint as dcp
from facula.distributed.checkpoint import catalogue
from facula.distributed.checkpoint.format_utils import dcp_to_torch_save, torch_save_to_dcp
from facula.distributed.checkpoint.state_dict import (
    StateDictOptions,
    get_state_dict,
    set_model_state_dict,
    set_optimizer_state_dict,
    set_state_dict,
)
from facula.distributed.fsdp import fully_shard
from facula.distributed.tensor import Replicate, Shard, distribute_tensor, zeros

pytestmark = pytest.mark.processes
nn = facula.nn


def _net():
    facula.manual_seed(5)
    return nn.Sequential(nn.Linear(3, 5), nn.Linear(5, 2))


def _saved(rank, size, folder, later):
    mesh = dist.init_device_mesh("cpu", (2, size // 2)) if size == 4 else dist.init_device_mesh("cpu", (size,))
    x = facula.arange(30.0).reshape(6, 5)
    layouts = {4: ([Shard(0), Shard(1)], [Replicate(), Shard(0)]), 2: ([Shard(1)], [Shard(0)])}[size]
    state = {"x": distribute_tensor(x, mesh, layouts[0]), "y": distribute_tensor(x[:5, 0] * 2, mesh, layouts[1]),
             "net": _net(), "step": 7, "nested": {"list": [facula.ones(2), {"name": "a"}], "numbers": (1, 2.5, None)},
             f"own{rank}": facula.full((3,), float(rank)), "scalar": facula.tensor(4, dtype=facula.int64)}
    if later:
        future = dcp.async_save(state, checkpoint_id=folder)
        state["x"].to_local().zero_()  # it has been copied
        dist.all_reduce(facula.ones(1))
        metadata = future.result(60)
    else:
        metadata = dcp.save(state, checkpoint_id=folder)
    assert metadata.state_dict_metadata["x"].size == (6, 5)
    assert len(metadata.state_dict_metadata["x"].chunks) == size
    return sorted(metadata.state_dict_metadata)


def _loaded(rank, size, folder):
    mesh = dist.init_device_mesh("cpu", (size,))
    net = nn.Sequential(nn.Linear(3, 5), nn.Linear(5, 2))
    state = {"x": zeros(6, 5, device_mesh=mesh, placements=[Shard(0)]), "y": facula.zeros(5), "net": net, "step": None,
             "nested": {"list": [facula.zeros(2), {"name": ""}], "numbers": None}, "own1": facula.zeros(3),
             "scalar": facula.tensor(0)}
    dcp.load(state, checkpoint_id=folder)
    x = facula.arange(30.0).reshape(6, 5)
    assert state["x"].full_tensor().tolist() == x.tolist() and state["y"].tolist() == (x[:5, 0] * 2).tolist()
    assert state["step"] == 7 and state["own1"].tolist() == [1.0] * 3 and state["scalar"].item() == 4
    assert state["nested"] == {"list": [state["nested"]["list"][0], {"name": "a"}], "numbers": (1, 2.5, None)}
    assert state["nested"]["list"][0].tolist() == [1, 1]
    for p, q in zip(net.parameters(), _net().parameters(), strict=True):
        assert p.tolist() == q.tolist()
    missing = {"x": facula.zeros(6, 5), **({"other": facula.zeros(1)} if rank == size - 1 else {})}
    with pytest.raises(dcp.CheckpointException) as failed:  # on all ranks
        dcp.load(missing, checkpoint_id=folder)
    assert "Missing key in checkpoint state_dict: other" in str(failed.value.failures[size - 1][0])
    return True


@pytest.mark.parametrize("later", [False, True])
def test_saved_by_four_loaded_by_others(tmp_path, later):
    names = ranks.run(4, _saved, 4, tmp_path, later)
    assert names[0] == names[3] and "net.0.weight" in names[0] and "own2" in names[0]
    assert len(list(tmp_path.iterdir())) == 5
    assert all(ranks.run(2, _loaded, 2, tmp_path)) and all(ranks.run(3, _loaded, 3, tmp_path))
    ranks.run(2, _saved, 2, tmp_path, False)  # into the same folder
    assert all(ranks.run(1, _loaded, 1, tmp_path))
    assert sorted(f.name for f in tmp_path.iterdir()) == [".metadata", "__0_1.distcp", "__1_1.distcp"]


def _killed(rank, size, folder):
    if rank == 1:
        from facula.distributed.checkpoint import filesystem
        filesystem._flush = lambda file, wanted: os.kill(os.getpid(), signal.SIGKILL)
    with pytest.raises((dcp.CheckpointException, dist.DistBackendError)):
        dcp.save({"x": facula.zeros(2), "y": facula.zeros(3)}, checkpoint_id=folder)
    return True


def test_a_saving_that_is_killed_leaves_the_one_before(tmp_path):
    dcp.save({"x": facula.ones(2), "y": facula.ones(3)}, checkpoint_id=tmp_path)
    assert ranks.run(2, _killed, 2, tmp_path, killed=(1,))[0]
    state = {"x": facula.zeros(2), "y": facula.zeros(3)}
    dcp.load(state, checkpoint_id=tmp_path)
    assert state["x"].tolist() == [1, 1] and state["y"].tolist() == [1, 1, 1]
    dcp.save(state, checkpoint_id=tmp_path)
    assert len(list(tmp_path.iterdir())) == 2  # what the killed one had begun is gone


def _disagreeing(rank, size, folder):
    def refused(state):
        with pytest.raises(dcp.CheckpointException if rank >= 0 else None) as failed:
            dcp.save(state, checkpoint_id=folder)
        return str(failed.value)
    with pytest.raises(ValueError, match="differ from rank to rank"):
        dcp.save({"x": facula.zeros(2 + rank)}, checkpoint_id=folder)
    with pytest.raises(ValueError, match="is a tensor on some ranks"):
        dcp.save({"x": facula.zeros(2) if rank == 0 else 3}, checkpoint_id=folder)
    assert "could not be loaded as data" in refused({"x": facula.ones(1), "f": os.getcwd} if rank else {
        "x": facula.ones(1)})
    dist.barrier()  # each takes away what it has written itself
    assert not os.path.exists(os.path.join(folder, ".metadata")) and not os.listdir(folder)
    return True


def test_ranks_that_disagree_and_what_is_no_data(tmp_path):
    assert all(ranks.run(2, _disagreeing, 2, tmp_path))


class _Evil:
    def __reduce__(self):
        return os.system, ("touch /tmp/never",)


def test_metadata_is_data(tmp_path):
    metadata = dcp.save({"x": facula.ones(2), "n": 1}, checkpoint_id=tmp_path)
    content = (tmp_path / ".metadata").read_bytes()
    assert catalogue.read(content) == metadata
    (tmp_path / ".metadata").write_bytes(pickle.dumps(_Evil()))
    with pytest.raises(dcp.CheckpointException, match="system"):
        dcp.load({"x": facula.ones(2)}, checkpoint_id=tmp_path)
    metadata.storage_data = {index: type(info)("../" + info.relative_path, info.offset, info.length)
                             for index, info in metadata.storage_data.items()}
    with pytest.raises(pickle.UnpicklingError, match="no file of the checkpoint's folder"):
        catalogue.read(catalogue.written(metadata))
    rng = np.random.default_rng(0)
    for _ in range(300):  # damaged: an error of its own kind, or a Metadata that can be used
        broken = bytearray(content)
        for place in rng.integers(0, len(broken), 2):
            broken[place] = rng.integers(0, 256)
        try:
            found = catalogue.read(bytes(broken))
        except pickle.UnpicklingError:
            continue
        assert all(isinstance(name, str) for name in found.state_dict_metadata)


def test_what_is_refused(tmp_path):
    for kind, call in (
            (RuntimeError, lambda: dcp.save({})), (RuntimeError, lambda: dcp.load({})),
            (NotImplementedError, lambda: dcp.save({}, checkpoint_id="s3://bucket/x")),
            (NotImplementedError, lambda: dcp.save({}, checkpoint_id=tmp_path, planner=dcp.SavePlanner())),
            (NotImplementedError, lambda: dcp.load({}, checkpoint_id=tmp_path, storage_reader=object()))):
        with pytest.raises(kind):
            call()
    dcp.save({"x": facula.ones(2), "n": 1}, checkpoint_id=tmp_path)
    for state, what in (({"x": facula.ones(3)}, "Size mismatch"),
                        ({"n": facula.ones(1)}, "Invalid checkpoint metadata"),
                        ({"x": 1}, "Invalid checkpoint metadata")):
        with pytest.raises(dcp.CheckpointException, match=what):
            dcp.load(state, checkpoint_id=tmp_path)
    with pytest.raises(dcp.CheckpointException, match="already exists"):
        dcp.save({}, storage_writer=dcp.FileSystemWriter(tmp_path, overwrite=False))
    state = {"x": facula.zeros(2), "z": facula.ones(1)}
    dcp.load(state, checkpoint_id=tmp_path, planner=dcp.DefaultLoadPlanner(allow_partial_load=True))
    assert state["x"].tolist() == [1, 1] and state["z"].tolist() == [1]
    os.truncate(next(tmp_path.glob("*.distcp")), 100)
    with pytest.raises(dcp.CheckpointException, match="ends at"):
        dcp.load({"x": facula.ones(2)}, checkpoint_id=tmp_path)


def test_as_one_file_and_back(tmp_path):
    state = {"a": {"x": facula.ones(2, 3), "l": [1, 2]}, "optim": {"param_groups": [{"lr": 0.1, "params": [0]}]}}
    dcp.save(state, checkpoint_id=tmp_path / "many")
    dcp_to_torch_save(tmp_path / "many", tmp_path / "one.pt")
    found = facula.load(tmp_path / "one.pt")
    assert found["optim"] == state["optim"] and found["a"]["x"].tolist() == state["a"]["x"].tolist()
    shutil.rmtree(tmp_path / "many")
    torch_save_to_dcp(tmp_path / "one.pt", tmp_path / "many")
    state["a"]["x"].zero_()
    dcp.load(state, checkpoint_id=tmp_path / "many")
    assert state["a"]["x"].tolist() == [[1] * 3] * 2


@pytest.mark.torch
def test_pytorch_reads_it_and_is_read(tmp_path):
    import torch
    from torch.distributed import checkpoint as theirs
    numbers = [[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]
    dcp.save({"x": facula.tensor(numbers), "h": facula.tensor([1.5], dtype=facula.bfloat16), "n": {"k": "v"}},
             checkpoint_id=tmp_path / "ours")
    state = {"x": torch.zeros(2, 3), "h": torch.zeros(1, dtype=torch.bfloat16), "n": {"k": None}}
    theirs.load(state, checkpoint_id=tmp_path / "ours", no_dist=True)
    assert state["x"].tolist() == numbers and state["n"] == {"k": "v"} and state["h"].item() == 1.5
    theirs.save(state, checkpoint_id=tmp_path / "theirs", no_dist=True)
    back = {"x": facula.zeros(2, 3), "h": facula.zeros(1, dtype=facula.bfloat16), "n": {"k": None}}
    dcp.load(back, checkpoint_id=tmp_path / "theirs")
    assert back["x"].tolist() == numbers and back["n"] == {"k": "v"} and back["h"].item() == 1.5


def _model_and_optimizer(shard, mesh):
    net = _net()
    if shard:
        for layer in net:
            fully_shard(layer, mesh=mesh)
        fully_shard(net, mesh=mesh)
    return net, facula.optim.AdamW(net.parameters(), lr=0.1)


def _states(rank, size, folder):
    mesh = dist.init_device_mesh("cpu", (size,))
    net, optimizer = _model_and_optimizer(True, mesh)
    net(facula.ones(2, 3)).sum().backward()
    optimizer.step()
    model, optim = get_state_dict(net, optimizer)
    assert sorted(optim["state"]) == sorted(model) and optim["param_groups"][0]["params"] == list(model)
    assert optim["state"]["0.weight"]["exp_avg"].placements == (Shard(0),)
    dcp.save({"model": model, "optim": optim}, checkpoint_id=folder)
    whole = StateDictOptions(full_state_dict=True, cpu_offload=True)
    full_model, full_optim = get_state_dict(net, optimizer, options=whole)
    assert (full_model == {} and full_optim == {}) if rank else type(full_model["0.weight"]) is facula.Tensor
    for kind in ("pieces", "one process", "broadcast"):
        other, another = _model_and_optimizer(kind != "one process", mesh)
        for p in other.parameters():
            p.detach().zero_()
        if kind == "broadcast":
            set_state_dict(other, another, model_state_dict=full_model, optim_state_dict=full_optim,
                           options=StateDictOptions(full_state_dict=True, broadcast_from_rank0=True))
        else:
            states = dict(zip(("model", "optim"), get_state_dict(other, another), strict=True))
            dcp.load(states, checkpoint_id=folder)
            set_state_dict(other, another, model_state_dict=states["model"], optim_state_dict=states["optim"])
        for mine, theirs in ((net, optimizer), (other, another)):
            theirs.zero_grad()
            mine(facula.ones(2, 3)).sum().backward()
            theirs.step()
        found = [p.full_tensor() if kind != "one process" else p for p in other.parameters()]
        for p, q in zip(net.parameters(), found, strict=True):
            np.testing.assert_allclose(p.full_tensor().detach().numpy(), q.detach().numpy(), atol=1e-6)
        back = dict(zip(("model", "optim"), get_state_dict(net, optimizer), strict=True))
        dcp.load(back, checkpoint_id=folder)
        set_model_state_dict(net, back["model"])
        set_optimizer_state_dict(net, optimizer, back["optim"])
    return True


def test_states_of_models_and_optimizers_by_name(tmp_path):
    assert all(ranks.run(2, _states, 2, tmp_path))
    with pytest.raises(NotImplementedError):
        StateDictOptions(flatten_optimizer_state_dict=True)
    with pytest.raises(ValueError):
        StateDictOptions(broadcast_from_rank0=True)
