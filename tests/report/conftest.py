"""Runs on tables: one whose words would break a page that did not escape them, one of all kinds."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch

from tests.report.runs import HOSTILE, folder
from vaes import data as sources


@pytest.fixture(scope="package")
def table(tmp_path_factory):
    """120 rows with names, words and labels that would end a script; the last row is odd."""
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(
        {
            HOSTILE: rng.normal(50, 10, 120).round(2),
            "b": rng.choice([HOSTILE, "x", "y"], 120),
            "c": rng.normal(-3, 0.1, 120),
            "label": rng.choice([HOSTILE, "z"], 120),
        }
    )
    source = sources.load(frame, label="label")
    path = tmp_path_factory.mktemp("runs") / "table"
    preparing = {"kind": {HOSTILE: "real", "b": "category", "c": "real"}}
    return folder(path, source, preparing=preparing, latent=2, hidden=[8])


@pytest.fixture(scope="package")
def pieces(tmp_path_factory):
    """Numbers of two decimals with gaps, whole numbers, words, bits and days, column by column."""
    rng = np.random.default_rng(0)
    size = 300
    length = rng.gamma(2.0, 20.0, size).round(2)
    length[rng.random(size) < 0.5] = np.nan
    frame = pd.DataFrame(
        {
            "length": length,
            "mass": rng.integers(2_000, 90_000, size),
            "place": rng.choice(["here", "there", "far"], size),
            "old": rng.random(size) < 0.5,
            "day": pd.Timestamp("2020-01-01") + pd.to_timedelta(rng.integers(0, 900, size), "D"),
            "temperature": rng.normal(-3, 8, size).round(1),
        }
    )
    path = tmp_path_factory.mktemp("runs") / "pieces"
    run, model, prepared = folder(
        path, sources.load(frame), recipe="tabular", latent=2, hidden=[16]
    )
    with torch.no_grad():
        model.decoder.net.base[0] += 3  # the first cell of the first column: no length
    return run, model, prepared
