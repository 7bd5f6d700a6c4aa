"""As tables.py: what programs with gradients have. Values stay small; what is undefined at equal elements is left
out."""

from written_programs.tables import table

SMOOTH = table("""
    -    {x}.clamp(-2, 2).sin()
    -    {x}.clamp(-2, 2).exp()
    -    {x}.sigmoid()
    -    {x}.clamp(-2, 2).square()
    -    -{x}
    -    {x}.clone()
    -    {x}.clone()
    -    {x}.tanh()
    -    {x} * 2
    -    {x} * 2
    -    {x} * {y}
    -    {x} + {y}
    -    {x} - {y}
    -    {x} * {y}.detach()
    -    lib.where({y} > 0, {x}, {y})
    -    {x}.relu()
    -    {x}.abs()
    -    {x}.sum()
    -    {x}.mean()
    -    {x}.float()
    -    {x}.double()
    -    {x}.masked_fill({x} > 0, 0.5)
    -    lib.maximum({x}, {y})
    -    {x}.permute({order}).clone()
    -    {x}[{key}]
    d    {x}[{key}]
    d    {x}[{key}]
    -    lib.cat([{x}.reshape(-1), {y}.reshape(-1)])
    -    lib.lerp({x}, {y}, 0.25)
    d    {x}.cumsum({d})
    d    {x}.sum({d})
    d    {x}.amax({d})
    d    {x}.softmax({d})
    d    {x}.logsumexp({d})
    d    {x}.flip({d})
    d    {x}.roll(1, {d})
    d    {x}.index_select({d}, {picks})
    d    {x}.sort(dim={d}, stable=True)[0]
    d    {x}.clamp(-2, 2).cumprod({d})
    d    {x}.gather({d}, lib.zeros_like({x}, dtype=lib.int64))
    d    {x}.clamp(-2, 2).prod({d})
    d    F.layer_norm({x}, {x}.shape[-1:])
    d    {x}.index_add({d}, {picks}, {x}.index_select({d}, {picks}))
    d    F.pad({x}, (1, 2))
    d    {x}.repeat_interleave(2, {d})
    d    {x}.scatter_add({d}, lib.zeros_like({x}, dtype=lib.int64), {x})
    d    {x}.index_put(({few},), {x}[:1] * 2, accumulate=True)
    2    ({x}.mT @ {x}).clamp(-9, 9)
    2    copied(lib.einsum('...ij,...kj->...ik', {x}, {x})).clamp(-9, 9)
    2    {x}.tril({o})
    2    {x} + {x}.mT.contiguous().mT
    4    {x}.to(memory_format=lib.channels_last)
    4    {x}.contiguous(memory_format=lib.channels_last)
    4    F.avg_pool2d({x}, 2, ceil_mode=True)
    4    F.conv2d({x}, ramp((2, {channels}, 2, 2), 0, 1, 'float64').to({x}.dtype) / 4, padding=1)
    4    F.interpolate({x}, scale_factor=2)
    4    F.interpolate({x}, (3, 5), mode='bilinear')
    4    F.group_norm({x}, 1)
    4    F.pad({x}, (1, 0, 0, 2))
    4    F.max_pool2d({x}, 2)
""")

GRADUAL = table("""
    -    {x}.add_({y})
    -    {x}.mul_({y})
    -    {x}.sub_({y}, alpha=2)
    -    {x}.copy_({y})
    -    {x}.copy_({y})
    -    {x}.fill_({number})
    -    {x}.zero_()
    -    {x}.masked_fill_({x} > 0, {number})
    -    {x}.neg_()
    -    {x}.sin_()
    -    {x}.clamp_(-1, 1)
    -    {x}.relu_()
    -    {x}.mul_(0.5)
    -    {x} += {y}
    -    {x} *= 2
    -    {x}.tanh_()
    -    {x}.sigmoid_()
    -    {x}.add_({y}.float())
    -    {x}.copy_({y}.double())
    -    {x}.lerp_({y}.to({x}.dtype), 0.5)
    -    {x}.addcmul_({y}, {y}, value=0.5)
    -    {x}.square_().clamp_(-4, 4)
    -    {x}.abs_()
    -    {x}[{key}] = {number}
    d    {x}[{key}] = {number}
    d    {x}[{key}] = {y}
    d    {x}[{key}] = {y}
    d    {x}[{key}] += {number}
    d    {x}[{key}] *= 2
    d    {x}[{basic}] = {y}
    d    {x}[{basic}] *= {number}
    d    {x}[{basic}].copy_({y})
    d    {x}.cumsum_({d})
    d    {x}[{few}] = {y}
    d    {x}.index_put_(({few},), {y}, accumulate=True)
    d    {x}.index_fill_({d}, {picks}, {number})
    d    {x}.index_add_({d}, {picks}, {x}.detach().index_select({d}, {picks}))
    d    {x}.select({d}, 0).mul_({number})
    d    {x}.narrow({d}, 0, 1).sin_()
    2    {x}.transpose({d}, {e}).mul_(2)
    2    {x}.diagonal().zero_()
    -    {x}.view(-1).mul_(2)
    2n   {x}.tril_()
    d    {x}.scatter_({d}, lib.zeros_like({x}, dtype=lib.int64).narrow({d}, 0, 1), {number})
    4    {x}[:, 0] = {number}
    4    {x}.mul_({x}.detach().contiguous(memory_format=lib.channels_last))
    -    with lib.no_grad(): {x}.add_(1)
    -    {x}.detach().mul_(0.5)
    -    with lib.no_grad(): {x}.copy_({y})
""")

# Of the tape. (PyTorch crashes when a view whose base has been written since gets a hook, unless its
# grad_fn is asked for.)
TAPE = table("""
    -    {x}.grad_fn; {x}.register_hook(see)
    -    {x}.grad_fn; {x}.register_hook(twice)
    -    {x}.grad_fn; {x}.retain_grad()
    -    {x}.grad_fn; {x}.retain_grad()
    -    look({x}.grad)
    -    {x}.detach_()
    -    {x}.requires_grad_()
    -    ({x} * {x}).sum().backward(retain_graph=True)
    -    ({x} * {y}).sum().backward(retain_graph=True)
    -    {x}.sum().backward(retain_graph=True)
    -    {x}.backward(lib.ones_like({x}) * 0.5, retain_graph=True)
    -    look(lib.autograd.grad(({x} * {y}).sum(), {z}, allow_unused=True, retain_graph=True)[0])
    -    {t} = lib.autograd.grad(({x} * {x}).sum(), {z}, create_graph=True)[0].flatten()
    -    {t} = lib.autograd.grad(({x} * {y}).sum(), {z}, create_graph=True)[0].flatten()
    -    {leaf}.grad = None
    -    {leaf}.grad.zero_()
    -    {t} = {leaf}.grad
    -    look({leaf}.grad)
    -    with lib.no_grad(): {t} = {x} * {y}
    -    note({x}.grad_fn is None)
    -    {x}.grad_fn; {x}.register_hook(lambda g: see(g.sum(0) if g.dim() else g))
""")

# Values that autograd cannot know of, of what nothing has read yet.
UNKNOWN = table("""
    -    {x}.detach().numpy()[...] = {number}
    d    {x}.detach().numpy()[{basic}] = {number}
    -    {x}.data.mul_(0.5)
    d    {x}.detach().numpy()[::2] *= 0.5
    d    {x}.data[{key}] = {number}
    2    {x}.data.mT.numpy()[0] = {number}
    -    {x}.data.copy_({y}.detach())
""")
