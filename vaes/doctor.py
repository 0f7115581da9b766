"""What this machine has, and what training would use of it."""

from __future__ import annotations

import os

from vaes.run import versions


def findings() -> list[str]:
    """One line per fact."""
    import torch

    from vaes.data.builtin import cache_folder
    from vaes.machine import compiler, cores, onednn_is_exact

    lines = [f"{name:10} {version}" for name, version in versions().items()]
    lines.append(f"threads    {torch.get_num_threads()} of {cores()} processors")
    lines.append(f"compiler   {compiler() or 'none: long runs are not compiled'}")
    if torch.cuda.is_available():
        lines.append(f"cuda       {torch.cuda.get_device_name(0)}")
    else:
        lines.append("cuda       none")
    route = "oneDNN" if onednn_is_exact() else "the default library"
    lines.append(f"products   fp32 through {route}")
    lines.append(f"data       VAES_DATA={os.environ.get('VAES_DATA', '')}, cache {cache_folder()}")
    return lines
