"""How much each row works on, by machine and option."""

from __future__ import annotations

from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Sizes:
    """Counts of images, features and so on."""

    side: int = 256
    images: int = 8
    """Images in a batch of Inception and of LPIPS alex."""
    truth_images: int = 2
    vgg_images: int = 1
    pixel_pairs: int = 32
    width: int = 2048
    few_features: int = 1000
    streamed: int = 8192
    references: int = 4000
    samples: int = 6000
    logits: int = 10_000
    suite_pairs: int = 4
    compiled_images: int = 1000


ON_CUDA = Sizes(images=64, vgg_images=16, suite_pairs=128)
FULL = replace(Sizes(), references=10_000, samples=50_000)
