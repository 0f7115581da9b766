"""Every part of every table with every other: a pairwise cover, trained, scored, saved and loaded.

    python -m benchmarks.composability [--most N]

Prints what failed, and how many combinations worked and how many pairs they met.
"""

from __future__ import annotations

import argparse
import sys
import time

from tests.combinations import built, check, cover, everything, senseless
from vaes.errors import UsageError


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--most", type=int, help="stop after so many combinations")
    args = parser.parse_args()
    parts, start, failed = everything(), time.perf_counter(), []
    chosen = cover(parts)[: args.most]
    for combination in chosen:
        try:
            check(combination)
        except Exception as error:  # whatever it is, it is told, and the others are tried
            told = str(error).strip().splitlines()
            failed.append(f"{combination}: {type(error).__name__} {told[0] if told else ''}")
            print(failed[-1], flush=True)
    refused = list(senseless(parts))
    for combination in refused:
        try:
            built(combination)
            failed.append(f"{combination} makes no sense, but was built")
            print(failed[-1])
        except UsageError as error:
            if "\n" in str(error):
                failed.append(f"{combination}: more than one line")
    pairs = len(set().union(*(c.pairs() for c in chosen)))
    print(
        f"{len(chosen)} combinations of {', '.join(f'{len(v)} {k}' for k, v in parts.items())}; "
        f"{pairs} pairs; {len(refused)} refused in one line; {len(failed)} failed; "
        f"{time.perf_counter() - start:.0f} s"
    )
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
