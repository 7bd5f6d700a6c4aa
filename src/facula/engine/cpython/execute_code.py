"""The IR of `execute`: what is left of a run once everything is known. It takes the addresses of leaves and results and
the run-time numbers out of Python objects, runs the program, and makes leaves of the nodes that have been computed.
In Python the same took longer than a small kernel. See plan.py, which makes recipes.

A *recipe* is a bytes object of int64 words:

    0..5    how many reads, results, numbers, temporaries; the addresses of the primitive BUFFER and of ()
    then    per read its place in the list of leaves; per result its place in the list of nodes;
            per number its place in the list of numbers (its low bits: 0 an int64, 1 a double, 2 unused)
"""

from __future__ import annotations

from collections.abc import Mapping

from facula.engine.cpython.builtin_code import DECLARE, Code

HEADER = 6
INTEGER, FLOAT, UNUSED = 0, 1, 2
MOST = 2048  # entries of the tables, which lie on the stack

_IMPORTS = """
declare i32 @launch(ptr, ptr, ptr, ptr)
declare ptr @PyErr_NoMemory()
declare void @llvm.memcpy.p0.p0.i64(ptr, ptr, i64, i1)
"""


def execute(node: Mapping[str, int], buffer: Mapping[str, int]) -> str:
    """execute(program, temporaries, recipe, nodes, leaves, numbers, results): offsets of a Node's and of a Buffer's
    slots. `results` are Buffers, `temporaries` a bytes object with their addresses."""
    f = Code()
    program, temporaries, recipe = (_bytes(f, k) for k in range(3))
    nodes, leaves, numbers, results = (f.argument(k) for k in range(3, 7))
    reads, outputs, count, scratch, leaf_op, nothing = (f.word(recipe, k) for k in range(HEADER))
    places = f.op(f"getelementptr i64, ptr {recipe}, i64 {HEADER}")
    outer = f.op(f"add i64 {reads}, {outputs}")
    table = f.op(f"alloca i64, i64 {f.op(f'add i64 {outer}, {scratch}')}, align 16")
    values = f.op(f"alloca i64, i64 {count}, align 16")

    def put(base: str, i: str, value: str, type: str = "i64") -> None:
        f.do(f"store {type} {value}, ptr " + f.op(f"getelementptr i64, ptr {base}, i64 {i}"))

    with f.loop(reads) as i:
        memory = f.field(_item(f, leaves, f.word(places, i)), node["buffer"])
        with f.when(f.is_none(memory)):  # a leaf is computed, always; if not, no crash
            f.do("call void @PyErr_BadInternalCall()")
            f.do("br label %bail")
            f.start(f.label())
        put(table, i, f.integer(f.field(memory, buffer["ptr"])))
    with f.loop(outputs) as i:
        put(table, f.op(f"add i64 {reads}, {i}"), f.integer(f.field(_item(f, results, i), buffer["ptr"])))
    rest = f.op(f"getelementptr i64, ptr {table}, i64 {outer}")
    f.do(f"call void @llvm.memcpy.p0.p0.i64(ptr {rest}, ptr {temporaries}, i64 {f.op(f'shl i64 {scratch}, 3')}, i1 0)")

    picks = f.op(f"getelementptr i64, ptr {places}, i64 {outer}")
    with f.loop(count) as i:
        pick = f.word(picks, i)
        number = _item(f, numbers, f.op(f"lshr i64 {pick}, 2"))
        kind = f.op(f"and i64 {pick}, 3")
        with f.when(f.op(f"icmp eq i64 {kind}, {FLOAT}")):
            value = f.op(f"call double @PyFloat_AsDouble(ptr {number})")
            with f.when(f.op(f"fcmp oeq double {value}, -1.0")):
                _bail_on_error(f)
            put(values, i, value, "double")
        with f.when(f.op(f"icmp eq i64 {kind}, {INTEGER}")):
            integer = f.integer(number)
            with f.when(f.op(f"icmp eq i64 {integer}, -1")):
                _bail_on_error(f)
            put(values, i, integer)

    refused = f.op(f"call i32 @launch(ptr {program}, ptr {table}, ptr {values}, ptr null)")
    with f.when(f.op(f"icmp ne i32 {refused}, 0")):
        f.op("call ptr @PyErr_NoMemory()")
        f.do("br label %bail")
        f.start(f.label())

    found = f.op(f"getelementptr i64, ptr {places}, i64 {reads}")
    with f.loop(outputs) as i:
        made = _item(f, nodes, f.word(found, i))
        for slot, value in (("buffer", f.item(results, i)), ("op", f.pointer(leaf_op)), ("inputs", f.pointer(nothing)),
                            ("attrs", "@_Py_NoneStruct"), ("scalars", "@_Py_NoneStruct")):
            f.give(f.op(f"getelementptr i8, ptr {made}, i64 {node[slot]}"), value)
    f.return_none()
    f.start("bail")
    f.do("ret ptr null")
    return DECLARE + _IMPORTS + f.text("execute")


def _bytes(f: Code, k: int) -> str:
    content = f.op(f"call ptr @PyBytes_AsString(ptr {f.argument(k)})")
    f.bail_if(f.same(content, "null"))
    return content


def _item(f: Code, of: str, i: str) -> str:
    found = f.item(of, i)
    f.bail_if(f.same(found, "null"))
    return found


def _bail_on_error(f: Code) -> None:
    f.bail_if(f.op(f"icmp ne ptr {f.op('call ptr @PyErr_Occurred()')}, null"))
