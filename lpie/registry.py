"""Finds the photographs, weights and references that the project does not carry, or downloads them.

`data/registry.toml` names every such file with its SHA-256, license and address. A file is taken from the folder
that LPIE_DATA names, else from the download cache, else from its address; its bytes are checked every time.
"""

from __future__ import annotations

import hashlib
import logging
import os
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from urllib.parse import quote

log = logging.getLogger(__name__)

ADDRESS = "https://raw.githubusercontent.com/{repository}/{commit}/{path}"
CONNECTIONS = 8  # downloads at a time: the files are small, the round trips are not


@dataclass(frozen=True)
class RegisteredFile:
    """One line of the registry: `name` is its path under LPIE_DATA; `address` is None where it is not served."""

    name: str
    sha256: str
    address: str | None


@dataclass(frozen=True)
class Source:
    """The files of one folder and one origin; `bytes` is their size together, `public` that anyone may pass them on."""

    folder: str
    about: str
    license: str
    bytes: int
    files: tuple[RegisteredFile, ...]
    public: bool = False


def fetch(name: str) -> Path:
    """The file `name` of the registry, such as `kodak24/01.png`, with its bytes checked.

    Raises ValueError for a name the registry does not have, FileNotFoundError when the file is not under LPIE_DATA
    and has no address, ConnectionError when it could not be downloaded, and ValueError when its bytes are not the
    registered ones (a download is deleted then, a file under LPIE_DATA is left alone).
    """
    return fetch_all([name])[0]


def files_of(folder: str) -> list[Path]:
    """Every file of the registry under `folder`, such as `bsds500/train`, sorted by name; errors as `fetch`."""
    return fetch_all(names_in(folder))


def names_in(folder: str) -> list[str]:
    """The registry's names under `folder`, sorted; raises ValueError where there are none."""
    within = folder.rstrip("/") + "/"
    names = sorted(name for name in registered() if name.startswith(within))
    if not names:
        known = ", ".join(sorted({source.folder for source in sources()}))
        raise ValueError(f"The registry has no folder {folder!r}: its folders are {known}.")
    return names


def data_root() -> Path | None:
    """The folder LPIE_DATA names, or None where it is not set; raises FileNotFoundError where it names no folder."""
    named = os.environ.get("LPIE_DATA")
    if not named:
        return None
    if not Path(named).is_dir():
        raise FileNotFoundError(f"LPIE_DATA={named!r} is not a folder: set it to one laid out as data/README.md says.")
    return Path(named).resolve()


def cache_folder() -> Path:
    """Where downloads are kept: LPIE_CACHE, or the user's cache folder of this operating system."""
    if named := os.environ.get("LPIE_CACHE"):
        return Path(named)
    import pooch

    return Path(pooch.os_cache("lpie"))


def find(name: str) -> Path | None:
    """Where `name` lies already, under LPIE_DATA or in the cache, without looking at its bytes."""
    roots = [root for root in (data_root(), cache_folder()) if root]
    return next((path for root in roots if (path := root / name).is_file()), None)


def is_public(folder: str) -> bool:
    """Whether anyone may pass on the files under `folder`, so that pictures of them may be published."""
    return any(source.public and Path(folder).is_relative_to(source.folder) for source in sources())


def registered() -> dict[str, RegisteredFile]:
    """Every file of the registry by its name."""
    return {file.name: file for source in sources() for file in source.files}


@cache
def sources() -> tuple[Source, ...]:
    """The registry as it is written, one source after the other."""
    tables = tomllib.loads(registry_path().read_text(encoding="utf-8"))["source"]
    return tuple(_source(table) for table in tables)


def registry_path() -> Path:
    """The registry itself: inside an installed package, or in the data folder of a checkout."""
    packaged = Path(__file__).with_name("registry.toml")
    return packaged if packaged.exists() else Path(__file__).parents[1] / "data" / "registry.toml"


def _source(table: dict) -> Source:
    renamed = table.get("renamed", {})

    def address(name: str) -> str | None:
        if "repository" not in table:
            return None
        path = "/".join(filter(None, (table["root"], renamed.get(name, name))))
        return ADDRESS.format(repository=table["repository"], commit=table["commit"], path=quote(path))

    named = table["files"].items()
    files = tuple(RegisteredFile(f"{table['folder']}/{name}", sha256, address(name)) for name, sha256 in named)
    return Source(table["folder"], table["about"], table["license"], table["bytes"], files, table.get("public", False))


def fetch_all(names: Sequence[str]) -> list[Path]:
    """Several files of the registry, those that are absent downloaded at once; errors as `fetch`."""
    known = registered()
    if unknown := [name for name in names if name not in known]:
        raise ValueError(f"The registry has no file {unknown[0]!r}: see data/registry.toml, or run `lpie data`.")
    found = {name: _checked(known[name]) for name in names}
    absent = [known[name] for name, path in found.items() if path is None]
    if orphans := [file.name for file in absent if file.address is None]:
        raise FileNotFoundError(
            f"{len(orphans)} of {len(names)} files, {orphans[0]} the first, were reduced or converted and are served "
            "nowhere: set LPIE_DATA to a folder that has them (data/README.md says how it is laid out)."
        )
    found.update(zip([file.name for file in absent], _download_all(absent), strict=True))
    return [path for name in names if (path := found[name])]


def _checked(file: RegisteredFile) -> Path | None:
    """The file where it lies already, if its bytes are right; a wrong one in the cache counts as absent."""
    path = find(file.name)
    if path is None:
        return None
    stat = path.stat()
    actual = _sha256(path, stat.st_size, stat.st_mtime_ns)
    if actual == file.sha256:
        return path
    if (root := data_root()) and path.is_relative_to(root):
        raise ValueError(f"{path}: expected SHA-256 {file.sha256}, its bytes give {actual}. Replace it, or remove it.")
    log.warning("%s does not have its registered bytes and is downloaded again", path)
    return None


@cache
def _sha256(path: Path, size: int, modified: int) -> str:
    """Hashes each state of a file once: size and time of change are part of the key."""
    del size, modified
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _download_all(files: Sequence[RegisteredFile]) -> list[Path]:
    if not files:
        return []
    from tqdm.contrib.concurrent import thread_map

    log.info("downloading %d file(s) to %s", len(files), cache_folder())
    return thread_map(_download, files, max_workers=CONNECTIONS, desc="downloading", unit="file", disable=None)


def _download(file: RegisteredFile) -> Path:
    """Download to a temporary file beside the final one, which it replaces only if every byte is right."""
    import pooch
    import requests

    pooch.get_logger().setLevel("WARNING")
    path = cache_folder() / file.name
    downloader = pooch.HTTPDownloader(timeout=30, chunk_size=1 << 16)
    try:
        pooch.retrieve(file.address, f"sha256:{file.sha256}", path.name, path.parent, downloader=downloader)
    except ValueError as error:
        raise ValueError(
            f"{file.address}: expected SHA-256 {file.sha256}, other bytes came; they are deleted. Try again later, or "
            f"put the right file at {path}."
        ) from error
    except requests.RequestException as error:
        raise ConnectionError(
            f"{file.name} could not be downloaded from {file.address} ({type(error).__name__}). Connect to the "
            "network, or set LPIE_DATA to a folder that has it."
        ) from error
    return path
