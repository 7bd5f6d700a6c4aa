"""The programs in examples/ run as a user runs them, and end where PyTorch 2.13 ends for the same seed."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).resolve().parent.parent.parent / "examples"
# Last loss, and how far from it the same program may end. Straight-line fits repeat to 2e-6 (test_seeds.py);
# RMSprop rattles around the minimum; what is left of a two-layer net's loss of 3e7 is all its rounding.
LAST_LOSS = {
    "poly_numpy": (9.086012216, 1e-6), "poly_tensors": (12.286677, 5e-4), "poly_autograd": (12.286677, 5e-4),
    "poly_function": (8.943642, 5e-4), "poly_nn": (9.177204, 5e-4), "poly_optim": (8.935, 0.3),
    "poly_module": (12.286677, 5e-4), "two_layer_numpy": (0, 1e-3), "two_layer_tensors": (0, 1e-3),
    "two_layer_autograd": (0, 1e-3), "two_layer_function": (0, 1e-3), "two_layer_nn": (0, 1e-3),
    "two_layer_optim": (0, 1e-3), "two_layer_module": (0, 1e-3)}
# several_ranks: test_launching.py
OTHERS = {"perceptron", "tensor_basics", "from_numpy", "digits", "several_ranks", "serve", "watching", "generate"}

pytestmark = [pytest.mark.processes, pytest.mark.slow]


@pytest.fixture
def run(python_environment):
    def run(name):
        command = [sys.executable, "-m", "facula", "run", str(EXAMPLES / f"{name}.py")]
        done = subprocess.run(command, env=python_environment, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stderr
        return done.stdout
    return run


def test_every_example_is_tested():
    assert {path.stem for path in EXAMPLES.glob("*.py")} == LAST_LOSS.keys() | OTHERS


def test_serve(run):
    pytest.importorskip("uvicorn")
    assert "positive: True negative: True" in run("serve")


def test_texts_are_served(run):
    pytest.importorskip("starlette")
    assert re.search(r"^the sun is\| a star\.", run("generate"), re.MULTILINE)


@pytest.mark.parametrize("name", LAST_LOSS)
def test_fit(run, name):
    steps = re.findall(r"^(\d+) ([-\d.e+]+)$", run(name), re.MULTILINE)
    due, tolerance = LAST_LOSS[name]
    assert int(steps[-1][0]) in (499, 1999)
    assert float(steps[-1][1]) == pytest.approx(due, abs=tolerance)
    assert float(steps[0][1]) > float(steps[-1][1])


def test_perceptron(run):
    text = run("perceptron")
    assert "(fc1): Linear(in_features=1, out_features=1, bias=True)" in text
    assert float(re.findall(r"loss: ([-\d.e+]+)", text)[9]) < 0.01  # one neuron, after 100 epochs
    assert re.search(r"tensor\(\[\[\[(2\.9|3\.0)\d*\]\]\], grad_fn=<\w+>\)", text)


def test_tensors_and_numpy(run):
    text = run("from_numpy")
    assert text.splitlines() == [
        "tensor([2., 2., 2.], dtype=torch.float64)", "[7. 2. 2.]", "[2. 2. 2.]", "tensor([2., 5., 2.])"]
    assert "torch.Size([5, 3]) torch.float32 cpu" in run("tensor_basics")


def test_a_training_is_watched(run, python_environment, tmp_path):
    from facula import monitor
    python_environment["FACULA_MONITOR_DIR"] = str(tmp_path)
    assert float(re.findall(r"accuracy ([\d.]+)", run("watching"))[0]) > 0.9
    found, = monitor.Folder(tmp_path).runs()
    assert found.series("train/loss").length == 200 and found.keys()["model"] == "graph"


def test_digits_are_learned(run):
    pytest.importorskip("sklearn", reason="the demo's data comes with scikit-learn")
    pytest.importorskip("tqdm", reason="the demo shows its progress with tqdm")
    text = run("digits")
    before, after = (float(x) for x in re.findall(r"test accuracy .*: ([\d.]+)%", text))
    assert before < 30 and after > 95
