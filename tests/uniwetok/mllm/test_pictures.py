from __future__ import annotations

import numpy as np
import pytest
import torch

from tests.uniwetok.mllm import toys
from uniwetok.mllm import MLLMConfig, MLLMError, pictures


@pytest.mark.parametrize(
    ("size", "parallel", "expected"),
    [
        ((1024, 1024), 1, (1024, 1024)),
        ((1000, 700), 1, (992, 704)),
        ((1000, 700), 16, (1024, 640)),
        ((1, 5000), 1, (64, 4096)),
        ((65, 33), 4, (64, 64)),
        ((100, 100), 16, (128, 128)),
    ],
)
def test_sizes_are_made_to_fit(size, parallel, expected):
    config = MLLMConfig(parallel_tokens=parallel)
    assert pictures.fit_size(*size, config) == expected
    pictures.check_size(*expected, config)
    if size != expected:
        with pytest.raises(MLLMError, match=f"nearest is {expected[0]}x{expected[1]}"):
            pictures.check_size(*size, config)


def test_large_pictures_are_read_smaller():
    assert pictures.readable_size(3000, 2000, MLLMConfig()) == (1248, 832)
    assert pictures.readable_size(512, 480, MLLMConfig()) == (512, 480)


def test_a_picture_that_fits_is_encoded_as_it_is():
    network, config = toys.image_tokenizer(), toys.config()
    picture = toys.picture(64, 96)
    pixels = torch.from_numpy(picture).permute(2, 0, 1)[None] / 127.5 - 1
    (codes,) = pictures.encode([picture], network, config)
    assert torch.equal(codes, network.encode(pixels)[0])


def test_decoding_depends_on_the_seed_alone():
    network = toys.image_tokenizer()
    codes = [toys.codes(2, 3), toys.codes(3, 2), toys.codes(2, 3)]
    decoded = pictures.decode(codes, network, [1, 2, 3])
    assert [each.shape for each in decoded] == [(64, 96, 3), (96, 64, 3), (64, 96, 3)]
    assert np.array_equal(decoded[2], pictures.decode(codes[2:], network, [3])[0])
    assert not np.array_equal(decoded[0], decoded[2])


def test_what_is_no_picture_is_refused():
    for wrong in (np.zeros((64, 64, 3)), np.zeros((64, 64), np.uint8)):
        with pytest.raises(MLLMError, match="must be uint8"):
            pictures.encode([wrong], toys.image_tokenizer(), toys.config())
    with pytest.raises(MLLMError, match="at least 1 pixel"):
        pictures.fit_size(0, 64, MLLMConfig())
