"""Where a result comes from: source, packages, data, machine and time, as one JSON record."""

from __future__ import annotations

import hashlib
import os
import platform
import shutil
import subprocess
from collections import Counter
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import psutil

from lpie.registry import find, registry_path, sources
from lpie.study.settings import Profile, digest_of
from lpie.study.sources import photographs_in

PROJECT = Path(__file__).resolve().parents[2]

PACKAGES = (
    *("lpie", "torch", "torchvision", "numpy", "scipy", "scikit-image", "scikit-learn", "numba", "pyamg"),
    *("pandas", "matplotlib", "pillow", "safetensors", "papermill"),
)
"""The packages whose versions can change a number or a picture."""


def provenance(study: Profile, parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Everything needed to run the study again and compare, JSON types only; `wall_seconds` is not known yet."""
    return {
        "written": datetime.now(UTC).isoformat(timespec="seconds"),
        "profile": study.name,
        "parameters": dict(parameters),
        "seeds": list(study.seeds),
        "wall_seconds": None,
        "source": source_state(),
        "lock_sha256": file_digest(PROJECT / "requirements.lock"),
        "versions": versions(),
        "hardware": hardware(),
        "data": data_state(study),
    }


def source_state() -> dict[str, Any]:
    """The commit and whether files differ from it; both None outside a git checkout."""
    commit = _output_of("git", "-C", str(PROJECT), "rev-parse", "HEAD")
    changes = _output_of("git", "-C", str(PROJECT), "status", "--porcelain", "--untracked-files=normal")
    return {"commit": commit, "dirty": None if changes is None or commit is None else bool(changes)}


def versions() -> dict[str, str]:
    """The versions of Python and of every package of PACKAGES that is installed."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def hardware() -> dict[str, Any]:
    """Processor, cores this process may use, memory in GiB, graphics cards, operating system."""
    cards = _output_of("nvidia-smi", "--query-gpu=name", "--format=csv,noheader")
    return {
        "processor": _processor_name(),
        "cores": usable_cores(),
        "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
        "graphics_cards": cards.splitlines() if cards else [],
        "system": f"{platform.system()} {platform.machine()}",
    }


def usable_cores() -> int:
    """Cores that this process may run on, which a container or a queue may have cut down."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def data_state(study: Profile) -> dict[str, Any]:
    """The registry's digest, which fixes the bytes of its files, how many of each source are at hand, and own files."""
    counts: Counter[str] = Counter()
    for source in sources():
        counts[source.folder] += sum(find(file.name) is not None for file in source.files)
    return {"registry_sha256": file_digest(registry_path()), "files_at_hand": dict(counts), "own": _own_files(study)}


def file_digest(path: Path) -> str | None:
    """SHA-256 of a file in hex, or None where there is no such file."""
    if not path.is_file():
        return None
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _own_files(study: Profile) -> str | None:
    """A digest of names, sizes and times of change of the user's own photographs: they are not read for this."""
    own = [
        path
        for rows in study.photographs
        if not rows.set
        for source in photographs_in(rows)
        if not source.registered
        for path in (source.path, source.other)
        if path
    ]
    states = [(str(path), path.stat().st_size, path.stat().st_mtime_ns) for path in own]
    return digest_of(states) if states else None


def _processor_name() -> str:
    described = Path("/proc/cpuinfo")
    lines = described.read_text(encoding="utf-8").splitlines() if described.exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def _output_of(*command: str) -> str | None:
    """What a command prints, or None where it is missing or fails."""
    if shutil.which(command[0]) is None:
        return None
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    return done.stdout.strip() if done.returncode == 0 else None
