from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings, strategies as st

from tests.uniwetok.tokenizer.test_golden import FLOAT32
from uniwetok.tokenizer import UniWeTok, UniWeTokConfig


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def close(a: torch.Tensor, b: torch.Tensor) -> bool:
    """Whether two float32 computations agree, as far as the golden values' tests expect of them."""
    return bool((a - b).abs().max() <= FLOAT32 * b.abs().max())


def test_shapes_and_values(model, images):
    codes = model.encode(images)
    assert codes.shape == (3, 16, 2, 3)
    assert set(codes.unique().tolist()) == {-1.0, 1.0}
    assert model.latents(images).abs().max() < 1
    assert torch.equal(codes > 0, model.latents(images) > 0)
    assert model.indices(codes).shape == (3, 2, 3, 2)
    assert model.decode(codes).shape == (3, 3, 64, 96)


def test_embed_is_the_row_major_sequence(model, images):
    tokens = model.embed(images)
    assert tokens.shape == (3, 6, 16)
    assert torch.equal(tokens[1, 4], model.encode(images)[1, :, 1, 1])


def test_pack_and_unpack(model, images):
    codes = model.encode(images)
    packed = model.pack(codes)
    assert [len(sample) for sample in packed] == [12, 12, 12]
    assert list(packed[2]) == model.indices(codes)[2].flatten().tolist()
    assert torch.equal(model.unpack(packed, (2, 3)), codes)


@settings(max_examples=8)
@given(height=st.integers(64, 130), width=st.integers(64, 130))
def test_reconstruct_keeps_any_size(model, height, width):
    x = torch.rand(1, 3, height, width, generator=seeded(0)) * 2 - 1
    assert model.encode(x).shape == (1, 16, -(-height // 32), -(-width // 32))
    reconstruction = model.reconstruct(x)
    assert reconstruction.shape == x.shape
    assert reconstruction.isfinite().all()


def test_padding_is_grey_symmetric_and_cropped_again(model, images):
    x = images[:1, :, :, :71]
    padded = torch.zeros(1, 3, 64, 96)
    padded[..., 12:83] = x
    codes = model.encode(x)
    assert torch.equal(codes, model.encode(padded))
    whole = model.decode(codes, generator=seeded(1))
    cropped = model.decode(codes, generator=seeded(1), size=(64, 71))
    assert torch.equal(cropped, whole[..., 12:83])


def test_batch_does_not_change_codes_nor_visibly_images(model, images):
    codes = model.encode(images)
    assert torch.equal(codes, torch.cat([model.encode(x[None]) for x in images]))
    together = model.decode(codes, generator=[seeded(i) for i in range(3)])
    alone = torch.cat([model.decode(c[None], generator=seeded(i)) for i, c in enumerate(codes)])
    assert close(alone, together)


def test_noise_of_one_generator_does_not_depend_on_the_batch(model, images):
    codes, generator = model.encode(images), seeded(7)
    together = model.decode(codes, generator=seeded(7))
    alone = torch.cat([model.decode(c[None], generator=generator) for c in codes])
    assert close(alone, together)


def test_noise_changes_the_image_and_the_global_seed_draws_it(model, images):
    codes = model.encode(images[:1])
    torch.manual_seed(3)
    first, second = model.decode(codes), model.decode(codes)
    torch.manual_seed(3)
    assert torch.equal(first, model.decode(codes))
    assert not close(first, second)


def test_memory_layout_does_not_change_the_result(model, images):
    layout = images.contiguous(memory_format=torch.channels_last)
    codes = model.encode(images)
    assert close(model.latents(layout), model.latents(images))
    noise = torch.randn(codes.shape, generator=seeded(0))
    permuted = [t.contiguous(memory_format=torch.channels_last) for t in (codes, noise)]
    assert close(model.decode(*permuted), model.decode(codes, noise))


def test_public_methods_record_no_gradient_and_the_modules_do(model, images):
    assert not model.reconstruct(images).requires_grad
    latents = model.encoder(images)
    assert latents.requires_grad
    assert model.decoder(latents, torch.zeros_like(latents)).requires_grad


@pytest.mark.parametrize("activation", [False, True])
def test_half_precision(model, images, activation):
    half = UniWeTok(replace(model.config, rope_in_activation_dtype=activation))
    half.load_state_dict(model.state_dict())
    half.to(torch.bfloat16)
    latents = half.latents(images)
    assert latents.dtype == torch.bfloat16
    assert (latents.float() - model.latents(images)).abs().mean() < 0.05
    assert half.reconstruct(images).isfinite().all()
    assert half.unpack(half.pack(half.encode(images)), (2, 3)).dtype == torch.bfloat16


@pytest.mark.parametrize(
    "change", [{"attention_blocks": 0}, {"num_res_blocks": 0}, {"plain_levels": 2}]
)
def test_other_backbones(config, images, change):
    model = UniWeTok(replace(config, **change))
    assert model.reconstruct(images).shape == images.shape


@pytest.mark.parametrize(
    ("x", "error", "message"),
    [
        (torch.zeros(1, 3, 64, 64, dtype=torch.uint8), TypeError, r"uint8; convert .* 127.5 - 1"),
        ("image", TypeError, "got str"),
        (torch.zeros(3, 64, 64), ValueError, r"\(batch, 3, H, W\), got \(3, 64, 64\) float32"),
        (torch.zeros(1, 4, 64, 64), ValueError, r"got \(1, 4, 64, 64\)"),
        (torch.zeros(0, 3, 64, 64), ValueError, r"got \(0, 3, 64, 64\)"),
        (torch.zeros(1, 3, 63, 64), ValueError, "63x64 is too small.*at least 64 .*NaN"),
        (torch.zeros(1, 3, 256, 32), ValueError, "256x32 is too small"),
    ],
)
def test_bad_images_are_refused(model, x, error, message):
    for use in (model.encode, model.latents, model.embed, model.reconstruct):
        with pytest.raises(error, match=message):
            use(x)


@pytest.mark.parametrize(
    ("codes", "error", "message"),
    [
        (torch.ones(1, 8, 2, 2), ValueError, r"\(batch, 16, h, w\), got \(1, 8, 2, 2\) float32"),
        (torch.ones(16, 2, 2), ValueError, r"got \(16, 2, 2\)"),
        (torch.ones(1, 16, 2, 0), ValueError, r"got \(1, 16, 2, 0\)"),
        (torch.ones(1, 16, 2, 2, dtype=torch.int64), TypeError, "int64; bytes become codes"),
        ([b"12"], TypeError, "got list"),
    ],
)
def test_bad_codes_are_refused(model, codes, error, message):
    for use in (model.decode, model.indices, model.pack):
        with pytest.raises(error, match=message):
            use(codes)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"noise": torch.zeros(1, 16, 2, 2)}, ValueError, r"noise is \(1, 16, 2, 2\) float32; th"),
        ({"noise": torch.zeros(2, 16, 2, 3).long()}, TypeError, "noise must be a floating"),
        ({"noise": 0}, TypeError, "noise must be a floating tensor, got int"),
        ({"noise": torch.zeros(2, 16, 2, 3), "generator": seeded(0)}, ValueError, "not both"),
        ({"generator": [seeded(0)]}, ValueError, "1 generators for 2 samples"),
        ({"size": (64, 64)}, ValueError, "2x3 tokens: the height must be in 33..64 .* 65..96"),
        ({"size": (64, 97)}, ValueError, r"size=\(64, 97\)"),
    ],
)
def test_bad_decode_arguments_are_refused(model, arguments, error, message):
    with pytest.raises(error, match=message):
        model.decode(torch.ones(2, 16, 2, 3), **arguments)


def test_a_single_row_of_codes_is_refused(model):
    with pytest.raises(ValueError, match="a grid of 1x4 tokens is too small"):
        model.decode(torch.ones(1, 16, 1, 4))


def test_default_configuration_is_the_papers():
    with torch.device("meta"):
        assert UniWeTok().config == UniWeTokConfig()
