"""What synthetic rows are worth: seven metrics of TabSyn's protocol, one JSON line.

    python benchmarks/tables/metrics.py --table adult --train A.csv --test B.csv --synthetic C.csv
    VAES_DATA=FOLDER python benchmarks/tables/metrics.py --check [--table wine]

The protocol is that of Zhang et al. 2024 (TabSyn, arXiv 2310.09656, and its published evaluation
code); detection by XGBoost is that of Scassola et al. 2026 (TabPC, arXiv 2603.23016). Every metric
takes (train, test, synthetic, target, task) and returns its figures by name:

density             `shape`: SDMetrics' mean over columns of KSComplement (numbers) or TVComplement
                    (categories), against the training rows. `trend`: its mean over all pairs of
                    columns of correlation or contingency similarity, numbers in ten bins of each
                    side's own range where the pair is mixed. Later SDMetrics leaves out pairs that
                    are weakly related in the real rows; here, as published, all pairs count.
logistic_detection  SDMetrics' LogisticDetection: mean over three folds of 2 - 2 max(AUC, .5); 1 =
                    a linear classifier cannot tell synthetic rows from training rows. It sees
                    margins only: independent columns score 1 as well.
xgb_detection       The same with XGBoost at its defaults on the same columns: categories one-hot.
                    Digits below those of the real numbers alone bring it from 1 to 0.
auc                 XGBoost trained on synthetic rows, tested on held-out real rows: AUC, the plain
                    mean of one-against-rest for several classes; for regression `rmse`, in the
                    target's own unit (TabSyn's code takes its logarithm). Tuned over TabSyn's grid
                    on a ninth of the synthetic rows, which it does not train on.
auc_real            The same, trained on the real training rows.
closest             `dcr_share`: share of synthetic rows whose nearest record lies among as many
                    training rows as there are test rows and not among the test rows; L1, numbers
                    over their range, categories one-hot (a mismatch costs 2). Ideal is .5, ties
                    count as half. The training rows themselves score only .5 + half the share of
                    them that is looked at: read it beside that.
copies              `copies`: share of synthetic rows that equal a training row in every column;
                    `copies_test`: the same share of the held-out real rows.
"""

import argparse
import json
import os
import time
import warnings

import numpy as np
import pandas as pd
import torch
from sdmetrics.single_table import LogisticDetection
from sdmetrics.single_table.detection.sklearn import ScikitLearnClassifierDetectionMetric
from sets import TABLES
from sklearn.compose import make_column_transformer
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import ParameterGrid
from sklearn.preprocessing import OneHotEncoder
from xgboost import XGBClassifier, XGBRegressor

with warnings.catch_warnings():
    warnings.simplefilter("ignore", FutureWarning)  # the report is deprecated; it is the protocol
    from sdmetrics.reports.single_table import QualityReport

THREADS = int(os.environ.get("OMP_NUM_THREADS", "2"))
GRID = {"max_depth": [5, 10, 20], "min_child_weight": [1, 10], "gamma": [0.0, 1.0]}
TREES = (10, 50, 100)  # TabSyn's grid has these too; one fit of 100 trees holds the other two
BLOCK = 2**24  # distances at a time


def numbers(frame):
    """Names of the numeric columns."""
    return frame.select_dtypes("number").columns.tolist()


def metadata(frame):
    """SDMetrics' description of the columns."""
    numeric = set(numbers(frame))
    kinds = {c: "numerical" if c in numeric else "categorical" for c in frame.columns}
    return {"columns": {c: {"sdtype": kind} for c, kind in kinds.items()}}


def density(train, test, synthetic, target, task):
    """Margins and pairs."""
    report = QualityReport()
    report.real_correlation_threshold = report.real_association_threshold = 0
    report.num_rows_subsample = None
    report.generate(train, synthetic, metadata(train), verbose=False)
    shape, trend = report.get_properties()["Score"]
    return {"shape": shape, "trend": trend}


def logistic_detection(train, test, synthetic, target, task):
    """Detection by a linear classifier."""
    return {"logistic_detection": _detection(LogisticDetection, train, synthetic)}


def xgb_detection(train, test, synthetic, target, task):
    """Detection by boosted trees, on as many synthetic rows as there are real ones."""
    n = min(len(train), len(synthetic))
    real, made = train.sample(n, random_state=0), synthetic.sample(n, random_state=0)
    return {"xgb_detection": _detection(XGBDetection, real, made)}


class XGBDetection(ScikitLearnClassifierDetectionMetric):
    """XGBoost in the place of the logistic regression."""

    @staticmethod
    def _get_classifier():
        return XGBClassifier(n_jobs=THREADS, random_state=0)


def _detection(metric, real, synthetic):
    np.random.seed(0)  # noqa: NPY002 - SDMetrics draws its folds from the global generator
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a hundred steps of L-BFGS, as published, may not converge
        return metric.compute(real, synthetic, metadata(real))


def auc(train, test, synthetic, target, task):
    """What the synthetic rows teach a classifier or a regression."""
    order = np.random.default_rng(0).permutation(len(synthetic))
    valid, learn = (synthetic.iloc[part] for part in np.split(order, [len(order) // 9]))
    features = [c for c in learn.columns if c != target]
    code = make_column_transformer(
        (
            OneHotEncoder(handle_unknown="ignore", sparse_output=False),
            [c for c in features if c not in numbers(learn)],
        ),
        ("passthrough", [c for c in features if c in numbers(learn)]),
    )
    x = code.fit_transform(learn)
    x_valid, x_test = code.transform(valid), code.transform(test)
    classes, y = np.unique(learn[target], return_inverse=True)
    if task == "classification" and len(classes) < 2:
        return {"auc": 0.5}  # one class was synthesised: nothing to learn
    best, found = -np.inf, None
    for options in ParameterGrid(GRID):
        made = XGBClassifier if task == "classification" else XGBRegressor
        model = made(n_estimators=max(TREES), n_jobs=THREADS, random_state=0, **options)
        model.fit(x, y if task == "classification" else learn[target])
        for trees in TREES:
            score = _score(model, trees, x_valid, valid[target], classes, task)
            if score > best:
                best, found = score, (model, trees)
    score = _score(*found, x_test, test[target], classes, task)
    return {"auc": score} if task == "classification" else {"rmse": -score}


def auc_real(train, test, synthetic, target, task):
    """What the real rows teach."""
    return {f"{k}_real": v for k, v in auc(train, test, train, target, task).items()}


def _score(model, trees, x, y, classes, task):
    """AUC or minus RMSE; a class of y that the model has not seen gets probability 0."""
    if task == "regression":
        guess = model.predict(x, iteration_range=(0, trees))
        return -float(np.sqrt(np.mean((guess - y.to_numpy()) ** 2)))
    p = dict(zip(classes, model.predict_proba(x, iteration_range=(0, trees)).T, strict=True))
    return float(np.mean([roc_auc_score(y == c, p.get(c, 0 * x[:, 0])) for c in y.unique()]))


def closest(train, test, synthetic, target, task):
    """Nearer to rows that were trained on than to rows that were not?"""
    some = train.sample(min(len(train), len(test)), random_state=0)
    code = _coder(train, pd.concat([train, test, synthetic]))
    near, far = (nearest(code(synthetic), code(part)) for part in (some, test))
    tied = np.isclose(near, far, rtol=0, atol=1e-9)
    return {"dcr_share": float(np.mean(np.where(tied, 0.5, near < far)))}


def nearest(rows, among):
    """L1 distance of every row to its nearest among others; both as (numbers, one-hot)."""
    found, step = [], max(1, BLOCK // len(among[0]))
    for start in range(0, len(rows[0]), step):
        x, c = rows[0][start : start + step], rows[1][start : start + step]
        differing = c.sum(1, keepdim=True) - c @ among[1].T
        found.append((torch.cdist(x, among[0], p=1) + 2 * differing).min(1).values)
    return torch.cat(found).numpy()


def _coder(train, whole):
    """Numbers over their range in `train`, and categories one-hot."""
    numeric = numbers(train)
    span = (train[numeric].max() - train[numeric].min()).replace(0, 1).to_numpy()
    hot = OneHotEncoder(sparse_output=False, dtype=np.float32).fit(whole.drop(columns=numeric))

    def code(frame):
        x = torch.from_numpy(frame[numeric].to_numpy(dtype=float) / span)
        return x, torch.from_numpy(hot.transform(frame.drop(columns=numeric)))

    return code


def copies(train, test, synthetic, target, task):
    """Training rows that came back."""
    known = set(_rows(train, train))
    return {
        "copies": float(np.mean([row in known for row in _rows(train, synthetic)])),
        "copies_test": float(np.mean([row in known for row in _rows(train, test)])),
    }


def _rows(train, frame):
    """Rows as tuples, whole numbers and the same numbers with a point alike."""
    return frame.astype(dict.fromkeys(numbers(train), float)).itertuples(index=False, name=None)


METRICS = (density, logistic_detection, xgb_detection, auc, auc_real, closest, copies)


def measure(train, test, synthetic, target, task, metrics=METRICS):
    """All figures, and the seconds that each metric took."""
    torch.set_num_threads(THREADS)
    figures, seconds = {}, {}
    for metric in metrics:
        start = time.perf_counter()
        figures |= metric(train, test, synthetic, target, task)
        seconds[metric.__name__] = round(time.perf_counter() - start, 2)
    return {k: round(float(v), 5) for k, v in figures.items()} | {"seconds": seconds}


def check(table):
    """The metrics on tables whose figures are known beforehand."""
    train, test = table.split(0)
    about = (table.target, table.task)
    some = (density, logistic_detection, xgb_detection, copies)
    found = measure(train, test, train.sample(frac=1, random_state=0), *about, some)
    print("its own rows, permuted ", json.dumps(found), flush=True)
    assert found["shape"] == found["trend"] == found["copies"] == 1, found
    assert min(found["logistic_detection"], found["xgb_detection"]) > 0.99, found

    apart = {c: train[c].sample(frac=1, random_state=i) for i, c in enumerate(train.columns)}
    shuffled = pd.DataFrame({c: column.to_numpy() for c, column in apart.items()})
    found = measure(train, test, shuffled, *about, some)
    print("every column by itself ", json.dumps(found), flush=True)
    assert found["shape"] == 1, found
    assert found["trend"] < 0.98, found
    assert found["xgb_detection"] < 0.3, found

    # three disjoint sets of rows: the share is .5 up to its own error, four of which are allowed
    whole = pd.concat([train, test]).sample(frac=1, random_state=1, ignore_index=True)
    part = min(len(whole) // 3, 3000)
    thirds = [whole[i * part : (i + 1) * part] for i in range(3)]
    found = measure(*thirds, *about, (closest,))
    print("three parts of the rows", json.dumps(found), flush=True)
    assert abs(found["dcr_share"] - 0.5) < 4 * np.sqrt(0.25 / part), found

    # the distances in blocks against the definition
    code, numeric = _coder(train, whole), numbers(train)
    span = (train[numeric].max() - train[numeric].min()).replace(0, 1)
    row, among = whole.iloc[0], whole[1:200]
    far = (abs(among[numeric] - row[numeric].astype(float)) / span).sum(axis=1)
    far += 2 * (among.drop(columns=numeric) != row.drop(numeric)).sum(axis=1)
    assert np.isclose(nearest(code(whole[:1]), code(among)), far.min()), far.min()
    print("as expected")


def main():
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--table", choices=TABLES, default="adult")
    for name in ("train", "test", "synthetic"):
        parser.add_argument(f"--{name}", help="CSV file")
    names = [metric.__name__ for metric in METRICS]
    parser.add_argument("--skip", nargs="*", choices=names, default=[])
    parser.add_argument("--check", action="store_true", help="run on rows with known figures")
    args = parser.parse_args()
    table = TABLES[args.table]
    if args.check:
        check(table)
        return
    if not (args.train and args.test and args.synthetic):
        parser.error("give --train, --test and --synthetic, or --check")
    train, test, synthetic = (table.read(f) for f in (args.train, args.test, args.synthetic))
    if lacking := set(train.columns) - set(synthetic.columns):
        parser.error(f"{args.synthetic} lacks the columns {sorted(lacking)}")
    some = [metric for metric in METRICS if metric.__name__ not in args.skip]
    synthetic = synthetic[train.columns]
    found = measure(train, test, synthetic, table.target, table.task, some)
    print(json.dumps({"table": args.table, "rows": len(synthetic)} | found))


if __name__ == "__main__":
    main()
