"""One claim of its paper for every recipe: tests/papers/test_<recipe>.py."""

from pathlib import Path

from vaes.recipes import names


def test_every_recipe_has_a_claim():
    files = {path.stem for path in (Path(__file__).parent / "papers").glob("test_*.py")}
    assert {f"test_{name}" for name in names()} <= files
