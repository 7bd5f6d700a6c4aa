"""`torch.jit.save` and `load`: traced programs in a file, as data. Nothing in a file is run while it is read.

The file is a zip archive, uncompressed: `jit.json` says what it is, `methods/0, 1...` are programs as
`torch.export.save` writes them, `extra/NAME` the extra files. TorchScript's own files hold programs in another
language: they are refused.
"""

from __future__ import annotations

import io
import json
import os
import zipfile
from typing import IO, Any

from facula import absent, export
from facula.jit._script import files
from facula.jit._trace import LoadedModule, _Captured
from facula.nn import Parameter

_FORMAT, _VERSION = "facula.jit", 1
_WRONG = (ValueError, KeyError, TypeError, AttributeError, IndexError, RecursionError, EOFError, zipfile.BadZipFile,
          NotImplementedError, UnicodeError, OverflowError, MemoryError)


def _write(module: _Captured, f: str | os.PathLike[str] | IO[bytes], extra: Any) -> None:
    """Write a traced module."""
    programs = module.programs()
    told = {"format": _FORMAT, "version": _VERSION,
            "name": module.original_name, "training": module.training, "methods": list(programs)}
    with zipfile.ZipFile(f, "w", zipfile.ZIP_STORED, allowZip64=True) as archive:
        archive.writestr("jit.json", json.dumps(told))
        for k, program in enumerate(programs.values()):
            buffer = io.BytesIO()
            export.save(program, buffer)
            archive.writestr(f"methods/{k}", buffer.getvalue())
        for name, value in (extra or {}).items():
            archive.writestr(f"extra/{name}", value if isinstance(value, (bytes, bytearray)) else str(value))


def save(m: Any, f: str | os.PathLike[str] | IO[bytes], _extra_files: dict[str, Any] | None = None) -> None:
    """Write what was traced to a file, as data: its graphs and its tensors.

    Args:
        m: a traced or loaded module, or a traced function.
        f: a path, or a file that is open for writing.
        _extra_files: texts or bytes by name that are kept with it.

    Raises:
        AttributeError: neither scripted nor traced.
        NotImplementedError: it was scripted: trace it.

    Example:
        >>> import io
        >>> import facula
        >>> net, file = facula.nn.Linear(3, 2), io.BytesIO()
        >>> facula.jit.save(facula.jit.trace(net, facula.ones(1, 3)), file)
        >>> same = facula.jit.load(file)
        >>> facula.equal(same(facula.ones(1, 3)), net(facula.ones(1, 3)))
        True
    """
    if not hasattr(m, "save_to_buffer"):
        raise AttributeError(f"{type(m).__name__!r} object has no attribute 'save_to_buffer': torch.jit.save takes "
                             "what torch.jit.trace has given")
    m.save(f, _extra_files=_extra_files)


def load(f: str | os.PathLike[str] | IO[bytes], map_location: Any = None, _extra_files: dict[str, Any] | None = None,
         _restore_shapes: bool = False) -> Any:
    """Read what `save` has written: a RecursiveScriptModule, of a function too.

    Args:
        f: a path, or a file that is open for reading and can seek.
        map_location: the device where its tensors shall be.
        _extra_files: filled with what was saved under its keys, as bytes.

    Raises:
        ValueError: there is no such file, or it is a folder.
        RuntimeError: it is no such file's contents, or damaged.
        NotImplementedError: it was written by PyTorch.

    Example: see `save`.
    """
    if isinstance(f, (str, os.PathLike)):
        if not os.path.exists(f):
            raise ValueError(f"The provided filename {os.fspath(f)} does not exist")
        if os.path.isdir(f):
            raise ValueError(f"The provided filename {os.fspath(f)} is a directory")
        with open(f, "rb") as file:
            return _load(file, map_location, _extra_files)
    if hasattr(f, "seek"):
        f.seek(0)
    return _load(f, map_location, _extra_files)


def _load(file: Any, map_location: Any, extra: dict[str, Any] | None) -> Any:
    try:
        with zipfile.ZipFile(file) as archive:
            names = set(archive.namelist())
            if "jit.json" not in names:
                if any(name.endswith("/constants.pkl") for name in names):
                    raise absent.refusal("reading a file of PyTorch's TorchScript",
                                         "load it there, and save the state_dict (torch.save)")
                raise RuntimeError("torch.jit.load: the file was not written by torch.jit.save")
            told = json.loads(archive.read("jit.json"))
            if told["format"] != _FORMAT or told["version"] != _VERSION:
                raise RuntimeError(f"torch.jit.load: version {str(told['version'])[:20]} of the format, {_VERSION} is "
                                   "read")
            programs, first = {}, None
            for k, method in enumerate(told["methods"]):
                if not (isinstance(method, str) and method.isidentifier()) or method.startswith("__"):
                    raise ValueError(f"no name of a method: {str(method)[:80]!r}")
                written = io.BytesIO(archive.read(f"methods/{k}"))
                programs[method] = program = _placed(export.load(written), map_location)
                if first is not None:  # what has one name in several methods is one tensor
                    program._state_dict = {name: first.get(name, t) for name, t in program.state_dict.items()}
                first = {**(first or {}), **program.state_dict}
            if not isinstance(told["name"], str):
                raise ValueError("a module without a name")
            for name in extra or ():
                if f"extra/{name}" in names:
                    extra[name] = archive.read(f"extra/{name}")  # type: ignore[index]
            return LoadedModule(told["name"], programs, bool(told["training"]))
    except absent.NotInFacula:
        raise
    except _WRONG as error:
        raise RuntimeError(f"torch.jit.load: {type(error).__name__}: {str(error)[:300]}") from None


def _placed(program: Any, device: Any) -> Any:
    if device is not None:
        def moved(t: Any) -> Any:
            there = t.detach().to(device)
            return Parameter(there, t.requires_grad) if isinstance(t, Parameter) else there
        program._state_dict = {name: moved(t) for name, t in program.state_dict.items()}
        program._constants = {name: moved(t) for name, t in program.constants.items()}
    return program


files.write = _write  # type: ignore[assignment]
