"""The models of a server: their versions, and how these come and go while requests arrive.

A folder of models has for each one NAME/config.json (see `settings`) and a folder for each version, NAME/1, NAME/2...
A version is loaded and warmed up beside the one that serves, and then takes its place; that one still answers what it
was asked. Only what stands in the folder is loaded: no request brings a model along.
"""

from __future__ import annotations

import asyncio
import re
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from facula.undisturbed import reentrant_lock

from . import sources
from .batching import Lane, LaneClosed
from .callables import ModuleHandler
from .faults import BadRequest, NotFound, NotReady
from .generation.decoder import Language
from .generation.lane import GenerationLane
from .generation.model import GenerationModel, language_of
from .handlers import Handler
from .models import Model
from .requests import Request
from .settings import ConfigError, Settings, read_settings
from .statistics import Statistics
from .streaming import Stream
from .worker import Worker

NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")
Log = Callable[..., None]


def _quiet(event: str, **_: Any) -> None:
    pass


class Version:
    """A version that serves, or why it does not."""

    def __init__(self, state: str, reason: str = "", lane: Any = None) -> None:
        self.state = state  # LOADING, READY, UNAVAILABLE
        self.reason = reason
        self.lane = lane  # a Lane, or a GenerationLane


class Repository:
    """Models by name and version."""

    def __init__(self, folder: str | Path | None = None, *, base: Settings | None = None, log: Log = _quiet) -> None:
        self.folder = None if folder is None else Path(folder)
        self.base = base or Settings()
        self.worker = Worker()
        self.log = log
        self.loading = False  # are models still to come that were asked for at the start?
        self.models: dict[str, dict[str, Version]] = {}
        self.statistics: dict[tuple[str, str], Statistics] = {}
        self._changing = reentrant_lock()  # one change at a time; who serves looks without it

    # ---- what is asked for each request ----------------------------------------------------------

    def version(self, name: str, version: str = "") -> tuple[str, Version]:
        """Of that number, or the newest that is ready. Raises NotFound and NotReady."""
        versions = self.models.get(name)
        if not versions:
            raise NotFound(f"there is no model {name!r}")
        if version:
            found = versions.get(version)
            if found is None:
                raise NotFound(f"model {name!r} has no version {version!r}")
            return version, found
        ready = [v for v, one in versions.items() if one.state == "READY"] or list(versions)
        newest = max(ready, key=_number)
        return newest, versions[newest]

    def lane(self, name: str, version: str = "") -> tuple[str, Any]:
        number, found = self.version(name, version)
        if found.lane is None:
            raise NotReady(f"model {name!r} version {number} is not ready: {found.state} {found.reason}".rstrip())
        return number, found.lane

    def submit(self, name: str, version: str, request: Request) -> tuple[str, asyncio.Future[Any]]:
        """(the version, the reply to come)."""
        return self._given(name, version, lambda lane: lane.submit(request))

    def stream(self, name: str, version: str, request: Request) -> tuple[str, Stream]:
        """(the version, the replies to come)."""
        return self._given(name, version, lambda lane: lane.stream(request))

    def _given(self, name: str, version: str, give: Callable[[Any], Any]) -> tuple[str, Any]:
        for _ in range(10):
            number, lane = self.lane(name, version)
            try:
                return number, give(lane)
            except LaneClosed:  # exchanged between the two lines: ask who serves now
                continue
        raise NotReady(f"model {name!r} is being exchanged")

    @property
    def ready(self) -> bool:
        """Is everything that was asked for there and warm?"""
        return not self.loading and not self.unready()

    def unready(self) -> dict[str, str]:
        """What does not serve, and why not."""
        return {f"{name}/{number}": f"{one.state} {one.reason}".rstrip() for name, versions in self.models.items()
                for number, one in versions.items() if one.state != "READY"}

    # ---- changes ---------------------------------------------------------------------------------

    def add(self, name: str, source: str = "", settings: Settings | None = None, *, version: str = "1",
            handler: Any = None, folder: Path | None = None) -> None:
        """Load a source (or take a Handler, a function or a Language) and have it serve under that name, in the place
        of who did. Raises what loading or warming up raises; who served then goes on."""
        if not NAME.fullmatch(name):
            raise BadRequest(f"{name!r} is no name for a model")
        settings = settings or self.base
        start = time.perf_counter()
        with self._changing:
            versions = dict(self.models.get(name, {}))
            before = versions.get(version)
            if before is None or before.lane is None:
                self._put(name, version, Version("LOADING"))
            try:
                model = _loaded(source or settings.source, settings, handler, folder)
                model.warm_up()
            except BaseException as error:
                reason = f"{type(error).__name__}: {error}"
                self.log("load failed", model=name, version=version, error=reason)
                if before is None or before.lane is None:
                    self._put(name, version, Version("UNAVAILABLE", reason))
                raise
            statistics = self.statistics.setdefault((name, version), Statistics())
            kind = GenerationLane if isinstance(model, GenerationModel) else Lane
            self._put(name, version, Version("READY", lane=kind(model, self.worker, statistics)))  # type: ignore[arg-type]
            self.log("loaded", model=name, version=version, seconds=round(time.perf_counter() - start, 3),
                     batching=not model.alone and model.batches, reason=model.alone)
            if before is not None and before.lane is not None:
                before.lane.close()
                self._release(before.lane)

    def load(self, name: str) -> None:
        """(Re)load a model's versions from the folder; versions that have gone from there are unloaded."""
        with self._changing:
            if self.folder is None:
                raise BadRequest("this server has no folder of models to load from")
            home = self.folder / name
            if not NAME.fullmatch(name) or not home.is_dir():
                raise NotFound(f"there is no model {name!r} in the folder of models")
            try:
                settings = read_settings(home, self.base)
            except ConfigError as error:
                raise BadRequest(str(error)) from None
            numbers = sorted([d.name for d in home.iterdir() if d.is_dir() and d.name.isdigit()], key=_number)
            if not numbers:
                raise BadRequest(f"model {name!r} has no folder of a version (1, 2, ...)")
            for number in numbers:
                try:
                    self.add(name, settings.source, settings, version=number, folder=home / number)
                except (ConfigError, NotImplementedError) as error:
                    raise BadRequest(str(error)) from None
            for number in [n for n in self.models[name] if n not in numbers]:
                self.unload(name, number)

    def load_all(self) -> None:
        """Load whatever the folder has. What cannot be loaded is logged, and keeps the server from being ready."""
        assert self.folder is not None
        for home in sorted(self.folder.iterdir()):
            if home.is_dir() and NAME.fullmatch(home.name):
                try:
                    self.load(home.name)
                except Exception as error:
                    if not self.models.get(home.name):
                        self._put(home.name, "1", Version("UNAVAILABLE", str(error)))
                    self.log("load failed", model=home.name, error=f"{type(error).__name__}: {error}")

    def unload(self, name: str, version: str = "") -> None:
        """Have a model (or one version) serve no more. What it was asked it still answers."""
        with self._changing:
            versions = dict(self.models.get(name, {}))
            if not versions or version and version not in versions:
                raise NotFound(f"there is no model {name!r}" + (f" of version {version}" if version else ""))
            gone = [version] if version else list(versions)
            for number in gone:
                found = versions.pop(number)
                if found.lane is not None:
                    found.lane.close()
                    self._release(found.lane)
            self._replace(name, versions)
            self.log("unloaded", model=name, versions=gone)

    def index(self) -> list[dict[str, str]]:
        """What there is, loaded or in the folder."""
        rows = [{"name": name, "version": number, "state": one.state, "reason": one.reason}
                for name, versions in self.models.items() for number, one in versions.items()]
        if self.folder is not None:
            rows += [{"name": d.name, "version": "", "state": "UNAVAILABLE", "reason": "unloaded"}
                     for d in sorted(self.folder.iterdir())
                     if d.is_dir() and NAME.fullmatch(d.name) and d.name not in self.models]
        return rows

    def drain(self, seconds: float) -> bool:
        """Take no more requests, and wait for those that are there; False if some are left."""
        lanes = [one.lane for versions in self.models.values() for one in versions.values() if one.lane is not None]
        for lane in lanes:
            lane.close()
        end = time.monotonic() + seconds
        done = all(lane.wait(max(0.0, end - time.monotonic())) for lane in lanes)
        self.worker.stop()
        return done

    def _put(self, name: str, number: str, version: Version) -> None:
        self._replace(name, {**self.models.get(name, {}), number: version})

    def _replace(self, name: str, versions: dict[str, Version]) -> None:
        # A dict is exchanged, never changed: who looks at the same time sees one or the other.
        models = {**self.models, name: versions}
        if not versions:
            del models[name]
        self.models = models

    def _release(self, lane: Any) -> None:
        def wait() -> None:
            lane.wait()
            lane.model.handler.unload()
        threading.Thread(target=wait, name="facula-unload", daemon=True).start()


def _loaded(source: str, settings: Settings, handler: Any, folder: Path | None) -> Model | GenerationModel:
    if handler is None:
        if not source:
            raise ConfigError("the configuration has no `source`")
        if settings.generation is not None:
            return GenerationModel(language_of(source, settings, folder), settings, folder)
        return Model(sources.load(source, settings, folder), settings)
    if isinstance(handler, Language):
        return GenerationModel(handler, settings, folder)
    if isinstance(handler, Handler):
        handler.load(settings)
        return Model(handler, settings)
    if hasattr(handler, "eval"):
        handler.eval()
    return Model(ModuleHandler(handler, settings), settings)


def _number(version: str) -> int:
    return int(version) if version.isdigit() else -1
