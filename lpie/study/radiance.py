"""Radiance files (.hdr, .pic): photographs of scene light without an upper end.

Nothing in the lock reads them without a download of its own, so the format is read here; it is small.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

LARGEST_SIDE = 2**16  # px; a file with more is taken for damaged
RUN_WIDTHS = range(8, 2**15)  # widths of lines that may be stored as runs


def read_radiance(path: str | os.PathLike[str]) -> Float[Tensor, "1 3 h w"]:
    """The scene light in a Radiance file, (1, 3, H, W) float32 >= 0, linear RGB up to scale, upright.

    Reads RGBE pixels, plain or run-length encoded, in any of the eight orientations. Raises FileNotFoundError if
    there is no such file, ValueError, naming it, if it is not a whole Radiance RGB file.

    Source: Ward, "Real pixels", Graphics Gems II, 1991, and the format's reference in Radiance.
    """
    content = Path(path).read_bytes()
    head = re.match(rb"#\?[^\n]*\n(.*?)\n\n([-+][XY]) (\d+) ([-+][XY]) (\d+)\n", content, re.DOTALL)
    if head is None or b"FORMAT=32-bit_rle_rgbe" not in head[1]:
        raise ValueError(f"{os.fspath(path)}: expected a Radiance file of RGBE pixels, got something else.")
    outer, lines, inner, width = head[2].decode(), int(head[3]), head[4].decode(), int(head[5])
    if outer[1] == inner[1] or not 0 < lines <= LARGEST_SIDE or not 0 < width <= LARGEST_SIDE:
        raise ValueError(f"{os.fspath(path)}: expected one size for X and one for Y, up to {LARGEST_SIDE} px.")
    try:
        rgbe = _read_lines(np.frombuffer(content, np.uint8, offset=head.end()), lines, width)
    except IndexError as error:
        raise ValueError(f"{os.fspath(path)}: the file ends or breaks off within its {lines} lines.") from error
    exponent = np.where(rgbe[..., 3:] > 0, rgbe[..., 3:].astype(np.int32) - (128 + 8), -1000)
    light = np.where(exponent > -1000, np.ldexp(rgbe[..., :3] + np.float32(0.5), exponent), 0).astype(np.float32)
    return torch.from_numpy(_upright(light, outer, inner).transpose(2, 0, 1).copy()).unsqueeze(0)


def _read_lines(data: UInt8[np.ndarray, " bytes"], lines: int, width: int) -> UInt8[np.ndarray, "lines width 4"]:
    rgbe = np.zeros((lines, width, 4), np.uint8)
    place = 0
    for line in rgbe:
        runs = width in RUN_WIDTHS and data[place] == 2 and data[place + 1] == 2 and data[place + 2] < 128
        place = _read_runs(data, place + 4, line) if runs else _read_pixels(data, place, line)
    return rgbe


def _read_runs(data: UInt8[np.ndarray, " bytes"], place: int, line: UInt8[np.ndarray, "width 4"]) -> int:
    """One line whose four components follow each other, each as runs of equal or of different bytes."""
    for component in line.T:
        done = 0
        while done < len(component):
            count = int(data[place])
            if count > 128:  # of equal bytes
                component[done : done + count - 128], count, place = data[place + 1], count - 128, place + 2
            else:
                component[done : done + count] = _exactly(data, place + 1, min(count, len(component) - done))
                place += 1 + count
            if count == 0 or done + count > len(component):
                raise IndexError("a run that does not fit its line")
            done += count
    return place


def _read_pixels(data: UInt8[np.ndarray, " bytes"], place: int, line: UInt8[np.ndarray, "width 4"]) -> int:
    """One line of plain pixels; (1, 1, 1, n) repeats the one before n times, n in a higher place each time."""
    done, shift = 0, 0
    while done < len(line):
        pixel = _exactly(data, place, 4)
        place += 4
        if done and (pixel[:3] == 1).all():
            count = int(pixel[3]) << shift
            line[done : done + count] = line[done - 1]
            done, shift = done + count, shift + 8
        else:
            line[done] = pixel
            done, shift = done + 1, 0
    return place


def _exactly(data: UInt8[np.ndarray, " bytes"], place: int, count: int) -> UInt8[np.ndarray, " count"]:
    if place + count > len(data):
        raise IndexError("past the end")
    return data[place : place + count]


def _upright(light: Float[np.ndarray, "lines width 3"], outer: str, inner: str) -> Float[np.ndarray, "h w 3"]:
    """Lines along `outer`, pixels along `inner`; -Y +X is top to bottom, left to right."""
    if inner[1] == "Y":
        light, outer, inner = light.transpose(1, 0, 2), inner, outer
    return light[:: 1 if outer == "-Y" else -1, :: 1 if inner == "+X" else -1]
