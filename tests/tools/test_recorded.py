"""tests/support/recorded.py: answers survive being written, and a record that does not hold is noticed."""

import math

import numpy as np
import pytest

import facula
import recorded
from recorded import Book, Oracle, Refused, digest, same, snapshot

ANSWERS = [
    None, True, 3, 2**70, 1.5, -0.0, math.inf, "text", 2 - 1j, [], (), {}, [1, (2, {"a": [None]})], {0: 1, "b": (1,)},
    np.arange(6.0).reshape(2, 3), np.array(True), np.zeros((0, 3), np.int8), np.array([1 + 2j], np.complex64),
    ("float32", np.ones(3, np.float32)), Refused("RuntimeError", "no"),
]


@pytest.mark.parametrize("answer", ANSWERS, ids=repr)
def test_what_is_written_is_read(answer, tmp_path):
    book = Book("2.13.0")
    book.tests["t"] = [["", recorded.encoded(answer, book.keep)]] * 2
    book.write(tmp_path / "a.zip")
    again = Book.read(tmp_path / "a.zip")
    for _, value in again.tests["t"]:
        assert same(recorded.decoded(value, again.arrays.__getitem__), answer)
    again.write(tmp_path / "b.zip")
    assert (tmp_path / "a.zip").read_bytes() == (tmp_path / "b.zip").read_bytes()


def test_not_a_number_is_itself():
    assert same(math.nan, math.nan) and same(np.array([math.nan, 1]), np.array([math.nan, 1]))


def test_processors_round_16_bits_in_other_places():
    """With instructions for them sums are rounded once, without at each addition."""
    x = np.linspace(-1, 1, 9, dtype=np.float32)
    for dtype, near in (("bfloat16", 4e-2), ("float16", 8e-3), ("float32", 8e-5)):
        assert same([(dtype, x)], [(dtype, x + np.float32(near))]) and not same((dtype, x), (dtype, x + 4 * near))
    pair = [x, x]  # an answer of two arrays is no pair of a dtype and one
    assert same(pair, [x, x + 0]) and not same(pair, [x, x + np.float32(1e-3)])
    assert same(pair, [x, x + np.float32(1e-3)], "bfloat16")


def test_what_cancels_is_as_small_as_the_roundings_of_the_rest():
    noise = np.array([3e-15, -1e-16])
    assert same([np.ones(2), noise], [np.ones(2), -noise]) and not same([noise], [-noise])


@pytest.mark.parametrize("value", [object(), np.float32(1), facula.float32, {1}],
                         ids=["object", "numpy", "dtype", "set"])
def test_what_is_no_plain_data_is_refused(value):
    with pytest.raises(TypeError, match="no plain answer"):
        recorded.encoded([value], lambda array: 0)


@pytest.mark.parametrize("k", range(len(ANSWERS)))
def test_answers_differ_from_one_another(k):
    assert [same(ANSWERS[k], other) for other in ANSWERS] == [k == n for n in range(len(ANSWERS))]


def test_last_bits_of_floats_are_no_other_arguments():
    x = np.random.default_rng(0).standard_normal(1000)
    assert digest([x]) == digest([x * (1 + 2e-16)])
    for other in (x.astype(np.float32), x * 1.001, x[None], x[1:], -x, (x,)):
        assert digest([other]) != digest([x])
    assert digest((1,)) != digest((1.0,)) != digest((True,)) != digest(("1",))


@pytest.fixture
def book(monkeypatch):
    """A file of tests with one record, and no torch."""
    made = Book("0")
    made.tests["known"] = [[digest((1, 2)), recorded.encoded(5, made.keep)]]
    monkeypatch.setattr(recorded, "torch_or_none", lambda: None)
    monkeypatch.setattr(recorded, "book_of", lambda name: made)
    return made


def test_looked_up(book):
    asked = Oracle("test_x", "known")
    assert asked(None, 1, 2) == 5
    asked.check()


@pytest.mark.parametrize("test, arguments, why", [
    ("unknown", (1, 2), "nothing is on record for unknown, call 0"),
    ("known", (1, 3), "known, call 0, was asked with other arguments"),
])
def test_what_is_missing_names_the_tool(book, test, arguments, why):
    with pytest.raises(AssertionError, match=f"{why}.*tools/record_oracle.py test_x"):
        Oracle("test_x", test)(None, *arguments)


@pytest.mark.parametrize("release, answer, stale", [("0", 5, False), ("0", 6, True), ("1", 6, False)])
def test_a_stale_record_fails_after_the_test(book, monkeypatch, release, answer, stale):
    """Of the release that it was recorded with; the test itself goes by what torch says now."""
    class Torch:
        __version__ = f"{release}+cpu"

    monkeypatch.setattr(recorded, "torch_or_none", lambda: Torch)
    monkeypatch.setattr(recorded, "RECORDING", False)
    asked = Oracle("test_x", "known")
    assert asked(lambda torch: answer, 1, 2) == answer
    if stale:
        with pytest.raises(AssertionError, match="is 5, and torch says 6.*record_oracle.py test_x"):
            asked.check()
    else:
        asked.check()


def test_a_snapshot_is_plain():
    shape = facula.zeros(2, 3).shape
    found = snapshot(facula, [facula.ones(2), (shape, facula.float32), {"a": facula.ones(1, dtype=facula.bfloat16)}])
    recorded.encoded(found, lambda array: 0)
    assert found[1] == [(2, 3), "torch.float32"] and found[2]["a"][0] == "bfloat16"
