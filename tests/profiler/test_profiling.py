"""`torch.profiler`: what it counts, by operation, module and kernel; and that it leaves nothing behind."""

import gzip
import json
import time

import pytest

import children
import facula
from facula import nn
from facula.profiler import events, profile, profiling, record_function, schedule, tensorboard_trace_handler


def a_program():
    model = nn.Sequential(nn.Linear(16, 8), nn.ReLU(), nn.Linear(8, 4))
    optimizer = facula.optim.SGD(model.parameters(), 0.1)
    x = facula.ones(32, 16)

    def step():
        optimizer.zero_grad()
        loss = model(x).square().mean()
        loss.backward()
        optimizer.step()
        return loss.item()
    for _ in range(3):
        step()
    return step


def test_shapes_flops_and_modules():
    step = a_program()
    with profile(record_shapes=True, with_flops=True, with_modules=True) as prof:
        step()
    by_shape = {(e.key, e.input_shapes): e for e in prof.key_averages(group_by_input_shape=True)}
    first = by_shape["aten::linear", ((32, 16), (8, 16), (8,))]
    assert first.count == 1 and first.flops == 2 * 32 * 16 * 8
    together = {e.key: e for e in prof.key_averages()}["aten::linear"]
    assert together.count == 2 and together.flops == 2 * 32 * 8 * (16 + 4) and together.input_shapes == ()
    modules = {e.key: e for e in prof.by_module()}
    assert modules["Sequential.0"].flops == first.flops and {"Sequential.1", "Sequential.2"} <= set(modules)
    table = prof.key_averages(group_by_input_shape=True).table(sort_by="flops", row_limit=3)
    assert "Input Shapes" in table and "Total FLOPs" in table and "[32, 16]" in table
    for call in (prof.by_kernel, lambda: profile().by_module()):
        with pytest.raises(RuntimeError, match="needed"):
            call()
    with pytest.raises(AttributeError, match="sort_by"):
        prof.key_averages().table(sort_by="nonsense")


def test_stacks(tmp_path):
    step = a_program()
    with profile(with_stack=True) as prof:
        step()
    lines = [e.stack[0] for e in prof.key_averages(group_by_stack_n=1) if e.stack and e.key == "aten::linear"]
    assert len(lines) == 1 and "test_profiling.py" in lines[0] and lines[0].endswith(": step")
    prof.export_stacks(tmp_path / "stacks.txt")
    assert all(line.rpartition(" ")[2].isdigit() for line in (tmp_path / "stacks.txt").read_text().splitlines())
    with pytest.raises(ValueError, match="metric"):
        prof.export_stacks(tmp_path / "x", "nonsense")


@pytest.mark.usefixtures("heap_of_its_own")  # what other tests have left is not given back meanwhile
def test_memory_is_what_tensors_hold():
    with profile(profile_memory=True) as prof:
        x = facula.ones(1 << 22).exp_()
        x.sum().item()
    whole = prof.key_averages().total_average()
    # all memory of the process counts: some hundred bytes of what other tests left are given back meanwhile
    assert (1 << 24) - 4096 <= whole.self_cpu_memory_usage < (1 << 24) + (1 << 20)
    assert "Self CPU Mem" in prof.key_averages().table()


@pytest.mark.compiled
def test_kernels():
    from facula.engine import plan_log
    a, b = facula.rand(32, 16), facula.rand(16, 8)
    (a @ b).sum().item()
    with profile(with_kernels=True) as prof:
        for _ in range(4):
            (a @ b).sum().item()
    found = prof.by_kernel()
    assert found.total_average().flops >= 4 * 2 * 32 * 16 * 8 and found.self_cpu_time_total > 0
    assert max(e.count for e in found) == 4 and plan_log.records is None


def test_totals_are_the_steps_time():
    step = a_program()
    for _ in range(5):  # on a machine that others use, either clock may stand while the other goes
        wall = 0.0
        with profile(schedule=schedule(wait=1, warmup=1, active=3)) as prof:
            for k in range(5):
                begun = time.perf_counter()
                step()
                time.sleep(0.002)
                prof.step()
                wall += (time.perf_counter() - begun) * (k >= 2)
        total = prof.key_averages().self_cpu_time_total / 1e6
        if abs(total - wall) < 0.1 * wall:
            break
    assert abs(total - wall) < 0.1 * wall
    assert {e.key: e for e in prof.key_averages()}["ProfilerStep*"].count == 3
    assert [e.name for e in prof.events() if "Step#" in e.name] == [f"ProfilerStep#{k}" for k in (2, 3, 4)]


def test_traces(tmp_path):
    step = a_program()
    handler = tensorboard_trace_handler(str(tmp_path / "out"), "me", use_gzip=True)
    with profile(schedule=schedule(wait=0, warmup=0, active=1, repeat=2), on_trace_ready=handler,
                 record_shapes=True) as prof:
        prof.add_metadata("who", "a test")
        prof.add_metadata_json("what", '{"k": [1]}')
        for _ in range(4):
            with record_function("a range"):
                step()
            prof.step()
    files = sorted((tmp_path / "out").glob("me.*.pt.trace.json.gz"))
    assert len(files) == 2
    trace = json.loads(gzip.decompress(files[0].read_bytes()))
    assert trace["who"] == "a test" and trace["what"] == {"k": [1]}
    found = {e["name"]: e for e in trace["traceEvents"]}
    assert found["aten::linear"]["args"]["Input Dims"][0] == [32, 8] and found["a range"]["cat"] == "user_annotation"
    inner, outer = found["aten::linear"], found["a range"]
    assert outer["ts"] <= inner["ts"] and inner["ts"] + inner["dur"] <= outer["ts"] + outer["dur"] + 1


def test_what_is_raised_within_leaves_nothing(tmp_path):
    from facula.autograd.profiler import listeners
    from facula.engine import plan_log
    from facula.nn.modules import _hooks
    from facula.ops import listening
    before = listening.ears.count
    with pytest.raises(KeyError), profile(with_modules=True, with_kernels=True):
        facula.ones(2).exp()
        raise KeyError
    assert not listeners and not _hooks.forward_hooks and plan_log.records is None
    assert listening.ears.count == before and not listening.state.modes


@pytest.mark.processes  # of its own: a class with an answer, of another test, listens as long as it lives
def test_while_nobody_profiles_a_form_is_its_own_code():
    assert children.printed("""
        import facula
        code = facula.exp.__code__
        with facula.profiler.profile():
            print(facula.exp.__code__ is code)
        print(facula.exp.__code__ is code)
    """).split() == ["False", "True"]


def test_sums():
    one = events.Event("a", 0.0, 5.0, 1, self_time=3.0)
    two = events.Event("a", 7.0, 1.0, 1)
    average, = events.EventList([one, two]).key_averages()
    assert (average.count, average.cpu_time_total, average.self_cpu_time_total, average.cpu_time) == (2, 6, 4, 3)
    assert one.time_range.elapsed_us() == 5 and one.key == "a"
    with pytest.raises(NotImplementedError):
        profiling.profile().export_memory_timeline("x")


def test_arguments_that_nobody_knows_are_refused():
    with pytest.raises(TypeError):
        facula.profiler.profile(nonsense=True)
    with pytest.raises(NotImplementedError, match="execution_trace_observer"):
        facula.profiler.profile(execution_trace_observer=object())
    with facula.autograd.profiler.profile(False) as off, facula.autograd.profiler.profile(use_device="cuda") as on:
        facula.ones(3) + 1
    assert not off.key_averages() and "aten::add" in [e.key for e in on.key_averages()]
