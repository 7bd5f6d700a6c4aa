"""Size, device, layouts, numeric limits, versions, and the answers about hardware that is absent."""

import copy
import importlib
import itertools
import operator
import pickle
import types

import pytest

import facula.backends
import facula.cuda
from facula import dtypes, layouts, version
from facula.devices import CPU, META, check_available, device, get_default_device, parse_device
from facula.numeric_limits import finfo, iinfo
from facula.size import Size
from facula.torch_version import TorchVersion

OURS = types.SimpleNamespace(device=device, Size=Size, finfo=finfo, iinfo=iinfo,
                             **{d.name: d for d in dtypes.ALL})

SAME = [  # of `t`: torch, and Facula
    *(f"t.device({arguments})" for arguments in (
        "'cpu'", "'foo'", "'cuda:x'", "'cuda:-1'", "'cuda', -1", "''", "'cuda:01'", "'cuda:1', 1", "3",
        "'cpu:1'", "type='cpu', index=0", "'meta'", "'cuda:'", "'CPU'", "'cu_da'", "'cu-da'", "'cpu', None",
        "t.device('cpu')", "t.device('cpu'), 0", "type='cuda'", "device='cpu'", "'cpu', index=2", "",
        "'cpu', '1'", "'cpu', True")),
    "t.device('cuda') == 'cuda'", "t.device('cpu') == t.device('cpu:0')", "str(t.device('cuda', 1))",
    "t.device('cuda').index", "t.device('cuda', 1) == t.device('cuda:1')",
    "len({t.device('cpu'), t.device('cpu')})",
    *(f"t.Size({arguments})" for arguments in (
        "", "[]", "[1, 2]", "(1,)", "[True, 2]", "[1.5]", "['a']", "3", "(1, 'b')", "range(3)")),
    *(f"(lambda S: {use})(t.Size([3, 2]))" for use in (
        "S + (2,)", "(2,) + S", "S * 2", "2 * S", "S[:1]", "S[0]", "S[-1]", "S[::-1]", "S[9]", "S.numel()",
        "S + ['a']", "S + ('a',)", "S == (3, 2)", "hash(S) == hash((3, 2))", "S.count(3)", "S.index(2)",
        "isinstance(S, tuple)", "S + S", "list(S)", "S < (4,)", "(3, 2) == S", "str(S)", "f'{S}'",
        "sorted(S)", "S.__reduce__()[1]", "[*S]", "max(S)", "{S: 1}[(3, 2)]")),
    *(f"t.{kind}(t.{d.name}){field}" for kind, fields in (
        ("finfo", ("", ".bits", ".max", ".min", ".eps", ".tiny", ".smallest_normal", ".resolution")),
        ("iinfo", ("", ".bits", ".max", ".min", ".dtype"))) for field in fields for d in dtypes.ALL),
    "t.finfo()", "t.finfo('a')", "t.iinfo('a')", "t.finfo(float)", "t.finfo(t.float16).dtype",
    "t.finfo(t.float32) == t.finfo(t.float32)",
]


def outcome(expression, library):
    """What an expression gives: its text, or the exception; AttributeErrors name the class differently."""
    try:
        return repr(eval(expression, {"t": library}))
    except AttributeError:
        return "AttributeError"
    except Exception as error:
        return f"{type(error).__name__}: {error}"


@pytest.mark.parametrize("expression", SAME)
def test_same_as_torch(expression, oracle):
    assert outcome(expression, OURS) == oracle(lambda torch: outcome(expression, torch))


@pytest.mark.parametrize("thing", [Size([2, 3]), device("cuda", 1), CPU, layouts.strided,
                                   layouts.channels_last,
                                   finfo(dtypes.bfloat16), iinfo(dtypes.int8)], ids=repr)
def test_copies_and_pickles(thing):
    assert copy.deepcopy(thing) == thing and copy.copy(thing) == thing
    for protocol in range(2, pickle.HIGHEST_PROTOCOL + 1):
        again = pickle.loads(pickle.dumps(thing, protocol))
        assert again == thing and type(again) is type(thing)


def test_layouts_and_memory_formats():
    assert repr(layouts.sparse_coo) == "torch.sparse_coo"
    assert repr(layouts.channels_last_3d) == "torch.channels_last_3d"
    with pytest.raises(TypeError, match="cannot create 'torch.layout' instances"):
        layouts.layout()


def test_parse_device():
    assert parse_device(None) is CPU
    assert parse_device("cpu:0") is CPU  # tensors carry no index on the cpu
    assert parse_device(device("meta")) is META
    with pytest.raises(AssertionError, match="^Torch not compiled with CUDA enabled$"):
        parse_device("cuda")
    with pytest.raises(AssertionError, match="^Torch not compiled with XPU enabled$"):
        check_available(device("xpu"))
    with pytest.raises(RuntimeError, match="mps"):
        parse_device("mps")
    with pytest.raises(RuntimeError, match="Cannot access accelerator device when none is available"):
        parse_device(0)
    with pytest.raises(TypeError, match=r"zeros\(\): argument 'device' must be torch.device, not float"):
        parse_device(1.5, "zeros")


def test_device_as_context():
    with device("meta"):
        assert get_default_device() is META and parse_device() is META
        with device("cpu"):
            assert parse_device() is CPU
        assert parse_device() is META
    assert parse_device() is CPU


VERSIONS = ["2.13.0+facula0.1.0", "2.13.0", "2.13", "1.10.0a", "1.9", "2.0.0.dev20230101", "2.1rc1",
            "1.0.post1",
            "parrot", "3", "2.13.0+cpu", "2.13.0+facula.1", "1.0a1.dev2", "1.0-1"]


def test_versions_compare_as_in_torch(oracle):
    compare = (operator.lt, operator.le, operator.eq, operator.ge, operator.gt)
    cases = [(a, b, op) for a, b, op in itertools.product(VERSIONS, [*VERSIONS, (2, 5), (2, 13, 0), [3], ""], compare)
             if a != "parrot" or isinstance(b, str)]
    expected = oracle(lambda torch: [op(torch.torch_version.TorchVersion(a), b) for a, b, op in cases])
    for (a, b, op), answer in zip(cases, expected, strict=True):
        assert op(TorchVersion(a), b) == answer, (a, op.__name__, b)


def test_version():
    assert version.__version__ >= (2, 13) and version.__version__ > "2.9"
    assert version.__version__.startswith("2.13.0+facula") and version.cuda is None


def test_cuda_without_a_device():
    cuda = facula.cuda
    assert not cuda.is_available() and not cuda.is_initialized() and cuda.device_count() == 0
    assert cuda.memory_allocated() == cuda.max_memory_reserved() == 0
    cuda.manual_seed(1)
    cuda.manual_seed_all(1)
    cuda.empty_cache()
    for use in (cuda.synchronize, cuda.current_device, cuda.get_device_name, cuda.init, cuda.current_stream,
                cuda.get_device_properties, cuda.mem_get_info):
        with pytest.raises(AssertionError, match="^Torch not compiled with CUDA enabled$"):
            use()
    with pytest.raises(TypeError, match="type torch.cuda.FloatTensor not available"):
        cuda.FloatTensor(3)
    with pytest.raises(AttributeError):
        cuda.no_such_name  # noqa: B018
    assert not [name for name in cuda.__all__ if name != "amp" and not hasattr(cuda, name)]


def test_backends():
    backends = facula.backends
    assert not backends.mps.is_available() and not backends.cudnn.is_available()
    assert not backends.cuda.is_built()
    assert backends.cudnn.enabled and not backends.cudnn.benchmark
    with backends.cudnn.flags(benchmark=True):
        assert backends.cudnn.benchmark
    assert not backends.cudnn.benchmark
    backends.cuda.matmul.allow_tf32 = True
    assert backends.cuda.matmul.allow_tf32
    backends.cuda.matmul.allow_tf32 = False
    with pytest.raises(AttributeError, match="Unknown attribute foo"):
        backends.cuda.matmul.foo = 1
    with backends.cuda.sdp_kernel(enable_flash=False):
        assert not backends.cuda.flash_sdp_enabled()
    assert backends.cuda.flash_sdp_enabled()


@pytest.mark.parametrize("call", [
    "accelerator.is_available()", "accelerator.device_count()", "accelerator.current_accelerator()",
    "accelerator.synchronize()", "mps.is_available()", "mps.empty_cache()", "mps.synchronize()",
    "mps.manual_seed(1)",
    "xpu.is_available()", "xpu.synchronize()", "xpu.manual_seed(1)", "xpu.empty_cache()",
    "cpu.is_available()",
    "cpu.current_device()", "cpu.synchronize()", "cpu.device_count()", "cuda.get_arch_list()",
    "cuda.is_bf16_supported()", "cuda.get_rng_state_all()", "cuda.memory_stats()",
    "cuda.device(-1).__enter__()",
    "cuda.device(0).__enter__()", "cuda.Stream()", "cuda.set_device(-1)", "cuda.get_device_name(0)",
    "cuda.nvtx.range_push('a')", "backends.cudnn.version()", "backends.mps.is_built()",
    "backends.cuda.matmul.allow_tf32", "backends.opt_einsum.is_available()"])
def test_hardware_as_in_torch_without_any(call, oracle):
    module = call.split(".")[0]
    importlib.import_module(f"facula.{module}")
    assert outcome(f"t.{call}", facula) == oracle(lambda torch: outcome(f"t.{call}", torch))



def test_new_makes_a_tensor_of_the_same_dtype(facula):
    x = facula.ones(2, dtype=facula.float64)
    assert x.new([1, 2]).dtype is facula.float64 and x.new([1, 2]).tolist() == [1.0, 2.0]
    assert tuple(x.new(3, 4).shape) == (3, 4)
