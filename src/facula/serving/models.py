"""A model that is loaded: requests in, replies out, together or alone with the same bits.

Products inside run in an order that follows from the length of their sums (`autograd.modes.rows_alike`), so a row's
bits do not depend on its company. That is a promise of Facula's kernels; what else a model calls (NumPy, a state of
its own, random numbers, statistics over the batch) makes none. So the first batches of each kind are run alone too
and compared, bit for bit. A model that does not pass is not batched any more, and says so (`alone`).
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import numpy as np

from .callables import named_outputs
from .elements import DTYPES, NAMES, Array, bfloat, widened
from .faults import BadRequest, ServingError
from .handlers import Handler
from .requests import Named, Reply, Request
from .settings import Settings

_ARRAYS = frozenset(("BYTES", "UINT16", "UINT32", "UINT64"))
CHECKED = 3  # batches of a signature that are compared with their parts
MOST_SIGNATURES = 512


class Times:
    """When a batch's steps ended (`perf_counter`): inputs made, outputs computed, replies made."""

    __slots__ = ("start", "made", "computed", "end")

    def __init__(self) -> None:
        self.start = self.made = self.computed = self.end = time.perf_counter()


class Model:
    """A Handler with its settings."""

    def __init__(self, handler: Handler, settings: Settings) -> None:
        self.handler = handler
        self.settings = settings = handler.completed(settings)
        self.alone = ""  # why requests are not put together
        self._output_names = [one.name for one in settings.outputs]
        self._checked: dict[Any, int] = {}

    # ---- requests --------------------------------------------------------------------------------

    def check(self, request: Request) -> None:
        """Raises BadRequest for what the model does not take."""
        if not request.inputs:
            raise BadRequest("a request needs an input at least")
        specs = self.settings.inputs
        given = {t.name: t for t in request.inputs}
        if len(given) != len(request.inputs):
            raise BadRequest("two inputs have the same name")
        if specs:
            if set(given) != {s.name for s in specs}:
                raise BadRequest(f"inputs are {', '.join(given)}; {', '.join(s.name for s in specs)} are expected")
            for spec in specs:
                wrong = spec.wrong(given[spec.name].datatype, given[spec.name].array.shape)
                if wrong:
                    raise BadRequest(f"input {spec.name!r} {wrong}")
        if self.batches:
            rows = {t.array.shape[0] if t.array.ndim else -1 for t in request.inputs}
            if len(rows) != 1 or -1 in rows:
                raise BadRequest("inputs differ in their first dimension, which counts rows")
            if rows.pop() > self.settings.max_batch_size:
                raise BadRequest(f"{request.rows} rows; the model takes {self.settings.max_batch_size} at most")
        if request.outputs and self._output_names:
            missing = [name for name in request.outputs if name not in self._output_names]
            if missing:
                raise BadRequest(f"there is no output {missing[0]!r}; there are {', '.join(self._output_names)}")

    @property
    def batches(self) -> bool:
        return self.settings.max_batch_size > 1

    # ---- running ---------------------------------------------------------------------------------

    def run(self, requests: list[Request], times: Times | None = None) -> list[Reply | Exception]:
        """A reply for each request, or what it failed of. Requests have one signature."""
        times = times or Times()
        if len(requests) == 1 or self.alone or not self.batches:
            return [self._alone(request, times) for request in requests]
        signature = requests[0].signature
        checked = self._checked.get(signature, 0)
        try:
            together = self._together(requests, times)
        except BadRequest:  # of one of them: each is asked alone
            return [self._alone(request, times) for request in requests]
        except ServingError as error:
            together, why = None, str(error)
        except Exception:  # of one of them, perhaps: each is asked alone
            return [self._alone(request, times) for request in requests]
        if together is not None and checked >= CHECKED:
            return together  # type: ignore[return-value]
        apart = [self._alone(request, times) for request in requests]
        if together is None:
            self.alone = why
        elif all(isinstance(b, Reply) and same_bits(a, b) for a, b in zip(together, apart, strict=True)):
            if len(self._checked) >= MOST_SIGNATURES:
                self._checked.clear()
            self._checked[signature] = checked + 1
        else:
            self.alone = "results are not the same bits together and alone"
        return apart

    def _alone(self, request: Request, times: Times) -> Reply | Exception:
        try:
            return self._together([request], times)[0]
        except Exception as error:
            return error

    def _together(self, requests: list[Request], times: Times) -> list[Reply]:
        import facula
        from facula.autograd.modes import rows_alike
        with facula.no_grad(), rows_alike():
            if type(self.handler).preprocess is Handler.preprocess:
                first = requests[0].inputs
                joined = first if len(requests) == 1 else [
                    Named(t.name, t.datatype, np.concatenate([r.inputs[k].array for r in requests]))
                    for k, t in enumerate(first)]
                inputs = {t.name: tensor_of(t) for t in joined}
                rows = [r.rows for r in requests]
            else:
                parts = [self.handler.preprocess({t.name: tensor_of(t) for t in r.inputs}) for r in requests]
                rows = [_rows(part) for part in parts]
                inputs = parts[0] if len(parts) == 1 else {
                    name: _joined([part[name] for part in parts]) for name in parts[0]}
            times.made = time.perf_counter()
            found = named_outputs(self.handler.predict(inputs), self._output_names)
            post = type(self.handler).postprocess is not Handler.postprocess
            if len(requests) > 1:
                _need_rows(found, sum(rows))
            if not post:
                arrays = {name: named_of(name, value) for name, value in found.items()}
                times.computed = time.perf_counter()
                replies = [Reply([Named(t.name, t.datatype, t.array[a:b]) for t in arrays.values()]) if a is not None
                           else Reply([*arrays.values()]) for a, b in _slices(rows)]
            else:
                times.computed = time.perf_counter()
                replies = []
                for a, b in _slices(rows):
                    part = found if a is None else {name: value[a:b] for name, value in found.items()}
                    outputs = self.handler.postprocess(part)
                    replies.append(Reply([named_of(name, value) for name, value in outputs.items()]))
        times.end = time.perf_counter()
        return [_chosen(reply, request) for reply, request in zip(replies, requests, strict=True)]

    def stream(self, request: Request) -> Iterator[Reply]:
        """One reply after another."""
        import facula
        from facula.autograd.modes import rows_alike
        with facula.no_grad(), rows_alike():
            inputs = self.handler.preprocess({t.name: tensor_of(t) for t in request.inputs})
        steps = self.handler.stream(inputs)
        try:
            while True:  # a mode belongs to a step, not to what is between two
                with facula.no_grad(), rows_alike():
                    found = next(steps, None)
                    if found is None:
                        return
                    outputs = self.handler.postprocess(named_outputs(found, self._output_names))
                    reply = Reply([named_of(name, value) for name, value in outputs.items()])
                yield _chosen(reply, request)
        finally:
            if hasattr(steps, "close"):
                steps.close()

    def warm_up(self) -> None:
        """Run requests of made-up numbers: one row, several, as many as are put together, and parts beside each
        other. Without declared inputs nothing is known of what to run."""
        specs = self.settings.inputs
        if not specs or not self.settings.warm_up:
            return
        most = self.settings.max_batch_size
        for rows in dict.fromkeys([1, 1, min(2, most), min(3, most), most]):
            _raise_first(self.run([made_up(specs, rows)]))
        for parts in ((1, 1), (1, 2), (2, 1, 1)):
            if sum(parts) <= most and not self.alone:
                _raise_first(self.run([made_up(specs, n) for n in parts]))


def same_bits(a: Reply, b: Reply) -> bool:
    return len(a.outputs) == len(b.outputs) and all(
        x.name == y.name and x.datatype == y.datatype and x.array.shape == y.array.shape
        and (x.array.tolist() == y.array.tolist() if x.array.dtype == object else
             np.ascontiguousarray(x.array).tobytes() == np.ascontiguousarray(y.array).tobytes())
        for x, y in zip(a.outputs, b.outputs, strict=True))


def made_up(specs: tuple[Any, ...], rows: int) -> Request:
    """A request of numbers that are neither all equal nor large; integers are 0 and 1, as they may be indices."""
    draw = np.random.default_rng(rows)
    inputs = []
    for spec in specs:
        shape = tuple([rows if d == 0 and n == -1 else 8 if n == -1 else n for d, n in enumerate(spec.shape)])
        if spec.datatype == "BYTES":
            array: Array = np.full(shape, b"0", np.object_)
        elif spec.datatype == "BF16":
            array = bfloat(draw.standard_normal(shape, np.float32))
        elif spec.datatype.startswith("FP"):
            array = draw.standard_normal(shape).astype(DTYPES[spec.datatype])
        else:
            array = draw.integers(0, 2, shape).astype(DTYPES[spec.datatype])
        inputs.append(Named(spec.name, spec.datatype, array))
    return Request(inputs)


def _raise_first(replies: list[Reply | Exception]) -> None:
    for reply in replies:
        if isinstance(reply, Exception):
            raise reply


def _chosen(reply: Reply, request: Request) -> Reply:
    if not request.outputs:
        return reply
    there = {t.name: t for t in reply.outputs}
    missing = [name for name in request.outputs if name not in there]
    if missing:
        raise BadRequest(f"there is no output {missing[0]!r}; there are {', '.join(there)}")
    return Reply([there[name] for name in request.outputs], reply.parameters)


def _slices(rows: list[int]) -> Iterator[tuple[int | None, int]]:
    if len(rows) == 1:
        yield None, rows[0]
        return
    at = 0
    for n in rows:
        yield at, at + n
        at += n


def _rows(inputs: dict[str, Any]) -> int:
    sizes = {value.shape[0] for value in inputs.values() if getattr(value, "shape", ())}
    if len(sizes) != 1:
        raise ServingError("preprocess gives inputs that differ in rows")
    return int(sizes.pop())


def _joined(parts: list[Any]) -> Any:
    import facula
    return facula.cat(parts) if isinstance(parts[0], facula.Tensor) else np.concatenate(parts)


def _need_rows(found: dict[str, Any], rows: int) -> None:
    for name, value in found.items():
        shape = getattr(value, "shape", None)
        if not shape or shape[0] != rows:
            raise ServingError(f"output {name!r} has not a row for each row of the inputs")


def tensor_of(t: Named) -> Any:
    """A facula tensor of its own memory; of what Facula has no tensors of (BYTES, wide unsigned integers) the NumPy
    array."""
    if t.datatype in _ARRAYS:
        return t.array
    import facula
    if t.datatype == "BF16":
        return facula.tensor(widened(t.array)).to(facula.bfloat16)
    return facula.tensor(t.array)


def named_of(name: str, value: Any) -> Named:
    """What a model gave, as a tensor of the protocol."""
    import facula
    if isinstance(value, facula.Tensor):
        if value.dtype is facula.bfloat16:
            return Named(name, "BF16", bfloat(value.detach().float().numpy()))
        value = value.detach().numpy()
    array = np.asarray(value)
    if array.dtype.kind in "USO":
        flat = [x if isinstance(x, bytes) else str(x).encode() for x in array.reshape(-1).tolist()]
        held = np.empty(len(flat), np.object_)
        held[:] = flat
        return Named(name, "BYTES", held.reshape(array.shape))
    datatype = NAMES.get(array.dtype)
    if datatype is None:
        raise ServingError(f"output {name!r}: the protocol has no tensors of {array.dtype}")
    return Named(name, datatype, array)
