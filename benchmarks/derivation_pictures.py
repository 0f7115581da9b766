"""The pictures of docs/derivation.md, drawn from the models that the page itself builds.

    python benchmarks/derivation_pictures.py [--out docs/pictures]

To be run again when the page's models or the style of charts change.
"""

from __future__ import annotations

import argparse
import re
from pathlib import Path
from typing import Any

import numpy as np
import torch

from vaes.plot import BLUE, INK, ORANGE, RED, _figure

DOCS = Path(__file__).parents[1] / "docs"
PAGE = DOCS / "derivation.md"
DRAWS, ESTIMATES = (1, 10, 100, 1000), 200
LOWEST = -24.0  # nats that are still shown of single estimates
FILL, PAPER = "#c9c9c9", {"facecolor": "white", "edgecolor": "none", "pad": 1.5}


def run_page(page: Path = PAGE) -> dict[str, Any]:
    """Runs the page's Python blocks in order; the namespace that they leave."""
    text, space = page.read_text(encoding="utf-8"), {}
    for block in re.finditer(r"^```python\n(.*?)^```", text, re.DOTALL | re.MULTILINE):
        # empty lines before, so that an error names the line of the page
        source = "\n" * text[: block.start(1)].count("\n") + block[1]
        with torch.random.fork_rng(devices=[]):
            exec(compile(source, str(page), "exec"), space)
    return space


def signed(text: str) -> str:
    """With a minus sign in place of hyphens."""
    return text.replace("-", "−")


def monte_carlo(space: dict[str, Any], path: Path) -> dict[str, np.ndarray]:
    """Estimates of log p(x) for rising numbers of draws: codes from the prior, and from near the
    posterior. Returns what is drawn, (DRAWS, ESTIMATES) each."""
    figure, (axes,) = _figure(1, 1, 7.2, 3.8)
    jitter, found = np.linspace(-0.11, 0.11, ESTIMATES), {}
    jitter = np.random.default_rng(0).permutation(jitter)
    for name, colour, side, label in (
        ("naive", ORANGE, -0.14, "codes from the prior"),
        ("diagonal", BLUE, 0.14, "codes from the best diagonal q"),
    ):
        model = space[name]
        rows = [space["estimates"](model, k, ESTIMATES, seed=k).numpy() for k in DRAWS]
        found[name] = np.stack(rows)
        for i, values in enumerate(rows):
            axes.scatter(i + side + jitter, values, s=7, c=colour, lw=0, alpha=0.6, label=label)
            below = int((values < LOWEST).sum())
            if below:
                told = f"{100 * below / ESTIMATES:.0f} % below"
                axes.text(
                    i + side, LOWEST + 0.4, told, ha="center", fontsize=7, color=INK, bbox=PAPER
                )
            label = None
    true = axes.axhline(space["log_p"], color=INK, lw=1.1, ls="--")
    true.set_label(signed(f"log p(x) = {space['log_p']:.3f}"))
    axes.set_xticks(range(len(DRAWS)), [f"{k:,}" for k in DRAWS])
    axes.set(xlabel="draws per estimate", ylabel="estimate of log p(x), nats", ylim=(LOWEST, -3.5))
    axes.legend(loc="lower right", fontsize=8, framealpha=0.9, markerscale=2)
    figure.savefig(path)
    return found


def bound(space: dict[str, Any], path: Path) -> dict[str, np.ndarray]:
    """The bound of q = N(posterior mean, s^2 x the best diagonal variances) over s: with its two
    parts, and for several draws. Returns the curves."""
    best = space["precision"].diagonal().rsqrt()
    factors = 2 ** np.linspace(-3, 2, 41)
    made = [space["Known"](space["affine"], 5, space["v"], space["mean"],
                           torch.diag(float(s) * best)) for s in factors]  # fmt: skip
    parts = [space["terms"](model, space["row"], space["four"]) for model in made]
    curves = {
        "elbo": np.array([-(p.distortion + p.rate).item() for p in parts]),
        "distortion": np.array([p.distortion.item() for p in parts]),
        "rate": np.array([p.rate.item() for p in parts]),
    }
    for k in (5, 50):
        some = [space["estimates"](model, k, 2000, seed=k).mean().item() for model in made]
        curves[f"L{k}"] = np.array(some)
    figure, (left, right) = _figure(1, 2, 9.0, 3.8)
    left.axhline(space["log_p"], color=INK, lw=1.1, ls="--", label="log p(x)")
    left.fill_between(factors, curves["elbo"], space["log_p"], color=FILL, alpha=0.45, lw=0)
    for name, colour, label in (
        ("L50", ORANGE, "L₅₀"),
        ("L5", RED, "L₅"),
        ("elbo", BLUE, "L₁, the ELBO"),
    ):
        left.plot(factors, curves[name], color=colour, lw=1.8, label=label)
    left.set(ylim=(-11, -7.3), ylabel="nats")
    left.set_title("grey: the gap, KL(q ‖ p(z|x))", fontsize=10)
    right.plot(factors, curves["distortion"], color=RED, lw=1.8, label="distortion")
    right.plot(factors, curves["rate"], color=ORANGE, lw=1.8, label="rate")
    right.plot(factors, -curves["elbo"], color=BLUE, lw=1.8, label="their sum, −ELBO")
    right.set(ylim=(0, 14), ylabel="nats")
    right.set_title("narrow: more to tell; wide: less comes back", fontsize=10)
    for axes in (left, right):
        axes.set(xscale="log", xlabel="width of q over that of the best diagonal")
        axes.set_xticks([0.125, 0.25, 0.5, 1, 2, 4], ["⅛", "¼", "½", "1", "2", "4"])
        axes.minorticks_off()
        axes.legend(fontsize=8, framealpha=0.9)
    figure.savefig(path)
    return curves


def modes(space: dict[str, Any], path: Path) -> dict[str, np.ndarray]:
    """The posterior of x = z^2 + noise, and two Gaussians for it. Returns the densities."""
    z = space["z"].flatten().numpy()
    height = space["height"].detach().numpy()
    found = {"posterior": height / height.sum() / (z[1] - z[0])}
    figure, (axes,) = _figure(1, 1, 7.2, 3.6)
    axes.fill_between(z, found["posterior"], color=FILL, lw=0, label="p(z|x), x = 1.5")
    for name, colour, label in (
        ("one_mode", BLUE, "least KL(q ‖ p)"),
        ("matched", RED, "least KL(p ‖ q)"),
    ):
        model = space[name]
        with torch.no_grad():
            q = model.posterior(space["seen"])
            found[name] = q.log_prob(space["z"]).exp().flatten().numpy()
        told = signed(f"{label}: ELBO {space['bound'](model):.2f}")
        axes.plot(z, found[name], color=colour, lw=1.8, label=told)
    axes.set(xlabel="z", ylabel="density", xlim=(-3, 3), ylim=(0, 3.4))
    axes.set_title(signed(f"log p(x) = {space['bent_log_p']:.2f} nats"), fontsize=10)
    axes.legend(loc="upper left", fontsize=8, framealpha=0.9)
    figure.savefig(path)
    return found


def seeking(space: dict[str, Any], path: Path) -> dict[str, np.ndarray]:
    """The same posterior, and the best Gaussians of rising powers. Returns the densities."""
    z = space["z"].flatten().numpy()
    height = space["height"].detach().numpy()
    found = {"posterior": height / height.sum() / (z[1] - z[0])}
    figure, (axes,) = _figure(1, 1, 7.2, 3.6)
    axes.fill_between(z, found["posterior"], color=FILL, lw=0, label="p(z|x), x = 1.5")
    best = space["best_of_two"](0)
    for name, (m, s, bound), colour, dashes, label in (
        ("elbo", best, BLUE, "-", "s = 0, the ELBO"),
        ("half", space["half"], INK, ":", "s = 0.5, Rényi"),
        ("wide", space["wide"], ORANGE, "-", "s = 0.8, Rényi"),
        ("chi", space["chi"], RED, "--", "s = 2, χ²: an upper bound"),
    ):
        found[name] = np.exp(-0.5 * ((z - m) / s) ** 2) / (s * np.sqrt(2 * np.pi))
        axes.plot(
            z, found[name], color=colour, ls=dashes, lw=1.8, label=signed(f"{label} {bound:.2f}")
        )
    axes.set(xlabel="z", ylabel="density", xlim=(-3, 3), ylim=(0, 3.4))
    axes.set_title(signed(f"log p(x) = {space['bent_log_p']:.2f} nats"), fontsize=10)
    axes.legend(loc="upper left", fontsize=8, framealpha=0.9)
    figure.savefig(path)
    return found


PICTURES = {
    "derivation-monte-carlo.png": monte_carlo,
    "derivation-bound.png": bound,
    "derivation-modes.png": modes,
    "mode-seeking.png": seeking,
}


def main() -> None:
    """Draw."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, default=DOCS / "pictures")
    folder = parser.parse_args().out
    folder.mkdir(parents=True, exist_ok=True)
    space = run_page()
    for name, picture in PICTURES.items():
        picture(space, folder / name)
        print(folder / name)


if __name__ == "__main__":
    main()
