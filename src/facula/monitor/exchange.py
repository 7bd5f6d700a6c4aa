"""Event files into a folder of runs, and runs out into event files.

Example:
    >>> import tempfile
    >>> from facula import monitor
    >>> from facula.monitor import exchange
    >>> runs, events, back = tempfile.mkdtemp(), tempfile.mkdtemp(), tempfile.mkdtemp()
    >>> with monitor.init(dir=runs, id="a", system=None) as run:
    ...     run.log({"loss": 0.1})
    >>> exchange.write_events(runs, events)
    ['a']
    >>> exchange.read_events(events, back)
    {'a': {}}
    >>> monitor.Folder(back).get("a").series("loss").values.tolist()
    [0.1]
"""

from __future__ import annotations

import json
import re
import struct
import time
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import numpy as np

from facula.monitor import event_files
from facula.monitor.event_files import Fields, message, number, varint
from facula.monitor.media import Media, Part
from facula.monitor.reading import Folder, RunFile, Thing
from facula.monitor.runs import open_run

_HISTOGRAM, _TABLE = "application/vnd.facula.histogram+json", "application/vnd.facula.table+json"
_FLOAT, _DOUBLE, _STRING = 1, 2, 7  # DataType of a TensorProto


class _Stored(Media):
    """Bytes that are as they are to be."""

    def __init__(self, kind: str, media: str, facts: dict[str, Any], data: bytes) -> None:
        self.kind = kind
        self._part: Part = media, facts, lambda: data

    def parts(self) -> list[Part]:
        """The bytes."""
        return [self._part]


def read_events(source: str | Path, folder: str | Path) -> dict[str, dict[str, int]]:
    """Take the event files below `source` in: each folder that has some becomes a run of `folder`.

    Returns:
        for each run what was left out, by the plugin it is for: how many values.

    Raises:
        FileNotFoundError: without any event file; FileExistsError: of a run that is there already.
        event_files.EventFileError: of a damaged file.
    """
    source = Path(source)
    files = [source] if source.is_file() else sorted(source.rglob("*tfevents*"))
    if not files:
        raise FileNotFoundError(f"no event files in {source}")
    by_folder: dict[Path, list[Path]] = defaultdict(list)
    for path in files:
        by_folder[path.parent].append(path)
    left: dict[str, dict[str, int]] = {}
    for place, paths in by_folder.items():
        name = place.relative_to(source if source.is_dir() else source.parent).as_posix()
        name = source.resolve().name if name == "." else name
        id = re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-._")[:120] or "events"
        left[id] = _read_run(paths, Path(folder), id, name)
    return left


def _read_run(paths: list[Path], folder: Path, id: str, name: str) -> dict[str, int]:
    series: dict[str, list[tuple[int, float, float]]] = defaultdict(list)
    media: list[tuple[str, int, float, Media]] = []
    left: Counter[str] = Counter()
    for path in paths:
        for event in event_files.read(path):
            for value in event.values:
                tag = value.get(1, [b""])[-1].decode("utf-8", "replace")
                found = _value(value)
                if isinstance(found, float):
                    series[tag].append((event.step, event.time, found))
                elif isinstance(found, Media):
                    media.append((tag, event.step, event.time, found))
                else:
                    left[found] += 1
    began = min((p[1] for points in series.values() for p in points), default=time.time())
    run = open_run(folder, id, None, {"name": name, "created": began, "source": str(paths[0].parent)}, None, None)
    for tag, points in series.items():
        run.writer.put(("points", tag, np.array([p[0] for p in points], np.int64), np.array([p[1] for p in points]),
                        np.array([p[2] for p in points])))
    for tag, step, at, thing in media:
        run.writer.put(("log", step, at, {tag: thing}))
    run.finish(timeout=600)
    return dict(left)


def _value(value: Fields) -> float | Media | str:
    """A number, something to be kept, or the name of the plugin whose business it is."""
    if 2 in value:
        return number(value[2][-1], "f")
    if 4 in value:
        image = event_files.parsed(value[4][-1])
        data = image.get(4, [b""])[-1]
        kind = {b"GIF8": "image/gif", b"\xff\xd8\xff\xe0": "image/jpeg"}.get(data[:4], "image/png")
        return _Stored("image", kind, {"size": [image.get(2, [0])[-1], image.get(1, [0])[-1]]}, data)
    if 5 in value:
        return _histogram(event_files.parsed(value[5][-1]))
    if 6 in value:
        audio = event_files.parsed(value[6][-1])
        return _Stored("audio", audio.get(5, [b"audio/wav"])[-1].decode("ascii", "replace"),
                       {"sample_rate": int(number(audio[1][-1], "f"))} if 1 in audio else {}, audio.get(4, [b""])[-1])
    data = event_files.parsed(value[9][-1]).get(1, [b""])[-1] if 9 in value else b""
    plugin = event_files.parsed(data).get(1, [b""])[-1].decode("utf-8", "replace")
    if 8 not in value:
        return plugin or "none"
    tensor = event_files.parsed(value[8][-1])
    kind = tensor.get(1, [0])[-1]
    if plugin == "scalars" and kind in (_FLOAT, _DOUBLE):
        field = tensor.get(5 if kind == _FLOAT else 6) or tensor.get(4)
        if field:
            return number(field[-1], "f" if kind == _FLOAT else "d")
    if plugin == "text" and kind == _STRING:
        return _Stored("text", "text/plain", {}, b"\n".join(tensor.get(8, [])))
    return plugin or "none"


def _doubles(field: list[bytes]) -> list[float]:
    return np.frombuffer(b"".join(field), "<f8").tolist()  # type: ignore[no-any-return]


def _histogram(proto: Fields) -> Media:
    facts = {name: number(proto[place][-1], "d") for place, name in
             ((1, "min"), (2, "max"), (3, "count"), (4, "sum"), (5, "sum_squares")) if place in proto}
    limits, counts = _doubles(proto.get(6, [])), _doubles(proto.get(7, []))
    limits, counts = limits[:len(counts)], counts[:len(limits)]
    low = min(facts.get("min", 0.0), limits[0]) if limits else 0.0
    data = json.dumps({"counts": counts, "edges": [low, *limits]})
    return _Stored("histogram", _HISTOGRAM, facts, data.encode())


def write_events(folder: str | Path, target: str | Path, runs: list[str] | None = None) -> list[str]:
    """Write runs of `folder`, all or those named, as event files: a folder of `target` for each. Returns their ids.

    Scalars are floats where all of a series are (double precision otherwise); tables become text.
    """
    done = []
    for run in Folder(folder).runs():
        if runs is None or run.id in runs:
            place = Path(target) / run.id
            place.mkdir(parents=True, exist_ok=True)
            _write_run(run, place / event_files.file_name())
            done.append(run.id)
    if missing := set(runs or ()) - set(done):
        raise FileNotFoundError(f"no run {sorted(missing)[0]!r} in {folder}")
    return done


def _plugin(name: str) -> bytes:
    return message([(1, message([(1, name.encode())]))])


def _write_run(run: RunFile, path: Path) -> None:
    with open(path, "xb") as file:
        began = float(run.about().get("created") or 0)
        event_files.write(file, [event_files.event(began, version=True)])
        for key, kind in run.keys().items():
            tag = key.encode()
            if kind == "scalar":
                points = run.series(key)
                with np.errstate(over="ignore"):
                    single = points.values.astype(np.float32)
                exact = np.array_equal(single.astype(np.float64), points.values, equal_nan=True)
                values = [_single(tag, v) if exact else _double(tag, v) for v in points.values.tolist()]
                event_files.write(file, (event_files.event(at, step, value) for at, step, value in
                                         zip(points.times.tolist(), points.steps.tolist(), values, strict=True)))
            else:
                for thing in run.things(key, limit=1 << 30):
                    value = message(_fields(tag, kind, thing))
                    event_files.write(file, [event_files.event(thing.time, thing.step, value)])


def _single(tag: bytes, value: float) -> bytes:
    return message([(1, tag)]) + varint(2 << 3 | 5) + struct.pack("<f", value)


def _double(tag: bytes, value: float) -> bytes:
    tensor = message([(1, _DOUBLE), (2, b""), (6, struct.pack("<d", value))])
    return message([(1, tag), (8, tensor), (9, _plugin("scalars"))])


def _fields(tag: bytes, kind: str, thing: Thing) -> list[tuple[int, Any]]:
    facts = thing.facts
    if kind == "image":
        width, height = facts.get("size") or (0, 0)
        return [(1, tag), (4, message([(1, height), (2, width), (3, 3), (4, thing.bytes)]))]
    if kind == "audio":
        rate = varint(1 << 3 | 5) + struct.pack("<f", facts.get("sample_rate", 0))
        return [(1, tag), (6, rate + message([(4, thing.bytes), (5, thing.media.encode())]))]
    if kind == "histogram":
        data = json.loads(thing.bytes)
        edges, counts = data["edges"], data["counts"]
        count = facts.get("count", float(sum(counts)))
        total = facts.get("sum", facts.get("mean", 0.0) * count)
        squares = facts.get("sum_squares", (facts.get("std", 0.0) ** 2 + facts.get("mean", 0.0) ** 2) * count)
        return [(1, tag), (5, message([
            (1, float(facts.get("min", edges[0]))), (2, float(facts.get("max", edges[-1]))), (3, float(count)),
            (4, float(total)), (5, float(squares)), (6, np.array(edges[1:], "<f8").tobytes()),
            (7, np.array(counts, "<f8").tobytes())]))]
    tensor = message([(1, _STRING), (2, message([(2, message([(1, 1)]))])), (8, thing.bytes)])
    return [(1, tag), (8, tensor), (9, _plugin("text"))]
