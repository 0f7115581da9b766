"""Values that are missing because of what they are: not_miwae beside iwae and the columns' means.

    python benchmarks/tables/not_at_random.py [--rows 2000] [--seeds 3] [--slopes 1 2 5]

Rows are of probabilistic PCA with 2 latent dimensions and 6 columns of spread 1 to 2; of the first
half of the columns, values go missing with probability sigmoid(slope (x - mean) / spread), so that
large ones do. Every contender is trained on the same rows and fills the same gaps. A line per
contender: root mean square error of what is filled in, in spreads of the columns, and how far the
mean of the filled values is below the truth (0 = unbiased). Nearest to what can be had: E[x | all
other values and where the gaps are] of the model that made the rows, by importance weights.
"""

from __future__ import annotations

import argparse
from statistics import fmean, stdev

import numpy as np
import torch

from vaes import VAEImputer, uses
from vaes.batch import Data, Spec
from vaes.dist.selected import QUICK
from vaes.recipes import build

MASKED = 3  # columns whose values go missing


def rows(n: int, slope: float, seed: int) -> tuple[np.ndarray, np.ndarray, dict[str, np.ndarray]]:
    """Rows (n, 6), the same with NaN in the gaps, and what made them."""
    draw = np.random.default_rng(seed)
    weight, spread = draw.normal(size=(6, 2)), 0.4
    x = draw.normal(size=(n, 2)) @ weight.T + spread * draw.normal(size=(n, 6))
    std = np.sqrt((weight**2).sum(1) + spread**2)
    gone = draw.random(x.shape) < 1 / (1 + np.exp(-slope * x / std))
    gone[:, MASKED:] = False
    made = {"weight": weight, "std": std, "spread": np.array(spread), "slope": np.array(slope)}
    return x, np.where(gone, np.nan, x), made


def best(holed: np.ndarray, made: dict[str, np.ndarray]) -> np.ndarray:
    """Gaps filled by the model that made the rows."""
    spec = Spec((6,), missing=True)
    model = build("not_miwae", spec, latent=2, hidden=(), scale=float(made["spread"])).eval()
    decoder, masked = model.decoder, torch.arange(6) < MASKED  # type: ignore[attr-defined]
    with torch.no_grad():
        for parameter in model.encoder.parameters():  # type: ignore[attr-defined]
            parameter.zero_()
        decoder.last.weight.copy_(torch.from_numpy(made["weight"]))
        decoder.last.bias.zero_()
        slope = float(made["slope"]) / torch.from_numpy(made["std"])
        decoder.head.slope.copy_(torch.where(masked, -slope, 0.0) / QUICK)
        decoder.head.shift.copy_(torch.where(masked, 0.0, 20.0) / QUICK)
    mask = torch.from_numpy(~np.isnan(holed))
    x = torch.from_numpy(np.nan_to_num(holed)).float()
    return uses.impute(model, Data(spec, x, mask=mask), k=500).mean.double().numpy()


def fill(recipe: str, holed: np.ndarray, seed: int, **options: object) -> np.ndarray:
    given = {"schedule": "cosine", "lr": 3e-3, **options}
    imputer = VAEImputer(recipe, latent=2, random_state=seed, batch=256, steps=2500, options=given)
    return imputer.fit(holed).transform(holed)


def contenders(holed: np.ndarray, made: dict[str, np.ndarray], seed: int) -> dict[str, np.ndarray]:
    mean = np.broadcast_to(np.nanmean(holed, 0), holed.shape)
    return {
        "mean of the column": np.where(np.isnan(holed), mean, holed),
        "iwae, linear": fill("iwae", holed, seed, hidden=[]),
        "not_miwae, linear": fill("not_miwae", holed, seed, hidden=[]),
        "iwae": fill("iwae", holed, seed),
        "not_miwae": fill("not_miwae", holed, seed),
        "the model that made them": best(holed, made),
    }


def errors(x: np.ndarray, holed: np.ndarray, filled: np.ndarray, std: np.ndarray) -> np.ndarray:
    """Root mean square error, and mean shortfall, over the gaps, in spreads."""
    gaps = np.isnan(holed)
    off = ((filled - x) / std)[gaps]
    return np.array([np.sqrt((off**2).mean()), -off.mean()])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=2000)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--slopes", type=float, nargs="+", default=[1.0, 2.0, 5.0])
    asked = parser.parse_args()
    for slope in asked.slopes:
        found: dict[str, list[np.ndarray]] = {}
        for seed in range(asked.seeds):
            x, holed, made = rows(asked.rows, slope, seed)
            for name, filled in contenders(holed, made, seed).items():
                found.setdefault(name, []).append(errors(x, holed, filled, made["std"]))
        print(f"\nslope {slope:g}, {asked.rows} rows, {asked.seeds} seeds: RMSE, shortfall")
        for name, each in found.items():
            rmse, short = ([float(e[i]) for e in each] for i in (0, 1))
            error = f" ± {stdev(rmse):.3f}" if len(rmse) > 1 else ""
            print(f"  {name:26} {fmean(rmse):.3f}{error}   {fmean(short):+.3f}", flush=True)


if __name__ == "__main__":
    main()
