"""Calls as programs spell them: NumPy's names of arguments, sizes by name, scalars in front, results given; and what is
refused. Each line of CALLS is asked of both libraries: its value, or the type of its error."""

import warnings

import numpy as np
import pytest

import facula

CALLS = r"""
t.zeros(size=(2,3)).shape
t.ones(size=(2,)).shape
t.empty(size=(2,)).shape
t.rand(size=(2,)).shape
t.randn(size=(2,)).shape
T([1.]).new_zeros(size=(2,)).shape
T([1.]).new_ones(size=(2,)).shape
T([1.]).new_empty(size=(2,)).shape
T([1.]).new_full(size=(2,),fill_value=3.)
t.full(size=(2,),fill_value=3.)
t.randint(low=0,high=1,size=(2,))
t.empty_strided(size=(2,),stride=(1,)).shape
t.sum(T([[1.,2.]]),axis=1)
t.sum(T([[1.,2.]]),axis=1,keepdims=True)
T([[1.,2.]]).sum(axis=0,keepdims=True)
T([[1.,2.]]).mean(axis=0)
T([[1.,2.]]).std(axis=1)
T([[1.,2.]]).max(axis=1)
t.max(T([[1.,2.]]),axis=1)
t.argmax(T([[1.,2.]]),axis=1)
t.argmax(T([[1.,2.]]),axis=1,keepdims=True)
T([[1.,2.]]).amax(axis=1)
t.stack([T([1.]),T([2.])],axis=1)
t.cat([T([1.]),T([2.])],axis=0)
t.concat([T([1.]),T([2.])],axis=0)
t.concatenate([T([1.]),T([2.])],axis=0)
t.concatenate((T([1.]),T([2.])),axis=0)
t.cumsum(T([1.,2.]),axis=0)
t.softmax(T([1.,2.]),axis=0)
t.squeeze(T([[1.,2.]]),axis=0)
t.unsqueeze(T([1.,2.]),axis=0)
t.linalg.norm(T([[3.,4.]]),axis=1)
t.fft.fft(T([1.,2.]),axis=0)
t.fft.fft(T([1.,2.]),n=2,axis=0,norm=None)
t.fft.rfft(a=T([1.,2.]))
t.add(x1=T([1.]),x2=T([2.]))
t.add(T([1.]),x2=T([2.]))
t.sin(x=T([1.]))
t.sin(a=T([1.]))
t.multiply(x1=T([1.]),x2=T([2.]))
t.maximum(x1=T([1.]),x2=T([2.]))
t.exp(x=T([1.]))
t.where(condition=T([True]),input=T([1.]),other=T([2.]))
t.matmul(x1=T([[1.]]),x2=T([[2.]]))
t.sort(T([2.,1.]),axis=0)
t.argsort(T([2.,1.]),axis=0)
t.roll(T([1.,2.]),1,axis=0)
t.any(T([[True]]),axis=1,keepdims=True)
t.all(T([[True]]),axis=1)
t.prod(T([[1.,2.]]),axis=1)
t.var(T([[1.,2.]]),axis=1,correction=0)
t.logsumexp(T([[1.,2.]]),axis=1)
t.median(T([[1.,2.]]),axis=1)
t.quantile(T([[1.,2.]]),.5,axis=1)
t.swapaxes(T([[1.,2.]]),axis0=0,axis1=1)
t.moveaxis(T([[1.,2.]]),source=0,destination=1)
t.movedim(T([[1.,2.]]),source=0,destination=1)
t.diff(T([1.,2.]),axis=0)
t.count_nonzero(T([1.,2.]),axis=0)
t.nansum(T([[1.,2.]]),axis=1)
t.from_dlpack(T([1.]),device="cpu",copy=True)
t.from_dlpack(np.array([1.]),copy=False)
type(T([1.]).__dlpack__(max_version=(1,0))).__name__
type(T([1.]).__dlpack__(stream=None,dl_device=(1,0),copy=True)).__name__
t.expm1(T([0j,complex(inf,0),complex(-inf,0)]))
t.linalg.cond(T([[0.,0.],[0.,0.]]))
t.linalg.cond(T([[1.,1.],[1.,1.]]),p=1)
t.linalg.inv(T([[0.,0.],[0.,0.]]))
t.linalg.cholesky(T([[-1.,0.],[0.,0.]]))
t.linalg.cholesky_ex(T([[4.,2.,0.],[2.,-3.,0.],[0.,0.,1.]]))
t.linalg.solve(T([[0.,0.],[0.,0.]]),T([1.,1.]))
t.linalg.inv(T([[1.,2.],[3.,4.]]),out=t.empty(2,2))
t.linalg.eigh(T([[1.,2.],[2.,4.]]),out=(t.empty(2),t.empty(2,2)))[0]
t.linalg.norm(T([[1.,2.]]),out=t.empty(()))
t.linalg.det(T([[1.,2.],[3.,4.]]),out=t.empty(()))
t.linalg.solve(T([[1.,2.],[3.,4.]]),T([1.,1.]),out=t.empty(2))
t.linalg.matrix_power(T([[1.,2.],[3.,4.]]),2,out=t.empty(2,2))
t.linalg.cross(T([1.,2.,3.]),T([1.,2.,4.]),out=t.empty(3))
t.linalg.vector_norm(T([1.,2.,3.]),out=t.empty(()))
t.linalg.multi_dot([T([[1.]]),T([[2.]])],out=t.empty(1,1))
t.linalg.pinv(T([[1.,2.],[3.,4.]]),out=t.empty(2,2))
t.linalg.lstsq(T([[1.,2.],[3.,4.]]),T([[1.],[1.]]))[0]
t.linalg.cholesky(T([[4.,2.],[2.,3.]]),out=t.empty(2,2))
t.linalg.eigvalsh(T([[1.,2.],[2.,4.]]),out=t.empty(2))
t.linalg.matrix_rank(T([[1.,2.],[2.,4.]]),out=t.empty((),dtype=t.int64))
t.linalg.tensorinv(t.eye(4).reshape(2,2,2,2),out=t.empty(2,2,2,2)).shape
t.add(1,1.)
t.mul(2,3)
t.sub(1,1)
t.div(1,2)
t.true_divide(1,2)
t.floor_divide(5,3)
t.rsub(T([1.]),1)
T([1.,2.,3.])[T([0,2],dtype=t.int16)]
t.gather(T([1.,2.]),0,T([0],dtype=t.int16))
t.gather(T([1.,2.]),0,T([0],dtype=t.int32))
F.embedding(T([0],dtype=t.int16),T([[1.,2.]]))
F.one_hot(T([0],dtype=t.int32))
T([1.,2.]).index_add_(0,T([0],dtype=t.int32),T([1.]))
t.addcmul(2.,T([1.]),T([2.]),T([3.]))
t.addcmul(T([1.]),2.,T([2.]),T([3.]))
t.addcdiv(T([1.]),2.,T([2.]),T([3.]))
t.addmm(.5,T([[1.]]),2.,T([[1.]]),T([[3.]]))
t.addmv(.5,T([1.]),2.,T([[1.]]),T([3.]))
t.addr(.5,T([[1.]]),2.,T([1.]),T([3.]))
t.baddbmm(.5,T([[[1.]]]),2.,T([[[1.]]]),T([[[3.]]]))
t.add(T([1.]),2,T([1.]))
t.sub(T([1.]),2,T([1.]))
T([1.]).add(2,T([1.]))
T([1.]).add_(2,T([1.]))
nn.TransformerEncoderLayer(4,2,8)(t.zeros(3,0,4)).shape
nn.TransformerDecoderLayer(4,2,8)(t.zeros(3,0,4),t.zeros(3,0,4)).shape
nn.MultiheadAttention(4,2)(t.zeros(3,0,4),t.zeros(3,0,4),t.zeros(3,0,4))[0].shape
nn.Transformer(4,2,1,1,8)(t.zeros(3,0,4),t.zeros(3,0,4)).shape
nn.utils.rnn.pack_sequence([T([1.,2.]),T([3.])]).double().data.dtype
nn.utils.rnn.pack_sequence([T([1.,2.]),T([3.])]).half().data.dtype
nn.utils.rnn.pack_sequence([T([1.,2.]),T([3.])]).long().data.dtype
nn.utils.rnn.pack_sequence([T([1.,2.]),T([3.])]).to(t.float64).data.dtype
nn.utils.rnn.pack_sequence([T([1.,2.]),T([3.])]).is_cuda
nn.utils.rnn.pack_sequence([T([1.,2.]),T([3.])]).cpu().data.dtype
nn.utils.rnn.pack_sequence([T([1.,2.]),T([3.])]).bool()
nn.utils.rnn.pack_sequence([T([1.,2.]),T([3.])]).int().data.dtype
nn.utils.rnn.pack_sequence([T([1.,2.]),T([3.])]).char().data.dtype
F.mse_loss(T([True]),T([False]))
F.mse_loss(T([True]),T([0.]))
F.mse_loss(T([1]),T([2]))
F.smooth_l1_loss(T([True]),T([False]))
F.huber_loss(T([True]),T([False]))
F.l1_loss(T([True]),T([False]))
F.l1_loss(T([1]),T([2]))
nn.LazyLinear(3).half().weight.dtype
nn.LazyLinear(3).to(t.float64).weight.dtype
nn.LazyLinear(3).double()(t.zeros(2,4,dtype=t.float64)).dtype
__import__("copy").deepcopy(nn.LazyLinear(3))(t.zeros(2,4)).shape
nn.LazyConv2d(3,2).to(t.float16).weight.dtype
nn.LazyBatchNorm1d().double().weight.dtype
T([1.])+np.array([1.])
T([1.])*np.float64(2)
np.float32(2)*T([1.])
T([1.]).expand(3).add_(1)
T([1.,2.,3.])[:2].copy_(T([1.,2.,3.])[1:])
t.add(T([1.]),1,out=t.empty(1,dtype=t.int64))
t.mean(T([1.]),dim=0,out=t.empty((),dtype=t.float64))
t.cat([T([1.])],out=t.empty(1,dtype=t.float64))
t.sin(T([1.]),out=t.empty(1,dtype=t.float64))
t.linspace(0,10,5,dtype=t.int64)
t.linspace(0,1,3,dtype=t.int32)
t.linspace(-10,10,7,dtype=t.int8)
t.logspace(0,3,4,dtype=t.int64)
t.arange(0,1,.1).sum()
t.xlogy(T([0.]),T([-0.5])>0)
t.xlogy(0,T([0.,.5])<1)
t.cov(T([[1.,2.,3.],[4.,5.,7.]]),correction=5)
t.cov(T([[1.,2.,3.],[4.,5.,7.]]),fweights=T([1,2,3]))
t.var(T([1.,2.]),correction=3)
t.std(T([1.,2.]),correction=3)
T([1.]).cauchy_(inf)
T([1.]).cauchy_(0,inf)
F.max_pool2d(T([[[[1,2],[3,4]]]]),2)
F.avg_pool2d(T([[[[1,2],[3,4]]]]),2)
t.histc(T([1,2]))
t.histogram(T([1,2]),2)
t.bincount(T([1.]))
F.embedding_bag(T([0,1]),t.ones(3,2),T([0,2]))
F.embedding_bag(T([0,1]),t.ones(3,2),T([0,1,2]),include_last_offset=True)
F.embedding_bag(T([0,1]),t.ones(3,2),T([0,1,1]),include_last_offset=True)
F.embedding_bag(T([0,1]),t.ones(3,2),T([0,3]))
nn.RNNCell(2,3)(t.zeros(4,2),t.zeros(1,3)).shape
nn.LSTMCell(2,3)(t.zeros(4,2),(t.zeros(1,3),t.zeros(1,3)))[0].shape
nn.GRUCell(2,3)(t.zeros(4,2),t.zeros(1,3)).shape
F.cosine_similarity(T([[1.,2.]]),T([[1.,2.]],dtype=t.float64))
F.cosine_similarity(T([[1,2]]),T([[1.,2.]]))
F.interpolate(T([[[inf,1.,2.]]]),size=5,mode="linear")
F.interpolate(T([[[inf,1.,2.]]]),size=5,mode="linear",align_corners=True)
t.searchsorted(T([3.,1.]),T([2.]),sorter=T([1,5]))
t.searchsorted(T([3.,1.]),T([2.]),sorter=T([1,0]))
F.ctc_loss(t.zeros(3,1,4).log_softmax(2),T([[1,2]]),T([3]),T([4]))
F.nll_loss(t.zeros(1,3),T([7]))
t.lu_unpack(t.eye(2),T([5,2],dtype=t.int32))
t.lu_unpack(t.eye(2),T([0,2],dtype=t.int32))
t.masked.std(T([1+1j,2.]),unbiased=False)
t.masked.var(T([1+1j,2.]),unbiased=False)
t.masked.logsumexp(T([1,2]),0)
t.masked.softmax(T([1,2]),0)
t.special.xlog1py(T([0.]),T([-1.]))
t.trapezoid(T([1,2]))
t.gradient(T([1.,2.,4.]))
t.heaviside(T([0.]),T([.5]))
t.frexp(T([3.]))
t.ldexp(T([1.]),T([2]))
t.bucketize(2.,T([1.,3.]))
t.isin(1,T([1,2]))
t.isin(T([1,2]),1)
t.vander(T([1,2]))
t.tensordot(T([[1.]]),T([[1.]]),dims=T(1))
t.meshgrid(T([1]),T([2]),indexing="xy")
t.broadcast_to(T([1.]),size=(2,))
t.tile(T([1.]),dims=(2,))
T([1.]).tile(dims=(2,))
T([1.]).repeat(repeats=(2,))
T([1.]).reshape(shape=(1,))
T([1.]).view(size=(1,))
T([1.]).permute(dims=(0,))
T([1.]).expand(size=(3,))
t.squeeze(T([[1.]]),dim=(0,1))
T([3.]).clamp_min(4)
t.normal(mean=0.,std=1.,size=(2,)).shape
t.normal(0.,1.,(2,)).shape
t.multinomial(input=T([1.,1.]),num_samples=1,replacement=True).shape
t.nn.functional.pad(input=T([1.]),pad=(1,1),mode="constant",value=2)
t.split(tensor=T([1.,2.]),split_size_or_sections=1)
t.chunk(input=T([1.,2.]),chunks=2)
t.einsum("i,i",T([1.]),T([1.]))
t.einsum("i,i",[T([1.]),T([1.])])
t.tril_indices(row=2,col=2)
t.scalar_tensor(s=3.)
t.asarray(obj=[1.])
t.as_tensor(data=[1.])
t.tensor(data=[1.])
t.from_numpy(np.array([1.]))
t.frombuffer(buffer=bytearray(8),dtype=t.float64)
""".strip().splitlines()


def answer(library, call):
    names = {"t": library, "T": library.tensor, "F": library.nn.functional, "nn": library.nn, "np": np,
             "nan": float("nan"), "inf": float("inf")}
    library.manual_seed(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            found = repr(eval(call, names))  # texts of this file
        except Exception as error:
            found = type(error).__name__
    return found.replace("facula.", "torch.")


@pytest.mark.parametrize("call", CALLS)
def test_calls(oracle, call):
    assert answer(facula, call) == oracle(lambda torch: answer(torch, call), call)
