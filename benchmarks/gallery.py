"""The picture of a recipe's page in docs/gallery: rows drawn from a run of it, and reconstructions.

    python -m benchmarks.gallery RECIPE [DATA] [--set key=value]... [--kind KIND] [--keep RUN]

Trains the recipe (on `digits` unless DATA says otherwise) as `vaes train` would, prints what the
run measured on held-out rows, and writes docs/gallery/RECIPE.png and the list of all recipes,
docs/gallery/README.md. `--keep` leaves the run there.
DATA may also be a set that is drawn here: `cut`, reals whose large values are missing; `topics`,
counts of words in documents (with --kind count).
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image

import vaes
from vaes.arguments import kinds, options
from vaes.recipes import names, summary
from vaes.run import Run

GALLERY = Path(__file__).parents[1] / "docs" / "gallery"
PICTURES = ("samples.png", "reconstructions.png")
GAP, WIDEST = 24, 1000  # pixels: between the pictures, and of the whole


def cut() -> np.ndarray:
    """1,000 rows of six reals that two hidden numbers explain; in three columns large values are
    missing, by a logistic of the value itself."""
    draw = np.random.default_rng(0)
    loadings = [[1.5, 0.3], [1.0, -1.0], [0.5, 1.2], [1.0, 0.8], [-1.2, 0.5], [0.3, -1.5]]
    x = draw.normal(size=(1000, 2)) @ np.array(loadings).T + 0.4 * draw.normal(size=(1000, 6))
    gone = draw.random(x.shape) < 1 / (1 + np.exp(-5 * x / x.std(0)))
    gone[:, 3:] = False
    return np.where(gone, np.nan, x)


def topics() -> np.ndarray:
    """2,000 documents of 30 to 300 words out of 20, each a mixture of four topics."""
    draw = np.random.default_rng(0)
    words = draw.dirichlet(np.full(20, 0.2), 4)
    shares = draw.dirichlet(np.full(4, 0.3), 2000) @ words
    lengths = draw.integers(30, 300, 2000)
    return np.stack([draw.multinomial(n, p) for n, p in zip(lengths, shares, strict=True)])


DRAWN = {"cut": cut, "topics": topics}


def picture(run: Run, path: Path) -> None:
    """What the run drew, one beside the other, on white."""
    parts = [Image.open(run.path / name).convert("RGB") for name in PICTURES]
    height = max(part.height for part in parts)
    width = sum(part.width for part in parts) + GAP * (len(parts) - 1)
    whole, left = Image.new("RGB", (width, height), "white"), 0
    for part in parts:
        whole.paste(part, (left, (height - part.height) // 2))
        left += part.width + GAP
    if width > WIDEST:
        whole = whole.resize((WIDEST, round(height * WIDEST / width)), Image.Resampling.LANCZOS)
    path.parent.mkdir(exist_ok=True)
    whole.quantize(64).save(path, optimize=True)


def index() -> None:
    """docs/gallery/README.md: a line for each recipe, from its docstring."""
    lines = [
        "# Recipes",
        "",
        "A published model is a recipe; `vaes recipes NAME` has its options.",
        "",
    ]
    lines += ["| recipe | what it is |", "|---|---|"]
    lines += [f"| [{name}]({name}.md) | {summary(name)} |" for name in names()]
    (GALLERY / "README.md").write_text("\n".join(lines) + "\n", encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("recipe")
    parser.add_argument("data", nargs="?", default="digits")
    parser.add_argument("--set", action="append", default=[], metavar="key=value")
    parser.add_argument(
        "--kind", action="append", help="overrules what every entry is, as vaes train's --kind"
    )
    parser.add_argument("--keep", type=Path, help="where the run folder is left")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        run = vaes.train(
            DRAWN[args.data]() if args.data in DRAWN else args.data,
            args.recipe,
            out=args.keep or Path(folder) / "run",
            preparing={"kind": kinds(args.kind)} if args.kind else {},
            report=print,
            **options(args.set),
        )
        said = json.loads((run.path / "evaluation.json").read_text())
        for name in ("log_evidence", "log_evidence_se", "elbo", "elbo_se", "rate", "active_units"):
            if said.get(name) is not None:
                print(f"{name:16} {said[name]:.3f}")
        path = GALLERY / f"{args.recipe}.png"
        picture(run, path)
    index()
    print(f"wrote {path.relative_to(GALLERY.parents[1])}, {path.stat().st_size / 1024:.0f} KiB")


if __name__ == "__main__":
    main()
