"""Plan files with something changed at random: a clear error or a run, within little time and memory, never a crash."""

import json
import os
import random
import resource
import subprocess
import sys

import pytest

import facula as F
from facula.engine import plan_budget, plan_file, plan_run
from facula.engine.targets import host
from facula.errors import PlanFileError

pytestmark = [pytest.mark.compiled, pytest.mark.processes]
BYTES, STEPS = 32 << 20, 1 << 32  # what a file may ask for here
MEMORY, SECONDS = 3 << 30, 300  # what the process gets (addresses, and time of a processor)
PROGRAMS = [
    lambda: F.rand(4, 6).exp().softmax(1).t().cumsum(0),
    lambda: F.rand(4, 6)[1:, ::2].flip([0]) * 2.5 + F.full((2, 3, 3), float("inf")),
    lambda: F.rand(4, 6).slice_scatter(F.zeros(2, 6), 0, 1, 3) + 1j,
    lambda: F.rand(5, 3)[F.arange(4) % 3].index_add(0, F.tensor([0, 0]), F.ones(2, 3)),
    lambda: (F.rand(3, 4) @ F.rand(4, 5)).relu().argmax(1),
    lambda: F.linalg.det(F.rand(3, 3) + F.eye(3)) * F.rand(2).to(F.bfloat16),
    lambda: F.rand(3, 4).sort(1).values.amax(0).to(F.int32),
    lambda: F.linalg.svd(F.rand(3, 4) @ F.rand(4, 3))[0] + F.fft.fft(F.rand(6)).abs().sum(),
    lambda: F.nn.functional.conv2d(F.rand(1, 2, 5, 5), F.rand(3, 2, 3, 3), padding=1),
    lambda: F.rand(5, 3)[(F.rand(4) * 4).long()].sum(),
    lambda: F.special.hermite_polynomial_h(F.rand(3), 4) + F.special.zeta(F.rand(3) + 2, 1.5),
]
VALUES = [0, 1, -1, 2, 3, 7, 64, 1 << 20, 1 << 31, 1 << 40, 1 << 63, 10 ** 30, -(1 << 62), True, False, None, "", "x",
          1.5, [], {}, [0], [[1]], [1, 1], {"float": "inf"}, {"float": "0x1p+60"}, {"complex": ["nan", "0x0p+0"]},
          {"dtype": "float64"}, {"float": "zz"}]
WORDS = [*plan_file.PRIMITIVES, *plan_file.DTYPES, *plan_file.SCALAR_FUNCTIONS, *plan_file.ROUTINES, "in", "lit",
         "index", "scalar"]


def originals():
    """Texts of plan files, as FACULA_SAVE_PLANS has them."""
    texts = []
    real = host._save
    host._save = lambda *given: (texts.append(plan_file.dump(*given)), "")[1]
    try:
        for program in PROGRAMS:
            program().tolist()
    finally:
        host._save = real
    return texts


def places(value, found):
    """(container, key) of everything below `value`."""
    keys = range(len(value)) if isinstance(value, list) else list(value) if isinstance(value, dict) else ()
    for key in keys:
        found.append((value, key))
        places(value[key], found)
    return found


def change(data, rng):
    container, key = rng.choice(places(data, []))
    old = container[key]
    kind = rng.randrange(7)
    if kind == 0:
        del container[key]
    elif kind == 1 and isinstance(container, list):
        container.insert(rng.randrange(len(container) + 1), old)
    elif kind == 2:
        other, at = rng.choice(places(data, []))
        container[key] = json.loads(json.dumps(other[at]))
    elif kind == 3 and isinstance(old, str):
        container[key] = rng.choice(WORDS)
    elif kind == 4 and type(old) is int:
        container[key] = old + rng.choice((-1, 1, 100, -7, 1 << 33))
    elif kind == 5 and isinstance(old, list):
        rng.shuffle(old)
    else:
        container[key] = json.loads(json.dumps(rng.choice(VALUES)))


def fuzz(first, last):
    """How many files were refused, and how many ran."""
    plan_budget.MOST_MEMORY, plan_budget.MOST_STEPS = BYTES, STEPS
    texts = originals()
    ends = {"refused": 0, "run": 0}
    for seed in range(first, last):
        rng = random.Random(seed)
        data = json.loads(rng.choice(texts))
        for _ in range(rng.choice((1, 1, 1, 2, 4))):
            change(data, rng)
        text = json.dumps(data)
        if seed % 50 == 0:
            text = text[:rng.randrange(len(text))]
        try:
            plan_run.run(plan_file.parse(text))
            ends["run"] += 1
        except PlanFileError:
            ends["refused"] += 1
        except BaseException:
            print(f"seed {seed}: {text}", file=sys.stderr)
            raise
    return ends


def test_changed_files_are_refused_or_run():
    done = subprocess.run([sys.executable, __file__, "0", "400"], capture_output=True, text=True, timeout=1200,
                          env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "FACULA_BACKEND": "cpu"})
    assert done.returncode == 0, done.stderr[-3000:]
    ends = json.loads(done.stdout)
    assert ends["refused"] > 100 and ends["run"] > 20


def one(op, shape, attrs=None, leaves=((4,),), of="float32", **more):
    node = {"op": op, "inputs": list(range(len(leaves))), "attrs": attrs, "scalars": None, "shape": shape, "dtype": of}
    return {"format": "facula-plan", "version": 1, "leaves": [{"shape": list(s), "dtype": of} for s in leaves],
            "nodes": [node | more], "outputs": [len(leaves)], "donated": []}


def twice(n):
    """x added to itself n times over: 2^n terms, written out."""
    return [["in", [], 0], *(["add", [k, k], None] for k in range(n))]


BIG = [[1 << 28], [1 << 28], [1 << 28], [1 << 28]]


@pytest.mark.parametrize("reason, data", [
    ("bytes", one("view", [4], [[1]], BIG, inputs=[0], scalars=[0])),
    ("bytes", one("contract", [1 << 15, 1 << 15], None, ((1 << 15, 1), (1, 1 << 15)))),
    ("steps", one("contract", [1 << 13, 1 << 13], None, ((1 << 13, 1 << 13), (1 << 13, 1 << 13)))),
    ("bytes", one("call", [], ["svd", True], ((1, 1 << 20),), outputs=[])),
    ("bytes", one("call", [], ["fft", "fft", 1 << 40, 0, None])),
    ("steps", one("call", [], ["inv"], ((1 << 12, 1 << 12),))),
    ("bytes", one("call", [], ["special", "zeta"], ((1 << 15, 1), (1 << 15,)))),
    ("in each other", one(None, [4], expr=twice(1000), name="f")),
    ("a shape of more", one("sum", [], [[0, 1, 2]], ((0, 1 << 31, 1 << 31),))),
])
def test_what_asks_for_too_much_is_refused_before_it_is_computed(reason, data):
    if data["nodes"][0]["op"] == "call":
        data["nodes"].append({"op": "pick", "inputs": [len(data["leaves"])], "attrs": [0], "scalars": None, "shape": [],
                              "dtype": "float32"})
        data["outputs"] = [len(data["leaves"]) + 1]
    with pytest.raises(PlanFileError, match=reason):
        plan_file.parse(json.dumps(data))


def test_terms_that_are_shared_are_not_written_out():
    file = plan_file.parse(json.dumps(one(None, [4], expr=twice(100), name="f")))
    assert len(repr(file.nodes[0].op.expr)) < 1 << 14
    _, (found,), _, _ = plan_run.run(file)
    assert found.tolist() == (plan_run.inputs_for(file)[0] * 2.0 ** 100).tolist()


if __name__ == "__main__":
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS))
    print(json.dumps(fuzz(int(sys.argv[1]), int(sys.argv[2]))))
