"""Gaps of five tables: `VAEImputer` with its defaults beside peers, one row per table and setting.

    VAES_DATA=FOLDER python benchmarks/tables/imputation.py [--sets breast wine] [--contenders ...]

Runs in the environment of vaes with its test extra. The tables, the kinds of their columns and the
masks of cells to hide completely at random (MCAR) are those of HI-VAE's benchmark (Nazabal et al.
2020). At random given what is seen (MAR): a random half of the columns stays whole, and a logistic
regression in them hides 20 or 50 % of every other column. Cells that were empty from the start
are nobody's task.

Every contender fills the rows that it learns from. What it fills is brought to the column first:
whole numbers in counts and ordinals, nothing beyond what was observed. Error of a column over its
hidden cells: of numbers the root mean square over the column's standard deviation, of categories
the share that is wrong, of ordinals the mean displacement over the number of levels; of a table the
mean over its columns with hidden cells. Coverage: of our 90 % intervals, over the hidden cells of
numeric columns with more than 20 distinct values. Ours reads categories as words. Peers' caps stand
in imputers.py. Seconds are those of the processor, ours with intervals. One JSON line per result is
kept in `--work`; what is there is not done again.
"""

import argparse
import json
import time
from itertools import product
from pathlib import Path
from statistics import fmean

import numpy as np
import pandas as pd
from imputers import PEERS
from sets import located

from vaes import VAEImputer

SETS = {"breast": "Breast", "wine": "Wine", "spam": "spam", "letter": "letter", "adult": "Adult"}
NUMBERS = ("real", "pos", "count")
LEVEL, DISTINCT = 0.9, 20  # of intervals; values from which on a column has some
STEEPNESS = 2.0  # standard deviation of the log-odds that a cell is hidden at random
OURS = "vaes"


def load(name):
    """Rows (n, m) float64, categories as codes from 0 on, and kinds and levels of the columns."""
    about = pd.read_csv(located(f"hetero_tabular/{SETS[name]}/data_types.csv"))
    x = np.loadtxt(located(f"hetero_tabular/{SETS[name]}/data.csv.gz"), delimiter=",")
    kinds = about["type"].tolist()
    for j, kind in enumerate(kinds):
        if kind == "cat":
            seen = ~np.isnan(x[:, j])
            x[seen, j] = np.unique(x[seen, j], return_inverse=True)[1]
    return x, kinds, about["nclass"].fillna(0).astype(int).tolist()


def hidden(name, x, mechanism, rate):
    """Which cells are hidden, (n, m); never one that is empty."""
    cells = np.zeros(x.shape, bool)
    if mechanism == "MCAR":
        file = located(f"hetero_tabular/{SETS[name]}/Missing{rate}_1.csv.gz")
        row, column = np.loadtxt(file, delimiter=",", dtype=int).T - 1
        cells[row, column] = True
    else:
        cells = at_random(x, rate / 100, np.random.default_rng(rate))
    return cells & ~np.isnan(x)


def at_random(x, share, draw, whole=None):
    """`share` of every column but the `whole` ones (None: a random half), by odds that are linear
    in those and so steep that columns are far from being hidden completely at random."""
    n, m = x.shape
    kept, _ = np.split(draw.permutation(m), [m // 2 if whole is None else whole])
    z = (x[:, kept] - np.nanmean(x[:, kept], 0)) / np.maximum(np.nanstd(x[:, kept], 0), 1e-9)
    z, cells = np.nan_to_num(z), np.zeros(x.shape, bool)
    for j in np.setdiff1d(np.arange(m), kept):
        odds = z @ draw.normal(size=len(kept))
        odds *= STEEPNESS / max(odds.std(), 1e-9)
        low, high = -100.0, 100.0
        for _ in range(60):  # the intercept that hides as many cells as asked for, by bisection
            middle = (low + high) / 2
            few = logistic(odds + middle).mean() < share
            low, high = (middle, high) if few else (low, middle)
        cells[:, j] = draw.random(n) < logistic(odds + low)
    return cells


def logistic(a):
    """1 / (1 + e^-a)."""
    return 0.5 * (1 + np.tanh(a / 2))


def ours(x, kinds, **options):
    """Rows without gaps, and low and high ends of intervals, by a `VAEImputer` of a data frame."""
    columns = {f"c{j}": c for j, c in enumerate(x.T)}
    words = {
        f"c{j}": [None if np.isnan(v) else f"level {int(v)}" for v in x[:, j]]
        for j, kind in enumerate(kinds)
        if kind == "cat"
    }
    frame = pd.DataFrame(columns | words)
    model = VAEImputer(**options).fit(frame)

    def numbers(values):
        found = pd.DataFrame(values, columns=list(frame)).convert_dtypes()
        for name in words:
            found[name] = found[name].str.removeprefix("level ")
        return found.to_numpy(dtype=float)

    # what `transform` and `intervals` say, found once
    return tuple(map(numbers, model._filled(frame, LEVEL)))


def errors(x, filled, gaps, kinds, levels):
    """The error of every column with hidden cells."""
    found = {}
    for j, kind in enumerate(kinds):
        if not gaps[:, j].any():
            continue
        true, value = x[gaps[:, j], j], filled[gaps[:, j], j]
        seen = x[~gaps[:, j] & ~np.isnan(x[:, j]), j]
        value = value if kind in ("real", "pos") else np.rint(value)
        value = value.clip(seen.min(), seen.max())
        if kind == "cat":
            found[j] = float((value != true).mean())
        elif kind == "ordinal":
            found[j] = float(abs(value - true).mean() / levels[j])
        else:
            found[j] = float(np.sqrt(((value - true) ** 2).mean()) / np.nanstd(x[:, j]))
    return found


def coverage(x, low, high, gaps, kinds):
    """Share of the hidden cells that lie within their intervals; None where no column counts."""
    many = [len(np.unique(c[~np.isnan(c)])) > DISTINCT for c in x.T]
    wide = np.array([kind in NUMBERS for kind in kinds]) & many
    cells = gaps & wide
    return float(((low <= x) & (x <= high))[cells].mean()) if cells.any() else None


def result(name, mechanism, rate, contender):
    """One line of results."""
    x, kinds, levels = load(name)
    gaps = hidden(name, x, mechanism, rate)
    rows, start = np.where(gaps, np.nan, x), time.process_time()
    if contender == OURS:
        filled, low, high = ours(rows, kinds)
    else:
        filled = PEERS[contender](rows, kinds)
    seconds = time.process_time() - start
    by_column = errors(x, filled, gaps, kinds, levels)
    found = {"error": fmean(by_column.values()), "seconds": round(seconds, 1), "columns": by_column}
    if contender == OURS:
        found["coverage"] = coverage(x, low, high, gaps, kinds)
    return found


def table(found, contenders):
    """Markdown: errors with ranks in brackets, our coverage, seconds; mean ranks last."""
    print("\n| | " + " | ".join(contenders) + " | coverage | seconds |")
    print("|" + " --- |" * (len(contenders) + 3))
    ranks = {name: [] for name in contenders}
    for setting in dict.fromkeys(key[:3] for key in found):
        here = {c: found[*setting, c] for c in contenders if (*setting, c) in found}
        places = {c: 1 + sum(f["error"] < here[c]["error"] for f in here.values()) for c in here}
        if len(here) == len(contenders):
            for c, place in places.items():
                ranks[c].append(place)
        cells = [f"{here[c]['error']:.4f} ({places[c]})" if c in here else "" for c in contenders]
        held = here.get(OURS, {}).get("coverage")
        seconds = " / ".join(f"{here[c]['seconds']:.0f}" if c in here else "-" for c in contenders)
        cells += ["" if held is None else f"{held:.3f}", seconds]
        print("| {}, {} {} % | ".format(*setting) + " | ".join(cells) + " |")
    complete = {c: f"{fmean(r):.2f}" if r else "" for c, r in ranks.items()}
    print(f"| mean rank | {' | '.join(complete.values())} | | |")


def main():
    """Every contender in every setting, then the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    names = [OURS, *PEERS]
    parser.add_argument("--sets", nargs="+", choices=SETS, default=list(SETS))
    parser.add_argument("--mechanisms", nargs="+", choices=("MCAR", "MAR"), default=["MCAR", "MAR"])
    parser.add_argument("--rates", nargs="+", type=int, choices=(20, 50), default=[20, 50])
    parser.add_argument("--contenders", nargs="+", choices=names, default=names)
    parser.add_argument("--work", type=Path, default=Path("runs/imputation"), help="kept results")
    args = parser.parse_args()
    args.work.mkdir(parents=True, exist_ok=True)
    kept, found = args.work / "results.jsonl", {}
    for line in kept.read_text().splitlines() if kept.exists() else []:
        one = json.loads(line)
        found[one["set"], one["mechanism"], one["rate"], one["contender"]] = one
    asked = list(product(args.sets, args.mechanisms, args.rates, args.contenders))
    for key in asked:
        if key in found:
            continue
        one = dict(zip(("set", "mechanism", "rate", "contender"), key, strict=True))
        try:
            one |= result(*key)
        except Exception as error:
            print(f"{one} failed: {error}", flush=True)
            continue
        with kept.open("a") as lines:
            lines.write(json.dumps(one) + "\n")
        found[key] = one
        told = {k: v for k, v in one.items() if k != "columns"}
        print(json.dumps(told), flush=True)
    table({key: found[key] for key in asked if key in found}, args.contenders)


if __name__ == "__main__":
    main()
