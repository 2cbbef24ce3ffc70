"""Which pixels are evaluated, and how they become 8-bit: parity with torchvision, to the bit."""

from __future__ import annotations

import copy
import io
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings, strategies as st
from PIL import Image
from torchvision import transforms

from harness.data.images import to_float, to_uint8
from harness.interfaces.errors import DecodeError, UserError
from tasks.recon.data import Geometry, ReconSettings
from tasks.recon.task import COCO_RECON, COCO_RECON_NATIVE, IMAGENET_RECON, IMAGENET_RECON_NATIVE

TASKS = (IMAGENET_RECON, IMAGENET_RECON_NATIVE, COCO_RECON, COCO_RECON_NATIVE)
SETTINGS = IMAGENET_RECON.protocol("exact").settings


def noise(width: int, height: int) -> Image.Image:
    levels = np.random.default_rng(width * 7919 + height).integers(0, 256, (height, width, 3))
    return Image.fromarray(levels.astype(np.uint8))


@settings(max_examples=80)
@given(width=st.integers(20, 700), height=st.integers(20, 700))
@example(width=500, height=375)
@example(width=256, height=256)
@example(width=257, height=256)
@example(width=255, height=700)
@example(width=20, height=20)
def test_resized_centre_crop_is_torchvision_to_the_bit(width: int, height: int) -> None:
    image = noise(width, height)
    expected = transforms.Compose([transforms.Resize(256), transforms.CenterCrop(256)])(image)
    actual = Geometry(resize=256, crop=256).apply(image)
    assert actual.dtype == np.uint8
    np.testing.assert_array_equal(actual, np.asarray(expected))


MODES = transforms.InterpolationMode


@pytest.mark.parametrize("size", [(500, 375), (90, 240), (256, 300)])
@pytest.mark.parametrize(
    ("kernel", "mode"), [("pil-bicubic", MODES.BICUBIC), ("pil-lanczos", MODES.LANCZOS)]
)
def test_other_kernels_and_squashing_are_torchvisions(
    kernel: Any, mode: transforms.InterpolationMode, size: tuple[int, int]
) -> None:
    image = noise(*size)
    kept = transforms.Compose([transforms.Resize(256, mode), transforms.CenterCrop(256)])(image)
    geometry = Geometry(resize=256, crop=256, kernel=kernel)
    np.testing.assert_array_equal(geometry.apply(image), np.asarray(kept))
    squashed = transforms.Resize((256, 256), mode)(image)
    geometry = Geometry(resize=256, crop=256, kernel=kernel, aspect="squash")
    np.testing.assert_array_equal(geometry.apply(image), np.asarray(squashed))


@pytest.mark.parametrize("size", [(500, 375), (90, 240)])
def test_bilinear_without_antialias_is_torchvisions_of_tensors(size: tuple[int, int]) -> None:
    image = noise(*size)
    pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1)
    expected = transforms.Resize(256, antialias=False)(pixels).permute(1, 2, 0).numpy()
    np.testing.assert_array_equal(Geometry(resize=256, kernel="bilinear").apply(image), expected)


def test_a_prepared_image_has_been_through_jpeg() -> None:
    image = noise(64, 48)
    buffer = io.BytesIO()
    image.save(buffer, "jpeg", quality=75)
    stored = np.asarray(Image.open(buffer).convert("RGB"))
    np.testing.assert_array_equal(Geometry(compression="jpeg-75").apply(image), stored)


def test_native_geometry_leaves_pixels_alone() -> None:
    image = noise(91, 77)
    np.testing.assert_array_equal(Geometry(min_side=64).apply(image), np.asarray(image))


@pytest.mark.parametrize(("width", "height"), [(63, 64), (64, 63), (1, 500)])
def test_too_small_an_image_is_a_decode_error_with_its_size(width: int, height: int) -> None:
    geometry = Geometry(min_side=64)
    assert geometry.apply(noise(64, 64)).shape == (64, 64, 3)
    with pytest.raises(
        DecodeError, match=f"image of {width}x{height} is smaller than 64 pixels a side"
    ):
        geometry.apply(noise(width, height))


@pytest.mark.parametrize(
    ("width", "height", "taken"),
    [(1984, 100, True), (1985, 100, False), (100, 1985, False), (2000, 2000, False)],
)
def test_largest_side_is_measured_after_padding(width: int, height: int, taken: bool) -> None:
    # 1984 is the last multiple of 32 below 2000; one pixel more pads to 2016.
    assert Geometry(pad=32, max_padded_side=2000).takes(width, height) is taken


def test_every_size_is_taken_without_a_largest_side() -> None:
    assert Geometry().takes(100_000, 1)


def test_95_grey_values_lose_a_level_under_wetok_and_none_under_exact() -> None:
    levels = np.arange(256, dtype=np.uint8).reshape(1, 16, 16, 1).repeat(3, axis=-1)
    wetok = ReconSettings.of(IMAGENET_RECON.protocol("wetok").settings)
    exact = ReconSettings.of(IMAGENET_RECON.protocol("exact").settings)
    change = levels.astype(int) - to_uint8(to_float(levels), wetok.uint8).astype(int)
    assert set(change.ravel()) == {0, 1}
    assert (change[..., 0] == 1).sum() == 95
    np.testing.assert_array_equal(to_uint8(to_float(levels), exact.uint8), levels)


def test_uint8_rules_differ_between_levels_and_agree_at_the_ends() -> None:
    between = torch.tensor([-1.0, 10.7 / 127.5 - 1, 10.2 / 127.5 - 1, 1.0]).expand(1, 3, 1, 4)
    truncate = ReconSettings.of({**SETTINGS, "uint8": "truncate"})
    rounded = ReconSettings.of({**SETTINGS, "uint8": "round"})
    assert to_uint8(between, truncate.uint8)[0, 0, :, 0].tolist() == [0, 10, 10, 255]
    assert to_uint8(between, rounded.uint8)[0, 0, :, 0].tolist() == [0, 11, 10, 255]


def test_values_out_of_range_are_clamped_before_the_cast() -> None:
    wild = torch.tensor([-9.0, 9.0]).expand(1, 3, 1, 2)
    for name in ("wetok", "exact"):
        rule = ReconSettings.of(IMAGENET_RECON.protocol(name).settings)
        assert to_uint8(wild, rule.uint8)[0, 0, :, 0].tolist() == [0, 255]


def test_to_float_is_rounded_once_and_channels_first() -> None:
    images = np.random.default_rng(0).integers(0, 256, (2, 5, 7, 3), dtype=np.uint8)
    tensor = to_float(images)
    assert tensor.shape == (2, 3, 5, 7)
    assert tensor.dtype == torch.float32
    expected = (images.astype(np.float64) / 127.5 - 1).astype(np.float32)
    np.testing.assert_array_equal(tensor.permute(0, 2, 3, 1).numpy(), expected)


@pytest.mark.parametrize(
    ("change", "place"),
    [
        ({"uint8": "floor"}, "uint8"),
        ({"decode": {"exif": "apply", "alpha": "white"}}, "decode.sixteen_bit"),
        ({"decode": {**SETTINGS["decode"], "gamma": 2.2}}, "decode.gamma"),
        ({"geometry": {"resize": "large"}}, "geometry.resize"),
        ({"geometry": {"kernel": "lanczos"}}, "geometry.kernel"),
        ({"geometry": {"padd": 32}}, "geometry.padd"),
        ({"noise": "shared"}, "noise"),
    ],
)
def test_wrong_settings_are_named(change: dict[str, Any], place: str) -> None:
    with pytest.raises(UserError, match=f"protocol setting '{place}'"):
        ReconSettings.of({**SETTINGS, **change})


@pytest.mark.parametrize(
    "name", [name for name, field in ReconSettings.model_fields.items() if field.is_required()]
)
def test_missing_settings_are_named(name: str) -> None:
    incomplete = copy.deepcopy(SETTINGS)
    del incomplete[name]
    with pytest.raises(UserError, match=f"protocol setting '{name}' is missing"):
        ReconSettings.of(incomplete)


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.spec.name)
def test_shipped_protocols_load_for_every_task(task: Any) -> None:
    protocols = [task.protocol(name) for name in task.spec.protocols]
    assert [protocol.name for protocol in protocols] == ["wetok", "exact"]
    assert protocols[0].digest != protocols[1].digest
    for protocol in protocols:
        assert protocol.title
        assert protocol.description.strip()


def test_digests_differ_exactly_where_settings_do() -> None:
    wetok = {task.spec.name: task.protocol("wetok") for task in TASKS}
    assert wetok["imagenet-recon"].settings["averaging"]["batch_size"] == 100
    assert wetok["coco-recon"].settings["averaging"]["batch_size"] == 125
    assert wetok["coco-recon"].digest != wetok["imagenet-recon"].digest
    assert wetok["imagenet-recon-native"].digest == wetok["coco-recon-native"].digest
    assert wetok["imagenet-recon-native"].digest != wetok["imagenet-recon"].digest
    exact = {task.spec.name: task.protocol("exact") for task in TASKS}
    assert exact["coco-recon"].digest == exact["imagenet-recon"].digest
    assert exact["imagenet-recon-native"].digest != exact["imagenet-recon"].digest


def test_wetok_averages_batch_means_at_256_only() -> None:
    assert IMAGENET_RECON.protocol("wetok").settings["averaging"]["rule"] == "batch-means"
    assert IMAGENET_RECON_NATIVE.protocol("wetok").settings["averaging"] == {"rule": "per-image"}


def test_unknown_protocol_suggests() -> None:
    with pytest.raises(UserError, match=r"unknown protocol 'exakt'.*did you mean 'exact'"):
        IMAGENET_RECON.protocol("exakt")


def test_protocol_file_with_a_wrong_setting_is_refused(tmp_path: Any) -> None:
    path = tmp_path / "mine.toml"
    path.write_text('[settings]\nuint8 = "floor"\n[kind.recon]\n')
    with pytest.raises(UserError, match="protocol setting"):
        IMAGENET_RECON.protocol(str(path))
