"""Importance weights per second of Pythae's `VAE.get_nll`, at the fastest of some batch sizes."""

import argparse
import importlib.metadata
import json
import time

import torch
from cases import THREADS, rows
from pythae_model import build


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=100)
    parser.add_argument("--samples", type=int, default=200)
    parser.add_argument("--repeats", type=int, default=3, help="timings per batch size, best kept")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    torch.set_num_threads(THREADS)
    torch.manual_seed(args.seed)
    data = torch.from_numpy(rows("mlp", args.rows, args.seed))
    model = build("mlp").eval()

    # Only divisors of the samples: with any other size get_nll draws more or fewer than asked.
    sizes = {s for s in (50, 100, 200, 250, 500, 1000) if args.samples % s == 0}
    seconds = {}
    with torch.no_grad():
        for size in sorted(sizes | ({args.samples} if args.samples <= 1000 else set())):
            model.get_nll(data[:5], n_samples=args.samples, batch_size=size)
            times = []
            for _ in range(args.repeats):
                start = time.perf_counter()
                nll = -float(model.get_nll(data, n_samples=args.samples, batch_size=size))
                times.append(time.perf_counter() - start)
            seconds[size] = min(times)
    if not seconds:
        parser.error("--samples above 1000 must be a multiple of 50")
    size = min(seconds, key=seconds.get)
    weights = args.rows * args.samples
    line = {
        "peer": "pythae",
        "case": "nll-mlp",
        "rows_per_s": round(args.rows / seconds[size], 2),
        "loss": round(nll, 3),
        "weights_per_s": round(weights / seconds[size], 1),
        "batch_size": size,
        "weights_per_s_by_batch_size": {s: round(weights / t, 1) for s, t in seconds.items()},
        "rows": args.rows,
        "samples": args.samples,
        "pythae": importlib.metadata.version("pythae"),
        "torch": torch.__version__,
    }
    print(json.dumps(line))


if __name__ == "__main__":
    main()
