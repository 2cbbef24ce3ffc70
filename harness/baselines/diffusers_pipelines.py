"""Pipelines of diffusers that draw images of texts or classes, or edit images.

`diffusers-t2i:REPO|FOLDER`, `diffusers-edit:…` and `diffusers-class:…`; which a repository fits is
told by what its pipeline's call takes. Defaults of the call and of the scheduler are part of the
identity, since they decide what is drawn as much as the weights do.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from PIL import Image
from pydantic import Field

from harness.baselines.hub import (
    DType,
    Source,
    check_parts,
    named,
    no_bars,
    source,
    versions,
)
from harness.baselines.lossless import StoredAsPng, png
from harness.interfaces import Argument, Code
from harness.interfaces.errors import UserError, first_line
from harness.interfaces.extras import library
from harness.interfaces.types import ModelCard

if TYPE_CHECKING:
    import numpy as np

_INDEX = "model_index.json"
_CLASS_COUNTS = ("num_embeds_ada_norm", "num_class_embeds", "num_classes")
"""Names that a network's configuration may give to its number of classes."""
_WATCHDOGS = ("safety_checker",)
"""Components that blacken pictures; left out unless asked for, as in published results."""


@dataclass(eq=False)
class DiffusersPipeline(StoredAsPng):
    """Loads any pipeline and calls it; a subclass says what it draws from."""

    repository: Annotated[str, Argument, "A folder with a model_index.json, or OWNER/NAME."]
    revision: Annotated[str | None, "Branch, tag or commit of the repository."] = None
    dtype: Annotated[DType, "Precision of the networks."] = "float32"
    steps: Annotated[int | None, Field(ge=1), "Diffusion steps; the pipeline's own."] = None
    guidance: Annotated[float | None, "Scale of guidance; the pipeline's own."] = None
    scheduler: Annotated[str | None, "Class of another scheduler, as EulerDiscreteScheduler."] = (
        None
    )
    lora: Annotated[str | None, "A LoRA: a folder, or OWNER/NAME."] = None
    safety: Annotated[bool, "Keep the safety checker, which blackens pictures."] = False
    batch: Annotated[int, Field(ge=1), "Pictures at a time; moves rounding only."] = 4

    _name: ClassVar[str]
    _takes: ClassVar[tuple[str, ...]]
    """Parameters that the pipeline's call must have; of two with a bar between, either."""
    _does: ClassVar[str]

    @functools.cached_property
    def _source(self) -> Source:
        return source(self.repository, self.revision)

    @functools.cached_property
    def _lora(self) -> Source | None:
        return source(self.lora) if self.lora else None

    @functools.cached_property
    def _index(self) -> dict[str, Any]:
        return self._source.json(_INDEX)

    @functools.cached_property
    def _class(self) -> type:
        name = self._index.get("_class_name")  # Looked for before pipelines are imported.
        diffusers = library("diffusers")
        kind = getattr(diffusers, name, None) if isinstance(name, str) else None
        if not (isinstance(kind, type) and issubclass(kind, diffusers.DiffusionPipeline)):
            raise UserError(
                f"{self.repository}: its {_INDEX} names {name or 'no class'}, which is no pipeline "
                f"of the installed diffusers; code in a repository is not run"
            )
        for wanted in self._takes:
            names = wanted.split("|")
            if not any(name in _defaults(kind) for name in names):
                raise UserError(
                    f"{self.repository}: {kind.__name__} takes no {names[0]}: {self._does}"
                )
        return kind

    @property
    def _call(self) -> dict[str, Any]:
        """Arguments of the call beside input and noise."""
        known = {"num_inference_steps": self.steps, "guidance_scale": self.guidance}
        return {name: value for name, value in known.items() if value is not None}

    @functools.cached_property
    def card(self) -> ModelCard:
        """Identity from all files, the call's arguments resolved, and the libraries."""
        call = self._call
        for name in call:
            if name not in _defaults(self._class):
                raise UserError(
                    f"{self.repository}: {self._class.__name__} takes no {name}; leave it out"
                )
        resolved = {
            name: value
            for name, value in {**_defaults(self._class), **call}.items()
            if isinstance(value, (int, float, str)) and name not in {"output_type", "return_dict"}
        }
        options = {
            "dtype": self.dtype,
            "scheduler": self.scheduler,
            "lora": self._lora and self._lora.digest(),
            "safety": self.safety,
        }
        shown = {**self._shown, "dtype": self.dtype, "scheduler": self.scheduler, "lora": self.lora}
        return ModelCard(
            name=self._name,
            label=self._source.title + named(shown, {"dtype": "float32", "safety": False}),
            config={
                "class": self._class.__name__,
                "call": resolved,
                "options": options,
                "revision": self._source.revision,
                "libraries": versions("diffusers", "transformers"),
            },
            weights_sha256=self._source.digest(*self._components, beside=[_INDEX]),
            parameters=self._source.parameters(*self._components),
            dtype=self.dtype,
            source=self.repository,
            revision=self._source.revision,
            licence=self._source.licence,
        )

    @property
    def _left_out(self) -> list[str]:
        return [] if self.safety else [name for name in _WATCHDOGS if name in self._index]

    @property
    def _components(self) -> list[str]:
        """Subfolders of the components that are loaded."""
        return [
            name
            for name, kind in self._index.items()
            if isinstance(kind, list) and kind[-1] is not None and name not in self._left_out
        ]

    @property
    def _shown(self) -> Mapping[str, object]:
        return {"steps": self.steps, "guidance": self.guidance, "safety": self.safety}

    def load(self, device: str) -> None:
        """Build all components; a scheduler or LoRA that does not fit is one line."""
        import torch

        diffusers, kind = library("diffusers"), self._class
        more: dict[str, Any] = dict.fromkeys(self._left_out)
        if more and "requires_safety_checker" in inspect.signature(kind).parameters:
            more["requires_safety_checker"] = False
        no_bars()
        try:
            pipeline = kind.from_pretrained(  # type: ignore[attr-defined]
                self._source.folder,
                dtype=getattr(torch, self.dtype),
                local_files_only=True,
                **more,
            )
            if self._lora:
                pipeline.load_lora_weights(str(self._lora.folder))
        except (OSError, ValueError, TypeError, AttributeError, RuntimeError) as error:
            raise UserError(
                f"{self.repository}: {kind.__name__} cannot be loaded ({first_line(error)})"
            ) from error
        check_parts(pipeline.components, self.repository)
        if self.scheduler:
            other = getattr(diffusers, self.scheduler, None)
            if not (isinstance(other, type) and issubclass(other, diffusers.SchedulerMixin)):
                raise UserError(f"diffusers has no scheduler {self.scheduler!r}")
            pipeline.scheduler = other.from_config(pipeline.scheduler.config)  # type: ignore[attr-defined]
        pipeline.set_progress_bar_config(disable=True)
        self._pipeline = pipeline.to(device)

    def _drawn(self, seeds: Sequence[int], **inputs: Any) -> list[Code]:
        """Call the pipeline; each picture's noise comes from its own seed, drawn on the CPU."""
        import torch

        codes: list[Code] = []
        device = self._pipeline.device
        for start in range(0, len(seeds), self.batch):
            part = slice(start, start + self.batch)
            noise = [torch.Generator().manual_seed(seed) for seed in seeds[part]]
            forked = torch.random.fork_rng([device] if device.type == "cuda" else [])
            with forked, torch.no_grad():
                # Some pipelines, as OmniGen's, draw the latents of input images from no generator.
                torch.manual_seed(seeds[start])
                found = self._pipeline(
                    **{name: value[part] for name, value in inputs.items()},
                    **self._call,
                    generator=noise,
                    output_type="pil",
                )
            codes += [png(image.convert("RGB")) for image in found.images]
        return codes


@dataclass(eq=False)
class DiffusersTextToImage(DiffusersPipeline):
    """A pipeline that draws what a text describes."""

    size: Annotated[
        str | None, Field(pattern=r"^\d+(x\d+)?$"), "512 or 1024x768, width first; its own."
    ] = None
    negative: Annotated[str | None, "What the picture must not show."] = None

    _name = "diffusers-t2i"
    _takes = ("prompt",)
    _does = "it draws no texts"

    @property
    def _call(self) -> dict[str, Any]:
        call = super()._call
        if self.size:
            width, _, height = self.size.partition("x")
            call |= {"width": int(width), "height": int(height or width)}
        return call

    @property
    def _shown(self) -> Mapping[str, object]:
        return {**super()._shown, "size": self.size, "negative": self.negative}

    @functools.cached_property
    def card(self) -> ModelCard:
        """As for every pipeline, with the negative prompt."""
        card = super().card
        config = {**card.config, "negative": self.negative}
        return card.model_copy(update={"config": config})

    def generate(self, prompts: Sequence[str], seeds: Sequence[int]) -> list[Code]:
        """Draw one image of each prompt."""
        inputs: dict[str, Any] = {"prompt": list(prompts)}
        if self.negative is not None:
            inputs["negative_prompt"] = [self.negative] * len(prompts)
        return self._drawn(seeds, **inputs)


@dataclass(eq=False)
class DiffusersEditor(DiffusersPipeline):
    """A pipeline that changes an image as a text asks, one at a time: sizes differ.

    OmniGen's takes a list of images, named in the text; what it draws has the size of the first.
    """

    image_guidance: Annotated[float | None, "Scale of the image's guidance; its own."] = None

    _name = "diffusers-edit"
    _takes = ("prompt", "image|input_images")
    _does = "it edits no images"

    @property
    def _call(self) -> dict[str, Any]:
        call = super()._call
        if self._listed:
            call["use_input_image_size_as_output"] = True
        if self.image_guidance is not None:
            name = "img_guidance_scale" if self._listed else "image_guidance_scale"
            call[name] = self.image_guidance
        return call

    @property
    def _listed(self) -> bool:
        """Whether the pipeline takes lists of images, as OmniGen's."""
        return "image" not in _defaults(self._class)

    @property
    def _shown(self) -> Mapping[str, object]:
        return {**super()._shown, "image_guidance": self.image_guidance}

    def edit(
        self, instructions: Sequence[str], images: Sequence[np.ndarray], seeds: Sequence[int]
    ) -> list[Code]:
        """Edit each image, uint8 RGB (H, W, 3)."""
        codes: list[Code] = []
        for text, image, seed in zip(instructions, images, seeds, strict=True):
            picture = Image.fromarray(image)
            if self._listed:
                named = f"<img><|image_1|></img> {text}"
                codes += self._drawn([seed], prompt=[named], input_images=[[picture]])
            else:
                codes += self._drawn([seed], prompt=[text], image=[picture])
        return codes


@dataclass(eq=False)
class DiffusersClassToImage(DiffusersPipeline):
    """A pipeline that draws images of numbered classes, as DiT's."""

    _name = "diffusers-class"
    _takes = ("class_labels",)
    _does = "it draws no classes"

    @functools.cached_property
    def classes(self) -> int:
        """By the configuration of the network that takes them."""
        for part in ("transformer", "unet"):
            if part in self._index:
                config = self._source.json(f"{part}/config.json")
                for name in _CLASS_COUNTS:
                    if isinstance(config.get(name), int):
                        return int(config[name])
        raise UserError(f"{self.repository}: its configurations name no number of classes")

    def sample(self, classes: Sequence[int], seeds: Sequence[int]) -> list[Code]:
        """Draw one image of each class."""
        return self._drawn(seeds, class_labels=list(classes))


def _defaults(kind: type) -> dict[str, Any]:
    """Parameters of a pipeline's call with their defaults."""
    parameters = inspect.signature(kind.__call__).parameters
    return {name: each.default for name, each in parameters.items() if name != "self"}
