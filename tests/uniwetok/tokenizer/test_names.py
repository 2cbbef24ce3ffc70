"""Names, shapes and counts of the weights against the released model's."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest
import torch

from uniwetok.tokenizer import UniWeTok, UniWeTokConfig

KEYS = Path(__file__).parent / "data" / "keys_uniwetok.txt"


def paper_model(**changes: object) -> UniWeTok:
    with torch.device("meta"):
        return UniWeTok(UniWeTokConfig(**changes))


def parameters(module: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


@pytest.fixture(scope="module")
def model() -> UniWeTok:
    return paper_model()


def test_names_and_shapes_are_the_released_ones(model):
    released = dict(line.split() for line in KEYS.read_text().splitlines())
    ours = {name: ",".join(map(str, t.shape)) for name, t in model.state_dict().items()}
    assert len(released) == 408
    assert ours == released


def test_names_stay_distinct_without_dots(model):
    assert len({name.replace(".", "") for name in model.state_dict()}) == 408


def test_parameter_counts(model):
    assert parameters(model) == 621_626_115
    assert parameters(model.encoder) == 265_729_664
    assert parameters(model.decoder) == 355_896_451
    assert parameters(model.encoder.mid_attn_blocks) == 205_553_664
    assert parameters(model.decoder.mid_attn_blocks) == 205_553_664


def test_convolutional_backbone_counts():
    model = paper_model(attention_blocks=0)
    assert parameters(model.encoder) == 60_176_000
    assert parameters(model.decoder) == 150_342_787


def test_single_bottleneck_widens_in_residual_blocks(model):
    single = paper_model(bottleneck="single")
    state, widths = single.state_dict(), UniWeTokConfig().widths
    for level, (before, width) in enumerate(itertools.pairwise(widths)):
        shape = tuple(state[f"encoder.down.{level}.downsample.weight"].shape)
        assert shape == (before, before, 3, 3)
        block = f"encoder.down.{level + 1}.block.0"
        assert tuple(state[f"{block}.conv1.weight"].shape) == (width, before, 3, 3)
        assert (f"{block}.nin_shortcut.weight" in state) == (before != width)
    assert parameters(single.decoder) == parameters(model.decoder)


def test_transformer_backbone_narrows_in_its_upsamplers():
    state = paper_model(num_res_blocks=0).state_dict()
    widths = UniWeTokConfig().widths
    for level in range(1, 6):
        shape = tuple(state[f"decoder.up.{level}.upsample.conv1.weight"].shape)
        assert shape == (4 * widths[level - 1], widths[level], 3, 3)
    assert "decoder.mid_block.0.conv1.weight" not in state
