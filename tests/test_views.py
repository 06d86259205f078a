"""Batched views: equal to the plain libraries one photo at a time, and neutral where their strength is."""

import io

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from skimage import data as photographs

from lpie.critic_training import views
from lpie.critic_training.views import Album, Crops

ASTRONAUT = photographs.astronaut()[40:200, 150:278]  # 160 x 128


@pytest.fixture(scope="module")
def album():
    return Album.of([ASTRONAUT, ASTRONAUT[:100, :90]], 176, "cpu")


def crops(top, left, height, width, mirrored=0.0):
    return Crops(*(torch.tensor([float(value)]) for value in (top, left, height, width, mirrored)))


def test_frame_holds_the_photo_and_repeats_its_edge(album):
    frames, heights, widths = album.take(torch.tensor([1]))
    assert (int(heights), int(widths)) == (100, 90)
    assert torch.equal(
        (frames[0, :, :100, :90] * 255).round().byte().permute(1, 2, 0), torch.from_numpy(ASTRONAUT[:100, :90])
    )
    assert torch.equal(frames[0, :, 150, 120], frames[0, :, 99, 89])


@pytest.mark.parametrize("size", [48, 224])
def test_antialiased_view_is_what_torch_makes_of_the_crop(album, size):
    frames, _, _ = album.take(torch.tensor([0]))
    view = views.antialiased_view(frames, crops(12, 7, 130, 101), size)
    plain = F.interpolate(frames[..., 12:142, 7:108], size=(size, size), mode="bilinear", antialias=True)
    assert torch.allclose(view, plain, atol=1e-5)


def test_mirrored_crop_is_read_from_right_to_left(album):
    frames, _, _ = album.take(torch.tensor([0]))
    mirrored, plain = (views.antialiased_view(frames, crops(0, 0, 96, 96, *mirror), 64) for mirror in ((1.0,), ()))
    assert torch.allclose(mirrored, plain.flip(3), atol=1e-6)


def test_random_crops_lie_inside_their_photos():
    heights, widths = torch.full((500,), 321), torch.full((500,), 481)
    drawn = Crops.random(heights, widths, 0.4)
    assert (drawn.top >= 0).all()
    assert (drawn.top + drawn.height <= 321).all()
    assert (drawn.left + drawn.width <= 481).all()
    assert drawn.height.min() >= 96
    assert 0.3 < ((drawn.height == 321) & (drawn.width == 481)).float().mean() < 0.5


def test_jpeg_comes_close_to_a_real_one(album):
    photo = album.take(torch.tensor([0]))[0][..., :160, :128]
    for quality in (20, 50, 90):
        stored = io.BytesIO()
        Image.fromarray(ASTRONAUT).save(stored, "JPEG", quality=quality)
        real = torch.from_numpy(np.asarray(Image.open(stored)).copy()).permute(2, 0, 1) / 255
        ours = views.jpeg(photo, torch.tensor([float(quality)]))[0]
        assert (ours - real).abs().mean() < 0.35 * (photo[0] - real).abs().mean() + 0.5 / 255


def test_neutral_strengths_change_nothing(album):
    photo = album.take(torch.tensor([0, 1]))[0]
    zero, one = torch.zeros(2), torch.ones(2)
    neutral = {
        "expose": views.expose(photo, zero, torch.ones(2, 3)),
        "haze": views.haze(photo, zero, one),
        "contrast": views.contrast(photo, one),
        "curve": views.curve(photo, one),
        "saturate": views.saturate(photo, one),
        "unsharp": views.unsharp(photo, one, zero),
        "noise": views.add_noise(photo, zero),
        "jpeg": views.jpeg(photo, 100 * one),
    }
    for name, result in neutral.items():
        assert torch.allclose(result, photo, atol=1e-5), name


def test_strengths_act_on_their_own_photo_only(album):
    photo = album.take(torch.tensor([0, 1]))[0]
    changed = views.unsharp(photo, torch.tensor([2.0, 2.0]), torch.tensor([-1.0, 0.0]))
    assert torch.equal(changed[1], photo[1])
    assert changed[0].diff(dim=2).abs().mean() < 0.6 * photo[0].diff(dim=2).abs().mean()


def test_most_varied_photos_differ_and_all_stay_in_range(album):
    torch.manual_seed(0)
    photo = album.take(torch.tensor([0] * 8))[0]
    varied = views.vary(photo)
    assert ((varied - photo).abs().mean((1, 2, 3)) > 1e-3).sum() >= 5
    assert varied.min() >= 0
    assert varied.max() <= 1
    assert torch.isfinite(varied).all()


def test_collage_mixes_every_view_alike():
    torch.manual_seed(1)
    batch = torch.rand(6, 3, 8, 8)
    large, small = views.collage((batch.repeat_interleave(4, 2).repeat_interleave(4, 3), batch), mixed=0.5, pasted=0.0)
    assert torch.allclose(large[..., ::4, ::4], small)
    assert (small != batch).flatten(1).any(1).sum() >= 1
    (pasted,) = views.collage((batch,), mixed=0.0, pasted=1.0)
    from_itself, from_the_next = pasted == batch, pasted == batch.roll(1, 0)
    assert (from_itself | from_the_next).all()
    assert from_the_next.any()
