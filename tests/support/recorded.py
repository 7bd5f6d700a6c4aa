"""What PyTorch answers: asked where it is installed, looked up in tests/oracle/ where it is not.

A test takes the fixture `oracle` and calls `oracle(run, *arguments)`: with torch that is `run(torch)`, without it
the answer that tools/record_oracle.py has written down, under the test's name and the number of the call.
`arguments` are what the answer depends on beside the test's name: if they are other than they were then, there is
no answer. With torch, every answer is also compared with the one on record, so that none goes stale unnoticed.

An answer is plain data: None, bool, int, float, complex, str, NumPy arrays, `(dtype, array)` for a tensor, lists,
tuples and dictionaries of these, and `Refused`. A file is a zip of answers.json and the arrays' bytes, each array
once: numbers alone, nothing that is executed when it is read.
"""

import functools
import hashlib
import importlib.util
import json
import os
import re
import zipfile
from pathlib import Path

import numpy as np

FOLDER = Path(__file__).resolve().parent.parent / "oracle"
RECORDING = os.environ.get("FACULA_ORACLE") == "record"
HOW = "python tools/record_oracle.py"
# Two processors' torch may differ in the last bits: what is called stale is beyond that. Where one has instructions for
# 16 bits and another has not, sums of them are rounded in other places.
SAME = {"float64": 1e-8, "complex128": 1e-8, "float16": 1e-2, "bfloat16": 5e-2}
NO_INSTRUCTIONS = "could not create a primitive"  # says torch of what it does on other processors only
ROUNDINGS = 64  # of the largest number of an answer, that what cancels may come to


class Refused(Exception):
    """An exception of torch's, by the name of its type and the start of its text."""

    def __init__(self, name, text):
        super().__init__(text)
        self.name = name

    def __repr__(self):
        return f"{self.name}({str(self)!r})"


def snapshot(library, result):
    """The result with its tensors as (dtype, array): computed now, whatever is written later."""
    if isinstance(result, library.Tensor):
        dtype = str(result.dtype).removeprefix("torch.")
        values = result.detach()
        if dtype == "bfloat16":
            values = values.float()
        if values.is_conj():
            values = values.resolve_conj()
        return dtype, np.array(values.numpy())
    if isinstance(result, (list, tuple)) and type(result).__name__ != "Size":
        return [snapshot(library, part) for part in result]
    if isinstance(result, dict):
        return {key: snapshot(library, part) for key, part in result.items()}
    if isinstance(result, (library.dtype, library.device, library.layout)):
        return str(result).replace("facula.", "torch.")
    return tuple(result) if isinstance(result, tuple) else result


# ---- answers as JSON and bytes -----------------------------------------------------------------


def encoded(value, keep):
    """The value as JSON takes it; `keep(array)` gives the number under which an array is found."""
    if value is None or isinstance(value, (bool, int, float, str)) and type(value) in (bool, int, float, str):
        return value
    if isinstance(value, list):
        return [encoded(part, keep) for part in value]
    if isinstance(value, tuple):
        return {"tuple": [encoded(part, keep) for part in value]}
    if isinstance(value, dict):
        return {"dict": [[encoded(k, keep), encoded(v, keep)] for k, v in value.items()]}
    if isinstance(value, complex):
        return {"complex": [value.real, value.imag]}
    if isinstance(value, np.ndarray):
        return {"array": keep(value)}
    if isinstance(value, Refused):
        return {"refused": [value.name, str(value)]}
    if isinstance(value, Exception):
        return {"refused": [type(value).__name__, str(value)[:160]]}
    raise TypeError(f"{type(value).__name__} is no plain answer: {value!r}")


def decoded(value, find):
    if isinstance(value, list):
        return [decoded(part, find) for part in value]
    if not isinstance(value, dict):
        return value
    (kind, held), = value.items()
    if kind == "tuple":
        return tuple(decoded(part, find) for part in held)
    if kind == "dict":
        return {decoded(k, find): decoded(v, find) for k, v in held}
    if kind == "complex":
        return complex(*held)
    return find(held) if kind == "array" else Refused(*held)


def digest(arguments):
    """A few letters that stand for the arguments. Of floats the first 20 bits count: NumPy's sine has
    other last bits on other processors."""
    found = hashlib.blake2b(digest_size=4)

    def walk(value):
        if isinstance(value, (np.ndarray, np.generic, float, complex)):
            array = np.ascontiguousarray(value)
            found.update(f"{array.dtype.name}{np.shape(value)}".encode())
            if array.dtype.kind in "fc":
                floats = array.astype(np.complex128 if array.dtype.kind == "c" else np.float64).view(np.float64)
                array = (floats.view(np.int64) + (1 << 31)) >> 32
            found.update(array.tobytes())
        elif isinstance(value, (list, tuple)):
            found.update(f"{type(value).__name__}{len(value)}".encode())
            for part in value:
                walk(part)
        elif isinstance(value, dict):
            walk(list(value.items()))
        elif value is None or isinstance(value, (bool, int, str, slice, bytes, range, type(...))):
            found.update(f"{type(value).__name__} {value!r}".encode())
        elif callable(value):
            found.update(b"function")
        else:
            raise TypeError(f"what a record is looked up by has to be plain: {value!r}")

    walk(arguments)
    return found.hexdigest()


# ---- one file of them --------------------------------------------------------------------------


class Book:
    """The answers to one file of tests."""

    def __init__(self, torch="", tests=None, arrays=None):
        self.torch = torch
        self.tests = {} if tests is None else tests
        self.arrays = [] if arrays is None else arrays
        self._numbers = {}

    def keep(self, array):
        array = np.asarray(array)
        key = array.dtype.str, array.shape, array.tobytes()
        if key not in self._numbers:
            self._numbers[key] = len(self.arrays)
            self.arrays.append(array.copy())
        return self._numbers[key]

    def write(self, path):
        """The same bytes for the same answers."""
        # By dtype, so that like bytes lie beside each other.
        order = sorted(range(len(self.arrays)), key=lambda k: (self.arrays[k].dtype.str, k))
        answers = {"torch": self.torch, "arrays": [[k, self.arrays[k].dtype.str, self.arrays[k].shape] for k in order],
                   "tests": dict(sorted(self.tests.items()))}
        text = json.dumps(answers, separators=(",", ":"))
        path.parent.mkdir(exist_ok=True)
        with zipfile.ZipFile(path, "w") as archive:
            for name, data in (("answers.json", text.encode()), ("arrays.bin", b"".join(
                    self.arrays[k].tobytes() for k in order))):
                archive.writestr(zipfile.ZipInfo(name), data, zipfile.ZIP_DEFLATED, 9)

    def take(self, other):
        """The answers of `other` in place of what is here under the same names."""
        def kept(value):
            if isinstance(value, list):
                return [kept(part) for part in value]
            if not isinstance(value, dict):
                return value
            (kind, held), = value.items()
            return {kind: self.keep(other.arrays[held]) if kind == "array" else kept(held)}

        for k, array in enumerate(self.arrays):
            self._numbers.setdefault((array.dtype.str, array.shape, array.tobytes()), k)
        self.tests.update(kept_tests(other.tests, kept))

    @classmethod
    def read(cls, path):
        with zipfile.ZipFile(path) as archive:
            answers, data = json.loads(archive.read("answers.json")), archive.read("arrays.bin")
        arrays, at = [None] * len(answers["arrays"]), 0
        for number, dtype, shape in answers["arrays"]:
            array = np.frombuffer(data, dtype, int(np.prod(shape)), at).reshape(shape)
            arrays[number], at = array, at + array.nbytes
        return cls(answers["torch"], answers["tests"], arrays)


@functools.cache
def book_of(name):
    path = FOLDER / f"{name}.zip"
    return Book.read(path) if path.exists() else Book()


written = {}  # name of a test file -> Book, while FACULA_ORACLE=record


def kept_tests(tests, kept):
    """What `kept` makes of every answer."""
    return {name: [[key, kept(answer)] for key, answer in calls] for name, calls in tests.items()}


def write_books():
    for name, book in written.items():
        path = FOLDER / f"{name}.zip"
        if os.environ.get("FACULA_ORACLE_ONLY") and path.exists():  # some of the file's tests ran: the others' stay
            whole = Book.read(path)
            whole.take(book)
            book = whole
        book.write(path)


@functools.cache
def torch_is_here():
    """Without importing it."""
    try:
        return importlib.util.find_spec("torch") is not None
    except ModuleNotFoundError:  # FACULA_TEST_NO_TORCH
        return False


@functools.cache
def torch_or_none():
    if not torch_is_here():
        return None
    torch = importlib.import_module("torch")
    torch.set_num_threads(1)  # small tensors, and pytest-xdist has a process for each core
    return torch


# ---- asking ------------------------------------------------------------------------------------


class Oracle:
    """The fixture: PyTorch's answers to one test."""

    def __init__(self, file, test):
        self.file = file
        self.test = re.sub(r" at 0x[0-9a-f]+", "", test)
        self.calls = 0
        self.stale = []
        self.rounds = ""  # a test says so if its answers, whatever their dtype, come of numbers of that one

    def __call__(self, run, *arguments):
        """The answer of `run(torch)`, which depends on nothing but the test's name and `arguments`."""
        number, torch = self.calls, torch_or_none()
        self.calls += 1
        by = digest(arguments) if arguments else ""
        if torch is None:
            why, answer = self._looked_up(number, by)
            assert not why, f"{why}, and torch is not here to be asked: {HOW} {self.file}"
            return answer
        arrays = []
        answer = decoded(encoded(run(torch), lambda array: arrays.append(np.array(array)) or len(arrays) - 1),
                         arrays.__getitem__)
        release = torch.__version__.partition("+")[0]
        if RECORDING:
            book = written.setdefault(self.file, Book(release))
            calls = book.tests.setdefault(self.test, [])
            assert len(calls) == number, f"{self.test} has run twice"
            calls.append([by, encoded(answer, book.keep)])
        elif book_of(self.file).torch in ("", release):
            why, recorded = self._looked_up(number, by)
            if not why and isinstance(answer, Exception) and NO_INSTRUCTIONS in str(answer):
                return recorded
            if not why and not same(answer, recorded, self.rounds):
                why = f"the record of {self.test}, call {number}, is {recorded!r}, and torch says {answer!r}"
            if why:
                self.stale.append(why)
        return answer

    def _looked_up(self, number, by):
        """What is wrong with the record, or None; and the answer on record."""
        book = book_of(self.file)
        calls = book.tests.get(self.test, [])
        if number >= len(calls):
            return f"nothing is on record for {self.test}, call {number}", None
        if calls[number][0] != by:
            return f"what is on record for {self.test}, call {number}, was asked with other arguments", None
        # A copy: a test may write into what it is given.
        return None, decoded(calls[number][1], lambda k: np.array(book.arrays[k]))

    def both(self, run, *arguments):
        """(our answer, PyTorch's) to the same `run(library)`, tensors as (dtype, array)."""
        import facula

        theirs = self(lambda torch: snapshot(torch, run(torch)), *arguments)
        return snapshot(facula, run(facula)), theirs

    def check(self):
        """After the test: the records hold."""
        assert not self.stale, f"{self.stale[0]} ({len(self.stale)} such): {HOW} {self.file}"


def largest(answer):
    """The largest finite number of an answer's arrays of floating point."""
    if isinstance(answer, (list, tuple)):
        return max(map(largest, answer), default=0.0)
    if isinstance(answer, dict):
        return max(map(largest, answer.values()), default=0.0)
    if isinstance(answer, np.ndarray) and answer.dtype.kind in "fc":
        return float(np.abs(answer[np.isfinite(answer)]).max(initial=0))
    return 0.0


def same(one, other, rounds="", most=None):
    """Is it the same answer, as two processors give it? `rounds`: a dtype that it was rounded to at least; `most`: the
    largest number in all of it."""
    most = largest(other) if most is None else most
    if type(one) is not type(other):
        return False
    if isinstance(one, (list, tuple)):
        if len(one) == 2 and type(one[0]) is str and one[0] in ("bfloat16", "float16"):
            rounds = rounds or one[0]
        return len(one) == len(other) and all(same(a, b, rounds, most) for a, b in zip(one, other, strict=True))
    if isinstance(one, dict):
        return list(one) == list(other) and all(same(one[key], other[key], rounds, most) for key in one)
    if isinstance(one, Refused):
        return one.name == other.name
    if isinstance(one, np.ndarray):
        if one.dtype != other.dtype or one.shape != other.shape:
            return False
        inexact = one.dtype.kind in "fc"
        close = SAME.get(one.dtype.name, 1e-4 if inexact else 0)
        if one.dtype.name == "float64" and np.array_equal(one, one.astype(np.float32), equal_nan=True):
            close = 1e-4  # it was computed in float32
        if rounds and inexact:
            close = max(close, SAME[rounds])
        far = max(close * largest(other), ROUNDINGS * np.finfo(one.dtype).eps * most) if inexact else 0
        return np.allclose(one, other, rtol=close, atol=far, equal_nan=True)
    if isinstance(one, (float, complex)):
        return bool(np.isclose(one, other, rtol=1e-5, equal_nan=True))
    return one == other
