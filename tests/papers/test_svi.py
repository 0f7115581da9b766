"""The claim of recipe svi."""

import math

import pytest
import torch

from tests.fixtures import LG_EVIDENCE, LG_MEAN, LG_MU, LG_TRIL, LG_VAR, LG_W, LG_X, star, step_of
from vaes.batch import Batch, Spec
from vaes.objective import log_weight
from vaes.recipes import build


def on_lg(posterior, **options):
    """LG held fixed, the encoder-free model of its one row."""
    torch.manual_seed(0)
    spec = Spec((5,), rows=1)
    made = {"latent": 2, "hidden": (), "scale": 1.0, "posterior": posterior, **options}
    model = build("svi", spec, **made).double()
    with torch.no_grad():
        model.decoder.head.log_scale.fill_(0.5 * math.log(LG_VAR))
        model.decoder.last.weight.copy_(LG_W)
        model.decoder.last.bias.copy_(LG_MU)
    return model.eval()


@pytest.mark.parametrize(("posterior", "best"), [("diagonal", -7.723983861), ("cholesky", None)])
def test_svi_reaches_the_best_of_its_family_from_any_start(posterior, best):
    """Card 4a (3): -7.723983861 is the best diagonal q, a full one has the evidence itself; by the
    inner steps of a training row, and by those of a row that is new."""
    best = LG_EVIDENCE if best is None else best
    held, new = Batch(LG_X, index=torch.tensor([0])), Batch(LG_X, index=torch.tensor([-1]))
    model = on_lg(posterior, inner_rate=0.1, refine=200)
    for start in (0.0, 2.0, -1.5):
        for buffer in model.table.buffers():
            buffer.zero_()
        model.table.numbers.fill_(start)
        for i in range(120):
            step = step_of(torch.zeros(1, 1, 2).double(), fraction=i / 120)
            step.index.fill_(i)
            model.closed_form(held, step)
        with torch.no_grad():
            elbo = log_weight(model, held, noise=star(2)).mean().item()
        assert best - 0.03 < elbo < best + 1e-9
    with torch.no_grad():
        elbo = log_weight(model, new, noise=star(2)).mean().item()
    assert best - 0.03 < elbo < best + 1e-9
    q = model.posterior(new)
    assert torch.allclose(q.mean[0], LG_MEAN, atol=0.05)
    if posterior == "cholesky":
        assert torch.allclose(q.tril[0], LG_TRIL, atol=0.05)
