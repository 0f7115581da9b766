"""Anomaly detection on the tables of ADBench: `VAEDetector` beside peers.

    VAES_DATA=FOLDER python benchmarks/tables/detection.py --python PATH/TO/PYTHON [--seeds 3]

Runs in the environment of vaes; `--python` is that of requirements.txt, which runs the peers.
One-class: half of the normal rows train (at most `--most`), the others and all anomalies are told
apart (at most twice as many). Unsupervised: the rows that train, anomalies and all, are the rows
that are told apart. Columns are given as they are; each contender scales them as it is used to.

Printed: the area under the ROC curve of each table, mean over seeds, and the mean over tables; the
realised share of false discoveries of `discoveries` at 10 %, p-values calibrated by normal rows
that were not trained on, mean over 50 divisions of them into calibration and test; the share of
rows with one entry planted outside what its column holds whose blame is highest there.
What was computed is kept in `--work` and not computed again.
"""

import argparse
import json
import os
import subprocess
import time
import warnings
from pathlib import Path

import numpy as np
import torch

HERE = Path(__file__).parent
PEERS = ("pyod_vae", "iforest", "pca", "knn", "gmm")
NOMINAL = 0.1
PLANTED = 100  # rows of each table with a planted entry
WIDE = 64  # columns up to which blame leaves each one out in turn: the method that is meant


def tables():
    """Name -> rows (n, d) and whether each is an anomaly (n,)."""
    folders = [Path(f) / "adbench" for f in os.environ.get("VAES_DATA", "").split(os.pathsep) if f]
    found = sorted(file for folder in folders for file in folder.glob("*.npz"))
    if not found:
        raise SystemExit("adbench is in no folder of VAES_DATA")
    for file in sorted(found, key=lambda file: int(file.stem.split("_")[0])):
        held = np.load(file, allow_pickle=True)
        yield file.stem.split("_", 1)[1], held["X"].astype(np.float64), held["y"] == 1


def split(x, odd, seed, setting, most):
    """Training rows, rows to tell apart and which of these are anomalies."""
    draw = np.random.default_rng(seed)
    if setting == "unsupervised":
        rows = draw.permutation(len(x))[: 2 * most]
        return x[rows], x[rows], odd[rows]
    normal = draw.permutation(np.flatnonzero(~odd))
    half = len(normal) // 2
    rest = draw.permutation(np.concatenate([normal[half:], np.flatnonzero(odd)]))[: 2 * most]
    return x[normal[:half][:most]], x[rest], odd[rest]


def prepare(work, most, seeds, only):
    """Lays down every split; (table, seed, setting, file) of each."""
    found = []
    for name, x, odd in tables():
        if only and name not in only:
            continue
        for setting, many in (("one-class", seeds), ("unsupervised", 1)):
            folder = work / setting
            folder.mkdir(parents=True, exist_ok=True)
            for seed in range(many):
                file = folder / f"{name}-{seed}.npz"
                if not file.exists():
                    train, test, flags = split(x, odd, seed, setting, most)
                    np.savez(file, train=train, test=test, odd=flags, seed=seed)
                found.append((name, seed, setting, file))
    return found


def ours(file, setting, options):
    """Scores of `VAEDetector`, higher = odder; of one-class splits, blame of planted entries."""
    from vaes import VAEDetector

    out, figures = file.with_suffix(".vaes.npy"), file.with_suffix(".vaes.json")
    if out.exists():
        return
    held, start = np.load(file), time.perf_counter()
    seed, train, test, odd = int(held["seed"]), held["train"], held["test"], held["odd"]
    model = VAEDetector(random_state=seed, threads=1, **options).fit(train)
    scores = -model.score_samples(test)
    found = {"seconds": time.perf_counter() - start, "recipe": model.recipe_}
    if setting == "one-class" and seed == 0 and train.shape[1] <= WIDE:
        found |= blamed(model, train, test[~odd], seed)
    figures.write_text(json.dumps(found))
    np.save(out, scores)
    print(f"{file.stem} {setting} vaes {found['seconds']:.1f} s", flush=True)


def blamed(model, train, normal, seed):
    """Plants one entry beyond the range of its column in each of some normal rows.

    The planted value lies half a range, and at least five standard deviations, beyond what the
    training rows hold. "blame" is the share of rows whose entry with the most blame, above the
    median that normal rows have there, is the planted one.
    """
    draw = np.random.default_rng(seed)
    low, high, spread = train.min(0), train.max(0), train.std(0)
    kept = np.flatnonzero(spread > 0)
    usual = np.median(model.blame(normal[:200]), 0)
    planted = normal[:PLANTED].copy()
    columns = draw.choice(kept, len(planted))
    beyond = np.maximum((high - low) / 2, 5 * spread)
    up = draw.random(len(planted)) < 0.5
    value = np.where(up, (high + beyond)[columns], (low - beyond)[columns])
    planted[np.arange(len(planted)), columns] = value
    found = (model.blame(planted) - usual)[:, kept].argmax(1)
    return {"blame": float((kept[found] == columns).mean())}


def false_discoveries(scores, odd, divisions=50):
    """Mean share of normal rows among the discoveries at NOMINAL.

    Half of the normal rows calibrate, the other half and the anomalies are tested.
    """
    from vaes.uses import Conformal, discoveries

    draw = np.random.default_rng(0)
    scores, normal, found = torch.as_tensor(scores), np.flatnonzero(~odd), []
    for _ in range(divisions):
        order = draw.permutation(normal)
        held, fresh = np.split(order, [len(order) // 2])
        rows = np.concatenate([fresh, np.flatnonzero(odd)])
        flagged = discoveries(Conformal(scores[held]).p_values(scores[rows]), NOMINAL).numpy()
        found.append((flagged & ~odd[rows]).sum() / max(1, flagged.sum()))
    return float(np.mean(found))


def table(setting, splits, contenders):
    """One row per table of areas under the ROC curve, and the means."""
    from sklearn.metrics import roc_auc_score

    names = list(dict.fromkeys(name for name, _, where, _ in splits if where == setting))
    print(f"\n| {setting} | " + " | ".join(contenders) + " |")
    print("|" + " --- |" * (len(contenders) + 1))
    means = []
    for name in names:
        files = [file for n, _, where, file in splits if (n, where) == (name, setting)]
        row = []
        for contender in contenders:
            areas = []
            for file in files:
                scores = np.nan_to_num(np.load(file.with_suffix(f".{contender}.npy")), posinf=1e300)
                areas.append(roc_auc_score(np.load(file)["odd"], scores))
            row.append(np.mean(areas))
        means.append(row)
        print(f"| {name} | " + " | ".join(f"{area:.3f}" for area in row) + " |")
    print(f"| mean of {len(names)} | " + " | ".join(f"{m:.4f}" for m in np.mean(means, 0)) + " |")


def calibration(splits):
    """Realised false discoveries and blame, a line per table."""
    print(f"\n| one-class | false discoveries at {NOMINAL:.0%} | blame finds | fit and score, s |")
    print("| --- | --- | --- | --- |")
    kept, blames, total = 0, [], 0
    for name in dict.fromkeys(name for name, _, where, _ in splits if where == "one-class"):
        files = [file for n, _, where, file in splits if (n, where) == (name, "one-class")]
        rates = [
            false_discoveries(np.load(file.with_suffix(".vaes.npy")), np.load(file)["odd"])
            for file in files
        ]
        figures = [json.loads(file.with_suffix(".vaes.json").read_text()) for file in files]
        blame = [figure["blame"] for figure in figures if "blame" in figure]
        kept, total, blames = kept + (np.mean(rates) <= NOMINAL), total + 1, blames + blame
        seconds = np.mean([figure["seconds"] for figure in figures])
        shown = f"{blame[0]:.2f}" if blame else ""
        print(f"| {name} | {np.mean(rates):.3f} | {shown} | {seconds:.1f} |")
    print(f"\nAt most {NOMINAL:.0%} false discoveries on {kept} of {total} tables; a planted entry")
    print(
        f"has the most blame in {np.mean(blames):.3f} of the rows, mean over {len(blames)} tables"
    )


def main():
    """Splits, ours, peers, tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--python", required=True, help="python of the tables' environment")
    parser.add_argument("--seeds", type=int, default=3, help="one-class; unsupervised has one")
    parser.add_argument("--most", type=int, default=5000, help="rows that train")
    parser.add_argument("--only", nargs="*", metavar="TABLE")
    parser.add_argument("--set", nargs="*", default=[], metavar="KEY=VALUE", help="of VAEDetector")
    parser.add_argument("--work", type=Path, default=Path("runs/detection"), help="folder to keep")
    args = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    splits = prepare(args.work, args.most, args.seeds, args.only)
    options = dict(pair.split("=", 1) for pair in args.set)
    for _, _, setting, file in splits:
        ours(file, setting, options)
    for setting in ("one-class", "unsupervised"):
        command = (args.python, HERE / "detection_peers.py", "--folder", args.work / setting)
        subprocess.run([str(part) for part in command], check=True)
    for setting in ("one-class", "unsupervised"):
        table(setting, splits, ("vaes", *PEERS))
    calibration(splits)


if __name__ == "__main__":
    main()
