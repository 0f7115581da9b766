"""One claim of its paper for every recipe: tests/papers/test_<recipe>.py."""

from pathlib import Path

from vaes.recipes import names, summary


def test_every_recipe_has_a_claim():
    files = {path.stem for path in (Path(__file__).parent / "papers").glob("test_*.py")}
    assert {f"test_{name}" for name in names()} <= files


def test_every_recipe_has_a_page_and_a_picture():
    gallery = Path(__file__).parents[1] / "docs" / "gallery"
    listed = (gallery / "README.md").read_text(encoding="utf-8")
    for name in names():
        assert f"[{name}]({name}.md) | {summary(name)} |" in listed  # benchmarks.gallery writes it
        page = (gallery / f"{name}.md").read_text(encoding="utf-8")
        assert f"python -m benchmarks.gallery {name}" in page
        assert f"({name}.png)" in page
        assert (gallery / f"{name}.png").stat().st_size < 200_000
