"""`torchrun` and `facula launch`: what workers find, what becomes of those that fail, and that nothing is left
behind."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from facula import config
from facula.distributed.launcher.options import parsed, streams
from facula.distributed.run import main

pytestmark = pytest.mark.processes


@pytest.fixture(autouse=True)
def secret_of_its_own(monkeypatch):
    monkeypatch.setenv("FACULA_DISTRIBUTED_SECRET", "")
    before = config.DISTRIBUTED_SECRET.value
    yield
    config.DISTRIBUTED_SECRET.value = before


def _shell(tmp_path, text):
    """A program that costs nothing to start."""
    file = tmp_path / "program.sh"
    file.write_text("#!/bin/sh\n" + text)
    file.chmod(0o755)
    return str(file)


def _logs(folder, name="stdout.log"):
    return {str(p.relative_to(folder)).split(os.sep, 1)[1]: p.read_text() for p in folder.rglob(name)}


def test_what_workers_find(tmp_path, capfd):
    names = ("RANK LOCAL_RANK WORLD_SIZE LOCAL_WORLD_SIZE GROUP_RANK GROUP_WORLD_SIZE ROLE_RANK ROLE_WORLD_SIZE "
             "ROLE_NAME "
             "MASTER_ADDR TORCHELASTIC_RESTART_COUNT TORCHELASTIC_MAX_RESTARTS TORCHELASTIC_RUN_ID "
             "TORCHELASTIC_USE_AGENT_STORE OMP_NUM_THREADS")
    program = _shell(tmp_path, "echo " + " ".join(f"${n}" for n in names.split()) + " $1\n"
                     "test -n \"$MASTER_PORT\" && test ${#FACULA_DISTRIBUTED_SECRET} = 64\n")
    code = main(["--standalone", "--nproc_per_node=2", "--rdzv-id", "job", "--log-dir", str(tmp_path / "logs"),
                 "--tee", "3", "--local-ranks-filter", "1", "--no-python", "--max-restarts=3", program, "argument"])
    assert code == 0
    logs = _logs(tmp_path / "logs")
    thread_count = os.environ.get("OMP_NUM_THREADS", "1")
    for rank in (0, 1):
        assert logs[f"attempt_0/{rank}/stdout.log"].split() == [
            str(rank), str(rank), "2", "2", "0", "1", str(rank), "2", "default", "127.0.0.1", "0", "3", "job", "True",
            thread_count, "argument"]
    said = capfd.readouterr().out
    assert "[default1]:1 1 2" in said and "[default0]" not in said


def test_a_failure_ends_all_and_is_told(tmp_path, capfd):
    program = _shell(tmp_path, "if [ $RANK = 1 ]; then exit 7; fi\ntrap 'exit 0' TERM\nsleep 60 & wait\n")
    since = time.monotonic()
    assert main(["--nproc-per-node", "2", "--no-python", "--redirects", "3", program]) == 1
    assert time.monotonic() - since < 30
    said = capfd.readouterr().err
    assert "FAILED" in said and "rank 1 (local rank 1, process" in said and "exit code 7" in said


def test_restarts(tmp_path, capfd):
    program = _shell(tmp_path, f"echo $TORCHELASTIC_RESTART_COUNT >> {tmp_path}/seen.$RANK\n"
                     "test $TORCHELASTIC_RESTART_COUNT = 2 || { test $RANK = 1 && kill -9 $$; sleep 60; }\n")
    assert main(["--nproc-per-node", "2", "--no-python", "--max-restarts", "2", program]) == 0
    assert (tmp_path / "seen.0").read_text().split() == (tmp_path / "seen.1").read_text().split() == ["0", "1", "2"]
    assert "by SIGKILL, and has told nothing; starting all workers anew (2 of at most 2" in capfd.readouterr().err
    assert main(["--nproc-per-node", "2", "--no-python", "--max-restarts", "1", program]) == 1


def _cheap_launcher(tmp_path, python_environment, *options):
    return subprocess.Popen([sys.executable, "-m", "facula", "launch", *options], env=python_environment,
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def _gone(pid):
    until = time.monotonic() + 20
    while time.monotonic() < until:
        try:
            with open(f"/proc/{pid}/stat") as file:
                if file.read().rpartition(")")[2].split()[0] == "Z":
                    return True
        except FileNotFoundError:
            return True
        time.sleep(0.05)
    return False


@pytest.mark.skipif(sys.platform != "linux", reason="asks the kernel to end workers with the launcher")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_workers_end_with_their_launcher(tmp_path, python_environment, number):
    program = _shell(tmp_path, f"echo $$ > {tmp_path}/pid.$RANK.part && mv {tmp_path}/pid.$RANK.part "
                               f"{tmp_path}/pid.$RANK\n"
                     "exec sleep 300\n")
    launcher = _cheap_launcher(tmp_path, python_environment, "--nproc-per-node", "2", "--no-python", program)
    until = time.monotonic() + 120
    while len(list(tmp_path.glob("pid.?"))) < 2 and time.monotonic() < until:
        time.sleep(0.05)
    pids = [int(p.read_text()) for p in tmp_path.glob("pid.?")]
    launcher.send_signal(number)
    launcher.communicate(timeout=60)
    assert len(pids) == 2 and all(_gone(pid) for pid in pids)
    assert launcher.returncode == (128 + number if number == signal.SIGTERM else -number)


def test_a_program_of_two_ranks(tmp_path, python_environment):
    """`import torch` is Facula; the group comes by env://; a failure is told with its own traceback, then a restart."""
    program = tmp_path / "program.py"
    program.write_text(
        "import os, torch, torch.distributed as dist\n"
        "dist.init_process_group('gloo')\n"
        "x = torch.ones(2) * (dist.get_rank() + 1)\n"
        "dist.all_reduce(x)\n"
        "if os.environ['TORCHELASTIC_RESTART_COUNT'] == '0' and dist.get_rank() == 1: raise KeyError('lost it')\n"
        "dist.barrier()\n"
        f"open({str(tmp_path)!r} + f'/found.{{dist.get_rank()}}', 'w').write(str([x.tolist(), "
        f"dist.is_torchelastic_launched()]))\n"
        "dist.destroy_process_group()\n")
    environment = {**python_environment, "FACULA_DISTRIBUTED_SECRET": ""}
    done = subprocess.run([sys.executable, "-m", "facula", "launch", "--nproc-per-node=2", "--max-restarts=1",
                           "--log-dir", str(tmp_path / "logs"), str(program)], env=environment, capture_output=True,
                          text=True, timeout=400)
    assert done.returncode == 0, done.stderr
    for rank in (0, 1):
        assert json.loads((tmp_path / f"found.{rank}").read_text().replace("True", "true")) == [[3.0, 3.0], True]
    assert "KeyError: 'lost it'" in done.stderr and "starting all workers anew" in done.stderr
    errors = _logs(tmp_path / "logs", "error.json")
    assert "lost it" in errors["attempt_0/1/error.json"] and "program.py" in errors["attempt_0/1/error.json"]


def test_the_example(tmp_path, python_environment):
    example = Path(__file__).resolve().parents[2] / "examples" / "several_ranks.py"
    done = subprocess.run([sys.executable, "-m", "facula", "launch", "--nproc-per-node=2", str(example), "--epochs=2"],
                          env={**python_environment, "FACULA_DISTRIBUTED_SECRET": ""}, capture_output=True, text=True,
                          timeout=400)
    losses = [float(line.split()[3]) for line in done.stdout.splitlines() if line.startswith("epoch")]
    assert done.returncode == 0 and len(losses) == 2 and losses[1] < losses[0], done.stderr


def test_two_nodes_and_one_that_comes_later(tmp_path, monkeypatch):
    """Two launchers of one job, as threads of this process: ranks follow the order of arrival."""
    import threading

    from facula.distributed.launcher.meeting import Meeting
    from facula.distributed.store import HashStore
    store, found = HashStore(), {}

    def node(name, workers):
        meeting = Meeting(store, workers, 2, 3, None, 20.0, 0.3)
        found[name] = (meeting, meeting.join())
    threads = [threading.Thread(target=node, args=(k, 2 + k)) for k in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    shares = sorted(share for _, share in found.values())
    assert [s.place for s in shares] == [0, 1] and {(s.nodes, s.world_size) for s in shares} == {(2, 5)}
    assert shares[0].first_rank == 0 and shares[1].first_rank in (2, 3)
    late = threading.Thread(target=node, args=("late", 1))
    late.start()
    until = time.monotonic() + 20
    meetings = [found[k][0] for k in range(2)]
    while not all(m.wanted() for m in meetings) and time.monotonic() < until:
        time.sleep(0.02)
    again = []
    for meeting in meetings:
        meeting.next()
        threads.append(threading.Thread(target=lambda m=meeting: again.append(m.join())))
        threads[-1].start()
    for thread in [*threads[2:], late]:
        thread.join()
    assert {s.nodes for s in again} == {3} and found["late"][1].world_size == 6
    meetings[0].fail("a worker has failed")
    assert meetings[1].failed() == "a worker has failed" and found["late"][0].failed() == "a worker has failed"
    for meeting, _ in found.values():
        meeting.leave()


def test_options(monkeypatch, capsys):
    options = parsed(["--nnodes=1:4", "--nproc_per_node", "auto", "--rdzv_backend=c10d", "--rdzv-conf", "a=1,b=2", "-m",
                      "package.program", "--its-own"])
    assert (options.min_nodes, options.max_nodes, options.module) == (1, 4, True) and options.workers >= 1
    assert options.configuration == {"a": "1", "b": "2"} and options.training_script_args == ["--its-own"]
    monkeypatch.setenv("PET_NPROC_PER_NODE", "3")
    assert parsed(["x.py"]).workers == 3 and streams("0:1,2:3", 3) == [1, 0, 3]
    for wrong in (["--nproc-per-node=many", "x.py"], ["--nnodes=2:1", "x.py"], ["--nnodes=1:2", "x.py"],
                  ["--tee", "9", "x.py"], ["--rdzv-backend=etcd", "x.py"], ["-m", "--no-python", "x"], []):
        with pytest.raises(SystemExit):
            parsed(wrong)
    assert main(["--nnodes=2", "--no-python", "true"]) == 1
    assert "FACULA_DISTRIBUTED_SECRET" in capsys.readouterr().err
