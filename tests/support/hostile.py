"""Files that mean harm: for tests/serialization/test_hostile_files.py and `make soak`."""

import io
import pickle
import random
import struct
import zipfile

import facula
import hostile_mutations


def archive(pickled, entries=(), compression=zipfile.ZIP_STORED):
    """An archive of torch's form with this pickle, and these (name, bytes)."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", compression) as z:
        z.writestr("archive/data.pkl", pickled)
        z.writestr("archive/version", "3\n")
        for name, data in entries:
            z.writestr(f"archive/{name}", data)
    return file.getvalue()


def text(s):
    return b"X" + struct.pack("<I", len(s)) + s.encode()


def integer(n):
    if -2**31 <= n < 2**31:
        return b"J" + struct.pack("<i", n)
    data = n.to_bytes((n.bit_length() + 8) // 8, "little", signed=True)
    return (b"\x8a" + bytes([len(data)]) if len(data) < 256 else b"\x8b" + struct.pack("<I", len(data))) + data


def call(module, name, *arguments):
    return b"c" + f"{module}\n{name}\n".encode() + b"(" + b"".join(arguments) + b"tR"


def storage(count, key="0", kind="FloatStorage", place="cpu"):
    return (b"(" + text("storage") + f"ctorch\n{kind}\n".encode() + text(key) + text(place) + integer(count) + b"tQ")


def numbers(*ns):
    return b"(" + b"".join(map(integer, ns)) + b"t"


def tensor(count=4, offset=0, size=(4,), stride=(1,), more=b""):
    return call("torch._utils", "_rebuild_tensor_v2", storage(count), integer(offset), numbers(*size), numbers(*stride),
                b"\x89", b"}", more)


def doubled(n, start=b")", pair=b"\x86"):
    """A tuple of two of the one before, n times over: 2^n parts in 3 n bytes."""
    return start + (b"2" + pair) * n


def deep(n, start=b")"):
    return start + b"\x85" * n


FOUR = [("data/0", bytes(16))]
DATA = bytes(1 << 16)


def pickles():
    """(name, pickle, entries) that have to be refused."""
    for n in (40, 200, 5000):
        yield f"a key of 2^{n} tuples", b"}" + doubled(n) + b"Ns", ()
        yield f"an element of a set of 2^{n} tuples", b"\x8f(" + doubled(n) + b"\x90", ()
        yield f"set of a list with 2^{n} tuples", call("builtins", "set", b"](" + doubled(n) + b"e"), ()
        yield f"a frozenset of 2^{n} tuples", b"(" + doubled(n) + b"\x91", ()
        yield f"a counter of 2^{n} tuples", call("collections", "Counter", b"](" + doubled(n) + b"e"), ()
        yield f"a dict of 2^{n} tuples", b"(" + doubled(n) + b"Nd", ()
        yield f"an ordered dict of 2^{n} tuples", call(
            "collections", "OrderedDict", b"](]" + b"(" + doubled(n) + b"Neee"), ()
        yield f"state of an ordered dict, 2^{n}", call("collections", "OrderedDict") + b"}" + doubled(n) + b"Nsb", ()
        yield f"a storage named by 2^{n} tuples", doubled(n) + b"Q", ()
        yield f"a storage's id with 2^{n} tuples", (b"(" + doubled(n) + b"NNNNtQ"), ()
        yield f"a storage's key of 2^{n} tuples", (b"(" + text("storage") + b"ctorch\nFloatStorage\n" + doubled(n)
                                                  + text("cpu") + integer(1) + b"tQ"), ()
        yield f"a call of 2^{n} tuples", doubled(n) + b")R", ()
        yield f"a tensor's size of 2^{n} lists", call("torch._utils", "_rebuild_tensor_v2", storage(4), integer(0),
                                                     doubled(n), numbers(1), b"\x89", b"}"), FOUR
        yield f"a state of 2^{n}", tensor() + doubled(n) + b"b", FOUR
        yield f"an attribute named by 2^{n}", tensor() + b"}" + doubled(n) + b"Nsb", FOUR
        yield f"a layout of 2^{n}", call("torch.serialization", "_get_layout", doubled(n)), ()
        yield f"a complex of 2^{n}", call("builtins", "complex", doubled(n)), ()
        yield f"bytes of 2^{n}", call("builtins", "bytearray", doubled(n)), ()
        yield f"an encoding of 2^{n}", call("_codecs", "encode", text("a"), doubled(n)), ()
        yield f"a parameter of 2^{n}", call("torch._utils", "_rebuild_parameter", doubled(n), b"\x88", b"}"), ()
        yield f"a dtype of 2^{n}", call(
            "torch._utils", "_rebuild_meta_tensor_no_storage", doubled(n), numbers(2), numbers(1), b"\x89"), ()
        yield f"a device of 2^{n}", call("torch", "device", doubled(n)), ()
        yield f"a size of 2^{n}", call("torch", "Size", doubled(n)), ()
    for n in (200, 5_000, 200_000):
        yield f"a key {n} deep", b"}" + deep(n) + b"Ns", ()
        yield f"an element {n} deep", b"\x8f(" + deep(n) + b"\x90", ()
        yield f"an id {n} deep", deep(n) + b"Q", ()
        yield f"a size {n} deep", call("torch", "Size", deep(n)), ()
        yield f"an attribute {n} deep", tensor() + b"}" + deep(n) + b"Nsb", FOUR
    many = 20_000
    yield "complex keys of one hash", b"}(" + b"".join(
        call("builtins", "complex", b"G" + struct.pack(">d", -1000003.0 * k), b"G" + struct.pack(">d", float(k))) + b"N"
        for k in range(1, many)) + b"u", ()
    yield "integer keys of one hash", b"}(" + b"".join(
        integer(1 + k * (2**61 - 1)) + b"N" for k in range(1, many)) + b"u", ()
    yield "elements of one hash", b"\x8f(" + b"".join(
        integer(5 + k * (2**61 - 1)) for k in range(1, many)) + b"\x90", ()
    for name, one in (("lists", b"]"), ("dicts", b"}"), ("sets", b"\x8f")):
        yield f"millions of {name}", b"(" + one * 2_000_000 + b"l", ()
    long = b"X" + struct.pack("<I", 1 << 16) + b"a" * (1 << 16) + b"q\x00"
    for name, copy in (("encoded", call("_codecs", "encode", b"h\x00", text("latin1"))),
                       ("as bytes", call("builtins", "bytearray", b"h\x00", text("ascii")))):
        yield f"one text {name} often", long + b"0(" + copy * 5000 + b"l", ()
    items = b"](" + b"".join(integer(k) for k in range(30_000)) + b"eq\x00"
    yield "one list as sets", items + b"0(" + call("builtins", "set", b"h\x00") * 2000 + b"l", ()
    yield "one list counted often", items + b"0(" + call("collections", "Counter", b"h\x00") * 2000 + b"l", ()
    names = b"}(" + b"".join(text(str(k)) + b"N" for k in range(20_000)) + b"uq\x00"
    yield "one state for many", names + b"0(" + (call("collections", "OrderedDict") + b"h\x00b") * 2000 + b"l", ()
    def expanded(size):
        return call("torch._utils", wide, storage(1), integer(0), numbers(*size), numbers(*[0] * len(size)),
                    b"\x89", b"}")

    wide = "_rebuild_tensor_v2"
    large = expanded((2**40,))
    for what, made in {
        "set": call("builtins", "set", large), "Size": call("torch", "Size", large),
        "Counter": call("collections", "Counter", large), "bytearray": call("builtins", "bytearray", large),
        "OrderedDict": call("collections", "OrderedDict", expanded((2**40, 2))),
        "a size": call("torch._utils", wide, storage(1), integer(0), large, numbers(1), b"\x89", b"}"),
        "another type": call("torch._utils", "_rebuild_device_tensor_from_cpu_tensor", expanded((2**34,)),
                             b"ctorch\nfloat64\n", text("cpu"), b"\x89"),
    }.items():
        yield f"{what} of a tensor that is expanded", made, [("data/0", bytes(4))]
    for size in (2**62, 2**63, 2**70, 2**2000, -1, -2**63):
        yield f"a tensor of {size:.0e}" if abs(size) < 1e300 else "a tensor of 2^2000", tensor(size=(size,)), FOUR
        yield f"a stride of {str(size)[:30]}", tensor(size=(2,), stride=(size,)), FOUR
        yield f"an offset of {str(size)[:30]}", tensor(offset=size), FOUR
        yield f"a storage of {str(size)[:30]}", tensor(count=size), FOUR
        if size > 0:
            yield f"expanded to {str(size)[:30]} twice", tensor(size=(size, size), stride=(0, 0)), FOUR
            yield f"on meta {str(size)[:30]}", call(
                "torch._utils", "_rebuild_meta_tensor_no_storage", b"ctorch\nfloat32\n", numbers(size, size),
                numbers(1, 1), b"\x89"), ()
    yield "a size of another length", tensor(size=(2, 2)), FOUR
    yield "a tensor of bytes that are missing", tensor(count=8, size=(8,)), FOUR
    yield "no such storage", tensor(), ()
    yield "Tensor(2**40)", call("torch", "Tensor", integer(2**40)), ()
    yield "Tensor.__new__", b"ctorch\nTensor\n" + numbers(2**40) + b"\x81", ()
    yield "bytearray(2**40)", call("builtins", "bytearray", integer(2**40)), ()
    yield "bytearray by a codec", call("builtins", "bytearray", text("a"), text("idna")), ()
    yield "another codec", call("_codecs", "encode", text("a"), text("rot13")), ()
    rest = integer(0) + numbers(4) + numbers(1) + b"\x89}"
    yield "an unknown place", call("torch._utils", wide, storage(4, place="c" * 100_000), rest), FOUR
    yield "a dtype that is none", call("torch._utils", "_rebuild_tensor_v3", storage(4), rest, text("float32")), FOUR
    yield "a key of a list", b"}]Ns", ()
    yield "a name of 1 MB", b"c" + b"a" * (1 << 20) + b"\nb\n", ()
    for name in ("os\nsystem", "builtins\neval", "builtins\ngetattr", "torch\nload", "facula.serialization\nload",
                 "subprocess\nPopen", "numpy\nload", "torch.hub\nload", "operator\nattrgetter", "pickle\nloads",
                 "torch._utils\n_rebuild_tensor_v2.__globals__", "collections\nOrderedDict.fromkeys", "io\nopen"):
        yield "call " + name.replace("\n", "."), b"c" + name.encode() + b"\n(" + text("x") + b"tR", ()
    for code in range(256):
        if bytes([code]) not in b".NK)]}(0124GJMXUTBCtldehjqrsuacQRb\x80\x81\x85\x86\x87\x88\x89\x8a\x8b\x8c\x8d\x8e" \
                b"\x8f\x90\x91\x93\x94\x95\x96":
            yield f"operation {code}", b"N" + bytes([code]), ()
    for name, part in (("tuple", b"t"), ("list", b"l"), ("dict", b"d"), ("items", b"u"), ("call", b"R"), ("pop", b"0"),
                       ("build", b"b"), ("memo", b"h\x07"), ("put", b"q\x07"), ("text", b"X\xff\xff\xff\x7fa"),
                       ("bytes", b"\x8e" + b"\xff" * 8), ("integer", b"\x8b\xff\xff\xff\xffa"), ("new", b"\x81")):
        yield f"a lonely {name}", part, ()


def files():
    """(name, bytes) that have to be refused, whole files."""
    for name, pickled, entries in pickles():
        yield name, archive(b"\x80\x02" + pickled + b".", entries)
    good = io.BytesIO()
    facula.save({"x": facula.arange(6.0)}, good)
    good = good.getvalue()
    yield "nothing", b""
    for n in (1, 4, 22, 100, len(good) // 2, len(good) - 1, len(good) - 30):
        yield f"the first {n} bytes", good[:n]
    yield "zeros", bytes(1000)
    yield "a head without a body", b"PK\x03\x04" + bytes(5000)
    yield "another zip", archive(b"N.").replace(b"data.pkl", b"data.pxl")
    zeros, one = bytes(40 << 20), storage(10 << 20)
    yield "40 MB of zeros, compressed", archive(
        b"\x80\x02" + call("torch._utils", "_rebuild_tensor_v2", one, integer(0), numbers(1), numbers(1), b"\x89}")
        + b".", [("data/0", zeros)], zipfile.ZIP_DEFLATED)
    parts = [call("torch._utils", "_rebuild_tensor_v2", storage(1 << 20, str(k)), integer(0), numbers(1), numbers(1),
                  b"\x89}") for k in range(50)]
    yield "200 MB of zeros in 50 parts, compressed", archive(
        b"\x80\x02(" + b"".join(parts) + b"l.", [(f"data/{k}", zeros[:4 << 20]) for k in range(50)],
        zipfile.ZIP_DEFLATED)
    yield "a compressed pickle", archive(b"\x80\x02(" + b"]" * (30 << 20) + b"l.", (), zipfile.ZIP_DEFLATED)
    yield "one entry under many names", _overlapping(2000)
    entries = hostile_mutations.parts(good)
    at = next(k for k, (name, _) in enumerate(entries) if name.endswith("data.pkl"))
    for method, name in ((zipfile.ZIP_BZIP2, "bzip2"), (zipfile.ZIP_LZMA, "lzma")):
        yield f"entries compressed by {name}", hostile_mutations.zipped(entries, method)
    for what, lies in {
        "another checksum": {"crc": 1},
        "a length in 64 bits": {"size": 2**32 - 1, "extra": hostile_mutations.wide(2**62)},
        "a place beyond all": {"place": 2**32 - 1, "extra": hostile_mutations.wide(2**63)},
        "a place that is negative": {"place": 2**32 - 1, "extra": hostile_mutations.wide(2**64 - 1)},
        "a password": {"flags": 1}, "a method that nobody knows": {"method": 99},
        "another name inside": {"local": b"x"},
        "no length": {"size": 0, "packed": 0}, "twice its length": {"size": 2 * len(good), "packed": 2 * len(good)},
        "a version from the future": {"version": 99},
    }.items():
        yield f"an entry with {what}", hostile_mutations.told(entries, at, **lies)
    old = io.BytesIO()
    facula.save([facula.arange(6.0)], old, _use_new_zipfile_serialization=False)
    old = old.getvalue()
    for n in (10, 50, len(old) - 1, len(old) - 20):
        yield f"the first {n} bytes of the older format", old[:n]
    head = pickle.dumps(0x1950A86A20F9469CFC6C, 2) + pickle.dumps(1001, 2) + pickle.dumps({"little_endian": True}, 2)
    magic = pickle.dumps(0x1950A86A20F9469CFC6C, 2)
    for n in (20, 60, 5000):
        yield f"a version of 2^{n} tuples", magic + b"\x80\x02" + doubled(n) + b"." + b"\x80\x02N." * 3
        yield f"a version {n} deep", magic + b"\x80\x02" + deep(n) + b"." + b"\x80\x02N." * 3
        yield f"a magic number of 2^{n} tuples", b"\x80\x02" + doubled(n) + b"." + b"\x80\x02N." * 3
        yield f"a byte order of 2^{n} tuples", magic + pickle.dumps(1001, 2) + b"\x80\x02}" + text("little_endian") + \
            doubled(n) + b"s." + b"\x80\x02N." + doubled(n)
    ids = b"".join(b"(" + text("storage") + b"ctorch\nFloatStorage\n" + text(str(k)) + text("cpu") + integer(200_000)
                   + b"NtQ" for k in range(500))
    yield "storages that are all of the file", head + b"\x80\x02(" + ids + b"l." + bytes(1_000_000)
    yield "a list of storages that is none", head + b"\x80\x02N." + b"\x80\x02" + doubled(60) + b"."
    yield "a list of storages that are not there", head + b"\x80\x02N." + pickle.dumps(["0"], 2)
    yield "magic numbers by a call", b"\x80\x02" + call("builtins", "set", doubled(50)) + b"."


def _overlapping(times):
    """Each storage is an entry of its own, and all of them are the same 64 kB of the file."""
    names = [f"archive/data/{k:05d}" for k in range(times)]
    pickled = b"\x80\x02(" + b"".join(call("torch._utils", "_rebuild_tensor_v2", storage(1 << 14, name[13:]),
                                           integer(0), numbers(1), numbers(1), b"\x89", b"}") for name in names) + b"l."
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as z:
        z.writestr("archive/data.pkl", pickled)
        z.writestr(names[0], DATA)
        first = z.getinfo(names[0])
        for name in names[1:]:
            info = zipfile.ZipInfo(name)
            info.CRC, info.file_size, info.compress_size = first.CRC, first.file_size, first.compress_size
            info.header_offset = first.header_offset
            z.filelist.append(info)
            z.NameToInfo[name] = info
    return file.getvalue()


def seeds():
    """Good files, to be damaged."""
    objects = [facula.arange(6.0), {"w": facula.nn.Parameter(facula.ones(2, 3)), 1: (1, 2.5, "é", b"a", None)},
               facula.nn.Linear(3, 2).state_dict(), [facula.zeros(2, dtype=facula.bfloat16), facula.Size([1]), {1, 2}]]
    optimizer = facula.optim.Adam([facula.nn.Parameter(facula.ones(3))])
    optimizer.param_groups[0]["params"][0].sum().backward()
    optimizer.step()
    objects.append(optimizer.state_dict())
    for obj in objects:
        for new in (True, False):
            file = io.BytesIO()
            facula.save(obj, file, _use_new_zipfile_serialization=new, pickle_protocol=2 if new else 4)
            yield file.getvalue()


def mutated(rng, good):
    """A good file with something changed: in its pickle, in its archive, or anywhere."""
    if rng.random() < 0.6:
        found = hostile_mutations.mutated(rng, good)
        if found is not None:
            return found
    data = bytearray(good)
    if good[:2] == b"PK" and rng.random() < 0.7:
        with zipfile.ZipFile(io.BytesIO(good)) as z:
            entries = {name: z.read(name) for name in z.namelist()}
        name = next(name for name in entries if name.endswith("data.pkl"))
        entries[name] = bytes(_changed(rng, bytearray(entries[name])))
        file = io.BytesIO()
        with zipfile.ZipFile(file, "w", rng.choice([zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])) as z:
            for entry, content in entries.items():
                z.writestr(entry, content)
        return file.getvalue()
    return bytes(_changed(rng, data))


def _changed(rng, data):
    for _ in range(rng.choice([1, 1, 2, 5])):
        at = rng.randrange(len(data))
        how = rng.randrange(5)
        if how == 0:
            data[at] = rng.randrange(256)
        elif how == 1:
            data[at] ^= 1 << rng.randrange(8)
        elif how == 2:
            data[at:at] = bytes(rng.randrange(256) for _ in range(rng.randrange(1, 5)))
        elif how == 3:
            del data[at:at + rng.randrange(1, 9)]
        else:
            other = rng.randrange(len(data))
            data[at:at + 8] = data[other:other + 8]
        if not data:
            data.append(0)
    return data


def generator(seed):
    return random.Random(seed)
