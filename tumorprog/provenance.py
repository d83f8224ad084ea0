"""How a result came about: the command, the machine, the commit of the software; no user names, no folders."""

import importlib.metadata
import json
import os
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tumorprog import __version__

PACKAGES = (
    *("ray", "torch", "torchvision", "pydicom", "pywavelets", "scipy", "numpy", "pandas", "pyarrow", "scikit-learn"),
    *("opencv-python-headless", "duckdb", "imagecodecs", "safetensors", "matplotlib", "torchsurv"),
)
"""Packages whose versions are recorded with each stage."""

_ROOT = Path(__file__).parents[1]
_PATH = re.compile(r"([~.]|\.\.)?/.*|[a-z0-9+]+://.*|\S*/\S*")
"""An argument that is a path or an address, as opposed to a text that contains a slash."""
_GPUS = Path("/proc/driver/nvidia/gpus")
_KIB_PER_GIB = 2**20


def command_line(arguments: Sequence[str]) -> str:
    """Return a command line in which every path is shortened to its last component.

    The folders of a path can contain names of users, projects or patients.

    Args:
        arguments: as of `sys.argv`.
    """
    program, *others = arguments or [""]
    name = "tumorprog" if Path(program).stem in {"cli", "__main__"} else Path(program).name
    return " ".join([name, *map(_shorten, others)])


def _shorten(argument: str) -> str:
    option, equals, value = argument.partition("=") if argument.startswith("--") else ("", "", argument)
    shown = value.rstrip("/").rpartition("/")[2] if _PATH.fullmatch(value) else value
    return option + equals + (repr(shown) if " " in shown else shown)


def machine() -> dict[str, Any]:
    """Return the software and hardware of this machine.

    Returns:
        python, system, cpu, cores (that this process may use), memory_gib (None if unknown), gpus (names).
    """
    return {
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.release()}",
        "cpu": _cpu(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "memory_gib": _memory_gib(),
        "gpus": _gpus(),
    }


def _cpu() -> str:
    found = re.search(r"^model name\s*:\s*(.+)$", _read(Path("/proc/cpuinfo")), re.MULTILINE)
    return found[1].strip() if found else platform.machine()


def _memory_gib() -> float | None:
    found = re.search(r"^MemTotal:\s*(\d+) kB", _read(Path("/proc/meminfo")), re.MULTILINE)
    return round(int(found[1]) / _KIB_PER_GIB, 1) if found else None


def _gpus() -> list[str]:
    texts = [_read(path / "information") for path in sorted(_GPUS.iterdir())] if _GPUS.is_dir() else []
    return [found[1].strip() for text in texts if (found := re.search(r"^Model:\s*(.+)$", text, re.MULTILINE))]


def _read(path: Path) -> str:
    return path.read_text() if path.is_file() else ""


def commit(root: Path = _ROOT) -> str:
    """Return the git commit of the software, with a remark on uncommitted changes; "" if it is not from a checkout.

    Args:
        root: folder that contains the package.
    """
    git = shutil.which("git")
    if not git or not (root / ".git").exists():
        return ""
    head, changes = (
        subprocess.run([git, "-C", str(root), *query], capture_output=True, text=True, check=False)  # noqa: S603
        for query in (("rev-parse", "HEAD"), ("status", "--porcelain", "--untracked-files=no", "--", "tumorprog"))
    )
    if head.returncode:
        return ""
    return head.stdout.strip() + (" with uncommitted changes" if changes.stdout.strip() else "")


def of_this_process() -> dict[str, Any]:
    """Return what `run.json` records with a stage: command, machine, commit, versions."""
    return {"command": command_line(sys.argv), "machine": machine(), "commit": commit(), "versions": versions()}


def versions() -> dict[str, str]:
    """Return the versions of tumorprog and of the installed packages that its results depend on, by name."""
    return {"tumorprog": __version__, **package_versions(PACKAGES)}


def package_versions(names: Sequence[str]) -> dict[str, str]:
    """Return the versions of the installed ones among some packages, by name."""
    installed = {distribution.name.lower(): distribution.version for distribution in importlib.metadata.distributions()}
    return {name: installed[name.lower()] for name in names if name.lower() in installed}


def read_stages(folder: Path) -> dict[str, dict[str, Any]]:
    """Return what `run.json` in a run directory records of each stage; empty if there is no such file."""
    path = folder / "run.json"
    return json.loads(path.read_text())["stages"] if path.is_file() else {}
