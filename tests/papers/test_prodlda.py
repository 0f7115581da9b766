"""The claim of recipe prodlda."""

import numpy as np
import pytest
import torch
from scipy.optimize import linear_sum_assignment

from vaes.batch import Data, Spec
from vaes.errors import UsageError
from vaes.fit import Loop
from vaes.plan import Settings, plan
from vaes.recipes import build
from vaes.uses.topics import topic_shares, topics

TOPICS, WORDS = 5, 40


def corpus() -> tuple[Data, np.ndarray]:
    """1,500 documents of 60 words, of five topics with eight words of their own each."""
    draw = np.random.default_rng(0)
    log_share = np.full((TOPICS, WORDS), -3.0)
    for k in range(TOPICS):
        log_share[k, 8 * k : 8 * (k + 1)] = 1.5
    share = np.exp(log_share) / np.exp(log_share).sum(1, keepdims=True)
    mixed = draw.dirichlet(np.full(TOPICS, 0.2), 1500) @ share
    x = np.stack([draw.multinomial(60, p) for p in mixed])
    names = tuple(f"w{i}" for i in range(WORDS))
    spec = Spec((WORDS,), ("count",), (0,), names=names, totals=True, rows=1300)
    return Data(spec, torch.from_numpy(x).float()), share


def test_prodlda_finds_the_topics_that_documents_are_made_of():
    """Srivastava & Sutton 2017, sec. 4.3: the vertices of the simplex are topics; each planted one
    comes back, its eight words first, to a tenth of its mass."""
    data, share = corpus()
    torch.manual_seed(0)
    model = build("prodlda", data.spec, latent=TOPICS)
    done = Settings(steps=350, lr=3e-2, schedule="cosine", threads=1, compile="no")
    parts = data.part(torch.arange(1300)), data.part(torch.arange(1300, 1500))
    Loop(model, *parts, plan(done, model, 1300)).run()
    found = topic_shares(model)
    assert found.sum(-1).tolist() == pytest.approx([1.0] * TOPICS, abs=1e-5)
    apart = np.abs(found.numpy()[:, None] - share[None]).sum(-1) / 2  # total variation
    pairs = linear_sum_assignment(apart)
    assert apart[pairs].max() < 0.1
    told = topics(model, 8)
    for ours, theirs in zip(*pairs, strict=True):
        expected = {f"w{i}" for i in range(8 * theirs, 8 * (theirs + 1))}
        assert set(told[ours].words) == expected
        assert list(told[ours].shares) == sorted(told[ours].shares, reverse=True)


def test_prodlda_mistakes_are_one_line():
    spec = Spec((5,), ("count",), (0,), totals=True)
    with pytest.raises(UsageError, match="for rows of counts alone"):
        build("prodlda", Spec((5,)))
    with pytest.raises(UsageError, match="latent=5: topics are at least 2 and fewer"):
        build("prodlda", spec, latent=5)
    with pytest.raises(UsageError, match="codes are shares"):
        topics(build("counts", spec, latent=2))
    with pytest.raises(UsageError, match="words=0"):
        topics(build("prodlda", spec, latent=2), 0)
