"""`import torch` means Facula.

After `install()`, `torch` and every `torch.x.y` are the module objects `facula` and `facula.x.y` themselves,
not copies: `sys.modules["torch"] is facula`, classes are the same whichever way they are imported, and state
(the default dtype, the random generator) is one. Libraries that ask Python's import system about torch, with
`importlib.util.find_spec("torch")` or `importlib.metadata.version("torch")`, are answered for Facula.
"""

from __future__ import annotations

import importlib
import importlib.abc
import importlib.machinery
import importlib.metadata
import importlib.util
import re
import sys
from collections.abc import Iterator, Sequence
from types import ModuleType
from typing import Any

import facula
from facula.version import __version__

STOOD_IN_FOR, OURS = "torch", "facula"
# Rooms of this house that PyTorch has no counterpart of: `import torch.engine` must fail as it does there.
PRIVATE = {"__main__", "absent", "cli", "compat", "config", "devices", "dtypes", "engine", "errors", "layouts",
           "inquiries", "constructors", "build_facts", "removed", "override_tables", "exchange",
           "numeric_limits", "ops", "printing", "rng", "size",
           "symbolic_numbers", "tensor", "tensor_autograd", "tensor_methods", "tensor_state", "tensor_writing"}


def counterpart(name: str) -> str:
    """facula.x.y for torch.x.y."""
    return OURS + name[len(STOOD_IN_FOR):]


class SameModule(importlib.abc.Loader):
    """Loads torch.x.y by importing facula.x.y and handing out that very module."""

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType:
        module = importlib.import_module(counterpart(spec.name))
        # The import system is about to overwrite the module's __spec__: exec_module puts it back.
        spec.loader_state = module.__spec__
        return module

    def exec_module(self, module: ModuleType) -> None:
        imposed = module.__spec__
        if imposed is not None and isinstance(imposed.loader, SameModule):
            module.__spec__ = imposed.loader_state


class FaculaAsTorch(importlib.abc.MetaPathFinder):
    """Finds torch and its submodules.

    It has to be first on `sys.meta_path`: Python's own finder would look for torch.nn in facula's folder (the
    parent's `__path__`) and load a second copy of it.
    """

    def find_spec(self, fullname: str, path: Sequence[str] | None = None,
                  target: ModuleType | None = None) -> importlib.machinery.ModuleSpec | None:
        package, _, rest = fullname.partition(".")
        if package != STOOD_IN_FOR:
            return None
        private = rest.split(".")[0] in PRIVATE
        ours = None if private else importlib.util.find_spec(counterpart(fullname))
        if ours is None:
            if _only_asking():
                return None
            raise ModuleNotFoundError(
                f"No module named {fullname!r}: `torch` is Facula {__version__} here (facula run, or "
                f"facula.compat.install()), and it has no module {counterpart(fullname)!r}", name=fullname)
        is_package = ours.submodule_search_locations is not None
        return importlib.machinery.ModuleSpec(
            fullname, SameModule(), origin=ours.origin, is_package=is_package)

    def find_distributions(self, context: Any = None) -> Iterator[importlib.metadata.Distribution]:
        wanted = getattr(context, "name", None)
        if wanted is None or re.sub(r"[-_.]+", "-", wanted).lower() == STOOD_IN_FOR:
            yield TorchDistribution()


class TorchDistribution(importlib.metadata.Distribution):
    """What `importlib.metadata` reports as the installed package "torch"."""

    def read_text(self, filename: str) -> str | None:
        if filename in ("METADATA", "PKG-INFO"):
            return (f"Metadata-Version: 2.1\nName: {STOOD_IN_FOR}\nVersion: {__version__}\n"
                    "Summary: Facula, standing in for PyTorch\n")
        return {"top_level.txt": STOOD_IN_FOR + "\n"}.get(filename)

    def locate_file(self, path: Any) -> Any:
        return importlib.metadata.PackagePath(path)


def _only_asking() -> bool:
    """Is the finder called by `importlib.util.find_spec`? It is to return None where an import is to fail.

    Both go through `importlib._bootstrap._find_spec`, and None would lose the message that names Facula.
    """
    frame = sys._getframe(2)
    while frame is not None and frame.f_globals.get("__name__") == "importlib._bootstrap":
        frame = frame.f_back  # type: ignore[assignment]
    return frame is not None and frame.f_globals.get("__name__") == "importlib.util"


def install(compat: str | None = None) -> None:
    """Make `import torch` mean Facula from here on, in this process.

    Args:
        compat: an old PyTorch release whose spellings are accepted too: "0.3", or None for today's only.

    Raises:
        RuntimeError: real PyTorch has been imported already; two would not know of each other's tensors.
        ValueError: an unknown `compat`.
    """
    if compat is not None:
        from facula.compat import legacy
        legacy.check(compat)
    loaded = sys.modules.get(STOOD_IN_FOR)
    if loaded is not None and loaded is not facula:
        raise RuntimeError(
            f"facula.compat.install() comes too late: PyTorch ({getattr(loaded, '__file__', 'no file')}) is "
            "already imported in this process. Install first, or start the program with `facula run`.")
    if compat is not None:
        legacy.accept(compat)
    if not any(isinstance(finder, FaculaAsTorch) for finder in sys.meta_path):
        sys.meta_path.insert(0, FaculaAsTorch())
    # Programs also look into sys.modules, so what is loaded gets its second name now and the rest on import.
    for name, module in list(sys.modules.items()):
        package, _, rest = name.partition(".")
        if package == OURS and module is not None and rest.split(".")[0] not in PRIVATE:
            sys.modules[STOOD_IN_FOR + name[len(OURS):]] = module


def uninstall() -> None:
    """Undo `install()`: for tests and interactive use. Modules that hold `torch` keep what they have."""
    sys.meta_path[:] = [finder for finder in sys.meta_path if not isinstance(finder, FaculaAsTorch)]
    for name in [n for n in sys.modules if n.partition(".")[0] == STOOD_IN_FOR]:
        if sys.modules[name] is sys.modules.get(counterpart(name)):
            del sys.modules[name]
    legacy = sys.modules.get("facula.compat.legacy")
    if legacy is not None:
        legacy.reject()
