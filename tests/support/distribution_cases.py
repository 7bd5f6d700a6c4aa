"""Parameters of every distribution, and values of it: what the sweep in tests/distributions asks about."""

import numpy as np

N = np.array
POSITIVE = [0.3, 1.0, 2.5, 40.0]
REALS = [-1.5, 0.0, 0.4, 3.0]
LOW = N([[2.0, 0.0, 0.0], [0.5, 1.0, 0.0], [-1.0, 0.25, 0.75]])
COVARIANCE = LOW @ LOW.T
SHARES = N([[0.2, 0.3, 0.5], [0.1, 0.1, 0.8]])


def _two(first, second):
    """Two batches of parameters: of every pairing, and numbers."""
    (a, x), (b, y) = first, second
    return [{a: N(x)[:, None], b: N(y)[None, :]}, {a: float(x[1]), b: float(y[1])}]


LOC_SCALE = _two(("loc", REALS), ("scale", [0.2, 1.0, 3.0]))
NUMBERS = N([-2.0, -0.3, 0.0, 0.7, 5.0])
ABOVE = N([1e-3, 0.3, 1.0, 2.7, 20.0])
WITHIN = N([0.01, 0.3, 0.5, 0.9])
CHANCES = N([0.02, 0.3, 0.5, 0.95])
COUNTS = N([0.0, 1.0, 2.0, 7.0])

# name -> (parameters, values): each value goes with each set of parameters, along a new first dimension.
CASES = {
    "Normal": (LOC_SCALE, NUMBERS),
    "Laplace": (LOC_SCALE, NUMBERS),
    "Cauchy": (LOC_SCALE, NUMBERS),
    "Gumbel": (LOC_SCALE, NUMBERS),
    "LogNormal": (LOC_SCALE, ABOVE),
    "HalfNormal": ([{"scale": N(POSITIVE)}, {"scale": 2.0}], ABOVE),
    "HalfCauchy": ([{"scale": N(POSITIVE)}, {"scale": 2.0}], ABOVE),
    "Exponential": ([{"rate": N(POSITIVE)}, {"rate": 2.0}], ABOVE),
    "Uniform": ([{"low": N([-3.0, -2.5]), "high": N([6.0, 7.0])}, {"low": -2.0, "high": 6.0}], NUMBERS),
    "Gamma": (_two(("concentration", POSITIVE), ("rate", [0.5, 3.0])), ABOVE),
    "InverseGamma": (_two(("concentration", POSITIVE), ("rate", [0.5, 3.0])), ABOVE),
    "Chi2": ([{"df": N([0.5, 1.0, 3.0, 30.0])}, {"df": 2.0}], ABOVE),
    "Beta": (_two(("concentration1", POSITIVE), ("concentration0", [0.5, 1.0, 6.0])), WITHIN),
    "Kumaraswamy": (_two(("concentration1", [0.3, 1.5, 2.5]), ("concentration0", [0.5, 1.2, 6.0])), WITHIN),
    "StudentT": ([{"df": N([0.7, 1.5, 3.0, 30.0])}, {"df": N([2.5]), "loc": N([1.0, 2.0]), "scale": 0.5}], NUMBERS),
    "FisherSnedecor": (_two(("df1", [0.7, 3.0, 9.0]), ("df2", [1.0, 3.0, 8.0])), ABOVE),
    "Weibull": (_two(("scale", [0.5, 2.0]), ("concentration", [0.7, 1.0, 3.0])), ABOVE),
    "Pareto": (_two(("scale", [0.2, 1.0]), ("alpha", [0.5, 1.5, 4.0])), N([1.5, 3.0, 20.0])),
    "GeneralizedPareto": ([{"loc": N([0.0, -1.0, 0.5]), "scale": N([1.0, 2.0, 0.5]),
                            "concentration": N([0.3, 0.0, -0.1])}], N([0.7, 1.0, 3.0])),
    "VonMises": ([{"loc": N([0.0, 1.0, -2.0]), "concentration": N([0.5, 3.0, 60.0])}], N([-3.0, 0.0, 1.2])),
    "ContinuousBernoulli": ([{"probs": CHANCES}, {"logits": N([-2.0, 0.001, 0.3])}, {"probs": 0.3}], WITHIN),
    "Bernoulli": ([{"probs": CHANCES}, {"logits": N([-2.0, 0.0, 0.3])}, {"probs": 0.3}], N([0.0, 1.0])),
    "Geometric": ([{"probs": CHANCES}, {"logits": N([-2.0, 0.0, 0.3])}, {"probs": 0.3}], COUNTS),
    "Poisson": ([{"rate": N([0.1, 3.0, 40.0])}, {"rate": 2.0}], COUNTS),
    "Binomial": ([{"total_count": 7, "probs": CHANCES}, {"total_count": N([8.0, 7.0, 90.0]),
                                                         "logits": N([-2.0, 0.0, 0.3])}], COUNTS),
    "NegativeBinomial": ([{"total_count": N([1.0, 4.0, 2.5, 10.0]), "probs": CHANCES},
                          {"total_count": 3.0, "logits": N([-2.0, 0.0, 0.3])}], COUNTS),
    "Categorical": ([{"probs": SHARES}, {"logits": N([[0.1, -3.0, 2.0], [1.0, 1.0, 1.0]])},
                     {"probs": N([1.0, 0.0, 3.0])}], N([0, 1, 2])),
    "OneHotCategorical": ([{"probs": SHARES}, {"logits": N([0.1, -3.0, 2.0])}], np.eye(3)),
    "OneHotCategoricalStraightThrough": ([{"probs": SHARES}, {"logits": N([0.1, -3.0, 2.0])}], np.eye(3)),
    "Multinomial": ([{"total_count": 6, "probs": SHARES}, {"total_count": 6, "logits": N([0.1, -3.0, 2.0])}],
                    N([[6.0, 0.0, 0.0], [1.0, 2.0, 3.0]])),
    "Dirichlet": ([{"concentration": N([[0.5, 1.5, 3.0], [0.3, 0.2, 0.4]])}, {"concentration": N([2.0, 1.0, 5.0])}],
                  SHARES),
    "RelaxedBernoulli": ([{"temperature": N(0.7), "probs": CHANCES}, {"temperature": N(2.0), "logits": N([0.3, -1.0])}],
                         WITHIN),
    "RelaxedOneHotCategorical": ([{"temperature": N(0.7), "probs": SHARES},
                                  {"temperature": N(2.0), "logits": N([0.1, -3.0, 2.0])}], SHARES),
    "LogisticNormal": ([{"loc": N([[0.0, 1.0], [2.0, -1.0]]), "scale": N([1.0, 0.5])}], SHARES),
    "MultivariateNormal": ([{"loc": N([[0.0, 1.0, 2.0]] * 2), "covariance_matrix": COVARIANCE},
                            {"loc": N([0.0, 1.0, 2.0]), "scale_tril": LOW * N([1.0, 1.0, 1.0])},
                            {"loc": N([0.0, 1.0, 2.0]), "precision_matrix": np.linalg.inv(COVARIANCE)}],
                           N([[0.0, 0.0, 0.0], [1.0, -1.0, 2.0]])),
    "LowRankMultivariateNormal": ([{"loc": N([[0.0, 1.0, 2.0]] * 2), "cov_factor": N([[1.0], [0.5], [-1.0]]),
                                    "cov_diag": N([1.0, 2.0, 0.5])}], N([[0.0, 0.0, 0.0], [1.0, -1.0, 2.0]])),
    "Wishart": ([{"df": N([4.0, 9.5]), "covariance_matrix": COVARIANCE}, {"df": N(5.0), "scale_tril": LOW}],
                COVARIANCE[None] * N([1.0, 3.0])[:, None, None]),
    "LKJCholesky": ([{"dim": 3, "concentration": N([0.5, 1.0, 4.0])}],
                    np.linalg.cholesky(N([[1.0, 0.3, 0.1], [0.3, 1.0, -0.4], [0.1, -0.4, 1.0]]))[None]),
}


def build(lib, name, parameters, dtype="float64", grad=False):
    """The distribution, and its parameters that are tensors."""
    given = {}
    for key, value in parameters.items():
        if isinstance(value, np.ndarray):
            value = lib.from_numpy(np.ascontiguousarray(value)).to(getattr(lib, dtype)).requires_grad_(grad)
        given[key] = value
    tensors = [v for v in given.values() if isinstance(v, lib.Tensor)]
    return getattr(lib.distributions, name)(**given), tensors


def values_for(lib, distribution, values, dtype="float64"):
    """Every value with every distribution of the batch."""
    made = lib.from_numpy(np.ascontiguousarray(values))
    made = made.to(getattr(lib, dtype)) if made.dtype.is_floating_point else made
    ones = (1,) * len(distribution.batch_shape)
    return made.reshape((made.shape[0], *ones, *made.shape[1:]))
