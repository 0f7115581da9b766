"""The picture of a recipe's page in docs/gallery: rows drawn from a run of it, and reconstructions.

    python -m benchmarks.gallery RECIPE [DATA] [--set key=value]... [--kind KIND] [--keep RUN]

Trains the recipe (on `digits` unless DATA says otherwise) as `vaes train` would, prints what the
run measured on held-out rows, and writes docs/gallery/RECIPE.png. `--keep` leaves the run there.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path

from PIL import Image

import vaes
from vaes.arguments import kinds, options
from vaes.run import Run

GALLERY = Path(__file__).parents[1] / "docs" / "gallery"
PICTURES = ("samples.png", "reconstructions.png")
GAP, WIDEST = 24, 1000  # pixels: between the pictures, and of the whole


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
            args.data,
            args.recipe,
            out=args.keep or Path(folder) / "run",
            preparing={"kind": kinds(args.kind)} if args.kind else {},
            report=print,
            **options(args.set),
        )
        said = json.loads((run.path / "evaluation.json").read_text())
        for name in ("log_evidence", "log_evidence_se", "elbo", "elbo_se", "rate", "active_units"):
            if name in said:
                print(f"{name:16} {said[name]:.3f}")
        path = GALLERY / f"{args.recipe}.png"
        picture(run, path)
    print(f"wrote {path.relative_to(GALLERY.parents[1])}, {path.stat().st_size / 1024:.0f} KiB")


if __name__ == "__main__":
    main()
