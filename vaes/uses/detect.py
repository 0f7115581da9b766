"""Odd rows and the odd entries in them: scores, calibrated p-values, discoveries, blame.

A score says how odd, calibration on held-out rows says how rare. Sources: Benjamini & Hochberg
1995; Bates et al. 2023 (arXiv:2104.08279; conformal p-values); Nalisnick et al. 2019
(arXiv:1906.02994; typicality).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from vaes.errors import UsageError, did_you_mean
from vaes.evaluate.likelihood import evidence
from vaes.model import Model
from vaes.objective import log_likelihood
from vaes.uses.common import CHUNK, Rows, as_data, batches, evaluating, new_nats

SCORES = ("evidence", "reconstruction", "typicality")


def anomaly_scores(
    model: Model,
    data: Rows,
    *,
    k: int = 64,
    seed: int = 0,
    score: str = "evidence",
    reference: Rows | None = None,
) -> Tensor:
    """How odd each row is, (n,) float64, nats in the user's units: higher is odder.

    score: "evidence", -log p(x) by k importance-weighted draws · "reconstruction", -log p(x|z) at
    the posterior mean, which needs no bound but is blind to rows that are odd and easy to code ·
    "typicality", |-log p(x) - median of -log p of the rows `reference`|, held out from training,
    which finds rows that are too probable as well (a blank image). Of a row with gaps the observed
    entries are scored, so compare such rows with rows that have the same gaps. An entry that holds
    what no training row could have held (`Batch.unseen`) adds log(n + 1) nats after n of them.
    """
    if score not in SCORES:
        raise UsageError(f"score '{score}' is not known; {did_you_mean(str(score), SCORES)}")
    if (reference is not None) != (score == "typicality"):
        raise UsageError(
            f"score={score} {'takes no' if reference is not None else 'needs'} reference rows"
        )
    with evaluating(model):
        if score == "reconstruction":
            parts = [
                -log_likelihood(model, model.posterior(batch).mean, batch)
                for batch in batches(data, CHUNK)
            ]
            return torch.cat(parts).double() + unseen_nats(model, data)
        found = -evidence(model, as_data(model, data), k, seed).per_row + unseen_nats(model, data)
        if reference is None:
            return found
        usual = -evidence(model, as_data(model, reference), k, seed).per_row
        return (found - usual.quantile(0.5)).abs()


def unseen_nats(model: Model, data: Rows) -> Tensor | float:
    """What the entries of each row that no training row could have held add to its score, (n,)."""
    if data.unseen is None:
        return 0.0
    return data.unseen.flatten(1).sum(1).double() * new_nats(model)


@dataclass(frozen=True)
class Conformal:
    """Calibration by the `scores` (n,) of held-out rows: neither trained on nor chosen by.

    Where new rows come from the same source as the held-out ones, P(p-value <= a) <= a for every
    a, whatever the model and the score are worth.
    """

    scores: Tensor

    def __post_init__(self) -> None:
        scores = torch.as_tensor(self.scores).double().flatten()
        if not len(scores) or bool(scores.isnan().any()):
            raise UsageError(
                f"{len(scores)} scores, {int(scores.isnan().sum())} of them not a number: a "
                "calibration takes at least one, and numbers only"
            )
        object.__setattr__(self, "scores", scores.sort().values)

    def p_values(self, scores: Tensor) -> Tensor:
        """(1 + number of held-out scores >= s) / (n + 1) of each score s; ties count as odder.

        A score that is not a number counts as the oddest.
        """
        scores = torch.as_tensor(scores).to(self.scores)
        n, below = len(self.scores), torch.searchsorted(self.scores, scores.contiguous())
        return (1 + n - below).double() / (n + 1)

    def threshold(self, rate: float) -> float:
        """The score above which a row's p-value is at most `rate`: the share of false alarms.

        UsageError where there are too few held-out rows for that rate.
        """
        n = len(self.scores)
        # how many held-out scores may lie at or above a row that is flagged
        most = math.floor(rate * (n + 1) * (1 + 1e-12)) - 1
        if not 0 < rate < 1 or most < 0:
            raise UsageError(
                f"rate={rate}: with {n} held-out rows it lies between 1 / {n + 1} and 1"
            )
        return float(self.scores[n - 1 - most])


def discoveries(p: Tensor, fdr: float = 0.1) -> Tensor:
    """Which of many p-values (n,) to act on, (n,) bool, so that on average at most the share `fdr`
    of them is false: Benjamini & Hochberg 1995, valid for conformal p-values (Bates et al. 2023).
    """
    if not 0 < fdr < 1:
        raise UsageError(f"fdr={fdr}: a share of the discoveries, above 0, below 1")
    p = torch.as_tensor(p).double()
    n, ordered = len(p), p.sort().values
    line = torch.arange(1, n + 1, dtype=torch.float64, device=p.device) * (fdr / n) * (1 + 1e-12)
    passed = ordered[ordered <= line]
    return p <= passed[-1] if len(passed) else torch.zeros_like(p, dtype=torch.bool)
