"""The `facula` command, run as a user runs it, and the text of explain and doctor from records."""

import io
import json
import subprocess
import sys

import pytest


@pytest.fixture
def command(python_environment, tmp_path):
    def run(*arguments, status=0, stdin=None):
        done = subprocess.run([sys.executable, "-m", "facula", *map(str, arguments)], env=python_environment,
                              cwd=tmp_path, capture_output=True, text=True, timeout=120, input=stdin)
        assert done.returncode == status, done.stdout + done.stderr
        return done
    return run


@pytest.mark.processes
def test_run_is_python_with_another_torch(command, tmp_path):
    (tmp_path / "helper.py").write_text("import torch\nANSWER = torch.ones(2).sum().item()\n")
    script = tmp_path / "program.py"
    script.write_text(
        "import sys, torch, facula, helper\n"
        "assert torch is facula and __name__ == '__main__' and __file__.endswith('program.py')\n"
        "assert sys.modules['__main__'].__dict__ is globals()\n"
        "import atexit; VALUE = 'still here'; atexit.register(lambda: print(VALUE))\n"
        "print(sys.argv[1:], helper.ANSWER)\n")
    assert command("run", script, "--compat", "x", "-q").stdout.splitlines() == [
        "['--compat', 'x', '-q'] 2.0", "still here"]
    (tmp_path / "package").mkdir()
    (tmp_path / "package" / "__main__.py").write_text(
        "import torch; print('folder', __name__, torch.__name__)")
    assert command("run", tmp_path / "package").stdout == "folder __main__ facula\n"
    assert command("run", "-m", "package", "a").stdout == "folder __main__ facula\n"
    assert command("run", "-", stdin="import torch; print(torch.__name__)").stdout == "facula\n"


@pytest.mark.processes
def test_run_reports_errors_as_python_does(command, tmp_path):
    script = tmp_path / "wrong.py"
    script.write_text("def inner():\n    return 1 / 0\n\ninner()\n")
    text = command("run", script, status=1).stderr
    assert text.startswith("Traceback (most recent call last):\n  File") and "ZeroDivisionError" in text
    assert text.count("  File ") == 2 and "facula" not in text.replace(str(tmp_path), "")
    script.write_text("def broken(:\n")
    text = command("run", script, status=1).stderr
    assert "SyntaxError" in text and "cli" not in text.replace(str(tmp_path), "")
    script.write_text("raise SystemExit(7)")
    command("run", script, status=7)
    assert "can't open file" in command("run", tmp_path / "absent.py", status=1).stderr


@pytest.mark.processes
def test_threads(command, tmp_path):
    script = tmp_path / "threads.py"
    script.write_text("import torch, os; print(torch.get_num_threads(), os.environ['FACULA_NUM_THREADS'])")
    assert command("run", "--threads", 1, script).stdout == "1 1\n"
    assert "--threads" in command("run", "--threads", 0, script, status=2).stderr


@pytest.mark.processes
def test_version_and_help(command):
    assert command("--version").stdout.startswith("facula 0.")
    assert "explain" in command(status=2).stdout


@pytest.mark.processes
@pytest.mark.compiled  # what it explains is compiled plans
def test_explain(command, tmp_path):
    script = tmp_path / "small.py"
    script.write_text("import torch\nx = torch.randn(64, 64)\nprint(torch.relu(x * 2 + 1).sum().item() > 0)\n"
                      "raise SystemExit(3)\n")
    done = command("explain", "--json", "log.json", script, status=3)
    assert done.stdout.startswith("True\n") and "plans" in done.stdout
    assert "this machine: " in done.stdout and "of the machine's" in done.stdout
    records = json.loads((tmp_path / "log.json").read_text())
    assert {"title", "runs", "seconds", "kernels"} <= records[0].keys()


@pytest.mark.processes
@pytest.mark.compiled
@pytest.mark.slow
def test_doctor_finds_the_kernels_right(command):
    text = command("doctor").stdout
    assert "llvmlite" in text and " 0 failed" in text


def test_text_of_a_plan_log():
    from facula.cli.explain import write_log
    kernel = {"title": "reduce sum", "notes": ["column by column"], "tiles": 4, "ns": 2000.0, "bytes": 40_000,
              "flops": 10_000}
    host = {"title": "sort", "notes": [], "tiles": 0, "ns": 5.0, "bytes": 0, "flops": 0}
    records = [{"title": "dear", "runs": 10, "seconds": 3e-2, "refused": ["matmul: its tiles differ"],
                "kernels": [kernel, host]},
               {"title": "cheap", "runs": 1, "seconds": 1e-2, "refused": [], "kernels": []}]
    out = io.StringIO()
    write_log(records, {"bandwidth": 40e9, "flops": 100e9}, out)
    text = out.getvalue()
    assert "2 plans, 11 runs, 40 ms" in text
    assert text.index("cheap") < text.index("dear")  # the costliest last, where a terminal shows it
    assert "10 runs, 30 ms (75% of all), 3 ms a run" in text
    assert "reduce sum: 2 us; 4 tiles; 40 kB at 20 GB/s, 50% of the machine's; 10 kflop at 5 Gflop/s" in text
    assert "column by column" in text and "not fused: matmul: its tiles differ" in text
    assert "1. sort: 5 ns; in NumPy\n" in text
    out = io.StringIO()
    write_log(records, {}, out, top=1)
    assert "dear" in out.getvalue() and "cheap" not in out.getvalue() and "machine" not in out.getvalue()


def test_text_of_a_doctor_report():
    from facula.cli.doctor import write_report
    checks = [("sin", True, ""), ("mm", False, "off")]
    section = {"title": "processor", "facts": [("cores", 2)], "checks": checks}
    out = io.StringIO()
    assert write_report([section], out) == 1
    assert out.getvalue().splitlines() == [
        "processor", "  cores  2", "  sin    ok", "  mm     FAILED: off", "1 checks passed, 1 failed"]
