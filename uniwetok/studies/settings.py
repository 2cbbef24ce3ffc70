"""What is compared: sizes, and the arms of the paper's Tables 1-5 derived from its presets."""

from __future__ import annotations

from dataclasses import dataclass

from uniwetok.fields import check_count
from uniwetok.presets import get
from uniwetok.train import TrainingError
from uniwetok.train.engine.overrides import override
from uniwetok.train.tokenizer.config import TokenizerTraining

SIZE = 32
"""Height and width of the images, in pixels."""

SMALL = (
    "model.channels=32",
    "model.channel_multipliers=1,1,2",
    "model.num_res_blocks=1",
    "model.attention_blocks=1",
    "model.heads=2",
    "model.latent_channels=32",
    "model.groups=4",
    "loss.lpips_weight=0",
    "loss.adversarial=none",
    "teacher=efficientnet-lite0",
    "optimizer.learning_rate=0.003",
    f"data.resolution={SIZE}",
    "ema_decay=0.98",
    "precision=float32",
)
"""What makes a preset small, as `--set` takes it. 32 pixels become 8x8 tokens, as many as in the
paper, of 32 bits instead of 128. Neither LPIPS nor a discriminator: the one needs weights that no
package ships, the other would take most of the time."""

SMALL_PRIOR = (
    "prior.width=64",
    "prior.heads=4",
    "prior.layers=2",
    "prior.diffusion_width=64",
    "prior.diffusion_blocks=2",
)
"""What makes the Generative-Aware Prior small, where an arm has one."""


def require_counts(settings: object, *names: str) -> None:
    """Require whole numbers of at least 1 in a study's settings.

    Raises:
        TrainingError: one is something else; the message names the field and its value.
    """
    for name in names:
        try:
            check_count(name, getattr(settings, name))
        except ValueError as error:
            raise TrainingError(str(error)) from error


@dataclass(frozen=True, kw_only=True)
class MiniSettings:
    """How much is trained and measured.

    Raises:
        TrainingError: a value is impossible; the message names the field, its value and the fix.
    """

    steps: int = 375
    """Training steps of each arm."""
    batch_size: int = 8
    """Images of a step."""
    crops: int = 1728
    """Crops in all, cut once and shared by all arms: the teacher sees each once."""
    heldout: float = 0.3
    """Share of the photos that is kept from training; each seed draws others."""
    prior_steps: int = 150
    """Training steps of the fresh prior on the frozen codes of the arms compared by it."""

    def __post_init__(self) -> None:
        require_counts(self, "steps", "batch_size", "crops", "prior_steps")
        if not 0 < self.heldout < 1:
            raise TrainingError(f"heldout={self.heldout} must be between 0 and 1")


@dataclass(frozen=True, kw_only=True)
class Arm:
    """One tokenizer that is trained with every seed."""

    name: str
    """Name of its results' files."""
    title: str
    """What it has, in a few words."""
    preset: str
    """The paper's settings that it makes small."""
    changes: tuple[str, ...] = ()
    """`--set` over the preset, where the paper's settings are not what its text compares."""
    generates: bool = False
    """Whether a fresh prior is trained on its codes, to see how easily they are generated."""

    def config(self, settings: MiniSettings, seed: int) -> TokenizerTraining:
        """Return the run of this arm with a seed."""
        preset = get(self.preset).config
        return override(
            preset,
            [
                *self.changes,
                *SMALL,
                *(SMALL_PRIOR if preset.prior is not None else ()),
                f"steps={settings.steps}",
                f"batch_size={settings.batch_size}",
                f"seed={seed}",
            ],
        )


ARMS = {
    arm.name: arm
    for arm in (
        Arm(
            name="no-ppd",
            title="SigLu, no PPD, no GAP",
            preset="table14",
            # Tab. 14 differs from Tab. 15 in SigLu too, which would hide what PPD does.
            changes=("model.siglu=true", "loss.commitment_weight=0"),
            generates=True,
        ),
        Arm(name="ppd", title="SigLu, pre and post", preset="table15", generates=True),
        Arm(
            name="gap",
            title="SigLu, pre and post, GAP with Query",
            preset="table16",
            generates=True,
        ),
        Arm(
            name="gap-no-query",
            title="SigLu, pre and post, GAP without Query",
            preset="table26",
            generates=True,
        ),
        Arm(name="single", title="SigLu, pre and post, single bottleneck", preset="table23"),
        Arm(name="pre", title="SigLu, pre", preset="table20"),
        Arm(name="post", title="SigLu, post", preset="table21"),
        Arm(name="pre-no-siglu", title="no SigLu, pre", preset="table17"),
        Arm(
            name="post-no-siglu",
            title="no SigLu, post",
            preset="table18",
            # Tab. 18 distils both; Tab. 2 and its text need post alone.
            changes=("loss.distillation.pre=false",),
        ),
    )
}
"""All arms by name, each once though the paper's tables share some."""
