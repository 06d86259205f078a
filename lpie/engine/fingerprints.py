"""What a notebook's result depends on, as digests that can be compared between two runs.

A fingerprint is a nested dictionary of short strings, JSON as it stands. Two equal ones promise the same result;
`difference` says in words what changed.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lpie.engine import provenance
from lpie.engine.notebook_parameters import cells_of
from lpie.study.dependencies import PACKAGE, imports, reachable, source_digests
from lpie.study.settings import Profile, digest_of

Fingerprint = dict[str, Any]


def fingerprint(
    notebook: Path, parameters: Mapping[str, Any], upstream: Mapping[str, str], study: Profile
) -> Fingerprint:
    """Everything that determines the result of `notebook`; `upstream` has the digests of what it depends on."""
    return {
        "study": study.digest,
        "notebook": notebook_digest(notebook),
        "parameters": dict(parameters),
        "package source": source_digests(imported_by(notebook)),
        "weights": _weights(),
        "data": provenance.data_state(study),
        "versions": {name: version for name, version in provenance.versions().items() if name != "lpie"},
        "upstream": dict(upstream),
    }


def training_fingerprint() -> Fingerprint:
    """What every trained and evaluated network rests on besides its own study: the code, and the shipped weights."""
    return {"package source": source_digests(reachable({PACKAGE / "study" / "experiments.py"})), "weights": _weights()}


def _weights() -> dict[str, str | None]:
    return {path.name: provenance.file_digest(path) for path in sorted(PACKAGE.glob("weights/*.safetensors"))}


def difference(before: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """What changed between two fingerprints, in words; empty if nothing did."""
    changes = []
    for part, value in now.items():
        old = before.get(part)
        if old == value:
            continue
        names = _changed_names(old, value)
        changes.append(f"{part} changed" + (f" ({names})" if names else ""))
    return ", ".join(changes)


def _changed_names(old: Any, new: Any) -> str:
    if not isinstance(old, Mapping) or not isinstance(new, Mapping):
        return ""
    names = [name for name in {**old, **new} if old.get(name) != new.get(name)]
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def notebook_digest(notebook: Path) -> str:
    """Of what runs: the sources, kinds and tags of the cells, not their outputs, so looking inside changes nothing."""
    content = [(cell["cell_type"], cell["source"], cell["metadata"].get("tags", [])) for cell in cells_of(notebook)]
    return digest_of(content)


def imported_by(notebook: Path) -> set[Path]:
    """The package's modules that the notebook imports, and those that these import, to the end."""
    lines = [line for cell in cells_of(notebook) if cell["cell_type"] == "code" for line in cell["source"].splitlines()]
    return reachable(imports("\n".join(line for line in lines if not line.startswith(("%", "!")))))
