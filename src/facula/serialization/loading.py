"""`load`: the objects in a `.pt` file."""

from __future__ import annotations

import errno
import io
import os
import pickle
import struct
from collections.abc import Callable
from typing import IO, Any

import numpy as np

from facula.serialization import names
from facula.serialization.archive import ArchiveReader, Window, end_of_archive
from facula.serialization.limits import CallersError, DamagedFile, EmptyFile, Limits, shown
from facula.serialization.locations import restorer
from facula.serialization.saving import MAGIC_NUMBER, PROTOCOL_VERSION
from facula.serialization.storages import LoadedStorage, StorageType, byteswapped
from facula.serialization.unpickler import RestrictedUnpickler

_UNSAFE = ("Re-running `torch.load` with `weights_only` set to `False` will likely succeed, but it can "
           "result in "
           "arbitrary code execution. Do it only if you got the file from a trusted source.")
# Not the file's fault: the machine's memory and disks, and what a user's functions raise.
_OTHERS = (MemoryError, CallersError, DamagedFile)


def load(f: Any, map_location: Any = None, pickle_module: Any = None, *, weights_only: bool | None = None,
         mmap: bool | None = None, **pickle_load_args: Any) -> Any:
    """The object that `save`, ours or PyTorch's, wrote to `f`, a path or a binary file object that can seek.

    Nothing in the file is executed: only tensors, containers, numbers and strings come out of it, and a file
    that asks for anything else is refused by name (`add_safe_globals` allows more). `weights_only=False`
    lifts that, for files you trust.

    Args:
        map_location: where to put the storages: a device, its name, a dict of names, or a function of
            (storage, name). Files from a GPU need `map_location="cpu"`.
        weights_only: refuse what is not data; True unless a `pickle_module` is given.
        mmap: map the file into memory instead of reading it; `f` must be a path.

    Time and memory are linear in the file's length: what asks for more is refused.

    Raises pickle.UnpicklingError (a RuntimeError, too) for all that is damaged or refused.

    Example:
        >>> import io, facula
        >>> file = io.BytesIO()
        >>> facula.save([facula.zeros(2), 1], file)
        >>> facula.load(io.BytesIO(file.getvalue()))
        [tensor([0., 0.]), 1]
    """
    if weights_only is None:
        weights_only = pickle_module is None
    elif weights_only and pickle_module is not None:
        raise RuntimeError("Can not safely load weights when explicit pickle_module is specified")
    is_path = isinstance(f, (str, os.PathLike))
    if mmap and not is_path:
        raise ValueError("f must be a file path in order to use the mmap argument")
    encoding = pickle_load_args.pop("encoding", "utf-8")
    with open(f, "rb") if is_path else _Borrowed(f) as file:
        path = os.fspath(f) if is_path else None
        loader = _Loader(file, path, map_location, weights_only, bool(mmap), encoding)
        try:
            result = loader.load()
            for storage in loader.storages.values():
                storage.loading = False
            return result
        except CallersError as error:
            assert error.__cause__ is not None
            raise error.__cause__ from None
        except _OTHERS:
            raise
        except pickle.UnpicklingError as error:
            if not weights_only:
                raise
            raise DamagedFile(_refusal(str(error)[:2000])) from None
        except OSError as error:
            if error.errno != errno.EINVAL:  # a disk that fails; but this is a place that no file has
                raise
            raise DamagedFile(f"the file is damaged: {error}") from error
        except Exception as error:
            if not weights_only and not isinstance(error, RuntimeError):
                raise
            kind = "" if type(error) is RuntimeError else f"{type(error).__name__}: "
            raise DamagedFile(f"{kind}{str(error)[:2000]}") from error


def _refusal(message: str) -> str:
    return (f"Weights only load failed. This file can still be loaded, to do so you have two options, do "
            f"those "
            f"steps only if you trust the source of the checkpoint.\n\t(1) {_UNSAFE}\n\t(2) Alternatively, "
            f"to load "
            "with `weights_only=True` please check the recommended steps in the following error message.\n"
            f"\tWeightsUnpickler error: {message}")


class _Borrowed:
    """A caller's file: checked, and left open."""

    def __init__(self, file: Any) -> None:
        self.file = file

    def __enter__(self) -> Any:
        for name in ("read", "readline", "seek", "tell"):
            if not hasattr(self.file, name):
                raise AttributeError(f"'{type(self.file).__name__}' object has no attribute '{name}'. You "
                                     f"can only "
                                     "torch.load from a file that is seekable. Please pre-load the data "
                                     "into a "
                                     "buffer like io.BytesIO and try to load from it instead.")
        try:
            self.file.seek(self.file.tell())
        except io.UnsupportedOperation as error:
            raise io.UnsupportedOperation(
                f"{error}. You can only torch.load from a file that is seekable. Please pre-load the data "
                f"into a "
                "buffer like io.BytesIO and try to load from it instead.") from None
        return self.file

    def __exit__(self, *exc_info: object) -> None:
        pass


class _Loader:
    """One call of `load`."""

    def __init__(self, file: IO[bytes], path: str | None, map_location: Any, weights_only: bool, mmap: bool,
                 encoding: str) -> None:
        self.file, self.path, self.mmap = file, path, mmap
        self.restore = restorer(map_location)
        self.weights_only, self.encoding = weights_only, encoding
        self.storages: dict[str, LoadedStorage] = {}

    def load(self) -> Any:
        start = self.file.tell()
        magic = self.file.read(4)
        end = self.file.seek(0, io.SEEK_END)
        self.file.seek(start)
        if not magic:
            raise EmptyFile("Ran out of input: the file is empty")
        self.limits = Limits(end - start)
        if magic == b"PK\x03\x04":
            end = end_of_archive(self.file, start, end)
            result = self._load_archive(Window(self.file, start, end))
            self.file.seek(end)  # where the next one may begin
            return result
        if self.mmap:
            raise RuntimeError("mmap can only be used with files saved with torch.save in its zip format "
                               "(_use_new_zipfile_serialization=True)")
        return self._load_legacy()

    def _unpickle(self, file: IO[bytes], persistent_load: Callable[[Any], Any]) -> Any:
        if self.weights_only:
            try:
                return RestrictedUnpickler(file, names.find_safe, names.may_call, names.set_state,
                                           persistent_load, self.limits, self.encoding).load()
            except (*_OTHERS, pickle.UnpicklingError, OSError):
                raise
            except RuntimeError as error:  # of tensors: says what is wrong
                if isinstance(error, RecursionError):
                    raise pickle.UnpicklingError("the pickle is nested too deeply") from error
                raise
            except Exception as error:  # what flipped bits make functions raise
                kind = type(error).__name__
                raise pickle.UnpicklingError(f"the pickle is damaged: {kind}: {error}") from error
        return _FullUnpickler(file, persistent_load, self.encoding).load()

    # -- the zip format

    def _load_archive(self, file: Any) -> Any:
        self.archive = ArchiveReader(file, self.limits if self.weights_only else None, self.path if self.mmap else None)
        if self.archive.is_torchscript:
            raise RuntimeError("the file is a TorchScript archive, which Facula cannot run. Load it with "
                               "PyTorch and "
                               "save its state_dict().")
        pickled = self.archive.read("data.pkl")
        self.limits.pickle_of(len(pickled))
        return self._unpickle(io.BytesIO(pickled), self._archived_storage)

    def _archived_storage(self, saved_id: Any) -> LoadedStorage:
        kind, key, location, count = _storage_id(saved_id, 5)[:4]
        if key not in self.storages:
            array = self.archive.read_array(f"data/{key}", self.mmap)
            if array.nbytes < count * kind.itemsize:
                raise RuntimeError(f"the storage {shown('data/' + key)} has {array.nbytes} bytes, but {shown(count)} "
                                   f"elements of {kind.itemsize} bytes are expected")
            if self.archive.swapped:
                array = byteswapped(array, kind)
            self.storages[key] = self.restore(LoadedStorage(array, kind), location)
        return self.storages[key]

    # -- the format before torch 1.6: the storages' bytes come last, behind the pickles that refer to them

    def _load_legacy(self) -> Any:
        try:
            magic, version = self._plain(), self._plain()
        except Exception:
            raise RuntimeError("the file is neither a zip archive nor torch's older format: it was not "
                               "written by "
                               "torch.save, or it is damaged") from None
        if magic != MAGIC_NUMBER:
            raise RuntimeError("Invalid magic number; corrupt file?")
        if version != PROTOCOL_VERSION:
            raise RuntimeError(f"Invalid protocol version: {shown(version)}")
        system = self._plain()
        little = system.get("little_endian", True) if isinstance(system, dict) else True
        result = self._unpickle(self.file, self._legacy_storage)
        keys = self._plain()
        if type(keys) is not list or not all(type(key) is str and key in self.storages for key in keys):
            raise RuntimeError("the file's list of storages is damaged")
        for key in keys:
            self._fill(self.storages[key], little)
        return result

    def _plain(self) -> Any:
        """The next pickle, which has numbers, strings and containers only."""
        return RestrictedUnpickler(self.file, names.find_safe, lambda _: False, names.set_state,
                                   lambda _: None, self.limits).load()

    def _legacy_storage(self, saved_id: Any) -> Any:
        if isinstance(saved_id, tuple) and saved_id and saved_id[0] == "module" and not self.weights_only:
            return saved_id[1]
        kind, key, location, count, view = _storage_id(saved_id, 6)[:5]
        if view is not None:
            raise RuntimeError("the file was written by a PyTorch before 0.2, whose views of storages are "
                               "not read; "
                               "load and save it with a later PyTorch")
        if key not in self.storages:
            here = self.file.tell()
            left = self.file.seek(0, io.SEEK_END) - here
            self.file.seek(here)
            needed = count * kind.itemsize
            if needed > left:
                raise RuntimeError(f"the file ends within a storage of {shown(needed)} bytes; it is damaged")
            self.limits.take("stored", needed, "the storages of the file together")
            storage = LoadedStorage(np.zeros(needed, np.uint8), kind)
            storage.filled = False
            self.storages[key] = self.restore(storage, location)
        return self.storages[key]

    def _fill(self, storage: LoadedStorage, little: bool) -> None:
        header = self.file.read(8)
        count = struct.unpack("<q" if little else ">q", header)[0] if len(header) == 8 else -1
        data = self.file.read(count * storage.kind.itemsize) if count >= 0 else b""
        if count != storage.size() or len(data) != storage.nbytes():
            raise RuntimeError(f"the file ends within a storage of {storage.nbytes()} bytes; it is damaged")
        array = np.frombuffer(data, np.uint8)
        storage.filled = True
        storage.array[:] = array if little else byteswapped(array, storage.kind)


def _storage_id(saved_id: Any, length: int) -> tuple[Any, ...]:
    """The parts of a storage's persistent id behind the word 'storage'. UnpicklingError for anything else."""
    if type(saved_id) is not tuple or len(saved_id) != length or _text(saved_id[0]) != "storage":
        raise pickle.UnpicklingError(f"Only persistent_load of storage is allowed, but got {shown(saved_id)}")
    kind, key, location, count = saved_id[1:5]
    if not isinstance(kind, StorageType) or type(count) is not int or count < 0:
        raise pickle.UnpicklingError(f"Only persistent_load of storage is allowed, but got {shown(saved_id)}")
    return kind, _text(key), _text(location), count, *saved_id[5:]


def _text(value: Any) -> str:
    if type(value) not in (str, bytes, int) or type(value) is int and abs(value) >= 1 << 63:
        raise pickle.UnpicklingError(f"the pickle has {shown(value)} in a storage's id")
    return value.decode("ascii") if type(value) is bytes else str(value)


class _FullUnpickler(pickle.Unpickler):
    """The standard library's unpickler, for trusted files: torch's names mean our objects."""

    def __init__(self, file: IO[bytes], persistent_load: Callable[[Any], Any], encoding: str) -> None:
        super().__init__(file, encoding=encoding)
        self._load_storage = persistent_load

    def persistent_load(self, saved_id: Any) -> Any:
        """The storage of a persistent id."""
        return self._load_storage(saved_id)

    def find_class(self, module: str, name: str) -> Any:
        """The object of that name: ours for torch's, imported otherwise."""
        found = names.find_any(module, name)
        return super().find_class(module, name) if found is None else found


def get_unsafe_globals_in_checkpoint(f: Any) -> list[str]:
    """The names in a file that `load(f, weights_only=True)` would refuse.

    Example:
        >>> import io, facula
        >>> from facula.serialization import get_unsafe_globals_in_checkpoint
        >>> file = io.BytesIO()
        >>> facula.save([facula.zeros(2), slice(1)], file)
        >>> get_unsafe_globals_in_checkpoint(io.BytesIO(file.getvalue()))
        ['builtins.slice']
    """
    from facula.serialization import allowlist
    with open(f, "rb") if isinstance(f, (str, os.PathLike)) else _Borrowed(f) as file:
        if file.read(4) != b"PK\x03\x04":
            raise ValueError("Expected input to be a checkpoint returned by torch.save")
        limits = Limits(file.seek(0, io.SEEK_END))
        file.seek(0)
        try:
            pickled = ArchiveReader(file, limits).read("data.pkl")
            named = _globals_of(pickled)
        except OSError as error:
            if error.errno != errno.EINVAL:  # as in `load`
                raise
            raise DamagedFile(f"the file is damaged: {error}") from error
        except (RuntimeError, ValueError, OverflowError) as error:
            raise DamagedFile(f"the file is damaged: {str(error)[:2000]}") from error
    refused = set()
    for module, name in named:
        try:
            names.find_safe(module, name)
        except pickle.UnpicklingError:
            refused.add(allowlist.full_name(module, name))
    return sorted(refused)


def _globals_of(pickled: bytes) -> list[tuple[str, str]]:
    """(module, name) of all globals that a pickle names."""
    import pickletools
    named, strings = [], ["", ""]
    for code, argument, _ in pickletools.genops(pickled):
        if isinstance(argument, str):
            strings = [strings[1], argument]
        if code.name == "GLOBAL":
            module, _, name = str(argument).partition(" ")
            named.append((module, name))
        elif code.name == "STACK_GLOBAL":
            named.append((strings[0], strings[1]))
    return named
