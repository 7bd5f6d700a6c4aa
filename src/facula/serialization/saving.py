"""`save`: objects into a `.pt` file."""

from __future__ import annotations

import contextlib
import io
import os
import pickle
import struct
import sys
from collections.abc import Iterator
from typing import IO, Any

import numpy as np

from facula.serialization import tensors
from facula.serialization.archive import ArchiveWriter
from facula.serialization.pickler import TorchPickler
from facula.serialization.storages import TYPE_OF

DEFAULT_PROTOCOL = 2
MAGIC_NUMBER = 0x1950A86A20F9469CFC6C
PROTOCOL_VERSION = 1001


def save(obj: Any, f: Any, pickle_module: Any = pickle, pickle_protocol: int = DEFAULT_PROTOCOL,
         _use_new_zipfile_serialization: bool = True) -> None:
    """Write `obj` (tensors, state dicts, containers, numbers, modules...) to `f`, a path or a binary file.

    The file is PyTorch's own zip format: PyTorch reads it. Tensors that share memory share it again when
    loaded; the whole memory is written, so `x[:2].clone()` makes a smaller file than `x[:2]`. A file at a
    path is replaced only when the new one is complete. AttributeError if `f` is neither a path nor has
    `write`; RuntimeError if its directory does not exist.

    Example:
        >>> import io, facula
        >>> file = io.BytesIO()
        >>> facula.save({"x": facula.ones(2)}, file)
        >>> facula.load(io.BytesIO(file.getvalue()))
        {'x': tensor([1., 1.])}
    """
    if not isinstance(f, (str, os.PathLike)) and not hasattr(f, "write"):
        raise AttributeError("expected 'f' to be string, path, or a file-like object with a 'write' "
                             "attribute")
    write = _write_archive if _use_new_zipfile_serialization else _write_legacy
    if not isinstance(f, (str, os.PathLike)):
        write(obj, f, "archive", pickle_protocol)
        return
    path = os.fspath(f)
    with _replacing(path) as file:
        write(obj, file, os.path.splitext(os.path.basename(path))[0] or "archive", pickle_protocol)


@contextlib.contextmanager
def _replacing(path: str) -> Iterator[IO[bytes]]:
    """A file that takes the place of `path` when all went well, and leaves nothing behind otherwise."""
    target = os.path.realpath(path)  # a link stays a link
    folder = os.path.dirname(target)
    if not os.path.isdir(folder):
        raise RuntimeError(f"Parent directory {os.path.dirname(path) or '.'} does not exist.")
    if os.path.exists(target) and not os.path.isfile(target):  # a pipe, a device
        with open(target, "wb") as file:
            yield file
        return
    temporary = os.path.join(folder, f".{os.path.basename(target)}.{os.getpid()}.{os.urandom(4).hex()}.tmp")
    try:
        with open(temporary, "xb") as file:
            yield file
        os.replace(temporary, target)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)
        raise


class _Storages:
    """The storages of the tensors pickled so far, in the order in which they came."""

    def __init__(self) -> None:
        self.kept: dict[int, tuple[str, Any, Any]] = {}

    def add(self, tensor: Any) -> tuple[Any, ...]:
        """The persistent id of the tensor's storage."""
        owner, elements = tensors.storage_of(tensor)
        kind = TYPE_OF[tensor.dtype]
        key, _, first = self.kept.setdefault(id(owner), (str(len(self.kept)), owner, (elements, kind)))
        if first[1] is not kind:
            raise RuntimeError("Cannot save multiple tensors or storages that view the same data as "
                               "different types")
        return "storage", kind, key, str(tensor.device), elements.nbytes // kind.itemsize

    def items(self) -> Iterator[tuple[str, np.ndarray, int]]:
        """Key, bytes and element size of each storage."""
        for key, _, (elements, kind) in self.kept.values():
            yield key, elements, kind.itemsize


def _write_archive(obj: Any, file: Any, name: str, protocol: int) -> None:
    storages, pickled = _Storages(), io.BytesIO()
    TorchPickler(pickled, protocol, storages.add).dump(obj)
    archive = ArchiveWriter(file, name)
    try:
        archive.write("data.pkl", pickled.getvalue())
        archive.write(".format_version", b"1")
        archive.write(".storage_alignment", b"64")
        archive.write("byteorder", sys.byteorder.encode())
        for key, elements, _ in storages.items():
            archive.write(f"data/{key}", elements.data)
        archive.close()
    except BaseException:
        archive.give_up()
        raise


def _write_legacy(obj: Any, file: Any, name: str, protocol: int) -> None:
    """PyTorch's format before 1.6: five pickles, then the storages, each behind its number of elements."""
    system = {"protocol_version": PROTOCOL_VERSION, "little_endian": sys.byteorder == "little",
              "type_sizes": {"short": 2, "int": 4, "long": 4}}
    for header in (MAGIC_NUMBER, PROTOCOL_VERSION, system):
        pickle.dump(header, file, protocol)
    storages = _Storages()
    TorchPickler(file, protocol, lambda tensor: (*storages.add(tensor), None)).dump(obj)
    written = sorted(storages.items())
    pickle.dump([key for key, _, _ in written], file, protocol)
    for _, elements, itemsize in written:
        file.write(struct.pack("<q", elements.nbytes // itemsize))
        file.write(elements.data)
