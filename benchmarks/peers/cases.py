"""The benchmark cases shared by the peer scripts: sizes, synthetic rows, torch nets, timing."""

import argparse
import json
import time

import numpy as np

BATCH = 128
LEARNING_RATE = 1e-3
THREADS = 2

# shape: one row; latent: latent size; hidden: the MLP's width; channels: the strided convolutions;
# rows: default number of synthetic rows (whole batches, about a second or a few per epoch).
CASES = {
    "mlp": {"shape": (784,), "latent": 20, "hidden": 400, "rows": 12_800},
    "conv28": {"shape": (1, 28, 28), "latent": 32, "channels": (32, 64), "rows": 3_840},
    "conv64": {"shape": (3, 64, 64), "latent": 64, "channels": (32, 64, 128, 256), "rows": 1_280},
}


def rows(case, n, seed=0):
    """Return `n` binary float32 rows of `case`, drawn from a fixed rank-8 logistic model."""
    shape = CASES[case]["shape"]
    size = int(np.prod(shape))
    rng = np.random.default_rng(seed)
    weight = rng.standard_normal((8, size), dtype=np.float32)
    out = np.empty((n, size), dtype=np.float32)
    for start in range(0, n, 1024):
        part = out[start : start + 1024]
        logits = rng.standard_normal((len(part), 8), dtype=np.float32) @ weight
        np.less(rng.random(part.shape, dtype=np.float32), 1 / (1 + np.exp(-logits)), out=part)
    return out.reshape(n, *shape)


def nets(case):
    """Return the torch pieces `(body, mu, logvar, decoder)`; the decoder yields logits."""
    from torch import nn

    spec = CASES[case]
    shape, latent = spec["shape"], spec["latent"]
    if case == "mlp":
        size, hidden = shape[0], spec["hidden"]
        body = nn.Sequential(nn.Linear(size, hidden), nn.ReLU())
        decoder = nn.Sequential(nn.Linear(latent, hidden), nn.ReLU(), nn.Linear(hidden, size))
        return body, nn.Linear(hidden, latent), nn.Linear(hidden, latent), decoder

    channels = (shape[0], *spec["channels"])
    side = shape[1] >> len(spec["channels"])
    width = channels[-1] * side * side
    down, up = [], []
    for i in range(len(channels) - 1):
        down += [nn.Conv2d(channels[i], channels[i + 1], 4, 2, 1), nn.SiLU()]
        up = [nn.SiLU(), nn.ConvTranspose2d(channels[i + 1], channels[i], 4, 2, 1), *up]
    body = nn.Sequential(*down, nn.Flatten())
    up = [up[0], nn.Unflatten(1, (channels[-1], side, side)), *up[1:]]
    decoder = nn.Sequential(nn.Linear(latent, width), *up)
    return body, nn.Linear(width, latent), nn.Linear(width, latent), decoder


def parse(description, cases=tuple(CASES)):
    """Parse the command line common to the training scripts."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--case", choices=cases, default=cases[0])
    parser.add_argument("--rows", type=int, help="synthetic rows in an epoch (default: per case)")
    parser.add_argument("--seconds", type=float, default=10.0, help="time to measure for")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    args.rows = args.rows or CASES[args.case]["rows"]
    return args


class Clock:
    """Time whole epochs: the first is warm-up, then epochs until `seconds` have been measured."""

    def __init__(self, rows_per_epoch, seconds):
        self.rows, self.seconds = rows_per_epoch, seconds
        self.times, self.losses = [], []

    @property
    def done(self):
        """Whether enough has been measured."""
        return len(self.times) > 1 and sum(self.times[1:]) >= self.seconds

    def epoch(self, run, *args):
        """Run and time one epoch; `run` returns the epoch's mean loss as a number."""
        start = time.perf_counter()
        loss = run(*args)
        self.times.append(time.perf_counter() - start)
        self.losses.append(float(loss))
        return loss

    def report(self, peer, case, **extra):
        """Print the JSON line."""
        times = self.times[1:]
        line = {
            "peer": peer,
            "case": case,
            "rows_per_s": round(self.rows * len(times) / sum(times), 1),
            "loss": round(self.losses[-1], 3),
            "best_epoch_rows_per_s": round(self.rows / min(times), 1),
            "first_epoch_loss": round(self.losses[0], 3),
            "epochs": len(times),
            "rows": self.rows,
            **extra,
        }
        print(json.dumps(line))
