"""Peers' synthetic rows: CTGAN's TVAE or a Gaussian copula, at their published defaults.

    VAES_DATA=FOLDER python benchmarks/tables/peers.py --peer tvae --table adult --out FILE.csv

Trains on the 90 % part of the table and writes as many rows as that part has; one JSON line with
the seconds. Columns go in and come out as SDV, the package around both, has them: numbers are
rounded and clipped as the training rows are; the copula has categories as uniform draws from
intervals as long as the category is frequent and a beta distribution for every column.
"""

import argparse
import importlib.metadata
import json
import os
import time
import warnings

import torch
from copulas.multivariate import GaussianMultivariate
from copulas.univariate import BetaUnivariate
from ctgan import TVAE
from rdt import HyperTransformer
from rdt.transformers import FloatFormatter, UniformEncoder
from sets import TABLES


def tvae(rows, categories, seed, epochs):
    """Lei Xu et al. 2019, 300 epochs in batches of 500."""
    model = TVAE(epochs=epochs, enable_gpu=False)
    model.set_random_state(seed)
    model.fit(rows, categories)
    return model


def gaussian_copula(rows, categories, seed, epochs):
    """Patki et al. 2016, on columns that are all numbers."""
    model = GaussianMultivariate(distribution=BetaUnivariate, random_state=seed)
    model.fit(rows)
    return model


PEERS = {"tvae": (tvae, None), "gaussian_copula": (gaussian_copula, UniformEncoder)}


def columns(table, frame, encoder):
    """SDV's way of columns into numbers and back; categories by `encoder`, None = as they are."""
    text = set(table.categories)
    ways = {
        c: (encoder() if encoder else None)
        if c in text
        else FloatFormatter(learn_rounding_scheme=True, enforce_min_max_values=True)
        for c in frame.columns
    }
    kinds = {c: "categorical" if c in text else "numerical" for c in frame.columns}
    way = HyperTransformer()
    way.set_config({"sdtypes": kinds, "transformers": ways})
    return way


def main():
    """Train, sample, write, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--peer", choices=PEERS, required=True)
    parser.add_argument("--table", choices=TABLES, default="adult")
    parser.add_argument("--seed", type=int, default=0, help="of the split and of the peer's draws")
    parser.add_argument("--epochs", type=int, default=300, help="of TVAE")
    parser.add_argument("--out", required=True, help="CSV file")
    args = parser.parse_args()
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "2")))
    warnings.simplefilter("ignore")  # a copula's fit of a beta distribution passes through log(0)
    table, (fit, encoder) = TABLES[args.table], PEERS[args.peer]
    train, _ = table.split(args.seed)

    start = time.perf_counter()
    way = columns(table, train, encoder)
    model = fit(way.fit_transform(train), list(table.categories), args.seed, args.epochs)
    fitted = time.perf_counter()
    made = way.reverse_transform(model.sample(len(train)))[train.columns]
    sampled = time.perf_counter()
    made.to_csv(args.out, index=False)
    line = {
        "peer": args.peer,
        "table": args.table,
        "seed": args.seed,
        "rows": len(made),
        "fit_seconds": round(fitted - start, 1),
        "sample_seconds": round(sampled - fitted, 1),
        **{name: importlib.metadata.version(name) for name in ("ctgan", "copulas", "rdt")},
    }
    if args.peer == "tvae":
        line["epochs"] = args.epochs
    print(json.dumps(line))


if __name__ == "__main__":
    main()
