"""Verbs that make rows of rows: drawn, varied, rebuilt, walked between, denoised, and scored."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from vaes import console, disk, uses
from vaes import data as sources
from vaes.batch import Data
from vaes.errors import UsageError, did_you_mean
from vaes.evaluate.likelihood import evidence
from vaes.evaluate.summary import unit
from vaes.verbs.opened import Opened, conclude, x_of

DRAWS = 1024  # of z, from which those that agree with a condition are taken
FEW_DRAWS = 20  # effective ones below which a warning is due


def sample(
    run: str,
    n: int,
    out: str | None,
    seed: int,
    mean: bool,
    where: Sequence[str] = (),
    label: str | None = None,
) -> Path:
    """n new rows from the prior, or that of a class, or of p(the other columns | the columns that
    `where` fixes)."""
    opened = Opened(run)
    said: dict[str, Any] = {"verb": "sample", "n": n, "seed": seed, "mean": mean}
    if where and label is not None:
        raise UsageError(f"--label {label} and --where: give one of them")
    if where:
        if mean or n < 1:
            raise UsageError(f"n={n}, mean={mean}: --where draws at least one row, and no means")
        found = uses.impute(opened.model, _fixed(opened, where), draws=n, k=DRAWS, seed=seed)
        assert found.draws is not None
        x, ess = found.draws[:, 0], float(found.ess[0])
        said |= {"where": list(where), "k": DRAWS, "ess": ess}
        if ess < FEW_DRAWS:
            console.say(
                f"the {n} rows rest on {ess:.0f} effective draws of z in {DRAWS}: the condition is "
                "rare under this model, so that they are less varied than they should be"
            )
    else:
        x, _ = uses.sample(opened.model, n, seed=seed, mean=mean, label=label)
        said |= {} if label is None else {"label": label}
    folder = opened.folder("sample", out)
    return conclude(opened, folder, said, {"rows": x})


def _fixed(opened: Opened, where: Sequence[str]) -> Data:
    """One row that holds what `where` ("column=value" each) says and nothing else."""
    import pyarrow as pa

    from vaes.data import tables

    spec, gates = opened.spec, opened.schema["layout"].get("gates", ())
    if opened.schema["layout"]["kind"] != "table" or not spec.missing:
        raise UsageError("--where fixes columns of a table that was trained on with gaps allowed")
    if opened.model.evidence == "x,s":
        raise UsageError("--where leaves columns out, which this model takes for gaps; use another")
    names = list(spec.names[spec.gates :])
    told: dict[str, str] = {}
    for pair in where:
        name, _, value = pair.partition("=")
        told[name] = value
    for name, value in told.items():
        if name not in names or not value:
            hint = f"{did_you_mean(name, names)}" if name not in names else "a value is missing"
            raise UsageError(f"--where {name}={value}: column=value is needed; {hint}")
    row = {name: pa.array([told.get(name)], pa.string()) for name in names}
    source = tables.from_table(pa.table(row), lenient=True)
    data = sources.encode(opened.schema, spec, source)
    assert data.mask is not None
    for name, value in told.items():
        if not data.mask[0, spec.gates + names.index(name)]:
            raise UsageError(f"--where {name}={value}: the run never saw '{value}' in '{name}'")
    for gate, j in enumerate(gates):
        data.mask[0, gate] = names[j] in told
    return data


def vary(run: str, data: str | None, n: int, rows: int, out: str | None, seed: int) -> Path:
    """n variations of each of the first `rows` rows."""
    opened = Opened(run)
    given = opened.rows(data, rows)
    x = uses.vary(opened.model, given, n, seed=seed, mean=opened.spec.image)
    folder = opened.folder("vary", out)
    said = {"verb": "vary", "n": n, "of": len(given), "seed": seed}
    picture = torch.cat([x_of(given).unsqueeze(1), x], 1)
    return conclude(opened, folder, said, {"rows": x.flatten(0, 1)}, picture)


def reconstruct(
    run: str, data: str | None, draws: int, level: float, out: str | None, skip_bad: bool
) -> Path:
    """Every row at its posterior mean, and with `draws` an interval per entry."""
    opened = Opened(run, skip_bad)
    given = opened.rows(data)
    found = uses.reconstruct(opened.model, given, draws=draws, level=level)
    parts = {"rows": found.mean}
    if found.low is not None and found.high is not None:
        parts |= {"low": found.low, "high": found.high}
    folder = opened.folder("reconstruct", out)
    said = {"verb": "reconstruct", "n": len(given), "draws": draws, "level": level}
    picture = torch.stack([x_of(given)[:16], found.mean[:16]], 0)
    return conclude(opened, folder, said, parts, picture)


def encode(run: str, data: str | None, out: str | None, skip_bad: bool) -> Path:
    """Posterior means and standard deviations, codes.npz."""
    opened = Opened(run, skip_bad)
    codes = uses.encode(opened.model, opened.rows(data))
    folder = opened.folder("encode", out)
    with disk.writing(folder):
        np.savez(folder / "codes.npz", mean=codes.mean.numpy(), std=codes.std.numpy())
    said = {"verb": "encode", "n": len(codes.mean), "latent_dim": codes.mean.shape[1]}
    disk.write_json(folder / "result.json", said | {"files": ["codes.npz"]})
    return folder


def interpolate(
    run: str, data: str | None, pairs: int, steps: int, path: str, out: str | None
) -> Path:
    """From row 0 to row 1, from row 2 to row 3 …, through the means of their posteriors."""
    opened = Opened(run)
    given = opened.rows(data, 2 * pairs)
    if len(given) < 2:
        raise UsageError(f"{len(given)} row was given; an interpolation takes at least two")
    even = torch.arange(0, len(given) - 1, 2)
    x = uses.interpolate(opened.model, given.part(even), given.part(even + 1), steps, path)
    folder = opened.folder("interpolate", out)
    said = {"verb": "interpolate", "pairs": len(even), "steps": steps, "path": path}
    return conclude(opened, folder, said, {"rows": x.flatten(0, 1)}, x)


def traverse(
    run: str, data: str | None, row: int, steps: int, span: float, out: str | None
) -> Path:
    """One latent dimension at a time, the liveliest first."""
    opened = Opened(run)
    given = opened.rows(data)
    if not 0 <= row < len(given):
        raise UsageError(f"row {row} was asked for; rows are 0 to {len(given) - 1}")
    rates = uses.active_units(opened.model, given).rates
    dims = uses.traversed(opened.model, rates)
    one = given.part(torch.tensor([row]))
    x = uses.traverse(opened.model, one, dims, steps, span)
    folder = opened.folder("traverse", out)
    said = {"verb": "traverse", "row": row, "dims": dims, "steps": steps, "span": span}
    return conclude(opened, folder, said, {"rows": x.flatten(0, 1)}, x)


def score(run: str, data: str | None, k: int, seed: int, skip_bad: bool) -> dict[str, Any]:
    """log p(x) of every row; mean and standard error in `unit`."""
    opened = Opened(run, skip_bad)
    found = evidence(opened.model, opened.rows(data), k=k, seed=seed)
    return {
        "n": found.n,
        "log_evidence": found.mean,
        "log_evidence_se": found.se,
        "unit": unit(opened.model),
        "k": found.k,
        "ess": found.ess,
        "per_row": found.per_row.tolist(),
    }


def denoise(
    run: str, data: str | None, noise: float | None, out: str | None, seed: int, skip_bad: bool
) -> Path:
    """Every row without its noise: the mean of p(x|z), or what `noise` (a standard deviation in the
    user's units) leaves of it."""
    opened = Opened(run, skip_bad)
    given = opened.rows(data)
    x = uses.denoise(opened.model, given, noise=noise, seed=seed)
    folder = opened.folder("denoise", out)
    said = {"verb": "denoise", "n": len(given), "noise": noise, "seed": seed}
    picture = torch.stack([x_of(given)[:16], x[:16]], 0)
    return conclude(opened, folder, said, {"rows": x}, picture)
