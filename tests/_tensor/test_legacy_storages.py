"""`torch.FloatStorage` and its kind."""

import pytest

import facula


def test_they_are_typed_storages_of_their_dtype():
    made = facula.FloatStorage([1, 2, 3])
    assert type(made) is facula.TypedStorage and made.dtype is facula.float32 and made.tolist() == [1, 2, 3]
    assert isinstance(made, facula.FloatStorage) and not isinstance(made, facula.LongStorage)
    assert isinstance(facula.zeros(3, dtype=facula.bool).storage(), facula.BoolStorage)
    assert len(facula.LongStorage(4)) == 4 and len(facula.HalfStorage()) == 0
    assert facula.storage.TypedStorage is facula.TypedStorage


def test_a_tensor_over_one():
    memory = facula.DoubleStorage([1, 2, 3])
    t = facula.tensor([], dtype=facula.float64).set_(memory)
    memory[0] = 9
    assert t.tolist() == [9, 2, 3]
    assert facula.IntStorage(wrap_storage=facula.zeros(2).untyped_storage()).tolist() == [0, 0]


def test_casts_and_files(tmp_path):
    assert facula.FloatStorage([1.5, 2]).long().tolist() == [1, 2]
    path = tmp_path / "memory"
    facula.FloatStorage.from_file(path, True, 4).fill_(2)
    assert path.stat().st_size == 16


@pytest.mark.parametrize("make, error", [
    (lambda: facula.FloatStorage(2, 3), RuntimeError),
    (lambda: facula.FloatStorage(dtype=facula.float32), RuntimeError),
    (lambda: facula.FloatStorage(3, wrap_storage=facula.zeros(2).untyped_storage()), RuntimeError),
    (lambda: facula.FloatStorage(facula.zeros(3).storage()), TypeError), (lambda: facula.FloatStorage("a"), TypeError),
])
def test_arguments_that_are_none_of_theirs(make, error):
    with pytest.raises(error, match=r"invalid combination of arguments|invalid data type 'str'"):
        make()


def test_memory_is_wrapped_as_elements_of_a_dtype_alone():
    memory = facula.zeros(2).untyped_storage()
    for given, error in (((3, memory, facula.int32), RuntimeError), ((None, memory, None), RuntimeError),
                         ((None, facula.zeros(2).storage(), facula.int32), TypeError),
                         ((facula.zeros(2), None, facula.int32), TypeError), ((memory, None, facula.int32), TypeError)):
        with pytest.raises(error, match="TypedStorage"):
            facula.TypedStorage(given[0], wrap_storage=given[1], dtype=given[2])


@pytest.mark.parametrize("call", ["asarray", "as_tensor", "tensor"])
def test_a_tensor_over_a_storage(call):
    """Its bytes are seen as the dtype that is asked for (as in PyTorch), not converted one by one."""
    storage = facula.arange(8, dtype=facula.uint8).untyped_storage()
    make = getattr(facula, call)
    assert make(storage, dtype=facula.uint8).tolist() == list(range(8))
    assert make(storage, dtype=facula.int16).tolist() == [256, 770, 1284, 1798]
    assert make(storage[2:6], dtype=facula.int16).tolist() == [770, 1284]
    assert make(storage).tolist() == [506097522914230528]
    t = make(storage, dtype=facula.uint8)
    t[0] = 77
    assert storage[0] == 77 and t.data_ptr() == storage.data_ptr()
    floats = facula.arange(4.0).storage()
    assert make(floats).tolist() == [0, 1, 2, 3]
    with pytest.raises(RuntimeError, match="Expected a Storage of type Byte"):
        make(floats, dtype=facula.uint8)


def test_a_copy_of_a_storage():
    storage = facula.arange(4, dtype=facula.uint8).untyped_storage()
    facula.asarray(storage, dtype=facula.uint8, copy=True)[0] = 7
    assert storage[0] == 0
    assert facula.asarray(storage, dtype=facula.uint8, copy=False).data_ptr() == storage.data_ptr()
