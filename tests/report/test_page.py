"""The page of a run: what it says is what the model and evaluation.json say, and nothing leaks."""

from __future__ import annotations

import math
import re

import numpy as np
import pytest
import torch

from tests.report import interpreter
from tests.report.reading import living, picture, read, sections
from tests.report.runs import EVALUATION, EXTRA, HOSTILE, folder
from vaes import data as sources
from vaes import uses
from vaes.evaluate.likelihood import evidence
from vaes.plan import widest
from vaes.report import page, rows, write
from vaes.report.markup import number


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    path = tmp_path_factory.mktemp("runs") / "digits"
    return folder(path, "digits", latent=3, hidden=[24])


@pytest.fixture(scope="module")
def told(digits):
    return page(*digits, EVALUATION)


@pytest.fixture(scope="module")
def seen(told):
    return read(told)


# --- the whole ------------------------------------------------------------------------------------
def test_the_page_is_a_pure_function_of_the_run(digits, told, tmp_path):
    torch.rand(3)
    state = torch.random.get_rng_state()
    _, model, _ = digits
    model.train()
    write(*digits, EVALUATION, tmp_path / "report.html")
    assert (tmp_path / "report.html").read_text(encoding="utf-8") == told
    assert model.training
    assert torch.equal(torch.random.get_rng_state(), state)


def test_the_page_asks_for_nothing(told, seen):
    policy = next(e for e in seen.every("meta") if "http-equiv" in e.attributes)
    rules = dict(r.split(None, 1) for r in policy.attributes["content"].split("; "))
    assert rules["default-src"] == "'none'"
    assert rules["img-src"] == "data:"
    links = [e.attributes.get(k, "data:") for e in seen.all() for k in ("src", "href")]
    assert all(link.startswith("data:") for link in links)
    assert not re.search(r"https?:|url\(|@import|@font-face|import\(|fetch\(", told)
    assert len(told.encode()) < 300_000


def test_every_number_is_there(seen):
    worth = sections(seen)["What it is worth"]
    lines = [
        [e.words() for e in line.inside if e.tag in ("th", "td")] for line in worth.every("tr")
    ]
    found = {line[0].split("<")[0]: line[1] for line in lines}
    by_name = {name: v for k, v in found.items() for name in EXPECTED if k.startswith(name)}
    assert by_name == EXPECTED
    assert "180 test rows" in worth.words()
    label = worth.every("svg")[0].attributes["aria-label"]
    assert label.endswith("this model −83.48; its ELBO −86.66; independent −108.40")


EXPECTED = {
    "log evidence": "−83.48 ± 0.99",
    "ELBO": "−86.7 ± 1.1",
    "rate": "15.98",
    "distortion": "70.68",
    "bits per dimension": "1.8819",
    "active units": "13 of 16",
    "effective draws": "17.5 of K = 1,000",
}


def test_sections_are_there_when_their_numbers_are(digits, seen):
    always = ["What it is worth", "Drawn from the model", "Latent map and decoder"]
    always += ["Rebuilt from codes", "Least and most likely rows", "Inside the bound", "Training"]
    assert list(sections(seen)) == always
    assert len(sections(seen)["Inside the bound"].every("svg")) == 1  # the KL of every dimension
    more = sections(read(page(*digits, EVALUATION | EXTRA)))
    only = {"Sample quality", "Gaps of the bound", "Groups of codes beside labels"}
    assert set(more) - set(always) == only
    assert "a note" in more["What it is worth"].words()
    assert "Of a: a lower bound" in more["What it is worth"].words()
    charts = more["Inside the bound"].every("svg")
    labels = [e.attributes["aria-label"] for e in charts if "aria-label" in e.attributes]
    assert labels[0].endswith("The largest is 2.25, the smallest 0.500")
    assert labels[-1].endswith("nominal: 0.0000 to 1.00")
    quality = more["Sample quality"].words()
    assert "1.50 ± 0.25" in quality
    assert "Features: pca64" in quality
    assert "amortisation · mean0.750 ± 0.050" in more["Gaps of the bound"].words()
    less = sections(read(page(*digits, {})))
    assert "What it is worth" not in less


def test_curves_of_training_are_those_of_the_log(seen):
    labels = [e.attributes.get("aria-label") for e in sections(seen)["Training"].every("svg")]
    labels = [label for label in labels if label]
    assert labels == [
        "ELBO. training: −90.00 to −80.00; validation: −91.00 to −81.00",
        "Rate. training: 10.00 to 20.00",
        "Active latent dimensions. training: 3.00 to 3.00",
    ]


def test_findings_are_told_warnings_first(digits):
    note = {"name": "a", "sentence": f"small {HOSTILE}", "remedy": None, "severity": "note"}
    warning = {"name": "b", "sentence": "large", "remedy": HOSTILE, "severity": "warning"}
    head = read(page(*digits, EVALUATION | {"health": {"findings": [note, warning]}}))
    found = [e.words() for e in head.every("header")[0].every("li")]
    assert found == [f"warning large. Remedy: {HOSTILE}", f"note small {HOSTILE}."]
    healthy = read(page(*digits, EVALUATION | {"health": {"findings": []}}))
    assert "Healthy" in healthy.every("header")[0].words()


def test_the_head_says_what_run_it_is(seen):
    head = seen.every("header")[0].words()
    for word in ("vae on digits", "8 × 8", "1,437 train", "180 test", "20 steps"):
        assert word in head
    assert "Healthy" not in head
    assert seen.every("title")[0].words() == "vae on digits"


# --- rows -----------------------------------------------------------------------------------------
def tile(sheet: np.ndarray, i: int, j: int) -> np.ndarray:
    """One tile of 8 x 8 pixels, enlarged six times, 2 pixels apart."""
    y, x = 2 + 50 * i, 2 + 50 * j
    return sheet[y : y + 48 : 6, x : x + 48 : 6, 0]


def test_drawn_and_rebuilt_images_are_those_of_the_model(digits, seen):
    _, model, prepared = digits
    mean, _ = uses.sample(model, 60, seed=0, mean=True)
    sheet = picture(sections(seen)["Drawn from the model"].every("img")[0])
    assert sheet.shape == (2 + 6 * 50, 2 + 10 * 50, 3)
    for i, j in ((0, 0), (2, 3), (5, 9)):
        assert np.abs(tile(sheet, i, j) - 255 * mean[10 * i + j, 0].numpy()).max() <= 0.51
    places = [round(k * 179 / 19) for k in range(20)]
    test = prepared.test.part(torch.tensor(places))
    sheet = picture(sections(seen)["Rebuilt from codes"].every("img")[0])
    both = uses.reconstruct(model, test).mean
    for i, j, x in ((0, 4, test.rows(slice(4, 5)).x), (1, 4, both[4:5]), (3, 9, both[19:20])):
        assert np.abs(tile(sheet, i, j) - 255 * x[0, 0].numpy()).max() <= 0.51


def test_least_and_most_likely_rows_are_in_order(digits, seen):
    _, model, prepared = digits
    nats = evidence(model, prepared.test, k=64, seed=0).per_row.numpy()
    section = sections(seen)["Least and most likely rows"]
    for caption, expected in zip(
        section.every("figcaption"), (np.sort(nats)[:10], np.sort(nats)[:-11:-1]), strict=True
    ):
        found = caption.words().split("log p(x): ")[1].split(", ")
        assert found == [number(v, 1) for v in expected]
    least, most = (picture(image) for image in section.every("img"))
    x = prepared.test.rows(slice(None)).x[:, 0].numpy()
    for sheet, order in ((least, nats.argsort()), (most, (-nats).argsort())):
        for j in (0, 9):
            assert np.abs(tile(sheet, 0, j) - 255 * x[order[j]]).max() <= 0.51


def test_rows_that_cost_much_are_scored_in_small_numbers(digits, monkeypatch):
    """The widest layer has 1 x 8 x 8 x 2 numbers: 50 rows by 20 draws make 128,000."""
    _, model, prepared = digits
    assert widest(model) == 128
    monkeypatch.setattr(rows, "WORK", 128_000)
    monkeypatch.setattr(rows, "SCORED", (10, 50))
    scored = rows.score(model, prepared.test, 0)
    assert scored.place[[0, -1]].tolist() == [0, 179]
    assert len(scored.place.unique()) == 50
    assert scored.draws == 20
    expected = evidence(model, prepared.test, k=20, seed=0).per_row[scored.place]
    assert torch.equal(scored.nats, expected)


# --- the living part ------------------------------------------------------------------------------
def test_the_script_has_the_decoder_and_the_codes_of_the_map(digits, seen):
    _, model, prepared = digits
    said, program, numbers = living(seen)
    codes = uses.encode(model, prepared.test).mean
    start, length = said["codes"]
    found = numbers[start : start + length].reshape(180, 3)
    assert np.abs(found - codes.numpy()).max() < 1e-6
    theirs = uses.decode(model, codes[[7]]).flatten().numpy()
    assert np.abs(interpreter.run(program, found[7]) - theirs).max() < 1e-5
    nats = evidence(model, prepared.test, k=64, seed=0).per_row
    number, label, score = said["rows"][7]
    assert (number, label) == (7, str(int(prepared.test.y[7])))
    assert score == pytest.approx(float(nats[7]), abs=0.006)


def test_a_click_on_the_map_means_what_is_drawn_there(digits, seen):
    """Places of the script's points are those of the markers, and axes give points from codes."""
    said, _, numbers = living(seen)

    def at(where):
        return numbers[where[0] : where[0] + where[1]]

    codes = at(said["codes"]).reshape(-1, 3)
    points = at(said["map"]["points"]).reshape(-1, 2)
    axes = np.stack([at(axis) for axis in said["map"]["axes"]])
    assert np.abs(codes @ axes.T - points).max() < 1e-5
    assert np.abs(axes @ axes.T - np.eye(2)).max() < 1e-6
    geometry = {k: np.array(said["map"][k]) for k in ("start", "low", "unit")}
    places = geometry["start"] + (points - geometry["low"]) * geometry["unit"]
    drawn = seen.by_id("map").every("path")
    markers = [e.attributes["d"] for e in drawn if "row" in e.attributes.get("class", "").split()]
    found = {tuple(map(float, m)) for d in markers for m in re.findall(r"M(\S+) ([\d.]+)", d)}
    assert found == {(round(float(x), 1), round(float(y), 1)) for x, y in places}


def test_sliders_are_the_liveliest_dimensions(digits, seen):
    _, model, prepared = digits
    rates = uses.active_units(model, prepared.test).rates
    dims = living(seen)[0]["dims"]
    assert [d[0] for d in dims] == rates.argsort(descending=True).tolist()[: len(dims)]
    assert [d[1] for d in dims] == pytest.approx([float(rates[d[0]]) for d in dims], abs=0.0006)
    codes = uses.encode(model, prepared.test).mean
    for dim, _, low, high in dims:
        assert low <= min(-3, float(codes[:, dim].min())) < low + 0.11
        assert high - 0.11 < max(3, float(codes[:, dim].max())) <= high


def test_the_sprite_holds_the_rows_of_the_map(digits, seen):
    _, _, prepared = digits
    show = living(seen)[0]["show"]
    seen.attributes["src"] = f"data:image/png;base64,{show['sprite']}"
    sheet = picture(seen)[..., 0]
    x = prepared.test.rows(torch.tensor([0, 31])).x[:, 0].numpy()
    assert np.abs(sheet[:8, :8] - 255 * x[0]).max() <= 0.51
    assert np.abs(sheet[8:16, 48:56] - 255 * x[1]).max() <= 0.51  # 25 across: 31 is (1, 6)


def test_a_large_decoder_stays_out_and_the_page_says_so(tmp_path):
    run, model, prepared = folder(tmp_path / "r", "digits", latent=2, hidden=[1000, 400])
    found = read(page(run, model, prepared, EVALUATION))
    section = sections(found)["Latent map"]
    size = 4 * sum(p.numel() for p in model.decoder.parameters()) / 1e6
    assert size > 1.7
    assert f"{size:.1f} MB of weights" in section.words()
    assert section.every("svg")
    assert not found.every("script")


def test_a_model_without_a_density_has_no_evidence(tmp_path):
    run, model, prepared = folder(
        tmp_path / "r", "digits", recipe="autoencoder", latent=2, hidden=[8]
    )
    evaluation = EVALUATION | {"log_evidence": None, "elbo": None, "bound": "none", "rate": None}
    found = sections(read(page(run, model, prepared, evaluation)))
    assert "Least and most likely rows" not in found
    assert "no density" in found["What it is worth"].words()
    assert "Latent map and decoder" in found


def test_codes_that_are_not_finite_leave_no_map(digits, tmp_path):
    run, model, prepared = folder(tmp_path / "r", "digits", latent=2, hidden=[8])
    with torch.no_grad():
        model.encoder.last.bias[0] = math.inf
    found = sections(read(page(run, model, prepared, {"bound": "none"})))
    assert "not finite" in found["Latent map"].words()


# --- tables ---------------------------------------------------------------------------------------
def test_nothing_from_the_data_becomes_markup(table):
    run, model, prepared = table
    run.info["schema"]["name"] = HOSTILE
    told = page(run, model, prepared, EVALUATION)
    found = read(told)
    assert len(found.every("script")) == 3
    assert "<b>&" not in told
    assert HOSTILE in found.every("h1")[0].words()
    heads = [e.words() for e in sections(found)["Drawn from the model"].every("th")]
    assert heads == [HOSTILE, "b", "c"]
    said = living(found)[0]
    columns = said["show"]["columns"]
    assert [c["name"] for c in columns] == [HOSTILE, "b", "c"]
    assert HOSTILE in columns[1]["words"]
    assert HOSTILE in {label for _, label, _ in said["rows"]}


def test_decoded_rows_come_in_the_users_units(table):
    run, model, prepared = table
    said, program, _ = living(read(page(run, model, prepared, EVALUATION)))
    z = torch.tensor([[0.4, -0.7]])
    user = sources.decode(prepared.schema, prepared.spec, uses.decode(model, z))[0]
    found = interpreter.run(program, z[0].numpy())
    for column, expected in zip(said["show"]["columns"], user, strict=True):
        value = column["shift"] + column["scale"] * found[column["entry"]]
        # the table's first column has two decimals
        assert value == pytest.approx(expected, abs=0.0051)
    test = sources.table(prepared.schema, prepared.spec, prepared.test.rows(slice(None)).x)
    ours = [row[1] for row in said["show"]["rows"]]
    assert ours == test.column("b").to_pylist()
    low, high = said["show"]["columns"][0]["range"]
    values = test.column(HOSTILE).to_pylist()
    assert (low, high) == pytest.approx((min(values), max(values)), abs=0.006)


def test_the_odd_entry_of_a_row_is_blamed(tmp_path):
    """Of 400 rows on a line, one in the test part is off it in its third column."""
    run, model, prepared = folder(
        tmp_path / "r",
        np.random.default_rng(0).normal(size=(400, 4)),
        preparing={"kind": "real"},
        recipe="ppca",
        latent=1,
    )
    with torch.no_grad():
        model.weight.copy_(torch.ones(4, 1))
        model.variance.fill_(0.01)
    prepared.test.x[:] = prepared.test.x[:, :1] + 0.1 * prepared.test.x
    prepared.test.x[17, 2] += 4
    section = sections(read(page(run, model, prepared, EVALUATION)))["Least and most likely rows"]
    first = [e.words() for e in section.every("tbody")[0].every("tr")[0].every("td")]
    assert first[0] == "17"
    nats = evidence(model, prepared.test, k=1, seed=0).per_row
    assert first[1] == number(float(nats[17]), 1)
    assert first[2].startswith("2 +")


def test_gaps_are_dashes(tmp_path):
    import pandas as pd

    rng = np.random.default_rng(1)
    x = rng.normal(size=(200, 2))
    x[rng.random(200) < 0.5, 1] = np.nan
    run, model, prepared = folder(
        tmp_path / "r",
        sources.load(pd.DataFrame(x, columns=["a", "b"])),
        preparing={"kind": {"a": "real", "b": "real"}, "missing": "nan"},
        latent=1,
        hidden=[4],
    )
    found = sections(read(page(run, model, prepared, EVALUATION)))
    body = found["Rebuilt from codes"].every("tbody")[0]
    lines = [[e.words() for e in line.every("td")] for line in body.every("tr")]
    places = torch.linspace(0, len(prepared.test) - 1, 4).round().long()
    there = prepared.test.mask[places, 1].tolist()
    assert [line[2] != "–" for line in lines[::2]] == there
    assert not all(there)
    assert all(line[2] != "–" for line in lines[1::2])
