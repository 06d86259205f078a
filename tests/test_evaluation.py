"""Evaluation: every measure against another definition, and the table that holds them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import ndimage
from skimage.metrics import peak_signal_noise_ratio
from torch import Tensor, nn

from lpie.imaging.color import from_uint8, luma, to_uint8
from lpie.losses.similarity import ssim
from lpie.study import evaluation
from lpie.study.evaluation import (
    OCTAVES,
    change_spectrum,
    detail_energy,
    measure,
    render,
)
from lpie.study.targets import Scene


def brightness(photo: Tensor) -> Tensor:
    """A judge whose scores can be told in the head."""
    return 10 * photo.mean(dim=(1, 2, 3))


JUDGES = {"compact": brightness, "oasis": lambda photo: photo[:, 0].amax(dim=(1, 2))}


class Darker(nn.Module):
    """A network whose output is known: it multiplies by a factor, below zero where asked."""

    uses_estimate = False

    def __init__(self, factor: float = 0.5) -> None:
        super().__init__()
        self.factor = nn.Parameter(torch.tensor(factor))

    def forward(self, photo: Tensor) -> Tensor:
        assert photo.shape[0] == 1
        return photo * self.factor


def evaluated(network: nn.Module, scenes: list[Scene]) -> pd.DataFrame:
    return measure("run", render(network, scenes, "cpu"), scenes, JUDGES, "cpu")


@pytest.fixture
def scenes(small_photos: Tensor) -> list[Scene]:
    """Three photos of two sizes; the target is half as bright."""
    photos = to_uint8(small_photos)
    shown = [photos[0], photos[1][:, :50, :70].contiguous(), photos[2]]
    splits = ("validation", "test", "test")
    return [Scene(f"photo{i}", split, p, p // 2) for i, (p, split) in enumerate(zip(shown, splits, strict=True))]  # type: ignore[arg-type]


def test_every_scene_has_one_row_in_its_place(scenes: list[Scene]) -> None:
    table = evaluated(Darker(), scenes)
    assert table["photo"].tolist() == ["photo0", "photo1", "photo2"]
    assert table["split"].tolist() == ["validation", "test", "test"]
    means = [10 * float(scene.photo.float().mul(0.5).round().mean()) / 255 for scene in scenes]
    assert table["score_compact"].tolist() == pytest.approx(means, abs=0.02)


def test_scores_are_of_the_eight_bits_that_a_file_would_hold(scenes: list[Scene]) -> None:
    faint = evaluated(Darker(0.001), scenes)
    assert (faint["score_compact"] == 0).all()


def test_values_outside_the_range_are_clipped_and_values_that_are_no_numbers_refused(scenes: list[Scene]) -> None:
    assert (evaluated(Darker(-1.0), scenes)["score_oasis"] == 0).all()
    with pytest.raises(ValueError, match="not finite"):
        render(Darker(float("nan")), scenes, "cpu")


def test_only_critics_are_asked_again_after_each_transformation(scenes: list[Scene]) -> None:
    table = evaluated(Darker(), scenes)
    asked = [column for column in table if column.startswith("survives_")]
    assert asked == [f"survives_compact_{name}" for name in ("jpeg90", "half", "shift", "blur")]
    for column in asked:  # brightness survives them all
        assert table[column].to_numpy() == pytest.approx(table["score_compact"].to_numpy(), abs=0.15)


def test_small_photos_have_no_ms_ssim_and_the_same_photo_is_perfect(scenes: list[Scene]) -> None:
    target = measure("tone-target", [scene.target for scene in scenes], scenes, JUDGES, "cpu")
    assert target["ms_ssim"].isna().all()
    assert np.isinf(target["psnr"]).all()
    assert (target["ssim"] == 1).all()
    assert (target["color_shift"] == 0).all()
    assert (target["detail_energy"] == 1).all()
    assert (target.filter(like="change_") == 0).all(axis=None)


def test_the_truth_counts_where_a_scene_has_one(scenes: list[Scene]) -> None:
    known = [Scene("known", "test", scenes[0].photo, scenes[0].target, truth=scenes[0].photo), scenes[1]]
    table = measure("run", [scene.target for scene in known], known, {}, "cpu")
    assert table["psnr_truth"][0] == pytest.approx(
        peak_signal_noise_ratio(known[0].photo.numpy(), known[0].target.numpy(), data_range=255), abs=1e-4
    )
    assert np.isnan(table["psnr_truth"][1])
    assert table["near_ssim"][0] == pytest.approx(
        ssim(from_uint8(known[0].target[None]), from_uint8(known[0].photo[None])).item(), abs=1e-6
    )
    assert np.isnan(table["near_ssim"][1])


def test_detail_energy_is_what_a_binomial_blur_takes_away(small_photos: Tensor) -> None:
    gray = luma(small_photos)
    taps = np.array([1, 4, 6, 4, 1]) / 16
    expected = []
    for plane in gray[:, 0].double().numpy():
        blurred = ndimage.correlate1d(ndimage.correlate1d(plane, taps, 0, mode="mirror"), taps, 1, mode="mirror")
        expected.append(((plane - blurred) ** 2).mean())
    assert detail_energy(gray).tolist() == pytest.approx(expected, rel=1e-4)
    assert (detail_energy(2 * gray) / detail_energy(gray)).tolist() == pytest.approx([4] * 3, rel=1e-4)


@pytest.mark.parametrize(("period", "octave"), [(2, 0), (3, 0), (5, 1), (12, 2), (24, 3)])
def test_a_wave_lies_in_the_octave_of_its_frequency(period: int, octave: int) -> None:
    wave = torch.cos(2 * torch.pi * torch.arange(120) / period).expand(1, 3, 96, 120)
    energies = change_spectrum(wave)[0]
    assert energies.shape == (OCTAVES,)
    assert energies.argmax() == octave
    assert energies[octave] > 0.9 * energies.sum()
    assert energies.sum() == pytest.approx(float(wave.square().mean()), rel=0.02)


def test_an_output_of_another_size_is_refused(scenes: list[Scene]) -> None:
    with pytest.raises(ValueError, match="photo1"):
        measure("run", [scenes[0].photo, scenes[0].photo], scenes[:2], {}, "cpu")


def test_the_operators_estimate_reaches_the_network_that_wants_it(scenes: list[Scene]) -> None:
    seen = []

    class Dehazing(Darker):
        uses_estimate = True

        def forward(self, photo: Tensor, estimate: object = None) -> Tensor:  # type: ignore[override]
            seen.append(estimate)
            return photo

    known = Scene("a", "test", scenes[0].photo, scenes[0].target, torch.tensor([0.9, 0.8, 0.7]), scenes[0].photo[:1])
    render(Dehazing(), [known, scenes[1]], "cpu")
    assert seen[0].airlight[0].tolist() == pytest.approx([0.9, 0.8, 0.7])
    assert torch.equal(seen[0].transmission, scenes[0].photo[None, :1] / 255)
    assert seen[1] is None


def test_rendering_leaves_the_networks_mode_as_it_was(scenes: list[Scene]) -> None:
    network = Darker().train()
    assert len(render(network, scenes, "cpu")) == 3
    assert network.training


def test_photos_measured_together_have_the_rows_they_have_alone(
    scenes: list[Scene], monkeypatch: pytest.MonkeyPatch
) -> None:
    together = evaluated(Darker(), scenes).drop(columns=["run", "photo", "split"])
    monkeypatch.setattr("lpie.study.evaluation.PIXELS_AT_ONCE", 1)
    alone = evaluated(Darker(), scenes).drop(columns=["run", "photo", "split"])
    np.testing.assert_allclose(together.to_numpy(), alone.to_numpy(), rtol=2e-4, atol=1e-9)


def test_removal_of_haze_is_explained_where_the_scenes_have_any(
    scenes: list[Scene], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[bool] = []

    def unexplained(photo: Tensor, output: Tensor, *, hazy: bool) -> Tensor:
        asked.append(hazy)
        return torch.zeros(len(photo))

    monkeypatch.setattr(evaluation, "unexplained_change", unexplained)
    monkeypatch.setattr(evaluation, "available_references", lambda: ("cvvdp",))
    monkeypatch.setattr(evaluation, "cvvdp", lambda output, target: torch.full((len(output),), 10.0))
    for scene in (scenes[0], replace(scenes[0], airlight=torch.ones(3))):
        table = evaluated(Darker(), [scene])
        assert table["unexplained"].tolist() == [0]
        assert table["lpips"].isna().all()
    assert asked == [False, True]
