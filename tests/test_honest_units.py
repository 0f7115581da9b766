"""Units that cannot flatter: bits per dimension of noise, of histograms, of constants; no density
without bound over what is discrete. At full size: benchmarks/reliability/units.py."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import scipy.optimize
import torch

from vaes.batch import DISCRETE, Batch, Data, Spec
from vaes.data import encode, load, prepare
from vaes.dist import LIKELIHOODS, likelihood_head
from vaes.dist.discrete import CategoricalLikelihood
from vaes.dist.gaussian import LIKELIHOOD_LOG_SCALE
from vaes.dist.pixels import DiscretisedLogistic, Logistic
from vaes.errors import UsageError
from vaes.evaluate.baselines import independent
from vaes.evaluate.summary import summary
from vaes.fit import Loop
from vaes.model import Model
from vaes.plan import Settings, plan
from vaes.training import seeded_build

LOGISTIC = 8.276128  # bits of uniform bytes under the best discretised logistic
PLACES = torch.arange(256, dtype=torch.float64) / 255


def noise(rows: int, side: int, seed: int) -> Data:
    """Independent uniform bytes, images of side x side."""
    draw = torch.Generator().manual_seed(seed)
    x = torch.randint(256, (rows, 1, side, side), generator=draw, dtype=torch.uint8)
    return Data(Spec((1, side, side), ("pixel",), (256,), rows=rows), x)


def trained(train: Data, valid: Data, steps: int, **options) -> Model:
    """The default model of such images, its best weights by validation rows."""
    model = seeded_build("vae", train.spec, 0, options)
    settings = Settings(steps=steps, compile="no", log=steps)
    Loop(model, train, valid, plan(settings, model, len(train))).run()
    return model


def bits_of_uniform_bytes(loc: torch.Tensor, log_scale: torch.Tensor) -> torch.Tensor:
    """Of discretised logistics (n,): mean over all 256 levels, each as likely."""
    p = DiscretisedLogistic(loc, log_scale, 256, 0)
    return -p.terms(PLACES.unsqueeze(1)).mean(0) / math.log(2)


# --- noise ----------------------------------------------------------------------------------------
def test_the_best_logistic_of_noise():
    def cost(t: np.ndarray) -> float:
        loc, log_scale = torch.from_numpy(t)
        return bits_of_uniform_bytes(loc.view(1), log_scale.view(1)).item()

    found = scipy.optimize.minimize(
        cost, [0.4, -1.5], method="Nelder-Mead", options={"fatol": 1e-9}
    )
    assert found.fun == pytest.approx(LOGISTIC, abs=1e-5)
    assert found.x == pytest.approx([0.5, -1.7344], abs=1e-3)


def test_no_logistic_and_no_categorical_tells_noise_in_less_than_eight_bits():
    draw, n = torch.Generator().manual_seed(0), 3000
    low, high = Logistic((1,), 256).bounds
    loc = -1 + 3 * torch.rand(n, generator=draw, dtype=torch.float64)
    log_scale = low + (high - low) * torch.rand(n, generator=draw, dtype=torch.float64)
    found = bits_of_uniform_bytes(loc, log_scale)
    assert found.min() >= LOGISTIC - 1e-6
    logits = torch.randn(300, 256, generator=draw).double()
    logits *= torch.linspace(0, 3, 300).double().unsqueeze(1)
    p = CategoricalLikelihood(logits, 0, grid=True)
    of_logits = -torch.stack([p.terms(place) for place in PLACES]).mean(0) / math.log(2)
    assert of_logits[0].item() == pytest.approx(8, abs=1e-12)
    assert of_logits.min() >= 8 - 1e-12


@pytest.mark.parametrize(("family", "expected"), [("categorical", 8.0), ("logistic", LOGISTIC)])
def test_models_of_noise_reach_what_can_be_reached_and_no_more(family, expected):
    train, held = noise(4000, 4, 0), noise(2000, 4, 1)
    model = trained(train, noise(500, 4, 2), 100, likelihood=family, latent=2, hidden=(32,))
    found = summary(model, train, held, k=5)
    assert found["bits_per_dim"] == pytest.approx(expected, abs=0.02)
    assert found["bits_per_dim"] > 8.0
    nats = found["baselines"]["independent"]["log_evidence"]
    # 255 free numbers of each histogram are learnt from 4,000 rows
    assert -nats / 16 / math.log(2) == pytest.approx(8 + 255 / 4000 / 2 / math.log(2), abs=0.005)


# --- histograms and constants ---------------------------------------------------------------------
def test_independent_pixels_equal_the_closed_form():
    """Cross-entropy of the test histogram with the training one, a pseudo-count in all."""
    draw = np.random.default_rng(0)
    x = draw.binomial(255, [0.3, 0.5, 0.02, 0.9], (6000, 4)).astype(np.uint8).reshape(-1, 1, 2, 2)
    train, held = (Data(Spec((1, 2, 2), ("pixel",), (256,)), torch.from_numpy(p)) for p in
                   (x[:5000], x[5000:]))  # fmt: skip
    expected = 0.0
    for known, new in zip(x[:5000].reshape(-1, 4).T, x[5000:].reshape(-1, 4).T, strict=True):
        p = (np.bincount(known, minlength=256) + 1 / 256) / 5001
        expected += (np.bincount(new, minlength=256) / 1000 * np.log(p)).sum()
    assert independent(train, held).mean == pytest.approx(expected, abs=1e-4)


def test_a_constant_pixel_costs_nothing_and_earns_nothing():
    for n in (2, 17, 256):
        head = Logistic((1,), n)
        k = torch.arange(n, dtype=torch.float64).unsqueeze(1)
        floor = torch.full((n, 1), head.bounds[0], dtype=torch.float64)
        p = DiscretisedLogistic((k + 0.5) / n, floor, n, 1)
        log_p = p.log_prob(k / (n - 1))
        assert log_p.max() <= 0
        assert log_p.min() > -1e-9
    train = Data(Spec((2,), ("pixel",), (256,)), torch.full((1000, 2), 7, dtype=torch.uint8))
    per_entry = math.log((1000 + 1 / 256) / 1001)
    assert independent(train, train).mean == pytest.approx(2 * per_entry, abs=1e-9)


def test_a_constant_column_of_reals_earns_no_more_than_the_floor_of_scales():
    """The one density of reals is bounded: no column has more than 6 - log(2 pi) / 2 nats beyond
    its Jacobian, and no bits per dimension are said of it."""
    x = np.random.default_rng(0).normal(size=(400, 5)) * [1, 1, 5, 1, 1]
    x[:, 4] = 3.0
    prepared = prepare(load(x))
    head = likelihood_head(prepared.spec)
    least = LIKELIHOOD_LOG_SCALE[0]
    extreme = torch.cat([p.data.fill_(-1e6).flatten() for p in head.parameters()])
    assert len(extreme) == 5
    h = torch.zeros(1, head.size)
    most = head(h).terms(torch.zeros(1, 5))
    assert most.max().item() == pytest.approx(-least - 0.5 * math.log(2 * math.pi), abs=1e-3)
    assert not prepared.spec.discrete
    model = trained(prepared.train, prepared.valid, 20, latent=2, hidden=(8,))
    found = summary(model, prepared.train, prepared.test, k=5)
    assert found["bits_per_dim"] is None
    assert math.isfinite(found["log_evidence"])


# --- no density over what is discrete -------------------------------------------------------------
@pytest.mark.parametrize("kind", DISCRETE)
def test_what_is_discrete_has_a_probability(kind):
    """Every family that a discrete kind may take says at most log 1, whatever the network says."""
    levels = {"binary": 2, "count": 0}.get(kind, 7)
    spec = Spec((3,), (kind,), (levels,))
    unit = max(1, levels - 1) if kind in ("binary", "pixel") else 1
    draw = torch.Generator().manual_seed(0)
    x = torch.randint(levels or 50, (500, 3), generator=draw) / unit
    for family in LIKELIHOODS[kind]:
        given = replace(spec, totals=family == "multinomial")
        head = likelihood_head(given, family)
        total = Batch(x, total=x.sum(-1))
        for size in (1.0, 30.0, 1e6):
            numbers = size * torch.randn(500, head.size, generator=draw)
            terms = head(numbers).given(total).terms(x)
            # of a multinomial, whose coefficient is the row's, the whole row
            terms = terms.sum(-1) if family == "multinomial" else terms
            assert terms.max() <= 0, family
    assert spec.discrete
    with pytest.raises(UsageError, match="likelihood 'student' does not fit"):
        likelihood_head(spec, "student")


def test_whole_numbers_of_a_table_are_no_source_of_density():
    """Independent columns give all whole numbers of 0 to 2,000 together no more than 1, so that no
    more is said of each than a probability may."""
    import pandas as pd

    draw, n = np.random.default_rng(0), 3000
    sizes = {"few": 5, "age": 90, "big": 2000}
    frame = pd.DataFrame({name: draw.integers(0, size, n) for name, size in sizes.items()})
    frame["word"] = draw.choice(["a", "b"], n)
    prepared = prepare(load(frame))
    for name, size in sizes.items():
        column = prepared.spec.names.index(name)
        every = frame.iloc[np.arange(size) % n].assign(**{name: np.arange(size)})
        rows = encode(prepared.schema, prepared.spec, load(every))
        train, alone = (one_column(data, column) for data in (prepared.train, rows))
        step = max(1, size // 100)
        total = sum(
            math.exp(independent(train, alone.part(torch.tensor([i]))).mean)
            for i in range(0, size, step)
        )
        assert total * step < 1.1, name


def one_column(data: Data, j: int) -> Data:
    return Data(data.spec.columns([j]), data.x[:, [j]])
