"""`UntypedStorage.from_file`: files as memory."""

import numpy as np
import pytest

import docstrings
import facula
from facula._tensor import storages


def test_private_and_shared(tmp_path):
    path = tmp_path / "numbers"
    path.write_bytes(np.arange(6, dtype=np.float32).tobytes())
    for shared in (False, True):
        storage = facula.UntypedStorage.from_file(str(path), shared=shared, nbytes=24)
        x = facula.tensor([], dtype=facula.float32).set_(storage, 0, (2, 3))
        assert x.tolist() == [[0, 1, 2], [3, 4, 5]] and storage.filename == str(path) and len(storage) == 24
        y = x * 2
        x[0, 0] = 9.0
        assert x[0, 0] == 9 and y[0, 0] == 0
        assert np.frombuffer(path.read_bytes(), np.float32)[0] == (9 if shared else 0)
    x.add_(1.0)
    del x, storage
    assert np.frombuffer(path.read_bytes(), np.float32).tolist() == [10, 2, 3, 4, 5, 6]


def test_parts_of_a_file(tmp_path):
    """Of one that is written they are its memory. Of one that is only read they are copies (docs/differences.md):
    tensors of them are read once."""
    path = tmp_path / "bytes"
    path.write_bytes(bytes(range(8)))
    for shared in (False, True):
        storage = facula.UntypedStorage.from_file(path, shared=shared, nbytes=8)
        part = storage[2:6]
        x = facula.asarray(part, dtype=facula.uint8)
        x[0] = 99
        assert part.tolist() == [99, 3, 4, 5] and storage[2] == path.read_bytes()[2] == (99 if shared else 2)
        assert bool(x.untyped_storage()._storage.pinned()) is shared


def test_what_another_writes_is_seen(tmp_path):
    path = tmp_path / "bytes"
    storage = facula.UntypedStorage.from_file(path, shared=True, nbytes=4)
    x = facula.tensor([], dtype=facula.uint8).set_(storage)
    assert x.tolist() == [0, 0, 0, 0] and path.stat().st_size == 4
    with open(path, "r+b") as file:
        file.write(b"\x05\x06")
    assert x.tolist() == [5, 6, 0, 0]


def test_sizes_and_errors(tmp_path):
    path = tmp_path / "bytes"
    with pytest.raises(RuntimeError, match="unable to open file"):
        facula.UntypedStorage.from_file(path)
    path.write_bytes(b"abc")
    assert facula.UntypedStorage.from_file(path).tolist() == [97, 98, 99]
    with pytest.raises(RuntimeError, match="unable to map"):
        facula.UntypedStorage.from_file(path, nbytes=4)
    assert len(facula.UntypedStorage.from_file(path, shared=True, nbytes=5)) == 5
    with pytest.raises(RuntimeError, match="from_file"):
        facula.TypedStorage.from_file(path)
    assert facula.zeros(2).untyped_storage().filename is None


def test_examples():
    docstrings.check(storages, least=1)
