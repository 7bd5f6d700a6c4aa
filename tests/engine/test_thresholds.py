"""FACULA_THRESHOLDS: with all at their smallest, the tests' small tensors meet donated memory, cut sums, many tiles,
evicted plans and woken threads. Mutants that no test of small tensors saw otherwise are caught so."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import facula as F
from facula import config
from facula._tensor.reading import read
from facula.engine.realize import value_of

ROOT = Path(__file__).resolve().parent.parent.parent
pytestmark = [pytest.mark.compiled,
              pytest.mark.skipif(config.EAGER.value, reason="nothing is pending in eager mode")]
PARTS = {
    "random programs": ["tests/sweeps/test_random_programs.py"],
    "writes": ["tests/engine/test_thresholds.py", "-k", "indexed_write or only_an_array"],
    "replays": ["tests/autograd/test_replay.py"],
    "replacing": ["tests/engine/test_replacing.py"],
    "compiler": ["tests/engine/compiler/test_compiler_random.py"],
    "products": ["tests/engine/compiler/test_matmul.py", "-k", "not spills and not generic"],
    "sweep": ["tests/sweeps/test_sweep_forward.py", "-k",
              "sum or softmax or index or scatter or norm or matmul or conv"],
}
# What is changed, where, and the part that has to notice. The places are named by what stands in them: a mutant that no
# longer applies fails, and is to be written anew.
# A limit of liveness is measured by the function that uses it: what is changed has to come after the measuring.
MUTANTS = {
    "a leaf that a tensor holds is donated": (
        "engine/trace/step.py", r"^(liveness.calibrate\(globals\(\), (\"_LONE_LEAF\").*)", r"\1\nglobals()[\2] += 1",
        ["tests/engine/test_thresholds.py", "-k", "test_nobody_notices_an_indexed_write"]),
    "memory that NumPy holds is donated": (
        "engine/trace/step.py", r"^(liveness.calibrate\(globals\(\), (\"_LONE_MEMORY\").*)", r"\1\nglobals()[\2] += 2",
        ["tests/engine/test_thresholds.py", "-k", "test_memory_that_only_an_array_holds"]),
    "a rule that looked at values is replayed": (
        "engine/trace/replay.py", r"if blind and \[", "if [", ["tests/autograd/test_replay.py", "-k", "rule_looks"]),
}


def run_tests(arguments, folder, thresholds="smallest"):
    env = {**os.environ, "FACULA_THRESHOLDS": thresholds, "FACULA_BACKEND": "cpu",
           "PYTHONPATH": os.pathsep.join([str(folder / "src"), str(folder / "tests/support")])}
    env.pop("PYTEST_ADDOPTS", None)
    return subprocess.run([sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", *arguments],
                          cwd=folder, env=env, capture_output=True, text=True)


@pytest.mark.parametrize("part", PARTS)
def test_all_at_their_smallest(part):
    done = run_tests(PARTS[part], ROOT)
    assert done.returncode == 0, done.stdout[-3000:]
    assert re.search(r"[1-9]\d* passed", done.stdout)


@pytest.mark.parametrize("name", MUTANTS)
def test_mutants_are_caught(name, tmp_path):
    file, pattern, changed, tests = MUTANTS[name]
    for part in ("src", "tests"):
        shutil.copytree(ROOT / part, tmp_path / part, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    path = tmp_path / "src" / "facula" / file
    text, times = re.subn(pattern, changed, path.read_text(), flags=re.M)
    assert times == 1, f"{pattern} stands {times} times in {file}"
    path.write_text(text)
    done = run_tests(tests, tmp_path)
    assert done.returncode == 1, done.stdout[-3000:]  # 1: a test failed
    assert re.search(r"AssertionError|^E +assert", done.stdout, re.M), done.stdout[-3000:]


WRITES = {
    "index_fill": lambda x: x.index_fill(0, F.tensor([1]), 7.0),
    "index_add": lambda x: x.index_add(0, F.tensor([1, 1]), F.ones(2, 3)),
    "masked_fill": lambda x: x.masked_fill(x > 2, 0.0),
    "scatter": lambda x: x.scatter(1, F.tensor([[0], [2]]), 5.0),
    "clone": lambda x: x.clone().fill_(3.0),
    "slice": lambda x: x.slice_scatter(F.zeros(2, 3), 0, 1, 3),
    "formula": lambda x: x * 2 + 1,
}


@pytest.mark.parametrize("write", WRITES)
def test_nobody_notices_an_indexed_write(write):
    F.manual_seed(0)  # some elements are above 2, each time
    for _ in range(3):
        x = F.rand(4, 3).exp()
        before = x.tolist()
        changed = WRITES[write](x).tolist()
        assert x.tolist() == before
        assert changed != before
        y = F.rand(4, 3).exp()
        held = y.numpy()
        copy = held.copy()
        result = WRITES[write](y)
        del y
        result.tolist()
        assert (held == copy).all()


@pytest.mark.parametrize("write", WRITES)
def test_memory_that_only_an_array_holds(write):
    """The node has died, its memory is still being read."""
    for _ in range(3):
        x = F.rand(4, 3).exp()
        array = value_of(read(x))
        before = array.copy()
        result = WRITES[write](x)
        del x
        result.tolist()
        assert (array == before).all()


# ---- the setting itself


def ask(text, what="print(config.THRESHOLD.value)"):
    return subprocess.run([sys.executable, "-c", f"from facula import config\n{what}"], capture_output=True, text=True,
                          env={**os.environ, "FACULA_THRESHOLDS": text, "PYTHONPATH": str(ROOT / "src")})


def test_values_and_the_preset():
    assert ask("tile_ns=7, replace_bytes=4K").stdout == "{'tile_ns': 7.0, 'replace_bytes': 4096.0}\n"
    both = "print(config.threshold('tile_ns'), config.threshold('arena_bytes'), config.threshold('wake_ns'))"
    assert ask("smallest,tile_ns=7", both).stdout == ask("tile_ns=7,smallest", both).stdout == "7 0 0\n"
    assert ask("", both).stdout == "2500 1048576 100000\n"


@pytest.mark.parametrize("text", ["tile", "tile_ns", "tile_ns=", "tile_ns=x", "tile_ns=0", "other=3", "smaller"])
def test_what_is_wrong_is_said(text):
    done = ask(text)
    assert done.returncode and "FACULA_THRESHOLDS" in done.stderr


def test_every_threshold_is_in_force_somewhere():
    source = "".join(path.read_text() for path in (ROOT / "src" / "facula").rglob("*.py"))
    for name, threshold in config.THRESHOLDS.items():
        assert f'threshold("{name}")' in source
        assert threshold.smallest < threshold.default and threshold.doc
