"""The code in README.md and docs/ runs, JSON there is JSON, the six ways of architecture.md lead where they say."""

import json
import os
import re
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from facula import config

ROOT = Path(__file__).resolve().parent.parent.parent
DOCUMENTS = sorted([ROOT / "README.md", *(ROOT / "docs").glob("*.md")])
pytestmark = pytest.mark.processes  # a document's code in one of its own

NET = """
import facula
facula.manual_seed(0)
net = model = facula.nn.Sequential(facula.nn.Linear(4, 8), facula.nn.ReLU(), facula.nn.Linear(8, 3))
optimizer = facula.optim.SGD(net.parameters(), lr=0.1)
loader = batches = [(facula.randn(5, 4), facula.tensor([0, 1, 2, 0, 1])) for _ in range(8)]
def train(batch):
    optimizer.zero_grad()
    loss = facula.nn.functional.cross_entropy(net(batch[0]), batch[1])
    loss.backward()
    optimizer.step()
    return loss
"""
# What a piece of code needs that its text has made before, and what has to come of it: by the document, in order.
PIECES = {
    "README.md": [("", "assert loss.item() < 0.1")],
    "mixed-precision.md": [(NET, "assert loss.isfinite() and scaler.get_scale() > 1")],
    "watching.md": [
        (NET + "loss, w = train(loader[0]), net[0].weight\nx = facula.rand(1, 3, 8, 8)",
         "found, = monitor.Folder('monitor').runs()\nassert found.series('train/loss').length == 1000"),
        (NET, "assert 'Sequential.0' in prof.by_module().table() and __import__('os').path.getsize('trace.json.gz')")],
    "serving.md": [
        ("", "assert Words().predict({}) is None"),
        ("class Counting(Handler):", "assert list(Counting().stream({'x': 2}))[3] == {'y': 6}"),
        ("", "assert callable(app) and models is not None"),
        ("""
from facula import nn
from facula.serving.generation import Sizes
""", "assert Decoder.sizes.vocabulary == 257 and issubclass(Decoder, nn.Module)")]}


def pieces(path, language):
    return re.findall(rf"^```{language}\n(.*?)^```", path.read_text(encoding="utf-8"), re.M | re.S)


def run(source, folder):
    env = {**os.environ, "PYTHONPATH": str(ROOT / "src"), "FACULA_MONITOR_DIR": "monitor"}
    done = subprocess.run([sys.executable, "-c", source], cwd=folder, env=env, capture_output=True, text=True,
                          timeout=300)
    assert not done.returncode, done.stderr[-3000:]
    return done.stdout


def test_every_piece_of_code_is_run():
    assert {path.name: len(found) for path in DOCUMENTS if (found := pieces(path, "python"))} == {
        name: len(given) for name, given in PIECES.items()}


@pytest.mark.parametrize("name", PIECES)
def test_code_runs(name, tmp_path):
    if name == "serving.md":
        pytest.importorskip("starlette")
    path = ROOT / name if name == "README.md" else ROOT / "docs" / name
    run("\n".join(part for (before, after), piece in zip(PIECES[name], pieces(path, "python"), strict=True)
                  for part in (before, piece, after)), tmp_path)


def test_json_is_json():
    found = [json.loads(text) for path in DOCUMENTS for text in pieces(path, "json")]
    assert found[0]["inputs"][0]["name"] == "x"


# ---- the ways of six calls ---------------------------------------------------------------------------------------

WAYS = """
    import io, json, os, sys
    import facula
    from facula import nn
    SOURCE = os.path.dirname(facula.__file__) + os.sep

    def way(call):
        seen = set()
        def hear(frame, event, argument):
            seen.add(frame.f_code.co_filename)
        sys.setprofile(hear)
        try:
            call()
        finally:
            sys.setprofile(None)
        return sorted(name[len(SOURCE):] for name in seen if name.startswith(SOURCE))

    x, y = facula.ones(5, 7), facula.ones(5, 7)
    r, net = facula.ones(5, 7, requires_grad=True), nn.Linear(7, 3)
    loss, optimizer = (net(x) ** 2).sum(), facula.optim.AdamW(net.parameters())
    deep = nn.Sequential(*[nn.Linear(7, 7) for _ in range(20)])
    deep(x).sum().backward()
    many = facula.optim.AdamW(deep.parameters())
    image, weight = facula.ones(2, 3, 8, 15), facula.ones(4, 3, 3, 3)
    channel = facula.ones(3, 1, 3, 3)
    print(json.dumps({
        "x + y": way(lambda: (x + y).tolist()), "x.relu()": way(lambda: r.relu()),
        "loss.backward()": way(lambda: loss.backward()),
        "optimizer.step()": way(lambda: (optimizer.step(), many.step())),
        "conv2d": way(lambda: (facula.conv2d(image, weight, padding=1).sum().item(),
                               facula.conv2d(image, channel, padding=1, groups=3).sum().item())),
        "torch.save": way(lambda: facula.save(net.state_dict(), io.BytesIO()))}))
"""
# Where there is something to read, though no function of it is called: a class, what made the function, what
# is for many parameters alone.
READ = {"ops/elementwise/kinds.py", "autograd/graph.py", "optim/adamw.py", "optim/_flush.py", "engine/trace/rows.py"}


@pytest.mark.compiled
@pytest.mark.skipif(config.EAGER.value, reason="nothing is pending in eager mode")
def test_calls_go_through_the_files_that_are_named(tmp_path, monkeypatch):
    monkeypatch.setenv("FACULA_CACHE_DIR", str(tmp_path / "cache"))  # nothing has been compiled before
    ways = json.loads(run(textwrap.dedent(WAYS), tmp_path))
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    section = text.partition("## The ways of six calls")[2].partition("\n## ")[0]
    told = {}
    for entry in section.split("\n* **`")[1:]:
        call, _, rest = entry.partition("`**")
        folder, told[call] = "", []
        for name in re.findall(r"`([\w/]+\.py)`", rest):
            folder = name.rpartition("/")[0] if "/" in name else folder
            told[call].append(name if "/" in name else f"{folder}/{name}")
    assert told.keys() == ways.keys()
    assert not {call: missing for call, names in told.items()
                if (missing := set(names) - READ - set(ways[call]))}
    assert all((ROOT / "src" / "facula" / name).exists() for names in told.values() for name in names)
