"""Weights over time: cycles of the rate, and decoders that wait for their encoders."""

import pytest
import torch

from tests.fixtures import LG_MEAN, LG_TRIL, LG_X, lg, star
from vaes.batch import Batch, Spec
from vaes.composed import compose
from vaes.errors import UsageError
from vaes.model import Step
from vaes.objective import Elbo
from vaes.objective.lagging import Lagging

X, MODEL = Batch(LG_X), lg(LG_MEAN, LG_TRIL)
DISTORTION, RATE = 4.963151620, 2.733200902


def at(fraction, index=0):
    return Step(torch.tensor(index), torch.tensor(0), torch.tensor(fraction), star(2))


@pytest.mark.parametrize(
    ("cycles", "warmup", "fraction", "weight"),
    [
        (4, 0.5, 0.0, 0.0),
        (4, 0.5, 0.0625, 0.5),
        (4, 0.5, 0.125, 1.0),
        (4, 0.5, 0.2, 1.0),
        (4, 0.5, 0.25, 0.0),  # the second of four begins
        (4, 0.5, 0.28125, 0.25),
        (4, 0.5, 1.0, 1.0),  # the last one ends at its full weight
        (2, 1.0, 0.75, 0.5),
        (1, 0.2, 0.1, 0.5),
        (1, 0.2, 1.0, 1.0),
    ],
)
def test_cycles_of_the_rate(cycles, warmup, fraction, weight):
    """Fu et al. 2019: in each of M cycles the weight rises over a share R of it, then stays."""
    objective = Elbo(cycles=cycles, warmup=warmup, beta=2.0)
    found = objective(MODEL, X, at(fraction)).item()
    assert found == pytest.approx(DISTORTION + 2.0 * weight * RATE, abs=1e-6)


def test_training_settles_where_the_last_rise_ends():
    assert Elbo(cycles=4, warmup=0.5).settling == pytest.approx(0.875)
    assert Elbo(warmup=0.2).settling == pytest.approx(0.2)


def test_the_decoder_waits_for_nine_steps_of_ten():
    """For a quarter of the budget; then both move in each step."""
    objective = Lagging(every=10, share=0.25)
    spec = Spec((5,))
    torch.manual_seed(0)
    model = compose(spec, objective, latent=2, hidden=(4,)).double()
    moved = ["generator" in model.losses(X, Step.at(model, X, i, total=100)) for i in range(100)]
    assert [i for i in range(25) if moved[i]] == [9, 19]
    assert all(moved[25:])
    losses = model.losses(X, Step.at(model, X, 9, total=100))
    plain = Elbo()(model, X, Step.at(model, X, 9, total=100))
    assert losses["recogniser"].item() == losses["generator"].item() == plain.item()
    assert model.judged(X, Step.at(model, X, 0, total=100)).item() == pytest.approx(
        Elbo()(model, X, Step.at(model, X, 0, total=100)).item()
    )


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: Elbo(cycles=0), "cycles=0"),
        (lambda: Elbo(cycles=4), "cycles=4, warmup=0.0"),
        (lambda: Lagging(every=0), "every=0"),
        (lambda: Lagging(share=1.5), "share=1.5"),
        (lambda: Lagging(beta=-1.0), "beta=-1.0"),
    ],
)
def test_bad_options_are_one_line(make, said):
    with pytest.raises(UsageError, match=said):
        make()
