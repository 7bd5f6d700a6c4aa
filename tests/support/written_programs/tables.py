"""What lines may be, by kind. `{x}` is what a line is about, `{y}` another tensor; what else stands in braces is drawn
for the shape of x (writing.Fields). Before each stands what x must be (writing.Writer.template):

    d has dimensions    2 two of them       4, 5 an image of so many    p no image      n not expanded
    f floating          F 32 bits or more   c complex                   b of bools      i not of bools
    r real, not of bools
    o this program's alone (of threads)     v on no tape                w what is written has x's dtype, other memory
"""

from __future__ import annotations


def table(text: str) -> list[tuple[str, str]]:
    """(what x must be, the line), as it often is to be drawn."""
    rows = [row.split(maxsplit=1) for row in text.strip().splitlines()]
    return [(needs.strip("-"), line) for needs, line in rows]


VIEWS = table("""
    -    {x}.detach()
    -    {x}.view({split})
    -    {x}.view({split})
    -    {x}.reshape({split})
    -    {x}.unsqueeze({u})
    -    {x}.view_as({x})
    -    {x}.squeeze()
    -    {x}.expand({k}, *{x}.shape)
    -    {x}[{basic}]
    d    {x}[{basic}]
    d    {x}[{basic}]
    -    lib.broadcast_to({x}, ({k}, *{x}.shape))
    o    {x}.as_strided({strided})
    o    {x}.as_strided({strided})
    v    {x}.data
    v    {x}.view(lib.{dtype})
    -    {x}.expand_as({y})
    -    {x}.reshape_as({y})
    -    {x}.view_as({y})
    -    {x}.flatten()
    -    {x}.ravel()
    -    {x}.contiguous()
    -    {x}.to({x}.dtype)
    -    lib.atleast_2d({x})
    c    {x}.real
    c    {x}.imag
    c    lib.view_as_real({x})
    F2   lib.view_as_complex({x}[..., :2])
    f2   lib.view_as_complex({x}.float()[..., :2])
    d    {x}.select({d}, {i})
    d    {x}.narrow({d}, {j}, {k})
    d    {x}.unfold({d}, {k}, {k})
    d    {x}.squeeze({d})
    d    {x}.unflatten({d}, (-1, {k}))
    d    {x}.flatten({d})
    2    {x}.diagonal({o})
    2    {x}.transpose({d}, {e})
    2    {x}.transpose({d}, {e})
    2    {x}.movedim({d}, {e})
    2    {x}.permute({order})
    2    {x}.permute({order})
    2    {x}.mT
    2    {x}.t()
    2    {x}.swapaxes({d}, {e})
    2    {x}.T
    2    lib.diagonal({x}, {o}, {d}, {e})
""")

# torch's tape forbids to write what these give
SEVERAL = table("""
    d    {x}.chunk({k}, {d})[0]
    d    {x}.split({k}, {d})[-1]
    d    {x}.unbind({d})[-1]
    d    {x}.tensor_split({k}, {d})[-1]
    d    lib.split({x}, {k})[0]
""")

VALUES = table("""
    -    {x}.clone()
    -    {x} + {number}
    -    {x} * {number}
    -    {x} + {y}
    -    {x} * {y}
    -    {x} - {y}
    -    {number} - {x}
    -    -{x}
    -    {x}.sum()
    -    {x}.relu()
    -    {x}.to(lib.{dtype})
    -    {x}.abs()
    -    {x}.to(lib.{dtype})
    -    {x}.clamp(-1, 2)
    -    lib.where({x} > 0, {x}, {y})
    -    lib.maximum({x}, {y})
    -    lib.where({x} > 0, {x}, {x} * 2)
    -    {x} == {y}
    -    {x} < {number}
    -    {x} - {x}.sum()
    -    lib.cat([{x}.reshape(-1), {y}.reshape(-1)])
    -    {x}.ravel() * 1
    -    {x}.contiguous() * 1
    -    {x}.permute({order}).clone()
    -    {x}.clone(memory_format=lib.contiguous_format)
    -    lib.zeros_like({x}) + {x}
    -    lib.full_like({x}, 2)
    -    lib.ones_like({x}.permute({order}))
    -    {x}[{key}]
    d    {x}[{key}]
    d    {x}[{key}]
    -    lib.stack([{x}, {x}], {u})
    -    {x}.repeat({k}, *[1] * {x}.dim())
    -    {x}.double().mean()
    -    {x}.logical_not()
    -    {x} // 2
    -    {x} % 3
    -    {x} ** 2
    -    {x}.sign()
    -    {x}.floor()
    f    {x}.sin()
    f    {x}.clamp(-3, 3).exp()
    f    {x}.sigmoid()
    f    {x}.tanh() * {y}
    f    {x} / 4
    f    lib.lerp({x}, {y}, 0.25)
    f    lib.addcmul({x}, {x}, {y})
    f    {x}.nan_to_num(1, 2, 3)
    f    F.gelu({x})
    -    lib.empty_like({x}).copy_({y})
    -    lib.empty_like({x}, dtype=lib.{dtype}).copy_({x})
    -    copy.copy({x})
    v    copy.deepcopy({x})
    -    {x}.new_zeros({x}.shape) + {y}
    -    {x}.masked_select({x} > 0)
    -    {x}.take({index0})
    d    {x}.cumsum({d})
    d    {x}.sum({d})
    d    {x}.sum({d}, keepdim=True)
    d    {x}.amax({d})
    d    {x}.flip({d})
    d    {x}.roll(1, {d})
    d    {x}.index_select({d}, {picks})
    d    {x}.sort(dim={d}, stable=True)[0]
    d    {x}.sort(dim={d}, stable=True)[1]
    d    {x}.all({d})
    d    {x}.repeat_interleave(2, {d})
    d    {x}.cummax({d})[0]
    d    {x}.max({d}, keepdim=True)[0]
    d    {x}.gather({d}, lib.zeros_like({x}, dtype=lib.int64))
    d    {x}.prod({d})
    d    lib.cat([{x}, {x}], {d})
    d    {x}.scatter({d}, lib.zeros_like({x}, dtype=lib.int64).narrow({d}, 0, 1), {number})
    d    {x}.index_add({d}, {picks}, {x}.index_select({d}, {picks}))
    d    F.pad({x}, (1, 2))
    d    {x}.float().softmax({d})
    d    {x}.double().logsumexp({d})
    d    {x}.count_nonzero({d})
    d    {x}.float().std({d})
    d    F.pad({x}, (0, 1), value=2)
    d    {x}.topk(1, {d})[0]
    d    {x}.diff(dim={d})
    fd   F.layer_norm({x}, {x}.shape[-1:])
    2    {x}.mT @ {x}
    2    copied(lib.einsum('...ij,...kj->...ik', {x}, {x}))
    2    {x}.tril({o})
    2    {x}.mT.contiguous()
    2    {x}.rot90()
    2    {x}.sum(({d}, {e}))
    2    {x}.flatten().outer({x}[0].flatten())
    2    {x} @ {x}.mT
    2    {x}.transpose({d}, {e}).clone()
    2    {x}.transpose({d}, {e}) + {x}.transpose({d}, {e})
    4    {x}.to(memory_format=lib.channels_last)
    4    {x}.contiguous(memory_format=lib.channels_last)
    4    {x}.contiguous(memory_format=lib.channels_last)
    4    {x}.to(memory_format=lib.contiguous_format)
    4    {x}.clone(memory_format=lib.channels_last)
    4    lib.empty_like({x}, memory_format=lib.channels_last).copy_({x})
    4f   F.conv2d({x}, ramp((2, {channels}, 2, 2), 0, 1, 'float64').to({x}.dtype), padding=1)
    4f   F.max_pool2d({x}, 2, padding=1)
    4f   F.avg_pool2d({x}, 2, ceil_mode=True)
    4f   F.adaptive_avg_pool2d({x}, 2)
    4f   F.interpolate({x}, scale_factor=2)
    4f   F.interpolate({x}, (3, 5), mode='bilinear')
    4f   F.group_norm({x}, 1)
    4f   F.batch_norm({x}, None, None, training=True)
    4f   F.pad({x}, (1, 0, 0, 2))
    4f   F.pixel_unshuffle({x}, 1) * 2
    4    {x} + {x}.to(memory_format=lib.channels_last)
    4    {x}.permute(0, 2, 3, 1).contiguous()
    5    {x}.to(memory_format=lib.channels_last_3d)
    5    {x}.contiguous(memory_format=lib.channels_last_3d) * 2
    4    lib.cat([{x}.to(memory_format=lib.channels_last), {x}.to(memory_format=lib.channels_last)], 1)
""")

# In place. Numbers that an integer cannot hold are refused; what is of another dtype is converted, or refused.
WRITES = table("""
    -    {x}.add_({y})
    -    {x}.mul_({y})
    -    {x}.sub_({y}, alpha=2)
    -    {x}.copy_({y})
    -    {x}.copy_({y})
    -    {x}.fill_({number})
    -    {x}.zero_()
    -    {x}.clamp_(-1, 1)
    -    {x}.masked_fill_({x} > 0, {number})
    -    {x}.neg_()
    -    {x}.add_({number})
    -    {x}.relu_()
    -    {x}.mul_({x} > 0)
    -    {x} += {y}
    -    {x} *= 2
    -    {x}.add_({y}.to(lib.{dtype}))
    -    {x}.mul_({y}.to(lib.{dtype}))
    -    {x}.copy_({y}.to(lib.{dtype}))
    -    {x}.lerp_({y}.to({x}.dtype), 0.5)
    -    {x}.addcmul_({x}, {y}, value=2)
    -    {x} -= {number}
    -    {x} //= 2
    -    {x}.eq_({y})
    -    {x}.logical_not_()
    -    {x}.remainder_(3)
    -    {x}.pow_(2)
    -    {x}.sign_()
    -    {x}.bitwise_not_()
    f    {x}.sin_()
    f    {x}.div_(4)
    f    {x}.sigmoid_()
    f    {x}.nan_to_num_(0, 1, 2)
    f    {x}.floor_()
    -    {x}[{key}] = {number}
    d    {x}[{key}] = {number}
    d    {x}[{key}] = {y}
    d    {x}[{key}] += {number}
    d    {x}[{key}] *= {x}[{key}]
    d    {x}[{basic}] = {y}
    d    {x}[{basic}] += {number}
    d    {x}[{basic}].copy_({y})
    d    {x}[{few}] = ramp(({nrows}, *{x}.shape[1:]), 0, 1, {own})
    d    {x}[{few},] += 1
    d    {x}.index_put_(({few},), ramp(({nrows}, *{x}.shape[1:]), 1, 3, {own}), accumulate=True)
    d    {x}.index_put_(({few},), ramp(({nrows}, *{x}.shape[1:]), 1, 3, {own}))
    2    {x}.index_put_(({few}, lib.tensor(0)), lib.tensor({number}).to({x}.dtype), accumulate=True)
    d    {x}.index_fill_({d}, {picks}, {number})
    di   {x}.cumsum_({d})
    di   {x}.cumprod_({d})
    d    {x}.index_add_({d}, {picks}, {x}.index_select({d}, {picks}), alpha=2)
    d    {x}.index_copy_({d}, lib.tensor([0]), {x}.narrow({d}, 0, 1) * 2)
    d    {x}.index_reduce_({d}, {picks}, {x}.index_select({d}, {picks}) + 1, 'amax')
    d    {x}.scatter_({d}, lib.zeros_like({x}, dtype=lib.int64).narrow({d}, 0, 1), {number})
    d    {x}.scatter_add_({d}, lib.zeros_like({x}, dtype=lib.int64), {x} * 1)
    d    {x}.scatter_reduce_({d}, lib.zeros_like({x}, dtype=lib.int64), {x} * 1, 'amax')
    d    {x}.scatter_add_({d}, {at}, {at}.to({x}.dtype))
    d    {x}.scatter_reduce_({d}, {at}, {at}.to({x}.dtype), 'prod')
    -    {x}.put_(lib.tensor({index0}), ramp(({nindex0},), 0, 2, {own}), accumulate=True)
    -    {x}.masked_scatter_({x} > 0, {x}.flatten().flip(0))
    2    {x}.fill_diagonal_({number})
    2n   {x}.tril_()
    2    {x}.transpose({d}, {e}).add_(1)
    2    {x}.diagonal().copy_({number} * lib.ones_like({x}.diagonal()))
    d    {x}.select({d}, 0).add_({number})
    d    {x}.narrow({d}, 0, 1).mul_(2)
    -    {x}.view(-1).add_(1)
    d    {x}.unfold({d}, 1, 1).neg_()
    2    {x}.permute({order}).mul_({x}.permute({order}))
    -    {x}[...] = {number}
    4    {x}[:, 0] = {number}
    4    {x}.add_({x}.contiguous(memory_format=lib.channels_last))
    c    {x}.real.add_(1)
    c    lib.view_as_real({x}).mul_(2)
    v    {x}.detach().add_(1)
    v    {x}.data.mul_(2)
    v    {x}.view(lib.int16).bitwise_and_(-2)
""")

# `{z}` is written: another tensor, a view with gaps, or a part of a tensor, often of the right shape.
OUTS = table("""
    -    lib.add({x}, {y}, out={z})
    -    lib.mul({x}, {number}, out={z})
    -    lib.sub({x}, {y}, alpha=2, out={z})
    -    lib.maximum({x}, {y}, out={z})
    w    lib.clamp({x}, -1, 1, out={z})
    w    lib.neg({x}, out={z})
    fw   lib.sin({x}, out={z})
    w    lib.where({x} > 0, {x}, {y}, out={z})
    -    lib.eq({x}, {y}, out={z})
    fw   lib.abs({x}, out={z})
    fw   lib.sigmoid({x}, out={z})
    dwi  lib.sum({x}, {d}, keepdim=True, out={z})
    dwi  lib.cumsum({x}, {d}, out={z})
    dw   lib.amax({x}, {d}, keepdim=True, out={z})
    dw   lib.gather({x}, {d}, lib.zeros_like({x}, dtype=lib.int64), out={z})
    dw   lib.cat([{x}.narrow({d}, 0, 1), {x}.narrow({d}, 1, {x}.shape[{d}] - 1)], {d}, out={z})
    dw   lib.index_select({x}, {d}, lib.arange({x}.shape[{d}]), out={z})
    2pw  lib.tril({x}, {o}, out={z})
    -    lib.square({x}, out={z})
    2w   lib.matmul({x}, lib.eye({x}.shape[-1], dtype={x}.dtype), out={z})
    2w   lib.matmul({x}.mT, {x}, out={z})
    b    lib.logical_not({x}, out={z})
    dw   lib.sort({x}, dim={d}, stable=True, out=({z}, lib.empty(0, dtype=lib.int64)))
    dpw  lib.stack([{x}, {x}], 0, out={z})
    dbw  lib.any({x}, {d}, keepdim=True, out={z})
    f    lib.addcmul({x}, {x}, {y}, out={z})
    dwi  lib.prod({x}, {d}, keepdim=True, out={z})
    w    lib.masked_select({x}, {x} > 0, out={z})
    -    lib.floor_divide({x}, 2, out={z})
    -    lib.pow({x}, 2, out={z})
""")

# Of the tensor itself: its shape, its memory. `o`: nothing that another thread has a part of.
TURNS = table("""
    -    {x}.unsqueeze_({u})
    -    {x}.squeeze_()
    2    {x}.transpose_({d}, {e})
    2    {x}.t_()
    2    {x}.swapaxes_({d}, {e})
    o    {x}.set_({y})
    o    {x}.set_({x}.untyped_storage(), {offset}, {size}, {stride})
    o    {x}.set_()
    o    {x}.set_({y}.untyped_storage())
    o    {x}.as_strided_({strided})
    v    {x}.data = {y}
    o    {x}.resize_({x}.shape[:-1])
    o    {x}.resize_(({half},))
    o    {x}.untyped_storage().fill_(0)
""")

POINTERS = table("""
    -    note({x}.data_ptr() == {y}.data_ptr())
    -    note({x}.data_ptr() == {x}.clone().data_ptr())
    -    note({x}.untyped_storage().data_ptr() == {y}.untyped_storage().data_ptr())
    o    note({x}.untyped_storage().nbytes())
    -    note({x}.data_ptr() - {x}.untyped_storage().data_ptr())
    -    {p} = {x}.data_ptr(), {x}
    -    {p} = {x}.data_ptr(), {x}
    -    note({q}[0] == {q}[1].data_ptr())
    -    note({x}.data_ptr() == copy.deepcopy({x}.detach()).data_ptr())
    -    note({x}.is_set_to({y}))
    -    note(lib.equal({x}, {y}))
""")

# Through NumPy: by arrays that are dropped at once, and by some that stay.
ARRAYS = table("""
    -    {x}.numpy()[...] = {number}
    -    {x}.numpy()[...] = {number}
    -    {x}.detach().numpy()[...] = {number}
    -    {x}.data.numpy()[...] += 1
    d    {x}.numpy()[::2] = {number}
    d    {x}.detach().numpy()[{basic}] = {number}
    -    np.asarray({x}.detach())[...] = {number}
    -    np.from_dlpack({x}.detach())[...]
    d    {x}[{basic}].numpy()[...] = {number}
    2    {x}.mT.numpy()[0] = {number}
    -    np.negative({x}.numpy(), out={x}.numpy())
    -    {x}.numpy().fill({number})
    -    {a} = {x}.numpy()
    -    {a} = {x}.numpy()
    -    {a} = {x}.detach().numpy()
    -    {a} = np.asarray({x}.detach())
    d    {a} = {x}[{basic}].numpy()
    -    {b}[...] = {number}
    -    {b}[...] = {number}
    -    {b}[..., :1] = {number}
    -    {b}[::2] += 1
    -    del {b}
    -    del {b}
    -    look({b})
    -    np.multiply({b}, 2, out={b}, casting='unsafe')
    -    {t} = lib.from_numpy({b})
    -    {t} = lib.as_tensor({b})
    -    {t} = lib.from_dlpack({x}.detach())
    -    {t} = lib.tensor({b})
    -    {b}.reshape(-1)[:1] = {number}
    -    {t} = lib.from_numpy(np.arange(12.0).reshape(3, 4)[:, ::2])
    -    {a} = np.arange(6, dtype='float32').reshape(2, 3)
    -    memoryview({x}.numpy()).cast('B')[0:1]
    r    {t} = {x} * {x}.numpy()[...].sum()
""")
