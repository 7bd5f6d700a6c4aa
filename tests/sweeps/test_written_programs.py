"""Random programs, written for PyTorch line by line, run on Facula in three ways and by two threads: the short form of
what `tools/soak.py programs` runs ten thousand of. Programs that were once wrong stand here as they were found.

To look for more: `FACULA_EXAMPLES=2000 pytest tests/sweeps/test_written_programs.py`, which draws new ones.
"""

import os
import time

import pytest

from written_programs import difference, run
from written_programs.comparing import shorter, without
from written_programs.trying import attempt, judged, try_programs, try_threads, wrong

MORE = int(os.environ.get("FACULA_EXAMPLES", "0"))
SEED = time.time_ns() if MORE else "the same"


def test_programs_agree(torch):
    assert try_programs(torch, SEED, MORE or 60) == []


def test_programs_of_two_threads_agree(torch):
    assert try_threads(torch, SEED, MORE // 10 or 20) == []


FOUND = {
    "a leaf copied onto itself": """
        t1 = (ramp((3,), 1, 1, 'float32') * 0.25).requires_grad_()
        t1.copy_(t1)""",
    "a view of a leaf is turned": """
        t1 = (ramp((3, 4), 1, 1, 'float32') * 0.25).requires_grad_()
        t2 = t1[1:]
        t2.t_()""",
    "an expanded tensor copied onto itself": """
        t1 = ramp((3, 1), 1, 3, 'float32')
        t2 = t1.expand(3, 4)
        t2.copy_(t2)
        t2.copy_(t2[:])
        t2[...] = t2
        t2[...] = t2[:]
        t2.copy_(t1)""",
    "values with dimensions too many": """
        t1 = ramp((3, 2), 1, 3, 'float32')
        t2 = ramp((1, 1, 2, 2), 1, 3, 'float32')
        t1[lib.tensor([0, 1])] = t2
        t1[0:2] = t2
        t1.index_put_((lib.tensor([0, 1]),), t2)
        t1.index_put_((lib.tensor([0, 1]),), t2, accumulate=True)
        t1.index_put_((lib.tensor([True, True, False]),), t2)""",
    "lerp of integers": """
        t1 = ramp((3,), 1, 3, 'int64')
        t2 = lib.lerp(t1, t1, 0.5)
        t3 = lib.lerp(t1, t1, t1)
        t1.lerp_(t1, 0.5)""",
    "addcmul of bools": """
        t1 = ramp((3,), 1, 3, 'bool')
        t1.addcmul_(t1, t1, value=2)
        t2 = lib.addcmul(t1, t1, t1)
        t3 = lib.addcmul(t1, t1, t1.to(lib.int64))""",
    "nothing divided by zero": """
        t1 = ramp((0,), 1, 3, 'int64')
        t2 = t1.remainder(0)
        t3 = t1 // 0
        t4 = t1.fmod(0)
        t5 = lib.div(t1, 0, rounding_mode='trunc')
        t6 = ramp((1,), 1, 3, 'int64') // 0""",
    "pairs as complex numbers": """
        t1 = ramp((6,), 1, 3, 'float32')
        t2 = lib.view_as_complex(t1.as_strided((1, 2), (1, 1)))
        t3 = lib.view_as_complex(t1.as_strided((1, 2), (3, 1)))
        t4 = lib.view_as_complex(t1.as_strided((2, 2), (1, 1)))
        t5 = lib.view_as_complex(t1.as_strided((1, 2), (5, 1), 1))
        t6 = lib.view_as_complex(t1.bfloat16().view(3, 2))
        t2.add_(1)""",
    "products of bools": """
        t1 = ramp((3, 3), 1, 3, 'bool')
        t2 = lib.einsum('ij,kj->ik', t1, t1)
        t3 = lib.einsum('ij,ij->ij', t1, t1)
        t4 = lib.einsum('ij->i', t1)
        t5 = lib.einsum('ij,ij->', t1, t1)""",
    "reductions at an index, of bools and complex numbers": "\n".join(
        [f"t{k} = ramp((3,), 1, 3, '{of}')\nt{k} = lib.index_reduce(t{k}, 0, lib.tensor([0, 1, 1]), t{k}, '{kind}')"
         for k, (of, kind) in enumerate((of, kind) for of in ("bool", "complex64", "float32") for kind in ("prod", "mean", "amax", "amin"))]
        + [f"t{k} = ramp((3,), 1, 3, '{of}')\nt{k} = lib.scatter_reduce(t{k}, 0, lib.tensor([0, 1, 1]), t{k}, '{kind}')"
           for k, (of, kind) in enumerate(((of, kind) for of in ("bool", "complex64") for kind in ("sum", "prod", "mean", "amax", "amin")), 20)]),
    "from_dlpack of bfloat16": """
        t1 = ramp((2, 3), 1, 3, 'bfloat16')
        t2 = lib.from_dlpack(t1.mT)
        t2.add_(1)
        t3 = lib.from_dlpack(t1.requires_grad_())""",
}


def lines_of(text):
    return [line.strip() for line in text.strip().splitlines()]


@pytest.mark.parametrize("name", FOUND)
def test_found(torch, name):
    assert wrong(torch, lines_of(FOUND[name])) == ""


def test_something_wrong_is_seen_and_made_short(facula):
    """One line is exchanged for another: the comparison says where, and what does not matter is left out."""
    lines = lines_of("""
        t1 = ramp((2, 3), 1, 3, 'float32')
        t2 = t1.mT
        t3 = ramp((4,), 1, 3, 'int64')
        t3.add_(1)
        t2.mul_(2)
        look(t1)""")

    def said(program):
        other = [line.replace("mul_(2)", "mul_(3)") for line in program]
        return difference(program, run(facula, program), run(facula, other))

    assert "line 5 `look(t1)`" in said(lines)
    assert shorter(lines, lambda program: bool(said(program))) == [lines[0], lines[1], lines[4]]
    assert without(lines, 0) == lines[2:4]
    assert "raised" in judged(lines, attempt(["t1 = lib.ones(1)", "1 / 0"]), run(facula, lines), True)


def test_bits_are_compared(facula):
    lines, other = ["t1 = lib.tensor([1.0, 0.0])"], ["t1 = lib.tensor([1.0000001, -0.0])"]
    a, b = run(facula, lines), run(facula, other)
    assert difference(lines, a, b) == "" and difference(lines, a, b, bits=True)
