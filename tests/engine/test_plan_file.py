"""A plan as a file: random programs give the same values after the round trip, hostile files clear errors."""

import functools
import json
import os
import subprocess
import sys

import numpy as np
import pytest

import compiler_harness
import facula as F
from facula import config
from facula.engine import plan_file, plan_folder, plan_run, realize
from facula.engine.graph.node import CONST
from facula.errors import PlanFileError
from fresh import nothing_seen
from test_compiler_random import Program

pytestmark = pytest.mark.compiled
PROGRAMS = {
    "softmax": lambda: F.rand(4, 6).exp().softmax(1).t().cumsum(0),
    "views": lambda: F.rand(4, 6)[1:, ::2].flip([0]) * 2.5 + F.full((2, 3, 3), float("inf")),
    "writes": lambda: F.rand(4, 6).slice_scatter(F.zeros(2, 6), 0, 1, 3) + 1j,
    "rows": lambda: F.rand(5, 3)[F.arange(4) % 3].index_add(0, F.tensor([0, 0]), F.ones(2, 3)),
    "products": lambda: (F.rand(3, 4) @ F.rand(4, 5)).relu().argmax(1),
    "routine": lambda: F.linalg.det(F.rand(3, 3) + F.eye(3)) * F.rand(2).to(F.bfloat16),
    "sorted": lambda: F.rand(3, 4).sort(1).values.amax(0).to(F.int32),
}


@pytest.fixture
def saved(monkeypatch, tmp_path):
    monkeypatch.setattr(config.SAVE_PLANS, "value", str(tmp_path))
    nothing_seen(monkeypatch)
    return tmp_path


@pytest.mark.parametrize("name", PROGRAMS)
def test_round_trip(name, saved):
    PROGRAMS[name]().tolist()
    files = sorted(saved.glob("plan-*.json"))
    assert files
    for path in files:
        file = plan_file.load(path)
        again = plan_file.dump([*file.constants, *file.nodes], file.leaves, file.outputs, file.donated)
        assert json.loads(again) == json.loads(path.read_text())
        wanted = plan_run.interpreted(file, plan_run.inputs_for(file))
        _, found, times, _ = plan_run.run(file)
        assert times
        for node, a, b in zip(file.outputs, found, wanted, strict=True):
            if node.dtype is F.bfloat16:
                a, b = a.astype(np.int64), b.astype(np.int64)
            np.testing.assert_allclose(a, b, 1e-5, 1e-5)


@pytest.mark.parametrize("seed", range(40))
def test_round_trip_of_random_graphs(seed):
    """Bit for bit: what is loaded compiles to the same kernels, which give the same values."""
    program = Program(seed, F.float32)
    for _ in range(12):
        program.step()
    outputs = [n for n in program.pool if n.buffer is None][-2:]
    assert outputs
    order, leaves, _, _ = compiler_harness.graph_of(outputs)
    constants = [n for n in order if n.op is CONST]
    nodes = [n for n in order if n.op is not CONST]
    outputs = [n for n in outputs if n.op is not CONST]
    given = plan_file.PlanFile(nodes, leaves, outputs, [], constants)
    for node in (*constants, *nodes):
        if node.scalars:
            given.numbers_at[node] = len(given.numbers)
            given.numbers += node.scalars
    loaded = plan_file.parse(plan_file.dump(nodes, leaves, outputs))
    assert loaded.numbers == given.numbers
    one, two = plan_run.run(given), plan_run.run(loaded)
    assert one[0].describe() == two[0].describe()
    for a, b in zip(one[1], two[1], strict=True):
        assert a.tobytes() == b.tobytes()


def test_a_file_is_there_whole_or_not_at_all(tmp_path, monkeypatch):
    path = tmp_path / "folder" / "plan-1.json"
    plan_folder.save(path, "first")
    plan_folder.save(path, "second")
    assert [p.name for p in path.parent.iterdir()] == ["plan-1.json"] and path.read_text() == "second"

    def full(*paths):
        raise OSError("no space")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(OSError, match="no space"):
        plan_folder.save(path, "third")
    assert [p.name for p in path.parent.iterdir()] == ["plan-1.json"] and path.read_text() == "second"


def test_the_folder_of_saved_plans_is_bounded(tmp_path, monkeypatch):
    monkeypatch.setattr(plan_folder, "MOST_SAVED", 1000)
    (tmp_path / "mine.json").write_text("x" * 5000)
    for k in range(40):
        plan_folder.save(tmp_path / f"plan-{k}.json", "x" * 90)
        os.utime(tmp_path / f"plan-{k}.json", ns=(k, k))
    left = {p.name for p in tmp_path.glob("plan-*.json")}
    assert {"plan-39.json", "plan-38.json"} < left and sum(p.stat().st_size for p in tmp_path.glob("plan-*")) <= 1000
    assert (tmp_path / "mine.json").exists()  # what is not ours stays


def test_a_failure_names_the_file(saved, monkeypatch):
    from facula.engine.compiler import pipeline
    fuse = pipeline.fuse
    monkeypatch.setattr(pipeline, "fuse", functools.partial(fuse, None))  # no frame of ours: the compiler's own error
    monkeypatch.setattr(config.VERIFY, "value", False)  # else it is raised
    x = F.rand(3, 3)
    with pytest.warns(RuntimeWarning, match=rf"The graph is in {saved}"):
        (x + 1).tolist()


def text_of():
    x = realize.leaf(np.ones((3, 4), np.float32), (3, 4), F.float32)
    node = plan_file.Node(plan_file.PRIMITIVES["view"], (x,), ((1,),), (0,), (4,), F.float32)
    return json.loads(plan_file.dump([node], [x], [node]))


@pytest.mark.parametrize("reason, change", [
    ("no primitive 'system'", {"op": "system"}),
    ("no primitive", {"op": "buffer"}),
    ("from 9, in a base of 12", {"scalars": [9]}),
    ("from -1, in a base of 12", {"scalars": [-1]}),
    ("region of", {"attrs": [[100]]}),
    ("not a shape", {"shape": [-4]}),
    ("more than", {"shape": [1 << 40]}),
    ("no dtype", {"dtype": "object"}),
    ("earlier value", {"inputs": [1]}),
    ("earlier value", {"inputs": [-1]}),
    ("takes 1 inputs", {"inputs": [0, 0]}),
    ("no host routine", {"op": "call", "attrs": ["os.system"]}),
    ("no scalar function", {"op": None, "name": "f", "expr": [["eval", [], None]]}),
    ("earlier value", {"op": None, "name": "f", "expr": [["neg", [0], None]]}),
    ("sound plan file", {"attrs": None}),
    ("sound plan file", {"inputs": None}),
])
def test_hostile_files(reason, change):
    data = text_of()
    plan_file.parse(json.dumps(data))
    data["nodes"][0].update(change)
    with pytest.raises(PlanFileError, match=reason):
        plan_file.parse(json.dumps(data))


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"format": "facula-plan"}', "[" * 100_000, '{"format": 3}',
                                  '{"format": "facula-plan", "version": 1, "leaves": 3, "nodes": []}'])
def test_what_is_no_plan_file(text):
    with pytest.raises(PlanFileError):
        plan_file.parse(text)


def test_explain_runs_a_file(saved):
    F.rand(4, 6).exp().sum(1).tolist()
    path = max(saved.glob("*.json"), key=lambda p: p.stat().st_size)
    done = subprocess.run([sys.executable, "-m", "facula", "explain", str(path)], capture_output=True, text=True,
                          env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)})
    assert done.returncode == 0, done.stderr
    assert "as the interpreter computes it" in done.stdout and "kernel" in done.stdout
    path.write_text("{}")
    done = subprocess.run([sys.executable, "-m", "facula", "explain", str(path)], capture_output=True, text=True,
                          env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)})
    assert done.returncode == 2 and "not a plan file" in done.stderr
