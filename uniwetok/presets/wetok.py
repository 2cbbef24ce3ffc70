"""WeTok, on which the paper builds: as released, and at UniWeTok's rate."""

from __future__ import annotations

from uniwetok.losses.config import TokenizerLossConfig, commitment_weight
from uniwetok.presets.preset import DATACOMP, IMAGENET, Preset
from uniwetok.tokenizer.config import UniWeTokConfig
from uniwetok.train.tokenizer.config import TokenizerTraining

_NO_NUMBERS = (
    "The configurations that are released are those of inference: batch size (32 processes of 4), "
    "epochs (25), rates and loss weights are what stands in them, and have not been confirmed."
)


def _training(model: UniWeTokConfig) -> TokenizerTraining:
    return TokenizerTraining(
        model=model,
        loss=TokenizerLossConfig(
            commitment_weight=commitment_weight(siglu=model.siglu), distillation=None
        ),
        prior=None,
    )


def _released(
    bits: int, multipliers: tuple[int, ...], *, generative: bool = False
) -> UniWeTokConfig:
    return UniWeTokConfig.wetok(
        channels=256,
        channel_multipliers=multipliers,
        num_res_blocks=4,
        latent_channels=bits,
        groups=bits // 8,
        generative=generative,
    )


_8X, _16X, _32X = (1, 2, 2, 4), (1, 1, 2, 2, 4), (1, 1, 2, 2, 4, 8)

WETOK = (
    Preset(
        name="wetok-8x",
        title="WeTok, 8 pixels a token of 32 bits",
        source="WeTok, ImageNet_downsample8_imagenet.yaml",
        data=IMAGENET,
        config=_training(_released(32, _8X)),
        notes=(_NO_NUMBERS,),
    ),
    Preset(
        name="wetok-16x",
        title="WeTok, 16 pixels a token of 32 bits",
        source="WeTok, ImageNet_downsample16_imagenet.yaml",
        data=IMAGENET,
        config=_training(_released(32, _16X)),
        notes=(_NO_NUMBERS,),
    ),
    Preset(
        name="wetok-768",
        title="WeTok at a compression ratio of 768, with a generative decoder",
        source="WeTok, GeneralDomain_compratio768_imagenet.yaml",
        data=DATACOMP,
        config=_training(_released(32, _32X, generative=True)),
        notes=(
            _NO_NUMBERS,
            "WeTok's code trains a generative decoder in a second stage, under a frozen encoder; "
            "here both are trained together.",
            "The configuration does not name the general data; DataComp-1B takes its place.",
        ),
    ),
    Preset(
        name="wetok-32x",
        title="WeTok's autoencoder at UniWeTok's rate and widths, to compare with Tab. 14",
        source="ours",
        data=IMAGENET,
        config=_training(UniWeTokConfig.wetok()),
        notes=(
            "The paper compares with WeTok in words and trains no such row. Sizes, data, steps and "
            "losses are those of table14; WeTok's residual blocks stand where that has the "
            "transformer, and widen where that widens in the strided convolutions.",
            "What UniWeTok adds can be added one by one: --set model.siglu=true --set "
            "loss.commitment_weight=0, --set model.bottleneck=double, --set "
            "loss.distillation=default, --set prior=default.",
        ),
    ),
)
