"""Random programs of views, in-place writes, indexing and writes through NumPy: the same on torch
and on Facula.

CI draws the same programs every time. To look for more: `FACULA_EXAMPLES=5000 pytest
tests/sweeps/test_random_programs.py`, which draws new ones.
"""

import os
import warnings

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

import facula
from facula.testing.backends import evaluator
from random_programs import (
    DTYPES,
    NUMBERS,
    SHAPES,
    Drawn,
    a_gradual_write,
    a_key,
    a_value,
    a_view,
    a_write,
)
from sweep import REFUSALS, look_up

MORE = int(os.environ.get("FACULA_EXAMPLES", "0"))
LIMITS = settings(
    max_examples=MORE or 120,
    derandomize=not MORE,
    deadline=None,
    database=None,
    print_blob=False,
    phases=[Phase.generate, Phase.shrink],
    suppress_health_check=list(HealthCheck),
)
# What torch must refuse and Facula need not: it reads everything before it writes, and what the
# tape has saved is not overwritten.
BEYOND_TORCH = ["memory location", "modified by an inplace operation"]
LIVE = 8  # tensors that a program holds at once


def overlaps(tensor):
    """Do two indices meet one element, and torch does not see it? What it writes is undefined."""
    if any(stride == 0 and n > 1 for n, stride in zip(tensor.shape, tensor.stride(), strict=True)):
        return False  # it refuses
    reach = 0
    for stride, n in sorted(
        (s, n) for n, s in zip(tensor.shape, tensor.stride(), strict=True) if n > 1
    ):
        if stride <= reach:
            return True
        reach += stride * (n - 1)
    return False


def unseen(written, read):
    """May torch read, of a tensor that shares memory, what it has written already? It looks for
    overlaps only between tensors without gaps."""
    if written.untyped_storage().data_ptr() != read.untyped_storage().data_ptr():
        return False
    same = written.shape == read.shape and written.stride() == read.stride()
    if same and written.storage_offset() == read.storage_offset():
        return False
    extent = [
        sum((n - 1) * step for n, step in zip(t.shape, t.stride(), strict=True))
        for t in (written, read)
    ]
    return any(reach + 1 != t.numel() for reach, t in zip(extent, (written, read), strict=True))


class Machine:
    """The same program on both libraries; `live` are pairs (ours, theirs)."""

    single = False

    def __init__(self, torch, drawn):
        self.libraries = facula, torch
        self.drawn = drawn
        self.live = []
        self.arrays = []
        self.log = []

    def both(self, name, step):
        """`step(k)` for library k: the pair of results, or None if both refuse."""
        self.log.append(name)
        found = []
        for k in (1, 0):
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    warnings.filterwarnings("error", "facula: the compiler failed")
                    # deprecated there (it warns before it writes), refused here: docs/differences.md
                    warnings.filterwarnings("error", "Use of masked_fill_ on expanded tensors", UserWarning)
                    found.append(step(k))
            except (*REFUSALS, UserWarning) as refusal:
                if k and any(word in str(refusal) for word in BEYOND_TORCH):
                    return None
                found.append(refusal)
        theirs, ours = found
        if isinstance(theirs, Exception) or isinstance(ours, Exception):
            assert isinstance(theirs, Exception) and isinstance(ours, Exception), (
                f"{self.told()}: Facula gives {ours!r}, torch {theirs!r}"
            )
            return None
        return ours, theirs

    def told(self):
        return " ; ".join(self.log)

    def keep(self, pair):
        if pair is None:
            return
        ours, theirs = pair
        assert tuple(ours.shape) == tuple(theirs.shape), (
            f"{self.told()}: {ours.shape}, not {theirs.shape}"
        )
        if theirs.numel():
            self.same_layout(ours, theirs)
        if theirs.numel() > 200:
            return
        self.live.append(pair)
        if len(self.live) > LIVE:
            del self.live[self.drawn.between(0, LIVE - 1)]

    def same_layout(self, ours, theirs):
        assert ours.stride() == theirs.stride(), (
            f"{self.told()}: strides {ours.stride()}, not {theirs.stride()}"
        )
        assert ours.storage_offset() == theirs.storage_offset(), f"{self.told()}: storage_offset"
        for of in ("contiguous_format", "channels_last", "channels_last_3d"):
            found = [
                x.is_contiguous(memory_format=getattr(library, of))
                for x, library in zip((ours, theirs), self.libraries, strict=True)
            ]
            assert found[0] == found[1], f"{self.told()}: {of}"

    def pick(self):
        k = self.drawn.between(0, len(self.live) - 1)
        return k, self.live[k]

    def compare(self, k):
        ours, theirs = self.live[k]
        dtype = str(theirs.dtype)
        assert str(ours.dtype).replace("facula.", "torch.") == dtype, f"{self.told()}: tensor {k}"
        np.testing.assert_allclose(
            np.array(ours.detach().tolist()),
            np.array(theirs.detach().tolist()),
            rtol=1e-5,
            atol=1e-5,
            err_msg=f"{self.told()}: tensor {k}",
        )

    def compare_all(self):
        for k in range(len(self.live)):
            self.compare(k)

    # ---- steps

    def create(self):
        values = self.drawn.values(self.drawn.one_of(SHAPES), self.drawn.one_of(DTYPES))
        self.keep(
            self.both(
                f"new {values.dtype}{values.shape}",
                lambda k: (
                    self.libraries[k]
                    .tensor(values.tolist(), dtype=getattr(self.libraries[k], values.dtype.name))
                    .reshape(values.shape)
                ),
            )
        )

    def view(self):
        k, pair = self.pick()
        name, step = a_view(self.drawn, tuple(pair[1].shape), self.single)
        self.keep(self.both(f"{k}.{name}", lambda i: step(pair[i])))

    def value(self):
        k, pair = self.pick()
        name, step = a_value(self.drawn, tuple(pair[1].shape))
        self.keep(self.both(f"{k}.{name}", lambda i: step(pair[i], self.libraries[i])))

    def combine(self):
        (j, a), (k, b) = self.pick(), self.pick()
        name = self.drawn.one_of(["add", "mul", "maximum", "eq", "where"])
        steps = {"where": lambda lib, x, y: lib.where(x > 0, x, y)}
        self.keep(
            self.both(
                f"{name}({j}, {k})",
                lambda i: steps.get(name, lambda lib, x, y: look_up(lib, name)(x, y))(
                    self.libraries[i], a[i], b[i]
                ),
            )
        )

    def read(self):
        k, pair = self.pick()
        name, key = a_key(self.drawn, tuple(pair[1].shape))
        self.keep(self.both(f"{k}[{name}]", lambda i: pair[i][key(self.libraries[i])]))

    def write(self):
        (k, x), (j, y) = self.pick(), self.pick()
        if overlaps(x[1]) or unseen(x[1], y[1]):
            return
        name, step = a_write(self.drawn, tuple(x[1].shape))
        self.both(f"{k}.{name} with {j}", lambda i: step(x[i], y[i], self.libraries[i]) is None)

    def check(self):
        self.log.append("check")
        self.compare(self.pick()[0])

    def to_numpy(self):
        k, pair = self.pick()
        arrays = self.both(f"{k}.numpy()", lambda i: pair[i].numpy())
        if arrays:
            self.arrays.append(arrays)

    def from_numpy(self):
        values = self.drawn.values(self.drawn.one_of(SHAPES), self.drawn.one_of(DTYPES))
        arrays = values.copy(), values.copy()
        self.arrays.append(arrays)
        self.keep(
            self.both(
                f"from_numpy {values.dtype}{values.shape}",
                lambda i: self.libraries[i].from_numpy(arrays[i]),
            )
        )

    def write_numpy(self):
        if self.arrays:
            k = self.drawn.between(0, len(self.arrays) - 1)
            number = self.drawn.one_of(NUMBERS)
            half = self.drawn.flag()
            self.log.append(f"array {k} = {number} {half}")
            for array in self.arrays[k]:
                array[(slice(None, None, 2),) if half and array.ndim else ...] = number

    def drop_array(self):
        if self.arrays:
            del self.arrays[self.drawn.between(0, len(self.arrays) - 1)]


STEPS = [
    "view",
    "view",
    "view",
    "write",
    "write",
    "write",
    "value",
    "combine",
    "read",
    "check",
    "create",
    "to_numpy",
    "from_numpy",
    "write_numpy",
    "drop_array",
]


@LIMITS
@given(data=st.data())
def test_views_and_writes(data, torch):
    views_and_writes(data, torch)


@pytest.mark.compiled
@settings(LIMITS, max_examples=MORE or 60)
@given(data=st.data())
def test_views_and_writes_by_evaluating_the_plans(data, torch):
    with evaluator():
        views_and_writes(data, torch, 8)


def views_and_writes(data, torch, most=25):
    machine = Machine(torch, Drawn(data))
    machine.create()
    for _ in range(machine.drawn.between(3, most)):
        getattr(machine, machine.drawn.one_of(STEPS))()
        if not machine.live:
            machine.create()
    machine.compare_all()
    for ours, theirs in machine.arrays:
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-5, err_msg=machine.told())


# ---- under autograd ----------------------------------------------------------------------------


class Recording(Machine):
    """Programs over leaves that require gradients."""

    single = (
        True  # torch's autograd forbids to write what unbind and its like give; Facula need not
    )

    def leaf(self):
        values = (
            self.drawn.values(self.drawn.one_of([(3,), (2, 3), (3, 4), (2, 2, 2)]), "float64")
            * 0.25
        )
        self.leaves.append(
            self.both(
                f"leaf {values.shape}",
                lambda k: self.libraries[k].tensor(
                    values.tolist(), dtype=self.libraries[k].float64, requires_grad=True
                ),
            )
        )
        self.keep(self.leaves[-1])

    def function(self):
        k, pair = self.pick()
        name = self.drawn.one_of(["sin", "exp", "sigmoid", "square", "neg", "clone", "tanh"])
        self.keep(self.both(f"{k}.{name}", lambda i: getattr(pair[i].clamp(-2, 2), name)()))

    def product(self):
        (j, a), (k, b) = self.pick(), self.pick()
        name = self.drawn.one_of(["mul", "add", "sub"])
        self.keep(
            self.both(f"{name}({j}, {k})", lambda i: look_up(self.libraries[i], name)(a[i], b[i]))
        )

    def rebase(self):
        """A non-leaf to write into."""
        k, pair = self.pick()
        self.keep(self.both(f"{k} * 2", lambda i: pair[i] * 2))

    def write(self):
        (k, x), (j, y) = self.pick(), self.pick()
        if overlaps(x[1]) or unseen(x[1], y[1]):
            return
        name, step = a_gradual_write(self.drawn, tuple(x[1].shape))
        self.both(f"{k}.{name} with {j}", lambda i: step(x[i], y[i], self.libraries[i]) is None)

    def same_flags(self):
        for k, (ours, theirs) in enumerate(self.live):
            assert ours.requires_grad == theirs.requires_grad, (
                f"{self.told()}: tensor {k} requires_grad"
            )
            assert ours.is_leaf == theirs.is_leaf, f"{self.told()}: tensor {k} is_leaf"

    def backward(self):
        roots = [pair for pair in self.live if pair[1].requires_grad and pair[1].numel()]

        def run(i):
            total = sum((pair[i] * pair[i]).sum() for pair in roots) if roots else None
            if total is not None:
                total.backward()
            return total is None

        if self.both("backward", run) is None:
            return
        for k, (ours, theirs) in enumerate(self.leaves):
            assert (ours.grad is None) == (theirs.grad is None), (
                f"{self.told()}: gradient of leaf {k}"
            )
            if ours.grad is not None:
                np.testing.assert_allclose(
                    np.array(ours.grad.tolist()),
                    np.array(theirs.grad.tolist()),
                    rtol=1e-7,
                    atol=1e-7,
                    err_msg=f"{self.told()}: gradient of leaf {k}",
                )


@pytest.mark.parametrize(
    "write", [lambda x: x.fill_(2), lambda x: x.copy_(facula.ones(3))], ids=["fill_", "copy_"]
)
def test_overwritten_tensors_stay_on_the_tape(write):
    leaf = facula.ones(3, requires_grad=True)
    x = leaf * 2
    write(x)
    assert x.requires_grad
    x.sum().backward()
    assert leaf.grad.tolist() == [0, 0, 0]


def test_writes_to_nothing():
    z = (facula.ones(2, 3) + facula.ones(2, 3)) * 2
    z[0:0].copy_(z[0:0] + z.narrow(0, 0, 0))
    assert z.tolist() == [[4, 4, 4], [4, 4, 4]]
    assert facula.zeros(0).expand(2, 0).add_(facula.ones(())).shape == (2, 0)


RECORDED = [
    "view",
    "view",
    "view",
    "write",
    "write",
    "function",
    "product",
    "rebase",
    "rebase",
    "leaf",
    "check",
]


@LIMITS
@given(data=st.data())
def test_gradients_through_views_and_writes(data, torch):
    machine = Recording(torch, Drawn(data))
    machine.leaves = []
    machine.leaf()
    machine.rebase()
    for _ in range(machine.drawn.between(2, 15)):
        getattr(machine, machine.drawn.one_of(RECORDED))()
    machine.compare_all()
    machine.same_flags()
    machine.backward()
