"""Every operation's in-place and out= forms: what the function gives, written where it should
be."""

import re
import warnings

import numpy as np
import pytest

import facula
from facula.ops import listening
from facula.ops.out_types import COMPUTES_IN_IT
from facula.testing.samples import SAMPLES
from recorded import snapshot
from sweep import (
    OPERATIONS,
    ask,
    assert_same,
    expected,
    given,
    has_out,
    in_place_form,
    look_up,
    single,
)

IN_PLACE = [name for name in OPERATIONS if in_place_form(name)]
OUT = [name for name in OPERATIONS if has_out(name)]
# They make their elements in the dtype of out=.
MAKES = {"arange", "eye", "linspace", "logspace", "normal"}
# How the refusals begin that concern the dtype of out=, and what converts here.
TOLD = ("Expected", "Found dtype", "expected", "result dtype", "any only", "all only", "output ", "torch.searchsorted")
TOLD_HERE = re.compile("type|expects a floating point output")
CONVERTS = {"lerp", "matrix_power", "linalg.matrix_power"}
# Whose in-place form is another operation, or refuses to work on a view.
OTHER = {"bernoulli", "normal", "detach"}


def test_what_takes_out_is_found_whoever_listens():
    """A class that another file of tests has defined would leave nothing to be tested here."""
    with listening.listening():
        assert [name for name in OPERATIONS if has_out(name)] == OUT
    assert len(OUT) > 250


@pytest.mark.parametrize("name", IN_PLACE)
def test_in_place_form(name, oracle):
    form = in_place_form(name)
    for sample in SAMPLES[name]:
        if isinstance(sample.args[0], np.ndarray) and "dtype" not in sample.kwargs:
            call = form, sample.args, sample.kwargs
            assert_same(ask(facula, *call), expected(oracle, *call), f"{form}{sample}")


@pytest.mark.parametrize("name", [name for name in IN_PLACE if name not in OTHER])
def test_in_place_is_the_function_written_back(name):
    for sample in SAMPLES[name]:
        if not isinstance(sample.args[0], np.ndarray):
            continue
        plain = ask(facula, name, sample.args, sample.kwargs)
        args, kwargs = given(facula, (sample.args, sample.kwargs), single)
        kept, base = args[0].clone(), facula.stack([args[0], args[0]], -1)
        part = base[..., 1]
        try:
            result = look_up(facula.Tensor, in_place_form(name).removeprefix("Tensor."))(
                part, *args[1:], **kwargs
            )
        except (
            RuntimeError
        ) as refusal:  # the result has another shape, or a dtype that part's cannot hold
            assert any(
                why in str(refusal) for why in ("shape", "can't be cast", "requires dtype")
            ), f"{name}{sample}: {refusal}"
            assert facula.equal(base.nan_to_num(), facula.stack([kept, kept], -1).nan_to_num())
            continue
        assert result is part
        if part.dtype is not args[0].dtype or part.shape != base.shape[:-1]:
            continue  # transpose_ and the like change what the tensor shows, not what it holds
        written = snapshot(facula, base[..., 1])
        assert_same(written, (written[0], plain[1].astype(written[1].dtype)), f"{name}{sample}")
        assert_same(
            snapshot(facula, base[..., 0]), snapshot(facula, kept), f"{name}{sample}: beside it"
        )


def outs(library, dtypes, shapes):
    made = tuple(
        library.zeros(shape, dtype=getattr(library, dtype))
        for dtype, shape in zip(dtypes, shapes, strict=True)
    )
    return made if len(made) > 1 else made[0]


def with_out(library, name, sample, out):
    """What the call writes into `out`, or its refusal."""

    def tell(result):
        pair = out if isinstance(out, tuple) else (out,)
        given_back = result if isinstance(result, (tuple, list)) else (result,)
        assert all(a is b for a, b in zip(given_back, pair, strict=True)), (
            f"{name}: out= is not what came back"
        )
        return sample.of(pair if isinstance(out, tuple) else out)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return ask(library, name, sample.args, {**sample.kwargs, "out": out}, tell)


def as_computed(answer, dtypes):
    """`answer` told as computed in `dtypes`: what is written into wider memory is no more exact for that."""
    if isinstance(answer, Exception):
        return answer
    if isinstance(answer, tuple):
        return answer[0], answer[1].astype(dtypes[0] if answer[1].dtype.kind == "f" else answer[1].dtype)
    return [as_computed(one, [of]) for one, of in zip(answer, dtypes, strict=True)]


@pytest.mark.parametrize("name", OUT)
def test_out_form(name, oracle):
    for sample in SAMPLES[name]:
        plain = ask(facula, name, sample.args, sample.kwargs)
        results = [plain] if isinstance(plain, tuple) else plain
        dtypes, shapes = [r[0] for r in results], [r[1].shape for r in results]
        empties = [(0,)] * len(results)
        wider = [{"float32": "float64", "int64": "int32"}.get(d, d) for d in dtypes]
        for what, kinds, sizes in (
            ("fits", dtypes, shapes),
            ("grows", dtypes, empties),
            ("wider", wider, shapes),
        ):
            theirs = oracle(
                lambda torch, sample=sample, kinds=kinds, sizes=sizes, dtypes=dtypes: as_computed(
                    with_out(torch, name, sample, outs(torch, kinds, sizes)), dtypes
                ),
                *(sample.args, sample.kwargs, kinds, sizes),
            )
            ours = as_computed(with_out(facula, name, sample, outs(facula, kinds, sizes)), dtypes)
            if isinstance(theirs, Exception):
                # Some of its functions convert, some insist on their dtype. (Where it is the call that is refused, or
                # an assertion inside it that fails, there is nothing to compare.)
                if str(theirs).startswith(TOLD) and name not in CONVERTS:
                    assert isinstance(ours, RuntimeError), f"{name}{sample}, out {what}: {theirs}"
            else:
                assert_same(
                    ours,
                    theirs,
                    f"{name}{sample}, out {what}",
                    factor=3e4 if kinds != dtypes else 1,
                )
        if name not in MAKES | COMPUTES_IN_IT and any(d.startswith("float") for d in dtypes):
            ours = with_out(facula, name, sample, outs(facula, ["int64"] * len(results), shapes))
            assert isinstance(ours, (RuntimeError, TypeError)) and TOLD_HERE.search(str(ours)), f"{name}{sample}"
