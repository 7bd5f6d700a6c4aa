"""LLVM functions made of the text of Python functions that keep to a small part of the language.

Numbers are int64. Parameters that are given in `arrays` are pointers to int64, all others numbers; there are
assignments to names and elements, `while`, `break`, `if`, `return`, calls between the functions, `+ - * & >>` and
single comparisons. Whatever else stands there is an error (`Untranslatable`) when the text is made: so whoever changes
such a function sees it at once. Names live in stack slots, of which LLVM makes registers.
"""

from __future__ import annotations

import ast
import functools
import inspect
from types import ModuleType

from facula.engine.compiler.emit.module import Code, Module

_BINARY: dict[type[ast.operator], str] = {
    ast.Add: "add nsw", ast.Sub: "sub nsw", ast.Mult: "mul nsw", ast.BitAnd: "and", ast.RShift: "ashr"}
_COMPARED: dict[type[ast.cmpop], str] = {
    ast.Lt: "slt", ast.LtE: "sle", ast.Gt: "sgt", ast.GtE: "sge", ast.Eq: "eq", ast.NotEq: "ne"}


class Untranslatable(Exception):
    pass


@functools.cache
def functions(module: ModuleType, arrays: tuple[str, ...]) -> dict[str, str]:
    """The LLVM text of each function of `module`, all of them internal, by name."""
    found = [part for part in ast.parse(inspect.getsource(module)).body if isinstance(part, ast.FunctionDef)]
    gives = {f.name for f in found if any(isinstance(n, ast.Return) and n.value is not None for n in ast.walk(f))}
    return {f.name: _Function(f, arrays, gives).text() for f in found}


class _Function:
    def __init__(self, f: ast.FunctionDef, arrays: tuple[str, ...], gives: set[str]) -> None:
        self.f, self.arrays, self.gives = f, arrays, gives
        self.code = Code(Module())
        self.slots: list[str] = []
        self.exits: list[str] = []  # of the loops around what is being written

    def text(self) -> str:
        f, code = self.f, self.code
        given = [a.arg for a in f.args.args]
        for name in given:
            if name not in self.arrays:
                self._put(name, f"%{name}")
        self._block(f.body)
        code.do("unreachable" if f.name in self.gives else "ret void")
        parameters = ", ".join(f"ptr noalias %{a}" if a in self.arrays else f"i64 %{a}" for a in given)
        result = "i64" if f.name in self.gives else "void"
        body = "\n".join([*self.slots, *code.lines])
        return f"define internal {result} @{f.name}({parameters}) #0 {{\nentry:\n{body}\n}}"

    def _put(self, name: str, value: str) -> None:
        slot = f"  %{name}.slot = alloca i64, align 8"
        if slot not in self.slots:
            self.slots.append(slot)
        self.code.do(f"store i64 {value}, ptr %{name}.slot")

    def _jump(self, label: str) -> None:
        self.code.do(f"br label %{label}")

    def _block(self, statements: list[ast.stmt]) -> None:
        for statement in statements:
            self._statement(statement)
            if isinstance(statement, (ast.Return, ast.Break)):
                self.code.start(self.code.label("after"))  # nobody comes there

    def _statement(self, s: ast.stmt) -> None:
        code = self.code
        match s:
            case ast.Expr(ast.Constant(str())):
                return
            case ast.Expr(ast.Call() as call):
                code.do(self._call(call))
            case ast.Assign([ast.Name(name)], value):
                self._put(name, self._value(value))
            case ast.Assign([ast.Subscript() as element], value):
                found = self._value(value)
                code.do(f"store i64 {found}, ptr {self._address(element)}, align 8")
            case ast.Return(None):
                code.do("ret void")
            case ast.Return(ast.expr() as value):
                code.do(f"ret i64 {self._value(value)}")
            case ast.Break():
                self._jump(self.exits[-1])
            case ast.While(test, body, []):
                head, inside, done = code.label("head"), code.label("body"), code.label("done")
                self._jump(head)
                code.start(head)
                code.do(f"br i1 {self._truth(test)}, label %{inside}, label %{done}")
                code.start(inside)
                self.exits.append(done)
                self._block(body)
                self.exits.pop()
                self._jump(head)
                code.start(done)
            case ast.If(test, body, otherwise):
                yes, no, done = code.label("yes"), code.label("no"), code.label("done")
                code.do(f"br i1 {self._truth(test)}, label %{yes}, label %{no}")
                for label, part in ((yes, body), (no, otherwise)):
                    code.start(label)
                    self._block(part)
                    self._jump(done)
                code.start(done)
            case _:
                raise Untranslatable(f"{self.f.name}: {ast.unparse(s)}")

    def _truth(self, e: ast.expr) -> str:
        match e:
            case ast.Constant(True):
                return "true"
            case ast.Compare(left, [operator], [right]) if type(operator) in _COMPARED:
                a, b = self._value(left), self._value(right)
                return self.code.op(f"icmp {_COMPARED[type(operator)]} i64 {a}, {b}")
        raise Untranslatable(f"{self.f.name}: {ast.unparse(e)}")

    def _value(self, e: ast.expr) -> str:
        match e:
            case ast.Constant(int(n)):
                return str(n)
            case ast.Name(name) if name not in self.arrays:
                return self.code.op(f"load i64, ptr %{name}.slot")
            case ast.BinOp(left, operator, right) if type(operator) in _BINARY:
                a, b = self._value(left), self._value(right)
                return self.code.op(f"{_BINARY[type(operator)]} i64 {a}, {b}")
            case ast.Subscript():
                return self.code.op(f"load i64, ptr {self._address(e)}, align 8")
            case ast.Call():
                return self.code.op(self._call(e))
        raise Untranslatable(f"{self.f.name}: {ast.unparse(e)}")

    def _address(self, e: ast.Subscript) -> str:
        if not isinstance(e.value, ast.Name) or e.value.id not in self.arrays:
            raise Untranslatable(f"{self.f.name}: {ast.unparse(e)}")
        return self.code.op(f"getelementptr i64, ptr %{e.value.id}, i64 {self._value(e.slice)}")

    def _call(self, e: ast.Call) -> str:
        if not isinstance(e.func, ast.Name) or e.keywords:
            raise Untranslatable(f"{self.f.name}: {ast.unparse(e)}")
        given = [f"ptr %{a.id}" if isinstance(a, ast.Name) and a.id in self.arrays else f"i64 {self._value(a)}"
                 for a in e.args]
        return f"call {'i64' if e.func.id in self.gives else 'void'} @{e.func.id}({', '.join(given)})"
