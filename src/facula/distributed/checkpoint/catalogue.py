"""The file `.metadata`: PyTorch's pickle of a `Metadata`, written, and read without running anything that it says."""

from __future__ import annotations

import io
import pickle
import re
from dataclasses import fields
from pathlib import PurePosixPath
from typing import Any

from facula.distributed.checkpoint.metadata import (
    _MEM_FORMAT_ENCODING,
    BytesStorageMetadata,
    ChunkStorageMetadata,
    Metadata,
    MetadataIndex,
    StorageMeta,
    TensorProperties,
    TensorStorageMetadata,
    _StorageInfo,
)
from facula.dtypes import dtype
from facula.serialization import allowlist, names
from facula.serialization.limits import DamagedFile, Limits, shown
from facula.serialization.pickler import TorchPickler
from facula.serialization.unpickler import RestrictedUnpickler
from facula.size import Size

_PACKAGE = "torch.distributed.checkpoint"
_PLAIN = (BytesStorageMetadata, ChunkStorageMetadata, Metadata, MetadataIndex, StorageMeta, TensorStorageMetadata,
          _StorageInfo)
_FIELDS = {kind: frozenset(f.name for f in fields(kind)) for kind in _PLAIN}
_PATHS = frozenset(f"pathlib{inner}.{kind}" for inner in ("", "._local")
                   for kind in ("PosixPath", "WindowsPath", "PurePosixPath", "PureWindowsPath"))
_FILE = re.compile(r"[A-Za-z0-9_.\-]{1,255}")  # in the checkpoint's own folder: a name, and no way to another one


def _path(*parts: Any) -> str:
    """A path that PyTorch has written down, as text."""
    if not all(type(part) is str for part in parts):
        raise pickle.UnpicklingError("a path is allowed of strings only")
    return str(PurePosixPath(*parts))


_NAMED: dict[str, Any] = {
    **{f"{_PACKAGE}.metadata.{kind.__name__}": kind for kind in (*_PLAIN, TensorProperties, _MEM_FORMAT_ENCODING)},
    f"{_PACKAGE}.filesystem._StorageInfo": _StorageInfo, **dict.fromkeys(_PATHS, _path)}
_CALLED = frozenset(map(id, _NAMED.values()))


def _find(module: str, name: str) -> Any:
    found = _NAMED.get(allowlist.full_name(module, name))
    return names.find_safe(module, name) if found is None else found


def _may_call(item: Any) -> bool:
    return id(item) in _CALLED or names.may_call(item)


def _set_state(target: Any, state: Any) -> None:
    kind = type(target)
    if kind is TensorProperties and type(state) is tuple and len(state) == 5:
        target.__setstate__(state)
    elif kind in _FIELDS and type(state) is dict and _FIELDS[kind].issuperset(state):
        target.__dict__.update(state)
    else:
        raise pickle.UnpicklingError(f"the state of a {kind.__name__} cannot be {shown(state)}")


def written(metadata: Metadata) -> bytes:
    """The file's content."""
    def refuse(_: Any) -> Any:
        raise RuntimeError("metadata of a checkpoint has no tensors")
    buffer = io.BytesIO()
    TorchPickler(buffer, 4, refuse).dump(metadata)
    return buffer.getvalue()


def read(content: bytes) -> Metadata:
    """The Metadata of a file's content. DamagedFile (an UnpicklingError) where it is damaged or asks for code."""
    def refuse(_: Any) -> Any:
        raise pickle.UnpicklingError("metadata of a checkpoint has no storages")
    try:
        found = RestrictedUnpickler(io.BytesIO(content), _find, _may_call, _set_state, refuse,
                                    Limits(len(content))).load()
        _check(found)
    except (MemoryError, DamagedFile):
        raise
    except Exception as error:  # what flipped bits make functions raise
        raise DamagedFile(f"the checkpoint's .metadata is damaged or refused: {str(error)[:2000]}") from error
    assert isinstance(found, Metadata)
    return found


def _expect(good: bool, what: str) -> None:
    if not good:
        raise pickle.UnpicklingError(what)


def _is_size(value: Any) -> bool:
    return type(value) is Size and all(0 <= n < 1 << 62 for n in value)


def _check(found: Any) -> None:
    """Whatever is used later is what it should be."""
    _expect(type(found) is Metadata and type(found.state_dict_metadata) is dict, "it is no Metadata")
    _expect(type(found.storage_data) is dict, "it does not say where the bytes lie")
    for name, of in found.state_dict_metadata.items():
        _expect(type(name) is str, "a name is no string")
        if type(of) is BytesStorageMetadata:
            continue
        _expect(type(of) is TensorStorageMetadata and type(of.properties) is TensorProperties
                and type(of.properties.dtype) is dtype and _is_size(of.size) and type(of.chunks) is list,
                f"{shown(name)} is neither a tensor nor bytes")
        for chunk in of.chunks:
            _expect(type(chunk) is ChunkStorageMetadata and _is_size(chunk.offsets) and _is_size(chunk.sizes)
                    and len(chunk.offsets) == len(chunk.sizes) == len(of.size)
                    and all(a + n <= whole for a, n, whole in zip(chunk.offsets, chunk.sizes, of.size, strict=True)),
                    f"a piece of {shown(name)} is not inside of it")
    for index, info in found.storage_data.items():
        _expect(type(index) is MetadataIndex and type(index.fqn) is str and type(info) is _StorageInfo
                and all(type(n) is int and 0 <= n < 1 << 62 for n in (info.offset, info.length)),
                "it does not say where the bytes lie")
        path = info.relative_path
        _expect(type(path) is str and bool(_FILE.fullmatch(path)) and path.strip(".") != "",
                f"{shown(path)} is no file of the checkpoint's folder")
    data = found.planner_data
    _expect(data is None or type(data) is dict and all(
        type(path) is tuple and all(type(step) in (str, int) for step in path) for path in data.values()),
        "it does not say where names stand")
