"""Synthetic tables: ours beside peers on TabSyn's metrics (see metrics.py), one row per contender.

    VAES_DATA=FOLDER python benchmarks/tables/synthesis.py --python PATH/TO/PYTHON --table adult \\
        --ours "recipe=latent_class components=500" --peers tvae gaussian_copula [--seeds 3]

Runs in the environment of vaes; `--python` is that of requirements.txt, which splits, runs the
peers and measures. Every contender learns from the same 90 % of the rows and writes as many.
`--ours` takes options of a recipe, and of `vaes train` itself those in TRAIN. Figures are means
over seeds, each of which has its own split. Our seconds are those of the whole command, start and
compilation included; a peer's begin after its imports. A contender that fails is named and the
others go on. Peers' rows are kept in `--work` and made once.
"""

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import fmean

HERE = Path(__file__).parent
TRAIN = ("recipe", "epochs", "steps", "time", "split", "kind", "device", "label", "drop")
COLUMNS = {
    "shape": "shape",
    "trend": "trend",
    "logistic_detection": "logistic detection",
    "xgb_detection": "XGBoost detection",
    "auc": "AUC",
    "rmse": "RMSE",
    "evidence": "evidence, nats/row",
    "dcr_share": "DCR share",
    "copies": "copies",
    "fit_seconds": "fit, s",
    "sample_seconds": "sample, s",
}
# Scassola et al. 2026, tables of results, all of them on adult's own split of 32,561 / 16,281 rows
PUBLISHED = {
    "adult": {
        "TabSyn (published)": (0.992, 0.980, 0.987, 0.794, 0.910),
        "TabPC (published)": (0.994, 0.986, 0.996, 0.855, 0.916),
    }
}


def run(*command):
    """What a command printed, and its seconds; a failure says the end of what it complained of."""
    start = time.perf_counter()
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True)
    if done.returncode:
        said = (done.stderr or done.stdout).strip().splitlines() or ["it said nothing"]
        raise RuntimeError(f"exit status {done.returncode}: {said[-1]}")
    return done.stdout, time.perf_counter() - start


def ours(train_csv, test_csv, options, rows, out_csv, seed=0):
    """Rows of a model of vaes, in CSV; seconds, and the log evidence of the held-out rows.

    options: (key, value) pairs. The training part trains and validates; `vaes train` wants rows to
    evaluate as well and gets a hundredth, since the held-out rows lie in a file of their own.
    """
    flags = []
    for key, value in [("split", "90/9/1"), *options]:  # of a flag given twice the last one counts
        flags += [f"--{key}", value] if key in TRAIN else ["--set", f"{key}={value}"]
    vaes = (sys.executable, "-m", "vaes")
    with tempfile.TemporaryDirectory() as folder:
        made, drawn = Path(folder) / "run", Path(folder) / "drawn"
        _, fitting = run(*vaes, "train", train_csv, *flags, "--seed", seed, "--out", made)
        _, sampling = run(*vaes, "sample", made, "-n", rows, "--seed", seed, "--out", drawn)
        shutil.move(drawn / "rows.csv", out_csv)
        found = {"fit_seconds": fitting, "sample_seconds": sampling}
        try:
            said, _ = run(*vaes, "score", made, test_csv, "--json")
            found["evidence"] = json.loads(said.strip().splitlines()[-1])["log_evidence"]
        except RuntimeError as error:
            print(f"    no evidence: {error}", flush=True)
    return found


def peer(name, python, table, seed, out_csv):
    """Rows of a peer in CSV and its seconds; both are kept."""
    kept = out_csv.with_suffix(".json")
    if not (kept.exists() and out_csv.exists()):
        command = (HERE / "peers.py", "--peer", name, "--table", table, "--seed", seed)
        said, _ = run(python, *command, "--out", out_csv)
        kept.write_text(said.strip().splitlines()[-1])
    found = json.loads(kept.read_text())
    return {key: found[key] for key in ("fit_seconds", "sample_seconds")}


def contenders(args):
    """Name -> a function of (seed, train, test, CSV file to write) that returns figures."""
    found = {"training rows again": lambda seed, train, test, out: {}}
    for text in args.ours:
        options = [tuple(pair.split("=", 1)) for pair in text.split()]
        found[text] = lambda seed, train, test, out, options=options: ours(
            train, test, options, len(train.read_text().splitlines()) - 1, out, seed
        )
    for name in args.peers:
        found[name] = lambda seed, train, test, out, name=name: peer(
            name, args.python, args.table, seed, out
        )
    return found


def score(args, name, make, number, seed):
    """All figures of one contender on one split."""
    folder = args.work / args.table / str(seed)
    train, test = folder / "train.csv", folder / "test.csv"
    if not (train.exists() and test.exists()):
        split = ("--table", args.table, "--seed", seed, "--out", folder)
        run(args.python, HERE / "sets.py", *split)
    out = train if number == 0 else folder / f"{name if name in args.peers else number}.csv"
    found = make(seed, train, test, out)
    files = ("--train", train, "--test", test, "--synthetic", out)
    # "training rows again" has the AUC of real rows
    command = (HERE / "metrics.py", "--table", args.table, *files, "--skip", "auc_real")
    said, _ = run(args.python, *command)
    return json.loads(said.strip().splitlines()[-1]) | found


def line(name, found, shown):
    """One row of markdown; what a contender has no figure for stays empty."""

    def cell(key):
        if key not in found:
            return ""
        return f"{found[key]:.{1 if 'seconds' in key else 2 if key == 'evidence' else 3}f}"

    return f"| {name} | " + " | ".join(map(cell, shown)) + " |"


def main():
    """Every contender on every seed, then the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--python", required=True, help="python of the tables' environment")
    parser.add_argument("--table", default="adult", help="one of sets.py")
    parser.add_argument("--seeds", type=int, default=1, help="how many")
    parser.add_argument("--ours", nargs="*", default=[], metavar="'recipe=R k=v ...'")
    parser.add_argument("--peers", nargs="*", default=[], metavar="NAME", help="tvae ...")
    parser.add_argument("--work", type=Path, default=Path("runs/tables"), help="folder to keep")
    args = parser.parse_args()
    table = {}
    for number, (name, make) in enumerate(contenders(args).items()):
        found = []
        for seed in range(args.seeds):
            try:
                found.append(score(args, name, make, number, seed))
                print(f"{name}, seed {seed}: {json.dumps(found[-1])}", flush=True)
            except Exception as error:
                print(f"{name}, seed {seed} failed: {error}", flush=True)
        if found:
            figures = [key for key in found[0] if key in COLUMNS or key == "copies_test"]
            table[name] = {k: fmean(f[k] for f in found if k in f) for k in figures}
            table[name]["seeds"] = len(found)

    shown = [k for k in COLUMNS if any(k in found for found in table.values())]
    print(f"\n| {args.table} | " + " | ".join(COLUMNS[k] for k in shown) + " |")
    print("|" + " --- |" * (len(shown) + 1))
    for name, found in table.items():
        few = f" ({found['seeds']} of {args.seeds} seeds)" if found["seeds"] < args.seeds else ""
        print(line(name + few, found, shown))
    for name, figures in PUBLISHED.get(args.table, {}).items():
        keys = ("shape", "trend", "logistic_detection", "xgb_detection", "auc")
        print(line(name, dict(zip(keys, figures, strict=True)), shown))
    if table:
        own = fmean(found["copies_test"] for found in table.values())
        print(f"\nOf the held-out rows {own:.3f} equal a training row; the ideal DCR share is 0.5")


if __name__ == "__main__":
    main()
