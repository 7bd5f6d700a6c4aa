"""What one process has compiled serves the next (targets/plans_on_disk.py): nothing is compiled twice, the bits are the
same, and where anything is not as it was when it was kept, the passes run."""

import math
import os
import random
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import facula
from facula import config, nn
from facula.engine import realize, recorder
from facula.engine.compiler import pipeline, symbols
from facula.engine.compiler.kernel import ANY
from facula.engine.graph import node
from facula.engine.graph.expr import make, operand
from facula.engine.pieces import novelty
from facula.engine.runtime.cpu import object_cache
from facula.engine.targets import plans_on_disk, template
from facula.testing.samples import SAMPLES
from facula.utils._pytree import tree_leaves
from fresh import nothing_seen
from sweep import OPERATIONS, REFUSALS, changed, look_up

pytestmark = [pytest.mark.compiled,
              pytest.mark.skipif(bool(config.THRESHOLD.value) or recorder.LIMIT == 0, reason="counts by the defaults")]
FACULA = str(Path(facula.__file__).parent.parent)


@pytest.fixture
def passes(monkeypatch, tmp_path):
    """How often the passes have run; `again()` makes this a new process, which knows what is on disk alone."""
    monkeypatch.setattr(config.VERIFY, "value", False)
    monkeypatch.setattr(config.CACHE_DIR, "value", str(tmp_path))
    compiled = pipeline.compile_plan
    runs = []

    def count(*given):
        runs.append(bool(symbols.tracing))
        return compiled(*given)

    def again():
        facula.cpu.synchronize()  # of what was
        nothing_seen(monkeypatch)
        runs.clear()
        return runs
    monkeypatch.setattr(pipeline, "compile_plan", count)
    again.kept = lambda: [path for _, _, path in object_cache.entries(str(tmp_path))]
    return again


def batch(n):
    x = facula.arange(n * 6.0).reshape(n, 6) / n
    w = facula.ones(5, 6) / 3
    y = (x.tanh() @ w.t() + facula.arange(5.0)).softmax(-1)
    return [t.numpy().tobytes() for t in ((y * 2).sum(0), y.max(), x.t().flip(0).cumsum(1)[:, 1:])]


def training(sizes):
    facula.manual_seed(0)
    net = nn.Sequential(nn.Linear(7, 9), nn.Tanh(), nn.Linear(9, 3))
    optimizer = facula.optim.AdamW(net.parameters())
    for n in sizes:
        optimizer.zero_grad()
        nn.functional.cross_entropy(net(facula.randn(n, 7)), facula.randint(0, 3, (n,))).backward()
        optimizer.step()
    return [p.detach().numpy().tobytes() for p in net.parameters()]


def test_the_next_process_compiles_nothing(passes):
    runs = passes()
    first = batch(20), training([8, 8, 8])
    assert runs
    runs = passes()
    assert (batch(20), training([8, 8, 8])) == first
    assert not runs


def test_plans_for_other_sizes_serve_it_too(passes):
    sizes = random.Random(0).sample(range(20, 60), 30)
    runs = passes()
    first = training(sizes)
    assert True in runs
    for _ in range(3):  # some sizes were met before there was a template for them, and more of these than are kept
        runs = passes()
        assert training(sizes) == first
    assert not runs
    training([21, 60, 33])  # those that it has not met
    assert not runs


def test_a_plan_of_one_size_tells_that_there_are_some_for_others(passes, monkeypatch):
    """So a graph of a size that is new is not run in pieces, however many new graphs have come."""
    passes()
    training([20, 33, 41, 28, 37, 52, 45])
    training([20] * 3)
    runs = passes()
    training([20] * 4)
    monkeypatch.setattr(novelty, "streak", 9)
    pieces = []
    whole = realize._run_pieces
    monkeypatch.setattr(realize, "_run_pieces", lambda *given: pieces.append(given) or whole(*given))
    runs.clear()
    training([59])
    assert not pieces and not runs


def test_a_size_met_before_makes_a_template_of_another(passes):
    passes()
    batch(20)
    runs = passes()
    batch(21)
    assert True in runs  # at once: 20 has been a sight
    runs = passes()
    batch(22)
    assert not runs


@pytest.mark.parametrize("part", range(8))
def test_what_is_kept_of_every_operation_can_be_had(passes, part, monkeypatch):
    """The entries of every operation with samples are read again, and say what the passes say."""
    named = plans_on_disk.name_of
    unspoken = []
    monkeypatch.setattr(plans_on_disk, "name_of", lambda *given: named(*given) or unspoken.append(given) or "")
    for name in OPERATIONS[part::8][1::3]:
        for sample in list(SAMPLES[name])[:2]:
            results = []
            for _ in range(2):
                runs = passes()
                facula.manual_seed(3)
                try:
                    args = changed(list(sample.args), lambda array: facula.from_numpy(np.array(array)))
                    kwargs = changed(sample.kwargs, lambda array: facula.from_numpy(np.array(array)))
                    found = tree_leaves(look_up(facula, name)(*args, **kwargs))
                    results.append([t.resolve_conj().view(facula.uint8).tolist() if t.dim() else t.item()
                                    for t in found if isinstance(t, facula.Tensor)])
                except REFUSALS:
                    results.append(None)
            assert not runs and not unspoken, (name, runs)
            assert "empty" in name or repr(results[0]) == repr(results[1]), name


def test_an_entry_that_is_damaged_or_lost_is_made_again(passes):
    passes()
    first = batch(20)
    for path in passes.kept():
        if "-e" in os.path.basename(path):
            content = Path(path).read_bytes()
            Path(path).write_bytes(content[:-5] + b"12345")
    runs = passes()
    assert batch(20) == first and runs
    assert passes() == [] and batch(20) == first and not passes()
    runs = passes()
    assert batch(20) == first and not runs


def test_an_entry_names_nothing_but_the_engines_own(passes, monkeypatch):
    """What it holds is read by a reader of its own: `os.system` is not found in it."""
    class Evil:
        def __reduce__(self):
            return os.system, ("touch /tmp/never",)
    passes()
    plans_on_disk._store("evil", Evil())
    assert len(passes.kept()) == 1 and plans_on_disk._load("evil") is None
    for module, name in (("os", "system"), ("builtins", "eval"), ("facula.engine.debug", "sys.exit"),
                         ("facula", "ops"), ("facula.engine.targets.plans_on_disk", "FunctionType"),
                         ("facula.engine.targets.template", "itemgetter"),
                         ("facula.engine.targets.plans_on_disk", "__builtins__")):
        with pytest.raises(plans_on_disk.pickle.UnpicklingError):
            plans_on_disk._Unpickler(plans_on_disk.io.BytesIO(b"")).find_class(module, name)


def test_names_tell_apart_what_plans_do(passes):
    def formula(*numbers):
        return node.Formula("f", make("add", operand(0), make("lit", value=numbers[0])))
    values = [0, 1, True, False, None, "1", 1.0, 0.0, -0.0, math.nan, math.inf, 1j, (), (1,), ((1,),), (1, 2),
              ((1, 2),), (1, (2,)), "a,b", ("a", "b"), facula.float32, facula.int64, "float32", node.VIEW, "view",
              formula(1.0), formula(2.0), formula(-0.0), formula(0.0)]
    said = [plans_on_disk._said((value,)) for value in values]
    assert len(set(said)) == len(values)
    assert plans_on_disk._said((formula(1.0),)) == plans_on_disk._said((formula(1.0),))
    for value in (object(), [1], {1}, np.float32(1), node.Primitive("view", "view")):
        assert plans_on_disk.name_of((1, value), ANY) == ""
    assert plans_on_disk.name_of((1,), ANY) != plans_on_disk.name_of((1,), replace(ANY, caches=(1, 2, 3)))


def test_another_engine_or_other_thresholds_have_other_names(passes, monkeypatch, tmp_path):
    plans_on_disk._engine.cache_clear()
    try:
        name = plans_on_disk.name_of((1,), ANY)
        plans_on_disk._engine.cache_clear()
        assert plans_on_disk.name_of((1,), ANY) == name != ""
        monkeypatch.setattr(config.THRESHOLD, "value", {"tile_ns": 7.0})
        plans_on_disk._engine.cache_clear()
        other = plans_on_disk.name_of((1,), ANY)
        folder = tmp_path / "engine"
        folder.mkdir()
        monkeypatch.setattr(plans_on_disk, "_ENGINE", str(folder))
        plans_on_disk._engine.cache_clear()
        assert plans_on_disk.name_of((1,), ANY) == ""  # no files, no names
        (folder / "a.py").write_text("x = 1")
        plans_on_disk._engine.cache_clear()
        third = plans_on_disk.name_of((1,), ANY)
        os.utime(folder / "a.py", ns=(1, 1))
        plans_on_disk._engine.cache_clear()
        assert len({name, other, third, plans_on_disk.name_of((1,), ANY), ""}) == 5
    finally:
        plans_on_disk._engine.cache_clear()


def test_who_looks_at_the_compiler_sees_it_work(passes, monkeypatch):
    passes()
    batch(20)
    for setting, value in ((config.VERIFY, True), (config.CACHE_LIMIT, 0)):
        monkeypatch.setattr(setting, "value", value)
        runs = passes()
        batch(20)
        assert runs
        monkeypatch.setattr(setting, "value", False if value is True else 1 << 28)


def test_of_a_structure_so_many_are_kept_and_no_more(passes, monkeypatch):
    monkeypatch.setattr(template, "MOST", 0)  # no templates: each size asks for a plan
    passes()
    for n in range(20, 30):
        batch(n)
    exact = [path for path in passes.kept() if "-e" in os.path.basename(path)]
    names = [os.path.basename(path).partition("-e")[0] for path in exact]
    assert max(map(names.count, names)) == plans_on_disk.EXACT


COUNT = """
import sys
sys.path.insert(0, {path!r})
import facula
from facula.engine.compiler import pipeline
runs, compiled = [], pipeline.compile_plan
pipeline.compile_plan = lambda *given: runs.append(1) or compiled(*given)
x = facula.linspace(0, 1, 999).requires_grad_()
(x.sin() * x.exp()).sum().backward()
print(len(runs), x.grad.sum().item())
"""


def test_between_processes(tmp_path):
    env = {**os.environ, "FACULA_CACHE_DIR": str(tmp_path), "FACULA_VERIFY": "0", "FACULA_BACKEND": "cpu"}
    outputs = []
    for seed in ("1", "2"):
        outputs.append(subprocess.run([sys.executable, "-c", COUNT.format(path=FACULA)], check=True, text=True,
                                      capture_output=True, env={**env, "PYTHONHASHSEED": seed}).stdout.split())
    assert int(outputs[0][0]) > 0 == int(outputs[1][0]) and outputs[0][1] == outputs[1][1]
