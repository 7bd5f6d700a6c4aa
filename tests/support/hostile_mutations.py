"""Ways to damage a good file on purpose: names and numbers of its zip archive, operations and order of its pickles."""

import io
import pickletools
import struct
import warnings
import zipfile
import zlib

CALLS = [f"c{name}\n".encode().replace(b"|", b"\n") for name in (
    "collections|OrderedDict", "collections|Counter", "builtins|set", "builtins|bytearray", "builtins|complex",
    "_codecs|encode", "torch|Size", "torch|device", "torch|Tensor", "torch|float32", "torch|FloatStorage",
    "torch.storage|UntypedStorage", "torch.storage|TypedStorage", "torch.nn.parameter|Parameter",
    "torch.serialization|_get_layout", "torch._utils|_rebuild_tensor", "torch._utils|_rebuild_tensor_v2",
    "torch._utils|_rebuild_tensor_v3", "torch._utils|_rebuild_parameter", "torch._utils|_rebuild_parameter_with_state",
    "torch._utils|_rebuild_meta_tensor_no_storage", "torch._utils|_rebuild_device_tensor_from_cpu_tensor",
    "torch._tensor|_rebuild_from_type_v2", "torch._utils|_rebuild_sparse_tensor", "os|system")]
CODES = [o.code.encode("latin1") for o in pickletools.opcodes]
WORDS = ["", "a", "cpu", "cuda:0", "meta", "latin1", "0", "storage", "é"]
FRAME = b"\x95" + struct.pack("<Q", 2**63)
OLD = [b"P1\n", b"I1\n", b"L1L\n", b"F1.5\n", b"S'a'\n", b"V\\u0041\n", b"p0\n", b"g0\n", b"i__main__\nx\n", b"o",
       b"\x82\x01", b"\x83\x01\x00", b"\x84\x01\x00\x00\x00", b"\x92", b"\x97", b"\x98", b".", b"Q", FRAME,
       b"(" * 50, b"2" * 30]


def mutated(rng, good):
    """A good file with something changed that this file knows of; None for a file that it cannot take apart."""
    if good[:2] != b"PK":
        return _legacy(rng, good)
    entries = parts(good)
    if rng.random() < 0.5:
        return _rezipped(rng, good, entries)
    entries = [(name, changed_pickle(rng, data) if name.endswith("data.pkl") else data) for name, data in entries]
    return zipped(entries, compression=rng.choice([0, 0, 8]))


def parts(data):
    with zipfile.ZipFile(io.BytesIO(data)) as z:
        return [(info.filename, z.read(info)) for info in z.infolist()]


def zipped(entries, compression=0):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", compression) as z, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of names that are there already
        for name, data in entries:
            z.writestr(name, data)
    return file.getvalue()


def told(entries, at, **lies):
    """An archive whose entry number `at` says of itself what is not so."""
    body, table = b"", b""
    for k, (name, data) in enumerate(entries):
        name = name.encode()
        says = {"crc": zlib.crc32(data), "packed": len(data), "size": len(data), "method": 0, "flags": 0,
                "place": len(body), "extra": b"", "attributes": 0, "local": name, "version": 20}
        says |= lies if k == at else {}
        numbers = (says["version"], says["flags"], says["method"], 0, 0, says["crc"], says["packed"], says["size"])
        body_head = struct.pack("<4sHHHHHLLLHH", b"PK\x03\x04", *numbers, len(says["local"]), len(says["extra"]))
        body += body_head + says["local"] + says["extra"] + data
        table += struct.pack("<4sHHHHHHLLLHHHHHLL", b"PK\x01\x02", 20, *numbers, len(name), len(says["extra"]), 0, 0, 0,
                             says["attributes"], says["place"]) + name + says["extra"]
    count = len(entries)
    return body + table + struct.pack("<4sHHHHLLH", b"PK\x05\x06", 0, 0, count, count, len(table), len(body), 0)


def wide(*numbers):
    """The extra field of sizes and places in 64 bits."""
    return struct.pack(f"<HH{len(numbers)}Q", 1, 8 * len(numbers), *numbers)


def _rezipped(rng, good, entries):
    at = rng.randrange(len(entries))
    name, data = entries[at]
    how = rng.randrange(14)
    if how < 2:
        entries.insert(0 if how else len(entries), (name, bytes(rng.randrange(256) for _ in range(len(data)))))
    elif how == 2:
        entries[at] = rng.choice(["/etc/passwd", "../../x", "/" + name, "../" + name, name + "/", " ", "a\0b",
                                  name.upper(), "archive/../" + name, "C:" + name, "é" + name, name + "\n"]), data
    elif how == 3:
        return zipped(entries, rng.choice([zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA]))
    elif how == 4:
        entries.pop(at)
    elif how == 5:
        return told(entries, at, crc=rng.randrange(2**32))
    elif how == 6:
        number = rng.choice([0, 1, 2**31, 2**32 - 1, len(good), 2 * len(good), rng.randrange(2**32)])
        return told(entries, at, **{rng.choice(["packed", "size", "place"]): number})
    elif how == 7:
        extra = wide(*(rng.choice([0, 5, 2**40, 2**62, 2**63, 2**64 - 1, len(data)]) for _ in range(rng.randrange(4))))
        return told(entries, at, extra=extra, packed=rng.choice([2**32 - 1, len(data)]), size=2**32 - 1,
                    place=rng.choice([2**32 - 1, 0]))
    elif how == 8:
        return told(entries, at, flags=rng.choice([1, 8, 0x40, 0x800, 0x2000, 0xFFFF]))
    elif how == 9:
        return told(entries, at, method=rng.choice([1, 6, 8, 9, 12, 14, 93, 95, 99, 65535]))
    elif how == 10:
        return told(entries, at, attributes=0o120777 << 16)  # a symbolic link
    elif how == 11:
        return told(entries, at, local=b"other/" + name.encode(), version=rng.choice([0, 45, 99, 65535]))
    else:
        return rng.choice([b"junk" * rng.randrange(1, 50) + good, good + b"junk" * 50, good + good,
                           good[:-2] + b"\xff\xff" + b"c" * 100, good + bytes(1 << 16)])
    return zipped(entries)


def _legacy(rng, good):
    """The pickles that an older file begins with: one of them changed, or all in another order."""
    file, pickles = io.BytesIO(good), []
    try:
        while len(pickles) < 5:
            start = file.tell()
            list(pickletools.genops(file))
            pickles.append(good[start:file.tell()])
    except ValueError:
        return None
    rest = good[file.tell():]
    if rng.random() < 0.1:
        rng.shuffle(pickles)
    else:
        at = rng.randrange(len(pickles))
        pickles[at] = changed_pickle(rng, pickles[at])
    return b"".join(pickles) + (rest if rng.random() < 0.9 else rest[:rng.randrange(len(rest) + 1)])


def changed_pickle(rng, data):
    """A pickle with operations left out, repeated, exchanged or made up."""
    ops = list(pickletools.genops(data))
    ends = [place for _, _, place in ops[1:]] + [len(data)]
    steps = [data[place:end] for (_, _, place), end in zip(ops, ends, strict=True)]
    for _ in range(rng.choice([1, 1, 2, 4])):
        i, j = rng.randrange(len(steps)), rng.randrange(len(steps))
        how = rng.randrange(9)
        if how == 0:
            steps[i] = rng.choice(CODES) + bytes(rng.randrange(256) for _ in range(rng.randrange(4)))
        elif how == 1:
            steps.insert(i, value(rng))
        elif how == 2:
            steps[i] = value(rng)
        elif how == 3:
            steps[i], steps[j] = steps[j], steps[i]
        elif how == 4 and len(steps) > 1:
            steps.pop(i)
        elif how == 5:
            steps[i:i] = steps[j:j + rng.randrange(1, 8)]
        elif how == 6:
            steps.insert(i, rng.choice([*OLD, b"2\x86" * rng.randrange(1, 60)]))
        elif how == 7:
            steps[i] = steps[i][:1] + bytes(rng.randrange(256) for _ in steps[i][1:])
        else:
            steps[i:] = (steps[i:] * 2)[:4000]
    return b"".join(steps)


def value(rng, depth=0):
    """Operations that put something on the stack: a number, a container, a call with whatever arguments."""
    from hostile import integer, storage, text
    kind = rng.randrange(10 if depth < 3 else 5)
    if kind < 5:
        return rng.choice([b"N", b"\x88", b"]", b"}", b")", b"\x8f", b"C\x03abc",
                           b"\x96" + struct.pack("<Q", 3) + b"abc", text(rng.choice(WORDS)),
                           integer(rng.choice([-1, 0, 5, 2**31, 2**63, 2**70, -2**63, 2**2000])),
                           b"G" + struct.pack(">d", rng.choice([0.0, -1.0, float("inf"), float("nan"), 1e308])),
                           b"h" + bytes([rng.randrange(6)]), rng.choice(CALLS)])
    if kind == 5:
        return storage(rng.choice([0, 1, 4, 10**6]), rng.choice("01x"), rng.choice(
            ["FloatStorage", "BFloat16Storage", "BoolStorage", "ComplexFloatStorage", "QInt8Storage"]))
    some = b"(" + b"".join(value(rng, depth + 1) for _ in range(rng.randrange(7)))
    if kind == 6:
        return some + rng.choice([b"t", b"l", b"d", b"\x91"])
    if kind == 7:
        return some + b"tQ"
    return rng.choice(CALLS) + some + b"t" + rng.choice([b"R", b"\x81", b"R" + value(rng, depth + 1) + b"b"])
