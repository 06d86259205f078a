"""A person who is not there: ratings of crops of the demo photographs, for a notebook that must run anywhere."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
from skimage.color import rgb2lab

from lpie.photos.photographs import demo_photographs, to_pixels, write_photo
from lpie.records import write_csv

CROP = 224  # px
MOOD = 0.7  # standard deviation, in ratings, of what the person says when asked twice


def simulate_person(folder: Path, count: int = 70, seed: int = 0) -> Path:
    """Write `count` crops to `folder` with ratings 1..10 by someone who likes color; returns the table's path.

    The more colorful a crop is (mean chroma in CIELAB) the higher its rank among them, and its rating but for mood.
    """
    random = np.random.default_rng(seed)
    photos = list(demo_photographs(2 * CROP).items())
    names, chroma = [], []
    for number in range(count):
        name, photo = photos[number % len(photos)]
        top, left = (int(random.integers(0, length - CROP + 1)) for length in photo.shape[2:])
        crop = photo[..., top : top + CROP, left : left + CROP]
        names.append(f"{name}-{number:02}.jpg")
        write_photo(crop, folder / names[-1])
        chroma.append(float(np.hypot(*rgb2lab(to_pixels(crop, 8))[..., 1:].transpose(2, 0, 1)).mean()))
    rank = np.argsort(np.argsort(chroma)) / (count - 1)
    ratings = np.clip(1 + 9 * rank + random.normal(0, MOOD, count), 1, 10).round()
    write_csv(folder / "ratings.csv", pd.DataFrame({"photo": names, "rating": ratings}))
    return folder / "ratings.csv"
