"""What enhancement writes into a photograph's EXIF data: which network made it, and which critic trained that network.

`lpie score` reads it, because a critic must not judge the work of a network that it trained.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from PIL import ExifTags, Image

from lpie.critic import CRITICS

NO_CRITIC = "none"
KNOWN: dict[str, type] = {"operator": str, "critic": str, "gamma": float}  # of a study
OWN = re.compile(rb"lpie: (network|operator|page) ")  # as files hold it
_SIGNATURE = re.compile(r"(; )?lpie: network ([^,;]+), critic ([^,;]+)")


def study_of(metadata: Mapping[str, str], name: str) -> dict[str, Any]:
    """Operator, critic and gamma of a network, as far as its file's metadata say; ValueError, naming it, if damaged."""
    try:
        study = dict(json.loads(metadata.get("study", "{}")))
        return {key: kind(study[key]) for key, kind in KNOWN.items() if key in study}
    except (RecursionError, TypeError, ValueError) as error:
        raise ValueError(f"{name}: what its metadata say of its study is damaged ({error}).") from error


def critic_of(metadata: Mapping[str, str], name: str) -> str:
    """The critic that trained a network, by the metadata of its file, or `none`; errors as `study_of`."""
    return Path(study_of(metadata, name).get("critic", NO_CRITIC)).stem


def sign(exif: Image.Exif, name: str, metadata: Mapping[str, str] | None) -> None:
    """Add a network's name and its critic to EXIF's Software, after what stands there; replaces an older signature.

    `metadata` is that of the network's safetensors file, where `study` names the critic. None: `name` is the operator
    itself, which is added where lpie has not signed yet.
    """
    software = str(exif.get(ExifTags.Base.Software, ""))
    if metadata is None and OWN.search(software.encode()):
        return
    made = f"operator {name}" if metadata is None else f"network {Path(name).stem}, critic {critic_of(metadata, name)}"
    exif[ExifTags.Base.Software] = f"{_SIGNATURE.sub('', software)}; lpie: {made}".removeprefix("; ")


def is_own(path: str) -> bool:
    """Whether lpie wrote the file: a picture that is signed, or a page. Raises OSError if it cannot be read."""
    return os.path.isfile(path) and bool(OWN.search(Path(path).read_bytes()))


def conflict(exif: Image.Exif, critic: str) -> str | None:
    """Why `critic` is no judge of a photograph with this EXIF data, in one sentence; None where nothing speaks
    against it, or nothing is known.
    """
    found = _SIGNATURE.search(str(exif.get(ExifTags.Base.Software, "")))
    if not found or found[3] == NO_CRITIC:
        return None
    asked = Path(critic).stem
    if asked == found[3]:
        return f"made by {found[2]}, a network that {asked} trained: its score proves nothing here."
    if {asked, found[3]} <= set(CRITICS):
        return (
            f"made by {found[2]}, a network that {found[3]} trained, which comes from the AVA network as {asked} does."
        )
    return None
