"""The losses against loops written from their equations; the same checks reject broken versions."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from pretrain.losses import BarlowTwinsLoss, barlow_twins_loss, info_nce


def correlated(n: int = 24, d: int = 7) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(3)
    shared = torch.randn(n, d, generator=generator)
    scales = torch.linspace(0.2, 5, d)
    return (
        (shared + 0.5 * torch.randn(n, d, generator=generator)) * scales + 3,
        shared + 0.5 * torch.randn(n, d, generator=generator) - 1,
    )


def brute_barlow_twins(z1: Tensor, z2: Tensor, lambd: float) -> Tensor:
    """Sums over i, j and n as in the equation, in float64, differentiable."""
    z1, z2 = z1.double(), z2.double()
    n, d = z1.shape

    def standardised(z: Tensor, i: int) -> list[Tensor]:
        mean = sum(z[k, i] for k in range(n)) / n
        variance = sum((z[k, i] - mean) ** 2 for k in range(n)) / n
        return [(z[k, i] - mean) / torch.sqrt(variance + 1e-5) for k in range(n)]

    a = [standardised(z1, i) for i in range(d)]
    b = [standardised(z2, i) for i in range(d)]
    loss = torch.zeros((), dtype=torch.float64)
    for i in range(d):
        for j in range(d):
            c = sum(a[i][k] * b[j][k] for k in range(n)) / n
            loss = loss + ((1 - c) ** 2 if i == j else lambd * c**2)
    return loss


def check_barlow_twins(function: Callable[[Tensor, Tensor, float], Tensor]) -> None:
    z1, z2 = correlated()
    for lambd in (0.0051, 0.3, 1.0):
        fast = [z.clone().requires_grad_() for z in (z1, z2)]
        slow = [z.clone().requires_grad_() for z in (z1, z2)]
        loss, expected = function(*fast, lambd), brute_barlow_twins(*slow, lambd)
        assert math.isclose(loss.item(), expected.item(), rel_tol=1e-5)
        loss.backward()
        expected.backward()
        for f, s in zip(fast, slow, strict=True):
            torch.testing.assert_close(f.grad, s.grad, rtol=1e-4, atol=1e-5)


def test_barlow_twins_is_its_equation() -> None:
    check_barlow_twins(lambda z1, z2, lambd: barlow_twins_loss(z1, z2, lambd).loss)


def both_terms(z1: Tensor, z2: Tensor, lambd: float) -> Tensor:
    terms = barlow_twins_loss(z1, z2, lambd)
    return lambd * (terms.on_diagonal + terms.off_diagonal)


def diagonal_in_off_term(z1: Tensor, z2: Tensor, lambd: float) -> Tensor:
    terms = barlow_twins_loss(z1, z2, lambd)
    return terms.on_diagonal + lambd * terms.correlation.square().sum()


def not_standardised(z1: Tensor, z2: Tensor, lambd: float) -> Tensor:
    c = z1.T @ z2 / len(z1)
    return (1 - c.diagonal()).square().sum() + lambd * (c - c.diagonal().diag()).square().sum()


def unbiased(z1: Tensor, z2: Tensor, lambd: float) -> Tensor:
    s1, s2 = ((z - z.mean(0)) / z.std(0) for z in (z1, z2))
    return not_standardised(s1, s2, lambd)


@pytest.mark.parametrize("broken", [both_terms, diagonal_in_off_term, not_standardised, unbiased])
def test_the_check_rejects_a_broken_barlow_twins(broken: Callable[[Tensor, Tensor, float], Tensor]) -> None:
    with pytest.raises(AssertionError):
        check_barlow_twins(broken)


def test_barlow_twins_module_scales_the_loss_and_not_the_terms() -> None:
    z1, z2 = correlated()
    plain, scaled = barlow_twins_loss(z1, z2, 0.01), BarlowTwinsLoss(0.01, scale=1 / 32)(z1, z2)
    torch.testing.assert_close(scaled.loss, plain.loss / 32)
    torch.testing.assert_close(scaled.off_diagonal, plain.off_diagonal)


def test_identical_decorrelated_views_cost_nothing() -> None:
    z = torch.randn(64, 8, generator=torch.Generator().manual_seed(0))
    z = torch.linalg.qr(z - z.mean(0))[0] * 8
    assert float(barlow_twins_loss(z, z, 1.0).loss) < 1e-6


def test_losses_stay_in_float32_under_autocast() -> None:
    z1, z2 = correlated()
    plain = barlow_twins_loss(z1, z2, 0.01)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        reduced = barlow_twins_loss(z1, z2, 0.01)
    assert reduced.correlation.dtype == torch.float32
    torch.testing.assert_close(reduced.loss, plain.loss)


def unit_rows(*shape: int, seed: int) -> Tensor:
    return torch.nn.functional.normalize(torch.randn(*shape, generator=torch.Generator().manual_seed(seed)), dim=1)


def brute_info_nce(q: Tensor, k: Tensor, queue: Tensor, temperature: float) -> float:
    """-log softmax of the positive, clip by clip, key by key."""
    total = 0.0
    rows_q, rows_k, rows_queue = q.double().tolist(), k.double().tolist(), queue.double().tolist()

    def similarity(a: list[float], b: list[float]) -> float:
        return math.exp(sum(x * y for x, y in zip(a, b, strict=True)) / temperature)

    for a, b in zip(rows_q, rows_k, strict=True):
        positive = similarity(a, b)
        total -= math.log(positive / (positive + sum(similarity(a, c) for c in rows_queue)))
    return total / len(rows_q)


def check_info_nce(function: Callable[[Tensor, Tensor, Tensor, float], Tensor]) -> None:
    q, k, queue = unit_rows(5, 6, seed=0), unit_rows(5, 6, seed=1), unit_rows(9, 6, seed=2)
    for temperature in (0.07, 0.5):
        expected = brute_info_nce(q, k, queue, temperature)
        assert math.isclose(float(function(q, k, queue, temperature)), expected, rel_tol=1e-5)


def test_info_nce_is_its_equation() -> None:
    check_info_nce(lambda q, k, queue, t: info_nce(q, k, queue, t).loss)


def without_positive(q: Tensor, k: Tensor, queue: Tensor, temperature: float) -> Tensor:
    negative = torch.logsumexp(q @ queue.T / temperature, dim=1)
    return (negative - (q * k).sum(1) / temperature).mean()


BROKEN_INFO_NCE = {
    "no temperature": lambda q, k, queue, t: info_nce(q, k, queue, 1.0).loss,
    "positive not in the denominator": without_positive,
    "the key of another clip": lambda q, k, queue, t: info_nce(q, k.roll(1, 0), queue, t).loss,
    "the batch's keys among the negatives": lambda q, k, queue, t: info_nce(q, k, torch.cat([queue, k]), t).loss,
}


@pytest.mark.parametrize("name", list(BROKEN_INFO_NCE))
def test_the_check_rejects_a_broken_info_nce(name: str) -> None:
    with pytest.raises(AssertionError):
        check_info_nce(BROKEN_INFO_NCE[name])


def test_info_nce_sends_no_gradient_into_keys_and_measures_accuracy() -> None:
    q, k = unit_rows(5, 6, seed=0).requires_grad_(), unit_rows(5, 6, seed=0).requires_grad_()
    terms = info_nce(q, k, unit_rows(9, 6, seed=2), 0.1)
    terms.loss.backward()
    assert q.grad is not None
    assert k.grad is None
    assert float(terms.accuracy) == 1.0
    assert float(info_nce(q, -k, unit_rows(9, 6, seed=2), 0.1).accuracy) == 0.0


def brute_accuracy(q: Tensor, k: Tensor, queue: Tensor) -> float:
    """The share of queries whose own key lies nearer than every key of the queue."""
    right = [all(float(a @ b) > float(a @ c) for c in queue) for a, b in zip(q, k, strict=True)]
    return sum(right) / len(right)


def test_accuracy_counts_a_query_only_when_its_own_key_is_above_all_others() -> None:
    q, k, queue = unit_rows(40, 3, seed=0), unit_rows(40, 3, seed=1), unit_rows(3, 3, seed=2)
    found = float(info_nce(q, k, queue, 0.1).accuracy)
    assert found == pytest.approx(brute_accuracy(q, k, queue))
    assert 0.1 < found < 0.9
    axes = torch.eye(4)  # exact products: a key that is in the queue as well is not told from it
    assert float(info_nce(axes, axes, axes[1:2], 0.1).accuracy) == 0.75
    assert float(info_nce(axes, axes, axes, 0.1).accuracy) == 0.0
    collapsed = axes[:1].expand(4, 4)
    assert float(info_nce(collapsed, collapsed, collapsed, 0.1).accuracy) == 0.0
