"""The README's Python blocks run, in order, in one namespace."""

import re
from fnmatch import fnmatch
from pathlib import Path

import numpy as np

README = Path(__file__).parents[1] / "README.md"


def test_python_blocks_run(capsys):
    blocks = re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)
    assert len(blocks) == 3
    space = {}
    for block in blocks:
        exec(compile(block, str(README), "exec"), space)
    assert capsys.readouterr().out.startswith("(3, 4)")
    # rank one data: the model must know far more than independent columns do
    X, model = space["X"], space["model"]
    independent = -0.5 * (1 + np.log(2 * np.pi * X.var(0))).sum()
    assert model.score(X) > independent + 0.5


def test_the_test_command_enters_every_folder(pytestconfig):
    """Pytest passes by folders whose names are on a list of its own, which holds dist and build."""
    passed_by = pytestconfig.getini("norecursedirs")
    folders = {path.parent.name for path in Path(__file__).parent.rglob("test_*.py")}
    assert {"dist", "papers", "evaluate"} <= folders
    assert not [name for name in folders if any(fnmatch(name, ban) for ban in passed_by)]
