"""Doors to raw memory: each checks both ends, shares what it says it shares, and no more; as torch does."""

import array
import copy
import ctypes
import warnings

import numpy as np
import pytest

import facula as F

X = "x = torch.arange(10.); "
# Programs (the last line is an expression); what they give is compared, or the exception's type and text.
PROGRAMS = [
    # as_strided and its kin: before the memory, behind it, within
    *[X + f"x.{call}" for call in (
        "as_strided((4,), (1,), -100)", "as_strided((4,), (1,), 7)", "as_strided((4,), (3,), 0)",
        "as_strided((4,), (3,), 1)", "as_strided((2, 0), (5, 5), 100).shape", "as_strided((4,), (-1,), 5)",
        "as_strided((), (), 9)", "as_strided((), (), 10)", "as_strided((2,), (1 << 40,), 0)",
        "as_strided_((4,), (1,), -1)",
        "as_strided_((2, 2), (1, 1), 7)", "as_strided_scatter(torch.ones(4), (4,), (1,), -3)",
        "as_strided_scatter(torch.ones(4), (4,), (1,), 7)", "as_strided_scatter(torch.ones(4), (4,), (2,), 1)",
        "as_strided((1, 1), (100, 100), 0)", "as_strided((4,), (1, 1), 0)")],
    X + "torch.as_strided_copy(x, (4,), (1,), -2)", X + "torch.as_strided_copy(x, (4,), (1,), 8)",
    X + "x[2:5].as_strided((8,), (1,))", X + "x[2:5].as_strided((9,), (1,))", X + "x[5:].as_strided((2,), (1,), 0)",
    # set_: offsets, sizes, dtypes; memory that is too small grows
    "s = torch.arange(3.).untyped_storage()\nt = torch.arange(4.).set_(s, 1_000, (2,), (1,))\n"
    "t.shape, t.untyped_storage().nbytes(), s.nbytes()",
    *[f"s = torch.arange(3.).untyped_storage(); torch.arange(4.).set_({given})" for given in (
        "s", "s, -1, (2,), (1,)", "s, 0, (2,)", "s, 1, (2,)", "s, 0, (2, 2), (1,)", "s, 0, (), ()", "s, 7, (0,)",
        "torch.arange(3)", "torch.arange(3).storage()", "torch.arange(3.).storage(), 1, (2,)", "torch.arange(6.)[2:]",
        "torch.arange(6.), 2, (2, 2), (2, 1)")],
    *[f"a = np.ones(3, np.float32); torch.arange(4.).set_(torch.from_numpy(a), {given})" for given in (
        "1, (2,)", "2, (2,)")],
    "torch.arange(4).set_(torch.arange(5, dtype=torch.uint8).untyped_storage())",
    "torch.arange(4, dtype=torch.uint8).set_(torch.ones(2).untyped_storage())",
    "torch.arange(4., requires_grad=True).set_(torch.arange(3.))",
    "x = torch.arange(4.); y = x.view(2, 2); y.set_(torch.ones(3)); x, y",
    # parts of a storage: the same memory
    *[f"t = torch.arange(8, dtype=torch.uint8); s = t.untyped_storage(); p = s[2:6]; {then}" for then in (
        "p[0] = 99; t[3] = 77; p[1:3][1] = 55; t, p.tolist(), len(p), p.nbytes()", "s.fill_(3); p.tolist()",
        "p.fill_(1); t.sum()", "p == s, p == s[2:6], p.data_ptr() - s.data_ptr(), p.resizable(), s[:].resizable()",
        "p.resize_(10)", "u = torch.asarray(p, dtype=torch.int16); u[1] = 0; t, t._version", "p[9]",
        "c = p.clone(); c[0] = 50; p.copy_(s[4:]); t", "c = copy.deepcopy(p); c[0] = 50; t, c.resizable()",
        "s[-3:].tolist(), s[6:2].tolist(), s[:100].tolist(), s[3:3].nbytes(), s[-100:2].tolist()", "s[::2]",
        "u = t * 2; p[0] = 50; v = t * 2; u, v", "del s, t; p.tolist()")],
    "x = torch.arange(4.); torch.tensor([]).set_(x.untyped_storage()[4:12], 0, (2,)).mul_(10); x",
    "x = torch.ones(3, requires_grad=True); x.untyped_storage()[4:8].fill_(0); x, x._version",
    # resize_
    X + "y = x[2:4]; y.resize_(5); y.fill_(7); x, y.storage_offset()", X + "y = x[8:]; y.resize_(2, 2)[0].tolist()",
    X + "y = x[8:]; y.resize_(2, 2); x.untyped_storage().nbytes()", "torch.ones(3, requires_grad=True).resize_(4)",
    "a = np.ones(3, np.float32); t = torch.from_numpy(a); t.resize_(2); t, t.resize_(4)",
    "t = torch.ones(3); a = t.numpy(); t.resize_(2, 2)", "t = torch.ones(4); t.data_ptr(); t.resize_(2, 3).shape",
    # out= a view: of its shape, of another, with strides, beyond the end of the base
    "b = torch.zeros(10); v = b[2:4]; torch.add(torch.ones(5), 1, out=v); b, v.shape, v.stride(), v.storage_offset()",
    "b = torch.zeros(10); v = b[2:8:2]; torch.add(torch.ones(3), 1, out=v); b, v.stride()",
    "b = torch.zeros(10); v = b[2:8:2]; torch.add(torch.ones(2, 2), 1, out=v); b, v.stride()",
    "b = torch.zeros(4); v = b[2:]; torch.add(torch.ones(5), 1, out=v); b, v, b.untyped_storage().nbytes()",
    "b = torch.zeros(4, 4); v = b.t()[1:3]; torch.add(torch.ones(2, 2), 1, out=v); b, v.stride()",
    "b = torch.zeros(4); v = b[:0]; torch.add(torch.ones(3), 1, out=v); b, v",
    "b = torch.zeros(4); v = b.view(2, 2); torch.add(torch.ones(1), 1, out=v); b, v",
    "b = torch.zeros(4); v = b.detach(); torch.cumsum(torch.ones(2), 0, out=v); b, v",
    "a = np.zeros(3, np.float32); v = torch.from_numpy(a); torch.add(torch.ones(5), 1, out=v)",
    "a = np.zeros(5, np.float32); v = torch.from_numpy(a); torch.add(torch.ones(3), 1, out=v); a.tolist(), v",
    # copies that are copies, and what shares
    "x = torch.arange(6.).reshape(2, 3).t(); c = copy.copy(x); c[0, 0] = 9; x, c.stride()",
    "p = torch.nn.Parameter(torch.ones(2)); p.foo = 1; p.grad = torch.ones(2); q = copy.copy(p)\n"
    "isinstance(q, torch.nn.Parameter), q.requires_grad, q.foo, q.grad, q.data_ptr() == p.data_ptr()",
    "x = torch.ones(2, requires_grad=True) * 2; c = copy.copy(x)\n"
    "c.is_leaf, c.requires_grad, c.data_ptr() == x.data_ptr()",
    *[f"x = torch.ones(1, 3, 4); y = torch.nn.functional.pad(x, (0, 0), mode='{mode}'); y.add_(1); x"
      for mode in ("constant", "reflect", "replicate", "circular")],
    "x = torch.ones(3); y = torch.nn.functional.pad(x, ()); y.add_(1); x",
    # the elements of storages
    *[f"x = torch.tensor([1, 0, 3]).to(torch.{of}); s = x.storage(); u = x.untyped_storage()\n"
      "a = s[0], s[-1], s.tolist(), list(s), len(s), s.size(), s.nbytes(), s.element_size(), u[0], u[-1], u.tolist()\n"
      "s[1] = 1; u[0] = 1\n(a, str(s.dtype)[-9:], bytes(u), x)"
      for of in ("float32", "bfloat16", "float16", "int64", "bool", "complex64", "uint8", "float64", "int8")],
    *[f"x = torch.arange(4.); s = x.storage(); u = x.untyped_storage(); {text}" for text in (
        "s[4]", "s[-5]", "u[16]", "s[0:2]", "u[1:4].tolist()", "s.fill_(2); x", "u.fill_(0); x", "s.clone().tolist()",
        "u.clone() == u", "u == x.untyped_storage()", "hash(u) == hash(x[1:].untyped_storage())", "u.resizable()",
        "u.resize_(24); u.nbytes(), x", "u.resize_(8); x.untyped_storage().nbytes(), x[:2]",
        "u.copy_(torch.ones(4).untyped_storage()); x", "u.copy_(torch.ones(3).untyped_storage())",
        "x[2:].storage().tolist()",
        "copy.deepcopy(u).data_ptr() == u.data_ptr()", "copy.copy(u).data_ptr() == u.data_ptr()", "s[0:2] = 5; x",
        "x[3:].data_ptr() - x.data_ptr(), x[4:].data_ptr(), x[1:].storage().data_ptr() - x.data_ptr()")],
    "torch.UntypedStorage(4).nbytes(), torch.UntypedStorage([1, 2, 3]).tolist()",
    "m = torch.ones(3, device='meta'); m.storage()[0]",
    "m = torch.ones(3, device='meta'); m.untyped_storage().data_ptr()",
    "torch.ones(0).data_ptr(), torch.ones(0).untyped_storage().data_ptr(), torch.ones(2, 0).data_ptr()",
    # whatever has a buffer shares it
    "a = array.array('f', [1, 2, 3]); v = torch.asarray(a); v[0] = 9; a[1] = 7; a.tolist(), v",
    "a = bytearray(b'abcd'); v = torch.asarray(a, dtype=torch.uint8); v[0] = 0; a[1] = 1; list(a), v",
    "a = memoryview(np.ones((2, 2), np.float32)); v = torch.asarray(a); v[0] = 9; a.tolist(), v",
    "a = array.array('f', [1, 2]); v = torch.frombuffer(a, dtype=torch.float32); a[1] = 7; v.mul_(2); a.tolist(), v",
    "a = bytearray(b'abcd'); v = torch.asarray(a, dtype=torch.uint8, copy=True); v[0] = 0; list(a)",
    "a = bytearray(8); v = torch.asarray(a, dtype=torch.float32, requires_grad=True); v",
    "a = np.ones(3, np.float32); v = torch.asarray(a); v[0] = 9; a.tolist()",
    "a = (ctypes.c_float * 3)(1, 2, 3); v = torch.asarray(a); v[0] = 9; list(a)",
    *[f"torch.asarray({given})" for given in (
        "array.array('i', [1, 2, 3]), dtype=torch.int32", "bytearray(b'abcd')", "b'abcd', dtype=torch.uint8",
        "memoryview(bytearray(b'abcd')), dtype=torch.int32", "np.float32(3)", "[1, 2], copy=False", "range(3)",
        "np.arange(3.), dtype=torch.float32, copy=False", "bytearray(b''), dtype=torch.uint8", "bytearray(6)",
        "'abc'")],
    *[f"torch.frombuffer({given})" for given in (
        "bytearray(8), dtype=torch.float32, offset=2", "bytearray(8), dtype=torch.float32, offset=9",
        "bytearray(8), dtype=torch.float32, offset=-1", "bytearray(8), dtype=torch.float32, count=3",
        "bytearray(8), dtype=torch.float32, count=0", "bytearray(0), dtype=torch.float32", "3, dtype=torch.float32",
        "bytearray(8), dtype=torch.float32, count=1, offset=4", "bytearray(8), dtype=torch.float32, offset=8")],
    # distinct tensors have distinct addresses, which stay
    "x = torch.ones(3); y = x.clone(); z = copy.deepcopy(x); x.data_ptr() in (y.data_ptr(), z.data_ptr())",
    "a = torch.nn.Linear(2, 2); b = torch.nn.Linear(2, 2); b.load_state_dict(a.state_dict())\n"
    "a.weight.data_ptr() == b.weight.data_ptr(), a.state_dict()['weight'].data_ptr() == a.weight.data_ptr()",
    "x = torch.zeros(3); x.clone().data_ptr() == x.data_ptr(), x.data_ptr() == x.clone().data_ptr()",
    "x = torch.ones(3) + 1; x.clone().data_ptr() == x.data_ptr(), copy.deepcopy(x).data_ptr() == x.data_ptr()",
    "x = torch.zeros(3); y = torch.zeros(3); z = x + 0; len({x.data_ptr(), y.data_ptr(), z.data_ptr()})",
    "x = torch.ones(4); p = x.data_ptr(); x += 1; x[0] = 5; x.copy_(x * 2); x.zero_(); x.view(2, 2).add_(1)\n"
    "torch.add(x, 1, out=x); x.data_ptr() == p",
    "x = torch.ones(4); a = x.numpy(); a.ctypes.data == x.data_ptr()",
    "a = np.ones(3); a.ctypes.data == torch.from_numpy(a).data_ptr()",
]


@pytest.mark.oracle
@pytest.mark.parametrize("text", PROGRAMS)
def test_program(text, oracle):
    def run(torch):
        *lines, last = text.replace("\n", "; ").split("; ")
        names = {"torch": torch, "np": np, "copy": copy, "array": array, "ctypes": ctypes}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                exec("\n".join(lines), names)
                return plain(eval(last, names), torch)
            except Exception as error:
                return [type(error).__name__, str(error)]
    assert run(F) == oracle(run, text)


def plain(value, torch):
    if isinstance(value, torch.Tensor):
        return [str(value.dtype).partition(".")[2], plain(value.tolist(), torch)]
    if isinstance(value, (list, tuple)):
        return [plain(part, torch) for part in value]
    if isinstance(value, complex):
        return [value.real, value.imag]
    return list(value) if isinstance(value, bytes) else value


@pytest.mark.parametrize("kind", ["SGD", "Adam", "AdamW", "RMSprop", "Adagrad"])
@pytest.mark.parametrize("size", [3, 600])
def test_addresses_stay_in_training(kind, size):
    model = F.nn.Sequential(F.nn.Linear(size, size), F.nn.BatchNorm1d(size))
    twin = copy.deepcopy(model)
    optimizers = [getattr(F.optim, kind)(m.parameters(), lr=0.01) for m in (model, twin)]
    state = [*model.parameters(), *model.buffers()]
    places = [t.data_ptr() for t in state]
    assert len(set(places)) == len(places) and not set(places) & {t.data_ptr() for t in twin.buffers()}
    for _ in range(4):
        x = F.randn(5, size)
        for m, optimizer in zip((model, twin), optimizers, strict=True):
            optimizer.zero_grad()
            m(x).square().sum().backward()
            optimizer.step()
        seen = np.ctypeslib.as_array((ctypes.c_float * size).from_address(places[1]))
        assert seen.tolist() == model[0].bias.tolist()
    assert [t.data_ptr() for t in state] == places
    for a, b in zip(model.parameters(), twin.parameters(), strict=True):
        np.testing.assert_array_equal(a.detach().numpy(), b.detach().numpy())


def test_a_smaller_storage_is_not_read_beyond_its_end():
    x = F.arange(6.0)
    y, z = x[1:3], x * 1
    x.untyped_storage().resize_(12)
    assert y.tolist() == [1, 2] and z.tolist() == [0, 1, 2, 3, 4, 5]
    for read in (lambda: x + 1, lambda: x.tolist(), lambda: repr(x), lambda: x.add_(1), lambda: x.numpy(), x.sum):
        with pytest.raises(RuntimeError, match="out of bounds"):
            read()
    x.untyped_storage().resize_(24)
    assert x.tolist() == [0, 1, 2, 0, 0, 0]


def test_versions_count_no_writes_from_outside():
    x = F.zeros(3)
    x.numpy()[0] = 1
    assert (x + 1).tolist() == [2, 1, 1] and x._version == 0
    x.add_(1)
    assert x._version == 1


def test_what_is_known_of_an_index_is_forgotten():
    index, x = F.tensor([0, 1]), F.arange(3.0)
    assert x[index].tolist() == [0, 1]
    index.numpy()[1] = 7
    with pytest.raises(IndexError):
        x[index].tolist()
