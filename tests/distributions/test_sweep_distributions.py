"""Every distribution against PyTorch's: densities, moments, gradients, samples for the same seed, expansion, text."""

import numpy as np
import pytest

import facula
from distribution_cases import CASES, build, values_for

# The gradients of samples by the shape parameters of gamma and beta numbers are exact here; PyTorch's err by 2e-3.
ROUGH = {"Gamma", "InverseGamma", "Chi2", "Beta", "StudentT", "FisherSnedecor", "Dirichlet", "Wishart"}

# Here PyTorch's answers are wrong (NaN, or four digits): see test_distributions.py.
BETTER = {"Kumaraswamy": ["mode"], "VonMises": ["variance", "stddev"]}


def told(lib, result):
    if isinstance(result, lib.Tensor):
        return lib.as_tensor(result).detach()
    return result


def tried(lib, run):
    """The answer, or the name of what was raised."""
    try:
        found = told(lib, run())
        if isinstance(found, lib.Tensor):
            found.tolist()  # what is wrong with values is raised where they are read
        return found
    except (NotImplementedError, ValueError) as error:
        return type(error).__name__


def asked(lib, name, parameters, values):
    """Whatever there is to ask that no chance is in."""
    dtype = "float32" if name == "GeneralizedPareto" else "float64"  # PyTorch's has float32 only
    d, tensors = build(lib, name, parameters, dtype, grad=True)
    x = values_for(lib, d, values, dtype)
    x = x.requires_grad_() if x.dtype.is_floating_point and d.support is not None else x
    found = {"shapes": [list(d.batch_shape), list(d.event_shape)], "flags": [d.has_rsample, d.has_enumerate_support]}
    log_prob = d.log_prob(x)
    found["log_prob"] = log_prob
    wanted = [*tensors, *([x] if x.requires_grad else [])]
    if log_prob.requires_grad:
        # What a distribution has computed once it keeps: its part of the graph is needed again.
        gradients = lib.autograd.grad(log_prob.sum(), wanted, allow_unused=True, retain_graph=True)
        found["gradients"] = [None if g is None else g for g in gradients]
    for attribute in ("mean", "mode", "variance", "stddev"):
        found[attribute] = tried(lib, lambda attribute=attribute: getattr(d, attribute))
    found["entropy"] = tried(lib, d.entropy)
    entropy = found["entropy"]
    if isinstance(entropy, lib.Tensor):
        live = d.entropy()
        if live.requires_grad:
            found["entropy gradients"] = list(lib.autograd.grad(live.sum(), tensors, allow_unused=True,
                                                                retain_graph=True))
    found["cdf"] = tried(lib, lambda: d.cdf(x))
    found["icdf"] = tried(lib, lambda: d.icdf(values_for(lib, d, np.array([0.1, 0.5, 0.8]), dtype)))
    found["enumerate"] = tried(lib, d.enumerate_support)
    found["enumerate narrow"] = tried(lib, lambda: d.enumerate_support(expand=False))
    wide = d.expand((2, *d.batch_shape))
    found["expanded"] = [list(wide.batch_shape), list(wide.event_shape),
                         wide.log_prob(values_for(lib, wide, values, dtype))]
    return found


def drawn(lib, name, parameters, dtype):
    """Samples after a seed, what the generator gives afterwards, and gradients of samples."""
    d, tensors = build(lib, name, parameters, dtype, grad=True)
    lib.manual_seed(3)
    found = {"sample": d.sample((4,)), "after": lib.rand(1)}
    found["one"] = d.sample()
    if d.has_rsample and tensors:
        lib.manual_seed(4)
        sample = d.rsample((3,))
        weights = lib.arange(1, sample.numel() + 1, dtype=sample.dtype).reshape(sample.shape) / sample.numel()
        found["rsample"] = sample
        if name != "Wishart":  # PyTorch's writes in place what its gradient needs
            found["gradients"] = list(lib.autograd.grad((sample * weights).sum(), tensors, allow_unused=True))
    return found


def compare(ours, theirs, rtol, where):
    assert type(ours) is type(theirs), (where, ours, theirs)
    if isinstance(ours, dict):
        assert list(ours) == list(theirs), where
        for key in ours:
            compare(ours[key], theirs[key], rtol, f"{where} {key}")
    elif isinstance(ours, tuple):  # (dtype, array)
        assert ours[0] == theirs[0] and ours[1].shape == theirs[1].shape, (where, ours, theirs)
        if ours[0] == "float32":
            rtol = max(rtol, 2e-5)
        size = np.abs(theirs[1][np.isfinite(theirs[1])]).max(initial=1e-30) if ours[1].dtype.kind == "f" else 0
        np.testing.assert_allclose(ours[1], theirs[1], rtol=rtol, atol=rtol * 1e-2 * size, err_msg=where)
    elif isinstance(ours, list):
        assert len(ours) == len(theirs), where
        for a, b in zip(ours, theirs, strict=True):
            compare(a, b, rtol, where)
    else:
        assert ours == theirs, (where, ours, theirs)


@pytest.mark.parametrize("name", CASES)
def test_densities_moments_and_gradients(name, oracle):
    parameters, values = CASES[name]
    for k, given in enumerate(parameters):
        ours, theirs = oracle.both(lambda lib, given=given: asked(lib, name, given, values), [given, values])
        for found in (ours, theirs):
            for key in BETTER.get(name, ()):
                del found[key]
        plain = not any(isinstance(value, np.ndarray) for value in given.values())  # numbers: in float32
        compare(ours, theirs, 2e-5 if plain else 2e-6 if name == "VonMises" else 1e-7, f"{name} {k}")


@pytest.mark.filterwarnings("ignore:Singular sample")
@pytest.mark.parametrize("name", CASES)
def test_samples(name, oracle):
    for dtype in ("float64", "float32"):
        for k, given in enumerate(CASES[name][0]):
            ours, theirs = oracle.both(lambda lib, g=given, t=dtype: drawn(lib, name, g, t), [given, dtype])
            rough = {key: found.pop("gradients", None) for key, found in (("ours", ours), ("theirs", theirs))}
            compare(ours, theirs, 1e-9 if dtype == "float64" else 2e-5, f"{name} {k} {dtype}")
            if rough["ours"] is not None:
                rtol = 1e-2 if name in ROUGH else 1e-8 if dtype == "float64" else 1e-4
                compare(rough["ours"], rough["theirs"], rtol, f"{name} {k} {dtype} gradients")


def test_every_distribution_is_in_the_sweep():
    made_of_others = {"Distribution", "ExponentialFamily", "Independent", "MixtureSameFamily",
                      "TransformedDistribution"}
    D = facula.distributions
    all_of_them = {n for n in D.__all__ if isinstance(getattr(D, n), type) and issubclass(getattr(D, n),
                                                                                         D.Distribution)}
    assert all_of_them - made_of_others == set(CASES)


@pytest.mark.parametrize("name", CASES)
def test_text(name, oracle):
    parameters, _ = CASES[name]
    theirs = oracle(lambda torch: [repr(build(torch, name, p, "float32")[0]) for p in parameters])
    assert [repr(build(facula, name, p, "float32")[0]) for p in parameters] == theirs
