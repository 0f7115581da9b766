"""Autoencoder against VAE: same networks, steps and codes' size; what a density of z is good for.

    python -m benchmarks.papers.ae_against_vae [DATA] [--latent 2 10] [--steps 3000] [--out FOLDER]

For every size of the code, on held-out rows: (a) squared error at the mean code, (b) moments of the
codes, (c) drawn rows by N(0, I), by a Gaussian and by ten Gaussians fitted to the codes: Frechet
distance of 64 principal components and coverage, beside those of other held-out rows, (d) hole
rates of N(0, I) and of what was fitted, (e) the round trip of codes of N(0, I), (f) classes told
from codes, linearly and by 10 neighbours, (g) how sure a classifier is half way between two rows.
Then both are trained on few rows. `latent-ae.png` and `latent-vae.png` show the codes.
"""

from __future__ import annotations

import argparse
import math
from pathlib import Path
from typing import Any

import torch
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from torch import Tensor

from benchmarks.papers.descent import descend
from vaes import data as sources
from vaes.batch import Batch, Data, generator
from vaes.dist.fitted import FittedMixture
from vaes.dist.priors import CODES, FittedNormal, Prior, StandardNormal, codes
from vaes.evaluate.aggregate import hole_rate
from vaes.evaluate.quality import quality
from vaes.model import Model
from vaes.plot import CYCLE, _figure
from vaes.recipes import build
from vaes.uses.paths import between

FEW = 200  # rows
NETWORK: dict[str, Any] = {"net": "mlp", "hidden": (256, 256), "scale": "shared"}


def trained(recipe: str, latent: int, train: Data, steps: int) -> Model:
    torch.manual_seed(0)
    return descend(build(recipe, train.spec, latent=latent, **NETWORK), train, steps)


def samplers(model: Model, train: Data) -> dict[str, Prior]:
    """Densities of z by name; the last two are fitted to codes of the training rows."""
    d = model.latent
    found = {"N(0, I)": StandardNormal(d), "Gaussian": FittedNormal(d), "ten": FittedMixture(d, 10)}
    for prior in found.values():
        prior.begin(model, CODES, train)
    return found


def drawn(model: Model, prior: Prior, n: int, rows: Data) -> tuple[Tensor, Tensor]:
    """n codes of `prior` and the means of x that they decode to."""
    blank = Batch(rows.rows(slice(0, 1)).x.new_zeros(n, *rows.spec.shape))
    p = prior(model, blank)
    noise = torch.randn(n, p.noise_size, generator=generator("drawn"))
    z = p.draw(noise)
    return z, model.likelihood(z, blank).mean


@torch.no_grad()
def protocol(model: Model, train: Data, test: Data) -> list[tuple[str, float]]:
    """Rows a to g by name."""
    found: list[tuple[str, float]] = []
    here, there = train.rows(slice(None)), test.rows(slice(None))
    near, away = model.posterior(here).mean, model.posterior(there).mean
    error = (model.likelihood(away, there).mean - there.x).square().mean().item()
    found.append(("a squared error an entry", error))
    found.append(("b norm of the mean code", near.mean(0).norm().item()))
    draws = codes(model, train)
    for name, z in (("means", near), ("draws", draws.flatten(0, 1))):
        values = torch.linalg.eigvalsh(torch.cov(z.T))
        found.append((f"b least variance of {name}", values[0].item()))
        found.append((f"b largest variance of {name}", values[-1].item()))
    floor = None
    for name, prior in samplers(model, train).items():
        z, x = drawn(model, prior, len(test), test)
        said = quality(x, test, train)
        floor = said["floor"]
        found.append((f"c Frechet, {name}", said["drawn"]["frechet"]))
        found.append((f"c coverage, {name}", said["drawn"]["coverage"]))
        found.append((f"d hole rate, {name}", hole_rate(draws[0], codes(model, test)[0], z)))
        if name == "N(0, I)":
            back = model.posterior(Batch(x)).mean
            trip = (back - z).square().sum(1).mean().sqrt().item()
            found.append(("e round trip", trip))
    assert floor is not None
    found.append(("c Frechet, held-out rows", floor["frechet"]))
    found.append(("c coverage, held-out rows", floor["coverage"]))
    assert train.y is not None
    assert test.y is not None
    for name, told in (
        ("linear", LogisticRegression(max_iter=3000)),
        ("10 neighbours", KNeighborsClassifier(10)),
    ):
        told.fit(near.numpy(), train.y.numpy())
        found.append((f"f accuracy, {name}", float(told.score(away.numpy(), test.y.numpy()))))
    return found + halfway(model, away, here, train.y)


def halfway(model: Model, z: Tensor, here: Batch, labels: Tensor) -> list[tuple[str, float]]:
    """Entropy, in nats, of a classifier of rows half way between two codes: low is a clear row."""
    judge = LogisticRegression(max_iter=3000).fit(here.x.flatten(1).numpy(), labels.numpy())
    order = torch.randperm(len(z), generator=generator("halfway"))
    first, second = z[order[: len(z) // 2]], z[order[len(z) // 2 :]][: len(z) // 2]
    found = []
    for name in ("linear", "spherical"):
        middle = between(first, second, torch.tensor(0.5), name)
        blank = Batch(here.x.new_zeros(len(middle), *here.x.shape[1:]))
        x = model.likelihood(middle, blank).mean
        p = torch.from_numpy(judge.predict_proba(x.flatten(1).numpy())).clamp(min=1e-12)
        found.append((f"g entropy half way, {name}", -(p * p.log()).sum(1).mean().item()))
    return found


@torch.no_grad()
def fits(model: Model, *parts: Data) -> list[float]:
    """Squared error an entry at the mean code, of each part."""
    rows = [part.rows(slice(None)) for part in parts]
    return [
        (model.likelihood(model.posterior(b).mean, b).mean - b.x).square().mean().item()
        for b in rows
    ]


@torch.no_grad()
def picture(model: Model, train: Data, path: Path) -> None:
    """Codes of the training rows (crosses of N(0, I) beside them), coloured by class."""
    z = codes(model, train)[0]
    prior = torch.randn(500, model.latent, generator=generator("picture"))
    figure, (axes,) = _figure(1, 1, 4.6, 4.4)
    axes.scatter(*prior[:, :2].T.numpy(), s=9, c="#333333", marker="x", lw=0.6, label="N(0, I)")
    assert train.y is not None
    for label in train.y.unique().tolist():
        own = z[train.y == label]
        name = train.spec.classes[label] if train.spec.classes else str(label)
        axes.scatter(*own[:, :2].T.numpy(), s=5, c=CYCLE[label % 10], lw=0, label=name)
    axes.legend(
        frameon=False, fontsize=7, markerscale=2, loc="center left", bbox_to_anchor=(1, 0.5)
    )
    figure.savefig(path, dpi=110)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("data", nargs="?", default="digits")
    parser.add_argument("--latent", type=int, nargs="+", default=[2, 10])
    parser.add_argument("--steps", type=int, default=3000)
    parser.add_argument("--out", type=Path, default=Path("docs/pictures"))
    args = parser.parse_args()
    prepared = sources.prepare(sources.load(args.data), kind="real", seed=0)
    train, test = prepared.train, prepared.test
    for latent in args.latent:
        models = {r: trained(r, latent, train, args.steps) for r in ("autoencoder", "vae")}
        columns = [dict(protocol(model, train, test)) for model in models.values()]
        print(f"\nlatent = {latent:<3} {'':22} {'AE':>10} {'VAE':>10}")
        for name in columns[0]:
            print(f"{name:36} {columns[0][name]:>10.3f} {columns[1][name]:>10.3f}", flush=True)
        if latent == 2:
            for recipe, name in (("autoencoder", "ae"), ("vae", "vae")):
                picture(models[recipe], train, args.out / f"latent-{name}.png")
        few = train.part(torch.randperm(len(train), generator=generator("few"))[:FEW])
        print(f"of {FEW} training rows: squared error an entry, trained on and held out")
        for recipe in models:
            own, other = fits(trained(recipe, latent, few, args.steps), few, test)
            ratio = other / own if own else math.inf
            print(f"{recipe:36} {own:>10.3f} {other:>10.3f}   {ratio:.2f} times", flush=True)


if __name__ == "__main__":
    main()
