"""`utils._pytree`: trees of containers, their structure, paths to leaves, structures as JSON."""

import dataclasses
import importlib
import pkgutil
from collections import OrderedDict, defaultdict, deque, namedtuple

import pytest

import docstrings
from facula.func import trees
from facula.utils import _pytree
from facula.utils._pytree import registry

P = namedtuple("P", "x y")
Other = namedtuple("Other", "x y")


class Sub(list):
    """No node: only the exact types are."""


def tree():
    return {"b": [1, (2, None)], "a": P(3, OrderedDict(z=4, y=deque([5, 6], maxlen=3))),
            "d": defaultdict(list, {"q": 7}), "s": Sub([1]), "e": [], "t": {}}


def said(run):
    try:
        return repr(run())
    except Exception as error:
        return f"{type(error).__name__}: {error}"


def questions(pytree):
    """What is asked of both libraries, as text."""
    leaves, spec = pytree.tree_flatten(tree())
    yield leaves
    yield spec
    yield spec.unflatten(leaves)
    yield spec.num_leaves, spec.num_nodes, spec.num_children, spec.is_leaf(), spec.child(0), len(spec.children())
    yield spec.context, spec.type
    yield spec == pytree.tree_structure(tree()), spec == pytree.tree_structure([1]), spec != pytree.tree_structure([1])
    yield hash(pytree.tree_structure({"a": 1})) == hash(pytree.tree_structure({"a": 2}))
    yield pytree.treespec_pprint(spec)
    yield [(pytree.keystr(path), leaf) for path, leaf in pytree.tree_leaves_with_path(tree())]
    yield pytree.tree_flatten_with_path([1, (2,)])[0][1][0]
    yield pytree.tree_map_with_path(lambda path, a, b: (pytree.keystr(path), a, b), [1, (2,)], [3, (4,)])
    yield pytree.treespec_dumps(pytree.tree_structure([1, {"a": 2, "b": (3, None)}, OrderedDict(z=4), deque([1], 3)]))
    yield pytree.treespec_dumps(pytree.tree_structure(defaultdict(list, {"q": 7})))
    yield pytree.treespec_loads(pytree.treespec_dumps(pytree.tree_structure([1, {"a": 2}, deque([1], 3)])))
    for run in (
        lambda: pytree.treespec_dumps(pytree.tree_structure(P(1, 2))),
        lambda: pytree.tree_unflatten([1, 2], spec),
        lambda: pytree.tree_unflatten([1], 3),
        lambda: pytree.tree_map(lambda a, b: a + b, [1, 2], [1, 2, 3]),
        lambda: pytree.tree_map(lambda a, b: a + b, [1, 2], (1, 2)),
        lambda: pytree.tree_map(lambda a, b: a + b, {"a": 1}, {"b": 1}),
        lambda: pytree.tree_map(lambda a, b: (a, b), {"a": 1, "b": 2}, {"b": 1, "a": 3}),
        lambda: pytree.tree_map(lambda a, b: (a, b), {"a": 1, "b": 2}, OrderedDict(b=1, a=3)),
        lambda: pytree.tree_map(lambda a, b: (a, b), [1, 2], [[1, 2], 3]),
        lambda: pytree.tree_map(lambda a, b: (a, b), P(1, 2), P([1], 3)),
        lambda: pytree.tree_map(lambda a, b: (a, b), deque([1]), deque([1], maxlen=2)),
        lambda: pytree.tree_map(lambda a, b: (a, b), deque([1]), deque([1, 2])),
        lambda: pytree.register_pytree_node(list, None, None),
        lambda: pytree.treespec_loads("[9,{}]"),
        lambda: pytree.tree_flatten([1, [2, 3]], is_leaf=lambda x: isinstance(x, list) and x[0] == 2),
        lambda: pytree._broadcast_to_and_flatten([0, None], pytree.tree_structure([[1, 2], 3])),
        lambda: pytree._broadcast_to_and_flatten([0, None, 1], pytree.tree_structure([[1, 2], 3])),
        lambda: pytree._broadcast_to_and_flatten((0, 1), pytree.tree_structure([2, 3])),
        lambda: pytree._broadcast_to_and_flatten(5, pytree.tree_structure([2, [3, 4]])),
        lambda: pytree.tree_structure([1]).flatten_up_to((2,)),
        lambda: pytree.tree_structure([1, [2]]).flatten_up_to([(2,), [3]]),
        lambda: pytree.tree_map_only((int, float), lambda x: x + 1, [1, "a", 2.0]),
        lambda: pytree.tree_map_only(lambda x: x == 1, lambda x: x + 1, [1, "a", 2.0]),
        lambda: (pytree.tree_all(bool, [1, 0]), pytree.tree_any(bool, [1, 0]), pytree.tree_all_only(int, bool, [1, ""]),
                 pytree.tree_any_only(int, bool, [0, "s"]), pytree.tree_all(bool, []), pytree.tree_any(bool, [])),
        lambda: pytree.key_get(tree(), (pytree.MappingKey("a"), pytree.GetAttrKey("x"))),
        lambda: (pytree.tree_is_leaf([]), pytree.tree_is_leaf(None), pytree.tree_is_leaf([1], lambda x: True)),
        lambda: (pytree.is_namedtuple(P(1, 2)), pytree.is_namedtuple(P), pytree.is_namedtuple_class(tuple)),
        lambda: pytree.arg_tree_leaves([1, 2], a={"b": 3}),
        lambda: pytree.treespec_tuple([pytree.treespec_leaf(), pytree.tree_structure([1])]),
        lambda: pytree.treespec_dict({"a": pytree.treespec_leaf()}, b=pytree.tree_structure([1])),
        lambda: list(pytree.tree_iter(([1], {2: 3}))),
    ):
        yield said(run)


def test_answers_as_torchs(oracle):
    asked = oracle(lambda lib: [str(a).replace("torch.", "") for a in questions(lib.utils._pytree)])
    star = type("Leaf", (), {"__repr__": lambda self: "*"})()
    for one in (tree()["a"].y, OrderedDict(b=1, a=3), OrderedDict(z=star, y=deque([star, star], maxlen=3))):
        # Python 3.12 writes them another way
        asked = [a.replace(f"OrderedDict({list(one.items())!r})", repr(one)) for a in asked]
    assert [str(a) for a in questions(_pytree)] == asked


class Box:
    def __init__(self, *held):
        self.held = held

    def __eq__(self, other):
        return self.held == other.held


@pytest.fixture
def box():
    _pytree.register_pytree_node(Box, lambda b: (list(b.held), "context"), lambda c, _: Box(*c),
                                 serialized_type_name="tests.Box")
    yield
    _pytree._deregister_pytree_node(Box)


def test_registered_classes_are_nodes(box):
    assert _pytree.tree_leaves([Box(1, [2]), 3]) == [1, 2, 3]
    assert _pytree.tree_map(lambda x: -x, Box(1, Box(2))) == Box(-1, Box(-2))
    spec = _pytree.tree_structure(Box(1, Box(2)))
    assert _pytree.treespec_loads(_pytree.treespec_dumps(spec)) == spec
    with pytest.raises(ValueError, match="already registered"):
        _pytree.register_pytree_node(Box, None, None)
    with pytest.raises(ValueError, match="flatten_with_keys_fn"):
        _pytree.tree_flatten_with_path(Box(1))


def test_a_class_without_a_name_is_not_written():
    class Nameless:
        pass
    _pytree.register_pytree_node(Nameless, lambda n: ([], None), lambda c, _: Nameless())
    with pytest.raises(NotImplementedError, match="serialized_type_name"):
        _pytree.treespec_dumps(_pytree.tree_structure(Nameless()))
    with pytest.raises(ValueError, match="not registered"):
        _pytree.treespec_loads('[1, {"type": "no.such", "context": "null", "children_spec": []}]')
    _pytree._deregister_pytree_node(Nameless)


def test_named_tuples_are_written_under_a_registered_name():
    Q = namedtuple("Q", "a b")
    _pytree._register_namedtuple(Q, serialized_type_name="tests.Q")
    spec = _pytree.tree_structure([Q(1, (2,))])
    assert _pytree.treespec_loads(_pytree.treespec_dumps(spec)) == spec


def test_a_file_imports_nothing():
    written = ('[1, {"type": "collections.defaultdict", "context": {"default_factory_module": "os", '
               '"default_factory_name": "system", "dict_context": []}, "children_spec": []}]')
    with pytest.raises(NotImplementedError, match="not in Facula yet"):
        _pytree.treespec_loads(written)


def test_dataclasses_and_constants():
    @dataclasses.dataclass
    class D:
        x: object
        y: object = None

    @dataclasses.dataclass(frozen=True)
    class C:
        z: int

    _pytree.register_dataclass(D)
    _pytree.register_constant(C)
    assert _pytree.tree_leaves([D(1, [2]), C(3)]) == [1, 2]
    assert _pytree.tree_map(lambda v: v + 1, D(1)) == D(2, None)
    assert _pytree.tree_structure(C(3)) == _pytree.tree_structure(C(3)) != _pytree.tree_structure(C(4))
    assert [_pytree.keystr(p) for p, _ in _pytree.tree_leaves_with_path(D(1, [2]))] == [".x", ".y[0]"]
    assert _pytree.is_constant_class(C) and not _pytree.is_constant_class(D)
    for cls in (D, C):
        _pytree._deregister_pytree_node(cls)


def test_results_of_operations_and_sizes_are_nodes(facula):
    values, spec = _pytree.tree_flatten(facula.ones(1, 2).max(0))
    assert len(values) == 2 and type(spec.unflatten(values)).__name__ == "max"
    assert _pytree.tree_leaves(facula.Size([2, 3])) == [2, 3]
    assert type(_pytree.tree_map(lambda n: n, facula.Size([2]))) is facula.Size


def test_what_func_maps_over_is_these_trees(box):
    assert trees.leaves([Box(1), {"a": 2}]) == [1, 2]
    assert trees.spread((0, None), ([1, 2], 3), "in_dims") == [0, 0, None]
    with pytest.raises(ValueError, match="in_dims"):
        trees.spread((0,), (1, 2), "in_dims")


def test_a_deep_tree_takes_linear_time():
    wide = [{"a": i} for i in range(2000)]
    leaves, spec = _pytree.tree_flatten(wide)
    assert spec.unflatten(leaves) == wide and spec.num_nodes == 4001


def test_examples():
    for name in [_pytree.__name__, *[f"{_pytree.__name__}.{m.name}" for m in pkgutil.iter_modules(_pytree.__path__)]]:
        module = importlib.import_module(name)
        docstrings.check(module, [n for n in docstrings.own(module) if not n.endswith("Fn")])  # types of functions
    assert not docstrings.undocumented(registry, ["register_pytree_node", "tree_is_leaf", "SequenceKey", "NodeDef"])


def test_named_tuples_of_other_classes_do_not_fit():
    with pytest.raises(ValueError, match="mismatch"):
        _pytree.tree_map(lambda a, b: a, P(1, 2), Other(1, 2))
