"Properties of matrix entropy and mutual information over random features."
import math

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from grok_nb.measures.entropy import matrix_entropy, mutual_information, slow_entropy, slow_mutual_information

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
    a, b = matrix_entropy(Z, alpha), slow_entropy(Z, alpha)
    assert abs(a - b) <= 1e-9 * (1 + abs(b)) or 0 < abs(alpha - 1) < 1e-4  # 1/(1-alpha) there multiplies rounding


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
