"""Damaged files for everything that reads what others wrote: `python -m tests.fuzz --seconds 120`.

Whole small files are cut, changed and joined by hypothesis; a reader may read them or raise ValueError (or OSError),
nothing else. Each reader has its share of the time in a process of its own, so that a crash of a library is seen too.
Prints how many files each reader took and, where one failed, the file that did it. Not collected by pytest.
"""

from __future__ import annotations

import argparse
import io
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import imagecodecs
import numpy as np
import pillow_heif
import tifffile
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import ExifTags, Image

from lpie.engine.manifest import Manifest
from lpie.evidence.results import read_run, read_scores
from lpie.photos.enhancement import load_enhancer
from lpie.photos.reading import PhotoFile, open_photo
from lpie.photos.signature import study_of
from lpie.photos.writing import encode_photo
from lpie.records import read_json, read_tensors, write_tensors
from lpie.weights import open_weights

PIXELS = np.random.default_rng(0).integers(0, 256, (24, 20, 3), dtype=np.uint8)
DEEP = PIXELS.astype(np.uint16) * 257
ALLOWED = (ValueError, OSError)  # a file that is not whole, or not there
RUN = '{"run": "a", "study": {"fidelity": "l2", "critic": "none", "gamma": 0.1, "seed": 0, "schedule": {"steps": 4}}}'
MANIFEST = (
    '{"networks": {}, "notebooks": {"learning-tone": {"status": "finished", "fingerprint": {"parameters": {}}, '
    '"finished": "2026-01-01", "outputs": ["a.csv"], "seconds": 1.5}}}'
)
ROUND = 100  # files between looks at the clock


def photographs() -> list[bytes]:
    """One small file of every kind, with metadata."""
    exif = Image.Exif()
    exif[ExifTags.Base.Make], exif[ExifTags.Base.Orientation] = "A camera", 6
    files = []
    for kind in ("JPEG", "PNG", "TIFF", "WEBP", "GIF", "BMP", "JPEG2000", "AVIF", "PPM"):
        stream = io.BytesIO()
        Image.fromarray(PIXELS).save(stream, kind, **({"exif": exif} if kind in ("JPEG", "PNG", "WEBP") else {}))
        files.append(stream.getvalue())
    for kind in ("PNG", "TIFF"):
        stream = io.BytesIO()
        encode_photo(PhotoFile(DEEP, exif, (300.0, 300.0)), stream, kind)
        files.append(stream.getvalue())
    for kind in ("TIFF", "AVIF", "GIF"):
        stream, picture = io.BytesIO(), Image.fromarray(PIXELS)
        picture.save(stream, kind, save_all=True, append_images=[picture])
        files.append(stream.getvalue())
    stream = io.BytesIO()
    pillow_heif.encode("RGB", PIXELS.shape[1::-1], PIXELS.tobytes(), stream)
    files.append(stream.getvalue())
    stream = io.BytesIO()
    tifffile.imwrite(stream, PIXELS, photometric="rgb", bigtiff=True)
    files.append(stream.getvalue())
    for photometric, stored in (("cielab", DEEP), ("separated", np.concatenate([DEEP, DEEP[..., :1]], axis=2))):
        stream = io.BytesIO()
        tifffile.imwrite(stream, stored, photometric=photometric, compression="zlib", tile=(16, 16))
        files.append(stream.getvalue())
    files.append(imagecodecs.avif_encode(DEEP >> 6, bitspersample=10))
    files.append(imagecodecs.jpeg2k_encode(DEEP >> 4, bitspersample=12, codecformat="jp2", level=0))
    files.append(b"P6\n20 24\n1023\n" + (DEEP >> 6).astype(">u2").tobytes())
    return files


def tensor_files() -> list[bytes]:
    """Weights as the package writes them."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "weights.safetensors")
        write_tensors(path, {"a": torch.zeros(3, 4), "b": torch.ones(2)}, {"network": "grid", "operator": "tone"})
        return [path.read_bytes()]


def network_files() -> list[bytes]:
    """A network that is shipped, and metadata that say of which study it is."""
    with tempfile.TemporaryDirectory() as folder:
        path, (tensors, metadata) = Path(folder, "network.safetensors"), open_weights("tone-parameters-plain")
        write_tensors(path, tensors, metadata)
        return [path.read_bytes()]


def read_network(path: Path) -> None:
    """What `lpie enhance --weights` and its signature read."""
    load_enhancer("tone", path, "cpu", 1.0, None, {})
    study_of(open_weights(path)[1], "the file")


def read_manifest(path: Path) -> None:
    """A damaged manifest lets everything run again."""
    path.rename(path.with_name("manifest.json"))
    Manifest(path.parent).reason_to_run("learning-tone", {"parameters": {}})


def read_photograph(content: bytes) -> None:
    """A whole photo or an error; never a part of one."""
    photo = open_photo(content, max_megapixels=1.0)
    if photo.pixels.ndim != 3 or photo.pixels.shape[2] != 3 or photo.pixels.dtype not in (np.uint8, np.uint16):
        raise AssertionError(f"read as {photo.pixels.dtype} {photo.pixels.shape}")


def from_file(read: Callable[[Path], object], suffix: str) -> Callable[[bytes], None]:
    """A reader of files as one of bytes."""

    def reader(content: bytes) -> None:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, suffix if suffix[0] != "." else f"file{suffix}")
            path.write_bytes(content)
            read(path)

    return reader


READERS: dict[str, tuple[Callable[[bytes], None], Callable[[], list[bytes]]]] = {
    "photographs": (read_photograph, photographs),
    "tensors": (from_file(read_tensors, ".safetensors"), tensor_files),
    "weights": (from_file(open_weights, ".safetensors"), tensor_files),
    "networks": (from_file(read_network, ".safetensors"), network_files),
    "json": (from_file(read_json, ".json"), lambda: [b'{"a": [1, 2.5, null], "b": {"c": "d"}}\n']),
    "runs": (from_file(read_run, ".json"), lambda: [RUN.encode()]),
    "scores": (
        from_file(lambda path: read_scores(path.parent), "scores.csv"),
        lambda: [b"run,photo,split\na,b,test\n"],
    ),
    "manifests": (from_file(read_manifest, ".json"), lambda: [MANIFEST.encode()]),
}


@st.composite
def damaged(draw: st.DrawFn, files: list[bytes]) -> bytes:
    """A file with some of its bytes changed, removed, repeated, or taken from another file."""
    content = bytearray(draw(st.sampled_from(files)))
    for _ in range(draw(st.integers(1, 6))):
        place = draw(st.integers(0, max(len(content) - 1, 0)))
        match draw(st.sampled_from(["change", "number", "cut", "remove", "repeat", "join"])):
            case "change":
                content[place : place + 1] = bytes([draw(st.integers(0, 255))])
            case "number":
                size = draw(st.sampled_from([2, 4, 8]))
                number = draw(st.sampled_from([0, 1, 2**31 - 1, 2 ** (8 * size) - 1, 2**15]))
                order = draw(st.sampled_from(["little", "big"]))
                content[place : place + size] = (number % 2 ** (8 * size)).to_bytes(size, order)
            case "cut":
                del content[place:]
            case "remove":
                del content[place : place + draw(st.integers(1, 64))]
            case "repeat":
                content[place:place] = content[place : place + 64]
            case "join":
                other = draw(st.sampled_from(files))
                content[place:] = other[min(place, len(other)) :]
    return bytes(content)


def fuzz(name: str, seconds: float, last: Path) -> int:
    """Feed one reader for a time; the number of files. What fails is raised, and lies in the file `last`."""
    read, seeds = READERS[name]
    files, end, done = seeds(), time.monotonic() + seconds, 0

    @settings(max_examples=ROUND, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(damaged(files))
    def feed(content: bytes) -> None:
        nonlocal done
        done += 1
        last.write_bytes(content)
        with suppress(ALLOWED):
            read(content)

    for content in files:
        try:
            read(content)
        except ValueError as error:
            if name == "photographs":
                raise AssertionError("a whole photograph is refused") from error
    while time.monotonic() < end:
        feed()
    return done


def main() -> int:
    """Each reader in a process of its own; the exit status is the number of readers that failed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=120)
    parser.add_argument("--reader", choices=READERS)
    chosen = parser.parse_args()
    if chosen.reader:
        last = Path(os.environ["FUZZ_LAST"])
        print(f"{chosen.reader}: {fuzz(chosen.reader, chosen.seconds, last)} files, each read or refused")
        return 0
    failed = 0
    for reader in READERS:
        share = 0.7 if reader == "photographs" else 0.3 / (len(READERS) - 1)
        last = Path(tempfile.gettempdir(), f"lpie-fuzz-{reader}.bin")
        command = [sys.executable, "-m", "tests.fuzz", "--reader", reader, "--seconds", str(chosen.seconds * share)]
        done = subprocess.run(command, env={**os.environ, "FUZZ_LAST": str(last)}, stderr=subprocess.PIPE, check=False)
        if done.returncode:
            failed += 1
            print(done.stderr.decode(errors="replace")[-4000:])
            print(f"{reader}: failed with status {done.returncode}; the file is {last}")
        else:
            last.unlink(missing_ok=True)
    return failed


if __name__ == "__main__":
    sys.exit(main())
