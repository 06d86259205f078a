"""The state of a results folder: which notebooks ran there, from what and with what outcome; one run at a time."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import shutil
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

from lpie.engine import fingerprints
from lpie.engine.provenance import file_digest
from lpie.records import PART, write_json

NOT_OUTPUTS = ("runs", "runs-before", "targets", "manifest.json", "provenance.json", "run_all.ipynb")
"""What lies in a results folder without being the result of one notebook; the first three check themselves."""


class Manifest:
    """`manifest.json` of a results folder: one state per notebook, saved whole after every change.

    `networks` is what the folder's trained networks rest on. A state has `status` (running, finished, failed,
    skipped), `reason` (why it ran), `fingerprint` (what its result rests on), and once it ended `seconds`,
    `finished`, `outputs`, `error`.
    """

    def __init__(self, folder: Path) -> None:
        self.path, self.folder = folder / "manifest.json", folder
        self.damaged = False
        self.changing = threading.Lock()
        self.states: dict[str, dict[str, Any]] = {}
        self.networks: dict[str, Any] = {}
        if self.path.exists():
            try:
                record = json.loads(self.path.read_text(encoding="utf-8"))
                self.states = {name: dict(state) for name, state in record["notebooks"].items()}
                self.networks = dict(record.get("networks", {}))
            except (ValueError, KeyError, TypeError, AttributeError):
                self.damaged = True

    def status(self, name: str) -> str:
        """What became of a notebook; empty if it never ran here."""
        return self.states.get(name, {}).get("status", "")

    def reason_to_run(self, name: str, now: Mapping[str, Any]) -> str:
        """Why the result of `name` is not the one that the fingerprint `now` promises; empty if it is."""
        before = self.states.get(name, {})
        if before.get("status") != "finished":
            reasons = {"running": "it was interrupted", "failed": "it failed", "skipped": "it was skipped"}
            return reasons.get(before.get("status", ""), "it has not run here yet")
        missing = [file for file in before["outputs"] if not (self.folder / file).is_file()]
        return f"{missing[0]} is missing" if missing else fingerprints.difference(before["fingerprint"], now)

    def renew_networks(self, now: Mapping[str, Any]) -> str:
        """Set networks aside that other source trained, so that they are not taken for this one's; says so, or "".

        They keep their place beside the new ones, in `runs-before`, until the next change. Networks that came into
        the folder without a manifest, from a GPU elsewhere, are taken as they are.
        """
        changed = fingerprints.difference(self.networks, now) if self.networks else ""
        runs, before = self.folder / "runs", self.folder / "runs-before"
        self.networks = dict(now)
        if not changed or not runs.exists():
            return ""
        shutil.rmtree(before, ignore_errors=True)
        runs.rename(before)
        return f"{changed}: the networks trained before are kept in {before}, new ones are trained"

    def begin(self, name: str, reason: str, fingerprint: Mapping[str, Any]) -> None:
        self._change(name, {"status": "running", "reason": reason, "fingerprint": dict(fingerprint)})

    def skip(self, name: str, reason: str) -> None:
        self._change(name, {"status": "skipped", "reason": reason})

    def finish(self, name: str, seconds: float, outputs: Iterable[str]) -> None:
        now = datetime.now().astimezone().isoformat(sep=" ", timespec="seconds")
        ended = {"status": "finished", "finished": now, "seconds": seconds, "outputs": list(outputs)}
        self._change(name, {**self.states[name], **ended})

    def fail(self, name: str, seconds: float, error: str) -> None:
        self._change(name, {**self.states[name], "status": "failed", "seconds": seconds, "error": error})

    def conclude(self) -> None:
        """Add the digest of every output, once all are written."""
        outputs = sorted({file for state in self.states.values() for file in state.get("outputs", [])})
        self._save({"outputs_sha256": {file: file_digest(self.folder / file) for file in outputs}})

    def outputs_since(self, moment: float) -> list[str]:
        """The folder's tables, figures and notebooks written since `moment`, in seconds of the epoch."""
        found = (path.relative_to(self.folder) for path in self.folder.rglob("*") if path.is_file())
        kept = (path for path in found if path.parts[0] not in NOT_OUTPUTS and not path.name.startswith("."))
        recent = (path for path in kept if (self.folder / path).stat().st_mtime >= moment)
        return sorted(path.as_posix() for path in recent if not path.name.endswith(".failed.ipynb"))

    def _change(self, name: str, state: dict[str, Any]) -> None:
        with self.changing:
            self.states[name] = state
            self._save({})

    def _save(self, more: Mapping[str, Any]) -> None:
        write_json(self.path, {"notebooks": self.states, "networks": self.networks, **more})


@contextmanager
def exclusive(folder: Path, patience: int = 20) -> Iterator[int]:
    """Makes `folder`, sees that it can be written, and keeps other runs out of it until the block ends.

    What a killed run left half-written is removed. Yields the descriptor that holds the lock: a process that
    inherits it holds it too. Waits up to `patience` seconds, more than the processes of a killed run need to end.
    Raises OSError, naming the folder, when it cannot be written, and BlockingIOError when another run is at work in it.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        handle = os.open(folder / ".lock", os.O_RDWR | os.O_CREAT, 0o666)
    except OSError as error:
        why = "the disk is full" if error.errno == errno.ENOSPC else str(error.strerror).lower()
        message = f"The results folder {folder} cannot be written ({why}): name another one."
        raise OSError(error.errno, message) from error
    try:
        _lock(handle, folder, patience)
        for part in folder.rglob(f"{PART}*"):  # of a run that was killed: nobody else writes here now
            part.unlink(missing_ok=True)
        yield handle
    finally:
        os.close(handle)


def _lock(handle: int, folder: Path, patience: int) -> None:
    for left in range(patience, -1, -1):
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            if not left:
                message = f"Another run is at work in {folder}: wait for it, or name another folder."
                raise BlockingIOError(errno.EWOULDBLOCK, message) from error
            time.sleep(1)
        else:
            return
