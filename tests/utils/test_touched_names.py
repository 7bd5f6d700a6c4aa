"""What libraries touch of torch's tracer and of its choice among attention kernels."""

import pytest

import facula
from facula.autograd.graph import save_on_cpu
from facula.nn.attention import SDPBackend, _cur_sdpa_kernel_backends, flex_attention, sdpa_kernel


def test_marks_of_the_tracer_change_nothing():
    dynamo = facula._dynamo
    assert not dynamo.is_compiling() and dynamo.config.verbose is None
    dynamo.config.verbose = True
    assert dynamo.config.verbose is True
    with dynamo.config.patch(verbose=False):
        pass

    def f(x):
        return x + 1
    assert dynamo.disable(f) is dynamo.run(f) is dynamo.disallow_in_graph(f) is dynamo.optimize("inductor")(f) is f
    assert dynamo.mark_static_address(facula.ones(1)) is dynamo.mark_dynamic(facula.ones(1), 0) is None
    assert not isinstance(facula.nn.ReLU(), dynamo.OptimizedModule)
    with pytest.raises(AttributeError, match="not in Facula yet"):
        dynamo.no_such_name  # noqa: B018


def test_the_choice_of_kernels_is_kept_while_it_lasts():
    whole = _cur_sdpa_kernel_backends()
    with sdpa_kernel(SDPBackend.MATH):
        assert _cur_sdpa_kernel_backends() == [SDPBackend.MATH]
        with sdpa_kernel([SDPBackend.MATH, SDPBackend.FLASH_ATTENTION]):
            assert _cur_sdpa_kernel_backends() == [SDPBackend.FLASH_ATTENTION, SDPBackend.MATH]
    assert _cur_sdpa_kernel_backends() == whole and len(whole) == 5
    with pytest.raises(AssertionError, match="SDPBackend"), sdpa_kernel(3):
        pass


def test_masks_of_positions():
    bias = facula.tensor([0, 1, 2])
    causal = lambda b, h, q, k: q >= k  # noqa: E731
    near = lambda b, h, q, k: bias[q] - bias[k] < 2  # noqa: E731
    both = flex_attention.create_mask(flex_attention.and_masks(causal, near), 2, 1, 3, 3)
    i = facula.arange(3)
    wanted = (i[:, None] >= i) & (i[:, None] - i < 2)
    assert both.shape == (2, 1, 3, 3) and both.dtype is facula.bool and (both == wanted).all()
    either = flex_attention.create_mask(flex_attention.or_masks(causal, near), None, None, 3, 3)
    assert either.shape == (1, 1, 3, 3) and (either == ((i[:, None] >= i) | (i[:, None] - i < 2))).all()
    assert flex_attention.create_mask(flex_attention.noop_mask, None, None, 2, 2).all()
    with pytest.raises(RuntimeError, match="callable"):
        flex_attention.and_masks(3)


def test_what_is_saved_on_the_cpu_is_there():
    x = facula.ones(2, requires_grad=True)
    with save_on_cpu(pin_memory=False):
        y = (x * x).sum()
    y.backward()
    assert x.grad.tolist() == [2.0, 2.0]


def test_containers_are_nodes_by_torchs_private_names():
    from facula.utils import _pytree as pytree
    values, context = pytree._dict_flatten({"a": 1, "b": 2})
    assert pytree._dict_unflatten([v * 2 for v in values], context) == {"a": 2, "b": 4}
    assert [str(key) for key, _ in pytree._dict_flatten_with_keys({"a": 1})[0]] == ["['a']"]
    assert pytree._tuple_unflatten([1, 2], None) == (1, 2)


def test_the_key_of_a_modules_extra_state():
    assert facula.nn.modules.module._EXTRA_STATE_KEY_SUFFIX == "_extra_state"
