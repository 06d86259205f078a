"""How easily a critic is fooled, and what of a score survives what happens to any photograph.

A critic that trains others is climbed by thousands of gradient steps. Here a few steps are taken on the photograph
itself: on each one (`projected_gradient_ascent`) or on one perturbation for all (`universal_perturbation`). A score
that measures the picture survives JPEG, a resize or a shift (`SURVIVAL`); a score that measures the attack does not.
"""

from __future__ import annotations

import io
from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from PIL import Image
from torch import Tensor

from lpie.imaging.color import from_uint8, quantize, to_uint8
from lpie.imaging.resampling import resize
from lpie.imaging.similarity_terms import gaussian_window
from lpie.vocabulary import PerPhoto, Photo

Score = Callable[[Photo], PerPhoto]
"""A judge: one number for each photo, higher is better; `critic.mean_score` is one."""

EPSILON = 2 / 255
"""Largest change of a pixel value in the attacks that this project reports."""

ATTACKED_SIZE = 224
"""Side in px of the squares to which photographs are reduced before those attacks."""


def score_gradient(score: Score, photo: Photo) -> Photo:
    """Derivative of each photo's score with respect to its pixels; no other gradient is touched."""
    with torch.enable_grad():
        climbed = photo.detach().requires_grad_()
        (gradient,) = torch.autograd.grad(score(climbed).sum(), climbed)
    return gradient


def projected_gradient_ascent(score: Score, photo: Photo, *, epsilon: int | float = EPSILON, steps: int = 10) -> Photo:
    """The photo, each value moved by at most `epsilon`, that the score likes best of those met on the way up.

    Starts from the photo itself, so the result is the same each time and never scores below the photo.

    Source: Madry et al., Towards Deep Learning Models Resistant to Adversarial Attacks, ICLR 2018, section 2.1;
    step size 2.5 epsilon / steps as in their section 5.
    """
    lowest, highest = (photo - epsilon).clamp(0, 1), (photo + epsilon).clamp(0, 1)
    climbed, best = photo.detach(), photo.detach()
    best_score = score(best).detach()
    for _ in range(steps):
        gradient = score_gradient(score, climbed)
        climbed = torch.clamp(climbed + 2.5 * epsilon / steps * gradient.sign(), lowest, highest)
        reached = score(climbed).detach()
        best = torch.where((reached > best_score)[:, None, None, None], climbed, best)
        best_score = torch.maximum(best_score, reached)
    return best


def universal_perturbation(
    score: Score, photos: Photo, *, epsilon: int | float = EPSILON, steps: int = 100, batch: int = 32
) -> Float[Tensor, "1 3 h w"]:
    """One perturbation, within `epsilon`, that raises the mean score over `photos` when added to all of them.

    It is learned on `photos` and belongs on others: `(photo + perturbation).clamp(0, 1)`.

    Source: Shumitskaya, Antsiferova, Vatolin, Universal Perturbation Attack on Differentiable No-Reference Image- and
    Video-Quality Metrics, BMVC 2022, section 3.
    Differs: signed gradient steps of a size that falls linearly to zero instead of Adam on an unsigned gradient, so
    that the bound on the perturbation alone sets the scale.
    """
    perturbation = torch.zeros_like(photos[:1])
    size = min(batch, len(photos))
    for step in range(steps):
        chosen = torch.arange(step * size, (step + 1) * size, device=photos.device) % len(photos)
        gradient = score_gradient(score, (photos[chosen] + perturbation).clamp(0, 1)).mean(0, keepdim=True)
        step_size = 0.5 * epsilon * (1 - step / steps)  # Differs: see above
        perturbation = (perturbation + step_size * gradient.sign()).clamp(-epsilon, epsilon)
    return perturbation


def octave_energy(signal: Photo, octaves: int = 5) -> Float[Tensor, "n octaves"]:
    """Energy of each photo-shaped signal in octaves of spatial frequency, highest first, summing over the channels.

    Octave 0 holds radial frequencies from 1/4 cycle per pixel up, the corners beyond 1/2 included; octave k those in
    [2^-(k+2), 2^-(k+1)); lower frequencies are left out.
    """
    height, width = signal.shape[-2:]
    vertical = torch.fft.fftfreq(height, device=signal.device)[:, None]
    horizontal = torch.fft.fftfreq(width, device=signal.device)[None, :]
    radius = torch.hypot(vertical, horizontal).clamp_min(1e-12)
    octave = torch.floor(-torch.log2(radius)).clamp_min(1).long() - 1
    power = torch.fft.fft2(signal.float(), norm="ortho").abs().square().sum(1)
    return torch.stack([(power * (octave == k)).sum((-2, -1)) for k in range(octaves)], dim=1)


def jpeg(photo: Photo, quality: int) -> Photo:
    """Through a JPEG file of the given quality, 1 to 95, and back; no gradient."""
    pixels = to_uint8(photo.detach()).permute(0, 2, 3, 1).cpu().numpy()
    decoded = []
    for one in pixels:
        stored = io.BytesIO()
        Image.fromarray(one).save(stored, "JPEG", quality=quality)
        decoded.append(np.asarray(Image.open(stored).convert("RGB")))
    return from_uint8(torch.from_numpy(np.stack(decoded)).permute(0, 3, 1, 2).to(photo.device))


def half_size_and_back(photo: Photo) -> Photo:
    """Reduced to half its height and width with an antialiased filter, then enlarged to the old size."""
    height, width = photo.shape[-2:]
    return resize(resize(photo, max(1, height // 2), max(1, width // 2)), height, width)


SURVIVAL: dict[str, Callable[[Photo], Photo]] = {
    "jpeg90": lambda photo: jpeg(photo, 90),
    "half": half_size_and_back,
    "shift": lambda photo: F.pad(photo, (1, 0, 1, 0), mode="replicate")[..., :-1, :-1],  # a pixel down and to the right
    "blur": lambda photo: blur(photo, 0.7),  # px: softer than any lens would show
}
"""What an honest gain in score survives; each returns a photo of the same size."""

INVARIANCE: dict[str, Callable[[Photo], Photo]] = {
    **{name: SURVIVAL[name] for name in ("jpeg90", "half", "shift")},
    "rounding": quantize,
}
"""What should hardly move a critic's score at all."""


def blur(photo: Float[Tensor, "n c h w"], sigma: int | float) -> Float[Tensor, "n c h w"]:
    """Gaussian blur of `sigma` px, 0 for none; the border is mirrored, or repeated where the photo is too small."""
    if sigma == 0:
        return photo
    radius = max(1, round(3 * sigma))
    mode = "reflect" if min(photo.shape[-2:]) > radius else "replicate"
    window = photo.new_tensor(gaussian_window(2 * radius + 1, float(sigma))).expand(photo.shape[1], 1, 1, -1)
    padded = F.pad(photo, (radius,) * 4, mode=mode)
    across = F.conv2d(padded, window, groups=len(window))
    return F.conv2d(across, window.mT, groups=len(window))
