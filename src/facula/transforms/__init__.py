"""Forward mode and `vmap`, at the level of the primitives. `facula.func` and `autograd.forward_ad` are what users call.

While a function is being transformed, its tensors hold nodes that stand for values: DUAL (a value and its tangent) or
BATCHED (a value for each place of a hidden leading dimension). Such a node belongs to a `Level`; what is recorded over
one goes to the level's rule for the primitive, which records primitives over what the node stands for (and these may
belong to a level further out). The shapes that operations see are those without the hidden dimension.

    levels.py     levels, and `traced`: which of them has the say
    forward.py    tangents of formulas (the rules of the other primitives stand with them: engine/graph/primitives/)
    batching.py   a hidden dimension, of formulas and host routines (likewise)
    crossing.py   how tensors enter and leave a level, and how gradients do
    host.py       operations that NumPy computes: their tangents from their gradients
"""
