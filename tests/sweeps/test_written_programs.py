"""Random programs, written for PyTorch line by line, run on Facula in three ways and by two threads: the short form of
what `tools/soak.py programs` runs ten thousand of. Programs that were once wrong stand here as they were found.

To look for more: `FACULA_EXAMPLES=2000 pytest tests/sweeps/test_written_programs.py`, which draws new ones.
"""

import os
import time

import pytest

from written_programs import difference, run
from written_programs.comparing import shorter, without
from written_programs.trying import attempt, judged, try_programs, try_threads, wrong

MORE = int(os.environ.get("FACULA_EXAMPLES", "0"))
SEED = time.time_ns() if MORE else "the same"


def test_programs_agree(torch):
    assert try_programs(torch, SEED, MORE or 60) == []


def test_programs_of_two_threads_agree(torch):
    assert try_threads(torch, SEED, MORE // 10 or 20) == []


FOUND = {
    "a leaf copied onto itself": """
        t1 = (ramp((3,), 1, 1, 'float32') * 0.25).requires_grad_()
        t1.copy_(t1)""",
    "a view of a leaf is turned": """
        t1 = (ramp((3, 4), 1, 1, 'float32') * 0.25).requires_grad_()
        t2 = t1[1:]
        t2.t_()""",
    "an expanded tensor copied onto itself": """
        t1 = ramp((3, 1), 1, 3, 'float32')
        t2 = t1.expand(3, 4)
        t2.copy_(t2)
        t2.copy_(t2[:])
        t2[...] = t2
        t2[...] = t2[:]
        t2.copy_(t1)""",
    "values with dimensions too many": """
        t1 = ramp((3, 2), 1, 3, 'float32')
        t2 = ramp((1, 1, 2, 2), 1, 3, 'float32')
        t1[lib.tensor([0, 1])] = t2
        t1[0:2] = t2
        t1.index_put_((lib.tensor([0, 1]),), t2)
        t1.index_put_((lib.tensor([0, 1]),), t2, accumulate=True)
        t1.index_put_((lib.tensor([True, True, False]),), t2)""",
    "alpha times bytes": """
        t1 = lib.tensor([[217, 3], [200, 0]], dtype=lib.uint8)
        t2 = lib.sub(lib.tensor(1.0), t1, alpha=2)
        t3 = lib.add(lib.tensor([1, 2]), t1, alpha=3)
        t4 = lib.add(t1, t1.to(lib.int8), alpha=2)
        t5 = lib.add(t1 > 0, t1 > 1, alpha=True)
        t6 = lib.rsub(t1, lib.tensor(1.5), alpha=2)
        t7 = lib.tensor([1.5, 2]).half().add(t1, alpha=2)""",
    "lerp of integers": """
        t1 = ramp((3,), 1, 3, 'int64')
        t2 = lib.lerp(t1, t1, 0.5)
        t3 = lib.lerp(t1, t1, t1)
        t1.lerp_(t1, 0.5)""",
    "addcmul of bools": """
        t1 = ramp((3,), 1, 3, 'bool')
        t1.addcmul_(t1, t1, value=2)
        t2 = lib.addcmul(t1, t1, t1)
        t3 = lib.addcmul(t1, t1, t1.to(lib.int64))""",
    "nothing divided by zero": """
        t1 = ramp((0,), 1, 3, 'int64')
        t2 = t1.remainder(0)
        t3 = t1 // 0
        t4 = t1.fmod(0)
        t5 = lib.div(t1, 0, rounding_mode='trunc')
        t6 = ramp((1,), 1, 3, 'int64') // 0""",
    "pairs as complex numbers": """
        t1 = ramp((6,), 1, 3, 'float32')
        t2 = lib.view_as_complex(t1.as_strided((1, 2), (1, 1)))
        t3 = lib.view_as_complex(t1.as_strided((1, 2), (3, 1)))
        t4 = lib.view_as_complex(t1.as_strided((2, 2), (1, 1)))
        t5 = lib.view_as_complex(t1.as_strided((1, 2), (5, 1), 1))
        t6 = lib.view_as_complex(t1.bfloat16().view(3, 2))
        t2.add_(1)""",
    "products of bools": """
        t1 = ramp((3, 3), 1, 3, 'bool')
        t2 = lib.einsum('ij,kj->ik', t1, t1)
        t3 = lib.einsum('ij,ij->ij', t1, t1)
        t4 = lib.einsum('ij->i', t1)
        t5 = lib.einsum('ij,ij->', t1, t1)
        t6 = lib.einsum('ij,kj->ik', t1[:, :1], t1[:, :1])
        t7 = t1[:, :0] @ t1[:0]
        t8 = t1 @ t1""",
    "reductions at an index, of bools and complex numbers": """
        t1 = ramp((3,), 1, 3, 'bool')
        t2 = ramp((3,), 1, 3, 'complex64')
        t3 = ramp((3,), 1, 3, 'float32')
        t4 = lib.tensor([0, 1, 1])
        """ + "\n".join(
            f"t{5 + k} = lib.{name}(t{of}, 0, t4, t{of}, '{kind}')" for k, (name, of, kind) in enumerate(
                (name, of, kind) for name in ("index_reduce", "scatter_reduce") for of in (1, 2, 3)
                for kind in ("prod", "mean", "amax", "amin", *(["sum"] if name[0] == "s" else [])))),
    "scatters of another dtype at no index": """
        t1 = ramp((3,), 1, 3, 'float32')
        t2 = ramp((0,), 1, 3, 'float64')
        t3 = ramp((0,), 1, 3, 'int64')
        t4 = t1.scatter(0, t3, t2)
        t5 = t1.scatter_add(0, t3, t2)
        t6 = t1.scatter_reduce(0, t3, t2, 'sum')
        t7 = t1.scatter_add(0, t3, t2.float())
        t8 = t1.index_fill(0, t3.int(), 1.0)""",
    "nothing of a leaf is written": """
        t1 = (ramp((2, 3), 1, 3, 'float32') * 0.25).requires_grad_()
        t2 = t1.view_as(t1)
        t2[0:0] = 1
        t2[lib.tensor([], dtype=lib.int64)] = 1""",
    "norms and activations of what they are not for": """
        t1 = ramp((2, 4, 2, 2), 1, 3, 'complex64')
        t2 = ramp((2, 4, 2, 2), 1, 3, 'int64')
        t3 = F.layer_norm(t1, (2,))
        t3 = F.layer_norm(t2, (2,))
        t3 = F.group_norm(t1, 2)
        t3 = F.group_norm(t2, 2)
        t3 = F.instance_norm(t1)
        t3 = F.local_response_norm(t1, 2)
        t3 = F.local_response_norm(t2.bool(), 2)
        t3 = F.local_response_norm(t2, 2)
        t3 = F.hardtanh(t1)
        t3 = F.hardtanh(t2.bool())
        t3 = F.glu(t1)
        t3 = F.glu(t2)
        t3 = F.grid_sample(t1, lib.zeros(2, 2, 2, 2))
        t3 = F.interpolate(t1, scale_factor=2)
        t3 = F.interpolate(t2, scale_factor=2)
        t3 = F.interpolate(t2.to(lib.uint8), scale_factor=2)""",
    "arrays as they lie": """
        a1 = np.arange(60.0).reshape(3, 4, 5)
        t1 = lib.tensor(a1.transpose(2, 0, 1))
        t2 = lib.as_tensor(a1.T, dtype=lib.float32)
        t3 = lib.asarray(a1.T, copy=True)
        t4 = lib.Tensor(a1.T)
        t5 = lib.tensor(a1[:, ::2].T)
        t6 = lib.tensor(np.broadcast_to(a1[:, :1], (3, 4, 5)))
        t1.add_(1)""",
    "ravel of a repeated element": """
        t1 = ramp((), 1, 3, 'float32')
        t2 = t1.expand(3).ravel()
        t3 = t1.as_strided((3, 2), (0, 0), 0).ravel()""",
    "writes beside a view": """
        t1 = (ramp((4, 3), 1, 3, 'float32') * 0.25).requires_grad_()
        t2 = t1 * 2
        t3 = t2[1:2, :2]
        t4 = t3.as_strided((2,), (3,), 1)
        t4.mul_(3)
        (t2 * t2).sum().backward()
        look(t1.grad)""",
    "layouts where a dimension is 1": """
        t1 = ramp((1, 4, 3, 3), -2, 3, 'int16').transpose(0, 1)
        t2 = t1.floor()
        t3 = t1.round()
        t4 = t1.clamp(-1, 2)
        t5 = t1.float().clamp(min=0)
        t6 = t1.bool().sign()
        t7 = t1.clip(0, 1)""",
    "numbers into a tensor of as many elements": """
        t1 = lib.zeros(1, 3)
        lib.arange(3, out=t1)
        lib.linspace(0, 1, 3, out=t1)
        t2 = lib.zeros(2, 3)
        lib.arange(3, out=t2)
        t3 = lib.zeros(3, 1).mT
        lib.arange(3, out=t3)""",
    "images without elements are copied": """
        t1 = lib.zeros(2, 3, 2, 0)
        note(t1.contiguous(memory_format=lib.channels_last) is t1)
        note(t1.to(memory_format=lib.channels_last) is t1)
        note(t1.contiguous() is t1)""",
    "losses as they lie": """
        t1 = ramp((1, 4, 3), 0, 1, 'float64').transpose(0, 1)
        t2 = F.huber_loss(t1, t1 + 3, reduction='none')
        t3 = F.binary_cross_entropy_with_logits(t1, t1 * 0, reduction='none')""",
    "the modulus in place": """
        t1 = ramp((3,), 1, 1, 'complex64')
        t1.abs_()
        t2 = t1.abs()
        lib.abs(t1, out=t2)""",
    "lines lie as their weight does": """
        t1 = ramp((2, 12, 4), 0, 1, 'float32').mT
        t2 = F.conv1d(t1, ramp((2, 4, 2), 0, 1, 'float32'))
        t3 = F.conv1d(t1, ramp((2, 3, 4), 0, 1, 'float32').mT)
        t4 = F.conv_transpose1d(t1, ramp((4, 2, 3), 0, 1, 'float32'))
        t5 = F.conv1d(t1[0], ramp((2, 4, 2), 0, 1, 'float32'))""",
    "images that are none, on the tape": """
        t1 = ramp((0, 4, 3, 3), 0, 1, 'float64').requires_grad_()
        t2 = F.unfold(t1, 2)
        t3 = F.fold(t2, (3, 3), 2)
        t3.sum().backward()
        look(t1.grad)""",
    "bounds of bools": """
        t1 = ramp((3,), 1, 1, 'bool')
        t1.clamp_min_(True)
        t2 = t1.clamp(False, True)
        t2 = t1.clamp(max=True)
        t2 = t1.clamp(t1, t1)
        t3 = t1.clamp_min(t1)
        t4 = t1.clamp(0, 1)""",
    "one class": """
        t1 = ramp((3, 1), 1, 3, 'float64')
        t2 = t1[:1] * 1
        t3 = F.cross_entropy(t2, t2[:, 0].long() % 1)
        t4 = F.nll_loss(t2.log_softmax(1), lib.tensor([0]))""",
    "from_dlpack of bfloat16": """
        t1 = ramp((2, 3), 1, 3, 'bfloat16')
        t2 = lib.from_dlpack(t1.mT)
        t2.add_(1)
        t3 = lib.from_dlpack(t1.requires_grad_())""",
}


def lines_of(text):
    return [line.strip() for line in text.strip().splitlines()]


@pytest.mark.parametrize("name", FOUND)
def test_found(torch, name):
    assert wrong(torch, lines_of(FOUND[name])) == ""


def test_something_wrong_is_seen_and_made_short(facula):
    """One line is exchanged for another: the comparison says where, and what does not matter is left out."""
    lines = lines_of("""
        t1 = ramp((2, 3), 1, 3, 'float32')
        t2 = t1.mT
        t3 = ramp((4,), 1, 3, 'int64')
        t3.add_(1)
        t2.mul_(2)
        look(t1)""")

    def said(program):
        other = [line.replace("mul_(2)", "mul_(3)") for line in program]
        return difference(program, run(facula, program), run(facula, other))

    assert "line 5 `look(t1)`" in said(lines)
    assert shorter(lines, lambda program: bool(said(program))) == [lines[0], lines[1], lines[4]]
    assert without(lines, 0) == lines[2:4]
    assert "raised" in judged(lines, attempt(["t1 = lib.ones(1)", "1 / 0"]), run(facula, lines), True)


def test_bits_are_compared(facula):
    lines, other = ["t1 = lib.tensor([1.0, 0.0])"], ["t1 = lib.tensor([1.0000001, -0.0])"]
    a, b = run(facula, lines), run(facula, other)
    assert difference(lines, a, b) == "" and difference(lines, a, b, bits=True)


@pytest.mark.compiled
@pytest.mark.parametrize("channels, filters", [(1, 1), (1, 2), (3, 1), (40, 1), (1, 40)])
def test_convolutions_of_one_row_have_the_same_bits(torch, channels, filters):
    """Lazy, their windows are never in memory; at each call they are."""
    size = "float32"
    assert wrong(torch, lines_of(f"""
        t1 = ((ramp((2, {channels}, 7, 6), -1, 3, '{size}') * 0.3).exp()).requires_grad_()
        t2 = ((ramp(({filters}, {channels}, 3, 2), 1, 3, '{size}') * 0.3).sin()).requires_grad_()
        t3 = F.conv2d(t1, t2, padding=1)
        t4 = F.conv_transpose2d(t1, t2.transpose(0, 1), padding=1)
        t5 = F.conv2d(t1[:, :, :2, :2], t2[:, :, :1, :1], padding=1)
        (t3 * t3).sum().backward(retain_graph=True)
        (t4 * t4).sum().backward(retain_graph=True)
        (t5 * t5).sum().backward(retain_graph=True)
        look(t1.grad)
        look(t2.grad)
        t6 = F.pad(t1[:, 0, 0], (1, 2)).reshape(1, -1) @ F.pad(t1[:, 0, 0], (2, 1)).reshape(-1, 1)
        t7 = t1[0, 0].unfold(1, 3, 1).reshape(-1, 3) @ t2[0, 0].reshape(-1)[:3]""")) == ""


@pytest.mark.compiled
def test_images_with_channels_innermost_have_the_same_bits(torch):
    assert wrong(torch, lines_of("""
        t1 = lib.sin(ramp((2, 9, 6, 5), 1, 3, 'float32')).to(memory_format=lib.channels_last).requires_grad_()
        t2 = lib.sin(ramp((1, 9, 3, 2), 1, 5, 'float32')).to(memory_format=lib.channels_last).requires_grad_()
        t3 = F.conv2d(t1, t2, padding=1)
        t4 = lib.sin(ramp((12, 9, 3, 2), 1, 5, 'float32')).to(memory_format=lib.channels_last).requires_grad_()
        t5 = F.conv2d(t1[:1, :, :3, :2], t4)
        (t3 * t3).sum().backward(retain_graph=True)
        (t5 * t5).sum().backward(retain_graph=True)
        look(t1.grad)
        look(t2.grad)
        look(t4.grad)""")) == ""
