"""The tables as data frames, each with its target, its task and a split by seed.

    VAES_DATA=FOLDER python benchmarks/tables/sets.py --table adult --seed 0 --out FOLDER

Writes train.csv (90 % of the rows) and test.csv (10 %). Categories are text, everything else is a
number, and no table has an empty cell ("?" in adult is a category like any other). The split is
drawn again until every category occurs among the training rows, as TabSyn's is, so that no held-out
row asks for a category that nobody has seen.
"""

import argparse
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

WINE = (
    *("fixed_acidity", "volatile_acidity", "citric_acid", "residual_sugar", "chlorides"),
    *("free_sulfur_dioxide", "total_sulfur_dioxide", "density", "pH", "sulphates", "alcohol"),
    *("quality", "colour"),
)
LETTER = (
    *("letter", "x_box", "y_box", "width", "height", "on_pixels", "x_bar", "y_bar", "x2_bar"),
    *("y2_bar", "xy_bar", "x2y_bar", "xy2_bar", "x_edge", "x_edge_y", "y_edge", "y_edge_x"),
)


def located(file):
    """The path of a file below a folder of VAES_DATA."""
    folders = [Path(f) for f in os.environ.get("VAES_DATA", "").split(os.pathsep) if f]
    for folder in folders:
        if (folder / file).exists():
            return folder / file
    raise SystemExit(f"{file} is in no folder of VAES_DATA")


@dataclass(frozen=True)
class Table:
    """`file` below a folder of VAES_DATA, the `target`, the `task` and which columns are text."""

    file: str
    target: str
    task: str
    categories: tuple[str, ...]
    header: tuple[str, ...] | None = None
    recode: Callable[[pd.DataFrame], pd.DataFrame] = lambda frame: frame

    def load(self) -> pd.DataFrame:
        """All rows."""
        return self.recode(self.read(located(self.file), self.header))

    def read(self, path, header=None) -> pd.DataFrame:
        """A CSV file of this table: text stays text, even where it looks like a number or a gap."""
        return pd.read_csv(
            path,
            header=0 if header is None else None,
            names=header,
            skipinitialspace=True,
            dtype=dict.fromkeys(self.categories, str),
            keep_default_na=False,
        )

    def split(self, seed: int) -> tuple[pd.DataFrame, pd.DataFrame]:
        """Rows to train on and held-out rows."""
        frame = self.load()
        draw = np.random.default_rng(seed)
        while True:
            order = draw.permutation(len(frame))
            cut = int(0.9 * len(frame))
            train, test = (
                frame.iloc[part].reset_index(drop=True) for part in (order[:cut], order[cut:])
            )
            if all(set(test[c]) <= set(train[c]) for c in self.categories):
                return train, test


TABLES = {
    "adult": Table(
        "tabular/adult.csv.gz",
        "income",
        "classification",
        (
            *("workclass", "education", "marital-status", "occupation", "relationship", "race"),
            *("sex", "native-country", "income"),
        ),
    ),
    "diamonds": Table(
        "tabular/diamonds.csv.gz", "price", "regression", ("cut", "color", "clarity")
    ),
    # two tables that come coded as numbers and without a header; the codes become words again
    "wine": Table(
        "hetero_tabular/Wine/data.csv.gz",
        "quality",
        "regression",
        ("colour",),
        WINE,
        lambda frame: frame.assign(colour=frame["colour"].map({"1": "red", "2": "white"})),
    ),
    "letter": Table(
        "hetero_tabular/letter/data.csv.gz",
        "letter",
        "classification",
        ("letter",),
        LETTER,
        lambda frame: frame.assign(letter=[chr(64 + int(code)) for code in frame["letter"]]),
    ),
}


def main():
    """Write both parts."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--table", choices=TABLES, default="adult")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    for name, part in zip(("train", "test"), TABLES[args.table].split(args.seed), strict=True):
        part.to_csv(args.out / f"{name}.csv", index=False)
        print(f"{args.out / name}.csv: {len(part):,} rows, {len(part.columns)} columns")


if __name__ == "__main__":
    main()
