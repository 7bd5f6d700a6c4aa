"""Names that torchvision imports before it does anything."""

import collections
import importlib

import pytest

import docstrings
import facula
from facula.nn.modules import utils


@pytest.mark.parametrize("call", ["_check", "_check_index", "_check_value", "_check_type", "_check_not_implemented"])
def test_checks(oracle, call):
    def found(library):
        answers = []
        for arguments in ((True,), (False,), (False, lambda: "said so"), (False, "said"), (1,), (library.ones(1) > 0,)):
            try:
                answers.append(getattr(library, call)(*arguments))
            except Exception as error:
                answers.append([type(error).__name__, str(error)[:60]])
        return answers
    assert found(facula) == oracle(found, call)


def test_checks_of_tensors_and_sizes():
    facula._check_tensor_all(facula.tensor([True, True]))
    with pytest.raises(RuntimeError, match="said"):
        facula._check_tensor_all(facula.tensor([True, False]), lambda: "said")
    with pytest.raises(TypeError, match="torch.bool"):
        facula._check_tensor_all(facula.tensor([1, 0]))
    with pytest.raises(TypeError, match="must be a tensor"):
        facula._check_tensor_all(True)
    facula._check_is_size(3, max=3)
    for arguments in ({"i": -1}, {"i": 3, "max": 2}):
        with pytest.raises(RuntimeError):
            facula._check_is_size(**arguments)
    with pytest.raises(KeyError):
        facula._check_with(KeyError, False)


def test_tuples_of_modules():
    assert utils._pair(3) == (3, 3) and utils._triple([1, 2]) == (1, 2) and utils._ntuple(2, "two").__name__ == "two"
    assert utils._reverse_repeat_tuple((1, 2), 2) == (2, 2, 1, 1)
    assert utils._list_with_default((None, 3), [7, 4, 5]) == [4, 3]
    with pytest.raises(ValueError, match="at least 3"):
        utils._list_with_default((None, 3), [4, 5])


def test_prefixes_of_states():
    state = collections.OrderedDict([("module.a", 1), ("b", 2)])
    state._metadata = collections.OrderedDict([("module", 1), ("module.x", 2), ("", 3)])
    utils.consume_prefix_in_state_dict_if_present(state, "module.")
    assert list(state.items()) == [("b", 2), ("a", 1)] and dict(state._metadata) == {"": 1, "x": 2}


def test_translations_to_onnx_are_kept():
    from facula import onnx
    from facula.onnx import symbolic_helper, symbolic_opset11, translations

    @symbolic_helper.parse_args("v", "i")
    def translated(g, x, k):
        return g.op("Mine", x)
    onnx.register_custom_op_symbolic("mine::op", translated, 11)
    assert translations.registered["mine::op", 11] is translated and translated._arg_descriptors == ("v", "i")
    onnx.unregister_custom_op_symbolic("mine::op", 11)
    assert not translations.registered
    with pytest.raises(ValueError, match="domain::name"):
        onnx.register_custom_op_symbolic("op", translated, 11)
    for refused in (symbolic_opset11.add, symbolic_helper._get_tensor_sizes):
        with pytest.raises(NotImplementedError, match="torch.onnx.symbolic_"):
            refused(1)


def test_stubs_of_quantization():
    from facula.ao import quantization
    wrapped = quantization.QuantWrapper(facula.nn.ReLU()).eval()
    assert wrapped(facula.tensor([-1.0, 2.0])).tolist() == [0, 2] and not wrapped.quant.training
    assert repr(wrapped).splitlines()[1] == "  (quant): QuantStub()"
    with pytest.raises(NotImplementedError, match="torch.ao.quantization.prepare"):
        quantization.prepare(wrapped)
    with pytest.raises(AttributeError, match="nothing"):
        quantization.nothing  # noqa: B018
    assert not isinstance(1, quantization.QConfig)


def test_other_names(capsys):
    from facula import hub
    from facula.jit.annotations import BroadcastingList2
    from facula.utils import model_zoo
    assert model_zoo.load_url is hub.load_state_dict_from_url and model_zoo.tqdm is hub.tqdm
    with hub._Bar(total=3) as bar:
        bar.set_description("x")
        bar.update(2)
    assert capsys.readouterr().err == "\r2 of 3\n"
    assert BroadcastingList2[int] is None and facula._C._get_tracing_state() is None
    assert not importlib.import_module("facula._dynamo.utils").is_compile_supported("cpu")
    assert facula.DispatchKey is facula._C.DispatchKey


def test_a_subclass_may_have_properties_of_its_own():
    class Image(facula.Tensor):
        @property
        def dtype(self):
            with facula._C.DisableTorchFunctionSubclass():
                return super().dtype

        @property
        def shape(self):
            with facula._C.DisableTorchFunctionSubclass():
                return super().shape
    image = facula.ones(2, 3).as_subclass(Image)
    assert image.dtype is facula.float32 and image.shape == (2, 3) and type(image + 1) is Image


@pytest.mark.parametrize("name", ["_assertion", "_custom_ops", "nn.modules.utils", "onnx.symbolic_helper", "hub",
                                  "onnx.translations", "ao.quantization", "utils.model_zoo", "jit.annotations"])
def test_examples(name):
    docstrings.check(importlib.import_module(f"facula.{name}"))
