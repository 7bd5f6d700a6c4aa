"""A run: what `init` gives and `log` writes to."""

from __future__ import annotations

import os
import platform
import secrets
import socket
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from facula.errors import warn
from facula.monitor import schema
from facula.monitor.alarms import Alarm, Alarms, say
from facula.monitor.machine import Machine
from facula.monitor.rules import Rule
from facula.monitor.settings import Config, Summary
from facula.monitor.values import plain, put
from facula.monitor.writer import MOST, Writer


class Run:
    """One run of a program, in the file `path`. Made by `init`; a context manager that finishes it.

    Attributes:
        id, name, project, group, job_type, notes, tags: what `init` was given.
        config, summary: mappings; every change is written.
        step: that of the next `log` that names none.
        path: its file.
    """

    disabled = False

    def __init__(self, folder: Path, id: str, about: Mapping[str, Any], config: Any, resumed: bool,
                 system: float | None, alarms: Alarms | None = None) -> None:
        self.id, self.path, self.resumed = id, folder / id / schema.FILE, resumed
        self.step = 0
        self.logged: int | None = None  # the step of the last `log`
        self.observers: list[Any] = []  # what `watch` and `time_line` have begun: each has `stop()`
        machine = Machine() if system is not None else None
        self.writer = Writer(self.path, machine.sample if machine else None, system or 10.0, lambda: self.step,
                             alarms)
        self._put = self.writer.put
        self._ended = False
        self._error_before = getattr(sys, "last_value", None)
        self._about: dict[str, Any] = dict(about)
        self.config = Config(self._tell_config)
        if resumed:
            self._recall()
        self.config.update(config, allow_val_change=resumed)
        self.summary = Summary(self)
        self._put(("about", {**self._about, "id": id, "state": "running", "heartbeat": time.time(), **_surroundings()}))
        if not self.writer.flush():
            warn(f"facula.monitor: {self.path} could not be written yet")

    def _recall(self) -> None:
        from facula.monitor.reading import RunFile
        with RunFile(self.path) as before:
            self._about = {**before.about(), **{k: v for k, v in self._about.items() if v not in (None, [], "")}}
            self.config._items.update(before.config())
            self.step = before.last_step() + 1
            self.writer.rows.summary.update(before.summary())

    # ---- what it is ----

    @property
    def name(self) -> str:
        """How it is shown; may be set."""
        return str(self._about.get("name") or self.id)

    @name.setter
    def name(self, value: str) -> None:
        self._change(name=str(value))

    @property
    def tags(self) -> tuple[str, ...]:
        """Words to find it by; may be set."""
        return tuple(self._about.get("tags") or ())

    @tags.setter
    def tags(self, value: Sequence[str]) -> None:
        self._change(tags=[str(tag) for tag in value])

    @property
    def notes(self) -> str | None:
        """Text about it; may be set."""
        return self._about.get("notes")

    @notes.setter
    def notes(self, value: str) -> None:
        self._change(notes=str(value))

    @property
    def project(self) -> str | None:
        """The project it belongs to."""
        return self._about.get("project")

    @property
    def group(self) -> str | None:
        """The group it belongs to."""
        return self._about.get("group")

    @property
    def job_type(self) -> str | None:
        """What it does in its group."""
        return self._about.get("job_type")

    @property
    def dir(self) -> str:
        """The folder of its file."""
        return str(self.path.parent)

    url = None  # it is on this machine

    def _change(self, **items: Any) -> None:
        self._about.update(items)
        self._put(("about", items))
        self.writer.start()

    def _tell_config(self, kind: str, what: Any) -> None:
        self._put(("forget", "config", what) if kind.startswith("forget") else (kind, what))
        self.writer.start()

    def _put_summary(self, items: dict[str, Any]) -> None:
        self._put(("summary", {str(key): plain(value) for key, value in items.items()}))
        self.writer.start()

    def _forget_summary(self, key: str) -> None:
        self.writer.flush()
        del self.writer.rows.summary[key]
        self._put(("forget", "summary", key))

    # ---- what happens in it ----

    def log(self, data: Mapping[str, Any], step: int | None = None, commit: bool | None = None) -> None:
        """Write values of this step: see `facula.monitor.log`."""
        now = time.time()
        row: dict[str, Any] = {}
        for name, value in data.items():
            if not isinstance(name, str):
                name = str(name)
            kind = type(value)
            if kind is float or kind is int:
                row[name] = value
            else:
                put(row, name, value)
        if self._ended:
            raise RuntimeError(f"log: run {self.name!r} is finished; facula.monitor.init begins another")
        if step is None:
            step = self.step
            if commit is None or commit:
                self.step = step + 1
        else:
            step = int(step)
            self.step = step + 1 if commit else step
        self.logged = step
        if len(self.writer.buffer) < MOST:
            self._put(("log", step, now, row))
        else:
            self.writer.lost += 1
        if self.writer.thread is None:
            self.writer.start()

    def observe(self, step: int, row: Mapping[str, Any]) -> None:
        """Write numbers and media of a step beside what the program logs: its own steps stay as they are."""
        if len(self.writer.buffer) < MOST and not self._ended:
            self._put(("log", step, time.time(), row))
            self.writer.start()

    def define_metric(self, name: str, step_metric: str | None = None, *, step_sync: bool | None = None,
                      hidden: bool | None = None, summary: str | None = None, goal: str | None = None,
                      overwrite: bool | None = None) -> None:
        """How series of a name (or "prefix*") are shown and summed up.

        Args:
            step_metric: the series whose values are the page's x axis for it.
            hidden: not shown among the curves.
            summary: "min", "max", "mean", "first", "last" or "none".
            goal: "minimize" or "maximize": the better of "best" in `summary`.
        """
        words = [word for word in (summary or "").split(",") if word and word != "copy"]
        words = [("max" if goal == "maximize" else "min") if word == "best" else word for word in words]
        for word in words:
            if word not in ("min", "max", "mean", "first", "last", "none"):
                raise ValueError(f"define_metric: summary={summary!r}; expected min, max, mean, first, last, best "
                                 "or none")
        if len(words) > 1:
            raise NotImplementedError(f"define_metric: one summary for a series, not {summary!r}")
        if words:
            self._put(("rule", name, words[0]))
        if step_metric is not None or hidden is not None:
            axes = self._about.setdefault("axes", {})
            axes[name] = {"x": step_metric, "hidden": bool(hidden)}
            self._change(axes=axes)

    def alert(self, title: str, text: str = "", level: Any = "INFO", wait_duration: Any = None) -> None:
        """One line for whoever watches, on the page and on stderr. `level`: "INFO", "WARN" or "ERROR"."""
        word = str(getattr(level, "value", level)).upper()
        if word not in ("INFO", "WARN", "ERROR"):
            raise ValueError(f"alert: level={level!r}; expected INFO, WARN or ERROR")
        say(word, str(title), str(text))
        self._put(("alert", time.time(), self.step, word, str(title), str(text)))
        self.writer.start()

    @property
    def alarms(self) -> tuple[Alarm, ...]:
        """What the rules have found so far; `flush` first where the last quarter second matters."""
        return tuple(self.writer.alarms.found) if self.writer.alarms is not None else ()

    def alarm(self, rule: Rule) -> None:
        """One more rule for what is logged from now on, in the place of that of the same name. TypeError of no rule."""
        if not isinstance(rule, Rule):
            raise TypeError(f"alarm: expected a rule as monitor.Plateau('loss'), got {type(rule).__name__}")
        self._put(("alarm", rule))

    def on_alarm(self, function: Callable[[Alarm], Any]) -> None:
        """Have `function` called with each alarm, by the thread that writes, soon after the value was logged: let it
        set a flag, or say something. What it raises is said once, and it is not called again."""
        if not callable(function):
            raise TypeError(f"on_alarm: expected a function of an Alarm, got {type(function).__name__}")
        if self.writer.alarms is not None:
            self.writer.alarms.told.append(function)

    def flush(self, timeout: float = 10.0) -> bool:
        """Wait until all that was logged is in the file; False if that took longer than `timeout` seconds."""
        return self.writer.flush(timeout)

    def finish(self, exit_code: int | None = None, quiet: bool | None = None, timeout: float = 10.0) -> None:
        """The run's end: what is left is written, for `timeout` seconds at most. May be called again."""
        if self._ended:
            return
        for observer in list(self.observers):
            observer.stop()
        self._ended = True
        self._put(("about", {"state": "failed" if exit_code else "finished", "exit_code": exit_code or 0,
                             "ended": time.time(), "heartbeat": time.time()}))
        if not self.writer.close(timeout):
            waiting = len(self.writer.buffer) + len(self.writer._unwritten)
            warn(f"facula.monitor: {self.path} could not be written in {timeout} s: {waiting} entries are lost")
        elif self.writer.lost:
            warn(f"facula.monitor: {self.writer.lost} entries were lost while {self.path} could not be written")

    def _at_exit(self) -> None:
        error = getattr(sys, "last_value", None)
        self.finish(1 if error is not None and error is not self._error_before
                    and not (isinstance(error, SystemExit) and not error.code) else 0)

    def __enter__(self) -> Run:
        return self

    def __exit__(self, kind: type[BaseException] | None, *exc: object) -> None:
        self.finish(0 if kind is None else 1)

    def __repr__(self) -> str:
        return f"<facula.monitor.Run {self.name!r} in {self.path}>"


class DisabledRun(Run):
    """What `init(mode="disabled")` gives: takes everything, writes nothing."""

    disabled = True

    def __init__(self, about: Mapping[str, Any], config: Any) -> None:
        self.id, self.path, self.resumed, self.step = "disabled", Path(os.devnull), False, 0
        self.logged, self.observers = None, []
        self._about, self._ended = dict(about), False
        self.config = Config(lambda kind, items: None, config)
        self.summary: Any = {}

    def _change(self, **items: Any) -> None:
        self._about.update(items)

    def log(self, data: Mapping[str, Any], step: int | None = None, commit: bool | None = None) -> None:
        """Nothing."""

    def observe(self, step: int, row: Mapping[str, Any]) -> None:
        """Nothing."""

    def define_metric(self, *args: Any, **options: Any) -> None:  # type: ignore[override]
        """Nothing."""

    def alert(self, *args: Any, **options: Any) -> None:
        """Nothing."""

    @property
    def alarms(self) -> tuple[Alarm, ...]:
        """None."""
        return ()

    def alarm(self, rule: Rule) -> None:
        """Nothing."""

    def on_alarm(self, function: Callable[[Alarm], Any]) -> None:
        """Nothing."""

    def flush(self, timeout: float = 10.0) -> bool:
        """True."""
        return True

    def finish(self, exit_code: int | None = None, quiet: bool | None = None, timeout: float = 10.0) -> None:
        """Nothing."""


def _surroundings() -> dict[str, Any]:
    from facula.version import facula_version
    return {"host": socket.gethostname(), "pid": os.getpid(), "program": sys.argv[0] if sys.argv else "",
            "arguments": sys.argv[1:], "python": platform.python_version(), "system": platform.platform(),
            "cores": os.cpu_count(), "facula": facula_version, "folder": os.getcwd()}


def open_run(folder: Path, id: str | None, resume: Any, about: Mapping[str, Any], config: Any,
             system: float | None, alarms: Alarms | None = None) -> Run:
    """A run in `folder`, new or gone on with. ValueError, FileExistsError, FileNotFoundError as `init` says."""
    if resume not in (None, False, True, "allow", "must", "never", "auto"):
        raise ValueError(f"init: resume={resume!r}; expected None, True, 'allow', 'must', 'never' or 'auto'")
    if id is not None and not schema.ID.fullmatch(str(id)):
        raise ValueError(f"init: id={id!r}; letters, digits, '.', '_' and '-', 128 at most, a letter or digit first")
    exists = id is not None and (folder / id / schema.FILE).exists()
    if resume == "must" and not exists:
        raise FileNotFoundError(f"init: resume='must', and there is no run {id!r} in {folder}")
    if exists and resume in (None, False, "never"):
        raise FileExistsError(f"init: there is a run {id!r} in {folder}; resume='allow' goes on with it")
    while id is None:  # the folder is made by one process alone: that makes the name nobody else's
        new = f"{time.strftime('%Y%m%d-%H%M%S')}-{secrets.token_hex(3)}"
        try:
            (folder / new).mkdir(parents=True)
        except FileExistsError:
            continue
        id = new
    (folder / id).mkdir(parents=True, exist_ok=True)
    if not exists:
        about = {"created": time.time(), **about}
    return Run(folder, id, about, config, exists, system, alarms)
