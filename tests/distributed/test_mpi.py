"""The backend "mpi": the same collectives, ranks and bits, under mpiexec. Skipped where mpi4py is not installed."""

import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from facula import distributed as dist

HERE = Path(__file__).parent
HAS_MPI = importlib.util.find_spec("mpi4py") is not None
MPIEXEC = shutil.which("mpiexec", path=os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")]))


def test_without_mpi4py_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "mpi4py", None)
    with pytest.raises(ModuleNotFoundError, match=r"facula\[distributed\]"):
        dist.init_process_group("mpi")
    assert not dist.is_initialized()


@pytest.mark.processes
@pytest.mark.skipif(not HAS_MPI or MPIEXEC is None, reason="needs mpi4py and an MPI: pip install 'facula[distributed]'")
@pytest.mark.parametrize("size", [3, 4])
def test_collectives_under_mpiexec(size, python_environment, tmp_path):
    """The work of test_collectives.py itself, each rank a process of mpiexec's."""
    program = tmp_path / "program.py"
    program.write_text(
        "import sys\n"
        f"sys.path[:0] = [{str(HERE)!r}, {str(HERE.parent / 'support')!r}]\n"
        "import test_collectives as tests\n"
        "from datetime import timedelta\n"
        "from facula import distributed as dist\n"
        "dist.init_process_group('mpi', timeout=timedelta(seconds=100))\n"
        "rank, size = dist.get_rank(), dist.get_world_size()\n"
        f"assert size == {size} and dist.get_backend() == 'mpi'\n"
        "works = {3: [tests._every_dtype, tests._every_op, tests._lists, tests._objects], 4: [tests._sums_in_order]}\n"
        "for work in works[size]: work(rank, size)\n"
        "dist.barrier()\n"
        "if rank == 0: print('all right')\n"
        "dist.destroy_process_group()\n")
    done = subprocess.run([MPIEXEC, "-n", str(size), sys.executable, str(program)], env=python_environment,
                          capture_output=True, text=True, timeout=300)
    assert done.returncode == 0 and "all right" in done.stdout, done.stdout + done.stderr
