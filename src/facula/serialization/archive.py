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

import gzip
import io
import struct
import sys
import zipfile
import zlib
from typing import IO, Any

import numpy as np

from facula.serialization.limits import Limits, shown

ALIGNMENT = 64
_LOCAL_HEADER = 30  # bytes, before name and extra field
_ZIP64_EXTRA = 20  # bytes, which `zipfile` puts in front of our extra field for large entries
_PADDING_ID = 0x4246  # 'FB': the extra field that torch pads with
_END, _END_LENGTH = b"PK\x05\x06", 22  # of the record that an archive ends with
_READ_BLOCK = 1 << 24


class _Appended:
    """A file that is written to from where it stands: an archive's places are counted from its own beginning, so that
    several can follow each other in one stream."""

    def __init__(self, file: Any) -> None:
        self.file = file
        try:
            self.start = None if isinstance(file, gzip.GzipFile) else file.tell()  # which can only go forwards
        except (AttributeError, OSError):
            self.start = None  # `zipfile` counts for itself

    def tell(self) -> int:
        if self.start is None:
            raise OSError("the file does not tell")
        return self.file.tell() - self.start  # type: ignore[no-any-return]

    def seek(self, offset: int, whence: int = 0) -> int:
        if self.start is None:
            raise OSError("the file does not seek")
        return self.file.seek(offset + (self.start if whence == 0 else 0), whence) - self.start  # type: ignore[no-any-return]

    def write(self, data: Any) -> Any:
        return self.file.write(data)

    def flush(self) -> None:
        if hasattr(self.file, "flush"):
            self.file.flush()


class ArchiveWriter:
    """Writes the entries of an archive to a binary file object, one after the other."""

    def __init__(self, file: Any, name: str = "archive") -> None:
        self.zip = zipfile.ZipFile(_Appended(file), "w", zipfile.ZIP_STORED, allowZip64=True)  # type: ignore[call-overload]
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

    def give_up(self) -> None:
        """Nothing more is written: what has failed must not be completed when it is forgotten."""
        self.zip.fp = None

    def close(self) -> None:
        """Write the entries that every archive ends with, and its table of contents."""
        self.write("version", b"3\n")
        self.zip.close()


class Window:
    """The part of a file from `start` to `end`, as a file of its own."""

    def __init__(self, file: IO[bytes], start: int, end: int) -> None:
        self.file, self.start, self.end = file, start, end
        self.at = 0

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self.at

    def seek(self, offset: int, whence: int = 0) -> int:
        """As a file's. ValueError in front of the start."""
        self.at = offset + (0, self.at, self.end - self.start)[whence]
        if self.at < 0:
            raise ValueError(f"negative seek position {self.at}")
        return int(self.at)

    def _place(self, size: int) -> int:
        """Go where reading begins. How much there is to read, of `size`."""
        self.file.seek(self.start + self.at)
        left = max(self.end - self.start - self.at, 0)
        return left if size < 0 else min(size, left)

    def read(self, size: int = -1) -> bytes:
        data = self.file.read(self._place(-1 if size is None else size))
        self.at += len(data)
        return data

    def readinto(self, view: memoryview) -> int:
        count = _read_into(self.file, view[:self._place(len(view))])
        self.at += count
        return count


def end_of_archive(file: IO[bytes], start: int, end: int) -> int:
    """Where the archive ends that begins at `start`: others may follow it. `end` if none ends before.

    An archive ends with a record that says where its table of contents begins, and how long it is. In the data of an
    entry there may be other archives whole: their tables do not begin where the record, from `start`, says.
    """
    if _is_end(file, start, max(end - _END_LENGTH, start)):  # the only one: nothing else is read
        return end
    at, kept = start, b""
    while at < end:
        file.seek(at)
        block = kept + file.read(min(_READ_BLOCK, end - at))
        begin = at - len(kept)
        place = block.find(_END)
        while place >= 0:
            if _may_end(block, place, begin + place - start) and _is_end(file, start, begin + place):
                file.seek(begin + place + _END_LENGTH - 2)
                return min(begin + place + _END_LENGTH + int.from_bytes(file.read(2), "little"), end)
            place = block.find(_END, place + 1)
        at += len(block) - len(kept)
        kept = block[-3:]
        if len(block) == len(kept):
            break
    return end


def _may_end(block: bytes, place: int, record: int) -> bool:
    """Can the record at this place of a block, `record` bytes into its archive, be the end? A file may be full of
    signatures, so what the block itself tells is asked first: the rest is read from the file."""
    head = block[place:place + _END_LENGTH]
    if len(head) < _END_LENGTH or place < 76 or block[place - 76:place - 72] == b"PK\x06\x06":
        return True
    length, offset = struct.unpack("<12xLL2x", head)
    return bool(offset + length == record)


def _is_end(file: IO[bytes], start: int, record: int) -> bool:
    """Does the archive that begins at `start` end with the record at this place, and its table just before it?"""
    file.seek(record)
    data = file.read(_END_LENGTH)
    if len(data) != _END_LENGTH or data[:4] != _END:
        return False
    length, offset = struct.unpack("<12xLL2x", data)
    file.seek(max(record - 76, start))
    wide = file.read(76)
    if len(wide) == 76 and wide[:4] == b"PK\x06\x06" and wide[56:60] == b"PK\x06\x07":  # the numbers in 64 bits
        record -= 76
        length, offset = struct.unpack("<QQ", wide[40:56])
    if start + offset + length != record:
        return False
    file.seek(start + offset)
    return not length or file.read(4) == b"PK\x01\x02"


class ArchiveReader:
    """Reads entries of an archive. RuntimeError if it is damaged, or no archive of torch's.

    Args:
        file: where it is.
        limits: what may be read; None for a file that is trusted.
        path: of the file, if its entries may be mapped into memory.
    """

    def __init__(self, file: Any, limits: Limits | None = None, path: str | None = None) -> None:
        self.file, self.path, self.limits = file, path, limits
        try:
            self.zip = zipfile.ZipFile(file)
        except (zipfile.BadZipFile, ValueError, NotImplementedError, OverflowError, struct.error) as error:
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
            self._count(self.zip.getinfo(self.prefix + name))
            return self.zip.read(self.prefix + name)
        except (KeyError, ValueError, EOFError, NotImplementedError, zlib.error, zipfile.BadZipFile) as error:
            raise RuntimeError(f"failed reading {shown(name)} from the archive: {error}") from None

    def _count(self, info: zipfile.ZipInfo) -> None:
        """An entry is going to be read: not for the tenth time under another name, nor a thousand times as long, nor by
        a way of compressing that nobody's torch.load knows."""
        if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise NotImplementedError(f"compressed by the method {info.compress_type}: 0 and 8 are read")
        if self.limits is not None:
            if info.compress_type == zipfile.ZIP_STORED:
                self.limits.take("stored", info.file_size, f"reading the entry {shown(info.filename)}")
            else:
                self.limits.take("unpacked", info.file_size, f"unpacking the compressed entry {shown(info.filename)}")

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
            return np.memmap(self.path, np.uint8, "c", getattr(self.file, "start", 0) + start, (info.file_size,))
        self._count(info)
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
        if start + info.file_size > self.file.seek(0, io.SEEK_END):
            raise RuntimeError(f"failed reading {shown(name)} from the archive: the file is too short")
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
