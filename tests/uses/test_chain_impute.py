"""The chain of fillings on a linear-Gaussian model, where everything it does is known."""

from __future__ import annotations

import pytest
import torch

from tests.fixtures import LG_MU, LG_PRECISION, LG_VAR, LG_W, LG_X, linear_vae
from vaes.batch import Batch, Spec
from vaes.composed import Composed
from vaes.errors import UsageError
from vaes.recipes import build
from vaes.uses.chain_impute import chain_impute

SEEN = torch.tensor([True, True, True, False, False])
# x4, x5 given x1..3
MEAN = torch.tensor([0.5, 0.5], dtype=torch.float64)
COVARIANCE = torch.tensor([[0.79, -0.065], [-0.065, 0.5275]], dtype=torch.float64)
CHAINS, DRAWS = 256, 300


def rows(n: int = CHAINS) -> Batch:
    mask = SEEN.expand(n, -1)
    return Batch(x=torch.where(mask, LG_X, 0.0), mask=mask)


def model(shift: float = 0.0) -> Composed:
    """The library's own linear VAE; its encoder exact but for `shift` of the mean."""
    found = linear_vae(LG_W, LG_MU, LG_VAR, "cholesky")
    with torch.no_grad():
        found.encoder.last.bias[:2] += shift  # type: ignore[union-attr]
    return found


def transition() -> torch.Tensor:
    """x_m' = A x_m + ...: the chain of the exact encoder, A = W_m (gain of x_m)."""
    gain = torch.linalg.solve(LG_PRECISION, LG_W.T / LG_VAR)
    return LG_W[3:] @ gain[:, 3:]


def mean_and_error(draws: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    each = draws[..., 3:].mean(0)
    return each.mean(0), each.std(0) / CHAINS**0.5


@pytest.mark.parametrize("metropolis", [False, True])
def test_with_the_exact_posterior_it_settles_to_the_conditional(metropolis):
    """Mean (.5, .5), covariance [[.79, -.065], [-.065, .5275]]; every proposal is accepted."""
    found = chain_impute(model(), rows(), draws=DRAWS, burn=20, metropolis=metropolis)
    mean, error = mean_and_error(found.draws)
    assert ((mean - MEAN).abs() < 4 * error).all()
    assert (error < 0.007).all()
    each = found.draws[..., 3:] - MEAN
    products = torch.einsum("mni,mnj->nij", each, each) / DRAWS
    gap = products.mean(0) - COVARIANCE
    assert (gap.abs() < 4 * products.std(0) / CHAINS**0.5).all()
    assert (found.accepted > 1 - 1e-9).all()


def test_it_forgets_as_the_linear_chain_it_is():
    """An autoregression whose matrix has eigenvalues .379047 and .023984, so that what is left of
    a state after k steps is at most .379^k of it."""
    values = torch.linalg.eigvals(transition()).real.sort().values
    assert values.tolist() == pytest.approx([0.023984, 0.379047], abs=1e-6)
    draws = chain_impute(model(), rows(), draws=DRAWS, burn=20, metropolis=False).draws
    now, then = (draws[i : DRAWS - 1 + i, :, 3:] - MEAN for i in (0, 1))
    inside = torch.einsum("mni,mnj->ij", now, now)
    found = torch.linalg.solve(inside, torch.einsum("mni,mnj->ij", now, then)).T
    torch.testing.assert_close(found, transition(), rtol=0, atol=0.015)


def test_a_biased_encoder_moves_the_plain_chain_and_not_the_metropolised_one():
    """q's mean + .3: the plain chain settles about (I - A)^-1 W_m (.3, .3) away, as its affine map
    says; the accepted moves of the other leave the conditional where it is."""
    biased = model(shift=0.3)
    drift = torch.linalg.solve(
        torch.eye(2).double() - transition(), LG_W[3:] @ torch.full((2,), 0.3).double()
    )
    plain, error = mean_and_error(
        chain_impute(biased, rows(), draws=DRAWS, burn=20, metropolis=False).draws
    )
    assert ((plain - MEAN - drift).abs() < 4 * error).all()
    assert (drift.abs() > 15 * error).any()
    right = chain_impute(biased, rows(), draws=DRAWS, burn=60, seed=1)
    mean, error = mean_and_error(right.draws)
    assert ((mean - MEAN).abs() < 4 * error).all()
    assert (error < 0.015).all()
    assert 0.2 < right.accepted.mean() < 0.9


def test_what_was_observed_stays_and_rows_do_not_know_their_neighbours():
    few = Batch(x=rows(3).x.clone(), mask=rows(3).mask.clone())  # type: ignore[union-attr]
    few.mask[1] = True  # type: ignore[index]
    found = chain_impute(model(), few, draws=4, burn=3)
    assert torch.equal(found.draws[..., :3], few.x[:, :3].expand(4, 3, 3))
    assert torch.equal(found.draws[:, 1], few.x[1].expand(4, 5))
    assert found.accepted[1] == 1
    other = Batch(x=few.x.clone(), mask=few.mask)
    other.x[2, 0] = -3.0
    again = chain_impute(model(), other, draws=4, burn=3)
    assert torch.equal(again.draws[:, 0], found.draws[:, 0])
    assert not torch.equal(again.draws[:, 2], found.draws[:, 2])
    thin = chain_impute(model(), few, draws=2, burn=3, every=2)
    assert torch.equal(thin.draws, found.draws[1::2])


def test_refusals_are_one_line():
    counts = Spec((5,), ("count",), (0,), missing=True, totals=True)
    with pytest.raises(UsageError, match="draws=0"):
        chain_impute(model(), rows(2), draws=0)
    with pytest.raises(UsageError, match="use impute"):
        chain_impute(build("not_miwae", Spec((5,), missing=True)), rows(2))
    with pytest.raises(UsageError, match="use impute"):
        chain_impute(build("counts", counts), rows(2))
