"""What `lpie doctor` looks at before a study is started."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from lpie.engine.provenance import hardware, versions
from lpie.records import results_folder
from lpie.registry import cache_folder, data_root, find, sources

NEEDED_GB = 2.0  # what a demo run and its checkpoints take, with room to spare
NEEDED_GIB_OF_MEMORY = 5.5


@dataclass(frozen=True)
class Finding:
    """One thing looked at: whether it is as it should be, and what to do if not."""

    what: str
    text: str
    good: bool = True


def findings() -> Iterator[Finding]:
    """Every finding in turn, the slow ones last."""
    found, machine = versions(), hardware()
    named = ", ".join(f"{name} {found[name]}" for name in ("python", "lpie", "numpy") if name in found)
    yield Finding("versions", named)
    memory, cores = machine["memory_gib"], machine["cores"]
    text = f"{machine['processor']}, {cores} cores, {memory} GiB of memory"
    yield Finding("machine", text, memory >= NEEDED_GIB_OF_MEMORY)
    yield _data()
    shipped = sorted(path.stem for path in (Path(__file__).parents[1] / "weights").glob("*.safetensors"))
    whole = "compact" in shipped
    missing = f"the compact critic is missing (shipped: {shipped}): check out the project again"
    yield Finding("weights", ", ".join(shipped) if whole else missing, whole)
    yield from (_writable("results", results_folder("demo").parent), _writable("downloads", cache_folder()))
    yield _jupyter()
    yield from _torch()


def _data() -> Finding:
    try:
        root = data_root()
    except FileNotFoundError as error:
        return Finding("data", str(error), good=False)
    files = [file for source in sources() for file in source.files]
    here = sum(find(file.name) is not None for file in files)
    where = f"LPIE_DATA={root}" if root else "LPIE_DATA is not set; the demo needs none"
    return Finding("data", f"{here} of {len(files)} registered files here ({where})")


def _writable(what: str, folder: Path) -> Finding:
    existing = next(parent for parent in (folder, *folder.parents) if parent.exists())
    free = shutil.disk_usage(existing).free / 1e9
    try:
        with tempfile.TemporaryFile(dir=existing):
            pass
    except OSError as error:
        return Finding(what, f"{existing} cannot be written: {error.strerror}", good=False)
    return Finding(what, f"{folder}, {free:.0f} GB free of the {NEEDED_GB:.0f} needed", free >= NEEDED_GB)


def _jupyter() -> Finding:
    try:
        text = ", ".join(f"{name} {metadata.version(name)}" for name in ("papermill", "ipykernel"))
        return Finding("notebooks", text)
    except metadata.PackageNotFoundError as error:
        return Finding("notebooks", f"{error.name} is not installed: make study sets everything up", good=False)


def _torch() -> Iterator[Finding]:
    """torch with a torchvision built for another release imports, and then has no operators."""
    import torch

    asked = f" (OMP_NUM_THREADS={os.environ['OMP_NUM_THREADS']})" if "OMP_NUM_THREADS" in os.environ else ""
    yield Finding("torch", f"{torch.__version__}, {torch.get_num_threads()} threads{asked}")
    try:
        import torchvision

        kept = torchvision.ops.nms(torch.tensor([[0.0, 0.0, 1.0, 1.0]]), torch.ones(1), 0.5)
        yield Finding("torchvision", f"{torchvision.__version__}, fits", len(kept) == 1)
    except (ImportError, RuntimeError) as error:
        text = f"does not fit torch {torch.__version__}: install the locked pair ({error})"
        yield Finding("torchvision", text, good=False)
    cards = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
    yield Finding("graphics card", ", ".join(cards) or "none; the demo needs none")
