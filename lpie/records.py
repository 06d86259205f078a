"""What a run leaves on disk, written whole or not at all."""

from __future__ import annotations

import errno
import json
import lzma
import os
import re
import secrets
import shutil
import stat
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # writing a photograph needs no pandas, drawing a figure does not wait for torch
    import pandas as pd
    import torch


def results_folder(profile: str) -> Path:
    """Where the records of `profile` lie, the same from a notebook, the command line and a test.

    The folder that LPIE_RESULTS names, as run_all does for its notebooks; else results/<profile> of this checkout,
    or of the working directory where the package was installed without one.
    """
    if named := os.environ.get("LPIE_RESULTS"):
        return Path(named)
    checkout = Path(__file__).resolve().parents[1]
    return (checkout if (checkout / "notebooks").is_dir() else Path.cwd()) / "results" / profile


PUBLISHED = Path(__file__).resolve().parents[1] / "results" / "published"
"""The committed evidence; only a checkout has it."""

PART = ".lpie-part-"
"""How the names of files begin that are not whole yet, then the process that writes; a killed one leaves them."""

_held: set[Path] = set()  # folders that this process keeps for itself


@contextmanager
def exclusive(folder: Path, patience: int = 20) -> Iterator[int]:
    """Makes `folder`, makes sure that it can be written, and keeps every other writer out of it until the block ends.

    What killed processes left half-written in it is removed. Yields the descriptor that holds the lock: a process that
    inherits it holds it too. Waits up to `patience` seconds, more than the processes of a killed run need to end.
    Raises OSError, naming the folder, when it cannot be written, and BlockingIOError when another run is at work in it.
    """
    import psutil

    with _locked(folder, "EXCLUSIVE", patience) as handle:
        for part in folder.rglob(f"{PART}*"):
            writer = re.match(r"(\d+)-[0-9a-f]{8}-", part.name.removeprefix(PART))
            if writer and not psutil.pid_exists(int(writer[1])):
                part.unlink(missing_ok=True)
        _held.add(folder.resolve())
        try:
            yield handle
        finally:
            _held.discard(folder.resolve())


@contextmanager
def sharing(folder: Path, patience: int = 5) -> Iterator[None]:
    """Lets other writers of single runs into `folder` too, but no `exclusive` one; errors as `exclusive`.

    Nothing is locked where this process has `folder` for itself already, or the one that LPIE_LOCKED says started it.
    """
    if folder.resolve() in _held or os.environ.get("LPIE_LOCKED") == str(folder.resolve()):
        yield
    else:
        with _locked(folder, "SHARED", patience):
            yield


@contextmanager
def _locked(folder: Path, kind: str, patience: int) -> Iterator[int]:
    from portalocker import lock
    from portalocker.constants import LockFlags
    from portalocker.exceptions import LockException

    def opener(path: str, flags: int) -> int:  # a link is not followed: it may lead to anybody's file
        return os.open(path, flags | getattr(os, "O_NOFOLLOW", 0), 0o666)

    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = open(folder / ".lock", "a", opener=opener)  # noqa: SIM115 - closed below
    except OSError as error:
        why = {errno.ENOSPC: "the disk is full", errno.ELOOP: "its .lock is a symbolic link"}
        reason = why.get(error.errno or 0, str(error.strerror).lower())
        message = f"The results folder {folder} cannot be written ({reason}): name another one."
        raise OSError(error.errno, message) from error
    with file:
        for left in range(patience, -1, -1):
            try:
                lock(file, LockFlags[kind] | LockFlags.NON_BLOCKING)
                break
            except LockException as error:
                if not left:
                    message = f"Another run is at work in {folder}: wait for it, or name another folder."
                    raise BlockingIOError(errno.EWOULDBLOCK, message) from error
                time.sleep(1)
        yield file.fileno()


@contextmanager
def atomic_path(path: str | os.PathLike[str]) -> Iterator[Path]:
    """A temporary path beside `path` that takes its name when the block ends well.

    A reader sees the old file or the new one, never a part; an error or a kill leaves the old one. A file that is
    replaced passes on its mode and, where that is allowed, its owner. Raises PermissionError if it is read-only,
    OSError that names the file if the disk is full. A link stays one: what it leads to is written.
    Where LPIE_OUTPUTS names a file, the path is added to it: so a notebook's run knows what the notebook wrote.
    """
    final = Path(os.path.realpath(path) if os.path.islink(path) else path)
    final.parent.mkdir(parents=True, exist_ok=True)
    old = final.stat() if final.exists() else None
    if old is not None and not old.st_mode & stat.S_IWUSR:
        raise PermissionError(errno.EACCES, "The file is read-only: make it writable or name another", os.fspath(final))
    temporary = final.with_name(f"{PART}{os.getpid()}-{secrets.token_hex(4)}-{final.stem[:40]}{final.suffix}")
    os.close(os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))  # the system applies the umask
    try:
        yield temporary
        with temporary.open("rb+") as written:
            os.fsync(written.fileno())
        if old is not None:
            with suppress(PermissionError, AttributeError):  # Windows has no chown
                shutil.chown(temporary, old.st_uid, old.st_gid)
            temporary.chmod(stat.S_IMODE(old.st_mode))
        os.replace(temporary, final)
        _sync_folder(final.parent)
        if written_here := os.environ.get("LPIE_OUTPUTS"):
            with open(written_here, "a", encoding="utf-8") as outputs:
                outputs.write(json.dumps(os.path.abspath(path)) + "\n")
    except Exception as error:
        in_words = "No space left" in str(error)  # as safetensors says it
        if in_words or getattr(error, "errno", None) == errno.ENOSPC:
            text = "The disk is full: free some room and start again, what was finished is kept"
            raise OSError(errno.ENOSPC, text, os.fspath(final)) from error
        raise
    finally:
        temporary.unlink(missing_ok=True)


def _sync_folder(folder: Path) -> None:
    """Put the folder's entries on the disk, so that a name that was replaced stays so when the power fails."""
    with suppress(OSError):  # some file systems cannot
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def read_json(path: str | os.PathLike[str]) -> dict[str, Any]:
    """The JSON object in a file; raises ValueError, naming the file, where it holds something else."""
    try:
        record = json.loads(Path(path).read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is damaged ({error}): remove it, and it is made again.") from error
    if not isinstance(record, dict):
        raise ValueError(f"{path} is damaged (a {type(record).__name__}, no object): remove it, and it is made again.")
    return record


def write_whole(path: str | os.PathLike[str], content: str | bytes) -> None:
    """Write a text, as UTF-8, or bytes atomically."""
    with atomic_path(path) as temporary:
        temporary.write_bytes(content.encode() if isinstance(content, str) else content)


def write_json(path: str | os.PathLike[str], record: Mapping[str, Any]) -> None:
    """Write `record` as indented JSON, atomically."""
    write_whole(path, json.dumps(record, indent=1, sort_keys=True, default=str) + "\n")


FORMULA = r"^([=@\t\r]|[+-](?![\d.]+%?(?:\s|$)))"
"""How a text begins that spreadsheets run; a signed number is none."""


def write_csv(path: str | os.PathLike[str], table: pd.DataFrame) -> None:
    """Write `table` as CSV with six significant digits, atomically; compressed where `path` ends in .xz.

    A text that a spreadsheet would run as a formula gets an apostrophe before it.
    """
    words = table.select_dtypes(include=["object", "string"]).columns
    table = table.assign(**{name: table[name].replace(FORMULA, r"'\1", regex=True) for name in words})
    text = table.to_csv(index=False, float_format="%.6g", lineterminator="\n").encode()
    # neither the time nor the temporary name goes into compressed bytes
    write_whole(path, lzma.compress(text, preset=9) if str(path).endswith(".xz") else text)


def write_tensors(
    path: str | os.PathLike[str], tensors: Mapping[str, torch.Tensor], metadata: Mapping[str, str] | None = None
) -> None:
    """Write named tensors as safetensors, atomically; the same tensors and metadata give the same bytes."""
    from safetensors.torch import save_file

    with atomic_path(path) as temporary:
        stored = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
        save_file(stored, temporary, dict(metadata or {}))
        _sort_header(temporary)


def _sort_header(path: Path) -> None:
    """Put the header's entries in order of their names: safetensors writes metadata in an order that changes."""
    with path.open("rb+") as stored:
        length = int.from_bytes(stored.read(8), "little")
        header = json.loads(stored.read(length))
        text = json.dumps(header, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
        if len(text) <= length:
            stored.seek(8)
            stored.write(text.ljust(length))


def read_tensors(path: str | os.PathLike[str]) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    """The tensors and metadata of a safetensors file, on the CPU.

    Raises ValueError if the file is not whole safetensors; nothing else is ever opened, no pickle.
    """
    from safetensors import safe_open

    try:
        with safe_open(path, framework="pt") as stored:
            return {name: stored.get_tensor(name) for name in stored.keys()}, dict(stored.metadata() or {})  # noqa: SIM118
    except FileNotFoundError:
        raise
    except Exception as error:
        raise ValueError(f"{path}: expected a whole safetensors file, got something else ({error}).") from error
