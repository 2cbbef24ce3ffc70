"""Presets, sizes and impossible configurations."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tests.uniwetok.ar.toys import tiny
from uniwetok.ar import PRESETS, BitDance, BitDanceConfig

KEYS = Path(__file__).parent / "data" / "keys_bitdance_b.txt"
PARAMETERS = {
    "uniwetok-b": 242_594_432,
    "uniwetok-l": 527_566_976,
    "uniwetok-h": 1_008_329_088,
    "bitdance-b": 242_373_152,
    "bitdance-l": 527_271_968,
    "bitdance-h": 1_007_960_352,
    "bitdance-b-4x": 260_102_432,
    "bitdance-b-16x": 260_111_648,
}


def without_storage(name: str) -> BitDance:
    with torch.device("meta"):
        return BitDance(BitDanceConfig.preset(name))


@pytest.mark.parametrize("name", PRESETS)
def test_parameters_of_the_presets(name):
    model = without_storage(name)
    assert sum(parameter.numel() for parameter in model.parameters()) == PARAMETERS[name]


def test_names_and_shapes_are_the_released_ones():
    """A line of the file is a name, the times that it repeats with an index, and its shape."""
    released = {}
    for line in KEYS.read_text().splitlines():
        name, times, shape = line.split("\t")
        for index in range(int(times)):
            released[name.format(index)] = tuple(int(size) for size in shape.split(","))
    ours = {name: tuple(w.shape) for name, w in without_storage("uniwetok-b").state_dict().items()}
    assert len(released) == 204
    assert ours == released


def test_sizes_of_the_sequence():
    config = BitDanceConfig()
    assert (config.tokens, config.steps, config.prefix, config.sequence) == (64, 64, 64, 127)
    patches = BitDanceConfig.preset("bitdance-b-16x")
    assert (patches.tokens, patches.steps, patches.prefix, patches.sequence) == (256, 16, 79, 319)


def test_dictionary_round_trip():
    config = tiny(4, flip_rate=0.05)
    assert BitDanceConfig.from_dict(config.to_dict()) == config


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"width": 0}, "width=0 must be a whole number of at least 1"),
        ({"layers": 2.0}, "layers=2.0 must be a whole number of at least 1"),
        ({"heads": 5}, "heads=5 does not split width 32"),
        ({"diffusion_modulations": 3}, "diffusion_modulations=3 does not divide"),
        ({"parallel_tokens": 2}, "parallel_tokens=2 is not the size of square patches"),
        ({"parallel_tokens": 9}, "parallel_tokens=9 is not the size of square patches"),
        ({"parallel_tokens": 4, "diffusion_width": 32}, "diffusion_width=32 must be a multiple"),
        ({"label_dropout": 1.5}, "label_dropout=1.5 is not a probability"),
        ({"flip_rate": -0.1}, "flip_rate=-0.1 is not a probability"),
        ({"time_std": 0.0}, "time_std=0.0 are no normal"),
    ],
)
def test_impossible_configurations(changes, message):
    with pytest.raises(ValueError, match=message):
        tiny(**changes)


def test_unknown_names():
    with pytest.raises(ValueError, match="no preset 'uniwetok-xl'; there are uniwetok-b, "):
        BitDanceConfig.preset("uniwetok-xl")
    with pytest.raises(ValueError, match="unknown fields depth"):
        BitDanceConfig.from_dict({"depth": 3})
