"""50 signals at random steps and 10 double Ctrl-C, each run resumed to its end.

python -m benchmarks.reliability.signals [--signals 50] [--double 10] [--steps 1000]
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
from pathlib import Path

from benchmarks.reliability.runs import differences, signal_series, whole


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--signals", type=int, default=50)
    parser.add_argument("--double", type=int, default=10)
    parser.add_argument("--per-run", type=int, default=10)
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        expected = whole(folder / "whole", given.steps)
        kinds = ["SIGTERM", "SIGINT"] * (given.signals // 2) + ["double"] * given.double
        random.Random(given.seed).shuffle(kinds)
        told = signal_series(folder, kinds, given.per_run, given.steps, given.seed)
        made = [folder / f"run{i}" for i in range(told.runs)]
        wrong = {run.name: found for run in made if (found := differences(run, expected))}
    fine = not wrong
    for kind, code, bar in (("SIGTERM", 143, 10), ("SIGINT", 130, 10), ("double", 130, 1)):
        rows = [i for i, k in enumerate(kinds) if k == kind]
        codes, slowest = {told.codes[i] for i in rows}, max(told.seconds[i] for i in rows)
        said = sum("go on with: vaes train --resume" in told.lines[i] for i in rows)
        print(
            f"{len(rows)} x {kind}: codes {sorted(codes)}, {said} said how to go on, slowest end "
            f"after {slowest:.2f} s (bar {bar})"
        )
        fine = fine and codes == {code} and slowest <= bar
        fine = fine and (kind == "double" or said == len(rows))
    print(f"runs that differ from the undisturbed one: {wrong or 'none'}")
    return int(not fine)


if __name__ == "__main__":
    sys.exit(main())
