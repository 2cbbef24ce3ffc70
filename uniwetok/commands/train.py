"""`uwt-eval train`: the paper's three models."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from harness.commands.console import with_options
from harness.interfaces.errors import UserError
from harness.interfaces.extras import need
from uniwetok.commands.options import (
    Codes,
    Data,
    More,
    Tokenizer,
    absent,
    check_places,
)
from uniwetok.commands.own_classes import (
    IMAGENET_CLASSES,
    PROTOCOL_FILE,
    class_names,
    write_protocol,
)
from uniwetok.commands.shared import (
    TRAINS_WITH,
    Training,
    carry_out,
    given_data,
    main_source,
    user_errors,
)
from uniwetok.commands.validation import ValidatedRunOptions
from uwt_images.hub import DATA_PREFIX

if TYPE_CHECKING:
    from uniwetok.tokenizer import UniWeTok
    from uniwetok.train.data.places import DataPlace
    from uniwetok.train.data.reading import OnBlock
    from uniwetok.train.engine.loop import Finished, Hooks

app = typer.Typer(help="Train the paper's models.", no_args_is_help=True)


@app.command(cls=Training)
@with_options
def tokenizer(
    preset: Annotated[str, typer.Option(help="Named settings, see `uwt-eval list presets`.")],
    data: Data = None,
    heldout: Annotated[
        str | None, typer.Option(help="Images for pictures and validation, as --data of `run`.")
    ] = None,
    more: More = None,
    *,
    run: ValidatedRunOptions,
) -> None:
    """Train the tokenizer; the same command again resumes from the last checkpoint.

    Several GPUs or nodes: `torchrun --no-python --nproc-per-node 8 uwt-eval train tokenizer …`.
    """
    need("training", *TRAINS_WITH)
    with user_errors():
        from uniwetok.presets import get
        from uniwetok.train.engine.overrides import override

        check_places(heldout=heldout)
        chosen = get(preset)
        places, config = given_data(data, more, override(chosen.config, run.changes))
        given = {item.partition("=")[0].strip() for item in run.changes}
        for name in chosen.needs:
            if name not in given and not run.dry_run:
                raise UserError(f"preset {preset} needs --set {name}=…, which has no default")

        def train(out: Path, hooks: Hooks, _: OnBlock) -> Finished:
            from harness.data.assets import locate
            from uniwetok.train.data.opening import open_images, open_sources
            from uniwetok.train.tokenizer.run import train

            if not places:
                raise UserError(f"--data is missing: preset {preset} trains on {chosen.data}")
            return train(
                config,
                open_sources(places),
                out,
                device=run.device,
                vgg16=locate("vgg16") if config.loss.lpips_weight else None,
                heldout=open_images(heldout, split="validation") if heldout is not None else None,
                hooks=hooks,
            )

        plugin = config.model.architecture
        carry_out(
            "tokenizer",
            preset,
            config,
            run,
            train,
            evaluation=lambda model: [
                *("uwt-eval", "run", "imagenet-recon", "-m", f"{plugin}:{model}"),
                *("--data", heldout or main_source(places, config.data.mixture)),
            ],
            validation=run.validation(
                config,
                "imagenet-recon",
                lambda model: f"{plugin}:{model}",
                heldout,
                does={"VisualTokenizer", "ImageEmbedder"},
            ),
            sizes=lambda: _sizes(places),
            reads=[*(place.path for place in places), heldout],
        )


@app.command(cls=Training)
@with_options
def ar(
    preset: Annotated[str, typer.Option(help="uniwetok-b, uniwetok-l, uniwetok-h or nano-ar.")],
    tokenizer: Tokenizer = None,
    data: Data = None,
    codes: Codes = None,
    on_the_fly: Annotated[
        bool, typer.Option("--on-the-fly", help="Encode each image anew, as --set data.views=0.")
    ] = False,
    protocol: Annotated[
        str | None, typer.Option(help="Protocol of a validation, as --protocol of `run`.")
    ] = None,
    more: More = None,
    *,
    run: ValidatedRunOptions,
) -> None:
    """Train the class-to-image model on a tokenizer's codes, which are made and kept first.

    The same command again resumes from the last checkpoint. Several GPUs or nodes:
    `torchrun --no-python --nproc-per-node 8 uwt-eval train ar …`.
    """
    need("training", *TRAINS_WITH)
    with user_errors():
        from uniwetok.presets import get_ar
        from uniwetok.train.engine.overrides import override

        check_places(tokenizer=tokenizer)
        places, config = given_data(data, more, override(get_ar(preset).config, run.changes))
        if on_the_fly:
            config = dataclasses.replace(config, data=dataclasses.replace(config.data, views=0))
        own = protocol is None and config.model.classes != IMAGENET_CLASSES
        chosen = str(run.folder(preset) / PROTOCOL_FILE) if own else protocol

        def train(out: Path, hooks: Hooks, on_block: OnBlock) -> Finished:
            from accelerate import PartialState

            from uniwetok.ar.checkpoint import NAMES_FILE
            from uniwetok.train.ar.run import train_ar
            from uniwetok.train.data.opening import open_sources
            from uniwetok.train.engine.machine import on_cpu

            if config.validate_every and tokenizer is None:
                raise UserError("--tokenizer is missing: validation decodes samples with it")
            source = open_sources(places, local=True) if places else None
            names = class_names(source, config.model.classes)
            writes = own and PartialState(cpu=on_cpu(run.device)).is_main_process
            if writes:
                write_protocol(out / PROTOCOL_FILE, names)
            finished = train_ar(
                config,
                source,
                _load(tokenizer) if tokenizer is not None else None,
                codes or out / "codes",
                out,
                device=run.device,
                hooks=hooks,
                on_block=on_block,
            )
            if writes:
                (finished.model / NAMES_FILE).write_text("\n".join(names) + "\n", encoding="utf-8")
            return finished

        def sizes() -> dict[str, int]:
            from uniwetok.train.ar.run import check_parts
            from uniwetok.train.codes.cache import class_labels, open_codes
            from uniwetok.train.data.opening import open_sources

            if places:  # A plan of the preset alone reads nothing.
                folder = codes or run.folder(preset) / "codes"
                check_parts(
                    folder,
                    open_codes(folder) if config.data.views else None,
                    has_data=True,
                    has_tokenizer=tokenizer is not None,
                )
                if not any(place.place.startswith(DATA_PREFIX) for place in places):
                    # Of a data set on the Hub, classes would be a download.
                    class_labels(open_sources(places), config.model.classes)
            return _sizes(places)

        def model(folder: Path) -> str:
            # Without, it is looked for beside the weights.
            return f"uniwetok-ar:{folder}" + (f"?tokenizer={tokenizer}" if tokenizer else "")

        def evaluation(folder: Path) -> list[str]:
            words = ["uwt-eval", "run", "imagenet-gen", "-m", model(folder)]
            if chosen is not None:
                words += ["--protocol", chosen]
            # Of ImageNet the reference is the published one, which a setting may name.
            place = run.validate_data or (
                main_source(places, config.data.mixture) if own and places else None
            )
            return words if place is None else [*words, "--data", place]

        carry_out(
            "ar",
            preset,
            config,
            run,
            train,
            evaluation=evaluation,
            first="" if tokenizer else "put the tokenizer of its codes there as 'tokenizer', then ",
            validation=run.validation(
                config, "imagenet-gen", model, None, chosen, does={"ClassToImage"}
            ),
            sizes=sizes,
            reads=[place.path for place in places],
        )


@app.command(cls=Training)
@with_options
def mllm(
    preset: Annotated[str, typer.Option(help="pretrain, gen, edit or chat.")],
    data: Data = None,
    tokenizer: Tokenizer = None,
    language_model: Annotated[
        str | None,
        typer.Option(help="Text model to start from: a folder, or a name on the Hub."),
    ] = None,
    images: Annotated[
        Path | None, typer.Option(help="Folder that a .jsonl names images in (default: its own).")
    ] = None,
    codes: Codes = None,
    validate_as: Annotated[
        str | None,
        typer.Option(
            help="As what model it is validated, with its options, as 'uniwetok-gen?steps=20'."
        ),
    ] = None,
    more: More = None,
    *,
    run: ValidatedRunOptions,
) -> None:
    """Train the multimodal model on packed sequences of text and a tokenizer's codes.

    The same command again resumes from the last checkpoint. Several GPUs or nodes:
    `torchrun --no-python --nproc-per-node 8 uwt-eval train mllm …`.
    """
    need("training", *TRAINS_WITH, "transformers")
    with user_errors():
        from uniwetok.presets import get_mllm
        from uniwetok.train.engine.overrides import override

        check_places(tokenizer=tokenizer, images=images)
        chosen = get_mllm(preset)
        places, config = given_data(data, more, override(chosen.config, run.changes))
        if language_model is not None:
            if config.init is not None:
                raise UserError(
                    f"--language-model {language_model} and init={config.init}: give one of them"
                )
            config = dataclasses.replace(config, language_model=language_model)
        if config.init is None:
            _check_language_model(config.language_model)

        def train(out: Path, hooks: Hooks, on_block: OnBlock) -> Finished:
            from uniwetok.train.mllm.data.opening import open_record_sources
            from uniwetok.train.mllm.run import train_mllm

            if not places:
                raise UserError(
                    f"--data is missing: {chosen.name} trains on records of {chosen.data}"
                )
            return train_mllm(
                config,
                open_record_sources(places, images),
                tokenizer,
                codes or out / "codes",
                out,
                device=run.device,
                hooks=hooks,
                on_block=on_block,
            )

        def sizes() -> dict[str, int]:
            from uniwetok.train.mllm.data.opening import open_record_sources

            return {place.name: len(open_record_sources([place], images)) for place in places}

        def model(folder: Path) -> str:
            from harness.interfaces.registry import TASKS

            assert run.validate is not None  # Where no task is named nothing is validated.
            fits = TASKS.get(run.validate).spec.interfaces
            usual = next(name for each, name in _MLLM_DOES.items() if each in fits)
            name, mark, options = (validate_as or usual).partition("?")
            return f"{name}:{folder}{mark}{options}"

        carry_out(
            "mllm",
            chosen.name,
            config,
            run,
            train,
            evaluation=lambda model: ["uwt-eval", "chat", "--model", str(model)],
            validation=run.validation(config, None, model, None, does=set(_MLLM_DOES)),
            sizes=sizes,
            reads=[*(place.path for place in places), images],
        )


_MLLM_DOES = {
    "TextToImage": "uniwetok-gen",
    "ImageEditor": "uniwetok-edit",
    "MultimodalLM": "uniwetok-chat",
}
"""What the multimodal model can be asked for, and what it is called then."""


def _check_language_model(name: str) -> None:
    """Raise `UserError` where it can be nowhere, before networks are imported."""
    from uwt_images.hub import is_repository

    if absent(name) and not is_repository(name):
        raise UserError(
            f"--language-model {name}: there is no such place, and it is no OWNER/NAME of a "
            "repository; give the path of a folder that holds it"
        )


def _sizes(places: Sequence[DataPlace]) -> dict[str, int]:
    """Count the images of each source."""
    from uniwetok.train.data.opening import open_sources

    return {place.name: len(open_sources([place])) for place in places}


def _load(path: Path) -> UniWeTok:
    from uniwetok.tensors import CheckpointError
    from uniwetok.tokenizer import UniWeTok

    try:
        return UniWeTok.from_checkpoint(path)
    except CheckpointError as error:
        raise UserError(f"--tokenizer: {error}") from error
