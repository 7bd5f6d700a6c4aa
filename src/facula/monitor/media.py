"""What can be logged beside numbers: each object has the value as it was when it was made, and can say it as bytes.

What is asked of an object: `parts()`, of (media type, facts as JSON, a function that gives the bytes). The function is
called by the thread that writes; it must not look at anything that the program may still change.
"""

from __future__ import annotations

import io
import json
import math
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from facula.monitor import encoding

Part = tuple[str, dict[str, Any], Callable[[], bytes]]


def array(value: Any) -> np.ndarray:
    """`value` as an array that nobody else holds: tensors (of Facula or another library), arrays, sequences."""
    if hasattr(value, "detach"):
        value = value.detach().cpu()
        if str(value.dtype).endswith("bfloat16"):
            value = value.float()
        value = value.numpy()
    found = np.array(value)
    if found.dtype == object:
        raise TypeError(f"expected numbers, got {type(value).__name__} of other things")
    return found


class Media:
    """Whatever is kept as bytes. `kind` is the name the page knows it by."""

    kind = ""

    def parts(self) -> list[Part]:
        """(media type, facts, function that gives the bytes), for each thing to be written."""
        raise NotImplementedError


class Image(Media):
    """A picture.

    Args:
        data_or_path: uint8 or float array (H, W), (H, W, C); a tensor (C, H, W) or (H, W) or, of several, (N, C, H, W)
            (laid side by side); a PIL image; a matplotlib figure; the path of a PNG, JPEG, GIF or WebP file. Floats in
            [0, 1] are scaled by 255, those in [-1, 1] moved there first; others are clipped to [0, 255].
        mode: accepted for PIL images, which are converted to it.
        caption: a line of text beneath it.

    Raises:
        ValueError: of a shape that is no picture.

    Example:
        >>> import numpy as np
        >>> from facula import monitor
        >>> monitor.Image(np.zeros((4, 6, 3)), caption="black").size
        (6, 4)
    """

    kind = "image"

    def __init__(self, data_or_path: Any, mode: str | None = None, caption: str | None = None, **options: Any) -> None:
        for name, value in options.items():
            if value is not None and name in ("boxes", "masks", "classes"):
                raise NotImplementedError(f"monitor.Image: {name} are not drawn yet; draw them into the picture")
        self.caption = caption
        self._pixels: np.ndarray | None = None
        self._bytes: tuple[str, bytes] | None = None
        if isinstance(data_or_path, Image):
            self._pixels, self._bytes = data_or_path._pixels, data_or_path._bytes
            self.caption = caption if caption is not None else data_or_path.caption
        elif isinstance(data_or_path, (str, Path)):
            data = Path(data_or_path).read_bytes()
            self._bytes = _type_of_image(data, str(data_or_path)), data
        elif hasattr(data_or_path, "savefig"):
            self._bytes = "image/png", figure(data_or_path)
        elif hasattr(data_or_path, "convert") and hasattr(data_or_path, "getbands"):  # PIL
            found = data_or_path if mode is None else data_or_path.convert(mode)
            if found.mode not in ("L", "LA", "RGB", "RGBA"):
                found = found.convert("RGBA" if "transparency" in found.info else "RGB")
            self._pixels = np.array(found, dtype=np.uint8)
        else:
            pixels = array(data_or_path)
            if hasattr(data_or_path, "detach") and pixels.ndim > 2:
                pixels = side_by_side(pixels) if pixels.ndim == 4 else pixels.transpose(1, 2, 0)
            self._pixels = _as_bytes(pixels)
            encoding.expect_picture(self._pixels)

    @property
    def size(self) -> tuple[int, int] | None:
        """(width, height), where the pixels are at hand."""
        return None if self._pixels is None else (self._pixels.shape[1], self._pixels.shape[0])

    def parts(self) -> list[Part]:
        """The picture, as PNG or as the file it was."""
        facts = {} if self.caption is None else {"caption": self.caption}
        if self._bytes is not None:
            media, data = self._bytes
            return [(media, facts, lambda: data)]
        pixels = self._pixels
        assert pixels is not None
        return [("image/png", {**facts, "size": self.size}, lambda: encoding.png(pixels))]


def side_by_side(images: np.ndarray) -> np.ndarray:
    """(N, C, H, W) as one picture (H', W', C), about as wide as high, two pixels between."""
    n, c, h, w = images.shape
    across = max(1, math.isqrt(max(n - 1, 0)) + 1)
    down = -(-n // across)
    whole = np.zeros((down * (h + 2) - 2 if n else 0, across * (w + 2) - 2, c), images.dtype)
    for k, image in enumerate(images):
        y, x = k // across * (h + 2), k % across * (w + 2)
        whole[y:y + h, x:x + w] = image.transpose(1, 2, 0)
    return whole


def _as_bytes(pixels: np.ndarray) -> np.ndarray:
    if pixels.dtype == np.uint8:
        return pixels
    if pixels.dtype == bool:
        return pixels.astype(np.uint8) * 255
    values = np.nan_to_num(pixels.astype(np.float64))
    if np.issubdtype(pixels.dtype, np.floating) and values.size:
        low, high = values.min(), values.max()
        if low >= 0 and high <= 1:
            values = values * 255
        elif low >= -1 and high <= 1:
            values = (values + 1) * 127.5
    return np.asarray(values.clip(0, 255).round().astype(np.uint8))


def _type_of_image(data: bytes, name: str) -> str:
    for start, media in ((b"\x89PNG", "image/png"), (b"\xff\xd8", "image/jpeg"), (b"GIF8", "image/gif")):
        if data.startswith(start):
            return media
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "image/webp"
    raise ValueError(f"{name}: neither PNG, JPEG, GIF nor WebP")


def figure(drawn: Any) -> bytes:
    """A matplotlib figure as PNG."""
    out = io.BytesIO()
    drawn.savefig(out, format="png")
    return out.getvalue()


class Histogram(Media):
    """How values are distributed: counts between edges.

    Args:
        sequence: numbers of any shape. What is not finite is counted apart (`lost`).
        np_histogram: (counts, edges) instead, as `numpy.histogram` gives them.
        num_bins: how many bins, at most 512.

    Example:
        >>> from facula import monitor
        >>> monitor.Histogram([0.0, 1.0, 1.0, 2.0], num_bins=2).counts
        [1, 3]
    """

    kind = "histogram"
    MAX_LENGTH = 512

    def __init__(self, sequence: Any = None, np_histogram: tuple[Any, Any] | None = None, num_bins: int = 64) -> None:
        if (sequence is None) == (np_histogram is None):
            raise ValueError("monitor.Histogram: give either a sequence or np_histogram=(counts, edges)")
        self.facts: dict[str, Any] = {}
        if np_histogram is not None:
            counts, edges = (array(part) for part in np_histogram)
        else:
            if not 1 <= num_bins <= self.MAX_LENGTH:
                raise ValueError(f"monitor.Histogram: 1 to {self.MAX_LENGTH} bins, not {num_bins}")
            numbers = array(sequence).astype(np.float64).ravel()
            finite = numbers[np.isfinite(numbers)]
            if len(finite):
                counts, edges = _counted(finite, num_bins)
                with np.errstate(over="ignore"):
                    self.facts = {"min": float(finite.min()), "max": float(finite.max()), "mean": float(finite.mean()),
                                  "std": float(finite.std()), "count": len(finite)}
            else:
                counts, edges = np.zeros(0, np.int64), np.zeros(1)
            if len(finite) < len(numbers):
                self.facts["lost"] = len(numbers) - len(finite)
        if counts.ndim != 1 or edges.shape != (len(counts) + 1,):
            raise ValueError(f"monitor.Histogram: one edge more than counts, not {edges.shape} of {counts.shape}")
        self.counts: list[Any] = counts.tolist()
        self.edges: list[float] = [float(edge) for edge in edges]

    def parts(self) -> list[Part]:
        """Counts and edges as JSON."""
        data = json.dumps({"counts": self.counts, "edges": self.edges}).encode()
        return [("application/vnd.facula.histogram+json", self.facts, lambda: data)]


def _counted(values: np.ndarray, bins: int) -> tuple[np.ndarray, np.ndarray]:
    """`numpy.histogram`, also of values too large for its arithmetic or too close to each other for so many bins."""
    largest = np.abs(values).max()
    scale = largest if largest > 1e300 else 1.0
    values = values / scale
    try:
        counts, edges = np.histogram(values, bins=bins)
    except ValueError:
        beside = max(1e-6 * float(np.abs(values).max()), 1e-290)
        counts, edges = np.histogram(values, bins, (float(values.min()) - beside, float(values.max()) + beside))
    return counts, edges * scale


class Audio(Media):
    """Sound: floats in [-1, 1] or int16, (N,) or (N, channels), or the path of a file.

    Example:
        >>> import numpy as np
        >>> from facula import monitor
        >>> monitor.Audio(np.zeros(8000), sample_rate=8000).parts()[0][0]
        'audio/wav'
    """

    kind = "audio"

    def __init__(self, data_or_path: Any, sample_rate: int | None = None, caption: str | None = None) -> None:
        self.facts: dict[str, Any] = {} if caption is None else {"caption": caption}
        self.media = "audio/wav"
        if isinstance(data_or_path, (str, Path)):
            data = Path(data_or_path).read_bytes()
            self.media = {".mp3": "audio/mpeg", ".ogg": "audio/ogg", ".flac": "audio/flac"}.get(
                Path(data_or_path).suffix.lower(), "audio/wav")
        else:
            if sample_rate is None:
                raise ValueError("monitor.Audio: sample_rate is needed with samples")
            data = encoding.wav(array(data_or_path), int(sample_rate))
            self.facts["sample_rate"] = int(sample_rate)
        self._data = data

    def parts(self) -> list[Part]:
        """The file."""
        return [(self.media, self.facts, lambda: self._data)]


class Text(Media):
    """Some text; it is shown as text, whatever is in it. A str that is logged becomes one."""

    kind = "text"

    def __init__(self, text: str) -> None:
        self.text = str(text)

    def parts(self) -> list[Part]:
        """The text, in UTF-8 (what it cannot say is replaced)."""
        data = self.text.encode("utf-8", "replace")
        return [("text/plain", {}, lambda: data)]


class Table(Media):
    """Rows and columns.

    Args:
        columns: their names.
        data: rows; numbers, text, None, and whatever has a text of its own.
        dataframe: a pandas DataFrame instead of both.

    Raises:
        ValueError: of a row with more or fewer entries than columns.

    Example:
        >>> from facula import monitor
        >>> table = monitor.Table(columns=["word", "count"])
        >>> table.add_data("facula", 3)
        >>> table.data
        [['facula', 3]]
    """

    kind = "table"

    def __init__(self, columns: Sequence[str] | None = None, data: Iterable[Sequence[Any]] | None = None,
                 rows: Iterable[Sequence[Any]] | None = None, dataframe: Any = None) -> None:
        if dataframe is not None:
            columns, data = [str(name) for name in dataframe.columns], dataframe.values.tolist()
        self.columns = ["Input", "Output", "Expected"] if columns is None else [str(name) for name in columns]
        self.data: list[list[Any]] = []
        for row in (data if data is not None else rows) or ():
            self.add_data(*row)

    def add_data(self, *data: Any) -> None:
        """One more row."""
        if len(data) != len(self.columns):
            raise ValueError(f"monitor.Table: {len(data)} entries for the columns {self.columns}")
        self.data.append([_cell(entry) for entry in data])

    def parts(self) -> list[Part]:
        """The table as JSON."""
        data = json.dumps({"columns": self.columns, "data": self.data}).encode()
        return [("application/vnd.facula.table+json", {"rows": len(self.data)}, lambda: data)]


class Graph(Media):
    """A model's modules with shapes, parameters, operations, memory and time, and the kernels of one call.

    Args:
        model: a `facula.nn.Module`.
        inputs: what it is called with (several times): a tensor, or a tuple or list of arguments.
        timed: measure; see `facula.profiler.model_trace.traced`.
        kernels: list what one call runs, as `facula explain` does.
    """

    kind = "graph"

    def __init__(self, model: Any, inputs: Any = (), kwargs: dict[str, Any] | None = None, timed: bool = True,
                 kernels: bool = True) -> None:
        from facula.profiler import model_trace
        trace = model_trace.traced(model, inputs, kwargs, timed)
        about: dict[str, Any] = {"root": trace.root.as_dict()}
        if kernels:
            about["kernels"] = model_trace.kernels_of(lambda: model_trace.traced(model, inputs, kwargs).result)
        self._data = json.dumps(about).encode()

    def parts(self) -> list[Part]:
        """The graph as JSON."""
        return [("application/vnd.facula.graph+json", {}, lambda: self._data)]


def _cell(entry: Any) -> Any:
    if hasattr(entry, "item") and getattr(entry, "size", None) != 0:
        try:
            entry = entry.item()
        except (ValueError, RuntimeError, TypeError):
            return str(entry)
    if isinstance(entry, float) and not math.isfinite(entry):
        return repr(entry)
    return entry if isinstance(entry, (int, float, str, bool, type(None))) else str(entry)
