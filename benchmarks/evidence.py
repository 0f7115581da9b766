"""Importance weights per second, MLP 784-400-20-400-784, against a peer's `get_nll`.

    python benchmarks/evidence.py --peers PATH/TO/PYTHON [--rounds 3] [--rows 4000] [--k 5000]

Ours runs `vaes.evaluate.likelihood.evidence` on `--rows` rows with `--k` draws,
compilation included; the peer computes
100 rows with 200 samples by its own routine at its own best batch size. Interleaved; the median of
the round-by-round ratios is quoted, with our resident memory beside it.
"""

import argparse
import json
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path

PEERS = Path(__file__).parent / "peers"


def ours(rows, k):
    """Weights per second and peak resident memory in MiB of this process."""
    sys.path.insert(0, str(PEERS))
    import cases
    import torch

    from vaes import recipes
    from vaes.batch import Data, Spec
    from vaes.evaluate.likelihood import evidence

    torch.set_num_threads(cases.THREADS)
    torch.manual_seed(0)
    spec = Spec((784,), ("binary",), (2,), rows=rows)
    data = Data(spec, torch.from_numpy(cases.rows("mlp", rows)).to(torch.uint8))
    model = recipes.build("vae", spec, latent=20, hidden=(400,), act="relu", net="mlp")
    evidence(model, data.part(torch.arange(50)), k=20)
    start = time.perf_counter()
    found = evidence(model, data, k=k)
    seconds = time.perf_counter() - start
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    speed = rows * k / seconds
    return {"weights_per_s": speed, "roof": speed / roof(), "mib": memory, "mean": found.mean}


def roof():
    """Weights per second that the two products of the decoder alone would allow here."""
    import torch

    seconds = 0.0
    for size, width in ((20, 400), (400, 784)):
        x, weight, bias = torch.randn(2500, size), torch.randn(width, size), torch.randn(width)
        times = []
        for _ in range(30):
            start = time.perf_counter()
            torch.nn.functional.linear(x, weight, bias)
            times.append(time.perf_counter() - start)
        seconds += min(times)  # what there is, not what other work leaves
    return 2500 / seconds


def main():
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--peers", help="python of the peers' environment")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--rows", type=int, default=4000)
    parser.add_argument("--k", type=int, default=5000)
    parser.add_argument("--one", action="store_true", help="measure ours once, print JSON")
    args = parser.parse_args()
    if args.one:
        print(json.dumps(ours(args.rows, args.k)))
        return
    speeds = {"vaes": [], "pythae": []}
    for _ in range(args.rounds):
        here = [sys.executable, __file__, "--one", "--rows", str(args.rows), "--k", str(args.k)]
        there = [args.peers, str(PEERS / "pythae_nll.py"), "--rows", "100", "--samples", "200"]
        for name, command in (("vaes", here), ("pythae", there)):
            out = subprocess.run(command, capture_output=True, text=True, check=True).stdout
            found = json.loads(out.strip().splitlines()[-1])
            speeds[name].append(found["weights_per_s"])
            memory = ""
            if "mib" in found:
                memory = (
                    f", {found['mib']:.0f} MiB, {100 * found['roof']:.0f} % of the products' roof"
                )
            print(f"{name:8} {found['weights_per_s']:12,.0f} weights/s{memory}", flush=True)
    ratios = [a / b for a, b in zip(speeds["vaes"], speeds["pythae"], strict=True)]
    print(f"ratio {statistics.median(ratios):.2f} [{min(ratios):.2f}, {max(ratios):.2f}]")


if __name__ == "__main__":
    main()
