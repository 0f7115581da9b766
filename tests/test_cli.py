"""The command: every verb end to end, and one line with the right exit status for every mistake."""

from __future__ import annotations

import json
import math
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_digits

from tests.commands import TINY, images, made, vaes_
from vaes import disk, recipes

VERBS = ["train", "sample", "vary", "reconstruct", "encode", "interpolate", "traverse", "score"]
VERBS += ["impute", "detect", "cluster", "augment", "denoise", "differ"]
VERBS += ["evaluate", "compare", "compress", "decompress"]
VERBS += ["recipes", "data", "doctor"]


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("runs") / "digits"
    told = vaes_("train", "digits", *TINY, "--out", path)
    assert told.code == 0, told.err
    for part in ("log evidence", "ELBO", "distortion", "rate", "active units", "bits/dim"):
        assert part in told.out
    for baseline in ("independent", "ppca"):
        assert baseline in told.out
    assert told.out.endswith(f"run folder: {path}\n")
    assert "17 levels" in told.err
    assert len(told.err.splitlines()) <= 25  # plain lines, where there is no terminal
    return path


# --- start ----------------------------------------------------------------------------------------
def test_help_is_quick_and_heavy_packages_are_not_imported():
    """Best of five, since a busy machine is not the command's fault."""
    seconds, out = [], ""
    for _ in range(5):
        began = time.perf_counter()
        out = subprocess.check_output([sys.executable, "-m", "vaes", "--help"], text=True)
        seconds.append(time.perf_counter() - began)
    assert min(seconds) <= 0.3
    assert all(verb in out for verb in VERBS)
    code = (
        "import sys\nfrom vaes import cli\nsys.argv = ['vaes', '--help']\n"
        "try:\n    cli.main()\nexcept SystemExit:\n    pass\n"
        "heavy = {'torch', 'numpy', 'sklearn', 'matplotlib', 'PIL', 'pyarrow', 'safetensors'}\n"
        "sys.exit(str(heavy & set(sys.modules)) if heavy & set(sys.modules) else 0)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.DEVNULL)


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_help(verb):
    told = vaes_(verb, "--help")
    assert told.code == 0
    assert "Usage: vaes" in told.out


def test_lists():
    told = vaes_("recipes")
    assert told.code == 0
    assert [line.split()[0] for line in told.out.splitlines()] == recipes.names()
    assert "--set latent=None" in vaes_("recipes", "vae").out
    assert "digits" in vaes_("data").out
    doctor = vaes_("doctor").out
    for part in ("vaes", "torch", "numpy", "python", "compiler"):
        assert part in doctor


# --- verbs ----------------------------------------------------------------------------------------
def test_what_a_run_folder_holds(run):
    names = {p.name for p in run.iterdir()}
    pictures = {"samples.png", "reconstructions.png", "curves.png", "latent.png"}
    assert {"run.json", "weights.safetensors", "state", "metrics.jsonl"} | pictures <= names
    evaluation = disk.read_json(run / "evaluation.json", "it")
    for key in ("n", "elbo", "elbo_se", "log_evidence", "log_evidence_se", "k", "ess", "rate"):
        assert math.isfinite(evaluation[key])
    for key in ("distortion", "bits_per_dim", "active_units", "latent_dim", "seed"):
        assert math.isfinite(evaluation[key])
    assert evaluation["n"] == 180
    bits = -evaluation["log_evidence"] / (64 * math.log(2))
    assert evaluation["bits_per_dim"] == pytest.approx(bits)
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    wanted = {"step", "epoch", "elbo", "distortion", "rate", "active_units", "grad_norm", "lr"}
    assert all(wanted | {"rows_per_s"} <= line.keys() for line in lines)
    assert lines[-1]["step"] == 60


USES = {
    "sample": (["-n", "10"], {"rows": 10}),
    "vary": (["-n", "3", "--rows", "4"], {"rows": 12}),
    "reconstruct": (["--draws", "20", "--level", "0.8"], {"rows": 180, "low": 180, "high": 180}),
    "interpolate": (["--pairs", "3", "--steps", "5", "--path", "slerp"], {"rows": 15}),
    "traverse": (["--row", "2", "--steps", "3"], {"rows": 6}),
}


@pytest.mark.parametrize("verb", USES)
def test_verbs_make_new_folders(run, tmp_path, verb):
    """Rows as images of 8 x 8, a picture and result.json; the second time a folder of its own."""
    args, parts = USES[verb]
    before = made(run)
    first, second = vaes_(verb, run, *args), vaes_(verb, run, *args)
    assert (first.code, first.err) == (0, "")
    assert first.out.strip() != second.out.strip()
    own = vaes_(verb, run, *args, "--out", tmp_path / "own")
    for folder in (Path(first.out.strip()), Path(own.out.strip())):
        result = disk.read_json(folder / "result.json", "it")
        assert result["verb"] == verb
        assert result["files"] == [*parts, "picture.png"]
        for name, n in parts.items():
            images = sorted((folder / name).iterdir())
            assert len(images) == n
            with Image.open(images[0]) as image:
                assert image.size == (8, 8)
        with Image.open(folder / "picture.png") as image:
            image.verify()
    after = made(run)
    assert before.items() <= after.items()
    taken = vaes_(verb, run, *args, "--out", tmp_path / "own")
    assert taken.code == 2
    assert "never written over" in taken.err
    assert made(run) == after


def test_intervals_hold_their_centre(run, tmp_path):
    vaes_("reconstruct", run, "--draws", "40", "--out", tmp_path / "a")
    rows = {
        name: np.stack(
            [np.asarray(Image.open(p)) for p in sorted((tmp_path / "a" / name).iterdir())]
        )
        for name in ("rows", "low", "high")
    }
    assert (rows["low"] <= rows["high"]).all()
    inside = (rows["low"] <= rows["rows"]) & (rows["rows"] <= rows["high"])
    assert inside.mean() > 0.9


def test_codes(run, tmp_path):
    told = vaes_("encode", run, "--out", tmp_path / "codes")
    assert told.code == 0
    with np.load(tmp_path / "codes" / "codes.npz", allow_pickle=False) as codes:
        assert codes["mean"].shape == codes["std"].shape == (180, 2)
        assert (codes["std"] > 0).all()


def test_scores(run):
    """--json is the mean of the rows; another seed agrees with evaluation.json within 4 s.e."""
    rows = vaes_("score", run, "--k", "200", "--seed", "3")
    values = [float(line) for line in rows.out.splitlines()]
    found = json.loads(vaes_("score", run, "--k", "200", "--seed", "3", "--json").out)
    assert found.keys() == {"n", "log_evidence", "log_evidence_se", "k", "ess"}
    assert len(values) == found["n"] == 180
    assert found["log_evidence"] == pytest.approx(np.mean(values), abs=1e-5)
    evaluation = disk.read_json(run / "evaluation.json", "it")
    error = math.hypot(found["log_evidence_se"], evaluation["log_evidence_se"])
    assert abs(found["log_evidence"] - evaluation["log_evidence"]) <= 4 * error
    assert "± " in rows.err


@pytest.mark.parametrize("kind", ["csv", "npy", "chw"])
def test_rows_come_out_in_the_kind_that_came_in(tmp_path, kind):
    x = np.random.default_rng(0).normal(size=(60, 3))
    path, suffix = tmp_path / f"own.{'csv' if kind == 'csv' else 'npy'}", ".npy"
    if kind == "csv":
        suffix = ".csv"
        np.savetxt(path, x, delimiter=",", header="a,b,c", comments="")
    else:
        np.save(path, x if kind == "npy" else (x[:, :, None, None] + np.zeros((4, 4))))
    assert vaes_("train", path, *TINY, "--out", tmp_path / "run").code == 0
    told = vaes_("sample", tmp_path / "run", "-n", "5")
    made_rows = Path(told.out.strip()) / f"rows{suffix}"
    if kind == "csv":
        assert made_rows.read_text().splitlines()[0].replace('"', "") == "a,b,c"
        assert np.loadtxt(made_rows, delimiter=",", skiprows=1).shape == (5, 3)
    else:
        assert np.load(made_rows).shape == ((5, 3) if kind == "npy" else (5, 3, 4, 4))
    assert vaes_("score", tmp_path / "run", path, "--k", "10").code == 0


def test_broken_images_are_left_out_where_asked(tmp_path):
    folder = images(tmp_path)
    told = vaes_("train", folder, *TINY, "--skip-bad", "--out", tmp_path / "run")
    assert told.code == 0
    assert "1 images could not be read, left out: bad.png" in told.err


def test_classes_of_images_are_compared_by_pixel(run, tmp_path):
    """Every pixel has a line with the means of both groups, and the map is a picture."""
    told = vaes_("differ", run, "--by", "label=3", "--out", tmp_path / "d")
    assert told.code == 0, told.err
    found = disk.read_json(tmp_path / "d" / "result.json", "it")
    assert found["n"] == [183, 1614]
    assert len(found["columns"]) == 64
    digits = load_digits()
    row = next(row for row in found["columns"] if row["column"] == "0 4 2")
    for name, which in (("label=3", digits.target == 3), ("any other label", digits.target != 3)):
        assert row[f"mean of {name}"] == pytest.approx(digits.images[which, 4, 2].mean())
    with Image.open(tmp_path / "d" / "picture.png") as image:
        image.verify()
    told = vaes_("differ", run, "--by", "label")
    assert (told.code, len(told.err.splitlines())) == (2, 1)
    assert "has 10 values" in told.err


def test_gaps_that_depend_on_the_value(tmp_path):
    """not_miwae takes NaN for gaps by itself, says what its evidence is of, and fills them."""
    x = np.random.default_rng(0).normal(size=(80, 3))
    x[x[:, 0] > 0.5, 0] = np.nan
    np.save(tmp_path / "own.npy", x)
    how = ["--recipe", "not_miwae", *TINY, "--set", "samples=3"]
    told = vaes_("train", tmp_path / "own.npy", *how, "--out", tmp_path / "run")
    assert told.code == 0, told.err
    assert "of the values and of where gaps are" in told.out
    assert vaes_("impute", tmp_path / "run", "--out", tmp_path / "f").code == 0
    filled = np.load(tmp_path / "f" / "rows.npy")
    assert np.isfinite(filled).all()
    assert np.allclose(filled[~np.isnan(x)], x[~np.isnan(x)], atol=1e-6)
    assert vaes_("detect", tmp_path / "run", "--out", tmp_path / "d").code == 0
    told = vaes_("train", "digits", *how)
    assert (told.code, "not_miwae is for rows of reals" in told.err.splitlines()[-1]) == (2, True)
