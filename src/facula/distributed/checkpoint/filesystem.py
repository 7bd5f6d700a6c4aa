"""A checkpoint's folder: `__RANK_NUMBER.distcp` with what each rank has written, one `.pt` file after the other, and
`.metadata`. Whoever saves again into the folder writes new files, replaces `.metadata` when all are complete, and only
then removes the old ones: a saving that is killed leaves the previous checkpoint whole."""

from __future__ import annotations

import contextlib
import enum
import io
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import IO, Any

import facula
from facula._tensor.handle import Tensor
from facula.distributed.checkpoint import catalogue
from facula.distributed.checkpoint.metadata import Metadata, MetadataIndex, _StorageInfo
from facula.serialization import load, save
from facula.serialization.archive import Window
from facula.serialization.limits import DamagedFile
from facula.serialization.saving import _replacing

__all__ = ["FileSystemReader", "FileSystemWriter", "SerializationFormat"]

METADATA = ".metadata"
_PARTS = re.compile(r"__(\d+)_(\d+)\.distcp")


class SerializationFormat(enum.Enum):
    """How each entry of a file is written."""

    TORCH_SAVE = "torch_save"
    SAFETENSORS = "safetensors"


def _folder(path: Any) -> str:
    text: str = os.fspath(path)
    if "://" in text:
        raise NotImplementedError(f"distributed.checkpoint: {text} is no folder of this machine's file systems; other "
                                  "stores are not in Facula yet")
    return text


class FileSystemWriter:
    """Writes a checkpoint into the folder `path`, which is made where it is not there.

    Args:
        sync_files: have the system put the files on the disk before the checkpoint counts.
        overwrite: replace a checkpoint that is there; else that is an error.
        single_file_per_rank, thread_count, per_thread_copy_ahead, cache_staged_state_dict: accepted; each rank writes
            one file.

    Example:
        >>> import facula, tempfile
        >>> import facula.distributed.checkpoint as dcp
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     metadata = dcp.save({"x": facula.ones(2)}, storage_writer=dcp.FileSystemWriter(folder))
        >>> list(metadata.state_dict_metadata)
        ['x']
    """

    def __init__(self, path: Any, single_file_per_rank: bool = True, sync_files: bool = True, thread_count: int = 1,
                 per_thread_copy_ahead: int = 10_000_000, cache_staged_state_dict: bool = False, overwrite: bool = True,
                 _extensions: Sequence[Any] | None = None,
                 serialization_format: Any = SerializationFormat.TORCH_SAVE) -> None:
        if serialization_format is not SerializationFormat.TORCH_SAVE or _extensions:
            raise NotImplementedError("FileSystemWriter: safetensors and extensions are not in Facula; entries are "
                                      "written as torch.save writes them")
        self.path, self.sync_files, self.overwrite = _folder(path), sync_files, overwrite

    def prepare(self) -> None:
        """Have the folder. RuntimeError where there is a checkpoint and `overwrite` is off."""
        os.makedirs(self.path, exist_ok=True)
        if not self.overwrite and os.path.exists(os.path.join(self.path, METADATA)):
            raise RuntimeError(f"Checkpoint already exists and self.overwrite=False: {self.path}")

    def write(self, rank: int, entries: Iterable[tuple[MetadataIndex, Any]]) -> dict[MetadataIndex, _StorageInfo]:
        """Write this rank's entries into a new file: where each lies. Nothing is left where that fails."""
        taken = [int(found[2]) for found in map(_PARTS.fullmatch, os.listdir(self.path))
                 if found and int(found[1]) == rank]
        name = f"__{rank}_{max(taken, default=-1) + 1}.distcp"
        path, places = os.path.join(self.path, name), {}
        entries = list(entries)
        if not entries:
            return {}
        try:
            with open(path, "xb") as file:
                for index, value in entries:
                    data = _entry(index.fqn, value)
                    places[index] = _StorageInfo(name, file.tell(), len(data))
                    file.write(data)
                _flush(file, self.sync_files)
        except BaseException:
            self.drop([name])
            raise
        return places

    def finish(self, metadata: Metadata) -> None:
        """The checkpoint counts from now on, and the one before it does no more."""
        with _replacing(os.path.join(self.path, METADATA)) as file:
            file.write(catalogue.written(metadata))
            _flush(file, self.sync_files)
        if self.sync_files:
            _flush_folder(self.path)
        used = {info.relative_path for info in metadata.storage_data.values()}
        self.drop(name for name in os.listdir(self.path) if _PARTS.fullmatch(name) and name not in used)

    def drop(self, names: Iterable[str]) -> None:
        """Remove files."""
        for name in names:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(os.path.join(self.path, name))


def _flush(file: IO[bytes], wanted: bool) -> None:
    file.flush()
    if wanted:
        os.fsync(file.fileno())


def _flush_folder(path: str) -> None:
    """The names in a folder too are on the disk only when it is said so."""
    if os.name == "posix":
        there = os.open(path, os.O_RDONLY)
        try:
            os.fsync(there)
        finally:
            os.close(there)


def _entry(name: str, value: Any) -> bytes:
    """One entry's bytes. TypeError of an object that could not be loaded as data."""
    buffer = io.BytesIO()
    if isinstance(value, Tensor):
        save(value, buffer)
        return buffer.getvalue()
    save(value, buffer)
    data = buffer.getvalue()
    try:
        load(io.BytesIO(data), weights_only=True)
    except DamagedFile as error:
        raise TypeError(f"distributed.checkpoint: {name} is a {type(value).__name__}, which could not be loaded as data"
                        ": save numbers, strings, containers and tensors, or allow its type by torch.serialization."
                        f"add_safe_globals ({str(error).splitlines()[-1][:300]})") from None
    return data


class FileSystemReader:
    """Reads the checkpoint in the folder `path`. Nothing in it is run: entries are read as `load(weights_only=True)`
    reads them.

    Example:
        >>> import facula, tempfile
        >>> import facula.distributed.checkpoint as dcp
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     _ = dcp.save({"x": facula.ones(2)}, checkpoint_id=folder)
        ...     dcp.FileSystemReader(folder).read_metadata().state_dict_metadata["x"].size
        torch.Size([2])
    """

    def __init__(self, path: Any, _extension_registry: Any = None) -> None:
        if _extension_registry is not None:
            raise NotImplementedError("FileSystemReader: extensions are not in Facula")
        self.path = _folder(path)

    def read_metadata(self) -> Metadata:
        """What the checkpoint has. FileNotFoundError if there is none, DamagedFile if it cannot be read."""
        return catalogue.read(self.catalogue())

    def catalogue(self) -> bytes:
        """The content of `.metadata`."""
        with open(os.path.join(self.path, METADATA), "rb") as file:
            return file.read()

    def entries(self, wanted: Iterable[tuple[_StorageInfo, Any]]) -> Iterator[tuple[Any, Any]]:
        """(tag, value) of each wanted entry, file by file. RuntimeError where one cannot be read."""
        files: dict[str, list[tuple[_StorageInfo, Any]]] = {}
        for info, tag in wanted:
            if info.transform_descriptors:
                raise NotImplementedError(f"{info.relative_path}: entries that are transformed ("
                                          f"{info.transform_descriptors}) are not in Facula")
            files.setdefault(info.relative_path, []).append((info, tag))
        for name, entries in files.items():
            with open(os.path.join(self.path, name), "rb") as file:
                end = file.seek(0, io.SEEK_END)
                for info, tag in sorted(entries, key=lambda entry: entry[0].offset):
                    if info.offset + info.length > end:
                        raise DamagedFile(f"{name} has {end} bytes, and an entry ends at {info.offset + info.length}")
                    yield tag, load(_Part(file, info.offset, info.offset + info.length), map_location="cpu",
                                    weights_only=True)


class _Part(Window):
    """An entry, as a file that can be read line by line, too."""

    def readline(self) -> bytes:
        """Up to the next line's beginning."""
        found = b""
        while not found.endswith(b"\n") and (byte := self.read(1)):
            found += byte
        return found


def piece_read(value: Any, name: str, size: Any, of: Any) -> Tensor:
    """An entry that should be a tensor of that size and dtype. DamagedFile if it is not."""
    if not isinstance(value, facula.Tensor) or value.shape != size or value.dtype is not of:
        raise DamagedFile(f"the entry of {name} is not a tensor of size {tuple(size)} and {of}, as .metadata says")
    return value
