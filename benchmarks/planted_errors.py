"""Would the tests notice? Plants known errors in a copy of the package, one at a time.

    python benchmarks/planted_errors.py [--only NAME ...] [--list]

Each error is one edit that leaves a program that runs and says something false. The copy lies in a
temporary folder; of the tests, the files that should notice run first, the rest of the quick suite
only if they passed. Tests that are red before anything is planted are named and left out, so that
they kill nothing. Exit status 1 below 95 % killed, 2 where an error can no longer be planted:
an edit whose place has moved must be written anew, not forgotten.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from plants import Plant, every

ROOT = Path(__file__).resolve().parents[1]
COPIED = ("vaes", "tests", "docs", "benchmarks", "pyproject.toml", "README.md")
# minutes of killed processes that say nothing of arithmetic; they need benchmarks/ beside them
SLOW = ("tests/test_reliability.py",)
NEEDED = 0.95
LIMIT = 600  # seconds after which a test run counts as failed: a program that hangs is noticed
PLANTS = every()


class Workshop:
    """The copy that errors are planted in, and the tests that run there."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for name in COPIED:
            source = ROOT / name
            if source.is_dir():
                ignored = shutil.ignore_patterns("__pycache__")
                shutil.copytree(source, folder / name, ignore=ignored)
            else:
                shutil.copy(source, folder / name)
        # no bytecode: its age is told in whole seconds, in which a file changes more than once
        self.environment = {
            **os.environ,
            "PYTHONPATH": str(folder),
            "PYTHONDONTWRITEBYTECODE": "1",
            "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "1"),
        }
        command = [sys.executable, "-c", "import vaes; print(vaes.__file__)"]
        done = subprocess.run(
            command, cwd=folder, env=self.environment, capture_output=True, text=True, check=True
        )
        if not Path(done.stdout.strip()).is_relative_to(folder):
            broken(f"the tests would import {done.stdout.strip()}, not the copy")
        files = (str(p.relative_to(folder)) for p in (folder / "tests").rglob("test_*.py"))
        self.quick = [f for f in sorted(files) if f not in SLOW]
        self._red: dict[tuple[str, ...], list[str]] = {}

    def pytest(self, files: list[str], *more: str) -> tuple[bool, list[str]]:
        """Whether the files pass, and what failed."""
        command = [sys.executable, "-m", "pytest", "-q", "--tb=no", "-p", "no:cacheprovider"]
        try:
            done = subprocess.run(
                [*command, *more, *files],
                cwd=self.folder,
                env=self.environment,
                capture_output=True,
                text=True,
                check=False,
                timeout=LIMIT,
            )
        except subprocess.TimeoutExpired:
            return False, [f"no end after {LIMIT} s"]
        failed = re.findall(r"^(?:FAILED|ERROR) (\S+::.*?)(?: - .*)?$", done.stdout, re.MULTILINE)
        if done.returncode not in (0, 1) or bool(done.returncode) != bool(failed):
            broken(f"pytest ended with status {done.returncode}:\n{(done.stdout + done.stderr)}")
        return not done.returncode, failed

    def red(self, files: list[str]) -> list[str]:
        """What fails in these files with nothing planted, found once."""
        key = tuple(files)
        if key not in self._red:
            known = {test for tests in self._red.values() for test in tests}
            self._red[key] = self.pytest(files)[1]
            for test in self._red[key]:
                if test not in known:
                    print(f"left out, red before anything is planted: {test}", flush=True)
        return self._red[key]

    @contextmanager
    def planted(self, plant: Plant) -> Iterator[None]:
        """The error is in the copy within, and gone after."""
        path = self.folder / plant.file
        before = path.read_text(encoding="utf-8")
        path.write_text(before.replace(plant.old, plant.new), encoding="utf-8")
        try:
            yield
        finally:
            path.write_text(before, encoding="utf-8")

    def killer(self, plant: Plant, first: list[str]) -> str | None:
        """The first test that notices the error, None where none does; `first` of all plants."""
        rest = [f for f in self.quick if f not in plant.tests]
        for files, red_in in ((list(plant.tests), first), (rest, self.quick)):
            left = self.red(red_in)
            with self.planted(plant):
                passed, failed = self.pytest(files, "-x", *deselected(left))
            if not passed:
                return failed[0]
        return None


def deselected(tests: list[str]) -> list[str]:
    return [part for test in tests for part in ("--deselect", test)]


def broken(told: str) -> None:
    """Ends the script: a result without this would be no result."""
    print(f"planted_errors: {told}", file=sys.stderr)
    sys.exit(2)


def check(plants: list[Plant]) -> None:
    """Every error can be planted, in this very tree."""
    wrong = []
    for plant in plants:
        path = ROOT / plant.file
        found = path.read_text(encoding="utf-8").count(plant.old) if path.exists() else 0
        if found != 1:
            wrong.append(f"'{plant.name}': {plant.file} has its snippet {found} times, not once")
        if plant.old == plant.new:
            wrong.append(f"'{plant.name}' changes nothing")
        lost = [t for t in plant.tests if not (ROOT / t).exists()]
        wrong += [f"'{plant.name}': there is no {test}" for test in lost]
    wrong += [
        f"'{n}' names two errors" for n, k in Counter(p.name for p in PLANTS).items() if k > 1
    ]
    if wrong:
        broken("\n".join([f"{len(wrong)} errors cannot be planted; write them anew:", *wrong]))


def main() -> int:
    """Plants, runs, tells; the exit status."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--only", action="append", help="an error by name; may be given again")
    parser.add_argument("--list", action="store_true", help="names of all errors, nothing is run")
    args = parser.parse_args()
    if args.list:
        print("\n".join(f"{p.name}  ({p.file})" for p in PLANTS))
        return 0
    plants = [p for p in PLANTS if not args.only or p.name in args.only]
    for name in set(args.only or ()) - {p.name for p in plants}:
        broken(f"no error is named '{name}'; see --list")
    check(plants)
    first = sorted({test for plant in plants for test in plant.tests})
    killed, begun = 0, time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="planted-") as folder:
        workshop = Workshop(Path(folder).resolve())
        workshop.red(first)
        for plant in plants:
            start = time.perf_counter()
            by = workshop.killer(plant, first)
            seconds = time.perf_counter() - start
            killed += by is not None
            told = f"killed    {seconds:6.1f} s" if by else f"SURVIVED  {seconds:6.1f} s"
            print(f"{told}  {plant.name}" + (f"  <- {by}" if by else ""), flush=True)
    minutes = (time.perf_counter() - begun) / 60
    share = killed / len(plants)
    print(f"killed {killed} of {len(plants)} ({100 * share:.1f} %) in {minutes:.1f} minutes")
    return 0 if share >= NEEDED else 1


if __name__ == "__main__":
    sys.exit(main())
