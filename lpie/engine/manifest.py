"""The state of a results folder: which notebooks ran there, from what and with what outcome; one run at a time."""

from __future__ import annotations

import json
import shutil
import threading
from collections.abc import Iterable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from lpie.engine import fingerprints
from lpie.engine.provenance import file_digest
from lpie.records import read_json, write_json

CHECKED_ALONE = ("runs", "targets", "confirmation")
"""What notebooks write that is no result of one of them: each file there says itself whether it is finished."""


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
                record = read_json(self.path)
                self.states = {str(name): _state(state) for name, state in dict(record["notebooks"]).items()}
                self.networks = dict(record.get("networks", {}))
            except (ValueError, KeyError, TypeError):
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

    def written(self, record: Path) -> list[str]:
        """The tables, figures and pages named in `record`, the file that LPIE_OUTPUTS named while a notebook ran."""
        lines = record.read_text(encoding="utf-8").splitlines() if record.exists() else []
        paths = {Path(json.loads(line)) for line in lines}
        inside = (path.relative_to(self.folder) for path in paths if path.is_relative_to(self.folder))
        return sorted(path.as_posix() for path in inside if path.parts[0] not in CHECKED_ALONE)

    def _change(self, name: str, state: dict[str, Any]) -> None:
        with self.changing:
            self.states[name] = state
            self._save({})

    def _save(self, more: Mapping[str, Any]) -> None:
        write_json(self.path, {"notebooks": self.states, "networks": self.networks, **more})


def _state(state: Any) -> dict[str, Any]:
    """One notebook's state as it was saved; raises TypeError or ValueError where it is none."""
    checked = {"status": "", "fingerprint": {}, "outputs": [], **dict(state)}
    kinds = {"status": str, "fingerprint": dict, "outputs": list}
    if not all(isinstance(checked[key], kind) for key, kind in kinds.items()):
        raise TypeError(f"Expected the state of a notebook, got {state!r:.200}.")
    return checked
