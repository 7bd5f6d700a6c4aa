"""Files from strangers: one error, nothing executed, time and memory linear in the file."""

import io
import pickle
import time
import tracemalloc

import pytest

import facula
import hostile
from facula.serialization import get_unsafe_globals_in_checkpoint, load, save

HANDMADE = dict(hostile.files())
FREE = 48 << 20  # bytes that any file may take


@pytest.mark.parametrize("name", HANDMADE)
def test_made_by_hand(name):
    data = HANDMADE[name]
    tracemalloc.start()
    began = time.process_time()
    try:
        with pytest.raises(pickle.UnpicklingError) as error:
            load(io.BytesIO(data))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert time.process_time() - began < 20  # tracing is slow, and so are loaded machines; it is 2 at most without
    assert peak < FREE + 4 * len(data)
    assert len(str(error.value)) < 4000
    assert isinstance(error.value, RuntimeError)  # as PyTorch's for damaged files


def test_mutated():
    rng = hostile.generator(7)
    seeds = list(hostile.seeds())
    for _ in range(1500):
        data = hostile.mutated(rng, rng.choice(seeds))
        try:
            load(io.BytesIO(data))
        except pickle.UnpicklingError:
            pass
        if data[:4] == b"PK\x03\x04":
            try:
                get_unsafe_globals_in_checkpoint(io.BytesIO(data))
            except pickle.UnpicklingError:
                pass


def test_what_is_large_and_good_is_read():
    big = [{(k, k + 1): float(k), k / 3: str(k), 2**70 + k: {k}, str(k): (k, (k,))} for k in range(3000)]
    big += [list(range(200_000)), {k: k for k in range(100_000)}, [[] for _ in range(100_000)],
            [{} for _ in range(50_000)]]
    big += [{"key": {(i, j): 1 for i in range(100) for j in range(100)}}]
    for options in ({}, {"_use_new_zipfile_serialization": False}, {"pickle_protocol": 4}):
        file = io.BytesIO()
        save(big, file, **options)
        file.seek(0)
        assert load(file) == big


def test_a_map_location_that_raises_is_not_called_damage():
    file = io.BytesIO()
    save(facula.ones(2), file)

    def wrong(storage, location):
        raise KeyError("mine")

    file.seek(0)
    with pytest.raises(KeyError, match="mine"):
        load(file, map_location=wrong)


def test_a_disk_that_fails_is_not_called_damage():
    class Failing(io.BytesIO):
        def read(self, *args):
            if self.tell() > 100:
                raise OSError(5, "Input/output error")
            return super().read(*args)

    file = io.BytesIO()
    save(facula.ones(2), file)
    with pytest.raises(OSError, match="Input/output"):
        load(Failing(file.getvalue()))


@pytest.mark.parametrize("new", [True, False])
def test_several_objects_in_one_stream_load_in_order(new):
    file = io.BytesIO()
    inner = io.BytesIO()
    save(facula.ones(3), inner)
    whole_archive = facula.frombuffer(bytearray(inner.getvalue()), dtype=facula.uint8)
    objects = [{"i": 0, "x": facula.zeros(2)}, [whole_archive], {"i": 2, "x": facula.ones(3)}]
    for obj in objects:
        save(obj, file, _use_new_zipfile_serialization=new)
    file.seek(0)
    first, second, third = (load(file) for _ in objects)
    assert first["i"] == 0 and third["i"] == 2 and third["x"].tolist() == [1, 1, 1]
    assert facula.equal(second[0], whole_archive)
    with pytest.raises(EOFError):
        load(file)


def test_several_objects_that_pytorch_wrote_into_one_stream(torch):
    file = io.BytesIO()
    for k in range(3):
        torch.save({"k": k, "x": torch.full((5,), float(k))}, file)
    file.seek(0)
    for k in range(3):
        found = load(file)
        assert found["k"] == k and found["x"].tolist() == [k] * 5
