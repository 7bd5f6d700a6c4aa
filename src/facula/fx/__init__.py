"""`torch.fx`: programs as graphs that Python can read and change.

    symbolic_trace   a module or function, run with proxies, gives a GraphModule
    Graph, Node      what it does, as a list of calls
    GraphModule      a module whose code is generated from a graph
    Interpreter, Transformer   run a graph node by node, or make another one
    replace_pattern  exchange a part of a graph for another
    passes, experimental       what is done with graphs: shapes, splitting, matching, fusing

    node.py, immutable_collections.py    one call, and its arguments
    graph.py, _linting.py, _tables.py    the list
    _codegen.py, _writing.py, _namespaces.py, _names.py    the text of it
    graph_module.py, _submodules.py, _imports.py, _folders.py    the module of it
    proxy.py, _symbolic_trace.py, _patching.py, _concrete.py    how it comes of a program

Example:
    >>> import facula
    >>> class Net(facula.nn.Module):
    ...     def __init__(self):
    ...         super().__init__()
    ...         self.linear = facula.nn.Linear(3, 2)
    ...     def forward(self, x):
    ...         return facula.relu(self.linear(x)).sum(dim=-1)
    >>> print(facula.fx.symbolic_trace(Net()).graph)
    graph():
        %x : [num_users=1] = placeholder[target=x]
        %linear : [num_users=1] = call_module[target=linear](args = (%x,), kwargs = {})
        %relu : [num_users=1] = call_function[target=torch.relu](args = (%linear,), kwargs = {})
        %sum_1 : [num_users=1] = call_method[target=sum](args = (%relu,), kwargs = {dim: -1})
        return sum_1
"""

from __future__ import annotations

from facula.fx import annotate as _annotate
from facula.fx import (
    config,
    graph,
    graph_module,
    immutable_collections,
    interpreter,
    node,
    operator_schemas,
    passes,
    proxy,
    subgraph_rewriter,
    tensor_type,
    traceback,
)
from facula.fx._symbolic_trace import PH, ProxyableClassMeta, Tracer, symbolic_trace, wrap
from facula.fx.graph import CodeGen, Graph
from facula.fx.graph_module import GraphModule
from facula.fx.interpreter import Interpreter, Transformer
from facula.fx.node import Node, has_side_effect, map_arg
from facula.fx.proxy import Proxy
from facula.fx.subgraph_rewriter import replace_pattern

annotate = _annotate

__all__ = ["CodeGen", "Graph", "GraphModule", "Interpreter", "Node", "PH", "Proxy", "ProxyableClassMeta", "Tracer",
           "Transformer", "annotate", "config", "graph", "graph_module", "has_side_effect", "immutable_collections",
           "interpreter", "map_arg", "node", "operator_schemas", "passes", "proxy", "replace_pattern",
           "subgraph_rewriter", "symbolic_trace", "tensor_type", "traceback", "wrap"]
