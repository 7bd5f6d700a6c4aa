"""Where llvmlite cannot be imported: programs run on the interpreter, and say the same."""

import subprocess
import sys

import pytest

# The finder refuses the import as Python does where the package is not installed.
BLOCKED = """
import sys

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "llvmlite":
            raise ModuleNotFoundError("No module named 'llvmlite'", name="llvmlite")

sys.meta_path.insert(0, Absent())
"""

PROGRAMS = {
    "a fused sum": ("x = f.arange(6.).reshape(2, 3)\nprint((x * 2 + 1).sum(1).tolist())", "[9.0, 27.0]"),
    "a product": ("x = f.arange(4.).reshape(2, 2)\nprint((x @ x).tolist())", "[[2.0, 3.0], [6.0, 11.0]]"),
    "a gradient": (
        "x = f.tensor([1., -2.], requires_grad=True)\n(x.relu() * x).sum().backward()\n"
        "print(x.grad.tolist())",
        "[2.0, 0.0]",
    ),
    "a gather": ("print(f.arange(5)[f.tensor([4, 0])].tolist())", "[4, 0]"),
    "a trained weight": (
        "w = f.tensor([4.], requires_grad=True)\no = f.optim.SGD([w], 0.25)\n"
        "for _ in range(2):\n    o.zero_grad()\n    (w * w).sum().backward()\n    o.step()\n"
        "print(w.tolist())",
        "[1.0]",
    ),
    "a backward pass that is replayed": (
        "w = f.tensor([4.], requires_grad=True)\n"
        "for _ in range(8):\n    w.grad = None\n    (w.sqrt() * w).sum().backward()\nprint(w.grad.tolist())",
        "[3.0]",
    ),
}


# So that it is not even found: what FACULA_BACKEND=auto goes by.
MISSING = "import sys\nsys.modules['llvmlite'] = None"


@pytest.mark.processes
@pytest.mark.parametrize("backend, way", [("interpreter", BLOCKED), ("auto", MISSING)], ids=["asked for", "missing"])
@pytest.mark.parametrize("program, said", PROGRAMS.values(), ids=PROGRAMS)
def test_programs_run_on_the_interpreter(program, said, backend, way, python_environment):
    python_environment["FACULA_BACKEND"] = backend
    code = f"{way}\nimport facula as f\n{program}\nassert not sys.modules.get('llvmlite')"
    ran = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        env=python_environment, capture_output=True, text=True, timeout=120,
    )
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.strip() == said
