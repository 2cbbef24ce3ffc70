"""Settings from the environment: where data, weights and runs lie."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from harness.interfaces.errors import UserError
from harness.interfaces.own import usual_cache


class Settings(BaseSettings):
    """Read from `UWT_EVAL_*` environment variables; a command-line option wins over each."""

    model_config = SettingsConfigDict(env_prefix="UWT_EVAL_", extra="ignore", env_ignore_empty=True)

    imagenet: str | None = Field(default=None, description="ImageNet validation images.")
    imagenet_reference: str | None = Field(
        default=None, description="Reference of generated ImageNet images: ADM's .npz or a folder."
    )
    coco: str | None = Field(default=None, description="MS-COCO val2017 images.")
    text_images: str | None = Field(default=None, description="Images of text, for `text-recon`.")
    face_images: str | None = Field(default=None, description="Images of faces, for `face-recon`.")
    cache: Path = Field(
        default_factory=usual_cache,
        description="Downloaded weights, digests of data and tables made of parquet files.",
    )
    out: Path = Field(default=Path("runs"), description="Where runs are written.")
    assets: Path | None = Field(
        default=None, description="A folder that already holds the weight files, by file name."
    )
    mirror: str | None = Field(
        default=None,
        pattern=r"^https?://[^/]",
        description="Address that has the weight files, by file name, to fetch from.",
    )
    offline: bool = Field(default=False, description="Never download anything.")
    wait: float = Field(
        default=6 * 3600,
        ge=0,
        description="Seconds that `run` and `sweep` wait for runs that another command is at.",
    )
    gedit: str | None = Field(default=None, description="GEdit-Bench: a local copy.")
    judge_url: str | None = Field(
        default=None, description="Address of the judges' OpenAI-compatible endpoint."
    )
    judge_concurrency: int = Field(
        default=8, ge=1, description="Requests to the judge's endpoint at a time."
    )
    judge_timeout: float = Field(
        default=120, gt=0, description="Seconds that a judge's reply may take."
    )
    judge_token_limit: Literal["max_tokens", "max_completion_tokens"] = Field(
        default="max_tokens", description="Parameter by which the judge's endpoint limits replies."
    )
    judge_prices: tuple[float, float] | None = Field(
        default=None,
        description="US dollars per million tokens asked and answered, as [2, 8], for the costs.",
    )


def read_settings() -> Settings:
    """The settings of this process; raise `UserError` naming a variable that cannot be read."""
    try:
        return Settings()
    except ValidationError as error:
        first = error.errors()[0]
        variable = f"UWT_EVAL_{str(first['loc'][0]).upper()}"
        raise UserError(
            f"environment variable {variable}={first['input']!r}: {first['msg']}"
        ) from error
