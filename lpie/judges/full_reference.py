"""How far a photo is from a reference: PSNR, CIEDE2000, FLIP and ColorVideoVDP, one number per photo.

The last two are models of what people see. ColorVideoVDP and FLIP come with the `study` extra.
"""

from __future__ import annotations

import logging
from functools import lru_cache
from typing import Any

import numpy as np
import torch

from lpie.vocabulary import Luminance, PerPhoto, Photo

DISPLAY = "standard_fhd"
"""Where ColorVideoVDP supposes the photos are seen, a pixel for a pixel: a 24-inch screen of 1920x1080 px and 200 cd/m2
at 0.6 m, 38 px a degree. At the 75 px a degree of a 4K screen a weave of two pixels' period is hardly seen."""

NO_DIFFERENCE = 10.0
"""Just-objectionable differences that ColorVideoVDP gives equal photos; one less is seen by three of four people."""


@torch.no_grad()
def psnr(photo: Photo, reference: Photo) -> PerPhoto:
    """Peak signal-to-noise ratio in dB for a peak of 1, over all pixels and channels; infinite where equal."""
    return -10 * torch.log10((photo - reference).square().mean(dim=(1, 2, 3)))


@torch.no_grad()
def ciede2000(photo: Photo, reference: Photo) -> PerPhoto:
    """CIEDE2000 color difference, averaged over pixels: 0 where equal, about 1 is just noticeable. D65, sRGB.

    Source: Sharma, Wu, Dalal, The CIEDE2000 color-difference formula, 2005; by scikit-image, in float64.
    """
    from skimage.color import deltaE_ciede2000, rgb2lab

    labs = [rgb2lab(one.detach().double().permute(0, 2, 3, 1).cpu().numpy()) for one in (photo, reference)]
    shifts = deltaE_ciede2000(*labs).mean((1, 2))
    return torch.as_tensor(shifts, dtype=photo.dtype, device=photo.device)


@torch.no_grad()
def flip(photo: Photo, reference: Photo) -> PerPhoto:
    """Mean FLIP error, 0 where equal, 1 at most: what is seen when the two are shown in turn, at 67 px a degree.

    Raises ImportError where flip-evaluator is missing.

    Source: Andersson et al., FLIP: A Difference Evaluator for Alternating Images, 2020, by the authors' package.
    """
    try:
        from flip_evaluator import evaluate
    except ImportError as error:
        raise ImportError('FLIP needs flip-evaluator: pip install "lpie[study]".') from error
    errors = []
    for pair in zip(reference, photo, strict=True):
        first, second = (np.ascontiguousarray(one.detach().float().permute(1, 2, 0).cpu().numpy()) for one in pair)
        errors.append(float(evaluate(first, second, "LDR", applyMagma=False, computeMeanError=True)[1]))
    return photo.new_tensor(errors)


@torch.no_grad()
def cvvdp(photo: Photo, reference: Photo) -> PerPhoto:
    """ColorVideoVDP's quality in JOD, just-objectionable differences: 10 where equal, one less is plainly seen.

    Raises ImportError where cvvdp is missing.

    Source: Mantiuk et al., ColorVideoVDP: A visual difference predictor for image, video and display distortions,
    2024, by the authors' package; the display is `DISPLAY`.
    """
    return _vision_model("none", str(photo.device)).predict(photo, reference, dim_order="BCHW")[0].reshape(len(photo))


@torch.no_grad()
def visible_difference(photo: Photo, reference: Photo) -> Luminance:
    """How plainly each pixel of `photo` differs from `reference`, in JOD: 0 not at all, 1 is seen by three of four.

    ColorVideoVDP's map, which would lose as many JOD if all of the photo differed so. Errors as `cvvdp`.
    """
    model = _vision_model("raw", str(photo.device))
    maps = [
        model.predict(one, other, dim_order="BCHW")[1]["heatmap"][:, :, 0]
        for one, other in zip(photo.split(1), reference.split(1), strict=True)
    ]
    return NO_DIFFERENCE * torch.cat(maps).to(photo)


@lru_cache(maxsize=4)
def _vision_model(heatmap: str, device: str) -> Any:
    logging.getLogger("torch.utils.cpp_extension").setLevel(logging.ERROR)  # pycvvdp has it say that there is no GPU
    try:
        from pycvvdp import cvvdp as Model
    except ImportError as error:
        raise ImportError('ColorVideoVDP needs cvvdp: pip install "lpie[study]".') from error
    return Model(display_name=DISPLAY, heatmap=heatmap, quiet=True, device=torch.device(device))
