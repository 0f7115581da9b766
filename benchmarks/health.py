"""Are sick models named, healthy ones let alone, and do the remedies help?

    python benchmarks/health.py [--seeds 0 1 2 3 4] [--kinds NAME ...] [--no-healthy] [--numbers]

Small models (generated rows, scikit-learn's digits, a table of unlike columns) are made sick by
options, by their rows or by editing weights, each kind once per seed; a case counts as named where
`vaes.evaluate.health.examine` has the finding that was planted. Where the remedy is an option, the
model is trained again with it: mended where that finding is gone. Healthy models, four for each
seed, must have no warning. The borders of the findings were set on seeds from 100 on.
"""

import argparse
import time
from collections import defaultdict

from sick import EDITED, HEALTHY, SICK

NEEDED, ALLOWED = 0.95, 0.05


def healthy(seed):
    """Four of the ten, by turns, so that five seeds have each twice."""
    names = list(HEALTHY)
    return [names[(4 * seed + i) % len(names)] for i in range(4)]


def told(health):
    """The findings by name, warnings with a mark."""
    return ", ".join(f.name + ("!" if f.severity == "warning" else "") for f in health.findings)


def sick_ones(kinds, seeds, numbers):
    """Named and mended by kind, and how many there were of each."""
    rows = defaultdict(lambda: [0, 0, 0, 0])
    for kind in kinds:
        finding, make = SICK[kind]
        for seed in seeds:
            start = time.perf_counter()
            health = make(seed).examined(seed)
            named = finding in [f.name for f in health.findings]
            rows[kind][0] += named
            rows[kind][1] += 1
            after = ""
            if kind not in EDITED:
                mended = make(seed, mended=True).examined(seed)
                rows[kind][2] += finding not in [f.name for f in mended.findings]
                rows[kind][3] += 1
                after = f" -> {told(mended) or 'nothing'}"
            seconds = time.perf_counter() - start
            print(f"  {kind}, seed {seed}: {told(health)}{after} ({seconds:.1f} s)", flush=True)
            if numbers:
                print(f"    {health.numbers}")
                if kind not in EDITED:
                    print(f"    mended {mended.numbers}", flush=True)
    return rows


def healthy_ones(seeds, numbers):
    """How many have a warning, of how many."""
    alarms, every = 0, 0
    for seed in seeds:
        for name in healthy(seed):
            start = time.perf_counter()
            case = HEALTHY[name](seed)
            middle = time.perf_counter()
            health = case.examined(seed)
            alarms += bool(health.warnings)
            every += 1
            took = f"{middle - start:.1f} + {time.perf_counter() - middle:.1f} s"
            print(
                f"  healthy {name}, seed {seed}: {told(health) or 'nothing'} ({took})", flush=True
            )
            if numbers:
                print(f"    {health.numbers}", flush=True)
    return alarms, every


def main():
    """A line per model, a table by kind, and whether the bars are met."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2, 3, 4])
    parser.add_argument("--kinds", nargs="*", choices=list(SICK), default=list(SICK))
    parser.add_argument("--no-healthy", action="store_true")
    parser.add_argument("--numbers", action="store_true", help="print what was measured too")
    args = parser.parse_args()
    start = time.perf_counter()
    rows = sick_ones(args.kinds, args.seeds, args.numbers)
    alarms, every = (0, 0) if args.no_healthy else healthy_ones(args.seeds, args.numbers)
    print("\n| sick | named | mended by its remedy |\n| --- | --- | --- |")
    for kind, (named, n, mended, tried) in rows.items():
        print(f"| {kind} | {named} of {n} | {f'{mended} of {tried}' if tried else '-'} |")
    named, n, mended, tried = (sum(r[i] for r in rows.values()) for i in range(4))
    print(
        f"\nnamed {named} of {n}, mended {mended} of {tried}; {alarms} of {every} healthy models "
        f"have a warning; {time.perf_counter() - start:.0f} s"
    )
    return 0 if named >= NEEDED * n and alarms <= ALLOWED * max(1, every) else 1


if __name__ == "__main__":
    raise SystemExit(main())
