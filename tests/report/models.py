"""Models whose decoders a page can run: every kind of body and of head, with weights at random."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import nn

from vaes.batch import Data, Spec, generator
from vaes.model import Model
from vaes.training import seeded_build

BITS = Spec((1, 4, 5), ("binary",), (2,))
GREY = Spec((1, 28, 28), ("pixel",), (256,))
SMALL = Spec((1, 5, 4), ("pixel",), (17,), (0.0,), (16.0,))
REALS = Spec((7,), shift=tuple(range(7)), scale=(2.0, 0.5, 1.0, 3.0, 1.0, 1.0, 10.0))
MIXED = Spec(
    (5,),
    ("real", "category", "binary", "real", "pixel"),
    (0, 3, 2, 0, 5),
    (1.0, 0.0, 0.0, -2.0, 10.0),
    (2.0, 1.0, 1.0, 0.5, 4.0),
)
LOWS = (0.0, 1.0, 2.0, 2.5, 4.0, 4.5, 7.0, 8.0)
HIGHS = (1.0, 2.0, 2.5, 2.5, 4.5, 7.0, 8.0, 9.0)  # one single value among them
ENDS = tuple(v for pair in zip(LOWS, HIGHS, strict=True) for v in pair)
# a column that says whether the third has a value, and one cut into few pieces
PIECES = Spec(
    (6,),
    ("binary", "category", "numeric", "pixel", "numeric", "binary"),
    (2, 4, 8, 5, 3, 2),
    (0.0, 0.0, 0.0, 0.0, 0.0, 0.0),
    (1.0, 1.0, 1.0, 4.0, 1.0, 1.0),
    missing=True,
    rows=100,
    pieces=((), (), ENDS, (), ENDS[:6], ()),
    shown_by=(-1, -1, 0, -1, -1, -1),
)
COUNTED = Spec((6,), ("count",), (9,), totals=True)
UNTOTALLED = Spec((3,), ("count", "real", "count"), (9, 0, 9))

CASES: dict[str, tuple[str, Spec, dict[str, Any]]] = {
    "mlp, silu, bernoulli": ("vae", BITS, {"hidden": [9, 8]}),
    "mlp, relu, categorical grid": ("vae", SMALL, {"likelihood": "categorical", "act": "relu"}),
    "mlp, tanh, logistic": ("vae", SMALL, {"hidden": [9], "act": "tanh"}),
    "mlp, gelu, normal": ("vae", REALS, {"hidden": [9], "act": "gelu"}),
    "linear, normal of a scale of its own": ("vae", REALS, {"hidden": [], "scale": "network"}),
    "logistic, a scale per entry": ("vae", SMALL, {"hidden": [6], "scale": "entry"}),
    "logistic, one scale": ("vae", SMALL, {"hidden": [6], "scale": "shared"}),
    "residual mlp": ("vae", REALS, {"net": "residual", "hidden": [8, 8]}),
    "categories": ("vae", Spec((4,), ("category",), (3,)), {"hidden": [6]}),
    "columns": ("vae", MIXED, {"hidden": [6]}),
    "counts, given totals": ("counts", COUNTED, {}),
    "counts beside reals": ("vae", UNTOTALLED, {"hidden": [6]}),
    "conv, thin, of the default": ("vae", GREY, {"latent": 5}),
    "conv, odd sides, colour": (
        "vae",
        Spec((3, 17, 19), ("pixel",), (256,)),
        {"latent": 3, "hidden": [8, 12], "norm": False, "act": "relu"},
    ),
    "conv, narrow, no stride": (
        "vae",
        Spec((2, 3, 9)),
        {"latent": 3, "net": "conv", "hidden": [4, 6]},
    ),
    "conv, residual": (
        "vae",
        Spec((1, 9, 8), ("binary",), (2,)),
        {"latent": 3, "net": "residual", "hidden": [8, 8]},
    ),
    "own layers": (
        "vae",
        Spec((1, 6, 6), ("binary",), (2,)),
        {
            "latent": 3,
            "decoder": nn.Sequential(
                nn.Linear(3, 36),
                nn.LayerNorm(36),
                nn.Sigmoid(),
                nn.Dropout(0.5),
                nn.Unflatten(1, (4, 3, 3)),
                nn.Conv2d(4, 5, (3, 2), stride=(1, 2), padding=1, bias=False),
                nn.Flatten(),
            ),
        },
    ),
    "cells": ("vae", replace(PIECES, missing=False, shown_by=()), {"hidden": [6], "latent": 3}),
    "table": ("tabular", PIECES, {"hidden": [16], "latent": 3, "smooth": False}),
    "table, smooth": ("tabular", PIECES, {"hidden": [16], "latent": 3, "smooth": True}),
    "principal components": ("ppca", Spec((7,)), {"latent": 2}),
}


def made(name: str) -> Model:
    """The model of a case, its weights (of norms and scales too) far from where they began."""
    recipe, spec, options = CASES[name]
    model = seeded_build(recipe, spec, 0, options)
    draw = generator("report", name)
    if recipe == "counts":
        x = torch.poisson(torch.arange(1.0, 7).expand(50, 6), draw)
        model.begin("train", Data(spec, x))
    with torch.no_grad():
        for tensor in model.parameters():
            tensor += 0.2 * torch.randn(tensor.shape, generator=draw)
        if recipe == "ppca":
            model.weight.copy_(torch.randn(7, 2, generator=draw))
            model.bias.copy_(torch.randn(7, generator=draw))
    return model.eval()
