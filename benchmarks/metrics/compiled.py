"""Whether torch.compile of the Inception network pays for itself on a whole set of images."""

from __future__ import annotations

import os
import tempfile
from unittest import mock

import torch
from torch._inductor import config

from benchmarks.metrics.inputs import byte_tensor, photos, to_float64
from benchmarks.metrics.rounds import Claim, Comparison, Outputs
from benchmarks.metrics.sizes import Sizes
from benchmarks.random_weights import random_inception_state_dict
from harness.metrics import inception_network
from harness.metrics.inception import INPUT_RULES, InceptionFeatures


def whole_set(sizes: Sizes, device: str) -> list[Comparison]:
    """All of a set's images, compilation with its C++ compiler included; images repeat."""
    own = InceptionFeatures(
        random_inception_state_dict(0),
        *INPUT_RULES["torch-fidelity"],
        outputs=("pool3",),
        device=device,
        micro_batch=sizes.images,
    )
    eager = own.network
    prepared = own.prepare(byte_tensor(photos(sizes.images, sizes.side), device))
    batches = -(-sizes.compiled_images // sizes.images)

    def features() -> Outputs:
        for _ in range(batches):
            values = own.extract(prepared)["pool3"]
        return [to_float64(values)]

    def with_eager() -> Outputs:
        own.network = eager
        return features()

    def with_compiled() -> Outputs:
        torch.compiler.reset()
        with (
            tempfile.TemporaryDirectory() as cache,
            # The direct call of oneDNN has no shape rule to trace with.
            mock.patch.object(inception_network, "_ONEDNN", False),
            mock.patch.dict(os.environ, TORCHINDUCTOR_CACHE_DIR=cache),
            config.patch(freezing=True, force_disable_caches=True, compile_threads=1),
        ):
            own.network = torch.compile(eager)
            return features()

    return [
        Comparison(
            unit="image",
            items=batches * sizes.images,
            variants={"eager": with_eager, "compiled": with_compiled},
            claims=[
                Claim(
                    f"Inception, {batches * sizes.images:,} images, compiled", "compiled", "eager"
                )
            ],
            most_rounds=1,
        )
    ]
