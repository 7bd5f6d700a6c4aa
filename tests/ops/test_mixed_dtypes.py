"""Operands whose dtypes nothing promotes are refused, in torch's words; so are dtypes that torch has no kernel for."""

import pytest

import facula
import facula.nn.functional as F

f32, f64, i64, c64 = facula.float32, facula.float64, facula.int64, facula.complex64


def ones(*shape, dtype=f32):
    return facula.ones(shape, dtype=dtype)


REFUSED = [
    (lambda: facula.cross(ones(3), ones(3, dtype=f64)), "expected scalar type Float but found Double"),
    (lambda: facula.linalg.cross(ones(3, dtype=f64), ones(3)), "expected scalar type Double but found Float"),
    (lambda: facula.linalg.vecdot(ones(3), ones(3, dtype=c64)),
     "linalg.vecdot: Expected x and y to have the same dtype"),
    (lambda: F.grid_sample(ones(1, 1, 2, 2), ones(1, 2, 2, 2, dtype=f64), align_corners=False),
     "expected scalar type Float but found Double"),
    (lambda: facula.linalg.lu_solve(ones(1, 1), ones(1, dtype=facula.int32), ones(1, 1, dtype=f64)),
     "linalg.lu_solve: Expected LU and B to have the same dtype"),
    (lambda: facula.linalg.householder_product(ones(2, 1), ones(1, dtype=f64)), "tau dtype Double does not match"),
    (lambda: facula.addbmm(ones(1, 1, dtype=f64), ones(1, 1, 1), ones(1, 1, 1)),
     "self and mat2 must have the same dtype"),
    (lambda: facula.polar(ones(1), ones(1, dtype=f64)),
     "Expected object of scalar type Float but got scalar type Double"),
    (lambda: facula.polar(ones(1, dtype=i64), ones(1)), "Expected both inputs to be Half, Float or Double"),
    (lambda: F.max_unpool2d(ones(1, 1, 1), ones(1, 1, 1, dtype=facula.int16), 2),
     "should be type int64 but got: Short"),
    (lambda: F.max_unpool1d(ones(1, 1, dtype=i64), ones(1, 1, dtype=i64), 2), "not implemented for 'Long'"),
    (lambda: F.unfold(ones(1, 1, 2, 2, dtype=i64), 2), "\"im2col_out_cpu\" not implemented for 'Long'"),
    (lambda: F.fold(ones(1, 4, 1, dtype=i64), (2, 2), 2), "\"col2im_out_cpu\" not implemented for 'Long'"),
    (lambda: facula.unravel_index(ones(2), (3, 4)), "expected 'indices' to be integer dtype"),
    (lambda: facula.isin(ones(2, dtype=facula.bool), ones(2)),
     r"Unsupported input type encountered for isin\(\): Bool"),
    (lambda: facula.isin(ones(2), ones(2, dtype=c64)),
     r"Unsupported input type encountered for isin\(\): ComplexFloat"),
    (lambda: ones(2).index_copy(0, facula.zeros(1, dtype=facula.int32), ones(1)), "Expected a long tensor for index"),
    (lambda: F.multi_margin_loss(ones(1, 2), facula.zeros(1, dtype=facula.int32)),
     "expected scalar type Long but found Int"),
    (lambda: facula.logaddexp2(ones(1, dtype=c64), ones(1)), "not implemented for 'ComplexFloat'"),
    (lambda: facula.linalg.matrix_norm(ones(2, 2, dtype=i64), 1),
     "Expected a floating point or complex tensor as input"),
    (lambda: F.huber_loss(ones(2, dtype=i64), ones(2)),
     "result type Float can't be cast to the desired output type Long"),
]


@pytest.mark.parametrize("case", range(len(REFUSED)))
def test_refused(case):
    call, words = REFUSED[case]
    with pytest.raises((RuntimeError, NotImplementedError, TypeError), match=words):
        call()


def test_huber_losses_have_the_dtype_of_their_input():
    for of, target in ((f32, f64), (facula.bfloat16, f32), (facula.float16, facula.bfloat16), (f64, f32)):
        for reduction in ("mean", "sum", "none"):
            found = F.huber_loss(ones(2, dtype=of) * 2, facula.zeros(2, dtype=target), reduction=reduction)
            assert found.dtype is of and found.max().item() == (3.0 if reduction == "sum" else 1.5)


def test_int32_indices_along_a_dimension():
    x = facula.tensor([[1.0, 2.0], [3.0, 4.0]])
    at = facula.tensor([[1], [0]], dtype=facula.int32)
    assert facula.take_along_dim(x, at, 1).tolist() == [[2.0], [3.0]]
