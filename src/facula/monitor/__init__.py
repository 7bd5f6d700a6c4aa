"""Watching programs: `init`, `log`, `finish`; local files, no account. `facula monitor DIR` shows them on a page.

    runs.py, settings.py   a run, its configuration and summary
    values.py, media.py    what can be logged, settled at the call     encoding.py   PNG and WAV
    writer.py, rows.py     the buffer, the thread that empties it      schema.py     the file of a run
    alarms.py, rules.py    what is wrong with what is logged, said when it is
    watching.py, activations.py, stepping.py     a model's gradients, parameters, activations
    timing.py              how long a step waits for data, goes forward, backward, optimizes
    reading.py, phases.py  runs as they stand in their files           machine.py    figures of the machine
    progressing.py         how far a loop is
    scraping.py            figures of servers
    wandb.py               `import wandb` as these calls
    event_files.py, checksums.py, exchange.py    TensorBoard's files, read into a folder of runs and written from it

Example:
    >>> import tempfile
    >>> from facula import monitor
    >>> run = monitor.init(dir=tempfile.mkdtemp(), project="digits", config={"lr": 0.1}, tags=["first"])
    >>> for step in range(3):
    ...     monitor.log({"loss": 1 / (step + 1), "lr": run.config.lr})
    >>> run.summary["loss"] == 1 / 3
    True
    >>> monitor.finish()
"""

from __future__ import annotations

import atexit
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from facula import config as _settings
from facula.monitor.alarms import Alarm, Alarms
from facula.monitor.media import Audio, Graph, Histogram, Image, Media, Table, Text
from facula.monitor.reading import Folder, RunFile, Series, Thing
from facula.monitor.rules import (
    DeadUnits,
    Exploding,
    LaggingRank,
    MemoryGrowth,
    NotFinite,
    Plateau,
    Rule,
    StalledLoader,
    Vanishing,
    When,
    usual_rules,
)
from facula.monitor.runs import DisabledRun, Run, open_run
from facula.monitor.settings import Config, ConfigError, Summary

__all__ = ["Alarm", "Audio", "Config", "ConfigError", "DeadUnits", "Exploding", "Folder", "Graph", "Histogram", "Image",
           "LaggingRank", "Media", "MemoryGrowth", "NotFinite", "Plateau", "Rule", "Run", "RunFile", "Series",
           "StalledLoader", "Summary", "Table", "Text", "Thing", "Vanishing", "When", "alarm", "alert",
           "define_metric", "finish", "init", "log", "on_alarm", "progress", "time_line", "unwatch", "usual_rules",
           "watch"]

run: Run | None = None
_registered = False


def init(project: str | None = None, *, dir: str | Path | None = None, id: str | None = None, name: str | None = None,
         notes: str | None = None, tags: Sequence[str] | str | None = None, config: Any = None,
         group: str | None = None, job_type: str | None = None, mode: str | None = None, resume: Any = None,
         reinit: Any = None, system: float | None = 10.0, alarms: Any = None,
         on_alarm: Callable[[Alarm], Any] | None = None) -> Run:
    """Begin a run; `log` writes to it from now on. A run that was still going on is finished first.

    Args:
        project, group, job_type, name, notes, tags: to find it by. `name` is its id where none is given.
        dir: the folder of runs; by default that of FACULA_MONITOR_DIR, or "monitor" in the working directory.
        id: its name in the folder; by default date, time and something random, no other run's.
        config: mapping or `argparse.Namespace`.
        mode: "disabled" writes nothing.
        resume: "allow" (or True) goes on with the run `id` if it is there, "must" demands it, "never" forbids it.
        reinit: "create_new" leaves the run before going.
        system: every how many seconds the machine's figures are logged; None: never.
        alarms: rules for what is logged (`monitor.NotFinite()`, ...) instead of the usual ones; False: none. To add to
            the usual ones, `alarm(rule)`.
        on_alarm: called with each `Alarm`: see `Run.on_alarm`.

    Raises:
        FileExistsError: of an `id` that is there, without `resume`; FileNotFoundError of one that is not, with "must".
        OSError, sqlite3.Error: if the file cannot be made.
    """
    global run, _registered
    if mode not in (None, "disabled", "offline", "online", "shared"):
        raise ValueError(f"init: mode={mode!r}; expected None or 'disabled' (runs are always local)")
    about = {"project": project, "group": group, "job_type": job_type, "name": name, "notes": notes,
             "tags": [tags] if isinstance(tags, str) else [str(tag) for tag in tags or ()]}
    rules = Alarms(alarms, on_alarm)
    if run is not None and reinit != "create_new":
        run.finish()
    if mode == "disabled":
        run = DisabledRun(about, config)
        return run
    if not _registered:
        _registered = True
        atexit.register(_finish_all)
    folder = Path(dir if dir is not None else _settings.MONITOR_DIR.value)
    run = open_run(folder, id, resume, about, config, system, rules)
    _begun[:] = [other for other in _begun if not other._ended] + [run]  # those that finished themselves are let go
    return run


_begun: list[Run] = []


def _finish_all() -> None:
    for begun in _begun:
        begun._at_exit()


def _current(what: str) -> Run:
    if run is None:
        raise RuntimeError(f"facula.monitor.{what}: call facula.monitor.init first")
    return run


def log(data: Mapping[str, Any], step: int | None = None, commit: bool | None = None) -> None:
    """Write values of one step of the current run.

    Args:
        data: by name, numbers (of Python, NumPy, tensors of one element), text, `Image`, `Histogram`, `Audio`,
            `Table` or lists of them, matplotlib figures; arrays and larger tensors become histograms; a mapping in
            it is taken apart ("a.b"); None is left out. A "/" in a name puts it into a section of the page.
        step: which step; by default the one after that of the last call. Any order is right.
        commit: False: the next call is of the same step. By default True, and False where `step` is given.

    Raises:
        TypeError: of values that cannot be shown; RuntimeError without a run.
    """
    _current("log").log(data, step, commit)


def finish(exit_code: int | None = None, quiet: bool | None = None, timeout: float = 10.0) -> None:
    """End the current run; what is left is written, for `timeout` seconds at most. A program's end does this, too."""
    global run
    ending, run = run, None
    if ending is not None:
        ending.finish(exit_code, quiet, timeout)
        if ending in _begun:
            _begun.remove(ending)


def alert(title: str, text: str = "", level: Any = "INFO", wait_duration: Any = None) -> None:
    """One line for whoever watches: see `Run.alert`."""
    _current("alert").alert(title, text, level, wait_duration)


def alarm(rule: Rule) -> None:
    """One more rule for what is logged: see `Run.alarm`."""
    _current("alarm").alarm(rule)


def on_alarm(function: Callable[[Alarm], Any]) -> None:
    """Have `function` called with each alarm: see `Run.on_alarm`."""
    _current("on_alarm").on_alarm(function)


def define_metric(name: str, step_metric: str | None = None, **options: Any) -> None:
    """How a series is shown and summed up: see `Run.define_metric`."""
    _current("define_metric").define_metric(name, step_metric, **options)


def watch(models: Any, criterion: Any = None, log: str | None = "gradients", log_freq: int = 1000,
          idx: int | None = None, log_graph: bool = False, *, norm_freq: int = 10, timed: bool = True) -> Any:
    """Log what goes on in a model while it is trained: the names and arguments are wandb's.

    Every `log_freq` backward passes there are histograms "gradients/NAME" and "parameters/NAME" of its parameters;
    every `norm_freq` passes the norms of gradients, "gradient_norms/LAYER" and of all "gradient_norm", and of what
    layers read: "activations/LAYER", the largest magnitude, and "dead_units/LAYER", the share of units that were zero
    for all of the last five batches looked at.
    Rules of alarms look at these. Gradients are as a backward pass has left them (added up, not clipped or unscaled).

    Args:
        models: a module, or several: names of the second one begin with "graph_1.", and so on.
        criterion: of no meaning here.
        log: "gradients", "parameters", "all", or None: no histograms.
        idx: the number of the first model, instead of that of models watched already.
        log_graph: log the graph ("graph_0") of the first call, without times and kernels, which
            `log({"model": monitor.Graph(model, inputs)})` has.
        norm_freq: 1 to see every pass, and where a NaN comes from before the optimizer spreads it.
        timed: log the time line of training, too: see `time_line`.

    Raises:
        RuntimeError: without a run. TypeError: of what is no module. ValueError: of a model that is watched already.

    Example:
        >>> import tempfile
        >>> import facula
        >>> from facula import monitor
        >>> model = facula.nn.Linear(2, 1)
        >>> with monitor.init(dir=tempfile.mkdtemp()) as run:
        ...     _ = monitor.watch(model, log_freq=1)
        ...     model(facula.ones(3, 2)).sum().backward()
        >>> series = monitor.Folder(run.path.parent.parent).get(run.id).series("gradient_norm")
        >>> round(float(series.values[0]), 3)  # of three threes
        5.196
    """
    from facula.monitor import watching
    return watching.watch(_current("watch"), models, log, log_freq, idx, norm_freq, timed, log_graph)


def time_line() -> Any:
    """Log where the time of training goes, until the run ends or `stop()` of what is returned.

    Seconds of each step of an optimizer: "time/step" and, of these, "time/data" (a DataLoader's next batch),
    "time/forward" (calls of models that are watched), "time/backward", "time/optimizer". Of short steps there are
    means, ten a second at most. Values are computed where they are first needed, so the work of a forward pass is
    mostly in the backward pass.

    Example:
        >>> import tempfile
        >>> import facula
        >>> from facula import monitor
        >>> w = facula.ones(2, requires_grad=True)
        >>> with monitor.init(dir=tempfile.mkdtemp()) as run:
        ...     _ = monitor.time_line()
        ...     w.sum().backward()
        ...     facula.optim.SGD([w], lr=0.1).step()
        >>> "time/backward" in monitor.Folder(run.path.parent.parent).get(run.id).keys()
        True
    """
    from facula.monitor import timing
    return timing.line_of(_current("time_line"))


def progress(iterable: Any, desc: str = "", total: int | None = None, unit: str = "it",
             disable: bool | None = False) -> Any:
    """Go through `iterable` and say on stderr how far it is: by tqdm where it is installed, in lines otherwise.

    Needs no run. What the loop waits for is "time/data" of the time line, if there is one.

    Args:
        total: how many, where `len` does not say.
        disable: True: say nothing; None: on a terminal only.

    Returns:
        What can be looped over, has a length where `total` is known, and `set_postfix(loss=...)`.

    Example:
        >>> from facula import monitor
        >>> batches = monitor.progress([1, 2, 3], "epoch 1", disable=True)
        >>> sum(batches), len(batches)
        (6, 3)
    """
    from facula.monitor.progressing import Progress
    return Progress(iterable, desc, total, unit, disable)


def unwatch(models: Any = None) -> None:
    """Watch these models, or any, no more. With the last one ends the run's time line."""
    from facula.monitor import watching
    watching.unwatch(_current("unwatch"), models)


def __getattr__(name: str) -> Any:
    """`config` and `summary` of the current run."""
    if name in ("config", "summary"):
        return getattr(_current(name), name)
    raise AttributeError(f"module 'facula.monitor' has no attribute {name!r}")
