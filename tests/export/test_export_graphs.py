"""Graphs of programs beside torch's: the same operations by the same names, with the same inputs and outputs."""

from __future__ import annotations

import sys
import warnings
from pathlib import Path

import pytest

import facula

sys.path.insert(0, str(Path(__file__).parent))
from programs import programs


def told(torch, name):
    """What torch.export says of a program: operations, inputs, outputs."""
    module, args, kwargs = programs(torch)[name]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.export.export(module, args, kwargs)
    calls = [str(node.target) for node in program.graph.nodes if node.op == "call_function"]
    unlike = ("getitem", "set_grad", "higher_order", "get_attr")  # see docs/differences.md
    signature = program.graph_signature
    return [[call for call in calls if not any(word in call for word in unlike)],
            [[spec.kind.name, spec.arg.name, spec.target, spec.persistent] for spec in signature.input_specs],
            [spec.kind.name for spec in signature.output_specs], sorted(program.state_dict),
            sorted(program.constants)]


@pytest.mark.parametrize("name", ["mlp in training", "cnn", "cnn in training", "attention"])
def test_programs(oracle, name):
    assert told(facula, name) == oracle(lambda torch: told(torch, name))


CALLS = """x.float() x.T x.mT x.t() x[0] x[...,1] x[1:3,::2] x[i[:3]] x[None] x[0,1] x[i[:2],:2] torch.arange(5)
torch.full((2,),1.) x.chunk(2) x.split(4) x.split([3,5]) x.unbind(1) x.max(dim=1) x.max() x.topk(2) x.sort()
torch.max(x,y) torch.cat([x,y],1) torch.stack([x,y]) x.reshape(-1) x.view(4,-1) x.permute(1,0) x.expand(2,8,4)
x.repeat(2,1) x.unsqueeze(0) x[None].squeeze(0) x.flatten() x.transpose(0,1) x+1 1+x 1-x x-y x*2 x/y x**2 2**x
x//2 x%2 -x ~(x>0) x==y x!=1 x@y.T x.add(y,alpha=2) x.pow(0.5) x.clone().add_(1).mul_(y) x.clamp(0,1)
x.clamp(min=0) x.sum() x.sum(0) x.sum(-1,keepdim=True) x.mean() x.mean((0,1)) x.argmax(1) x.cumsum(1)
torch.softmax(x,0) F.gelu(x) F.gelu(x,approximate='tanh') F.silu(x) F.leaky_relu(x,0.2) F.relu(x)
torch.tanh(x) F.layer_norm(x,(4,)) F.dropout(x,.5,False) F.pad(x,(1,1)) F.cross_entropy(x,i%4)
F.nll_loss(x,i%4) F.adaptive_avg_pool1d(x,2) F.max_pool2d(x[None],2,padding=1) F.avg_pool2d(x[None],2)
F.linear(x,y) F.embedding(i[:3]%3,x,padding_idx=0) torch.where(x>0,x,y) torch.where(x>0,x,0.)
x.masked_fill(x>0,0.) torch.einsum('ij,kj->ik',x,y) x.tril() torch.addmm(x[0],x,y[:4]) x.roll(1,0)
x.gather(1,i[:,None]%4) torch.bmm(x[None],y[None].mT)
F.scaled_dot_product_attention(x[None],x[None],x[None],is_causal=True)"""


def of_calls(torch):
    """The operations that the calls come to, in one program."""
    functional = torch.nn.functional
    functions = [eval(f"lambda x, y, i: {text}", {"torch": torch, "F": functional}) for text in CALLS.split()]

    class Net(torch.nn.Module):
        def forward(self, x, y, i):
            return [function(x, y, i) for function in functions]

    args = torch.arange(32.0).reshape(8, 4), torch.ones(8, 4), torch.arange(8)
    return [str(node.target) for node in torch.export.export(Net(), args).graph.nodes if node.op == "call_function"
            and "_assert_tensor_metadata" not in str(node.target)]


def test_calls(oracle):
    assert of_calls(facula) == oracle(of_calls)
