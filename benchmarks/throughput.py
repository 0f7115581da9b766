"""Training speed against peers: same networks, same arithmetic, one process each, interleaved.

    python benchmarks/throughput.py --peers PATH/TO/PYTHON [--rounds 5] [--seconds 6] [--case mlp]

`--peers` is the interpreter of an environment made from benchmarks/peers/requirements.txt. Every
round runs each contender once, in turn, so that a drift of the machine hits all alike; quoted are
the median and the least and greatest of each, and the median of the round-by-round ratios.
"""

import argparse
import json
import statistics
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent / "peers"
OURS = {
    "vaes fp32": ["vaes_train.py"],
    "vaes fp32 by hand": ["vaes_train.py", "--by-hand"],
    "vaes bf16": ["vaes_train.py", "--precision", "bf16"],
    "vaes eager": ["vaes_train.py", "--compile", "no"],
}
THEIRS = {"pythae": ["pythae_train.py"], "plain torch": ["plain_torch.py"]}
JAX = {"jax scan": ["jax_scan.py"]}


def run(python, script, case, seconds):
    """One contender once; its JSON line."""
    command = [python, str(HERE / script[0]), "--case", case, "--seconds", str(seconds)]
    done = subprocess.run([*command, *script[1:]], capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{' '.join(command)} failed:\n{done.stderr[-2000:]}")
    return json.loads(done.stdout.strip().splitlines()[-1])


def main():
    """Measure, print a table and one JSON line per case."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--peers", required=True, help="python of the peers' environment")
    parser.add_argument("--case", choices=("mlp", "conv28", "conv64"), action="append")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=6.0)
    args = parser.parse_args()
    for case in args.case or ["mlp", "conv28", "conv64"]:
        theirs = THEIRS | (JAX if case == "mlp" else {})
        ours = OURS if case == "mlp" else {name: OURS[name] for name in ("vaes fp32", "vaes bf16")}
        speeds = {name: [] for name in [*ours, *theirs]}
        for round_ in range(args.rounds):
            for name, script in {**ours, **theirs}.items():
                python = sys.executable if name in OURS else args.peers
                found = run(python, script, case, args.seconds)
                speeds[name].append(found["rows_per_s"])
                note = f" {found['notes']}" if found.get("notes") else ""
                print(f"{case} round {round_ + 1} {name:18} {speeds[name][-1]:10,.0f} rows/s{note}")
        table(case, speeds)


def table(case, speeds):
    """Medians, ranges and ratios to each peer."""
    print(f"\n{case}: median [least, greatest] rows/s; ratios are medians over rounds")
    peers = [name for name in speeds if name not in OURS]
    record = {"case": case, "rows_per_s": {}, "ratios": {}}
    for name, values in speeds.items():
        record["rows_per_s"][name] = statistics.median(values)
        line = (
            f"{name:18} {statistics.median(values):9,.0f} [{min(values):,.0f}, {max(values):,.0f}]"
        )
        if name in OURS:
            for peer in [*peers, *({"vaes fp32 by hand"} & set(speeds))]:
                pairs = zip(values, speeds[peer], strict=True)
                ratio = statistics.median(a / b for a, b in pairs)
                record["ratios"][f"{name} / {peer}"] = round(ratio, 3)
                line += f"   {ratio:.2f} x {peer}"
        print(line)
    print(json.dumps(record) + "\n", flush=True)


if __name__ == "__main__":
    main()
