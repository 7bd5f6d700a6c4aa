"""What programs import before they do anything: every namespace is there, says what it lacks, and its examples run."""

import importlib
import pathlib
import pickle
import subprocess
import sys
import threading

import numpy as np
import pytest

import children
import docstrings
import facula
from facula import absent

MODULES = ["absent", "__config__", "futures", "hub", "symbolic_numbers", "distributed",
           "distributed.store.base", "distributed.store.local",
           "distributed.store.file", "distributed.store.tcp", "distributed.collectives", "distributed.reductions",
           "distributed.world", "distributed.groups", "distributed.work", "distributed.process_group",
           "distributed.point_to_point",
           "distributed.barriers", "distributed.objects", "distributed.backend_names", "distributed.nn.functional",
           "distributed.reducer", "distributed.device_mesh",
           "distributed.optim.zero_redundancy_optimizer",
           "distributed.algorithms.join", "distributed.algorithms.ddp_comm_hooks.default_hooks",
           "distributed.algorithms.ddp_comm_hooks.powerSGD_hook", "nn.parallel.distributed",
           "distributed.launcher.options", "distributed.elastic.multiprocessing.errors", "onnx", "onnx.errors",
           "compiler", "profiler", "profiler.events", "profiler.profiling", "profiler.autograd_profile",
           "autograd.profiler", "multiprocessing",
           "multiprocessing.spawning", "nn.parallel", "nn.parallel.scattering", "nn.parallel.data_parallel",
           "utils.benchmark", "utils.benchmark.timer", "utils.benchmark.measurement", "utils.benchmark.compare",
           "utils.collect_env", "jit", "_jit_internal", "distributed.optim", "types"]


@pytest.mark.parametrize("name", MODULES)
def test_examples_run(name):
    docstrings.check(importlib.import_module("facula." + name), names=())


@pytest.mark.parametrize("name", MODULES)
def test_public_names_have_docstrings(name):
    module = importlib.import_module("facula." + name)
    assert not docstrings.undocumented(module, docstrings.own(module))


def test_namespaces_are_attributes_and_load_late():
    """`import facula` loads none of them."""
    program = ("import sys, facula; late = " + repr([f"facula.{m}" for m in MODULES if m != "autograd.profiler"])
               + "; assert not set(late) & set(sys.modules), set(late) & set(sys.modules)\n"
               "import facula.utils\n"
               "for name in ('__config__', 'futures', 'hub', 'distributed', 'onnx', 'compiler', 'profiler', "
               "'multiprocessing', 'SymInt', 'SymFloat', 'SymBool', 'sym_int'): getattr(facula, name)\n"
               "facula.nn.parallel.DataParallel, facula.nn.DataParallel, facula.utils.checkpoint, facula.utils._pytree,"
               " facula.utils.benchmark.Timer, facula.utils.collect_env")
    children.printed(program)


def test_what_is_missing_says_so():
    dist = facula.distributed
    assert dist.is_available() and not dist.is_initialized()
    for call in (dist.optim.DistributedOptimizer, lambda: facula.onnx.export(None, ())):
        with pytest.raises(absent.NotInFacula, match="is not in Facula yet"):
            call()
    with pytest.raises(ValueError):
        dist.get_world_size()
    assert not isinstance(3, facula.SymInt) and dist.group.WORLD is None
    for module in (dist, facula.onnx, facula.compiler, facula.multiprocessing, facula.nn.parallel):
        with pytest.raises(AttributeError, match="not in Facula yet"):
            module.no_such_name  # noqa: B018


def test_names_of_the_namespaces_are_torchs(torch):
    for space, lacking in (("futures", ()), ("hub", ()), ("__config__", ()), ("nn.parallel", ()), ("onnx", ("ops",)),
                           ("profiler", ("DeviceType",)), ("multiprocessing", ()), ("utils.checkpoint", ()),
                           ("utils._pytree", ())):
        theirs, ours = importlib.import_module("torch." + space), importlib.import_module("facula." + space)
        assert [n for n in getattr(theirs, "__all__", ["show", "parallel_info"]) if not hasattr(ours, n)] in (
            list(lacking), sorted(lacking)), space


# ---- jit ----------------------------------------------------------------------------------------------------------


def test_scripted_programs_run_as_python():
    jit = facula.jit

    class Net(jit.ScriptModule):
        size: jit.Final[int] = 2

        @jit.script_method
        def forward(self, x):
            return x * self.size if self.training else x

        @jit.ignore(drop=True)
        def left(self):
            return 1

        @jit.unused
        def never(self):
            return 2

    net = jit.script(Net())
    assert net(facula.ones(1)).item() == 2 and net.left() == 1 and net.never() == 2
    assert not jit.is_scripting() and not jit.is_tracing() and jit.annotate(int, 3) == 3
    assert jit.isinstance({"a": [1]}, dict[str, list[int]]) and not jit.isinstance((1, "a"), tuple[int, int])
    for call in (lambda: jit.save(net, "x"), lambda: jit.CompilationUnit("")):
        with pytest.raises(absent.NotInFacula):
            call()
    with pytest.raises(RuntimeError, match="eval"):
        jit.freeze(net)
    assert jit.freeze(net.eval()) is net
    from facula._jit_internal import boolean_dispatch
    chosen = boolean_dispatch("both", 1, False, lambda x, both=False: "both", lambda x, both=False: x, "m", "f")
    assert chosen(1) == 1 and chosen(1, True) == "both" and chosen(1, both=True) == "both"


def test_types_are_for_annotations_and_questions():
    from facula.types import Device, Number, Storage
    assert isinstance(True, Number) and not isinstance("1", Number) and isinstance(facula.device("cpu"), Device)
    assert Storage is facula.UntypedStorage and facula._C._log_api_usage_once("any.event") is None


# ---- futures --------------------------------------------------------------------------------------------------------


def test_a_future_of_another_thread():
    future = facula.futures.Future()
    later = future.then(lambda f: f.wait() + 1).then(lambda f: f.wait() * 2)
    seen = []
    future.add_done_callback(lambda f: seen.append(f.value()))
    threading.Timer(0.01, future.set_result, [20]).start()
    assert later.wait() == 42 and seen == [20] and future.done()
    with pytest.raises(RuntimeError, match="completed"):
        future.set_result(1)
    failing = facula.futures.Future()
    after = failing.then(lambda f: f.wait())
    failing.set_exception(ValueError("no"))
    with pytest.raises(ValueError, match="no"):
        facula.futures.wait_all([future, after])
    assert facula.futures.wait_all([]) == []


# ---- hub ------------------------------------------------------------------------------------------------------------


def test_hub_of_a_local_folder(tmp_path):
    (tmp_path / "other.py").write_text("size = 3")
    (tmp_path / "hubconf.py").write_text(
        "dependencies = ['numpy']\nimport facula\nfrom other import size\n"
        "def net(width=1, **kwargs):\n    'A layer.'\n    return facula.nn.Linear(size, width)\n_hidden = print\n")
    assert "net" in facula.hub.list(tmp_path, source="local")
    assert facula.hub.load(str(tmp_path), "net", source="local", width=2).weight.shape == (2, 3)
    assert facula.hub.help(tmp_path, "net") == "A layer."
    assert str(tmp_path) not in sys.path
    with pytest.raises(RuntimeError, match="Cannot find callable"):
        facula.hub.load(tmp_path, "gone", source="local")
    with pytest.raises(absent.NotInFacula, match="source='local'"):
        facula.hub.load("pytorch/vision", "resnet18")
    with pytest.raises(ValueError, match="Unknown source"):
        facula.hub.load(tmp_path, "net", source="x")
    (tmp_path / "hubconf.py").write_text("dependencies = ['no_such_package_of_anyone']")
    with pytest.raises(RuntimeError, match="no_such_package"):
        facula.hub.list(tmp_path)


def test_state_dicts_from_urls(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "home"))
    assert facula.hub.get_dir() == str(tmp_path / "home" / "hub")
    net = facula.nn.Linear(2, 1)
    facula.save(net.state_dict(), tmp_path / "net.pt")
    found = facula.hub.load_state_dict_from_url((tmp_path / "net.pt").as_uri(), progress=False)
    np.testing.assert_array_equal(found["weight"].numpy(), net.weight.detach().numpy())
    assert (tmp_path / "home" / "hub" / "checkpoints" / "net.pt").exists()
    with pytest.raises(RuntimeError, match="invalid hash"):
        facula.hub.download_url_to_file((tmp_path / "net.pt").as_uri(), str(tmp_path / "x"), "0000", progress=False)
    assert not (tmp_path / "x").exists() and not list(tmp_path.glob("*.partial"))


# ---- DataParallel ---------------------------------------------------------------------------------------------------


def test_data_parallel_on_the_cpu_is_the_module():
    net = facula.nn.Sequential(facula.nn.Linear(2, 3), facula.nn.BatchNorm1d(3))
    wrapped = facula.nn.DataParallel(net)
    x = facula.arange(8.0).reshape(4, 2)
    assert wrapped.device_ids == [] and wrapped.module is net
    wrapped(x).sum().backward()
    assert list(wrapped.state_dict())[0] == "module.0.weight" and net[0].weight.grad is not None


def test_replicas_give_the_modules_gradients():
    from facula.nn.parallel import gather, parallel_apply, replicate, scatter
    facula.manual_seed(0)
    net = facula.nn.Sequential(facula.nn.Linear(2, 3), facula.nn.Tanh(), facula.nn.Linear(3, 1))
    x = facula.arange(10.0).reshape(5, 2) / 10
    (net(x) ** 2).sum().backward()
    whole = [p.grad.numpy().copy() for p in net.parameters()]
    net.zero_grad()
    shares = scatter((x,), ["cpu"] * 2)
    outs = parallel_apply(replicate(net, ["cpu"] * 2), shares)
    (gather(outs, "cpu") ** 2).sum().backward()
    for p, g in zip(net.parameters(), whole, strict=True):
        np.testing.assert_allclose(p.grad.numpy(), g, rtol=1e-5)


# ---- profiler, benchmark --------------------------------------------------------------------------------------------


def test_a_profile_counts_and_times(tmp_path):
    from facula.profiler import profile, record_function, schedule
    saved = []
    with profile(schedule=schedule(wait=1, warmup=0, active=2, repeat=1), on_trace_ready=saved.append) as prof:
        for _ in range(5):
            with record_function("step"):
                (facula.ones(3).exp() + 1).sum().item()
            prof.step()
    assert saved == [prof]
    averages = {e.key: e for e in prof.key_averages()}
    assert averages["step"].count == 2 and averages["aten::exp"].count == 2
    assert averages["step"].cpu_time_total >= averages["step"].self_cpu_time_total > 0
    assert "aten::exp" in prof.key_averages().table(sort_by="self_cpu_time_total")
    prof.export_chrome_trace(tmp_path / "trace.json")
    assert "aten::exp" in pathlib.Path(tmp_path / "trace.json").read_text()
    from facula.autograd.profiler import listeners
    assert not listeners


def test_measurements():
    from facula.utils.benchmark import Compare, Measurement, Timer
    timer = Timer("y = x * 2", globals={"x": facula.ones(4)}, label="times", sub_label="two", description="facula")
    found = timer.blocked_autorange(min_run_time=0.02)
    assert found.median > 0 and found.mean > 0 and found.iqr >= 0
    merged, = Measurement.merge([found, timer.timeit(10)])
    assert len(merged.times) == len(found.times) + 1
    table = str(Compare([found]))
    assert "times" in table and "two" in table and "facula" in table
    assert timer.adaptive_autorange(max_run_time=0.05).raw_times
    assert pickle.loads(pickle.dumps(found)).median == found.median
    with pytest.raises(absent.NotInFacula):
        timer.collect_callgrind()


# ---- multiprocessing ------------------------------------------------------------------------------------------------


@pytest.mark.processes
def test_spawned_processes(tmp_path, python_environment):
    program = tmp_path / "program.py"
    program.write_text(
        "import sys, facula, facula.multiprocessing as mp\n"
        "def work(i, queue):\n    queue.put((i, facula.ones(2) * i))\n"
        "def fail(i):\n    raise KeyError('lost')\n"
        "def leave(i):\n    sys.exit(3)\n"
        "if __name__ == '__main__':\n"
        "    queue = mp.get_context('spawn').SimpleQueue()\n"
        "    mp.spawn(work, (queue,), nprocs=2)\n"
        "    got = dict(queue.get() for _ in range(2))\n"
        "    assert got[1].tolist() == [1.0, 1.0], got\n"
        "    for f, kind in ((fail, mp.ProcessRaisedException), (leave, mp.ProcessExitedException)):\n"
        "        try: mp.spawn(f, nprocs=1)\n"
        "        except kind as error: print(type(error).__name__, 'lost' in str(error))\n")
    out = subprocess.run([sys.executable, str(program)], env=python_environment, capture_output=True, text=True,
                         timeout=120)
    assert out.stdout.split() == ["ProcessRaisedException", "True", "ProcessExitedException", "False"], out.stderr


# ---- tensorboard ----------------------------------------------------------------------------------------------------


def test_tensorboard_without_its_library_says_what_to_install(monkeypatch):
    from facula.utils import tensorboard
    from facula.utils.tensorboard import writer
    monkeypatch.setitem(sys.modules, "tensorboardX", None)
    writer.writer_class.cache_clear()
    tensorboard.__dict__.pop("SummaryWriter", None)
    with pytest.raises(ModuleNotFoundError, match="pip install tensorboardX"):
        tensorboard.SummaryWriter  # noqa: B018


def test_the_writer_takes_tensors(monkeypatch):
    """A stand-in for the library, which the tests do not install."""
    import types
    told = []

    class SummaryWriter:
        def __init__(self, logdir=None, comment="", purge_step=None, max_queue=10, flush_secs=120, filename_suffix=""):
            self.logdir = logdir

        def add_scalar(self, tag, value, step=None, walltime=None):
            told.append((tag, value, step))

        def add_scalars(self, tag, values, step=None):
            told.append((tag, values, step))

        def add_graph(self, model):
            raise AssertionError

    from facula.utils import tensorboard
    from facula.utils.tensorboard import writer
    monkeypatch.setitem(sys.modules, "tensorboardX", types.SimpleNamespace(SummaryWriter=SummaryWriter))
    writer.writer_class.cache_clear()
    tensorboard.__dict__.pop("SummaryWriter", None)
    made = tensorboard.SummaryWriter("folder")
    made.add_scalar("loss", facula.tensor(0.5, requires_grad=True), 1)
    made.add_scalars("all", {"a": facula.tensor(2, dtype=facula.bfloat16)})
    assert isinstance(told[0][1], np.ndarray) and told[0][1] == 0.5 and told[1][1]["a"] == 2
    assert made.log_dir == "folder" and isinstance(made, SummaryWriter)
    with pytest.raises(ValueError, match="input_to_model"):
        made.add_graph(None)
    writer.writer_class.cache_clear()
    tensorboard.__dict__.pop("SummaryWriter", None)


def test_pages_of_autograd():
    """`torch.autograd`'s own modules, which programs import from."""
    from facula.autograd import anomaly_mode, grad_mode, variable
    assert grad_mode.no_grad is facula.no_grad and variable.Variable is facula.autograd.Variable
    assert anomaly_mode.detect_anomaly is facula.autograd.detect_anomaly
    facula.autograd.set_multithreading_enabled(True)
    with grad_mode.set_multithreading_enabled(False):
        facula.ones(2, requires_grad=True).sum().backward()
