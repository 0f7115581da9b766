"""Topics of a model whose codes are shares: the words that each brings."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from vaes.batch import Batch
from vaes.errors import UsageError
from vaes.model import Model
from vaes.uses.common import blank, evaluating


class Topic(NamedTuple):
    """Its number, its words, the likeliest first, and the share that each has of it."""

    number: int
    words: tuple[str, ...]
    shares: tuple[float, ...]


def topic_shares(model: Model) -> Tensor:
    """Which share of its words a document of one topic alone has of each, (topics, words)."""
    if getattr(getattr(getattr(model, "encoder", None), "head", None), "space", "") != "simplex":
        raise UsageError("topics are of a model whose codes are shares, as recipe prodlda has them")
    with evaluating(model):
        like = blank(model, model.latent)
        alone = torch.eye(model.latent, dtype=like.x.dtype, device=like.x.device)
        total = torch.ones(model.latent, dtype=like.x.dtype, device=like.x.device)
        return model.likelihood(alone, Batch(like.x, total=total)).mean


def topics(model: Model, words: int = 10) -> list[Topic]:
    """The `words` likeliest words of every topic."""
    if words < 1:
        raise UsageError(f"words={words}: at least one is told of each topic")
    names = model.spec.names or tuple(map(str, range(model.spec.size)))
    found = topic_shares(model).topk(min(words, model.spec.size), -1)
    return [
        Topic(k, tuple(names[i] for i in index.tolist()), tuple(share.tolist()))
        for k, (share, index) in enumerate(zip(found.values, found.indices, strict=True))
    ]
