"Properties of matrix entropy and mutual information over random features, and their values in many digits."
import math

import mpmath  # comes with torch
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from grok_nb.errors import GrokError
from grok_nb.measures.entropy import gram_entropy, matrix_entropy, mutual_information, slow_entropy, slow_mutual_information, spectrum_entropy

SMALL = settings(max_examples=60, deadline=None, derandomize=True)


@st.composite
def features(draw, rows=None):
    "Features of any shape and rank, some rows repeated: (n, d) float64 without zero rows."
    n, d = rows or draw(st.integers(1, 30)), draw(st.integers(1, 12))
    g = torch.Generator().manual_seed(draw(st.integers(0, 10**6)))
    rank = draw(st.integers(1, d))
    Z = torch.randn(n, rank, generator=g).double() @ torch.randn(rank, d, generator=g).double()
    return Z[torch.randint(0, n, (n,), generator=g)] if draw(st.booleans()) else Z


@SMALL
@given(features(), st.floats(1, 5))
def test_twin(Z, alpha):
    near = 0 < abs(alpha - 1) < 1e-6  # where the formula divides rounding by almost nothing, and refuses
    a, b = matrix_entropy(Z, alpha), slow_entropy(Z, 1 if near else alpha)
    assert abs(a - b) <= (1e-5 if 0 < abs(alpha - 1) < 1e-4 else 1e-9) * (1 + abs(b))


@SMALL
@given(features())
def test_range_and_order(Z):
    values = [matrix_entropy(Z, alpha).item() for alpha in (0.3, 0.7, 1, 1.5, 2, 4)]
    assert all(-1e-9 <= v <= math.log(len(Z)) + 1e-9 for v in values)
    assert all(a >= b - 1e-7 for a, b in zip(values, values[1:]))


@SMALL
@given(features(), st.integers(0, 10**6))
def test_invariance(Z, seed):
    g = torch.Generator().manual_seed(seed)
    Q = torch.linalg.qr(torch.randn(Z.shape[1], Z.shape[1], generator=g).double())[0]
    scale = torch.rand(len(Z), 1, generator=g).double() + 0.1
    for alpha in (1, 2):
        assert abs(matrix_entropy((Z * scale)[torch.randperm(len(Z), generator=g)] @ Q, alpha) - matrix_entropy(Z, alpha)) < 1e-9


@SMALL
@given(st.data(), st.integers(1, 25))
def test_mutual_information(data, n):
    Z1, Z2 = data.draw(features(n)), data.draw(features(n))
    value = mutual_information(Z1, Z2).value
    assert -1e-9 <= value <= min(matrix_entropy(Z1), matrix_entropy(Z2)) + 1e-9
    for alpha in (1, 2, 3):
        a, b = mutual_information(Z1, Z2, alpha).value, slow_mutual_information(Z1, Z2, alpha)
        assert abs(a - b) <= 1e-9 * (1 + abs(b))
    labels = torch.randint(0, 4, (n,), generator=torch.Generator().manual_seed(n))
    assert abs(mutual_information(Z1, labels).value - slow_mutual_information(Z1, torch.eye(4).double()[labels])) < 1e-9


@SMALL
@given(st.data(), st.integers(1, 25), st.floats(0, 1))
def test_entropy_moves_no_more_than_the_representation(data, n, sigma):
    Z = data.draw(features(n))
    moved = Z + sigma * torch.randn(Z.shape, generator=torch.Generator().manual_seed(n)).double()
    gram = lambda Z: (u := Z / Z.norm(dim=1, keepdim=True)) @ u.T  # noqa: E731
    R, S = gram(Z), gram(moved)
    bound = 2 * math.log(1 + (R - S).norm() / min(R.norm(), S.norm()))
    assert abs(matrix_entropy(moved, 2) - matrix_entropy(Z, 2)) <= bound + 1e-9


# In sixty digits

mpmath.mp.dps = 60
ORDERS = (1e-300, 1e-3, 0.5, 0.9, 1 - 1e-6, 1 - 1e-12, 1 - 2**-53, 1, 1 + 2**-52, 1 + 1e-15, 1 + 1e-9, 1.2, 1.5, 2, 3, 50, 160, 200, 1000, 1e6, 1e15, 1e300)


def in_many_digits(lam, alpha):
    "Entropy of positive eigenvalues, as the formula reads."
    lam, alpha = [mpmath.mpf(x) for x in lam], mpmath.mpf(alpha)
    lam = [x / sum(lam) for x in lam]
    if alpha == 1:
        return float(-sum(x * mpmath.log(x) for x in lam))
    return float(mpmath.log(sum(x**alpha for x in lam)) / (1 - alpha))


@pytest.mark.parametrize("alpha", ORDERS)
def test_every_order_in_many_digits(alpha):
    counts = (200, 100, 50, 7, 2, 1)  # of equal rows, orthogonal to the others: the eigenvalues are known
    groups = torch.arange(len(counts)).repeat_interleave(torch.tensor(counts))
    Z = torch.eye(len(counts)).double()[groups]
    right = in_many_digits(counts, alpha)
    for value in (matrix_entropy(Z, alpha), gram_entropy(Z @ Z.T, alpha), spectrum_entropy(torch.tensor(counts).double() / len(Z), alpha, len(Z))):
        assert value.item() == pytest.approx(right, rel=1e-11, abs=1e-13)
    assert mutual_information(Z, groups, alpha).value.item() == pytest.approx(right, rel=1e-10)  # with itself: H + H - H


@pytest.mark.parametrize("alpha", [a for a in ORDERS if a >= 0.5])
def test_any_spectrum_in_many_digits(alpha):
    Z = torch.randn(7, 4, generator=torch.Generator().manual_seed(0)).double()
    M = mpmath.matrix(Z.tolist())
    rows = [mpmath.sqrt(sum(M[i, j] ** 2 for j in range(4))) for i in range(7)]
    G = mpmath.matrix(4, 4)
    for i in range(4):
        for j in range(4):
            G[i, j] = sum(M[k, i] * M[k, j] / rows[k] ** 2 for k in range(7)) / 7
    right = in_many_digits(mpmath.eigsy(G, eigvals_only=True), alpha)
    assert matrix_entropy(Z, alpha).item() == pytest.approx(right, rel=1e-12)


@pytest.mark.parametrize("alpha", [1 - 1e-12, 1 + 2**-52, 1 + 1e-9, 1.2, 20])
def test_estimates_near_one_and_far_off(alpha):
    g = torch.Generator().manual_seed(0)
    Z1, Z2 = torch.randn(60, 8, generator=g), torch.randn(60, 7, generator=g)
    guess, exact = (mutual_information(Z1, Z2, alpha, way=way, probes=32) for way in ("estimate", "exact"))
    assert math.isfinite(guess.se) and abs(guess.value - exact.value) <= 5 * guess.se + 1e-9


def test_where_no_number_is_right_none_is_given():
    Z = torch.randn(9, 4, generator=torch.Generator().manual_seed(0))
    for call in (lambda: slow_entropy(Z, 1 + 1e-9), lambda: slow_entropy(Z, 160), lambda: mutual_information(Z, Z, 33, way="estimate")):
        with pytest.raises(GrokError, match="alpha"):
            call()


@pytest.mark.parametrize("alpha", [0.6, 1 + 1e-9, 1.4, 30])
def test_slopes_at_every_order(alpha):
    Z = torch.randn(5, 3, generator=torch.Generator().manual_seed(0)).double().requires_grad_()
    assert torch.autograd.gradcheck(lambda Z: matrix_entropy(Z, alpha), Z)
