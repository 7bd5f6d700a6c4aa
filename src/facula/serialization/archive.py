"""The zip archive that a `.pt` file is.

```
NAME/data.pkl             the objects, pickled; storages are named, not contained
NAME/.format_version      1
NAME/.storage_alignment   64
NAME/byteorder            little
NAME/data/0, /1, ...      the bytes of the storages, uncompressed, aligned to 64 bytes in the file
NAME/version              3
```
"""

from __future__ import annotations

import struct
import sys
import zipfile
import zlib
from typing import IO, Any

import numpy as np

ALIGNMENT = 64
_LOCAL_HEADER = 30  # bytes, before name and extra field
_ZIP64_EXTRA = 20  # bytes, which `zipfile` puts in front of our extra field for large entries
_PADDING_ID = 0x4246  # 'FB': the extra field that torch pads with
_READ_BLOCK = 1 << 24


class ArchiveWriter:
    """Writes the entries of an archive to a binary file object, one after the other."""

    def __init__(self, file: Any, name: str = "archive") -> None:
        self.zip = zipfile.ZipFile(file, "w", zipfile.ZIP_STORED, allowZip64=True)
        self.name = name

    def write(self, name: str, data: bytes | memoryview) -> None:
        """Add the entry `name`, so that its bytes start at a multiple of 64 in the file."""
        info = zipfile.ZipInfo(f"{self.name}/{name}")
        size = memoryview(data).nbytes
        start = self.zip.start_dir + _LOCAL_HEADER + len(info.filename.encode())
        if size * 1.05 > zipfile.ZIP64_LIMIT:
            start += _ZIP64_EXTRA
        padding = -(start + 4) % ALIGNMENT
        info.extra = struct.pack("<HH", _PADDING_ID, padding) + b"Z" * padding
        self.zip.writestr(info, data)

    def close(self) -> None:
        """Write the entries that every archive ends with, and its table of contents."""
        self.write("version", b"3\n")
        self.zip.close()


class ArchiveReader:
    """Reads entries of an archive. RuntimeError if it is damaged, or no archive of torch's."""

    def __init__(self, file: IO[bytes], path: str | None = None) -> None:
        self.file, self.path = file, path
        try:
            self.zip = zipfile.ZipFile(file)
        except zipfile.BadZipFile as error:
            raise RuntimeError(f"failed reading zip archive: {error}; is the file complete?") from None
        pickles = [name for name in self.zip.namelist() if name == "data.pkl" or name.endswith("/data.pkl")]
        if not pickles:
            raise RuntimeError("the zip archive has no entry 'data.pkl': it was not written by torch.save")
        self.prefix = min(pickles, key=len)[:-len("data.pkl")]
        self.is_torchscript = self.has("constants.pkl")
        order = self.read("byteorder") if self.has("byteorder") else b"little"
        if order not in (b"little", b"big"):
            raise ValueError(f"Unknown endianness type: {order.decode(errors='replace')}")
        self.swapped = order.decode() != sys.byteorder

    def has(self, name: str) -> bool:
        """Is there an entry `name`?"""
        return self.prefix + name in self.zip.NameToInfo

    def read(self, name: str) -> bytes:
        """The bytes of the entry `name`."""
        try:
            return self.zip.read(self.prefix + name)
        except (KeyError, zipfile.BadZipFile) as error:
            raise RuntimeError(f"failed reading '{name}' from the archive: {error}") from None

    def read_array(self, name: str, mmap: bool = False) -> np.ndarray:
        """The bytes of the entry `name` as a fresh uint8 array; with `mmap`, as a private map of the file."""
        try:
            info = self.zip.getinfo(self.prefix + name)
        except KeyError:
            raise RuntimeError(f"the archive has no entry '{name}' for a storage that it refers to") from None
        if info.compress_type != zipfile.ZIP_STORED:
            return np.frombuffer(bytearray(self.read(name)), np.uint8)
        start = self._data_start(info)
        if mmap and self.path is not None:
            if not info.file_size:
                return np.empty(0, np.uint8)
            return np.memmap(self.path, np.uint8, "c", start, (info.file_size,))
        return self._read_stored(name, info, start)

    def _data_start(self, info: zipfile.ZipInfo) -> int:
        self.file.seek(info.header_offset)
        header = self.file.read(_LOCAL_HEADER)
        if len(header) != _LOCAL_HEADER or header[:4] != b"PK\x03\x04":
            raise RuntimeError(f"failed reading '{info.filename}' from the archive: bad local header")
        name_length, extra_length = struct.unpack("<HH", header[26:30])
        return info.header_offset + _LOCAL_HEADER + name_length + extra_length  # type: ignore[no-any-return]

    def _read_stored(self, name: str, info: zipfile.ZipInfo, start: int) -> np.ndarray:
        """Straight into the array's memory: `zipfile` would hold the bytes a second time."""
        array = np.empty(info.file_size, np.uint8)
        view, done, check = memoryview(array.data), 0, 0
        self.file.seek(start)
        while done < len(view):
            block = view[done:done + _READ_BLOCK]
            count = _read_into(self.file, block)
            if not count:
                raise RuntimeError(f"failed reading '{name}' from the archive: the file is too short")
            check = zlib.crc32(block[:count], check)
            done += count
        if check != info.CRC:
            raise RuntimeError(f"failed reading '{name}' from the archive: the checksum differs; "
                               "the file is damaged")
        return array


def _read_into(file: IO[bytes], view: memoryview) -> int:
    readinto = getattr(file, "readinto", None)
    if readinto is not None:
        return int(readinto(view) or 0)
    data = file.read(len(view))
    view[:len(data)] = data
    return len(data)
