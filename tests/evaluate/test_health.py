"""Signs by their closed forms, findings by their borders, a few planted models, every recipe."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from typing import Any

import pytest
import torch

from tests.fixtures import ppca_data
from tests.test_recipes import SPECS, data, make
from tests.toys import looped
from tests.uses.models import drawn, lg_ppca, loaded, seeded
from vaes.batch import Data, Spec
from vaes.errors import DataError, UsageError
from vaes.evaluate import symptoms
from vaes.evaluate.findings import CHECKS
from vaes.evaluate.health import Health, examine
from vaes.evaluate.patient import Patient
from vaes.model import Model
from vaes.plan import Settings
from vaes.recipes import build, names, options
from vaes.training import seeded_build

REAL = Spec((6,))


def rows(n: int, seed: int = 0, columns: int = 6) -> torch.Tensor:
    return torch.randn(n, columns, generator=seeded(seed))


# --- signs ----------------------------------------------------------------------------------------
def test_copies_are_rows_equal_in_every_entry():
    x = rows(3000)
    train = Data(REAL, x)
    test = Data(REAL, torch.cat([x[[7, 2999, 7]], x[:1] * torch.tensor([1.0] * 5 + [1 + 1e-6])]))
    assert symptoms.copies(train, test) == (3, 0.0)
    twice = Data(REAL, torch.cat([x[:8], x[:2]]))
    assert symptoms.copies(twice, test) == (2, 4 / 10)  # row 7 twice; rows 0 and 1 and their twins


def test_gaps_are_part_of_a_copy_and_what_stands_in_them_is_not():
    x = torch.tensor([[1.0, 0.0], [1.0, 5.0]])
    mask = torch.tensor([[True, False], [True, True]])
    spec = Spec((2,), missing=True)
    train = Data(spec, x[:1], mask=mask[:1])
    same = Data(spec, torch.tensor([[1.0, 9.0]]), mask=mask[:1])
    other = Data(spec, torch.tensor([[1.0, 0.0]]), mask=mask[1:])
    assert symptoms.copies(train, same)[0] == 1
    assert symptoms.copies(train, other)[0] == 0


def test_levels_are_compared_as_they_lie():
    spec = Spec((1, 2, 2), ("pixel",), (17,))
    x = torch.randint(17, (50, 1, 2, 2), generator=seeded(0)).to(torch.uint8)
    assert symptoms.copies(Data(spec, x), Data(spec, x[:5]))[0] == 5


def test_constant_entries_are_those_of_one_observed_value():
    x = rows(1500)
    x[:, 2] = 4.0
    x[1499, 3], x[:1499, 3] = 1.0, 0.0  # not constant: the last row differs
    mask = torch.ones_like(x, dtype=torch.bool)
    mask[1:, 4] = False  # one value left
    data = Data(Spec((6,), missing=True), x, mask=mask)
    assert symptoms.constant(data).tolist() == [False, False, True, False, True, False]


def test_shift_is_the_largest_distance_of_the_distributions():
    """0 ... 99 and 50 ... 149 are apart by one half; bits of .3 and .5 by .2; equal ones by 0."""
    train = torch.stack([torch.arange(100.0), (torch.arange(100) < 30).float(), torch.ones(100)], 1)
    test = torch.stack(
        [torch.arange(50.0, 150), (torch.arange(100) < 50).float(), torch.ones(100)], 1
    )
    distance, surely = symptoms.shifted(Data(Spec((3,)), train), Data(Spec((3,)), test))
    assert distance.tolist() == pytest.approx([0.5, 0.2, 0.0], abs=1e-12)
    assert surely.tolist() == [True, False, False]
    mask = torch.ones(100, 3, dtype=torch.bool)
    mask[:50, 0] = False  # 50 ... 99 are left of the training rows
    gappy = Data(Spec((3,), missing=True), train, mask=mask)
    distance, _ = symptoms.shifted(gappy, Data(Spec((3,), missing=True), test))
    assert float(distance[0]) == pytest.approx(0.5)


def test_shift_of_equal_sources_is_chance():
    found = [
        bool(symptoms.shifted(Data(REAL, rows(200, i)), Data(REAL, rows(150, i + 500)))[1].any())
        for i in range(100)
    ]
    assert sum(found) <= 1


def test_reliance_of_a_linear_model():
    """Told by another row's code the squared error grows by 2 tr(W W^T), so log p(x|z) loses
    tr(W W^T) / v = 7.625 / .5 nats."""
    model = lg_ppca()
    test = Data(model.spec, drawn(model, 40_000, 1))
    assert symptoms.reliance(model, test, seeded(2)) == pytest.approx(15.25, abs=0.4)


def test_scales_at_the_ends_of_their_range():
    model = build("vae", REAL, latent=2, hidden=(8,), scale="entry").eval()
    few = Data(REAL, rows(20))
    assert symptoms.limits(model, few, seeded(0)) == (0.0, 0.0)
    with torch.no_grad():
        model.decoder.head.log_scale[1] = -9.0
    assert symptoms.limits(model, few, seeded(0)) == (1.0, 0.0)
    with torch.no_grad():
        model.decoder.head.log_scale[2] = 9.0
    assert symptoms.limits(model, few, seeded(0)) == (1.0, 1.0)
    fixed = build("vae", REAL, latent=2, hidden=(8,), scale=1e-4).eval()
    assert symptoms.limits(fixed, few, seeded(0)) is None
    spec = Spec((6,), ("pixel",), (17,))
    pixels = build("vae", spec, latent=2, hidden=(8,), scale="entry").eval()
    with torch.no_grad():
        pixels.decoder.head.log_scale[:] = torch.tensor([-20.0, 9.0, 0, 0, 0, 0])
    levels = torch.randint(17, (20, 6), generator=seeded(0)).to(torch.uint8)
    assert symptoms.limits(pixels, Data(spec, levels), seeded(0)) == (0.0, 1.0)


def test_what_entries_share_is_their_total_correlation():
    """Correlations of one half among 10 entries: -1/2 log |R| = -1/2 log(5.5 / 2^9) nats,
    of which places drawn within a rank's twentieth hide one in twenty."""
    g = (rows(4000, 10, 10) + rows(4000, 11, 1)) / math.sqrt(2)
    ranks = (torch.special.ndtr(g) * 20).floor().long()
    assert symptoms.shared(ranks) == pytest.approx(-0.5 * math.log(5.5 / 2**9), rel=0.08)
    apart = (torch.special.ndtr(rows(4000, 12, 10)) * 20).floor().long()
    assert symptoms.shared(apart) == pytest.approx(0, abs=0.02)


def test_what_many_entries_share_is_told_by_some_of_them():
    """400 entries of one half each with all others, 500 rows: every fourth is looked at, and four
    times what those share is told: -2 log(1 + 99 / 2) + 2 * 99 log 2, to a tenth."""
    g = (rows(500, 13, 400) + rows(500, 14, 1)) / math.sqrt(2)
    ranks = (torch.special.ndtr(g) * 20).floor().long()
    truth = -2 * math.log(1 + 99 / 2) + 2 * 99 * math.log(2)
    assert symptoms.shared(ranks) == pytest.approx(truth, rel=0.1)


def test_a_bound_that_rises_does_so_by_its_slope():
    """A hundredth of a nat per step: 1 nat in the last hundred of 400 steps, without error."""
    line = [{"step": s, "valid_elbo": 0.01 * s - 7} for s in range(10, 401, 10)]
    between = [{"step": 5, "elbo": -1e9}]
    assert symptoms.rising(between + line) == pytest.approx((1.0, 0.0), abs=1e-9)
    bent = [{"step": s, "valid_elbo": -abs(s - 200.0)} for s in range(10, 201, 10)]
    late = [{"step": s, "valid_elbo": 0.0} for s in range(210, 801, 10)]
    assert symptoms.rising(bent + late) == pytest.approx((0.0, 0.0), abs=1e-9)
    # +-1 about nothing: the error of a slope, s / sqrt(sum of squares), by hand
    noise = [{"step": s, "valid_elbo": (-1.0) ** s} for s in range(1, 41)]
    found = symptoms.rising(noise)
    t = torch.arange(31.0, 41).double() / 10
    t = t - t.mean()
    v = torch.tensor([(-1.0) ** s for s in range(31, 41)]).double()
    slope = float((t * v).sum() / t.square().sum())
    rest = float((v - slope * t).square().sum())
    assert found == pytest.approx((slope, math.sqrt(rest / 8 / float(t.square().sum()))))
    assert symptoms.rising(line[:3]) is None
    assert symptoms.rising([]) is None


# --- findings -------------------------------------------------------------------------------------
HEALTHY: dict[str, Any] = {
    "n_train": 1000, "n_test": 500, "latent_dim": 4, "bound": "lower", "copies": 0, "twins": 0.0,
    "constant": [], "shift": 0.0, "shifted": 0, "elbo_train": -10.0, "elbo": -10.2,
    "elbo_gap_se": 0.1, "distortion_train": 6.0, "distortion": 6.2, "rate": 4.0,
    "rates": [1.2, 1.1, 1.1, 0.6], "independent": -14.0, "log_evidence": -10.0, "slack": 0.2,
    "ess": 180.0, "rising": 0.01, "rising_se": 0.01, "epochs": 20.0, "active_units": 4,
    "collapsed": 0, "reliance": 20.0, "hole_rate": 0.012, "hole_rate_se": 0.002,
    "information": 3.9, "divergence": 0.1, "total_correlation": 0.0, "mmd": 0.0, "coverage": 0.9,
    "spread": 0.0, "inside50": 0.5, "inside50_se": 0.005, "inside90": 0.9, "inside90_se": 0.003,
    "shared": 0.1, "floor": 0.0, "ceiling": 0.0,
}  # fmt: skip
SIGNS: dict[str, dict[str, Any]] = {
    "collapse": {"rate": 0.05, "reliance": 0.0, "collapsed": 4, "active_units": 0, "shared": 2.0},
    "nothing-shared": {"rate": 0.05, "reliance": 0.0, "collapsed": 4, "active_units": 0},
    "below-baseline": {"elbo": -16.0, "elbo_train": -16.0},
    "blind-decoder": {"reliance": 0.01},
    "unused-dimensions": {"collapsed": 1, "active_units": 3},
    "small-latent": {"rates": [1.2, 1.1, 1.1, 1.2], "shared": 2.0},
    "overfitting": {"elbo": -13.0},
    "undertrained": {"rising": 0.5},
    "holes": {"hole_rate": 0.3, "hole_rate_se": 0.01},
    "loose-encoder": {"slack": 3.5, "coverage": 0.6},
    "scale-limit": {"floor": 1.0},
    "misfit": {"inside50": 0.75, "inside90": 0.98},
    "constant-entries": {"constant": [2]},
    "leak": {"copies": 3},
    "duplicates": {"copies": 60, "twins": 0.12},
    "shifted-test": {"shift": 0.4, "shifted": 3},
}


def found(model: Model | None = None, recipe: str | None = None, **numbers: Any) -> dict[str, Any]:
    model = model or build("vae", REAL, latent=4, hidden=(8,))
    patient = Patient(model, HEALTHY | numbers, recipe)
    return {f.name: f for check in CHECKS if (f := check(patient)) is not None}


def test_nothing_is_found_where_nothing_is_wrong():
    assert found() == {}
    assert Health(HEALTHY, ()).lines() == ["healthy: nothing found"]


@pytest.mark.parametrize("name", SIGNS)
def test_each_sign_has_its_finding_alone(name):
    assert list(found(**SIGNS[name])) == [name]


@pytest.mark.parametrize(
    "sign",
    [
        {"elbo": -13.0, "elbo_gap_se": 1.5},  # no more than the error explains
        {"rising": 0.5, "rising_se": 0.3},
        {"rising": 0.15},  # a thirtieth of what is gained
        {"rising": 0.09, "elbo_train": -13.5, "elbo": -13.6},  # less than a tenth of a nat
        {"elbo": -15.0, "elbo_train": -14.0, "independent": -30.0},  # a sixteenth of what is gained
        {"hole_rate": 0.13, "hole_rate_se": 0.05},
        {"slack": 0.9, "rate": 1.5},  # below a nat
        {"rates": [1.2, 1.1, 1.1, 1.2]},  # full, and nothing left to say
        {"rates": [1.2, 1.1, 1.1, 1.2], "shared": 2.0, "coverage": 0.5},  # an encoder that is off
        {"shared": 2.0},  # not full: more dimensions would not be used
        {"inside50": 0.75, "inside90": 0.98, "inside50_se": 0.05, "inside90_se": 0.05},  # few rows
        {"shift": 0.15},
    ],
)
def test_what_chance_or_size_explains_is_no_finding(sign):
    assert found(**sign) == {}


def test_causes_and_remedies_go_by_the_model():
    """The remedy is an option that the model's own recipe has, and it fits the cause."""
    dear = build("beta_vae", REAL, beta=9.0, latent=4, hidden=(8,))
    assert found(dear, **SIGNS["collapse"])["collapse"].remedy == "--set beta=1"
    assert "beta=9" in found(dear, **SIGNS["collapse"])["collapse"].sentence
    fixed = build("vae", REAL, scale=5.0, latent=4, hidden=(8,))
    wide = SIGNS["collapse"] | SIGNS["misfit"]
    assert found(fixed, **wide)["collapse"].remedy == "--set scale=entry"
    assert "too wide" in found(fixed, **SIGNS["misfit"])["misfit"].sentence
    narrow = found(fixed, inside50=0.2, inside90=0.5)["misfit"]
    assert "the fixed scale is too narrow" in narrow.sentence
    tails = found(inside50=0.65, inside90=0.92)["misfit"]
    assert "heavier tails" in tails.sentence
    assert "numeric" in tails.remedy
    assert "free_bits" in found(**SIGNS["collapse"])["collapse"].remedy
    assert "too narrow" in found(**SIGNS["loose-encoder"])["loose-encoder"].sentence
    assert "too wide" in found(slack=3.5, coverage=0.99)["loose-encoder"].sentence
    light = build("beta_vae", REAL, beta=0.01, latent=4, hidden=(8,))
    assert found(light, **SIGNS["holes"])["holes"].remedy == "--set beta=1"
    assert "--prior-after" in found(**SIGNS["holes"])["holes"].remedy
    rich = build("vae", REAL, prior="fitted_mixture", latent=4, hidden=(8,))
    assert found(rich, "vae", **SIGNS["holes"])["holes"].remedy == "--recipe beta_vae --set beta=2"
    poisson = build("counts", Spec((5,), ("count",), (0,), totals=True), likelihood="poisson")
    assert found(poisson, inside50=0.3, inside90=0.6)["misfit"].remedy == (
        "--set likelihood=negative_binomial"
    )
    capped = build("beta_vae", REAL, capacity=0.0, latent=4, hidden=(8,))
    assert found(capped, **SIGNS["collapse"])["collapse"].remedy == "--set capacity=5"
    late = found(rising=0.5, epochs=2.4)["undertrained"]
    assert late.remedy.startswith("--epochs 8,")
    assert "warmup" in found(**SIGNS["blind-decoder"])["blind-decoder"].remedy
    table = build("tabular", Spec((3,), ("category",), (4,)))
    assert "alone" in found(table, **SIGNS["blind-decoder"])["blind-decoder"].remedy
    assert found(table, inside50=0.7, inside90=0.99)["misfit"].remedy.startswith("--set hidden")
    assert found(**SIGNS["unused-dimensions"])["unused-dimensions"].remedy == "--set latent=3"
    assert found(**SIGNS["small-latent"])["small-latent"].remedy == "--set latent=8"


ROWS = {
    "counts": Spec((5,), ("count",), (0,), totals=True),
    "prodlda": Spec((5,), ("count",), (0,), totals=True),
    "tabular": Spec((3,), ("category",), (4,), names=("a", "b", "c")),
    "latent_class": Spec((3,), ("category",), (4,)),
    "not_miwae": Spec((3,), missing=True),
}


@pytest.mark.parametrize("recipe", names())
def test_remedies_name_options_that_the_recipe_has(recipe):
    """Or another recipe and its options; columns are dropped only where they have names."""
    spec = replace(ROWS.get(recipe, Spec((3,))), rows=100)
    model = build(recipe, spec, latent=2)
    signs = [*SIGNS.values(), {"inside50": 0.2, "inside90": 0.5}, {"ceiling": 1.0}]
    for sign in signs:
        fields = {k: v for k, v in sign.items() if k != "bound"} | {"bound": model.bound}
        for finding in found(model, recipe, **fields).values():
            words = finding.remedy.replace(",", " ").replace(":", " ").split()
            other = words[words.index("--recipe") + 1] if "--recipe" in words else recipe
            known = set(options(other)) | set(Settings.names())
            asked = [w.partition("=")[0] for i, w in enumerate(words) if words[i - 1] == "--set"]
            asked = [name.partition(".")[0] for name in asked]  # of a part's option the part
            assert set(asked) <= known, (recipe, finding)
            assert "--drop" not in words or spec.names


def test_copies_that_chance_explains():
    """Three of 60 test rows where one in 240 training rows has a twin; five where none has."""
    few = {"n_train": 480, "n_test": 60}
    assert "leak" not in found(**few, copies=3, twins=2 / 480)
    assert "duplicates" in found(**few, copies=3, twins=2 / 480)
    assert "leak" in found(**few, copies=9, twins=2 / 480)
    assert "leak" in found(**few, copies=2, twins=0.0)
    bits = build("vae", Spec((3,), ("binary",), (2,)), latent=2)
    assert "leak" not in found(bits, **few, copies=1, twins=0.0)


@pytest.mark.parametrize("at_once", [1, 7, 1000])
def test_codes_of_other_rows_cost_what_they_should(monkeypatch, at_once):
    """E log p(x|z) - E log p(x|z') = tr(W W^T) / v = 15.25 nats, however rows are cut."""
    model = lg_ppca()
    monkeypatch.setattr(symptoms, "at_once", lambda *_: at_once)
    found = symptoms.reliance(model, Data(model.spec, drawn(model, 1000, 0)), seeded(1))
    assert found == pytest.approx(15.25, abs=1.5)


def test_notes_come_after_warnings_and_lines_say_both():
    signs = SIGNS["unused-dimensions"] | SIGNS["leak"]
    notes = found(**signs)
    assert notes["unused-dimensions"].severity == "note"
    assert notes["leak"].severity == "warning"
    health = Health(HEALTHY, tuple(sorted(notes.values(), key=lambda f: f.severity == "note")))
    assert [f.name for f in health.warnings] == ["leak"]
    assert health.lines()[0].startswith("warning: 3 of 500 test rows are exact copies")
    assert health.lines()[1].startswith("note: 1 of 4 latent dimensions")
    assert "\n" not in "".join(health.lines())


# --- whole models ---------------------------------------------------------------------------------
def linear(n: int, seed: int, rank: int = 3, columns: int = 8, variance: float = 0.4) -> Data:
    x = drawn(loaded(columns, rank, 5, variance), n, seed).float()
    return Data(Spec((columns,), rows=n), x / x.std(0))


def trained(recipe: str, train: Data, valid: Data, steps: int = 700, **options: Any):
    lines: list[dict[str, Any]] = []
    model = seeded_build(recipe, train.spec, 0, {"latent": 3, "hidden": (32,)} | options)
    settings = {"batch": 100, "lr": 4e-3, "steps": steps, "schedule": "cosine", "log": 50}
    loop = looped(model, [lambda _, r: lines.append(r)], data=train, valid=valid, **settings)
    loop.run()
    return model.eval(), [line for line in lines if line]


TRAIN, VALID, TEST = (linear(n, i) for i, n in enumerate((1500, 200, 600)))


def test_a_healthy_model_has_no_findings():
    model, metrics = trained("vae", TRAIN, VALID)
    health = examine(model, TRAIN, VALID, TEST, metrics)
    assert health.findings == ()
    assert health.numbers["rising"] is not None
    assert json.loads(json.dumps(health.to_json()))["numbers"]["n_test"] == 600


@pytest.mark.parametrize(
    ("recipe", "options", "name"),
    [
        ("beta_vae", {"beta": 40.0}, "collapse"),
        ("beta_vae", {"beta": 0.002}, "holes"),
        ("vae", {"scale": 2.0}, "misfit"),
        ("vae", {"latent": 9}, "unused-dimensions"),
    ],
)
def test_options_that_make_a_model_sick_are_named(recipe, options, name):
    model, metrics = trained(recipe, TRAIN, VALID, 500, **options)
    found = examine(model, TRAIN, VALID, TEST, metrics)
    assert name in [f.name for f in found.findings]


def test_one_dimension_for_rows_of_rank_six_is_too_few():
    train, valid, test = (linear(n, i, 6, 12, 0.2) for i, n in enumerate((1500, 200, 600)))
    model, metrics = trained("vae", train, valid, 500, latent=1)
    found = [f.name for f in examine(model, train, valid, test, metrics).findings]
    assert found == ["small-latent"]
    model, metrics = trained("vae", train, valid, 700, latent=6)
    assert examine(model, train, valid, test, metrics).warnings == ()


def test_five_leaked_rows_are_found_every_time():
    model = lg_ppca()
    for seed in range(5):
        x = drawn(model, 700, seed)
        train, test = Data(model.spec, x[:500]), Data(model.spec, torch.cat([x[500:], x[5:10]]))
        leak = [f for f in examine(model, train, None, test).findings if f.name == "leak"]
        assert leak[0].sentence.startswith("5 of 205 test rows")


def test_probabilistic_pca_measures_what_is_known():
    """Evidence and ELBO are one, intervals and coverage are right, the rate is the fixture's."""
    model = build("ppca", Spec((8,)), latent=3).double()
    with torch.no_grad():
        model.begin("train", ppca_data())
    numbers = examine(model.eval(), ppca_data(), None, ppca_data()).numbers
    assert numbers["rate"] == pytest.approx(3.508739, abs=1e-5)
    assert numbers["elbo"] == pytest.approx(-11.976043, abs=0.1)
    assert numbers["slack"] == pytest.approx(0, abs=1e-9)
    assert numbers["information"] == pytest.approx(3.405, abs=0.03)
    assert numbers["coverage"] == pytest.approx(0.9, abs=0.03)
    assert numbers["inside90"] == pytest.approx(0.9, abs=0.02)
    assert numbers["copies"] == 500


@pytest.mark.parametrize("kind", SPECS)
@pytest.mark.parametrize("name", names())
def test_every_recipe_is_examined(name, kind):
    try:
        model = make(name, kind)
    except UsageError:
        pytest.skip("not for such rows")
    before, few = torch.get_rng_state(), data(kind)
    health = examine(
        model.train(), few.part(torch.arange(44)), None, few.part(torch.arange(44, 64))
    )
    json.dumps(health.to_json(), allow_nan=False)
    assert torch.equal(before, torch.get_rng_state())
    assert model.training
    if model.bound == "none":
        assert health.numbers["rate"] is None
        assert health.numbers["log_evidence"] is None
    else:
        assert health.numbers["rate"] == pytest.approx(
            health.numbers["information"] + health.numbers["divergence"], rel=0.9, abs=3
        )


def test_too_few_rows_are_refused():
    with pytest.raises(DataError, match="1500 training and 9 test rows"):
        examine(lg_ppca(), linear(1500, 0), None, linear(9, 1))
