"""docs/derivation.md: its Python blocks run in order, in one namespace; its pictures are drawn."""

from __future__ import annotations

import math
import re
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from PIL import Image

DOCS = Path(__file__).parents[1] / "docs"
BLOCK = re.compile(r"^```python\n(.*?)^```", re.DOTALL | re.MULTILINE)


@pytest.fixture(scope="module")
def text() -> str:
    return (DOCS / "derivation.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def drawing() -> ModuleType:
    from benchmarks import derivation_pictures

    return derivation_pictures


@pytest.fixture(scope="module")
def space(drawing) -> dict[str, Any]:
    """What the blocks leave; an assertion of the page that fails, fails here."""
    return drawing.run_page()


def test_blocks_run(space, text):
    """That the last block was reached, and what the page ends on."""
    blocks = BLOCK.findall(text)
    assert len(blocks) == 16
    (silent,) = (block for block in blocks if "assert " not in block)
    assert "loss.backward()" in silent  # the training loop: what it reaches is asserted after it
    assert space["bound_of_two"].item() == pytest.approx(-2.3857187161, abs=1e-7)


def test_a_wrong_number_is_noticed(tmp_path, drawing, text):
    """The page's first assertion, with a digit changed."""
    wrong = text.replace("-7.696352522037623) < 1e-12", "-7.696352522137623) < 1e-12")
    assert wrong != text
    (tmp_path / "page.md").write_text(wrong, encoding="utf-8")
    with pytest.raises(AssertionError) as raised:
        drawing.run_page(tmp_path / "page.md")
    line = wrong[: wrong.index("-7.696352522137623")].count("\n") + 1
    assert raised.traceback[-1].lineno + 1 == line


def test_numbers_of_the_text_are_in_the_blocks(text):
    """Bounds and gaps that the text gives to four digits or more are asserted in a block."""
    code, prose = "\n".join(BLOCK.findall(text)), BLOCK.sub("", text)
    known = [abs(float(n)) for n in re.findall(r"\d*\.\d+", code)]
    stated = re.findall(r"(?<![\d:.])\d*\.\d{4,}(?![\d)])", prose)
    assert len(stated) >= 8
    for number in stated:
        half = 0.5 * 10 ** -len(number.split(".")[1])
        assert any(abs(float(number) - n) <= half * 1.01 for n in known), number


def test_links_and_pictures_are_there(drawing, text):
    found = re.findall(r"\]\(([^)]+)\)", text + (DOCS / "errata.md").read_text(encoding="utf-8"))
    assert {f"pictures/{name}" for name in drawing.PICTURES} <= set(found)
    for link in found:
        assert (DOCS / link).is_file(), link


def test_pictures_show_what_the_page_says(drawing, space, tmp_path):
    shown: dict[str, Any] = {}
    for name, picture in drawing.PICTURES.items():
        shown[name] = picture(space, tmp_path / name)
        with Image.open(tmp_path / name) as image, Image.open(DOCS / "pictures" / name) as kept:
            assert image.size == kept.size
            assert len(np.unique(np.asarray(image.convert("L")))) > 20
    log_p = space["log_p"]
    naive, near = (shown["derivation-monte-carlo.png"][name] for name in ("naive", "diagonal"))
    assert naive.shape == (len(drawing.DRAWS), drawing.ESTIMATES)
    assert (naive[0] < drawing.LOWEST).mean() > 0.2
    assert (np.abs(near - log_p).std(1) < np.abs(naive - log_p).std(1)).all()
    curves = shown["derivation-bound.png"]
    for lower, upper in (("elbo", "L5"), ("L5", "L50")):
        assert (curves[lower] < curves[upper] + 0.02).all()
    assert curves["L50"].max() < log_p + 0.01
    assert curves["elbo"].max() == pytest.approx(-7.723983861, abs=2e-3)
    assert np.allclose(curves["elbo"], -curves["distortion"] - curves["rate"], atol=1e-12)
    densities = shown["derivation-modes.png"]
    z = space["z"].flatten().numpy()
    step = z[1] - z[0]
    for density in densities.values():
        assert density.sum() * step == pytest.approx(1, abs=2e-3)
    for name, mass in (("elbo", 1.0), ("half", 1.0), ("wide", 0.5), ("chi", 0.5)):
        density = shown["mode-seeking.png"][name]
        assert density.sum() * step == pytest.approx(1, abs=2e-3)
        assert density[z > 0].sum() * step == pytest.approx(mass, abs=2e-3)
    # one mode covers half of the posterior, the other Gaussian has its moments
    right = densities["one_mode"][z > 0].sum() * step
    assert right == pytest.approx(1, abs=1e-9)
    second = (z**2 * densities["posterior"]).sum() * step
    assert math.sqrt(second) == pytest.approx(1.19231, abs=1e-4)
