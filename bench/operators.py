"""Single operations at sizes that people use, beside torch: what takes much longer than torch's?

    python bench/operators.py [--only WORD,...] [--over RATIO] [--output FILE.md]

One thread each, rounds that take turns in one process, processor time; the least of the rounds counts. A row is our
time over torch's (below 1 we are faster), forward alone and, where there are gradients, forward and backward.
"""

import argparse
import os
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "src"))
os.environ.setdefault("FACULA_NUM_THREADS", "1")
import numpy as np
import tables
import torch

import facula

ROUNDS, SECONDS = 5, 0.02  # rounds a side, and how long one is at least
RNG = np.random.default_rng(0)


def floats(*shape, low=-1.0, high=1.0):
    return RNG.uniform(low, high, shape).astype(np.float32)


def whole(high, *shape):
    return RNG.integers(0, high, shape)


M = (256, 1024)
POSITIVE = {"low": 0.1, "high": 2.0}


def _each(names, *inputs):
    return {name: (lambda t, *x, name=name: getattr(t, name)(*x), inputs) for name in names.split()}


def cases():
    """name -> (what is called of the library and tensors, the arrays; those of floats have gradients)."""
    x, y, p = floats(*M), floats(*M), floats(*M, **POSITIVE)
    v, ids, flags = floats(1 << 18), whole(1000, 4096), floats(*M) > 0
    square, spd = floats(128, 128), None
    spd = square @ square.T + 128 * np.eye(128, dtype=np.float32)
    images, volumes = floats(8, 16, 56, 56), floats(2, 8, 16, 16, 16)
    tokens = floats(16, 128, 256)
    at = whole(1024, 256, 64)
    c = (floats(*M) + 1j * floats(*M)).astype(np.complex64)
    i = whole(1000, *M)
    found = {
        **_each("exp log1p sigmoid tanh erf sin cos tan atan sinh asinh expm1 relu abs neg sign floor round square "
                "reciprocal exp2 sinc softmax_ nan_to_num isfinite logical_not frac trunc".replace("softmax_ ", ""), x),
        **_each("log sqrt rsqrt lgamma digamma log2 log10", p),
        **_each("acos asin atanh erfinv", x * 0.99),
        **_each("add sub mul div maximum minimum atan2 hypot eq lt logaddexp copysign fmod remainder", x, y),
        **_each("pow xlogy", p, y), **_each("bitwise_and bitwise_xor gcd floor_divide remainder", i, i + 1),
        "where": (lambda t, m, a, b: t.where(m, a, b), (flags, x, y)),
        "clamp": (lambda t, a: a.clamp(-0.5, 0.5), (x,)), "lerp": (lambda t, a, b: t.lerp(a, b, 0.3), (x, y)),
        "addcmul": (lambda t, a, b: t.addcmul(a, b, b), (x, y)), "masked_fill": (
            lambda t, a, m: a.masked_fill(m, 0.0), (x, flags)),
        "pow 3": (lambda t, a: a ** 3, (x,)), "pow 0.5": (lambda t, a: a ** 0.5, (p,)),
        "to float64": (lambda t, a: a.to(t.float64), (x,)), "to bfloat16": (lambda t, a: a.to(t.bfloat16), (x,)),
        "to int64": (lambda t, a: (a * 100).to(t.int64), (x,)), "complex mul": (lambda t, a: a * a, (c,)),
        "complex abs": (lambda t, a: a.abs(), (c,)),
        # sums and orders
        **_each("sum mean std var amax amin argmax prod logsumexp_ cumsum_ median max min norm all_ "
                .replace("logsumexp_ ", "").replace("cumsum_ ", "").replace("all_ ", ""), x),
        **{f"{n} of rows": (lambda t, a, n=n: getattr(a, n)(1), (x,)) for n in
           "sum mean std argmax logsumexp cumsum cumprod softmax log_softmax sort argsort median cummax logcumsumexp "
           "prod norm argmin amax".split()},
        **{f"{n} of columns": (lambda t, a, n=n: getattr(a, n)(0), (x,)) for n in
           "sum mean std argmax cumsum softmax sort amax".split()},
        "topk": (lambda t, a: a.topk(10, 1)[0], (x,)), "kthvalue": (lambda t, a: a.kthvalue(10, 1)[0], (x,)),
        "quantile": (lambda t, a: t.quantile(a, 0.3, 1), (x,)), "unique": (lambda t, a: t.unique(a), (i,)),
        "bincount": (lambda t, a: t.bincount(a), (ids,)), "histc": (lambda t, a: t.histc(a, 50), (v,)),
        "searchsorted": (lambda t, a, b: t.searchsorted(a, b), (np.sort(floats(1000)), v)),
        "bucketize": (lambda t, b, a: t.bucketize(b, a), (v, np.sort(floats(100)))),
        "nonzero": (lambda t, m: m.nonzero(), (flags,)), "masked_select": (lambda t, a, m: a[m], (x, flags)),
        "count_nonzero": (lambda t, m: m.count_nonzero(), (flags,)), "any": (lambda t, m: m.any(1), (flags,)),
        "isin": (lambda t, a, b: t.isin(a, b), (i, ids[:100])), "cov": (lambda t, a: t.cov(a), (x,)),
        # moving
        "cat": (lambda t, a, b: t.cat([a, b], 1), (x, y)), "stack": (lambda t, a, b: t.stack([a, b], 1), (x, y)),
        "cat of 64": (lambda t, a: t.cat(list(a.split(4)), 1), (x,)),
        "transpose": (lambda t, a: a.t().contiguous(), (x,)), "flip": (lambda t, a: a.flip(1), (x,)),
        "roll": (lambda t, a: a.roll(3, 1), (x,)), "repeat": (lambda t, a: a.repeat(2, 2), (x,)),
        "repeat_interleave": (lambda t, a: a.repeat_interleave(2, 1), (x,)), "tril": (lambda t, a: a.tril(), (x,)),
        "permute": (lambda t, a: a.permute(0, 2, 3, 1).contiguous(), (images,)),
        "rot90": (lambda t, a: a.rot90(), (x,)),
        "pad": (lambda t, a: t.nn.functional.pad(a, (1, 1, 1, 1)), (images,)),
        "pad reflect": (lambda t, a: t.nn.functional.pad(a, (1, 1, 1, 1), "reflect"), (images,)),
        "unfold": (lambda t, a: t.nn.functional.unfold(a, 3, padding=1), (images,)),
        "pixel_shuffle": (lambda t, a: t.nn.functional.pixel_shuffle(a, 2), (images,)),
        "gather": (lambda t, a, k: a.gather(1, k), (x, at)), "index_select": (lambda t, a, k: a[k], (x, ids % 256)),
        "index columns": (lambda t, a, k: a[:, k], (x, ids[:512])),
        "index_add": (lambda t, a, k, b: a.index_add(0, k, b), (x, ids[:256] % 256, y)),
        "scatter_add": (lambda t, a, k, b: a.scatter_add(1, k, b), (x, at, floats(256, 64))),
        "index_put": (lambda t, a, k, b: a.index_put((k,), b), (x, ids[:256] % 256, y)),
        "take_along_dim": (lambda t, a, k: t.take_along_dim(a, k, 1), (x, at)),
        "embedding": (lambda t, k, w: t.nn.functional.embedding(k, w), (ids, floats(1000, 128))),
        "one_hot": (lambda t, k: t.nn.functional.one_hot(k, 1000), (ids,)),
        "embedding_bag": (lambda t, k, w: t.nn.functional.embedding_bag(k, w),
                          (ids.reshape(256, 16), floats(1000, 64))),
        "meshgrid": (lambda t, a: t.meshgrid(a[0], a[1], indexing="ij")[0] + 0, (x,)),
        "diag_embed": (lambda t, a: t.diag_embed(a), (floats(64, 64),)), "diff": (lambda t, a: a.diff(), (x,)),
        "split": (lambda t, a: sum(a.split(256, 1)), (x,)), "chunk gate": (
            lambda t, a: t.sigmoid(a.chunk(2, 1)[0]) * a.chunk(2, 1)[1], (x,)),
        # made
        **{f"{n} {k}": (lambda t, n=n, k=k: getattr(t, n)(k), ()) for n in ("rand", "randn", "zeros", "arange",
                                                                          "randperm") for k in (1000, 1 << 18)},
        **{f"randint {k}": (lambda t, k=k: t.randint(0, 10, (k,)), ()) for k in (1000, 1 << 18)},
        "bernoulli": (lambda t: t.full((1 << 18,), 0.3).bernoulli(), ()),
        "dropout": (lambda t, a: t.nn.functional.dropout(a, 0.1), (x,)), "linspace": (
            lambda t: t.linspace(0, 1, 1 << 18), ()), "exponential": (lambda t: t.zeros(1 << 16).exponential_(), ()),
        "normal std": (lambda t, p: t.normal(0.0, p), (p,)), "multinomial": (
            lambda t, p: t.multinomial(p, 10), (p,)), "eye": (lambda t: t.eye(512), ()),
        "tensor of a list": (lambda t, a=list(range(1000)): t.tensor(a), ()),
        "tensor of floats": (lambda t, a=[k * 0.5 for k in range(1000)]: t.tensor(a), ()),
        # products
        "mm": (lambda t, a, b: a @ b, (floats(256, 256), floats(256, 256))),
        "bmm": (lambda t, a, b: a @ b, (floats(32, 64, 64), floats(32, 64, 64))), "mv": (
            lambda t, a, b: a @ b, (x, floats(1024))), "outer": (lambda t, a: t.outer(a, a), (floats(512),)),
        "linear": (lambda t, a, w, b: t.nn.functional.linear(a, w, b), (tokens, floats(256, 256), floats(256))),
        "einsum": (lambda t, a, b: t.einsum("bqhd,bkhd->bhqk", a, b), (floats(4, 64, 4, 32), floats(4, 64, 4, 32))),
        "bilinear": (lambda t, a, b, w: t.nn.functional.bilinear(a, b, w), (floats(64, 32), floats(64, 32),
                                                                         floats(16, 32, 32))),
        "cdist": (lambda t, a, b: t.cdist(a, b), (floats(128, 32), floats(128, 32))),
        "kron": (lambda t, a: t.kron(a, a), (floats(24, 24),)), "tensordot": (
            lambda t, a, b: t.tensordot(a, b, 2), (floats(64, 16, 16), floats(16, 16, 64))),
        "matrix_power": (lambda t, a: t.linalg.matrix_power(a, 5), (square * 0.1,)),
        **{f"linalg {n}": (lambda t, a, n=n: getattr(t.linalg, n)(a), (spd,)) for n in
           ("inv", "cholesky", "det", "slogdet", "eigvalsh", "svdvals", "pinv", "matrix_exp")},
        "linalg solve": (lambda t, a, b: t.linalg.solve(a, b), (spd, floats(128, 16))),
        "linalg qr": (lambda t, a: t.linalg.qr(a)[1], (square,)), "linalg svd": (
            lambda t, a: t.linalg.svd(a)[1], (square,)), "linalg inv of 64 4x4": (
            lambda t, a: t.linalg.inv(a), (floats(64, 4, 4) + 4 * np.eye(4, dtype=np.float32),)),
        # transforms
        "fft": (lambda t, a: t.fft.fft(a).abs(), (x,)), "rfft": (lambda t, a: t.fft.rfft(a).abs(), (x,)),
        "fft2": (lambda t, a: t.fft.fft2(a).abs(), (images,)), "stft": (
            lambda t, a: t.stft(a, 256, return_complex=True, window=t.hann_window(256)).abs(), (floats(4, 16000),)),
        # networks
        **{f"F.{n}": (lambda t, a, n=n: getattr(t.nn.functional, n)(a), (x,)) for n in
           "gelu silu elu leaky_relu softplus mish selu hardswish logsigmoid relu6 glu softsign hardtanh celu "
           "tanhshrink normalize".split()},
        "F.softmax": (lambda t, a: t.nn.functional.softmax(a, -1), (tokens,)), "F.layer_norm": (
            lambda t, a, w: t.nn.functional.layer_norm(a, (256,), w), (tokens, floats(256))), "F.rms_norm": (
            lambda t, a, w: t.nn.functional.rms_norm(a, (256,), w), (tokens, floats(256))),
        "F.group_norm": (lambda t, a: t.nn.functional.group_norm(a, 4), (images,)), "F.batch_norm": (
            lambda t, a: t.nn.functional.batch_norm(a, None, None, training=True), (images,)), "F.instance_norm": (
            lambda t, a: t.nn.functional.instance_norm(a), (images,)), "F.local_response_norm": (
            lambda t, a: t.nn.functional.local_response_norm(a, 5), (images,)),
        "conv1d": (lambda t, a, w: t.nn.functional.conv1d(a, w, padding=1), (floats(8, 32, 256), floats(64, 32, 3))),
        "conv2d": (lambda t, a, w: t.nn.functional.conv2d(a, w, padding=1), (images, floats(32, 16, 3, 3))),
        "conv2d 1x1": (lambda t, a, w: t.nn.functional.conv2d(a, w), (images, floats(32, 16, 1, 1))),
        "conv2d stride": (lambda t, a, w: t.nn.functional.conv2d(a, w, stride=2, padding=3),
                          (floats(4, 3, 112, 112), floats(32, 3, 7, 7))),
        "conv2d groups": (lambda t, a, w: t.nn.functional.conv2d(a, w, padding=1, groups=4),
                          (images, floats(32, 4, 3, 3))),
        "conv2d depthwise": (lambda t, a, w: t.nn.functional.conv2d(a, w, padding=1, groups=16),
                             (images, floats(16, 1, 3, 3))),
        "conv2d dilated": (lambda t, a, w: t.nn.functional.conv2d(a, w, padding=2, dilation=2),
                           (images, floats(32, 16, 3, 3))),
        "conv3d": (lambda t, a, w: t.nn.functional.conv3d(a, w, padding=1), (volumes, floats(16, 8, 3, 3, 3))),
        "conv_transpose2d": (lambda t, a, w: t.nn.functional.conv_transpose2d(a, w, stride=2, padding=1),
                             (floats(8, 16, 28, 28), floats(16, 8, 4, 4))),
        **{f"F.{n}2d": (lambda t, a, n=n: getattr(t.nn.functional, n + "2d")(a, 2), (images,)) for n in
           ("max_pool", "avg_pool", "lp_pool")} | {},
        "F.adaptive_avg_pool2d": (lambda t, a: t.nn.functional.adaptive_avg_pool2d(a, 7), (images,)),
        "F.adaptive_max_pool2d": (lambda t, a: t.nn.functional.adaptive_max_pool2d(a, 7), (images,)),
        "F.max_pool2d 3": (lambda t, a: t.nn.functional.max_pool2d(a, 3, 2, 1), (images,)),
        "F.max_pool1d": (lambda t, a: t.nn.functional.max_pool1d(a, 2), (floats(16, 64, 256),)),
        "F.avg_pool3d": (lambda t, a: t.nn.functional.avg_pool3d(a, 2), (volumes,)),
        **{f"F.interpolate {m}": (lambda t, a, m=m: t.nn.functional.interpolate(a, scale_factor=2, mode=m), (images,))
           for m in ("nearest", "bilinear", "bicubic", "area")},
        "F.grid_sample": (lambda t, a, g: t.nn.functional.grid_sample(a, g, align_corners=False),
                          (images, floats(8, 56, 56, 2))),
        "F.affine_grid": (lambda t, a: t.nn.functional.affine_grid(a, (8, 3, 56, 56), align_corners=False),
                          (floats(8, 2, 3),)),
        "F.fold": (lambda t, a: t.nn.functional.fold(a, (32, 32), 3, padding=1), (floats(4, 72, 1024),)),
        "F.cross_entropy": (lambda t, a, k: t.nn.functional.cross_entropy(a, k), (x, ids[:256])), "F.nll_loss": (
            lambda t, a, k: t.nn.functional.nll_loss(a, k), (x, ids[:256])), "F.kl_div": (
            lambda t, a, b: t.nn.functional.kl_div(a, b, reduction="batchmean"), (x, p)),
        "F.bce": (lambda t, a, b: t.nn.functional.binary_cross_entropy_with_logits(a, b), (x, p / 2)),
        **{f"F.{n}": (lambda t, a, b, n=n: getattr(t.nn.functional, n)(a, b), (x, y)) for n in
           "mse_loss l1_loss smooth_l1_loss huber_loss cosine_similarity pairwise_distance".split()},
        "F.triplet": (lambda t, a, b, z: t.nn.functional.triplet_margin_loss(a, b, z), (x, y, p)),
        "F.ctc_loss": (lambda t, a, k: t.nn.functional.ctc_loss(a.log_softmax(-1), k, [50] * 8, [10] * 8),
                       (floats(50, 8, 30), whole(29, 8, 10) + 1)),
        "attention": (lambda t, q, k, w: t.nn.functional.scaled_dot_product_attention(q, k, w),
                      (floats(2, 4, 128, 32), floats(2, 4, 128, 32), floats(2, 4, 128, 32))),
        "attention causal": (lambda t, q, k, w: t.nn.functional.scaled_dot_product_attention(q, k, w, is_causal=True),
                             (floats(2, 4, 256, 32), floats(2, 4, 256, 32), floats(2, 4, 256, 32))),
    }
    return found


def first(value):
    return value if not isinstance(value, (tuple, list)) else value[0]


def runs(lib, call, arrays, backward):
    """A turn of the case in a library, or None if there are no gradients."""
    given = [lib.from_numpy(np.array(a)) for a in arrays]
    sync = lib.cpu.synchronize if lib is facula else lambda: None
    if not backward:
        def turn():
            with lib.no_grad():
                result = call(lib, *given)
                sync()
            return result
        return turn
    leaves = [t.requires_grad_() for t in given if t.dtype in (lib.float32, lib.complex64)]
    if not leaves or not getattr(first(call(lib, *given)), "requires_grad", False):
        return None
    weight = lib.ones_like(first(call(lib, *given)).detach())

    def turn():
        for t in leaves:
            t.grad = None
        first(call(lib, *given)).backward(weight)
        sync()
    return turn


def measured(call, arrays, backward):
    """Microseconds of ours and of torch's; None where there are no gradients, or one of them refuses."""
    turns = []
    for lib in (facula, torch):
        try:
            turn = runs(lib, call, arrays, backward)
            if turn is None:
                return None
            for _ in range(4):
                turn()
        except (RuntimeError, NotImplementedError, AttributeError, TypeError, IndexError) as error:
            return f"{lib.__name__}: {type(error).__name__}: {str(error)[:80]}"
        start = time.process_time()
        turn()
        turns.append((turn, max(1, int(SECONDS / max(time.process_time() - start, 1e-6)))))
    best = [float("inf")] * 2
    for _ in range(ROUNDS):
        for k, (turn, count) in enumerate(turns):
            start = time.process_time()
            for _ in range(count):
                turn()
            best[k] = min(best[k], (time.process_time() - start) / count)
    return best[0] * 1e6, best[1] * 1e6


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", default="")
    parser.add_argument("--over", type=float, default=0.0, help="rows of at least so many times torch's time")
    parser.add_argument("--output", metavar="FILE")
    options = parser.parse_args()
    torch.set_num_threads(1)
    words = [w for w in options.only.split(",") if w]
    machine = ", ".join(f"{k} {v}" for k, v in tables.machine().items())
    lines = [f"Microseconds of processor time, one thread. {machine}", "", "| operation | | ours | torch | ratio |",
             "|---|---|---:|---:|---:|"]
    ratios = []
    for name, (call, arrays) in cases().items():
        if words and not any(word in name for word in words):
            continue
        for backward in (False, True):
            found = measured(call, arrays, backward)
            if isinstance(found, str):
                print(f"{name}: {found}", file=sys.stderr)
            elif found is not None:
                ours, theirs = found
                ratios.append(ours / theirs)
                if ours / theirs >= options.over:
                    lines.append(f"| {name} | {'and back' if backward else ''} | {ours:.1f} | {theirs:.1f} | "
                                 f"{ours / theirs:.2f} |")
    lines += ["", f"{len(ratios)} rows, geometric mean {np.exp(np.mean(np.log(ratios))):.2f}; over twice torch's time: "
              f"{sum(r > 2 for r in ratios)}."]
    print("\n".join(lines))
    if options.output:
        Path(options.output).write_text("\n".join(["# Single operations", "", "`python bench/operators.py`.", "",
                                                   *lines]) + "\n")


if __name__ == "__main__":
    main()
