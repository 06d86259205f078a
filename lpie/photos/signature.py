"""What enhancement writes into a photograph's EXIF data: which network made it, and which critic trained that network.

`lpie score` reads it, because a critic must not judge the work of a network that it trained.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path

from PIL import ExifTags, Image

from lpie.critic import CRITICS

NO_CRITIC = "none"
_SIGNATURE = re.compile(r"(; )?lpie: network ([^,;]+), critic ([^,;]+)")


def critic_of(metadata: Mapping[str, str]) -> str:
    """The critic that trained a network, by the metadata of its file, or `none`."""
    return Path(json.loads(metadata.get("study", "{}")).get("critic", NO_CRITIC)).stem


def sign(exif: Image.Exif, network: str, metadata: Mapping[str, str]) -> None:
    """Add the network's name and its critic to EXIF's Software, after what stands there; replaces an older signature.

    `metadata` is that of the network's safetensors file, where `study` names the critic.
    """
    critic = critic_of(metadata)
    earlier = _SIGNATURE.sub("", str(exif.get(ExifTags.Base.Software, "")))
    signature = f"lpie: network {Path(network).stem}, critic {critic}"
    exif[ExifTags.Base.Software] = f"{earlier}; {signature}" if earlier else signature


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
