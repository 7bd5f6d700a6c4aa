"""What is done with graphs: shapes, splitting, matching, order, drawing."""

from __future__ import annotations

from facula.fx.passes import (
    annotate_getitem_nodes,
    graph_drawer,
    graph_manipulation,
    operator_support,
    param_fetch,
    shape_prop,
    split_module,
    tools_common,
)

__all__ = ["annotate_getitem_nodes", "graph_drawer", "graph_manipulation", "operator_support", "param_fetch",
           "shape_prop", "split_module", "tools_common"]
