"""Builtin functions in the making: LLVM IR that reads (and fills) Python objects through the C API and through the
offsets of their slots. See fingerprint_code.py and execute_code.py."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

SYMBOLS = ("PyList_Size", "PyList_GetItem", "PyList_Append", "PyTuple_Size", "PyTuple_GetItem", "PyLong_AsLongLong",
           "PyFloat_AsDouble", "PyBytes_FromStringAndSize", "PyBytes_AsString", "PyErr_BadInternalCall",
           "PyErr_Occurred", "Py_IncRef", "Py_DecRef", "_Py_NoneStruct")

DECLARE = """
declare i64 @PyList_Size(ptr)
declare ptr @PyList_GetItem(ptr, i64)
declare i32 @PyList_Append(ptr, ptr)
declare i64 @PyTuple_Size(ptr)
declare ptr @PyTuple_GetItem(ptr, i64)
declare i64 @PyLong_AsLongLong(ptr)
declare double @PyFloat_AsDouble(ptr)
declare ptr @PyBytes_FromStringAndSize(ptr, i64)
declare ptr @PyBytes_AsString(ptr)
declare void @PyErr_BadInternalCall()
declare ptr @PyErr_Occurred()
declare void @Py_IncRef(ptr)
declare void @Py_DecRef(ptr)
@_Py_NoneStruct = external global i8
"""


class Code:
    """The body of a builtin function: (self, arguments, their number) -> object. Where something does not fit it jumps
    to the label `bail`, which `text` wants."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.slots: list[str] = []
        self.count = 0

    def op(self, text: str) -> str:
        self.count += 1
        self.lines.append(f"  %t{self.count} = {text}")
        return f"%t{self.count}"

    def do(self, text: str) -> None:
        self.lines.append("  " + text)

    def label(self) -> str:
        self.count += 1
        return f"l{self.count}"

    def start(self, label: str) -> None:
        self.lines.append(f"{label}:")

    def variable(self) -> str:
        """An i64 in memory (LLVM makes a register of it), 0."""
        self.count += 1
        self.slots.append(f"  %s{self.count} = alloca i64")
        self.do(f"store i64 0, ptr %s{self.count}")
        return f"%s{self.count}"

    def argument(self, k: int) -> str:
        return self.op("load ptr, ptr " + self.op(f"getelementptr ptr, ptr %arguments, i64 {k}"))

    def field(self, base: str, offset: int, type: str = "ptr") -> str:
        return self.op(f"load {type}, ptr " + self.op(f"getelementptr i8, ptr {base}, i64 {offset}"))

    def address(self, pointer: str) -> str:
        return self.op(f"ptrtoint ptr {pointer} to i64")

    def same(self, a: str, b: str) -> str:
        return self.op(f"icmp eq ptr {a}, {b}")

    def is_none(self, pointer: str) -> str:
        return self.same(pointer, "@_Py_NoneStruct")

    def bail_if(self, condition: str) -> None:
        on = self.label()
        self.do(f"br i1 {condition}, label %bail, label %{on}")
        self.start(on)

    @contextmanager
    def when(self, condition: str) -> Iterator[None]:
        then, done = self.label(), self.label()
        self.do(f"br i1 {condition}, label %{then}, label %{done}")
        self.start(then)
        yield
        self.do(f"br label %{done}")
        self.start(done)

    @contextmanager
    def either(self, condition: str) -> Iterator[str]:
        """The yes branch; `self.otherwise(mark)` within it begins the no branch."""
        then, other, done = self.label(), self.label(), self.label()
        self.do(f"br i1 {condition}, label %{then}, label %{other}")
        self.start(then)
        yield f"{other} {done}"
        self.do(f"br label %{done}")
        self.start(done)

    def otherwise(self, mark: str) -> None:
        other, done = mark.split()
        self.do(f"br label %{done}")
        self.start(other)

    @contextmanager
    def loop(self, stop: str, start: int = 0) -> Iterator[str]:
        """`for i in range(start, stop)`; `stop` may be a list, whose length is looked at each time."""
        at = self.variable()
        head, body, done = self.label(), self.label(), self.label()
        self.do(f"store i64 {start}, ptr {at}")
        self.do(f"br label %{head}")
        self.start(head)
        i = self.op(f"load i64, ptr {at}")
        limit = self.size(stop[5:]) if stop.startswith("list ") else stop
        self.do(f"br i1 {self.op(f'icmp slt i64 {i}, {limit}')}, label %{body}, label %{done}")
        self.start(body)
        yield i
        self.do(f"store i64 {self.op(f'add i64 {i}, 1')}, ptr {at}")
        self.do(f"br label %{head}")
        self.start(done)

    def size(self, of: str, kind: str = "List") -> str:
        return self.op(f"call i64 @Py{kind}_Size(ptr {of})")

    def item(self, of: str, i: str, kind: str = "List") -> str:
        return self.op(f"call ptr @Py{kind}_GetItem(ptr {of}, i64 {i})")

    @contextmanager
    def items(self, of: str, kind: str = "Tuple", start: int = 0) -> Iterator[str]:
        stop = f"list {of}" if kind == "List" else self.size(of, kind)
        with self.loop(stop, start) as i:
            yield self.item(of, i, kind)

    def append(self, to: str, what: str) -> None:
        self.op(f"call i32 @PyList_Append(ptr {to}, ptr {what})")

    def integer(self, pointer: str) -> str:
        return self.op(f"call i64 @PyLong_AsLongLong(ptr {pointer})")

    def word(self, base: str, i: str | int) -> str:
        """The i-th int64 from `base`."""
        return self.op("load i64, ptr " + self.op(f"getelementptr i64, ptr {base}, i64 {i}"))

    def pointer(self, word: str) -> str:
        return self.op(f"inttoptr i64 {word} to ptr")

    def give(self, place: str, what: str) -> None:
        """`*place = what` for a reference: the old one is dropped only when the new one stands."""
        old = self.op(f"load ptr, ptr {place}")
        self.do(f"call void @Py_IncRef(ptr {what})")
        self.do(f"store ptr {what}, ptr {place}")
        self.do(f"call void @Py_DecRef(ptr {old})")

    def return_none(self) -> None:
        self.do("call void @Py_IncRef(ptr @_Py_NoneStruct)")
        self.do("ret ptr @_Py_NoneStruct")

    def text(self, name: str) -> str:
        body = "\n".join([*self.slots, *self.lines])
        return f"define ptr @{name}(ptr %self, ptr %arguments, i64 %n) {{\nentry:\n{body}\n}}\n"
