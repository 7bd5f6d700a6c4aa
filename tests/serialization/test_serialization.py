"""`.pt` files: both ways with PyTorch, sharing kept, nothing executed, damage noticed."""

import collections
import copy
import io
import os
import pickle
import random
import sys
import zipfile

import numpy as np
import pytest

import facula
from facula import dtypes
from facula.serialization import (
    add_safe_globals,
    clear_safe_globals,
    get_safe_globals,
    get_unsafe_globals_in_checkpoint,
    load,
    safe_globals,
    save,
)
from facula.size import Size
from recorded import torch_or_none

torch = torch_or_none()
needs_torch = pytest.mark.torch
FORMATS = [pytest.param({"_use_new_zipfile_serialization": new, "pickle_protocol": protocol},
                        id=f"{'zip' if new else 'legacy'}-{protocol}")
           for new in (True, False) for protocol in (2, 4, 5)]


def dumped(library, obj, **options):
    file = io.BytesIO()
    library.save(obj, file, **options)
    return file.getvalue()


def bits(tensor):
    """A tensor's elements as an array, of bfloat16 the bits."""
    tensor = tensor.detach()
    if "bfloat16" in str(tensor.dtype):
        return tensor.view(facula.int16 if isinstance(tensor, facula.Tensor) else torch.int16).numpy()
    if not isinstance(tensor, facula.Tensor):
        tensor = tensor.resolve_conj().resolve_neg()
    return tensor.numpy()


def is_tensor(x):
    return isinstance(x, facula.Tensor) or (torch is not None and isinstance(x, torch.Tensor))


def assert_same(a, b, path="obj"):
    """The same objects, whichever library they belong to."""
    assert type(a).__name__ == type(b).__name__, path
    if is_tensor(a):
        assert str(a.dtype) == str(b.dtype) and a.requires_grad == b.requires_grad, path
        np.testing.assert_array_equal(bits(a), bits(b), path, strict=True)
        if a.numel():
            assert a.stride() == b.stride(), path
    elif isinstance(a, dict):
        assert list(a) == list(b), path
        for key in a:
            assert_same(a[key], b[key], f"{path}[{key!r}]")
        assert getattr(a, "_metadata", None) == getattr(b, "_metadata", None)
    elif type(a) in (list, tuple):
        assert len(a) == len(b), path
        for number, (x, y) in enumerate(zip(a, b, strict=True)):
            assert_same(x, y, f"{path}[{number}]")
    elif type(a).__name__ in ("Size", "dtype", "device", "layout"):
        assert repr(a) == repr(b), path
    else:
        assert a == b, path


def samples(library):
    """Objects of every kind that a file may have."""
    x = library.arange(6.0).reshape(2, 3)
    state = collections.OrderedDict(weight=x[0], bias=library.zeros(2))
    state._metadata = {"": {"version": 1}}
    return {
        "x": x, "transposed": x.t(), "slice": x[1:, 1:], "column": x[:, 2], "scalar": library.tensor(5),
        "empty": library.zeros(0, 3), "leaf": library.ones(2, requires_grad=True),
        "parameter": library.nn.Parameter(x),
        "frozen": library.nn.Parameter(library.ones(1), requires_grad=False),
        "dtypes": [library.zeros(3, dtype=getattr(library, d.name)) + 1 for d in dtypes.ALL],
        "dtype": library.float32, "bool": library.bool, "device": library.device("cpu"), "size": x.shape,
        "layout": library.strided, "state": state, "counter": collections.Counter("aab"), "set": {2},
        "bytes": b"abc\xff", "bytearray": bytearray(b"ab"), "complex": 1j, "text": "é" * 300,
        "nested": [[[]], ()],
        "numbers": [1, -5, 300, 70000, 2**40, -2**70, 1.5, None, True, False, float("inf")],
        "tuples": [(1,), (1, 2), (1, 2, 3), (1, 2, 3, 4)],
    }


@needs_torch
@pytest.mark.parametrize("weights_only", [True, False])
@pytest.mark.parametrize("options", FORMATS)
def test_torch_writes_we_read(options, weights_only):
    data = dumped(torch, samples(torch), **options)
    loaded = load(io.BytesIO(data), weights_only=weights_only)
    assert_same(samples(torch), loaded)
    assert isinstance(loaded["size"], Size) and loaded["dtype"] is dtypes.float32
    loaded["x"][1, 1] = 100.0  # the memory is shared as it was
    assert loaded["transposed"][1, 1] == loaded["slice"][0, 0] == loaded["parameter"][1, 1] == 100


@needs_torch
@pytest.mark.parametrize("weights_only", [True, False])
@pytest.mark.parametrize("options", FORMATS)
def test_we_write_torch_reads(options, weights_only):
    if options["pickle_protocol"] != 2 and weights_only:
        pytest.skip("torch reads protocol 2 only with weights_only=True")
    data = dumped(facula, samples(facula), **options)
    loaded = torch.load(io.BytesIO(data), weights_only=weights_only)
    assert_same(samples(facula), loaded)
    loaded["x"][1, 1] = 100.0
    assert loaded["transposed"][1, 1] == loaded["slice"][0, 0] == loaded["parameter"][1, 1] == 100


@pytest.mark.parametrize("options", FORMATS)
def test_round_trip(options):
    data = dumped(facula, samples(facula), **options)
    loaded = load(io.BytesIO(data))
    assert_same(samples(facula), loaded)
    loaded["x"][1, 1] = 100.0
    assert loaded["transposed"][1, 1] == 100 and loaded["slice"][0, 0] == 100
    again = load(io.BytesIO(dumped(facula, loaded, **options)))  # and once more, from what was loaded
    assert_same(again, loaded)


@needs_torch
def test_lazily_conjugated_tensors():
    z = torch.tensor([1 + 2j, 3 - 4j])
    loaded = load(io.BytesIO(dumped(torch, [z.conj(), z.clone().conj().imag])))
    np.testing.assert_array_equal(loaded[0].numpy(), [1 - 2j, 3 + 4j])
    np.testing.assert_array_equal(loaded[1].numpy(), [-2, 4])


def test_a_view_keeps_its_whole_memory_and_a_clone_does_not():
    x = facula.arange(100000.0)
    assert len(dumped(facula, x[:2])) > 400000
    assert len(dumped(facula, x[:2].clone())) < 4000


def test_one_storage_is_written_once():
    x = facula.zeros(10000)
    assert len(dumped(facula, [x, x.view(100, 100), x[5:], x])) < 45000


@needs_torch
def test_modules_and_optimizers():
    for library, other in ((torch, facula), (facula, torch)):
        model = library.nn.Sequential(library.nn.Linear(3, 4), library.nn.ReLU(), library.nn.Linear(4, 2))
        twin = other.nn.Sequential(other.nn.Linear(3, 4), other.nn.ReLU(), other.nn.Linear(4, 2))
        twin.load_state_dict(other.load(io.BytesIO(dumped(library, model.state_dict()))))
        for a, b in zip(model.parameters(), twin.parameters(), strict=True):
            np.testing.assert_array_equal(bits(a), bits(b))


def test_whole_modules_are_refused_unless_trusted():
    data = dumped(facula, facula.nn.Linear(2, 3))
    with pytest.raises(pickle.UnpicklingError, match=r"GLOBAL torch\.nn\.modules\.linear\.Linear"):
        load(io.BytesIO(data))
    loaded = load(io.BytesIO(data), weights_only=False)
    assert type(loaded) is facula.nn.Linear and loaded.weight.shape == (3, 2)


@needs_torch
def test_whole_modules_both_ways():
    theirs = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.ReLU())
    ours = load(io.BytesIO(dumped(torch, theirs)), weights_only=False)
    assert type(ours) is facula.nn.Sequential
    x = np.ones((2, 3), np.float32)
    expected = theirs(torch.from_numpy(x)).detach().numpy()
    np.testing.assert_allclose(ours(facula.from_numpy(x)).detach().numpy(), expected, rtol=1e-6)


# -- nothing is executed


class Evil:
    """Makes a file when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


class Own:
    def __init__(self):
        self.number = 7


def pickled_archive(pickled):
    """An archive of torch's form with a pickle of ours."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("archive/data.pkl", pickled)
        archive.writestr("archive/version", "3\n")
    return io.BytesIO(file.getvalue())


def test_nothing_is_executed(tmp_path):
    for protocol in (2, 3, 4, 5):
        file = pickled_archive(pickle.dumps({"a": [Evil(tmp_path / "pwned")]}, protocol))
        with pytest.raises(pickle.UnpicklingError, match=r"posix\.mkdir|nt\.mkdir"):
            load(file)
    assert not (tmp_path / "pwned").exists()


@pytest.mark.parametrize("attack", [
    b"cbuiltins\neval\n(X\x01\x00\x00\x001tR.", b"cposix\nsystem\n(X\x02\x00\x00\x00lstR.",
    b"cfacula.serialization\nload\n(X\x02\x00\x00\x00/etR.", b"ctorch\nload\n)R.", b"ctorch.hub\nload\n)R.",
    b"cnumpy\nload\n)R.", b"(ibuiltins\neval\n.", b"ccollections\nOrderedDict.fromkeys\n)R.",
    b"ctorch._utils\n_rebuild_tensor_v2\n(N}X\x0c\x00\x00\x00__defaults__)stb.",  # state of a function
    b"ccollections\nOrderedDict\n}X\x05\x00\x00\x00clear)sb.",  # state of a class
    b"ctorch\nfloat32\n)R.", b"ctorch\nFloatStorage\n)R.", b"cbuiltins\nbytearray\n(J\xff\xff\xff\x7ftR.",
    b"c_codecs\nencode\n(X\x01\x00\x00\x00aX\x05\x00\x00\x00rot13tR.", b"]]R.", b"R.", b"0.", b"t.",
    b"\xff.", b"",
    b"X\xff\xff\xff\x7fa.", b"h\x05.", b"}]]u.", b"]}}e", b"X\x01\x00\x00\x00aQ.",
    b"(X\x06\x00\x00\x00moduleNtQ.",
    b"(X\x07\x00\x00\x00storagectorch\nFloatStorage\nX\x01\x00\x00\x000X\x03\x00\x00\x00cpuJ\xff\xff\xff\xfftQ.",
])
def test_attacks_are_refused(attack):
    with pytest.raises(pickle.UnpicklingError, match="Weights only load failed"):
        load(pickled_archive(b"\x80\x02" + attack))


def test_tensors_outside_of_their_storage_are_refused():
    data = dumped(facula, facula.arange(6.0))
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        pickled = archive.read("archive/data.pkl")
    for old, new in ((b"K\x06", b"K\x07"), (b"K\x00", b"K\x01"), (b"K\x01", b"K\x02")):
        changed = pickled.replace(old, new)  # one element more, an offset, a stride
        file = io.BytesIO()
        with zipfile.ZipFile(io.BytesIO(data)) as source, zipfile.ZipFile(file, "w") as target:
            for name in source.namelist():
                target.writestr(name, changed if name.endswith("data.pkl") else source.read(name))
        with pytest.raises(RuntimeError, match="out of bounds|bytes"):
            load(io.BytesIO(file.getvalue()))


def test_safe_globals():
    data = dumped(facula, Own())
    name = f"{Own.__module__}.Own"
    assert get_unsafe_globals_in_checkpoint(io.BytesIO(data)) == [name]
    with pytest.raises(pickle.UnpicklingError, match=rf"GLOBAL {name} was not an allowed global"):
        load(io.BytesIO(data))
    with safe_globals([Own]):
        assert load(io.BytesIO(data)).number == 7
    assert get_safe_globals() == []
    add_safe_globals([(Own, name)])
    assert load(io.BytesIO(data)).number == 7
    clear_safe_globals()
    assert load(io.BytesIO(data), weights_only=False).number == 7
    with pytest.raises(RuntimeError, match="explicit pickle_module"):
        load(io.BytesIO(data), weights_only=True, pickle_module=pickle)


def test_random_damage_is_noticed():
    """A changed byte in a pickle gives an object or one of two errors; no other exception, and no crash."""
    data = dumped(facula, [facula.arange(6.0), facula.nn.Parameter(facula.ones(2)), Size([1]), b"a", 1.5])
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        entries = {name: archive.read(name) for name in archive.namelist()}
    rng = random.Random(0)
    for _ in range(1500):
        pickled = bytearray(entries["archive/data.pkl"])
        for _ in range(rng.choice([1, 1, 3])):
            pickled[rng.randrange(len(pickled))] = rng.randrange(256)
        file = io.BytesIO()
        with zipfile.ZipFile(file, "w") as archive:
            for name, content in {**entries, "archive/data.pkl": bytes(pickled)}.items():
                archive.writestr(name, content)
        try:
            load(io.BytesIO(file.getvalue()))
        except (pickle.UnpicklingError, RuntimeError):
            pass


# -- files


def test_damaged_files():
    x = facula.arange(6.0)
    data = dumped(facula, x)
    with pytest.raises(EOFError):
        load(io.BytesIO(b""))
    changed = data.replace(x.numpy().tobytes(), b"\1" * 24)
    with pytest.raises(RuntimeError, match="checksum"):
        load(io.BytesIO(changed))
    for damaged in (b"abc", data[:100], data[:-30], b"PK\x03\x04" + b"0" * 50, pickle.dumps([1]),
                    b"\x80\x02."):
        with pytest.raises(RuntimeError):
            load(io.BytesIO(damaged))
    legacy = dumped(facula, x, _use_new_zipfile_serialization=False)
    with pytest.raises(RuntimeError, match="ends within a storage"):
        load(io.BytesIO(legacy[:-1]))


def test_paths(tmp_path):
    path = tmp_path / "model.final.pt"
    save([facula.ones(2)], path)
    assert_same(load(str(path)), [facula.ones(2)])
    assert zipfile.ZipFile(path).namelist()[0] == "model.final/data.pkl"
    with pytest.raises((pickle.PicklingError, AttributeError)):
        save([lambda: 1], path)
    assert_same(load(path), [facula.ones(2)])  # a failure leaves the old file, and no other
    assert os.listdir(tmp_path) == ["model.final.pt"]
    (tmp_path / "link.pt").symlink_to(path)
    save(facula.zeros(1), tmp_path / "link.pt")
    assert (tmp_path / "link.pt").is_symlink()
    assert_same(load(path), facula.zeros(1))
    with pytest.raises(RuntimeError, match="Parent directory .* does not exist"):
        save(1, tmp_path / "no" / "a.pt")
    with pytest.raises(FileNotFoundError):
        load(tmp_path / "no.pt")
    with pytest.raises(AttributeError, match="expected 'f' to be string, path"):
        save(1, 3)
    with pytest.raises(AttributeError, match="seekable"):
        load(3)


def test_entries_are_aligned(tmp_path):
    save([facula.ones(3), facula.ones(5), "x" * 77], tmp_path / "a.pt")
    with zipfile.ZipFile(tmp_path / "a.pt") as archive:
        for info in archive.infolist():
            assert (info.header_offset + 30 + len(info.filename) + len(info.extra)) % 64 == 0
            assert info.compress_type == zipfile.ZIP_STORED


def test_several_objects_in_one_file():
    file = io.BytesIO()
    save(facula.ones(2), file, _use_new_zipfile_serialization=False)
    save("next", file, _use_new_zipfile_serialization=False)
    file.seek(0)
    assert_same(load(file), facula.ones(2))
    assert load(file) == "next"


def test_mmap(tmp_path):
    save(samples(facula), tmp_path / "a.pt")
    before = (tmp_path / "a.pt").read_bytes()
    loaded = load(tmp_path / "a.pt", mmap=True)
    assert_same(loaded, samples(facula))
    loaded["x"].fill_(5)  # the map is private
    assert loaded["transposed"].sum() == 30
    assert (tmp_path / "a.pt").read_bytes() == before
    with pytest.raises(ValueError, match="f must be a file path"):
        load(io.BytesIO(before), mmap=True)


def test_map_location():
    data = dumped(facula, facula.ones(2))
    seen = []
    for where in ("cpu", facula.device("cpu"), {"cpu": "cpu"}, b"cpu", lambda storage, location: storage,
                  lambda storage, location: seen.append((location, storage.nbytes()))):
        assert_same(load(io.BytesIO(data), where), facula.ones(2))
    assert seen == [("cpu", 8)]
    gpu = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as source, zipfile.ZipFile(gpu, "w") as target:
        for name in source.namelist():
            entry = source.read(name).replace(b"\x03\x00\x00\x00cpu", b"\x06\x00\x00\x00cuda:0")
            target.writestr(name, entry)
    gpu.seek(0)
    with pytest.raises(RuntimeError, match="Attempting to deserialize object on a CUDA device"):
        load(gpu)
    gpu.seek(0)
    assert_same(load(gpu, map_location="cpu"), facula.ones(2))
    gpu.seek(0)
    with pytest.raises(RuntimeError, match="Expected one of cpu"):
        load(gpu, map_location="nowhere")


@needs_torch
def test_torchscript_is_refused_by_name():
    file = io.BytesIO()
    torch.jit.save(torch.jit.script(torch.nn.ReLU()), file)
    file.seek(0)
    with pytest.raises(RuntimeError, match="TorchScript"):
        load(file)


def test_plain_pickle():
    for obj in (samples(facula)["x"], samples(facula)["parameter"], samples(facula)["transposed"]):
        for protocol in range(2, pickle.HIGHEST_PROTOCOL + 1):
            again = pickle.loads(pickle.dumps(obj, protocol))
            assert type(again) is type(obj) and again.requires_grad == obj.requires_grad
            np.testing.assert_array_equal(again.detach().numpy(), obj.detach().numpy())


def test_a_deep_copy_shares_within_itself_what_the_original_shares():
    base = facula.arange(12.0).reshape(3, 4)
    memory = np.arange(4, dtype=np.float32)
    pinned = facula.from_numpy(memory)
    original = {"base": base, "t": base.t(), "part": base[1:, ::2], "bits": base.view(facula.int32),
                "pinned": pinned, "tail": pinned[2:], "wide": facula.ones(1).expand(3)}
    copied = copy.deepcopy(original)
    for name, value in original.items():
        assert copied[name].stride() == value.stride() and copied[name].tolist() == value.tolist()
        assert copied[name].storage_offset() == value.storage_offset() and copied[name].dtype is value.dtype
    copied["part"][0, 1] = 50.0
    memory[2] = 9.0
    assert copied["base"][1, 2] == 50.0 and copied["t"][2, 1] == 50.0 and base[1, 2] == 6.0
    assert copied["bits"].view(facula.float32)[1, 2] == 50.0
    copied["tail"][0] = 7.0
    assert copied["pinned"].tolist() == [0.0, 1.0, 7.0, 3.0] and pinned[2] == 9.0
    base[0, 0] = -1.0
    assert copied["base"][0, 0] == 0.0
    again = copy.deepcopy(copied["part"])
    again.zero_()
    assert copied["part"][0, 1] == 50.0


def test_classes_are_where_torch_has_them(oracle):
    """A whole module in a file is written by its class's module and name."""

    def places(library):
        spaces = library.nn, library.optim, library.optim.lr_scheduler
        return [{name: found.__module__ for name, found in vars(space).items()
                 if isinstance(found, type) and not name.startswith("_")} for space in spaces]

    elsewhere = []
    for ours, theirs in zip((facula.nn, facula.optim, facula.optim.lr_scheduler), oracle(places), strict=True):
        for name, module in theirs.items():
            our_class = getattr(ours, name, None)
            if isinstance(our_class, type):
                place = module.replace("torch", "facula", 1)
                if not place.startswith("facula"):
                    continue
                if our_class.__module__ != place or getattr(sys.modules[place], name, None) is not our_class:
                    elsewhere.append((name, our_class.__module__, place))
    assert not elsewhere


@pytest.mark.parametrize("new", [True, False])
def test_storages_themselves(new):
    x = facula.tensor([1.5, -2.0])
    file = io.BytesIO()
    facula.save({"x": x, "typed": x.storage()}, file, _use_new_zipfile_serialization=new)
    found = facula.load(io.BytesIO(file.getvalue()))
    assert isinstance(found["typed"], facula.TypedStorage)
    assert found["typed"].tolist() == [1.5, -2.0]
    assert (found["typed"].dtype, len(found["typed"])) == (facula.float32, 2)
    assert type(found["typed"]).__name__ == "TypedStorage"
    found["x"].zero_()
    assert list(found["typed"]) == [0.0, 0.0]
    assert found["typed"] == found["x"].storage()
    assert facula.tensor([]).set_(found["typed"]).tolist() == [0.0, 0.0]
    file = io.BytesIO()
    facula.save([x.untyped_storage()], file, _use_new_zipfile_serialization=new)
    bytes_found = facula.load(io.BytesIO(file.getvalue()))[0]
    assert (bytes_found.nbytes(), bytes_found.dtype) == (8, facula.uint8)
    assert facula.tensor(bytes_found.tolist(), dtype=facula.uint8).view(facula.float32).tolist() == [1.5, -2.0]
    again = io.BytesIO()
    facula.save(found, again, _use_new_zipfile_serialization=new)
    assert facula.load(io.BytesIO(again.getvalue()))["typed"].tolist() == [0.0, 0.0]


def test_a_gzip_file_goes_forwards_only():
    import gzip
    packed = io.BytesIO()
    with gzip.GzipFile(fileobj=packed, mode="wb") as file:
        facula.save({"x": facula.arange(100.0)}, file)
    with gzip.GzipFile(fileobj=io.BytesIO(packed.getvalue())) as file:
        assert facula.load(file)["x"].sum().item() == 4950.0


class Slotted:
    __slots__ = ("a",)


def test_classes_with_slots_that_are_allowed():
    slotted = Slotted()
    slotted.a = 4
    file = io.BytesIO()
    facula.save(slotted, file)
    with facula.serialization.safe_globals([Slotted]):
        assert facula.load(io.BytesIO(file.getvalue())).a == 4
