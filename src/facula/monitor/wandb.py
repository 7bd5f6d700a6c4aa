"""`import wandb` as Facula's monitor, for programs that are written for it: runs go into a local folder.

`install()` before the import, or `facula run --monitor DIR script.py`. What wandb has and the monitor has not is an
AttributeError that says so; arguments that are about accounts and servers are taken and mean nothing.

Example:
    >>> import sys, tempfile
    >>> from facula.monitor import wandb as shim
    >>> module = shim.install(tempfile.mkdtemp())
    >>> import wandb
    >>> with wandb.init(project="digits", entity="nobody", config={"lr": 0.1}) as run:
    ...     wandb.log({"loss": 0.5})
    ...     wandb.config.lr
    0.1
    >>> shim.uninstall()
"""

from __future__ import annotations

import enum
import secrets
import sys
from types import ModuleType
from typing import Any

from facula import monitor
from facula.errors import warn

# About accounts, servers and notebooks: taken, and of no meaning here.
_OF_NO_MEANING = frozenset((
    "entity", "settings", "save_code", "anonymous", "force", "allow_val_change", "monitor_gym", "magic",
    "config_exclude_keys", "config_include_keys"))


class AlertLevel(enum.Enum):
    """How much an alert matters."""

    INFO = "INFO"
    WARN = "WARN"
    ERROR = "ERROR"


class Settings:
    """Taken, and of no meaning here."""

    def __init__(self, **options: Any) -> None:
        self.__dict__.update(options)


class _Module(ModuleType):
    """The module `wandb`."""

    def __init__(self, folder: Any) -> None:
        super().__init__("wandb", __doc__)
        self._folder = folder
        self.__path__: list[str] = []
        self.__version__ = "0.0.0+facula"
        for name in ("Audio", "Histogram", "Image", "Table", "log", "finish", "alert", "define_metric", "Run", "watch",
                     "unwatch"):
            setattr(self, name, getattr(monitor, name))
        self.AlertLevel, self.Settings = AlertLevel, Settings
        self.util = ModuleType("wandb.util")
        self.util.generate_id = lambda length=8: secrets.token_hex(length)[:length]  # type: ignore[attr-defined]
        self.errors = ModuleType("wandb.errors")
        self.errors.UsageError = RuntimeError  # type: ignore[attr-defined]
        self.errors.Error = Exception  # type: ignore[attr-defined]

    def init(self, project: str | None = None, **options: Any) -> monitor.Run:
        """`facula.monitor.init`, given what `wandb.init` is."""
        if options.get("sync_tensorboard"):
            warn("wandb.init: sync_tensorboard is not in Facula: `facula monitor --read EVENTS` takes event files in")
        options.pop("sync_tensorboard", None)
        kept = {name: value for name, value in options.items() if name not in _OF_NO_MEANING}
        kept["dir"] = self._folder if self._folder is not None else kept.get("dir")
        if kept.get("reinit") not in ("create_new",):
            kept.pop("reinit", None)
        return monitor.init(project, **kept)

    def login(self, *args: Any, **options: Any) -> bool:
        """There is no account; True."""
        return True

    def __getattr__(self, name: str) -> Any:
        if name == "run":
            return monitor.run
        if name in ("config", "summary"):
            return getattr(monitor, name)
        if name.startswith("__"):
            raise AttributeError(name)
        raise AttributeError(f"wandb.{name} is not in Facula's monitor, which stands in for wandb here")


_MODULES = ("wandb", "wandb.util", "wandb.errors")
_before: dict[str, ModuleType | None] = {}


def install(folder: Any = None) -> ModuleType:
    """From now on `import wandb` gives the monitor, its runs in `folder` (by default where `monitor.init` has them)."""
    if not _before:
        _before.update({name: sys.modules.get(name) for name in _MODULES})
    module = _Module(folder)
    sys.modules.update({"wandb": module, "wandb.util": module.util, "wandb.errors": module.errors})
    return module


def uninstall() -> None:
    """Put back what was there."""
    for name, module in _before.items():
        if module is None:
            sys.modules.pop(name, None)
        else:
            sys.modules[name] = module
    _before.clear()
