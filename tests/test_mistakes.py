"""What a user gets wrong ends in one line, with the right exit status and nothing written."""

from __future__ import annotations

import io
import json
import multiprocessing
import os
import shutil
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.commands import TINY, images, made, vaes_
from tests.data.helpers import not_root
from tests.run.helpers import flip
from vaes import disk
from vaes.run import FORMAT

TRAIN, DIGITS = ["train"], ["train", "digits", *TINY]


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    """A folder with a run, one without a density, and every file that is wrong."""
    folder = tmp_path_factory.mktemp("place")
    assert vaes_(*DIGITS, "--out", folder / "run").code == 0
    assert vaes_(*DIGITS, "--recipe", "autoencoder", "--out", folder / "plain").code == 0
    images(folder)
    (folder / "empty").mkdir()
    (folder / "junk.bin").write_bytes(b"x" * 100)
    (folder / "text.csv").write_text("a,b\n" + "1,2\n3,4\n" * 10 + "5,x\n")
    rows = np.random.default_rng(0).normal(size=(50, 4))
    for name, hole in (("nan", np.nan), ("inf", np.inf)):
        holed = rows.copy()
        holed[7, 2] = hole
        np.save(folder / f"{name}.npy", holed)
    arrays: dict[str, Any] = {
        "rows": rows,
        "one": rows[:1],
        "flat": rows[:, 0],
        "constant": np.full((50, 4), 3.0),
        "wide": np.arange(35.0).reshape(5, 7),
        "objects": np.array([[1, "a"]] * 20, dtype=object),
        "words": np.array([["a", "b"]] * 20),
    }
    for name, x in arrays.items():
        np.save(folder / f"{name}.npy", x, allow_pickle=x.dtype == object)
    whole = (folder / "rows.npy").read_bytes()
    (folder / "lies.npy").write_bytes(whole.replace(b"(50, 4), }  ", b"(5000, 4), }"))
    header, bomb = io.BytesIO(), {"descr": "|u1", "fortran_order": False, "shape": (80 * 2**20, 1)}
    np.lib.format.write_array_header_1_0(header, bomb)
    with zipfile.ZipFile(folder / "bomb.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x.npy", header.getvalue() + bytes(80 * 2**20))
    return folder


def refused(place: Path, code: int, args: list[str], *parts: str) -> None:
    """The command, run in `place`, leaves with `code` and one line that holds all `parts`."""
    before = made(place)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        told = vaes_(*args)
    lines = told.err.splitlines()
    assert told.code == code, told.err
    assert told.out == ""
    assert sum(line.startswith("vaes: ") for line in lines) == 1
    assert lines[-1].startswith("vaes: ")
    assert "unexpected" not in lines[-1]
    assert "Traceback" not in told.err
    for part in parts:
        assert part in lines[-1]
    assert made(place) == before


@pytest.mark.parametrize(
    ("code", "args", "parts"),
    [
        # data
        (1, ["train", "nowhere.npy"], ["nowhere.npy", "neither"]),
        (1, ["train", "digts"], ["did you mean 'digits'"]),
        (1, ["train", "empty"], ["holds no images"]),
        (1, ["train", "images"], ["bad.png", "truncated", "--skip-bad"]),
        (1, ["train", "constant.npy"], ["every value of the 50 rows is 3"]),
        (1, ["train", "nan.npy"], ["row 7", "column 2", "--missing nan"]),
        (1, ["train", "inf.npy"], ["row 7", "column 2", "infinite"]),
        (1, ["train", "inf.npy", "--missing", "nan"], ["row 7", "infinite"]),
        (1, ["train", "one.npy"], ["1 row given", "at least 3"]),
        (1, ["train", "flat.npy"], ["shape (50,)", "reshape(-1, 1)"]),
        (1, ["train", "objects.npy"], ["Python objects"]),
        (1, ["train", "words.npy"], ["text"]),
        (1, ["train", "lies.npy"], ["declares shape (5000, 4)", "160,000", "1,600"]),
        (1, ["train", "bomb.npz"], ["would unfold", "at most 200"]),
        (1, ["train", "junk.bin"], ["no known kind"]),
        (1, ["train", "text.csv"], ["column 'b' holds 'x' in row 20", "--drop b"]),
        # names and options
        (2, ["trian", "digits"], ["no verb 'trian'", "did you mean 'train'"]),
        (2, ["train", "digits", "--recipe", "vea"], ["did you mean 'vae'"]),
        (2, ["recipes", "vea"], ["did you mean 'vae'"]),
        (2, ["train", "digits", "--epoch", "3"], ["--epoch", "--epochs"]),
        (2, ["train", "digits", "--steps", "x"], ["--steps", "valid integer"]),
        (2, ["train", "digits", "--set", "latnet=2"], ["did you mean 'latent'"]),
        (2, ["train", "digits", "--set", "latent"], ["--set key=value"]),
        (2, ["train", "digits", "--set", "=3"], ["--set key=value"]),
        (2, ["train", "digits", "--set", "latent=0"], ["at least one latent dimension"]),
        (2, ["train", "digits", "--set", "hidden=16"], ["a list of whole numbers"]),
        (2, ["train", "digits", "--set", "lr=fast"], ["lr takes a number"]),
        (2, ["train", "digits", "--set", "lr=-1"], ["lr=-1 is out of range"]),
        (2, ["train", "digits", "--set", "seed=3"], ["--seed 3"]),
        (2, ["train", "digits", "--set", "data=x"], ["no option 'data'"]),
        (2, ["train", "digits", "--set", "out=x"], ["no option 'out'"]),
        (2, ["train", "digits", "--set", "encoder=x"], ["from Python"]),
        (2, ["train", "digits", "--set", "steps=5", "--steps", "6"], ["given twice"]),
        (2, ["train", "digits", "--set", "act=foo"], ["'foo' is not known"]),
        (2, ["train", "digits", "--epochs", "5", "--steps", "5"], ["give one length"]),
        (2, ["train", "digits", "--time", "soon"], ["90s, 10m, 2h"]),
        (2, ["train", "digits", "--split", "1/2"], ["80/10/10"]),
        (2, ["train", "digits", "--split", "50/50/0"], ["80/10/10"]),
        (2, ["train", "digits", "--split", "90/0/10"], ["80/10/10"]),
        (2, ["train", "digits", "--kind", "pixle"], ["did you mean 'pixel'"]),
        (2, ["train", "digits", "--binarize", "maybe"], ["dynamic, static, threshold"]),
        (2, ["train", "digits", "--missing", "zero"], ["known: modelled, nan"]),
        (2, ["train", "digits", "--device", "tpu"], ["auto, cpu or cuda"]),
        (2, ["train", "digits", "--checkpoint", "0"], ["checkpoint=0"]),
        (2, ["train", "digits", "--recipe", "ppca"], ["density of reals", "--kind real"]),
        (2, ["train"], ["give DATA", "--resume"]),
        (2, ["train", "digits", "--resume", "run"], ["give DATA", "--resume"]),
        (2, ["score"], ["Missing argument", "RUN"]),
        # folders
        (2, ["train", "digits", "--out", "run"], ["never written over", "--resume run"]),
        (2, ["train", "digits", "--out", "junk.bin"], ["never written over"]),
        (74, ["train", "digits", "--out", "junk.bin/x"], ["a file lies where a folder"]),
        (1, ["train", "--resume", "nowhere"], ["no such folder"]),
        (1, ["train", "--resume", "empty"], ["run.json is missing"]),
        (1, ["sample", "empty"], ["run.json is missing"]),
        # uses
        (1, ["score", "run", "wide.npy"], ["(7,)", "(1, 8, 8)"]),
        (1, ["encode", "run", "rows.npy"], ["(4,)", "(1, 8, 8)"]),
        (1, ["encode", "run", "nowhere"], ["nowhere"]),
        (2, ["score", "plain"], ["no density"]),
        (2, ["score", "run", "--k", "0"], ["k=0"]),
        (2, ["sample", "run", "-n", "0"], ["n=0"]),
        (2, ["vary", "run", "--rows", "0"], ["0 rows"]),
        (2, ["traverse", "run", "--row", "999"], ["0 to 179"]),
        (2, ["interpolate", "run", "--path", "round"], ["linear, slerp"]),
        (2, ["reconstruct", "run", "--draws", "5", "--level", "2"], ["0 < level < 1"]),
        (2, ["sample", "run", "--out", "empty"], ["never written over"]),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else str(value),
)
def test_one_line(place, code, args, parts):
    refused(place, code, args, *parts)


def test_a_label_outside_the_classes(place):
    """The run knows the digits 0 to 9."""
    np.savez(place / "labels.npz", x=np.arange(640.0).reshape(10, 8, 8) % 17, y=np.arange(10) + 7)
    refused(place, 1, ["score", "run", "labels.npz"], "label '10'", "none of the run's classes")


@pytest.fixture
def copy(place, tmp_path) -> Path:
    """The run alone, to be spoilt."""
    shutil.copytree(place / "run", tmp_path / "run")
    return tmp_path


def test_spoilt_runs(copy):
    info = json.loads((copy / "run" / "run.json").read_text())
    flip(copy / "run" / "weights.safetensors", 600)
    refused(copy, 1, ["sample", "run"], "damaged", "checksum")
    (copy / "run" / "weights.safetensors").unlink()
    refused(copy, 1, ["sample", "run"], "incomplete", "weights.safetensors is missing")
    for fields, parts in (
        ({"format": FORMAT + 1}, ["upgrade vaes"]),
        ({"custom": ["encoder"]}, ["network of your own", "from Python"]),
    ):
        (copy / "run" / "run.json").write_text(json.dumps(info | fields))
        refused(copy, 2 if "custom" in fields else 1, ["sample", "run"], *parts)
    unfinished = {k: v for k, v in info.items() if k not in ("weights", "evaluated")}
    (copy / "run" / "run.json").write_text(json.dumps(unfinished))
    refused(copy, 1, ["sample", "run"], "not finished", "vaes train --resume run")
    (copy / "run" / "run.json").write_text(json.dumps(info)[:-20])
    refused(copy, 1, ["sample", "run"], "damaged", "run.json")


def _hold(path: str, ready: Any, done: Any) -> None:
    with disk.locked(Path(path), "it"):
        ready.set()
        done.wait()


def test_a_run_in_use(copy):
    context = multiprocessing.get_context("spawn")
    ready, done = context.Event(), context.Event()
    holder = context.Process(target=_hold, args=(str(copy / "run" / ".lock"), ready, done))
    holder.start()
    try:
        assert ready.wait(60)
        refused(copy, 1, ["train", "--resume", "run"], f"in use by process {holder.pid} on ")
    finally:
        done.set()
        holder.join()
    told = vaes_("train", "--resume", copy / "run")
    assert told.code == 0
    assert "is finished; nothing to do" in told.err


@not_root
def test_no_permission(place):
    place.chmod(0o500)
    try:
        refused(place, 74, [*DIGITS, "--out", "new"], "no permission")
    finally:
        place.chmod(0o700)


def test_a_full_disk(copy, monkeypatch):
    """While training: one line, status 74, and the run goes on once there is room."""
    real, calls = os.fsync, []

    def full(handle: int) -> None:
        calls.append(handle)
        if len(calls) > 20:
            raise OSError(28, "No space left on device")
        real(handle)

    monkeypatch.chdir(copy)
    monkeypatch.setattr(os, "fsync", full)
    told = vaes_(*DIGITS, "--checkpoint", "5", "--out", "new")
    assert told.code == 74
    assert "the disk is full; make room and resume" in told.err.splitlines()[-1]
    monkeypatch.setattr(os, "fsync", real)
    assert not list((copy / "new").rglob("*.tmp"))
    assert vaes_("train", "--resume", "new").code == 0
    weights = [disk.sha256(copy / name / "weights.safetensors") for name in ("new", "run")]
    assert weights[0] == weights[1]


@pytest.mark.parametrize(("error", "code"), [(KeyboardInterrupt(), 130), (SystemExit(143), 143)])
def test_a_signal_in_the_evaluation_says_how_to_go_on(copy, monkeypatch, error, code):
    """Outside the loop SIGTERM unwinds as SystemExit."""

    def ended(*args: Any, **kwargs: Any) -> Any:
        raise error

    monkeypatch.chdir(copy)
    with monkeypatch.context() as patch:
        patch.setattr("vaes.training.summary", ended)
        told = vaes_(*DIGITS, "--out", "new")
    assert told.code == code
    assert "weights saved; go on with: vaes train --resume new" in told.err.splitlines()[-1]
    assert vaes_("train", "--resume", "new").code == 0
    assert (copy / "new" / "evaluation.json").read_bytes() == (
        copy / "run" / "evaluation.json"
    ).read_bytes()


def test_few_rows_are_enough(tmp_path, monkeypatch):
    """Fewer than a batch; one row alone has no standard error."""
    monkeypatch.chdir(tmp_path)
    np.save("three.npy", np.random.default_rng(0).normal(size=(3, 4)))
    told = vaes_("train", "three.npy", "--steps", "5", "--out", "run")
    assert told.code == 0, told.err
    assert "± ?" in told.out


def test_debug_shows_the_traceback(place):
    with pytest.raises(Exception, match="neither a file or folder"):
        vaes_("train", "nowhere.npy", "--debug")
