"""Photographs say which network made them, so that its critic is not asked about them."""

import json

import pytest
from PIL import ExifTags, Image

from lpie.photos.signature import conflict, sign, study_of


def signed(critic, software=""):
    exif = Image.Exif()
    if software:
        exif[ExifTags.Base.Software] = software
    sign(exif, "weights/tone-grid-nima.safetensors", {"study": json.dumps({"critic": critic})})
    return exif


def test_a_critic_is_no_judge_of_the_network_it_trained():
    assert conflict(signed("compact"), "compact").startswith("made by tone-grid-nima, a network that compact trained")
    assert "mine trained" in conflict(signed("folder/mine.safetensors"), "elsewhere/mine.safetensors")


def test_a_critic_of_the_same_descent_is_named():
    assert "which comes from the AVA network as ava does" in conflict(signed("compact"), "ava")


@pytest.mark.parametrize(("trained", "asked"), [("compact", "technical"), ("none", "compact"), ("mine", "compact")])
def test_others_are_free_to_judge(trained, asked):
    assert conflict(signed(trained), asked) is None


def test_a_photograph_without_a_signature_raises_no_question():
    assert conflict(Image.Exif(), "compact") is None


def test_software_of_others_is_kept_and_an_older_signature_replaced():
    exif = signed("compact", "Darkroom 4.2")
    sign(exif, "dehaze-can24-plain", {})
    assert exif[ExifTags.Base.Software] == "Darkroom 4.2; lpie: network dehaze-can24-plain, critic none"


@pytest.mark.parametrize("said", ["", "null", "3", '"x"', "[1]", "[" * 5000, '{"gamma": "much"}', '{"gamma": []}'])
def test_damaged_metadata_of_a_study_are_named_by_their_file(said):
    with pytest.raises(ValueError, match=r"^mine\.safetensors: what its metadata say of its study is damaged"):
        study_of({"study": said}, "mine.safetensors")


def test_a_network_says_what_is_known_of_its_study():
    assert study_of({}, "mine.safetensors") == {}
    said = json.dumps({"critic": "compact", "gamma": 0.1, "schedule": {}})
    assert study_of({"study": said}, "mine.safetensors") == {"critic": "compact", "gamma": 0.1}
