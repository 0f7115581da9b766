"""Thousands of odd tables: each goes through load, prepare, encode, decode, write and back, or is
refused in one line.

python -m benchmarks.reliability.tables [--frames 5000] [--start 0]
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from pathlib import Path

from tests.data.endure import endure
from tests.data.frames import case


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--frames", type=int, default=5000)
    parser.add_argument("--start", type=int, default=0, help="number of the first table")
    given = parser.parse_args()
    warnings.simplefilter("error")
    refused, failed, begun = Counter[str](), Counter[str](), time.monotonic()
    for number in range(given.start, given.start + given.frames):
        with tempfile.TemporaryDirectory() as name:
            made = case(number, Path(name))
            try:
                line = endure(made, Path(name))
                refused[line.split(":")[0] if line else ""] += 1
            except Exception:
                print(f"{made.what}; {made.reading}, {made.preparing}")
                traceback.print_exc()
                failed[traceback.format_exc().splitlines()[-1]] += 1
    through, seconds = refused.pop("", 0), time.monotonic() - begun
    print(f"{given.frames:,} tables in {seconds:.0f} s: {through:,} went through and came back,")
    print(f"{refused.total():,} were refused in one line, {failed.total():,} failed")
    return int(failed.total() > 0)


if __name__ == "__main__":
    sys.exit(main())
