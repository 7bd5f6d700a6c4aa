"""`torch.nn.attention`: functions of scores and positions, masks by blocks, causal biases, the choice of kernels."""

import importlib
import math
import warnings

import pytest

import docstrings
import facula
import nn_oracle
from facula.nn.attention import SDPBackend, bias, sdpa_kernel
from facula.nn.attention.flex_attention import (
    AuxRequest,
    BlockMask,
    create_block_mask,
    create_mask,
    flex_attention,
    noop_mask,
)
from facula.nn.functional import scaled_dot_product_attention as attention
from nn_oracle import arrays, numbers


def three(library, heads=4, kv_heads=4, dtype="float64", grad=False, last=6):
    found = [numbers(library, 2, n, length, width, by=by, dtype=dtype) for n, length, width, by in (
        (heads, 5, 8, 1.7), (kv_heads, 7, 8, 1.3), (kv_heads, 7, last, 0.7))]
    return [t.requires_grad_() for t in found] if grad else found


def part(library, name):
    return importlib.import_module(f"{library.__name__}.nn.attention.{name}")


def causal(b, h, q, k):
    return q >= k


def near(b, h, q, k):
    return (q - k).abs() <= 1 + h


def late(b, h, q, k):  # the first rows may attend to nothing
    return (q > 2) & (k >= 0)


MASKS = {"causal": causal, "near": near, "late": late, "none": None}
SCORES = {"plain": lambda s, b, h, q, k: s, "relative": lambda s, b, h, q, k: s + (q - k) * 0.1 * (h + 1),
          "capped": lambda s, b, h, q, k: 2.0 * (s / 2.0).tanh(), "batch": lambda s, b, h, q, k: s * (b + 1)}


def close(ours, theirs, tolerance=1e-10):
    nn_oracle.close(ours, theirs, tolerance, tolerance)


@pytest.mark.parametrize("mask", list(MASKS))
@pytest.mark.parametrize("score", list(SCORES))
def test_values_and_logarithms_are_torchs(oracle, score, mask):
    def found(library):
        flex = part(library, "flex_attention")
        blocks = MASKS[mask] and flex.create_block_mask(MASKS[mask], None, 4, 5, 7, device="cpu", BLOCK_SIZE=2)
        out, aux = flex.flex_attention(*three(library, kv_heads=2), SCORES[score], blocks, 0.4, True,
                                       return_aux=flex.AuxRequest(lse=True))
        assert aux.max_scores is None
        return arrays(out, aux.lse)
    close(found(facula), oracle(found, score, mask))


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_shorter_types_round_as_torch(oracle, dtype):
    def found(library):
        out = part(library, "flex_attention").flex_attention(*three(library, dtype=dtype))
        assert out.dtype is getattr(library, dtype)
        return arrays(out.double())
    close(found(facula), oracle(found, dtype), {"float32": 1e-6, "bfloat16": 2e-3, "float16": 3e-4}[dtype])


@pytest.mark.parametrize("mask", list(MASKS))
def test_gradients_are_those_of_the_formula(mask):
    """(PyTorch has none on the CPU.) To second order, with what the functions close over."""
    def run(flexible):
        q, k, v = three(facula, kv_heads=2, grad=True)
        slope = numbers(facula, 4).requires_grad_()
        if flexible:
            blocks = MASKS[mask] and create_block_mask(MASKS[mask], None, 4, 5, 7, BLOCK_SIZE=2)
            out = flex_attention(q, k, v, lambda s, b, h, i, j: s.tanh() * slope[h], blocks, enable_gqa=True)
        else:
            scores = (q @ k.repeat_interleave(2, 1).mT / math.sqrt(8)).tanh() * slope[:, None, None]
            allowed = create_mask(MASKS[mask] or noop_mask, 2, 4, 5, 7)
            weights = scores.masked_fill(~allowed, -math.inf).softmax(-1)
            out = facula.where(allowed.any(-1, keepdim=True), weights, 0.0) @ v.repeat_interleave(2, 1)
            if mask == "late":  # rows of nothing: leave them out, for finite gradients
                out = facula.cat([facula.zeros(2, 4, 3, 6).double(), (scores[:, :, 3:].softmax(-1)
                                                                      @ v.repeat_interleave(2, 1))], 2)
        first = facula.autograd.grad(out.square().sum(), (q, k, v, slope), create_graph=True)
        second = facula.autograd.grad(sum((g * g).sum() for g in first), (q, k, v, slope))
        return arrays(out, *first, *second)
    close(run(True), run(False), 1e-9)


def test_a_logarithm_has_a_gradient():
    q, k, v = three(facula, grad=True)
    _, aux = flex_attention(q, k, v, block_mask=create_block_mask(late, None, None, 5, 7),
                            return_aux=AuxRequest(lse=True))
    assert aux.lse[:, :, :3].eq(-math.inf).all()
    aux.lse[:, :, 3:].sum().backward()
    got = q.grad.clone()
    q.grad = None
    (q @ k.mT / math.sqrt(8))[:, :, 3:].logsumexp(-1).sum().backward()
    assert facula.allclose(got, q.grad) and (got[:, :, :3] == 0).all()


def test_the_result_lies_as_the_query():
    q, k, v = (t.transpose(1, 2).contiguous().transpose(1, 2) for t in three(facula))
    assert flex_attention(q, k, v).stride() == (120, 6, 24, 1)


def described(mask):
    names = ["kv_num_blocks", "kv_indices", "full_kv_num_blocks", "full_kv_indices", "q_num_blocks", "q_indices",
             "full_q_num_blocks", "full_q_indices", "dq_write_order", "dq_write_order_full"]
    tensors = [getattr(mask, name) for name in names]
    return [[None if t is None else [str(t.dtype), t.tolist()] for t in tensors], list(mask.shape), mask.numel(),
            mask.sparsity(), str(mask), repr(mask), mask.to_string((2, 2), 1), mask.to_dense().tolist(),
            [type(x).__name__ for x in mask.as_tuple()], len(mask.as_tuple(flatten=False)), mask.dq_kv_order_spt]


@pytest.mark.parametrize("made", ["ragged", "heads", "oblong", "one kind", "orders", "ascending"])
def test_blocks_are_torchs(oracle, made):
    sizes, options = {"ragged": ((None, None, 300, 300), {}), "heads": ((2, 3, 10, 20), {"BLOCK_SIZE": 4}),
                      "oblong": ((1, 1, 10, 20), {"BLOCK_SIZE": (4, 8)}),
                      "one kind": ((1, 1, 16, 16), {"BLOCK_SIZE": 4, "separate_full_blocks": False}),
                      "orders": ((1, 1, 16, 16), {"BLOCK_SIZE": 4, "compute_dq_write_order": True}),
                      "ascending": ((1, 2, 16, 12), {"BLOCK_SIZE": 4, "compute_dq_write_order": True,
                                                     "dq_kv_order": False})}[made]

    def found(library):
        create = part(library, "flex_attention").create_block_mask
        return [described(create(mod, *sizes, device="cpu", **options)) for mod in (causal, near)]
    assert found(facula) == oracle(found, made)


PARTS = [(0,), (-1, 1), (slice(0, 2), slice(1, 2)), (0, 0, slice(1, None)), (slice(None), slice(None), 2), (5,)]


def test_parts_are_torchs(oracle):
    def found(library):
        flex = part(library, "flex_attention")
        whole = flex.create_block_mask(causal, 3, 2, 32, 32, device="cpu", BLOCK_SIZE=8, compute_dq_write_order=True)
        rows = whole[:, 0:1, library.tensor([1, 3])]
        taken = [whole[place] for place in PARTS[:-1]] + [rows, whole._adjust(20, 14), whole._adjust(99, 99),
                                                          whole.to("cpu")]
        return [described(mask) for mask in taken] + [list(whole[5].kv_indices.shape)]
    assert found(facula) == oracle(found)


def test_a_part_needs_a_mask_of_its_own():
    whole = create_block_mask(causal, None, None, 8, 8, BLOCK_SIZE=4)
    lower = whole[:, :, 1:]
    q, k, v = (numbers(facula, 1, 1, n, 4) for n in (4, 8, 8))
    lower.seq_lengths = (4, 8)
    with pytest.raises(RuntimeError, match="sliced BlockMask"):
        flex_attention(q, k, v, block_mask=lower)
    lower.mask_mod = lambda b, h, i, j: i + 4 >= j
    full = flex_attention(facula.cat([q, q], 2), k, v, block_mask=whole)
    assert facula.allclose(flex_attention(q, k, v, block_mask=lower), full[:, :, 4:])


def test_what_lies_in_no_block_is_masked():
    number, columns = facula.tensor([[[1, 1]]]), facula.tensor([[[[0, 1], [1, 0]]]])
    blocks = BlockMask.from_kv_blocks(number, columns, BLOCK_SIZE=4)
    q, k, v = (numbers(facula, 1, 1, 8, 4, by=by) for by in (1, 2, 3))
    allowed = facula.block_diag(facula.ones(4, 4), facula.ones(4, 4)).bool()
    assert facula.allclose(flex_attention(q, k, v, block_mask=blocks), attention(q, k, v, allowed))
    full = BlockMask.from_kv_blocks(number * 0, columns, number, columns, 4, lambda b, h, i, j: i < 0)
    assert facula.allclose(flex_attention(q, k, v, block_mask=full), attention(q, k, v, allowed))


def test_a_mask_of_a_score():
    assert create_mask(lambda s, b, h, q, k: facula.where(q >= k, s, -math.inf), None, None, 2, 2).tolist() == [
        [[[True, False], [True, True]]]]


def test_what_does_not_fit_raises():
    q, k, v = three(facula)
    few = three(facula, kv_heads=2)
    blocks = create_block_mask(causal, None, None, 5, 7)
    for call, error, words in (
            (lambda: flex_attention(*few), ValueError, "same number of heads"),
            (lambda: flex_attention(*three(facula, kv_heads=3), enable_gqa=True), ValueError, "multiple of kv heads"),
            (lambda: flex_attention(q[0], k[0], v[0]), NotImplementedError, "4D"),
            (lambda: flex_attention(q, k[:1], v[:1]), ValueError, "same batch size"),
            (lambda: flex_attention(q, k[..., :4], v), ValueError, "embedding dimension"),
            (lambda: flex_attention(q, k, v, block_mask=blocks._adjust(4, 7)), ValueError, "smaller length"),
            (lambda: flex_attention(q[:, :, :4], k, v, block_mask=blocks), ValueError, "larger length"),
            (lambda: flex_attention(q, k, v, block_mask=create_block_mask(causal, 3, 1, 5, 7)), ValueError, "batches"),
            (lambda: flex_attention(q, k, v, return_aux=AuxRequest(False, True)), NotImplementedError, "max scores"),
            (lambda: flex_attention(q, k, v, return_lse=True, return_aux=AuxRequest()), ValueError, "both"),
            (lambda: create_block_mask(3, 1, 1, 4, 4), TypeError, "callable"),
            (lambda: create_block_mask(lambda b, h, q: q, 1, 1, 4, 4), AssertionError, "4 or 5"),
            (lambda: create_block_mask(SCORES["plain"], 1, 1, 4, 4), AssertionError, "mask_mod"),
            (lambda: create_block_mask(lambda b, h, q, k: q - k, 1, 1, 4, 4), AssertionError, "torch.bool"),
            (lambda: BlockMask.from_kv_blocks(facula.ones(2), facula.ones(2)), RuntimeError, "2 dimensions"),
            (lambda: BlockMask.from_kv_blocks(*[facula.ones(2, 2)] * 3), AssertionError, "both"),
            (lambda: blocks[..., 0], IndexError, "ellipsis")):
        with pytest.raises(error, match=words):
            call()
    with pytest.warns(FutureWarning, match="return_lse"):
        flex_attention(q, k, v, return_lse=True)


@pytest.mark.parametrize("corner", ["upper_left", "lower_right"])
@pytest.mark.parametrize("shape", [(5, 7), (7, 5), (4, 4)])
def test_causal_biases(oracle, corner, shape):
    def found(library):
        q, k, v = (numbers(library, 2, 4, n, 6, by=by).requires_grad_() for n, by in
                   zip((shape[0], shape[1], shape[1]), (1.7, 1.3, 0.7), strict=True))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            mask = getattr(part(library, "bias"), f"causal_{corner}")(*shape)
        out = library.nn.functional.scaled_dot_product_attention(q, k, v, attn_mask=mask, scale=0.3)
        out.square().sum().backward()
        return [repr(mask), list(mask.shape), mask.variant.name], arrays(out, q.grad, k.grad, v.grad)
    (words, values), (their_words, theirs) = found(facula), oracle(found, corner, shape)
    assert words == their_words
    close(values, theirs)


def test_what_a_causal_bias_refuses():
    q, k, v = three(facula)
    mask = bias.causal_lower_right(5, 7)
    assert isinstance(mask, facula.Tensor) and mask.variant is bias.CausalVariant.LOWER_RIGHT
    with pytest.raises(ValueError, match="causal=True"):
        attention(q, k, v, attn_mask=bias.causal_upper_left(5, 7), is_causal=True)
    with pytest.raises(AssertionError, match="only supports 2D"):
        bias.causal_upper_left(3)
    with pytest.raises(AssertionError, match="must be a CausalVariant"):
        bias.CausalBias(1, 2, 3)
    with pytest.raises(NotImplementedError, match="_materialize"):
        mask + 1
    with pytest.raises(RuntimeError, match="must match"):
        attention(q, k, v, attn_mask=bias.causal_lower_right(4, 7))
    with pytest.warns(UserWarning, match="Lower right"):
        bias.causal_lower_right(3, 2)


@pytest.mark.parametrize("heads", [(4, 2), (4, 1), (4, 4)])
@pytest.mark.parametrize("is_causal", [False, True])
def test_grouped_heads(oracle, heads, is_causal):
    def found(library):
        q, k, v = three(library, *heads, grad=True)
        out = library.nn.functional.scaled_dot_product_attention(q, k, v, is_causal=is_causal, enable_gqa=True)
        out.square().sum().backward()
        return arrays(out, q.grad, k.grad, v.grad)
    close(found(facula), oracle(found, heads, is_causal))


def test_heads_that_do_not_divide():
    with pytest.raises(RuntimeError, match="must divide the number of heads"):
        attention(*three(facula, 4, 3), enable_gqa=True)
    with pytest.raises(RuntimeError, match="must match the size"):
        attention(*three(facula, 4, 2))


def test_attention_without_an_allowed_kernel_raises():
    same, other = three(facula, last=8), three(facula)
    for allowed in (SDPBackend.MATH, [SDPBackend.FLASH_ATTENTION, SDPBackend.MATH]):
        with sdpa_kernel(allowed):
            attention(*other)
    with sdpa_kernel(SDPBackend.FLASH_ATTENTION):
        assert facula.backends.cuda.flash_sdp_enabled() and not facula.backends.cuda.math_sdp_enabled()
        attention(*same)
        for call in (lambda: attention(*other), lambda: attention(*[t[0] for t in same]),
                     lambda: attention(*same, dropout_p=0.5)):
            with pytest.raises(RuntimeError, match="No available kernel"):
                call()
    for allowed in (SDPBackend.EFFICIENT_ATTENTION, [], SDPBackend.ERROR):
        with sdpa_kernel(allowed), pytest.raises(RuntimeError, match="No viable backend"):
            attention(*same)
    attention(*other)
    assert SDPBackend.MATH != 0 and int(SDPBackend.MATH) == 0 and SDPBackend(1) is SDPBackend.FLASH_ATTENTION


def test_the_order_of_kernels_is_kept():
    chosen = facula.nn.attention._cur_sdpa_kernel_backends
    with sdpa_kernel([SDPBackend.MATH, SDPBackend.FLASH_ATTENTION], set_priority=True):
        assert chosen(True) == [SDPBackend.MATH, SDPBackend.FLASH_ATTENTION] == chosen()[::-1]
    assert chosen(True)[0] is SDPBackend.FLASH_ATTENTION and len(chosen()) == 5


def test_flash_kernels_of_a_programs_own():
    names = facula.nn.attention
    called = []
    names.register_flash_attention_impl("mine", register_fn=lambda: called.append(1) or called.clear)
    assert "mine" in names.list_flash_attention_impls()
    names.activate_flash_attention_impl("mine")
    assert called == [1] and names.current_flash_attention_impl() == "mine"
    names.restore_flash_attention_impl()
    assert names.current_flash_attention_impl() is None
    with pytest.raises(ValueError, match="Unknown flash attention impl"):
        names.activate_flash_attention_impl("yours")


@pytest.mark.parametrize("module", ["", ".bias", ".block_mask", ".flex_attention"])
def test_examples(module):
    docstrings.check(importlib.import_module("facula.nn.attention" + module))


@pytest.mark.parametrize("heads", [1, 4])
def test_values_of_other_heads_than_keys_are_refused(heads):
    q, k, v = facula.ones(1, 4, 3, 2), facula.ones(1, 2, 3, 2), facula.ones(1, heads, 3, 2)
    with pytest.raises(RuntimeError, match="must match"):
        flex_attention(q, k, v, enable_gqa=True)
