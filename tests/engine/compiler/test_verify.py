"""The verifier between the compiler's passes refuses what no pass may hand on."""

import copy

import numpy as np
import pytest

import compiler_harness as h
import facula
from facula import config
from facula import dtypes as dt
from facula.engine import realize
from facula.engine.compiler import pipeline, plan
from facula.engine.compiler.affine import Affine
from facula.engine.compiler.fuse import fuse
from facula.engine.compiler.plan import Work, assign
from facula.engine.compiler.simplify import simplify
from facula.engine.compiler.verify import verify_graph, verify_groups
from facula.engine.compiler.verify_memory import verify_memory
from facula.engine.compiler.verify_node import verify_node
from facula.engine.graph import node as g
from facula.engine.graph.expr import make
from facula.engine.graph.node import Formula, Node
from facula.errors import VerifyError

ADD = Formula("add", make("add", make("in", value=0), make("in", value=1)))


def leaf(*shape, dtype=dt.float32):
    return realize.leaf(np.ones(shape, dtype.numpy), shape, dtype)


def node(op, inputs, shape, dtype=dt.float32, attrs=None, scalars=None):
    return Node(op, tuple(inputs), attrs, scalars, shape, dtype)


def broken_nodes():
    x, flat, rows = leaf(3, 4), leaf(12), leaf(2, dtype=dt.int64)
    yield "does not broadcast", node(ADD, (x, leaf(3)), (3, 4))
    yield "operands wanted", node(ADD, (x,), (3, 4))
    yield "numbers wanted", node(Formula("n", make("scalar", value=0)), (), (3,))
    yield "negative size", node(ADD, (x, x), (-3, 4))
    yield "region of", node(g.VIEW, (flat,), (4,), attrs=((4,),), scalars=(0,))
    yield "strides", node(g.VIEW, (flat,), (4,), attrs=((1, 1),), scalars=(0,))
    yield "view of", node(g.VIEW, (flat,), (4,), dt.int32, ((1,),), (0,))
    yield "shape should be", node(g.SUM, (x,), (3,), attrs=((0,),))
    yield "dtype should be int64", node(g.ARGMAX, (x,), (4,), attrs=((0,),))
    yield "dtype should be bool", node(g.ANY, (x,), (4,), attrs=((0,),))
    yield "dimensions", node(g.SUM, (x,), (), attrs=((1, 0),))
    yield "product of", node(g.CONTRACT, (x, x), (3, 4))
    yield "rows of", node(g.GATHER, (x, leaf(2)), (2, 4))  # an index of floats
    yield "rows of", node(g.GATHER, (x, rows), (2, 3))
    yield "differs", node(g.SCATTER_ADD, (x, rows, leaf(2, 4)), (3, 5))
    yield " at ", node(g.SCATTER_SET, (x, rows, leaf(3, 4)), (3, 4))
    yield "written into", node(g.WRITE, (x, leaf(2, dtype=dt.int32)), (3, 4), attrs=((1,),), scalars=(0,))
    yield "scan", node(g.CUMSUM, (x,), (3, 4), attrs=(2,))
    yield "order of", node(g.ARGSORT, (x,), (3, 4), attrs=(0, False, 0))


@pytest.mark.parametrize("reason, broken", [pytest.param(*b, id=f"{k}-{b[0]}") for k, b in enumerate(broken_nodes())])
def test_a_broken_node_is_refused_and_shown(reason, broken):
    with pytest.raises(VerifyError) as refusal:
        verify_node(broken)
    text = str(refusal.value)
    assert reason in text
    assert all(repr(source) in text for source in broken.inputs)  # the part of the graph around it


def softmax_graph():
    x = leaf(6, 8)
    e = node(ADD, (x, x), (6, 8))
    s = node(g.SUM, (e,), (6,), attrs=((1,),))
    t = node(g.VIEW, (e,), (8, 6), attrs=((1, 8),), scalars=(0,))
    last = node(ADD, (t, s), (8, 6))
    return [e, s, t, last], [x], [last]


def simplified():
    nodes, leaves, outputs = softmax_graph()
    return nodes, simplify(nodes, leaves, outputs, {nodes[2]: 0})


def test_the_sound_graph_passes():
    nodes, graph = simplified()
    verify_graph(graph, nodes)
    verify_groups(graph, fuse(graph))


def test_arguments_come_before_users():
    nodes, graph = simplified()
    with pytest.raises(VerifyError, match="before it is computed"):
        verify_graph(graph, nodes[::-1])
    graph.order.reverse()
    with pytest.raises(VerifyError, match="after simplify: .* before it is computed"):
        verify_graph(graph, nodes)


def test_reads_stay_inside_and_cover_the_points():
    nodes, graph = simplified()
    source, map = graph.reads[nodes[0]][0]
    graph.reads[nodes[0]][0] = source, Affine(map.dims, map.strides, 1)
    with pytest.raises(VerifyError, match="positions 1 to 48"):
        verify_graph(graph, nodes)
    graph.reads[nodes[0]][0] = source, Affine((6,), (1,))
    with pytest.raises(VerifyError, match="48 points"):
        verify_graph(graph, nodes)


def test_an_output_that_nobody_computes():
    nodes, graph = simplified()
    graph.order.remove(nodes[-1])
    with pytest.raises(VerifyError, match="nobody computes the output"):
        verify_graph(graph, nodes)


def test_groups_compute_everything_once_and_in_order():
    nodes, graph = simplified()
    groups = fuse(graph)
    assert len(groups) == 2
    with pytest.raises(VerifyError, match="after fuse: .* before it is computed"):
        verify_groups(graph, groups[::-1])
    with pytest.raises(VerifyError, match="no group computes"):
        verify_groups(graph, groups[:1])
    twice = copy.copy(groups[1])
    twice.members = {**twice.members, nodes[0]: None}
    with pytest.raises(VerifyError, match="computed twice"):
        verify_groups(graph, [groups[0], twice])
    flags = copy.copy(groups[0])
    flags.reduced = (True,) * (len(flags.dims) + 1)
    with pytest.raises(VerifyError, match="flags"):
        verify_groups(graph, [flags, groups[1]])


# ---- memory: values are words, all of 8 bytes but those in SIZES

SIZES = {"big": 16}


def size(value):
    return SIZES.get(value, 8)


def work(reads, writes, **more):
    return Work(list(reads), list(writes), lambda slots, in_place: [], **more)


def check(works, leaves, outputs, donated=(), change=None, same=None):
    steps, memory, aliases = assign(works, list(leaves), list(outputs), set(donated), size, same)
    aliases = dict(aliases)
    if change is not None:
        change(memory, aliases)
    verify_memory(works, steps, memory, aliases, list(leaves), list(outputs), set(donated), size, same or {})
    return memory


CHAIN = [(["a"], ["t"]), (["t"], ["u"]), (["u", "t"], ["v"]), (["v"], ["out"])]


def test_the_sound_plan_passes_and_reuses_memory():
    memory = check([work(*w) for w in CHAIN], ["a"], ["out"])
    assert len(memory.temporaries) == 3


@pytest.mark.parametrize("reason, value, slot", [
    ("still needs", "u", "t"),  # t is read once more
    ("reads itself", "v", "u"),
    ("not donated", "u", "a"),
    ("does not exist", "u", 99),
])
def test_memory_that_is_given_away_too_early(reason, value, slot):
    def change(memory, aliases):
        memory.slots[value] = memory.slots.get(slot, slot)
    with pytest.raises(VerifyError, match=reason):
        check([work(*w) for w in CHAIN], ["a"], ["out"], change=change)


def test_a_slot_too_small():
    def change(memory, aliases):
        memory.temporaries = (7, *memory.temporaries[1:])
    with pytest.raises(VerifyError, match="takes 8 bytes"):
        check([work(*w) for w in CHAIN], ["a"], ["out"], change=change)


def test_a_step_before_the_one_it_reads():
    works = [work(*w) for w in CHAIN]
    steps, memory, aliases = assign(works, ["a"], ["out"], set(), size)
    works[0], works[1] = works[1], works[0]
    with pytest.raises(VerifyError, match="which holds None"):
        verify_memory(works, steps, memory, aliases, ["a"], ["out"], set(), size, {})


def test_overwriting_in_place_and_taking_over_are_legal_where_declared():
    check([work(["a", "b"], ["out"], overwrites="a")], ["a", "b"], ["out"], ["a"])
    check([work(["a", "b"], ["out"], replaces={"out": ["a"]})], ["a", "b"], ["out"], ["a"])


def test_a_leaf_that_is_not_donated_is_not_overwritten():
    def onto_leaf(memory, aliases):
        memory.slots["out"], aliases[0] = 0, 0
    with pytest.raises(VerifyError, match="not donated"):
        check([work(["a"], ["out"], overwrites="a")], ["a"], ["out"], change=onto_leaf)

    def unsaid(memory, aliases):
        aliases.clear()
    with pytest.raises(VerifyError, match="does not say so"):
        check([work(["a"], ["out"], overwrites="a")], ["a"], ["out"], ["a"], unsaid)


def test_two_outputs_in_one_leaf():
    def change(memory, aliases):
        memory.slots["q"] = memory.slots["p"] = 0
        aliases.update({0: 0, 1: 0})
    with pytest.raises(VerifyError, match="two outputs"):
        check([work(["a"], ["p"]), work(["a"], ["q"])], ["a"], ["p", "q"], ["a"], change)


def test_an_output_that_another_value_covers_at_the_end():
    def change(memory, aliases):
        memory.slots["t"] = memory.slots["p"]
    with pytest.raises(VerifyError, match="still needs"):
        check([work(["a"], ["p"]), work(["a"], ["t"]), work(["t"], ["q"])], ["a"], ["p", "q"], change=change)


def test_the_same_elements_under_two_names():
    check([work(["a"], ["t"]), work(["t"], ["q"])], ["a"], ["p", "q"], same={"t": "p"})


@pytest.mark.parametrize("sizes, offsets, total", [
    ([8, 8], [0, 32], 128), ([100, 8], [0, 64], 128), ([8, 100], [0, 64], 128)])
def test_an_arena_laid_out_wrongly(sizes, offsets, total):
    from facula.engine.runtime.cpu.plan import verify_arena
    verify_arena([8, 100], [0, 64], 192)
    with pytest.raises(VerifyError, match="a temporary"):
        verify_arena(sizes, offsets, total)


# ---- it is on, and it is heard


def test_it_is_on_in_the_tests():
    assert config.VERIFY.value
    assert not config.VERIFY.default


@pytest.mark.compiled
def test_a_pass_that_goes_wrong_is_an_error_and_not_a_warning(monkeypatch):
    def all_in_one_place(first, lives, *nbytes):
        return (*[first] * len(nbytes), [max(nbytes)] if nbytes else [])

    x = facula.rand(7, 11)
    monkeypatch.setattr(plan, "_packed", all_in_one_place)
    with pytest.raises(VerifyError):
        # both operands of the product are computed, and alive at once
        ((x + 1).mm((x * 3).t() + 2.25).cumsum(0) - (x * x).mm(x.t() + 5.5).cumsum(1)).cumsum(0).tolist()


def test_it_costs_nothing_when_it_is_off(monkeypatch):
    def never(*arguments):
        raise AssertionError("the verifier ran")
    for name in ("verify_graph", "verify_groups", "verify_memory"):
        monkeypatch.setattr(pipeline, name, never)
    monkeypatch.setattr(config.VERIFY, "value", False)
    x = leaf(5, 3)
    spec, _, _ = h.plan([node(ADD, (x, x), (5, 3))])
    assert len(spec.steps) == 1


def test_what_the_host_computes_broadcasts_by_itself():
    """Complex numbers have no native lowering: their operands are handed over as they are."""
    x = facula.arange(12.0).reshape(3, 4).to(facula.complex64)
    y = facula.arange(4.0).to(facula.complex64)
    assert (x + y)[2, 3].item() == 14
