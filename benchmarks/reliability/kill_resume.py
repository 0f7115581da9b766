"""100 SIGKILLs in the middle of runs; what is left must equal an undisturbed run.

python -m benchmarks.reliability.kill_resume [--kills 100] [--per-run 10] [--steps 1000]
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from benchmarks.reliability.runs import differences, kill_series, whole


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--per-run", type=int, default=10)
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        expected = whole(folder / "whole", given.steps)
        told = kill_series(folder, given.kills, given.per_run, given.steps, given.seed)
        wrong = {
            f"run{i}": found
            for i in range(told.runs)
            if (found := differences(folder / f"run{i}", expected))
        }
    print(f"{told.landed} kills in the middle of {told.runs} runs of {given.steps} steps")
    print(f"runs that differ from the undisturbed one: {wrong or 'none'}")
    print(f"stray files: {told.strays}; states that went back: {sum(x > 0 for x in told.lost)}")
    return int(bool(wrong) or told.strays > 0 or max(told.lost) > 0)


if __name__ == "__main__":
    sys.exit(main())
