"""`SummaryWriter`: torch's arguments, read back by the monitor's reader of event files."""

import numpy as np
import pytest

import facula
from facula import monitor, nn
from facula.monitor import event_files, exchange

pytest.importorskip("tensorboardX")


@pytest.fixture
def writer(tmp_path):
    from facula.utils import tensorboard
    from facula.utils.tensorboard import writer
    writer.writer_class.cache_clear()
    tensorboard.__dict__.pop("SummaryWriter", None)
    with tensorboard.SummaryWriter(str(tmp_path / "tb")) as made:
        yield made


def read(writer, tmp_path):
    writer.close()
    left = exchange.read_events(tmp_path / "tb", tmp_path / "runs")
    folder = monitor.Folder(tmp_path / "runs")
    return folder.get("tb"), left


def test_numbers_of_every_style(writer, tmp_path):
    for k in range(3):
        writer.add_scalar("plain", facula.tensor(k / 3), k)
        writer.add_scalar("new", facula.tensor(k / 3), k, new_style=True)
        writer.add_scalar("double", k / 3, k, walltime=5.0, double_precision=True, new_style=True)
    with pytest.raises(ValueError, match="one number"):
        writer.add_scalar("many", facula.ones(2), new_style=True)
    assert writer.get_logdir() == writer.log_dir == str(tmp_path / "tb")
    run, left = read(writer, tmp_path)
    double = run.series("double")
    assert double.values.tolist() == [0, 1 / 3, 2 / 3] and double.times.tolist() == [5.0] * 3
    for key in ("plain", "new"):
        assert run.series(key).values.tolist() == np.float32([0, 1 / 3, 2 / 3]).tolist()
    assert left == {"tb": {}}


def test_all_sorts_of_things(writer, tmp_path):
    x = facula.rand(3, 8, 8)
    writer.add_image("image", x, 1)
    writer.add_images("images", x[None], 1)
    writer.add_histogram("histogram", facula.randn(100), 2)
    writer.add_audio("audio", facula.zeros(1, 100), 3, sample_rate=8000)
    writer.add_text("text", "words", 4)
    writer.add_tensor("tensor", facula.ones(2, 3), 5)
    writer.add_pr_curve("pr", facula.tensor([0, 1]), facula.tensor([0.1, 0.9]), 6)
    writer.add_mesh("mesh", facula.rand(1, 4, 3), global_step=7)
    writer.add_embedding(facula.rand(4, 3), metadata=list("abcd"))
    writer.add_custom_scalars({"a": {"b": ["Multiline", ["plain"]]}})
    writer.add_hparams({"lr": 0.1, "bn": True}, {"score": 1.0}, run_name="settings")
    with pytest.raises(NotImplementedError):
        writer.add_hparams({"lr": 0.1}, {"score": 1.0}, hparam_domain_discrete={"lr": [0.1]})
    run, left = read(writer, tmp_path)
    kinds = run.keys()
    assert {k: kinds[k] for k in ("image", "images", "histogram", "audio")} == {
        "image": "image", "images": "image", "histogram": "histogram", "audio": "audio"}
    assert left["tb"]["tensor"] == 1 and left["tb"]["pr_curves"] == 1


def test_graphs(writer, tmp_path):
    writer.add_graph(nn.Sequential(nn.Linear(4, 8), nn.ReLU()), facula.ones(2, 4))
    writer.close()
    path, = (tmp_path / "tb").glob("*tfevents*")
    graphs = [event_files.parsed(data)[4][0] for data in event_files.records(path) if 4 in event_files.parsed(data)]
    nodes = [event_files.parsed(node) for node in event_files.parsed(graphs[0])[1]]
    assert [n[1][0] for n in nodes] == [b"input", b"0/weight", b"0/bias", b"0/linear", b"1/relu", b"output"]
    assert nodes[3][3] == [b"input", b"0/weight", b"0/bias"] and nodes[4][3] == [b"0/linear"]
    with pytest.raises(ValueError, match="input_to_model"):
        writer.add_graph(nn.ReLU())
