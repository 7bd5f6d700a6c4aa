"""`torch.return_types`: what operations of several results return."""

import pytest

import facula


def test_results_are_of_these_types():
    square = facula.eye(2)
    results = {"max": facula.max(square, 0), "linalg_qr": facula.linalg.qr(square), "topk": facula.topk(square, 1),
               "aminmax": facula.aminmax(square), "svd": facula.svd(square)}
    for name, made in results.items():
        of = getattr(facula.return_types, name)
        assert type(made) is of and of.__module__ == "torch.return_types" and of.n_fields == len(made)
    assert repr(facula.return_types.max((1, 2))) == "torch.return_types.max(\nvalues=1,\nindices=2)"


def test_they_are_made_of_one_sequence():
    assert facula.return_types.linalg_svd([1, 2, 3]).Vh == 3
    made = facula.return_types.sort((1, 2))
    assert made._replace(values=5) == (5, 2)
    for items, words in (((1,), "requires a sequence"), (([1],), r"takes a 2-sequence \(1-sequence given\)"),
                         (([1, 2, 3],), r"\(3-sequence given\)"), ((), r"\(0-sequence given\)")):
        with pytest.raises(TypeError, match=words):
            facula.return_types.max(*items)


def test_there_are_no_others():
    assert "kthvalue" in dir(facula.return_types)
    with pytest.raises(AttributeError, match="has no attribute 'maximum'"):
        print(facula.return_types.maximum)
