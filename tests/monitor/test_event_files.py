"""Event files: what is written is read back equal, by TensorBoard's own reader too where it is installed."""

import numpy as np
import pytest

import docstrings
from facula import monitor
from facula.monitor import checksums, event_files, exchange


@pytest.mark.parametrize("module", [checksums, event_files, exchange], ids=lambda m: m.__name__)
def test_examples_run(module):
    docstrings.check(module)


def test_checksums_of_all_lengths():
    def plain(data):
        state = 0xFFFFFFFF
        for byte in data:
            state ^= byte
            for _ in range(8):
                state = state >> 1 ^ (0x82F63B78 if state & 1 else 0)
        return state ^ 0xFFFFFFFF

    data = np.random.default_rng(0).integers(0, 256, 5000, np.uint8).tobytes()
    for length in (0, 1, 7, 1023, 1024, 1025, 2048, 5000):
        assert checksums.crc32c(data[:length]) == plain(data[:length])
    many = [data[k:k + 20] for k in range(50)] + [data, b"", data[:3]]
    assert checksums.masked_all(many).tolist() == [checksums.masked(part) for part in many]


def test_messages():
    fields = [(1, 0), (2, -1), (3, 2 ** 40), (4, 0.1), (5, b"x" * 300)]
    found = event_files.parsed(event_files.message(fields))
    assert found[1] == [0] and found[2] == [2 ** 64 - 1] and found[3] == [2 ** 40] and found[5] == [b"x" * 300]
    assert event_files.number(found[4][0], "d") == 0.1
    whole = event_files.message(fields)
    for cut in range(len(whole)):
        try:
            event_files.parsed(whole[:cut])
        except event_files.EventFileError:
            pass
    for wrong in (b"\x0b", b"\x80" * 20, b"\x0a\xff\xff\xff\x7f"):
        with pytest.raises(event_files.EventFileError):
            event_files.parsed(wrong)


def a_run(folder, name="one"):
    with monitor.init(dir=folder, id=name, system=None) as run:
        for k in range(200):
            run.log({"single": k / 4, "double": k / 3, "odd": [float("nan"), float("inf"), -1.0][k % 3]}, step=k * 2)
        run.log({"image": monitor.Image(np.arange(12, dtype=np.uint8).reshape(2, 2, 3)), "text": "hé<b>",
                 "sound": monitor.Audio(np.zeros(10), sample_rate=4000), "hist": monitor.Histogram([1.0, 2.0, 2.5])},
                step=7)
    return monitor.Folder(folder).get(name)


def test_out_and_in_again(tmp_path):
    before = a_run(tmp_path / "runs")
    assert exchange.write_events(tmp_path / "runs", tmp_path / "events") == ["one"]
    assert exchange.read_events(tmp_path / "events", tmp_path / "back") == {"one": {}}
    after = monitor.Folder(tmp_path / "back").get("one")
    assert before.keys() == after.keys()
    for key in ("single", "double", "odd"):
        for one, two in zip(before.series(key), after.series(key), strict=True):
            assert np.array_equal(one, two, equal_nan=True)
    for key in ("image", "text", "sound"):
        one, two = before.things(key)[0], after.things(key)[0]
        assert (one.step, one.time, one.media, one.bytes) == (two.step, two.time, two.media, two.bytes)
    one, two = (event_files_histogram(run) for run in (before, after))
    assert one == two
    with pytest.raises(FileExistsError):
        exchange.read_events(tmp_path / "events", tmp_path / "back")
    with pytest.raises(FileNotFoundError, match="nobody"):
        exchange.write_events(tmp_path / "runs", tmp_path / "events", ["nobody"])
    with pytest.raises(FileNotFoundError):
        exchange.read_events(tmp_path / "nothing", tmp_path / "back")


def event_files_histogram(run):
    import json
    return json.loads(run.things("hist")[0].bytes)


def test_damage_is_told_and_an_end_that_is_missing_is_not(tmp_path):
    path = tmp_path / event_files.file_name()
    with open(path, "wb") as file:
        event_files.write(file, [event_files.event(float(k), k) for k in range(20)])
    data = path.read_bytes()
    path.write_bytes(data[:-3])
    assert [e.step for e in event_files.read(path)] == list(range(19))
    for place in (0, 9, 14, 100, len(data) - 1):
        path.write_bytes(data[:place] + bytes([data[place] ^ 1]) + data[place + 1:])
        with pytest.raises(event_files.EventFileError):
            list(event_files.read(path))
    path.write_bytes(b"hello, this is no event file")
    with pytest.raises(event_files.EventFileError):
        list(event_files.read(path))
    path.write_bytes(b"")
    assert list(event_files.read(path)) == []


def test_tensorboards_own_reader_agrees(tmp_path):
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    run = a_run(tmp_path / "runs")
    exchange.write_events(tmp_path / "runs", tmp_path / "events")
    found = accumulator.EventAccumulator(str(tmp_path / "events" / "one"), size_guidance={"scalars": 0, "tensors": 0})
    found.Reload()
    single = found.Scalars("single")
    assert [(e.step, e.value) for e in single] == [(2 * k, k / 4) for k in range(200)]
    assert [e.wall_time for e in single] == run.series("single").times.tolist()
    doubles = [e.tensor_proto.double_val[0] for e in found.Tensors("double")]
    assert doubles == [k / 3 for k in range(200)]
    assert found.Images("image")[0].encoded_image_string == run.things("image")[0].bytes
    assert found.Tensors("text")[0].tensor_proto.string_val[0].decode() == "hé<b>"
    assert found.Audio("sound")[0].sample_rate == 4000
    assert sum(found.Histograms("hist")[0].histogram_value.bucket) == 3


def test_tensorboardx_files_come_in(tmp_path):
    writers = pytest.importorskip("tensorboardX")
    with writers.SummaryWriter(str(tmp_path / "tb")) as writer:
        for k in range(30):
            writer.add_scalar("loss", k / 8, k, walltime=100.0 + k)
        writer.add_text("said", "words", 3)
        writer.add_histogram("h", np.arange(100.0), 4)
        writer.add_image("i", np.zeros((3, 4, 5), np.uint8), 5)
        writer.add_pr_curve("pr", np.array([0, 1]), np.array([0.2, 0.9]), 6)
    assert exchange.read_events(tmp_path / "tb", tmp_path / "runs") == {"tb": {"pr_curves": 1}}
    run = monitor.Folder(tmp_path / "runs").get("tb")
    assert run.series("loss").values.tolist() == [k / 8 for k in range(30)]
    assert run.series("loss").times.tolist() == [100.0 + k for k in range(30)]
    kinds = run.keys()
    assert sorted(kinds.values()) == ["histogram", "image", "scalar", "text"]
