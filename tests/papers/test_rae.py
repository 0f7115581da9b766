"""The claim of recipe rae."""

import math

import numpy as np
import pytest
import torch

from tests.fixtures import descend, ppca_rows, ppca_spectrum
from tests.papers.helpers import ALL, DATA
from vaes.errors import UsageError
from vaes.recipes import build


@pytest.mark.parametrize(("form", "power"), [("l2", 1.0), ("gp", 2.0)])
def test_rae_shrinks_the_axes_by_what_it_is_asked(form, power):
    """Linear, 1/2 |x - D E x|^2 + beta |E x|^2 / 2 + weight R leaves the first axes, each shrunk
    to 1 - sqrt(c beta weight / l_j): R = |D|^2 / 2 has c = 1, R = |dg/dz|^2 = |D|^2 has c = 2.
    (Minimise l (1 - a b)^2 / 2 + beta a^2 l / 2 + c weight b^2 / 2 over a, then a b.)"""
    beta, weight = 0.2, 0.5
    torch.manual_seed(0)
    options = {"form": form, "beta": beta, "weight": weight}
    options |= {"probes": 0} if form == "gp" else {}
    model = build(
        "rae", DATA.spec, latent=3, hidden=(), likelihood="normal", scale=1.0, **options
    ).double()
    descend(model, ALL, torch.zeros(1, 1, 3).double(), steps=1200, rate=0.05)
    both = (model.decoder.last.weight @ model.encoder.last.weight).detach().numpy()
    values, vectors = ppca_spectrum(ppca_rows())
    kept = 1 - np.sqrt(power * beta * weight / values[:3])
    expected = (vectors[:, :3] * kept) @ vectors[:, :3].T
    assert np.abs(both - expected).max() < 0.02
    # the mixture of the codes, decoded, has the mean of what is reconstructed
    with torch.no_grad():
        model.begin("codes", DATA)
        p = model.prior(ALL[:1])
        z = model.posterior(ALL).mean
        assert torch.allclose(p.mean[0], z.mean(0), atol=1e-3)
        spread = (z - z.mean(0)).square().mean(0)
        assert torch.allclose(p.variance[0], spread, rtol=1e-2)
        drawn = p.draw(torch.randn(20_000, 1, p.noise_size).double())[:, 0]
    error = (spread / 20_000).sqrt()
    assert ((drawn.mean(0) - z.mean(0)).abs() < 5 * error + 1e-3).all()


def test_rae_of_bounded_maps_stretches_no_code():
    """sn: every map has norm 1, so a linear decoder moves no two codes apart."""
    torch.manual_seed(0)
    model = build("rae", DATA.spec, latent=3, hidden=(), form="sn", scale=1.0).double()
    descend(model, ALL, torch.zeros(1, 1, 3).double(), steps=300, rate=0.02)
    norm = torch.linalg.matrix_norm(model.decoder.last.weight, 2).item()
    assert norm == pytest.approx(1, abs=1e-3)
    assert math.isfinite(model.losses(ALL, None)["model"].item())


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"form": "l1"}, "form 'l1' is not known"),
        ({"form": "sn", "weight": 1.0}, "form=sn has no use for weight"),
        ({"probes": 2}, "form=l2 has no use"),
        ({"beta": -1.0}, "l2=-1.0"),
    ],
)
def test_rae_mistakes_are_one_line(options, said):
    with pytest.raises(UsageError, match=said):
        build("rae", DATA.spec, latent=3, hidden=(), **options)
