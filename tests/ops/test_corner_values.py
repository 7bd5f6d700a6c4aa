"""Values and refusals in the corners: extremes, zeros, wrong targets, weights and pivots. Each line of CALLS is
asked of both libraries: its value, or the type and the first words of its error."""

import math
import warnings
from fractions import Fraction

import numpy as np
import pytest

import facula
from recorded import snapshot

MASKED = ("T([[1,2,3],[4,5,7]])", "T([[True,False,True],[True,True,False]])")


def of_kinds():
    """Lines for every member of a kind."""
    ends = ("[0.,1.,-1.,0.,inf,-inf,{most},3.,1e-7,{least},1.,1.],dtype=t.{of}",
            "[1.,2.,-2.,-1.,0.,0.,inf,3.,0.,0.,0.,nan],dtype=t.{of}")
    for of, most, least in (("float16", 65504., 2.0 ** -24), ("bfloat16", 3.3895313892515355e38, 2.0 ** -133),
                            ("float32", 3.4028234663852886e38, 1e-45), ("float64", 1.7976931348623157e308, 5e-324)):
        a, b = (e.format(of=of, most=most, least=least) for e in ends)
        yield f"t.nextafter(T({a}),T({b}))"
        yield f"t.nextafter(-T({a}),T({b}))"
    for of in ("complex64", "complex128"):
        yield (f"t.log1p(T([1e-8+1e-8j,1e-20+0j,1e-12-1e-3j,0j,-1e-9+1e-5j,-1+0j,-2+0j,-1+1e-6j,"
               f"3+4j,-2+1e-3j,1e-30j],dtype=t.{of}))")
        yield f"t.expm1(T([0j,complex(inf,0),complex(-inf,0),1e-9+1e-9j,1j],dtype=t.{of}))"
    for of in ("float32", "float64", "int64", "complex64"):
        for weights in ("float32", "float64", "float16"):
            x = f"T([[1.,2.,4.],[3.,1.,0.5]]).to(t.{of})"
            yield f"t.cov({x},aweights=T([.5,.25,1.],dtype=t.{weights}))"
            yield f"t.cov({x},aweights=T([.5,.25,1.],dtype=t.{weights}),fweights=T([1,2,3]))"
    for pool, size in (("max_pool1d", (1, 1, 4)), ("max_pool2d", (1, 1, 4, 4)), ("max_pool3d", (1, 1, 4, 4, 4)),
                       ("avg_pool1d", (1, 1, 4)), ("avg_pool2d", (1, 1, 4, 4)), ("avg_pool3d", (1, 1, 4, 4, 4)),
                       ("adaptive_avg_pool1d", (1, 1, 4)), ("adaptive_avg_pool2d", (1, 1, 4, 4)),
                       ("adaptive_avg_pool3d", (1, 1, 4, 4, 4)), ("adaptive_max_pool1d", (1, 1, 4)),
                       ("adaptive_max_pool2d", (1, 1, 4, 4)), ("adaptive_max_pool3d", (1, 1, 4, 4, 4))):
        for of in ("int64", "int32", "uint8", "bool", "complex64"):
            yield f"F.{pool}(t.arange({np.prod(size)}).reshape({size}).to(t.{of}),2)"
    for of in ("int64", "uint8", "bool", "float16", "float64", "complex64"):
        yield f"t.histogramdd(T([[1,2],[1,1]]).to(t.{of}),bins=[2,2])"
        if of != "bool":  # torch names another kernel
            yield f"t.histogram(T([1,2,1]).to(t.{of}),bins=4,range=(0.,3.))"
            yield f"t.histc(T([1,2,1]).to(t.{of}),bins=4,min=0,max=3)"
    for function in ("std", "var", "mean", "sum", "prod", "amax", "amin", "logsumexp", "argmax", "argmin", "median"):
        for of in ("float32", "float64", "int64", "uint8", "bool", "complex64"):
            if (function, of) != ("median", "complex64"):  # torch's answers are no medians
                yield f"t.masked.{function}({MASKED[0]}.to(t.{of}),dim=1,mask={MASKED[1]})"
    for function in ("softmax", "log_softmax", "softmin", "cumsum", "cumprod"):
        for of in ("float32", "int64", "uint8", "bool", "complex64"):
            yield f"t.masked.{function}({MASKED[0]}.to(t.{of}),1,mask={MASKED[1]})"
    for start, end in ((0, 10), (-3, 3), (10, 0), (2.7, 9.9), (-2.7, 9.9), (9.9, -1.2), (0.2, 0.9), (1.9, 2.1)):
        for steps in (1, 2, 5, 33):
            yield f"t.linspace({start},{end},{steps},dtype=t.int32)"
            yield f"t.logspace({start},{end},{steps},base=2,dtype=t.int64)"
    for mode, size in (("linear", (1, 1, 4)), ("bilinear", (1, 1, 2, 2)), ("bicubic", (1, 1, 2, 2)),
                       ("trilinear", (1, 1, 1, 2, 2))):
        for factor in (2, 1, 1.5):
            for corners in (False, True):
                yield (f"F.interpolate(T([-inf,1.,2.,inf]).reshape({size}),scale_factor={factor},mode='{mode}',"
                       f"align_corners={corners})")


CALLS = r"""
t.xlogy(T([0.,0.,0.,-0.,0.,0.]),T([.5,.0,-1,.5,inf,nan]))
t.xlogy(0,T([.5,.0,-1,.5,inf,nan]))
t.xlogy(T([0.,-0.]),.5)
t.special.xlog1py(T([0.,0.,0.,-0.,0.,0.]),T([-.5,.0,-1,-.5,inf,nan]))
t.addr(T([[1,2],[3,4]]),T([1,2]),T([3,4]),beta=.5)
t.addr(T([[1,2],[3,4]]),T([1,2]),T([3,4]),alpha=1.5)
t.addr(T([[1,2],[3,4]]),T([1,2]),T([3,4]),beta=2,alpha=3)
T([[1,2],[3,4]]).addr_(T([1,2]),T([3,4]),beta=.5)
t.addr(T([[True,False]]),T([True]),T([True,False]),beta=.5)
t.addr(T([[1,2],[3,4]]),T([1.,2.]),T([3,4]),beta=.5)
T([1j,0j],dtype=t.bool)
t.full((2,),2j).bool()
t.full((2,),3+2j).to(t.int32)
t.zeros(2).fill_(1j)
t.cov(T([[1.,2.,4.],[3.,1.,.5]]),correction=5,fweights=T([1,1,1]))
t.cov(T([[1.,2.,4.],[3.,1.,.5]]),correction=5,aweights=T([1.,1.,1.]))
t.cov(T([[1.,2.,4.],[3.,1.,.5]]),fweights=T([1.,1.,1.]))
t.cov(T([[1.,2.,4.],[3.,1.,.5]]),fweights=T([-1,1,1]))
t.cov(T([[1.,2.,4.],[3.,1.,.5]]),aweights=T([-1.,1.,1.]))
t.cov(T([[1.,2.,4.],[3.,1.,.5]]),aweights=T([1,1,1]))
t.cov(T([[1.,2.,4.],[3.,1.,.5]]),fweights=T([[1,1,1]]))
t.cov(T([[1.,2.,4.],[3.,1.,.5]]),fweights=T([1,1]))
t.cov(T([[1.,2.,4.],[3.,1.,.5]]),aweights=T([0.,0.,0.]))
t.zeros(2).cauchy_(inf)
t.zeros(2).cauchy_(0,-1.)
t.zeros(2).exponential_(-1.)
t.zeros(2).geometric_(0.)
t.histogram(T([1.,2.,1.]),bins=4,weight=T([1,2,1]))
t.histogram(T([1.,2.,1.]),bins=4,weight=T([1.,2.]))
t.histogram(T([1.,2.,1.]),bins=T([0.,1.,2.],dtype=t.float64))
t.histogram(T([1.,2.,1.]),bins=T([[0.,1.,2.]]))
t.histogram(T([1.,nan,1.]),bins=4)
t.histogram(T([1.,2.,1.]),bins=4,range=(3.,1.))
t.histogram(T([1.,2.,1.]),bins=4,range=(3.,))
t.histogram(T([1.,2.,1.]),bins=T([3.,1.,2.]))
t.histogram(T([[1.,2.],[1.,4.]]),bins=2,weight=T([[1.,2.],[3.,4.]]),density=True)
t.histogramdd(T([[1.,2.],[1.,1.],[0.,3.]]),bins=[T([0.,1.,2.]),T([0.,2.])])
t.histogramdd(T([[1.,2.],[1.,1.],[0.,3.]]),bins=[2])
t.histogramdd(T([[1.,2.],[1.,1.],[0.,3.]]),bins=[0,2])
t.histogramdd(T([[1.,2.],[1.,1.],[0.,3.]]),bins=2,weight=T([1.,2.]))
t.histogramdd(T([[1.,2.],[1.,1.],[0.,3.]]),bins=2,weight=T([1.,2.,3.]),density=True)
t.histogramdd(T([[1.,2.],[1.,1.],[0.,3.]]),bins=2,range=[0.,1.])
t.histogramdd(T([[1.,2.],[1.,1.],[0.,3.]]),bins=2,range=[0.,1.,3.,2.])
t.histogramdd(T([]),bins=2)
t.histc(T([1.,2.]),bins=4,min=3,max=1)
t.histc(T([1.,2.]),bins=0)
t.histc(T([1.,2.]),bins=3,min=0,max=inf)
t.bincount(T([True,False]))
t.bincount(T([1]),weights=T([1.,2.]))
F.embedding_bag(T([0.,1.]),t.ones(6,2),T([0]))
nn.RNNCell(2,4)(t.ones(3,3))
nn.LSTMCell(2,4)(t.ones(3,3))
nn.GRUCell(2,4)(t.ones(3,3))
nn.GRUCell(2,4)(t.ones(3,2),t.ones(1,4))
t.linalg.cholesky_ex(T([[4.,2.,1.],[2.,3.,1.],[1.,1.,-5.]]))
t.linalg.cholesky_ex(T([[4.,2.,1.],[2.,-3.,1.],[1.,1.,-5.]]),upper=True)
t.linalg.cholesky_ex(T([[4.,2.,1.],[2.,3.,1.],[1.,1.,-5.]]),check_errors=True)
t.linalg.cholesky_ex(T([[nan,0.],[0.,1.]]))
t.linalg.cholesky(T([[nan,0.],[0.,1.]]))
F.multilabel_margin_loss(T([[.1,.2,.3]]),T([[0,3,-1]]))
F.multilabel_margin_loss(T([[.1,.2,.3]]),T([[0,-2,-1]]))
F.multilabel_margin_loss(T([[.1,.2,.3]]),T([[0,1,-1.]]))
F.multi_margin_loss(T([[.1,.2,.3]]),T([3]))
F.multi_margin_loss(T([[.1,.2,.3]]),T([-1]))
F.multi_margin_loss(T([[.1,.2,.3]]),T([0]),weight=T([1.,2.]))
t.searchsorted(T([3.,1.,2.]),T([1.5]),sorter=T([1,2,-1]))
F.ctc_loss(t.zeros(5,2,4).log_softmax(-1),T([[1,2],[1,3]]),[5,5],[-1,2])
F.ctc_loss(t.zeros(5,2,4).log_softmax(-1),T([[1,2],[1,3]]),[-1,5],[1,2])
F.ctc_loss(t.zeros(5,2,4).log_softmax(-1),T([[1,2],[1,3]]),[0,5],[0,2])
t.lu_unpack(t.eye(3),T([1,2,3]))
t.lu_unpack(t.eye(3),T([4,2,3],dtype=t.int32))
t.linalg.lu_solve(t.eye(3),T([4,2,3],dtype=t.int32),t.eye(3))
t.linalg.lu_solve(t.eye(3),T([0,2,3],dtype=t.int32),t.eye(3))
t.linalg.ldl_solve(t.eye(3),T([4,2,3],dtype=t.int32),t.eye(3))
t.linalg.ldl_solve(t.eye(3),T([0,2,3],dtype=t.int32),t.eye(3))
t.masked.norm(T([[1,2]]),2.,dim=1,dtype=t.float64)
F.cosine_similarity(T([[1,2]]),T([[1,2]]))
F.cosine_similarity(T([[1+1j,2]]),T([[1.,2.]]))
""".strip().splitlines() + list(of_kinds())


def answer(library, call):
    names = {"t": library, "T": library.tensor, "F": library.nn.functional, "nn": library.nn, "nan": float("nan"),
             "inf": float("inf")}
    library.manual_seed(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return snapshot(library, eval(call, names))  # texts of this file
        except Exception as error:
            text = str(error).replace("facula.", "torch.").split(" (while")[0].split(" (called")[0]
            return f"{type(error).__name__}: {text.split('. ')[0].split('!=')[0].removesuffix('.')}"


def agree(ours, theirs):
    if isinstance(theirs, (list, str)):
        assert type(ours) is type(theirs), (ours, theirs)
    if isinstance(theirs, list):
        assert len(ours) == len(theirs)
        for a, b in zip(ours, theirs, strict=True):
            agree(a, b)
    elif isinstance(theirs, str):
        assert ours == theirs
    else:
        (kind, a), (expected, b) = ours, theirs
        assert (kind, a.shape) == (expected, b.shape)
        rtol = {"float16": 1e-3, "bfloat16": 4e-3, "float32": 2e-6, "complex64": 2e-6}.get(kind, 2e-15)
        for part in (("real", "imag") if a.dtype.kind == "c" else ("real",)):
            x, y = getattr(a, part), getattr(b, part)
            np.testing.assert_allclose(x, y, rtol=rtol, atol=0)
            both = (x == 0) & (y == 0)
            assert (np.signbit(x[both]) == np.signbit(y[both])).all()


@pytest.mark.parametrize("call", CALLS)
def test_calls(oracle, call):
    agree(answer(facula, call), oracle(lambda torch: answer(torch, call), call))


@pytest.mark.parametrize("z", (-1e-10 - 1.4142135e-5j, -0.5 + 0.8660254037844386j, 1e-9 + 1e-4j, -1e-12 + 1.4142e-6j))
def test_log1p_near_the_unit_circle(z):
    """Where 2x and y^2 cancel: against exact arithmetic."""
    x, y = Fraction(z.real), Fraction(z.imag)
    wanted = math.log1p(2 * x + x * x + y * y) / 2
    assert facula.tensor(z, dtype=facula.complex128).log1p().real.item() == pytest.approx(wanted, rel=1e-15)
