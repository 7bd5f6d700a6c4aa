"""Old spellings under `install("0.3")`: they work as they did, and say once how they are written now."""

import warnings

import pytest

facula = pytest.importorskip("facula")


@pytest.fixture(autouse=True)
def old_spellings():
    from facula.compat import legacy
    legacy.accept("0.3")
    yield
    legacy.reject()


def told(function):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        result = function()
    return result, [str(w.message) for w in caught if w.category.__name__ == "OldSpellingWarning"]


def test_element_of_a_loss():
    x = facula.tensor([1.0, 2.0], requires_grad=True)
    loss = (x * x).sum()
    value, warned = told(lambda: loss.data[0])
    assert value == 5.0 and type(value) is float
    assert ["loss.item()" in w for w in warned] == [True]
    assert told(lambda: loss.data[0]) == (5.0, [])  # once
    assert told(lambda: loss[0])[0].requires_grad  # an element of a Variable was a Variable
    with pytest.raises(IndexError):
        loss.data[1]


def test_variable():
    data = facula.ones(3)
    v, warned = told(lambda: facula.autograd.Variable(data, requires_grad=True))
    assert v.requires_grad and v.is_leaf and not data.requires_grad
    assert len(warned) == 1
    v.data[0] = 7
    assert data[0].item() == 7  # shared
    assert isinstance(data, facula.autograd.Variable)
    quiet, warned = told(lambda: facula.autograd.Variable(data, volatile=True))
    assert not quiet.requires_grad and "no_grad" in warned[0]


def test_type_with_a_tensor_class():
    x, warned = told(lambda: facula.ones(2).type(facula.DoubleTensor))
    assert x.dtype is facula.float64
    assert warned == [
        ".type(torch.DoubleTensor) is a spelling of old PyTorch releases; write .to(torch.float64)"]
    assert told(lambda: facula.ones(2).type(facula.float64))[1] == []


class OldReLU(facula.autograd.Function):
    """As the seed document has it."""

    def forward(self, input):
        self.save_for_backward(input)
        return input.clamp(min=0)

    def backward(self, grad_output):
        input, = self.saved_tensors
        grad_input = grad_output.clone()
        grad_input[input < 0] = 0
        return grad_input


class OldScaledSum(facula.autograd.Function):
    """Two inputs, an argument of the constructor, and needs_input_grad."""

    def __init__(self, factor):
        super().__init__()
        self.factor = factor

    def forward(self, a, b):
        return (a + b) * self.factor

    def backward(self, grad_output):
        assert self.needs_input_grad == (True, False)
        return grad_output * self.factor, None


def test_function_called_as_an_object():
    x = facula.tensor([-1.0, 2.0], requires_grad=True)
    relu, warned = told(OldReLU)
    assert isinstance(relu, OldReLU) and "OldReLU.apply" in warned[0]
    relu(x).sum().backward()
    assert x.grad.tolist() == [0.0, 1.0]


def test_one_instance_called_twice_keeps_both_inputs():
    x, relu = facula.tensor([-1.0, 2.0], requires_grad=True), OldReLU()
    (relu(x) + relu(-x)).sum().backward()
    assert x.grad.tolist() == [-1.0, 1.0]


def test_function_with_arguments_of_its_own():
    a, b = facula.ones(2, requires_grad=True), facula.ones(2)
    y = OldScaledSum(3.0)(a, b)
    assert y.tolist() == [6.0, 6.0]
    y.sum().backward()
    assert a.grad.tolist() == [3.0, 3.0]


def test_static_functions_are_as_they_were():
    class Double(facula.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x * 2

        @staticmethod
        def backward(ctx, grad):
            return grad * 2

    x = facula.ones(2, requires_grad=True)
    Double.apply(x).sum().backward()
    assert x.grad.tolist() == [2.0, 2.0]


def test_unknown_release():
    from facula.compat import install
    with pytest.raises(ValueError, match=r"0\.3"):
        install("0.1")
