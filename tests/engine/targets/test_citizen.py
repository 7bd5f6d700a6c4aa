"""An announced device is found by whatever asks about devices: modules, generators, streams, defaults, names."""

import io

import pytest

import children
import facula
from facula.testing.accelerator import pretend_accelerator


@pytest.fixture
def there():
    with pretend_accelerator(2) as place:
        yield place


def test_the_accelerator(there):
    accelerator = facula.accelerator
    assert accelerator.is_available() and accelerator.device_count() == 2
    assert accelerator.current_accelerator() == facula.device("privateuseone")
    assert accelerator.current_device_index() == accelerator.current_device_idx() == 0
    accelerator.set_device_index(1)
    assert facula.ones(1, device="privateuseone").get_device() == 1 and accelerator.current_stream().device_index == 1
    accelerator.set_device_index(-1)
    with accelerator.device_index(0), accelerator.device_index(None):
        assert accelerator.current_device_index() == 0
    assert accelerator.current_device_index() == 1
    accelerator.set_stream(facula.Stream(there))
    assert accelerator.current_device_index() == 0
    for wrong, error in ((5, RuntimeError), ("cpu", ValueError), ("privateuseone:9", RuntimeError)):
        with pytest.raises(error):
            accelerator.set_device_index(wrong)
    assert facula.device(1) == facula.device("privateuseone:1")
    assert facula.float32 in accelerator.get_device_capability()["supported_dtypes"]
    with pytest.raises(NotImplementedError):
        accelerator.Graph()


def test_memory_is_counted(there):
    accelerator = facula.accelerator
    before = accelerator.memory_allocated()
    accelerator.reset_peak_memory_stats()
    x = facula.arange(1000.0, device=there)
    assert accelerator.memory_allocated(there) == before + 4000 and accelerator.memory_allocated(1) == 0
    del x
    assert accelerator.memory_allocated() == before and accelerator.max_memory_allocated() == before + 4000
    assert accelerator.memory_stats()["allocated_bytes.all.peak"] == before + 4000
    assert accelerator.get_memory_info() == ((1 << 32) - before, 1 << 32)
    accelerator.reset_accumulated_memory_stats()
    assert accelerator.memory_stats()["allocated_bytes.all.freed"] == 0
    accelerator.empty_cache()
    accelerator.empty_host_cache()


def test_synchronize_raises_what_went_wrong(monkeypatch, there):
    from facula.engine.evaluator import plan

    def broken(*args):
        raise ZeroDivisionError("of the device")

    x = facula.ones(3, device=there) * 2.0
    monkeypatch.setattr(plan, "run", broken)
    with pytest.raises(ZeroDivisionError, match="of the device"):
        facula.accelerator.synchronize()
    del x


def test_where_there_is_none():
    accelerator = facula.accelerator
    assert not accelerator.is_available() and accelerator.device_count() == 0
    assert accelerator.current_accelerator() is None and accelerator.set_device_index(-1) is None
    for call in (accelerator.current_device_index, accelerator.synchronize, accelerator.current_stream,
                 accelerator.memory_allocated, accelerator.empty_cache, accelerator.get_memory_info,
                 lambda: accelerator.set_device_index(0), accelerator.device_index(0).__enter__,
                 lambda: facula.device(0)):
        with pytest.raises(RuntimeError, match="Cannot access accelerator device when none is available"):
            call()
    assert facula.get_device_module() is facula.cpu is facula.get_device_module("cpu:0")
    assert facula.get_device_module("cuda") is facula.cuda
    for name in ("meta", "privateuseone"):
        with pytest.raises(RuntimeError, match="does not have a corresponding module registered"):
            facula.get_device_module(name)
    with pytest.raises(RuntimeError, match="Invalid value of device '3'"):
        facula.get_device_module(3)
    with pytest.raises(AttributeError):
        facula.privateuseone  # noqa: B018
    assert facula.Stream().query() and facula.Event().query()


def test_its_module(there):
    module = facula.get_device_module()
    assert module is facula.privateuseone is facula.get_device_module(there)
    assert module.is_available() and module.device_count() == 2 and module.current_device() == 0
    with module.device(1):
        assert module.current_device() == 1
        assert facula.ones(1, device="privateuseone").get_device() == 1
    with module.device_of(facula.ones(1, device="privateuseone:1")), module.device_of(facula.ones(1)):
        assert module.current_device() == 1
    assert module.current_device() == 0
    module.manual_seed_all(4)
    state = module.get_rng_state_all()
    a, b = (facula.rand(2, device=f"privateuseone:{k}").tolist() for k in range(2))
    module.set_rng_state_all(state)
    assert a == b == facula.rand(2, device=there).tolist() and module.initial_seed() == 4
    module.synchronize(1)
    assert facula.bfloat16 in module.get_amp_supported_dtype() and module.mem_get_info()[1] == 1 << 32


def test_seeds_and_forks(there):
    facula.manual_seed(5)
    a = facula.rand(2, device=there).tolist()
    with facula.random.fork_rng():
        facula.rand(9, device=there)
        facula.rand(9)
    b = facula.rand(2, device=there).tolist()
    facula.manual_seed(5)
    assert facula.rand(2, device=there).tolist() == a and facula.rand(2, device=there).tolist() == b
    facula.manual_seed(5)
    with facula.random.fork_rng(devices=[1], device_type="privateuseone"):
        facula.rand(2, device=there)
    assert facula.rand(2, device=there).tolist() == b  # 0 was not among those
    facula.seed()
    assert facula.rand(2, device=there).tolist() not in (a, b)


def test_streams_and_events(there):
    stream = facula.Stream(there)
    assert stream.device == there and stream == facula.accelerator.current_stream() and hash(stream)
    assert repr(stream) == "torch.Stream device_type=privateuseone, device_index=0, stream_id=0"
    start, end = (facula.Event(there, enable_timing=True) for _ in range(2))
    with stream:
        start.record(stream)
        x = facula.ones(3, device=there) * 2.0
        stream.record_event(end)
    end.synchronize()
    stream.wait_event(end)
    assert end.query() and start.elapsed_time(end) > 0 and stream.query() and x.tolist() == [2, 2, 2]
    with pytest.raises(RuntimeError, match="enable_timing=True"):
        facula.Event(there).elapsed_time(end)


def test_types_by_name(there):
    x = facula.ones(2, device=there)
    assert x.type() == "torch.privateuseone.FloatTensor"
    assert x.type("torch.privateuseone.DoubleTensor").type() == "torch.privateuseone.DoubleTensor"
    assert x.type("torch.LongTensor").is_cpu and x.type(facula.LongTensor).is_cpu  # those are the cpu's
    assert x.type(facula.int64).device == x.type("int64").device == there
    assert facula.ones(1).type(x.type()).device == there and x.type(x.type()) is x
    with pytest.raises(ValueError, match="invalid type"):
        x.type("torch.cuda.FloatTensor")


def test_default_device_and_autocast(there):
    try:
        facula.set_default_device(there)
        assert facula.get_default_device() == there
        assert facula.ones(2).device == facula.nn.Linear(2, 2).weight.device == there
        assert facula.tensor([1.0], device="cpu").is_cpu
    finally:
        facula.set_default_device(None)
    with facula.autocast(device_type="privateuseone"), facula.autocast(there.type, facula.float16):
        assert (facula.ones(2, device=there) * 2).tolist() == [2, 2]
    with pytest.raises(RuntimeError, match="Expected one of cpu, cuda"):
        facula.autocast("nothing")


LOCATIONS = {
    "None": (None, True), "string": ("cpu", False), "device": (facula.device("cpu"), False),
    "bytes": (b"cpu", False), "there": ("privateuseone", True), "index": ("privateuseone:0", True),
    "names": ({"privateuseone:0": "cpu"}, False), "other names": ({"cuda:0": "cpu"}, True),
    "function": (lambda storage, location: storage, False),
    "function of nothing": (lambda storage, location: None, True)}


@pytest.mark.parametrize("how", LOCATIONS)
def test_map_location(how, there):
    where, stays = LOCATIONS[how]
    file = io.BytesIO()
    x = facula.arange(4.0, device=there)
    facula.save({"x": x, "view": x[1:], "here": facula.ones(1)}, file)
    file.seek(0)
    found = facula.load(file, map_location=where)
    assert found["x"].device == found["view"].device == (there if stays else facula.device("cpu"))
    found["view"][0] = 9
    assert found["x"].tolist() == [0, 9, 2, 3]
    if how != "there" and how != "index":
        assert found["here"].is_cpu


RENAMED = """
    import types
    import facula
    from facula.testing.accelerator import pretend_accelerator
    from facula.utils import generate_methods_for_privateuse1_backend, rename_privateuse1_backend

    before = facula.device("privateuseone:0")
    for wrong in ("cuda", "cpu"):
        try:
            rename_privateuse1_backend(wrong)
        except RuntimeError as error:
            assert "in-tree device name" in str(error)
        else:
            raise AssertionError(wrong)
    rename_privateuse1_backend("npu")
    rename_privateuse1_backend("npu")
    try:
        rename_privateuse1_backend("other")
    except RuntimeError as error:
        assert "has already been set! Current backend: npu" in str(error)
    assert facula._C._get_privateuse1_backend_name() == "npu"
    assert before is facula.device("npu:0") is facula.device("privateuseone:0") is facula.device("npu", 0)
    assert repr(before) == "device(type='npu', index=0)" and before.type == "npu"
    generate_methods_for_privateuse1_backend()
    try:
        generate_methods_for_privateuse1_backend()
    except RuntimeError as error:
        assert "has already been registered with" in str(error)
    with pretend_accelerator() as there:
        x = facula.arange(3.0).npu()
        assert x.is_npu and str(x.device) == "npu:0" == str(there) and not facula.ones(1).is_npu
        assert facula.nn.Linear(2, 2).npu().weight.is_npu and facula.ones(1).to("npu").is_npu
        assert (x * 2).tolist() == [0, 2, 4] and facula.zeros(1, device="npu:0").is_npu and "npu:0" in repr(x)
        assert facula.accelerator.current_accelerator().type == "npu" and facula.accelerator.is_available()
        assert facula.npu.device_count() == 1 and facula.get_device_module("npu") is facula.npu
        seeds = []
        module = types.ModuleType("npu")
        module.manual_seed_all = seeds.append
        facula._register_device_module("npu", module)
        assert facula.npu is module is facula.get_device_module() is facula.get_device_module("privateuseone")
        facula.manual_seed(3)
        assert seeds == [3]
        for name in ("npu", "cuda"):
            try:
                facula._register_device_module(name, module)
            except RuntimeError as error:
                assert "has already been registered with" in str(error)
            else:
                raise AssertionError(name)
        assert facula.autocast("npu").device == "npu"
"""


@pytest.mark.processes
def test_a_name_of_its_own():
    children.printed(RENAMED)
