"""Models out of folders with a `hubconf.py` (`torch.hub`), and files from the network.

`load`, `list` and `help` take local folders (`source="local"`). Repositories on GitHub are not fetched yet: clone
them. `load_state_dict_from_url` and `download_url_to_file` download, `file:` URLs too.

Example:
    >>> import os, tempfile, facula
    >>> folder = tempfile.mkdtemp()
    >>> with open(os.path.join(folder, "hubconf.py"), "w") as file:
    ...     _ = file.write('def twice(x):\\n    "Two times x."\\n    return 2 * x')
    >>> facula.hub.list(folder, source="local")
    ['twice']
    >>> facula.hub.help(folder, "twice", source="local")
    'Two times x.'
    >>> facula.hub.load(folder, "twice", 21, source="local")
    42
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import os
import re
import sys
import tempfile
from typing import Any
from urllib.parse import urlparse
from urllib.request import Request, urlopen

from facula import absent

__all__ = ["download_url_to_file", "get_dir", "help", "list", "load", "load_state_dict_from_url", "set_dir"]

_dir: str | None = None
_HASH = re.compile(r"-([a-f0-9]*)\.")  # resnet18-f37072fd.pth: the first letters of the file's SHA-256


def get_dir() -> str:
    """The folder for downloads: what `set_dir` said, else $TORCH_HOME/hub, else $XDG_CACHE_HOME/torch/hub."""
    return os.path.join(_get_torch_home(), "hub") if _dir is None else _dir


def _get_torch_home() -> str:
    """$TORCH_HOME, else $XDG_CACHE_HOME/torch: by this name torchvision asks for it."""
    cache = os.environ.get("XDG_CACHE_HOME", "~/.cache")
    return os.path.expanduser(os.environ.get("TORCH_HOME", os.path.join(cache, "torch")))


def set_dir(d: str | os.PathLike[str]) -> None:
    """Set the folder for downloads."""
    global _dir
    _dir = os.path.expanduser(d)


def _hubconf(repo_or_dir: Any, source: str, what: str) -> Any:
    """The module `hubconf` of a local folder."""
    if source not in ("github", "local"):
        raise ValueError(f'Unknown source: "{source}". Allowed values: "github" | "local".')
    if source == "github":
        raise absent.refusal(f"torch.hub.{what}(source='github')",
                             f"clone {repo_or_dir} and give the folder with source='local'")
    folder = os.path.expanduser(os.fspath(repo_or_dir))
    path = os.path.join(folder, "hubconf.py")
    if not os.path.exists(path):
        raise FileNotFoundError(f"torch.hub.{what}: there is no hubconf.py in {folder!r}")
    sys.path.insert(0, folder)  # hubconf imports its neighbours
    try:
        spec = importlib.util.spec_from_file_location("hubconf", path)
        assert spec is not None and spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    finally:
        sys.path.remove(folder)
    absent_packages = [name for name in getattr(module, "dependencies", ()) if importlib.util.find_spec(name) is None]
    if absent_packages:
        raise RuntimeError(f"Missing dependencies: {', '.join(absent_packages)}")
    return module


def _entry(module: Any, name: str) -> Any:
    if not isinstance(name, str):
        raise ValueError("Invalid input: model should be a string of function name")
    found = getattr(module, name, None)
    if not callable(found):
        raise RuntimeError(f"Cannot find callable {name} in hubconf")
    return found


def list(github: Any, force_reload: bool = False, skip_validation: bool = False, trust_repo: Any = None,
         verbose: bool = True, source: str = "local") -> Any:
    """The names of the models in a folder: the functions of its `hubconf.py` that do not begin with `_`.

    Raises:
        NotInFacula: `source="github"`.
        FileNotFoundError: no `hubconf.py` there.
    """
    module = _hubconf(github, source, "list")
    return [name for name in dir(module) if callable(getattr(module, name)) and not name.startswith("_")]


def help(github: Any, model: str, force_reload: bool = False, skip_validation: bool = False, trust_repo: Any = None,
         source: str = "local") -> Any:
    """The docstring of a model of a folder."""
    return _entry(_hubconf(github, source, "help"), model).__doc__


def load(repo_or_dir: Any, model: str, *args: Any, source: str = "github", trust_repo: Any = None,
         force_reload: bool = False, verbose: bool = True, skip_validation: bool = False, **kwargs: Any) -> Any:
    """`model(*args, **kwargs)` of the folder's `hubconf.py`, whose code is executed.

    Args:
        repo_or_dir: the folder.
        source: "local". "github", which is the default as in PyTorch, is not in Facula yet.

    Raises:
        NotInFacula: `source="github"`.
        RuntimeError: no such model, or a package that `hubconf.dependencies` names is not installed.
    """
    return _entry(_hubconf(repo_or_dir, source, "load"), model)(*args, **kwargs)


def download_url_to_file(url: str, dst: str, hash_prefix: str | None = None, progress: bool = True) -> None:
    """Download `url` to the file `dst`, which appears when it is complete.

    Args:
        hash_prefix: the first letters of the SHA-256 that the file must have.
        progress: tell on stderr how far it is.

    Raises:
        RuntimeError: another SHA-256.

    Example:
        >>> import os, tempfile, pathlib, facula
        >>> folder = pathlib.Path(tempfile.mkdtemp())
        >>> _ = (folder / "a").write_text("bytes")
        >>> facula.hub.download_url_to_file((folder / "a").as_uri(), str(folder / "b"), progress=False)
        >>> (folder / "b").read_text()
        'bytes'
    """
    dst = os.path.expanduser(dst)
    digest, done = hashlib.sha256(), 0
    handle, partial = tempfile.mkstemp(prefix=os.path.basename(dst) + ".", suffix=".partial",
                                       dir=os.path.dirname(os.path.abspath(dst)))
    try:
        with os.fdopen(handle, "wb") as file, urlopen(Request(url, headers={"User-Agent": "facula.hub"})) as answer:
            size = int(answer.headers.get("Content-Length") or 0)
            while block := answer.read(1 << 20):
                file.write(block)
                digest.update(block)
                done += len(block)
                if progress:
                    of = f" of {size:,}" if size else ""
                    print(f"\r{url}: {done:,}{of} bytes", end="", file=sys.stderr)
        if progress:
            print(file=sys.stderr)
        if hash_prefix is not None and not digest.hexdigest().startswith(hash_prefix):
            raise RuntimeError(f'invalid hash value (expected "{hash_prefix}", got "{digest.hexdigest()}")')
        os.replace(partial, dst)
    finally:
        if os.path.exists(partial):
            os.remove(partial)


def load_state_dict_from_url(url: str, model_dir: str | None = None, map_location: Any = None, progress: bool = True,
                             check_hash: bool = False, file_name: str | None = None, weights_only: bool = False) -> Any:
    """`facula.load` of what lies under `url`: downloaded once, into `model_dir`, the hub's `checkpoints` unless told.

    Args:
        check_hash: the file's name has the first letters of its SHA-256 in it (`resnet18-f37072fd.pth`).
        weights_only: as of `facula.load`.
    """
    from facula.serialization import load
    folder = model_dir if model_dir is not None else os.path.join(get_dir(), "checkpoints")
    os.makedirs(folder, exist_ok=True)
    name = file_name or os.path.basename(urlparse(url).path)
    path = os.path.join(folder, name)
    if not os.path.exists(path):
        found = _HASH.search(name) if check_hash else None
        download_url_to_file(url, path, found.group(1) if found else None, progress)
    return load(path, map_location=map_location, weights_only=weights_only)


class _Bar:
    """What stands for tqdm's progress bar where that package is not installed: it prints how far things are."""

    def __init__(self, total: int | None = None, disable: bool = False, unit: Any = None, *args: Any,
                 **kwargs: Any) -> None:
        self.total, self.disable, self.n = total, disable, 0

    def update(self, n: int = 1) -> None:
        """So many more are done."""
        self.n += n
        if not self.disable:
            of = f" of {self.total}" if self.total else ""
            print(f"\r{self.n}{of}", end="", file=sys.stderr)

    def set_description(self, *args: Any, **kwargs: Any) -> None:
        """Nothing: there is no place for it."""

    def close(self) -> None:
        """End the line."""
        if not self.disable:
            print(file=sys.stderr)

    def __enter__(self) -> _Bar:
        return self

    def __exit__(self, *args: Any) -> None:
        self.close()


def __getattr__(name: str) -> Any:
    if name == "tqdm":
        return importlib.import_module("tqdm").tqdm if importlib.util.find_spec("tqdm") else _Bar
    raise absent.missing("hub", name)
