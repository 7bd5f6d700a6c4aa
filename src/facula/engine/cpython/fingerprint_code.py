"""The IR of the two functions of fingerprint.py, which read Python objects through the C API and through the offsets
of their slots. They only read: what they are given to fill are lists.

`state` is memory of ours: word 0 a generation, words 1.. the addresses of types (TYPES), then the hash table of
(address, generation << 32 | number) pairs, then the words of the fingerprint, then room for sorting.
"""

from __future__ import annotations

from collections.abc import Mapping

from facula.engine.cpython.builtin_code import DECLARE, Code

BITS = 13  # the table has 2**BITS places
TABLE = 16 * 8  # byte offsets into the state
WORDS = TABLE + (16 << BITS)
LIMIT = 1 << 15  # words of a fingerprint; more is left to Python
SORT = WORDS + 8 * LIMIT
MOST = 1 << (BITS - 1)  # objects that are numbered
STATE_BYTES = SORT + 16 * MOST
TYPES = ("grad_node", "saved", "node", "rule", "formula_rule", "cast_rule", "tuple", "function_rule",
         "placed_node")
RULES = ("rule", "formula_rule", "cast_rule", "function_rule")
_LEAF = 1 << 60  # marks an edge to a leaf

# The number of an object, which is *counter if it is met for the first time; -1: too many objects.
_NUMBER = f"""
define internal i64 @number(ptr %state, ptr %object, ptr %counter) {{
entry:
  %generation = load i64, ptr %state
  %high = shl i64 %generation, 32
  %table = getelementptr i8, ptr %state, i64 {TABLE}
  %address = ptrtoint ptr %object to i64
  %mixed = mul i64 %address, -7046029254386353131
  %first = lshr i64 %mixed, {64 - BITS}
  br label %look
look:
  %place = phi i64 [ %first, %entry ], [ %next, %other ]
  %entry.at = getelementptr [2 x i64], ptr %table, i64 %place
  %tag.at = getelementptr i8, ptr %entry.at, i64 8
  %tag = load i64, ptr %tag.at
  %tag.high = and i64 %tag, -4294967296
  %live = icmp eq i64 %tag.high, %high
  br i1 %live, label %compare, label %fresh
compare:
  %key = load i64, ptr %entry.at
  %same = icmp eq i64 %key, %address
  br i1 %same, label %found, label %other
other:
  %up = add i64 %place, 1
  %next = and i64 %up, {(1 << BITS) - 1}
  br label %look
found:
  %number = and i64 %tag, 4294967295
  ret i64 %number
fresh:
  %count = load i64, ptr %counter
  %full = icmp sge i64 %count, {MOST}
  br i1 %full, label %refuse, label %insert
refuse:
  ret i64 -1
insert:
  store i64 %address, ptr %entry.at
  %new = or i64 %high, %count
  store i64 %new, ptr %tag.at
  %more = add i64 %count, 1
  store i64 %more, ptr %counter
  ret i64 %count
}}
"""


PRELUDE = DECLARE + _NUMBER


class Body(Code):
    """A description under construction; `bail` returns None."""

    def __init__(self) -> None:
        super().__init__()
        self.state = self.op("inttoptr i64 " + self.op(f"call i64 @PyLong_AsLongLong(ptr {self.argument(0)})")
                             + " to ptr")
        generation = self.op(f"load i64, ptr {self.state}")
        masked = self.op(f"and i64 {self.op(f'add i64 {generation}, 1')}, 2147483647")
        self.do(f"store i64 {masked}, ptr {self.state}")
        self.counter, self.position = self.variable(), self.variable()
        self.words = self.op(f"getelementptr i8, ptr {self.state}, i64 {WORDS}")

    def is_type(self, pointer: str, *names: str) -> str:
        """Is it exactly of one of the TYPES?"""
        own = self.field(pointer, 8, "i64")
        found = "false"
        for name in names:
            one = self.op(f"icmp eq i64 {own}, " + self.field(self.state, 8 * (1 + TYPES.index(name)), "i64"))
            found = one if found == "false" else self.op(f"or i1 {found}, {one}")
        return found

    def push(self, word: str) -> None:
        at = self.op(f"load i64, ptr {self.position}")
        self.bail_if(self.op(f"icmp sge i64 {at}, {LIMIT}"))
        self.do(f"store i64 {word}, ptr " + self.op(f"getelementptr i64, ptr {self.words}, i64 {at}"))
        self.do(f"store i64 {self.op(f'add i64 {at}, 1')}, ptr {self.position}")

    def push_shape(self, shape: str) -> None:
        self.push(self.size(shape, "Tuple"))
        with self.items(shape) as length:
            self.push(self.integer(length))

    def number(self, pointer: str, to: str = "") -> str:
        """Its number; what is met for the first time is appended to the list `to`."""
        before = self.op(f"load i64, ptr {self.counter}")
        found = self.op(f"call i64 @number(ptr {self.state}, ptr {pointer}, ptr {self.counter})")
        self.bail_if(self.op(f"icmp slt i64 {found}, 0"))
        if to:
            with self.when(self.op(f"icmp eq i64 {found}, {before}")):
                self.append(to, pointer)
        return found

    def finish(self, name: str) -> str:
        used = self.op(f"shl i64 {self.op(f'load i64, ptr {self.position}')}, 3")
        self.do("ret ptr " + self.op(f"call ptr @PyBytes_FromStringAndSize(ptr {self.words}, i64 {used})"))
        self.start("bail")
        self.return_none()
        return self.text(name)


def describe(node: Mapping[str, int]) -> str:
    """describe(state, nodes, extras, leaves, attrs, numbers) -> bytes. `node`: offsets of a Node's slots."""
    f = Body()
    nodes, extras, leaves, attrs, numbers = (f.argument(k) for k in range(1, 6))

    def take_numbers(n: str) -> None:
        scalars = f.field(n, node["scalars"])
        with f.when(f.op(f"xor i1 {f.is_none(scalars)}, true")), f.items(scalars) as scalar:
            f.append(numbers, scalar)

    def push_face(n: str) -> None:
        f.push(f.address(f.field(n, node["op"])))
        f.push(f.address(f.field(n, node["dtype"])))
        f.push_shape(f.field(n, node["shape"]))

    with f.items(nodes, "List") as n:
        f.number(n)
    with f.items(nodes, "List") as n:
        push_face(n)
        f.push(f.field(n, 0, "i64"))  # references
        own = f.field(n, node["attrs"])
        with f.either(f.is_none(own)) as mark:
            f.push("0")
            f.otherwise(mark)
            f.push("1")
            f.append(attrs, own)
        inputs = f.field(n, node["inputs"])
        f.push(f.size(inputs, "Tuple"))
        with f.items(inputs) as source:
            f.push(f.number(source, leaves))
        take_numbers(n)
    with f.items(extras, "List") as n:
        f.push(f.number(n, leaves))
    with f.items(leaves, "List") as n:
        push_face(n)
        take_numbers(n)
    return f.finish("describe")


def survey(grad: Mapping[str, int], saved: Mapping[str, int]) -> str:
    """survey(state, tape, leaves, values, numbers, statics, released, functions) -> bytes. Offsets of a
    GradNode's and of a Saved's slots. The tape starts with the roots and is filled."""
    f = Body()
    tape, leaves, values, numbers, statics, released, functions = (f.argument(k) for k in range(1, 8))
    with f.items(tape, "List") as n:
        f.number(n)
    with f.items(tape, "List") as n:  # it grows
        f.bail_if(f.op(f"xor i1 {f.is_type(n, 'grad_node')}, true"))
        with f.items(f.field(n, grad["edges"])) as e, f.when(f.op(f"xor i1 {f.is_none(e)}, true")):
            with f.either(f.is_type(e, "grad_node")) as mark:
                f.number(e, tape)
                f.otherwise(mark)
                with f.either(f.is_type(e, "tuple")) as inner:
                    f.number(f.item(e, "0", "Tuple"), tape)
                    f.otherwise(inner)
                    f.number(e, leaves)
    order = f.op(f"getelementptr i8, ptr {f.state}, i64 {SORT}")
    with f.loop(f"list {tape}") as i:
        n = f.item(tape, i)
        _push_step(f, n, grad, saved, values, numbers, statics, released)
        with f.when(f.is_type(f.field(n, grad["rule"]), "function_rule")):
            f.append(functions, n)
            f.bail_if(f.op(f"icmp ne i64 {f.integer(f.field(n, grad['outputs']))}, 1"))
        _insert(f, order, i, f.integer(f.field(n, grad["seq"])))
    with f.loop(f"list {tape}") as i:
        f.push(f.op("load i64, ptr " + f.op(f"getelementptr [2 x i64], ptr {order}, i64 {i}, i64 1")))
    return f.finish("survey")


def _push_step(f: Body, n: str, grad: Mapping[str, int], saved: Mapping[str, int], values: str, numbers: str,
               statics: str, released: str) -> None:
    """One step of the tape."""
    rule = f.field(n, grad["rule"])
    f.push(f.address(rule))
    f.bail_if(f.op(f"xor i1 {f.is_type(rule, *RULES)}, true"))
    f.bail_if(f.op(f"xor i1 {f.is_none(f.field(n, grad['_cold']))}, true"))
    edges = f.field(n, grad["edges"])
    f.push(f.size(edges, "Tuple"))
    with f.items(edges) as e, f.either(f.is_none(e)) as mark:
        f.push("-1")
        f.otherwise(mark)
        with f.either(f.is_type(e, "grad_node")) as inner:
            f.push(f.number(e))
            f.otherwise(inner)
            with f.either(f.is_type(e, "tuple")) as innermost:
                f.push(f.number(f.item(e, "0", "Tuple")))
                f.push(f.integer(f.item(e, "1", "Tuple")))
                f.push("-2")
                f.otherwise(innermost)
                f.push(f.op(f"or i64 {f.number(e)}, {_LEAF}"))
    shapes = f.field(n, grad["shapes"])
    with f.either(f.is_none(shapes)) as mark:
        f.push("-1")
        f.otherwise(mark)
        f.push(f.size(shapes, "Tuple"))
        with f.items(shapes) as shape, f.either(f.is_none(shape)) as inner:
            f.push("-1")
            f.otherwise(inner)
            f.push_shape(shape)
    dtypes = f.field(n, grad["dtypes"])
    with f.either(f.is_none(dtypes)) as mark:
        f.push("-1")
        f.otherwise(mark)
        f.push(f.size(dtypes, "Tuple"))
        with f.items(dtypes) as of:
            f.push(f.address(of))
    kept = f.field(n, grad["_saved"])
    f.bail_if(f.op(f"xor i1 {f.is_type(kept, 'tuple')}, true"))
    count = f.size(kept, "Tuple")
    f.push(count)
    with f.either(f.is_type(rule, "formula_rule")) as mark:
        scalars = f.item(kept, "0", "Tuple")
        with f.when(f.is_type(scalars, "tuple")), f.items(scalars) as scalar:
            f.push("1")
            f.append(numbers, scalar)
        with f.items(kept, start=1) as value:
            f.append(values, value)
        with f.when(f.op(f"icmp sgt i64 {count}, 1")):
            f.append(released, n)
        f.otherwise(mark)
        any_saved = f.variable()
        f.do(f"store i64 0, ptr {any_saved}")
        with f.items(kept) as value, f.either(f.is_type(value, "saved")) as inner:
            f.append(values, f.field(value, saved["node"]))
            own = f.field(value, saved["own"])
            with f.either(f.is_none(own)) as innermost:
                f.push("-1")
                f.otherwise(innermost)
                f.push(f.integer(own))
            order_kept = f.field(value, saved["order"])
            with f.when(f.op(f"xor i1 {f.is_none(order_kept)}, true")):
                f.push("-4")
                f.append(statics, order_kept)
            f.do(f"store i64 1, ptr {any_saved}")
            f.otherwise(inner)
            with f.either(f.is_type(value, "node", "placed_node")) as innermost:
                f.push("-3")
                f.append(values, value)
                f.do(f"store i64 1, ptr {any_saved}")
                f.otherwise(innermost)
                f.push("-2")
                f.append(statics, value)
        with f.when(f.op(f"icmp ne i64 {f.op(f'load i64, ptr {any_saved}')}, 0")):
            f.append(released, n)


def _insert(f: Body, order: str, i: str, seq: str) -> None:
    """Insertion sort: (seq, i) into order[:i], which ends up ascending. The tape comes nearly descending, so the keys
    are negated."""
    key = f.op(f"sub i64 0, {seq}")
    at = f.variable()
    f.do(f"store i64 {i}, ptr {at}")
    head, look, move, done = f.label(), f.label(), f.label(), f.label()
    f.do(f"br label %{head}")
    f.start(head)
    j = f.op(f"load i64, ptr {at}")
    f.do(f"br i1 {f.op(f'icmp sgt i64 {j}, 0')}, label %{look}, label %{done}")
    f.start(look)
    below = f.op(f"sub i64 {j}, 1")
    other = f.op(f"getelementptr [2 x i64], ptr {order}, i64 {below}")
    key_there = f.op(f"load i64, ptr {other}")
    f.do(f"br i1 {f.op(f'icmp sgt i64 {key_there}, {key}')}, label %{move}, label %{done}")
    f.start(move)
    here = f.op(f"getelementptr [2 x i64], ptr {order}, i64 {j}")
    f.do(f"store i64 {key_there}, ptr {here}")
    index_there = f.op("load i64, ptr " + f.op(f"getelementptr i64, ptr {other}, i64 1"))
    f.do(f"store i64 {index_there}, ptr " + f.op(f"getelementptr i64, ptr {here}, i64 1"))
    f.do(f"store i64 {below}, ptr {at}")
    f.do(f"br label %{head}")
    f.start(done)
    place = f.op(f"getelementptr [2 x i64], ptr {order}, i64 {f.op(f'load i64, ptr {at}')}")
    f.do(f"store i64 {key}, ptr {place}")
    f.do(f"store i64 {i}, ptr " + f.op(f"getelementptr i64, ptr {place}, i64 1"))
