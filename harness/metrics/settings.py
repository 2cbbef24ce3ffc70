"""What extractors and metrics read of a protocol, typed; tasks put it together with their own."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from harness.data.images import Compression, DecodeRule
from harness.interfaces.protocols import Count, Moves, ProtocolSettings, Seed
from harness.interfaces.types import Record, Stage

_BY_PIXEL = Moves(("pixels",))
_OF_PAIRS = Moves(("pixels", "lpips_alex", "lpips_vgg", "ms_ssim", "dists"))
OF_SETS = Moves(("inception", "inception_spatial", "inception_logits"))
_KID = Moves(("kid", "kd_dinov2"))
_INFINITE = Moves(("fid_inf", "fd_dinov2_inf"))
_MANIFOLDS = Moves(("precision", "recall", "density", "coverage"))


class Ssim(Record):
    """Structural similarity."""

    window: Literal["uniform7", "gaussian11"]


class MsSsim(Record):
    """Multi-scale structural similarity; `harness.metrics.ms_ssim` tells the rules apart."""

    rule: Literal["pytorch-msssim", "torchmetrics"]


class Dists(Record):
    """DISTS."""

    resize: Literal["none", "shorter-256"]
    """Images as they are, or as the authors' script resizes larger ones; it reads them as 8-bit."""


class BytePixels(Record):
    """Pixel measures of 8-bit values, in float64."""

    dtype: Literal["uint8"]
    data_range: Literal[255]
    """Between black and white."""
    channels: Literal["rgb", "luma"] = "rgb"
    """Whether all three are measured, or Pillow's 8-bit grey of them (ITU-R 601)."""


class UnitPixels(Record):
    """Pixel measures of values in [0, 1], in float32 as the released script at original size."""

    dtype: Literal["float32"]
    data_range: Literal[1]


class Lpips(Record):
    """LPIPS: there is one version of its heads."""

    package: Literal["lpips 0.1.4"]
    heads: Literal["v0.1"]


class MeanOverImages(Record):
    """Plain means; or for PSNR one logarithm of the mean error."""

    rule: Literal["per-image", "global-mse"]


class BatchMeans(Record):
    """Means of batch means, laid out as the authors launched them whatever this machine has."""

    rule: Literal["batch-means"]
    batch_size: Count
    world_size: Count


class Inception(Record):
    """Features of the FID Inception network."""

    weights: Annotated[
        Literal["6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2"], Stage.OBSERVE
    ]
    """SHA-256 of the file; the one network that FID is about."""
    input: Annotated[Literal["adm", "torch-fidelity", "wetok", "clean"], Stage.OBSERVE]
    """The rule that makes the network's input; `harness.metrics.inception` has them."""
    min_samples: Annotated[Count, Field(ge=2), Stage.SCORE]
    """Images below which Fréchet distances are withheld."""


class TappedInception(Inception):
    """Where a task says which output its distances compare."""

    tap: Annotated[Literal["pool3", "spatial"], Stage.OBSERVE]


class InceptionScore(Record):
    """How the Inception Score splits the images."""

    rule: Literal["torch-fidelity", "adm", "single"]


class Kid(Record):
    """Kernel Inception Distance over random subsets."""

    subsets: Count
    subset_size: Annotated[Count, Field(ge=2)]
    seed: Seed


class FidInfinity(Record):
    """FID∞ of Chong and Forsyth (2020)."""

    points: Annotated[Count, Field(ge=3)]
    """Sizes of random subsets, evenly spaced up to all images."""
    smallest: Annotated[Count, Field(ge=2)]
    """Images of the smallest; twice as many are needed at all."""


class Dinov2(Record):
    """Features of DINOv2 ViT-L/14."""

    input: Literal["dgm-eval", "dgm-eval-clean", "torch-fidelity"]
    """The rule that makes the network's input; `harness.metrics.dinov2` has them."""


class ClipScore(Record):
    """CLIPScore of a picture and its prompt."""

    model: Literal["ViT-B-32", "ViT-L-14"]
    """OpenAI's; the paper's is the first."""
    prefix: str
    """What stands before the prompt in CLIPScore, the paper's 'A photo depicts '; the cosine beside
    it is of the prompt alone."""


class Manifolds(Record):
    """Precision, recall, density and coverage."""

    features: Literal["pool3"]
    k: Count
    """Neighbours whose distance is a ball's radius."""
    precision: Literal["float32", "adm-fp16"]


class PairMeasures(ProtocolSettings):
    """Of pairs of images; a measure without its table is not computed."""

    ssim: Annotated[Ssim | None, Stage.OBSERVE, Moves(("ssim",))] = None
    pixels: Annotated[
        BytePixels | UnitPixels | None, Field(discriminator="dtype"), Stage.OBSERVE, _BY_PIXEL
    ] = None
    lpips: Annotated[Lpips | None, Stage.OBSERVE, Moves(("lpips_alex", "lpips_vgg"))] = None
    ms_ssim: Annotated[MsSsim | None, Stage.OBSERVE, Moves(("ms_ssim",))] = None
    dists: Annotated[Dists | None, Stage.OBSERVE, Moves(("dists",))] = None
    averaging: Annotated[
        MeanOverImages | BatchMeans | None, Field(discriminator="rule"), Stage.SCORE, _OF_PAIRS
    ] = None

    @model_validator(mode="after")
    def _pixel_measures_come_together(self) -> Self:
        if (self.ssim is None) != (self.pixels is None):
            raise ValueError("'ssim' and 'pixels' belong together: give both tables, or neither")
        return self


class SetMeasures(ProtocolSettings):
    """Of sets of images; what is left out is `harness.metrics.feature_scores`' choice."""

    inception_score: Annotated[InceptionScore | None, Stage.SCORE, Moves(("is",))] = None
    kid: Annotated[Kid | None, Stage.SCORE, _KID] = None
    prc: Annotated[Manifolds | None, Stage.SCORE, _MANIFOLDS] = None
    fid_inf: Annotated[FidInfinity | None, Stage.SCORE, _INFINITE] = None
    dinov2: Annotated[Dinov2 | None, Stage.OBSERVE, Moves(("dinov2",))] = None


class DrawingMeasures(ProtocolSettings):
    """Of pictures that are drawn of prompts."""

    clip_score: Annotated[ClipScore | None, Stage.OBSERVE] = None


class FilesSettings(PairMeasures, SetMeasures):
    """What `uwt-eval metrics A B` reads."""

    decode: Annotated[DecodeRule, Stage.GENERATE]
    reference_compression: Annotated[Compression, Stage.GENERATE] = "none"
    """What the images of the reference go through before they are compared with."""
    inception: Annotated[Inception, OF_SETS]
    inception_score: Annotated[InceptionScore, Stage.SCORE, Moves(("is",))]
    kid: Annotated[Kid, Stage.SCORE, _KID]
    prc: Annotated[Manifolds, Stage.SCORE, _MANIFOLDS]
