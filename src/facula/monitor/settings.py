"""`run.config` and `run.summary`: mappings whose every change is written."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Mapping, MutableMapping
from typing import TYPE_CHECKING, Any

from facula.monitor.values import plain

if TYPE_CHECKING:
    from facula.monitor.runs import Run


class ConfigError(ValueError):
    """A key of the configuration would have been given another value."""


class Config(MutableMapping[str, Any]):
    """What a run was started with. Keys are items and attributes.

    Example:
        >>> from facula.monitor.settings import Config
        >>> config = Config(lambda kind, items: None, {"lr": 0.1})
        >>> config.lr, config["lr"]
        (0.1, 0.1)
        >>> config.update({"lr": 0.2})
        Traceback (most recent call last):
        facula.monitor.settings.ConfigError: config: 'lr' is 0.1 and would become 0.2; say allow_val_change=True
    """

    def __init__(self, tell: Callable[[str, Any], None], items: Any = None) -> None:
        object.__setattr__(self, "_tell", tell)
        object.__setattr__(self, "_items", {})
        if items is not None:
            self.update(items)

    def update(self, items: Any = None, allow_val_change: bool | None = None,  # type: ignore[override]
               **more: Any) -> None:
        """Add `items`, a mapping or an `argparse.Namespace`.

        Raises:
            ConfigError: if a key has another value already, unless `allow_val_change`.
        """
        new = {**_mapping(items), **more}
        for key, value in new.items():
            if not allow_val_change and key in self._items and self._items[key] != plain(value):
                raise ConfigError(f"config: {key!r} is {self._items[key]!r} and would become {plain(value)!r}; "
                                  "say allow_val_change=True")
        kept = {key: plain(value) for key, value in new.items()}
        self._items.update(kept)
        if kept:
            self._tell("config", kept)

    def setdefaults(self, items: Any) -> dict[str, Any]:
        """Add those of `items` whose keys are not there."""
        self.update({key: value for key, value in _mapping(items).items() if key not in self._items})
        return dict(self._items)

    def as_dict(self) -> dict[str, Any]:
        """A copy."""
        return dict(self._items)

    def __getitem__(self, key: str) -> Any:
        return self._items[key]

    def __setitem__(self, key: str, value: Any) -> None:
        self.update({key: value}, allow_val_change=True)

    def __delitem__(self, key: str) -> None:
        del self._items[key]
        self._tell("forget config", key)

    def __iter__(self) -> Iterator[str]:
        return iter(self._items)

    def __len__(self) -> int:
        return len(self._items)

    def __getattr__(self, name: str) -> Any:
        try:
            return self._items[name]
        except KeyError:
            raise AttributeError(f"the configuration has no {name!r}") from None

    def __setattr__(self, name: str, value: Any) -> None:
        self[name] = value

    def __repr__(self) -> str:
        return repr(self._items)


def _mapping(items: Any) -> dict[str, Any]:
    if items is None:
        return {}
    if isinstance(items, argparse.Namespace):
        items = vars(items)
    if not isinstance(items, Mapping):
        raise TypeError(f"config: expected a mapping or an argparse.Namespace, got {type(items).__name__}")
    return {str(key): value for key, value in items.items()}


class Summary(MutableMapping[str, Any]):
    """The value of each key that stands for the run: the last one logged, or what `define_metric` chose, or what the
    program puts here itself, which stays."""

    def __init__(self, run: Run) -> None:
        object.__setattr__(self, "_run", run)

    def _now(self) -> dict[str, Any]:
        writer = self._run.writer
        if writer.buffer:
            writer.flush()
        return dict(writer.rows.summary)

    def update(self, items: Any = None, **more: Any) -> None:  # type: ignore[override]
        """Put several."""
        self._run._put_summary({**dict(items or {}), **more})

    def __getitem__(self, key: str) -> Any:
        return self._now()[key]

    def __setitem__(self, key: str, value: Any) -> None:
        self._run._put_summary({key: value})

    def __delitem__(self, key: str) -> None:
        self._run._forget_summary(key)

    def __iter__(self) -> Iterator[str]:
        return iter(self._now())

    def __len__(self) -> int:
        return len(self._now())

    def __getattr__(self, name: str) -> Any:
        try:
            return self[name]
        except KeyError:
            raise AttributeError(f"the summary has no {name!r}") from None

    def __setattr__(self, name: str, value: Any) -> None:
        self[name] = value

    def __repr__(self) -> str:
        return repr(self._now())
