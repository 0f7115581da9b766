"""Bojanowski et al. 2018, Park et al. 2019: what an auto-decoder maximises is no likelihood.

    python -m benchmarks.papers.auto_decoder [--steps 400] [--rows 100] [--out docs/pictures]

By scale: on linear data the decoder c W with codes z / c, where everything has a closed form. By
capacity: auto-decoders of rising width on digits as reals, their learnt noise free; beside what
each maximises stands log p(x) of held-out rows under the same decoder and N(0, I), by importance
sampling with a posterior that is found for each row (recipe svi with the decoder of the other).
Prints both tables and draws auto-decoder.png.
"""

from __future__ import annotations

import argparse
import math
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch

from benchmarks.papers.descent import descend
from vaes import data as sources
from vaes.batch import Batch, Data, Spec, generator
from vaes.evaluate.likelihood import evidence
from vaes.model import Model, Step
from vaes.plot import BLUE, ORANGE, _figure
from vaes.recipes import build

SCALES = (1.0, 3.0, 10.0, 30.0, 100.0)
WIDTHS: tuple[tuple[int, ...], ...] = ((8,), (32,), (128,), (512,))


def linear_rows(n: int = 500) -> torch.Tensor:
    """Rows of a model of rank 3 in 8 columns."""
    draw = np.random.default_rng(0)
    loadings = draw.standard_normal((8, 3)) * [2, 1, 0.5]
    x = draw.standard_normal((n, 3)) @ loadings.T + 0.7 * draw.standard_normal((n, 8))
    return torch.from_numpy(x + draw.standard_normal(8))


@torch.no_grad()
def by_scale() -> list[tuple[float, float, float]]:
    """(c, what is maximised, log p(x)), nats per row, of the decoder c W and the codes z / c."""
    x, found = linear_rows(), []
    data = Data(Spec((8,), rows=len(x)), x)
    ppca = cast(Any, build("ppca", data.spec, latent=3).double())
    ppca.begin("train", data)
    codes = ppca.posterior(data.rows(slice(None))).mean
    options = {"latent": 3, "hidden": (), "scale": math.sqrt(ppca.variance)}
    model = cast(Any, build("auto_decoder", data.spec, **options).double())
    batch = Batch(x, index=torch.arange(len(x)))
    for c in SCALES:
        model.decoder.last.weight.copy_(c * ppca.weight)
        model.decoder.last.bias.copy_(ppca.bias)
        model.table.numbers.copy_(codes / c)
        w = model.decoder.last.weight
        covariance = w @ w.T + ppca.variance * torch.eye(8).double()
        exact = torch.distributions.MultivariateNormal(ppca.bias, covariance)
        found.append((c, joint(model, batch), exact.log_prob(x).mean().item()))
    return found


@torch.no_grad()
def joint(model: Model, batch: Batch) -> float:
    """Mean of log p(x, z) at the codes of the rows."""
    step = Step.at(model, batch, 0)
    constant = model.latent / 2 * math.log(2 * math.pi)
    return -model.losses(batch, step)["model"].item() - constant


def by_capacity(rows: int, steps: int) -> list[tuple[int, float, float]]:
    """(width, what the auto-decoder maximises, log p(x) of held-out rows under its decoder)."""
    prepared = sources.prepare(sources.load("digits"), kind="real", seed=0)
    order = torch.randperm(len(prepared.train), generator=generator("rows"))[:rows]
    part, found = prepared.train.part(order), []
    for hidden in WIDTHS:
        options: dict[str, Any] = {"latent": 8, "net": "mlp", "hidden": hidden, "scale": "shared"}
        torch.manual_seed(0)
        model = cast(Any, descend(build("auto_decoder", prepared.spec, **options), part, steps))
        reached = joint(model, part.rows(slice(None)))
        scored = cast(Any, build("svi", prepared.spec, refine=100, **options))
        scored.decoder.load_state_dict(model.decoder.state_dict())
        found.append((hidden[0], reached, evidence(scored, prepared.test, k=500).mean))
        print("{:>8} {:>12.2f} {:>12.2f}".format(*found[-1]), flush=True)
    return found


def draw(scales: list[Any], widths: list[Any], path: Path) -> None:
    """Both tables as curves, one panel each."""
    figure, axes = _figure(1, 2, 8.0, 3.4)
    for panel, table, label in (
        (axes[0], scales, "scale c of the decoder"),
        (axes[1], widths, "width of the decoder"),
    ):
        columns = list(zip(*table, strict=True))
        panel.plot(columns[0], columns[1], "o-", c=ORANGE, label="what is maximised")
        panel.plot(columns[0], columns[2], "o-", c=BLUE, label="log p(x) of the same decoder")
        panel.set_xscale("log")
        panel.set_xlabel(label)
        panel.set_ylabel("nats a row")
        panel.legend(frameon=False, fontsize=8)
    figure.savefig(path, dpi=110)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--rows", type=int, default=100)
    parser.add_argument("--out", type=Path, default=Path("docs/pictures"))
    args = parser.parse_args()
    print(f"{'scale':>8} {'maximised':>12} {'log p(x)':>12}")
    scales = by_scale()
    for row in scales:
        print(f"{row[0]:>8g} {row[1]:>12.3f} {row[2]:>12.3f}")
    print(f"{'width':>8} {'maximised':>12} {'log p(x)':>12}")
    widths = by_capacity(args.rows, args.steps)
    draw(scales, widths, args.out / "auto-decoder.png")


if __name__ == "__main__":
    main()
