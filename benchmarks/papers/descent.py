"""The loop that comparisons of papers share: every model the same steps, none chosen by held-out
rows, so that what overfits is seen to."""

from __future__ import annotations

import torch

from vaes.batch import Data
from vaes.model import Model, Step, owned


def descend(model: Model, train: Data, steps: int, batch: int = 128, rate: float = 1e-3) -> Model:
    """`steps` steps of Adam, whose rate falls to 0, in every phase; the model in evaluation."""
    for phase in model.phases:
        with torch.no_grad():
            model.begin(phase.name, train)
        if not phase.share:
            continue
        players = {name: list(p.values()) for name, p in owned(model).items() if p}
        weights = [w for p in players.values() for w in p]
        adam = torch.optim.Adam(weights, rate)
        fall = torch.optim.lr_scheduler.CosineAnnealingLR(adam, steps)
        stream = train.stream(min(batch, len(train)), seed=0)
        model.train()
        for i, rows in zip(range(steps), stream, strict=False):
            step = Step.at(model, rows, i, total=steps, phase=phase.name)
            with torch.no_grad():
                model.closed_form(rows, step)
            torch.manual_seed(i)
            adam.zero_grad()
            torch.stack([*model.losses(rows, step).values()]).sum().backward()
            torch.nn.utils.clip_grad_norm_(weights, 200.0)
            adam.step()
            fall.step()
        model.eval()
    return model.eval()
