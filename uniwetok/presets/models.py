"""The paper's final models and three stages, which it prints no figures of, and our small one."""

from __future__ import annotations

from dataclasses import replace

from uniwetok.losses.config import TokenizerLossConfig
from uniwetok.presets.preset import DATACOMP, IMAGENET, Preset
from uniwetok.presets.tables import training
from uniwetok.tokenizer.config import UniWeTokConfig
from uniwetok.train.data.config import DataConfig
from uniwetok.train.engine.settings import OptimizerConfig
from uniwetok.train.tokenizer.config import TokenizerTraining

BUCKETS = tuple(
    size
    for short, long, side in ((192, 320, 256), (288, 480, 384), (384, 640, 512))
    for size in ((side, side), (long, short), (short, long))
)
"""(height, width) in the later stages: three areas, each square, upright and wide at 5:3, the shape
of 640x384 that the released multimodal pipeline draws. Paper: no sizes."""

ANNEALED = ("faces@0.3", "text@0.2", "general@0.5")
"""Sources of the third stage and their weights. Paper: "perceptually sensitive domains, such as
faces and text", without figures; general images keep what the stages before have learned."""

_FULL = training(head="attention", batch_size=1024)
_UNPUBLISHED = (
    'Hyper-parameters are unpublished: the paper tuned them "individually" for each final model. '
)
_PREVIOUS = "Starts from the previous stage's model: give --set init=PATH."

LARGE = (
    Preset(
        name="uniwetok-256-imagenet",
        title="the final model on ImageNet, 256x256",
        source="Tab. 8",
        data=IMAGENET,
        config=_FULL,
        notes=(
            _UNPUBLISHED + "These are the best of the ablations, Tab. 33, on ImageNet: attention "
            "head and batch 1024, which is 200 epochs.",
            "Tab. 9's UniWeTok-B has the gFID of Tab. 1, 2.35: it may use that tokenizer (table16) "
            "rather than this one.",
        ),
    ),
    Preset(
        name="uniwetok-256-datacomp",
        title="the final model on DataComp-1B, 256x256",
        source="Tab. 10",
        data=DATACOMP,
        config=_FULL,
        notes=(
            _UNPUBLISHED + "These are the best of the ablations, Tab. 33, whose rFID is 1.35; the "
            "final model has 1.18.",
        ),
    ),
    Preset(
        name="stage1",
        title="first stage: general images at 256x256",
        source="Section 3.3, Fig. 3",
        data=DATACOMP,
        config=_FULL,
        notes=(
            "The paper prints no figures of the stages. The same configuration as "
            "uniwetok-256-datacomp.",
        ),
    ),
    Preset(
        name="stage2",
        title="second stage: several resolutions at a time",
        source="Section 3.3, Fig. 3",
        data=DATACOMP,
        config=replace(_FULL, data=DataConfig(buckets=BUCKETS, partition="fixed")),
        notes=(
            _PREVIOUS,
            "The paper splits devices among resolutions, without figures. Here each process keeps "
            "one resolution, draws a shape of it each step, and fills it to the pixels of its "
            "share of 256x256 images, so that none waits for another; --set data.partition=drawn "
            "lets it draw the resolution too.",
            "As many steps as the first stage; the paper gives no number.",
        ),
        needs=("init",),
    ),
    Preset(
        name="stage3",
        title="third stage: annealing on faces and text",
        source="Section 3.3, Fig. 3",
        data="faces and text (the paper names no data)",
        config=replace(
            _FULL,
            data=DataConfig(buckets=BUCKETS, partition="fixed", mixture=ANNEALED),
            optimizer=OptimizerConfig(schedule="cosine", final_ratio=0.0),
            steps=_FULL.steps // 10,
        ),
        notes=(
            _PREVIOUS,
            "The paper calls it annealing, without figures: here the learning rate falls from "
            "1e-4 to 0 by a cosine over a tenth of the first stage's steps, on the second stage's "
            "sizes.",
            "It names no mixture either: here half of the images are faces and text, for which "
            "--data faces=PATH text=PATH general=PATH says where they are.",
        ),
        needs=("init",),
    ),
)

NANO = Preset(
    name="nano",
    title="5.9 M parameters at the paper's rate, a recipe for CPUs",
    source="ours, see docs/nano.md",
    data="photographs from Debian's packages, see docs/nano.md",
    config=TokenizerTraining(
        model=UniWeTokConfig(
            channels=32,
            channel_multipliers=(1, 1, 2, 2, 4, 6),
            num_res_blocks=0,
            attention_blocks=4,
            heads=3,
        ),
        loss=TokenizerLossConfig(lpips_weight=0, adversarial=None, distillation=None),
        prior=None,
        optimizer=OptimizerConfig(
            learning_rate=1e-3,
            betas=(0.9, 0.99),
            schedule="cosine",
            warmup_steps=50,
            final_ratio=0.02,
        ),
        data=DataConfig(resolution=128, buckets=((128, 128), (192, 192), (256, 256)), workers=1),
        batch_size=16,
        steps=6000,
        log_every=50,
        checkpoint_every=250,
        grid_every=1000,
        validate_every=1000,
    ),
    notes=(
        "uniwetok-nano, which ships, is another: 7.0 M parameters, trained on a GPU by "
        "benchmarks.nano.train.",
        "The paper's tokens, 64 of 128 bits for 256x256 pixels, and its transformer-only backbone "
        "(Tab. 32): residual blocks at full resolution would take most of a CPU's time.",
        "L1 and the entropy losses alone: the weights of LPIPS must be downloaded, and a "
        "discriminator and a teacher would take most of a CPU's time.",
    ),
)
