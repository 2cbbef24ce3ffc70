"""Features of the FID InceptionV3 (2015-12-05) under the input rules of the named protocols."""

from __future__ import annotations

import functools
import os
from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple

import torch

from harness.data.images import to_device
from harness.metrics import resize as resizes
from harness.metrics.checks import check_images, check_range
from harness.metrics.inception_network import SIDE, FusedInception, reference_modules
from harness.metrics.networks import Shapes, exact_float32, read_state_dict
from uwt_images.graphs import Graphs

Resize = Literal["tf1-bilinear", "bilinear", "pil-bicubic"]
Scaling = Literal["byte", "unit"]
Output = Literal["pool3", "spatial", "logits"]

_RESIZES = {
    "tf1-bilinear": resizes.tf1_bilinear,
    "bilinear": resizes.bilinear,
    "pil-bicubic": resizes.pil_bicubic,
}
_OUTPUTS: tuple[Output, ...] = ("pool3", "spatial", "logits")


class InputRule(NamedTuple):
    """How a protocol turns an image into the network's input."""

    resize: Resize
    scaling: Scaling


INPUT_RULES: Mapping[str, InputRule] = {
    "adm": InputRule("tf1-bilinear", "byte"),
    "torch-fidelity": InputRule("tf1-bilinear", "byte"),
    "wetok": InputRule("bilinear", "unit"),
    "clean": InputRule("pil-bicubic", "byte"),
}


class InceptionFeatures:
    """Extractor of pool3, spatial and logit features, in float32.

    On a CPU with oneDNN an image's features are the same bits whatever stands beside it and however
    many images a run takes. On a GPU that holds for images that are always passed together.
    """

    def __init__(
        self,
        weights: Mapping[str, torch.Tensor] | str | os.PathLike[str],
        resize: Resize,
        scaling: Scaling,
        outputs: Sequence[Output] = _OUTPUTS,
        *,
        device: torch.device | str = "cpu",
        micro_batch: int = 8,
    ) -> None:
        """Load and fuse the network.

        Args:
            weights: state dict, or path of one, with the names of torch-fidelity's
                ``weights-inception-2015-12-05-6726825d.pth`` (pytorch-fid's file has the same).
            resize: the resize to 299x299; see `harness.metrics.resize`.
            scaling: ``byte`` takes uint8 images and maps them by (x - 128) / 128; ``unit`` takes
                float images in [0, 1] and maps them by 2x - 1.
            outputs: the features to return.
            device: where the network runs.
            micro_batch: most images in a run of the network.

        Raises:
            ValueError: unknown names, or weights that do not fit.
        """
        if resize not in _RESIZES:
            raise ValueError(f"resize {resize!r} is unknown; choose one of {sorted(_RESIZES)}")
        if scaling not in ("byte", "unit"):
            raise ValueError(f"scaling {scaling!r} is unknown; choose 'byte' or 'unit'")
        unknown = [output for output in outputs if output not in _OUTPUTS]
        if unknown or not outputs:
            raise ValueError(f"outputs {list(outputs)}; choose from {list(_OUTPUTS)}")
        if micro_batch < 1:
            raise ValueError(f"micro_batch is {micro_batch}; give at least 1")
        self.resize = resize
        self.scaling = scaling
        self.outputs = tuple(outputs)
        self.device = torch.device(device)
        self.micro_batch = micro_batch
        state = read_state_dict(weights, inception_shapes(), "the 2015-12-05 FID InceptionV3")
        self.network = FusedInception(state).to(self.device).eval()
        self._graphs = Graphs(functools.partial(exact_float32, self.device))

    def __call__(self, images: torch.Tensor) -> dict[str, torch.Tensor]:
        """Extract the features of images of one size: `prepare`, then `extract`."""
        return self.extract(self.prepare(images))

    def prepare(self, images: torch.Tensor) -> torch.Tensor:
        """Resize and scale images; images of different sizes can be prepared one by one.

        Args:
            images: (B, 3, H, W), uint8 under ``byte`` scaling, float in [0, 1] under ``unit``.

        Returns:
            float32 (B, 3, 299, 299) in about [-1, 1] on the extractor's device.

        Raises:
            ValueError: wrong shape, dtype or range.
        """
        check_images(images, "images")
        if self.scaling == "unit":
            check_range(images, "images", 0.0, 1.0)  # Where they lie: a GPU would be waited for.
        images = to_device(images, self.device)
        with torch.inference_mode():  # No matrices, so that no switch such as TF32 matters.
            # Only the bicubic resize overshoots the range; clean-fid clamps it.
            if self.scaling == "unit":
                return 2 * self._resized(images).clamp(0, 1) - 1
            if images.dtype != torch.uint8:
                raise ValueError(
                    f"images are {images.dtype}; this input rule takes uint8, quantise them first"
                )
            return (self._resized(images).clamp(0, 255) - 128) / 128

    def extract(self, prepared: torch.Tensor) -> dict[str, torch.Tensor]:
        """Run the network.

        Args:
            prepared: float32 (B, 3, 299, 299) from `prepare`.

        Returns:
            float32 tensors on the extractor's device: ``pool3`` (B, 2048); ``spatial`` (B, 2023),
            channels 0 to 6 of ``Mixed_6d.branch1x1`` flattened as 17x17x7; ``logits`` (B, 1008),
            without bias.

        Raises:
            ValueError: wrong shape.
        """
        if prepared.shape[1:] != (3, SIDE, SIDE) or len(prepared) == 0:
            raise ValueError(
                f"prepared images have shape {tuple(prepared.shape)}; pass the result of prepare()"
            )
        pieces: dict[str, list[torch.Tensor]] = {name: [] for name in self.outputs}
        for piece in torch.split(prepared.to(self.device), self.micro_batch):
            piece = piece.contiguous(memory_format=torch.channels_last)
            found = self._graphs.run("network", self.network, piece)
            for name, features in zip(_OUTPUTS, found, strict=True):
                if name in pieces:
                    pieces[name].append(features)
        return {name: torch.cat(parts) for name, parts in pieces.items()}

    def _resized(self, images: torch.Tensor) -> torch.Tensor:
        return _RESIZES[self.resize](images, SIDE)


def inception_shapes() -> Shapes:
    """Name every tensor of the weights file with its shape; batch counters are not needed."""
    return {
        name: tensor.shape
        for name, tensor in reference_modules().state_dict().items()
        if not name.endswith("num_batches_tracked")
    }
