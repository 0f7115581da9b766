"""Errors in what is written and read."""

from plants import Plant

OPTIM = "vaes/optim.py"
RUN = "vaes/run.py"
DISK = "vaes/disk.py"
T_DISK = "tests/test_disk.py"
T_RESUME = "tests/run/test_resume.py"
T_DAMAGE = "tests/run/test_damage.py"

PLANTS = [
    Plant(
        "a file renamed before it is durable",
        DISK,
        "                os.fsync(file.fileno())\n            os.replace(aside, path)",
        "            os.replace(aside, path)",
        (T_DISK,),
    ),
    Plant(
        "a rename that is not made durable",
        DISK,
        "        sync_folder(path.parent)\n    return hashlib",
        "    return hashlib",
        (T_DISK,),
    ),
    Plant(
        "weights read without a look at their checksum",
        RUN,
        'if disk.sha256(path) != self.info["weights"]:',
        "if not disk.sha256(path):",
        (T_DAMAGE,),
    ),
    Plant(
        "states read without a look at their checksum",
        RUN,
        'if not path.exists() or disk.sha256(path) != entry["sha256"]:',
        "if not path.exists():",
        (T_DAMAGE,),
    ),
    Plant(
        "a resume that forgets Adam's second moments",
        OPTIM,
        'f"second/{names[i]}": t for',
        'f"second/{names[i]}": t.clone() for',
        (T_RESUME,),
    ),
    Plant(
        "a resume that tells the last steps twice",
        RUN,
        'self._cut_metrics(meta["metrics"])',
        'self._cut_metrics(2**62 + meta["metrics"])',
        (T_RESUME,),
    ),
]
