"""Files that metrics and benchmarks need: pinned by SHA-256, downloaded or found where they lie."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from harness.interfaces.errors import Unavailable, UserError, did_you_mean

if TYPE_CHECKING:
    from harness.data.settings import Settings
    from harness.interfaces import OnProgress, Progress


@dataclass(frozen=True, slots=True)
class Asset:
    """One published file."""

    name: str
    filename: str
    url: str
    sha256: str
    size: int
    licence: str
    used_by: str

    @property
    def noun(self) -> str:
        """What kind of file it is."""
        return "weights" if self.filename.endswith((".pth", ".pt")) else "file"

    @property
    def variable(self) -> str:
        """Environment variable that may name the file itself."""
        return f"UWT_EVAL_ASSET_{self.name.upper().replace('-', '_')}"


_CLIP = "https://openaipublic.azureedge.net/clip/models/{}"

ASSETS = {
    asset.name: asset
    for asset in (
        Asset(
            name="inception",
            filename="pt_inception-2015-12-05-6726825d.pth",
            url=(
                "https://github.com/mseitzer/pytorch-fid/releases/download/fid_weights/"
                "pt_inception-2015-12-05-6726825d.pth"
            ),
            sha256="6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2",
            size=95_628_359,
            licence="Apache-2.0",
            used_by="rFID, gFID, sFID, KID, IS, precision, recall",
        ),
        Asset(
            name="alexnet",
            filename="alexnet-owt-7be5be79.pth",
            url="https://download.pytorch.org/models/alexnet-owt-7be5be79.pth",
            sha256="7be5be791159472b1fbf3c69796f7cb30dca7ad8466c2df70058c37116cdee02",
            size=244_408_911,
            licence="BSD-3-Clause",
            used_by="LPIPS(A)",
        ),
        Asset(
            name="vgg16",
            filename="vgg16-397923af.pth",
            url="https://download.pytorch.org/models/vgg16-397923af.pth",
            sha256="397923af8e79cdbb6a7127f12361acd7a2f83e06b05044ddf496e83de57a5bf0",
            size=553_433_881,
            licence="BSD-3-Clause",
            used_by="LPIPS(V), DISTS",
        ),
        Asset(
            name="dists",
            filename="dists-f5e65c96.pt",
            url=(
                "https://raw.githubusercontent.com/dingkeyan93/DISTS/"
                "1267d8cb626c98706db3697422701c56a85ebf2e/DISTS_pytorch/weights.pt"
            ),
            sha256="f5e65c96230b7f6ca995691647d482237e4cab8a50c5c4a5784f219ef0748218",
            size=12_288,
            licence="MIT",
            used_by="DISTS",
        ),
        Asset(
            name="dinov2",
            filename="dinov2_vitl14_pretrain.pth",
            url=("https://dl.fbaipublicfiles.com/dinov2/dinov2_vitl14/dinov2_vitl14_pretrain.pth"),
            sha256="d5383ea8f4877b2472eb973e0fd72d557c7da5d3611bd527ceeb1d7162cbf428",
            size=1_217_586_395,
            licence="Apache-2.0",
            used_by="FD-DINOv2, KD-DINOv2",
        ),
        Asset(
            name="clip-l14-336",
            filename="ViT-L-14-336px.pt",
            url=_CLIP.format(
                "3035c92b350959924f9f00213499208652fc7ea050643e8b385c2dac08641f02/ViT-L-14-336px.pt"
            ),
            sha256="3035c92b350959924f9f00213499208652fc7ea050643e8b385c2dac08641f02",
            size=934_088_680,
            licence="MIT",
            used_by="CMMD",
        ),
        Asset(
            name="clip-b32",
            filename="ViT-B-32.pt",
            url=_CLIP.format(
                "40d365715913c9da98579312b702a82c18be219cc2a73407c4526f58eba950af/ViT-B-32.pt"
            ),
            sha256="40d365715913c9da98579312b702a82c18be219cc2a73407c4526f58eba950af",
            size=353_976_522,
            licence="MIT",
            used_by="CLIPScore",
        ),
        Asset(
            name="clip-l14",
            filename="ViT-L-14.pt",
            url=_CLIP.format(
                "b8cca3fd41ae0c99ba7e8951adf17d267cdb84cd88be6f7c2e0eca1737a03836/ViT-L-14.pt"
            ),
            sha256="b8cca3fd41ae0c99ba7e8951adf17d267cdb84cd88be6f7c2e0eca1737a03836",
            size=932_768_134,
            licence="MIT",
            used_by="CLIPScore of protocols that name this model",
        ),
        Asset(
            name="geneval-prompts",
            filename="geneval_metadata.jsonl",
            url=(
                "https://raw.githubusercontent.com/djghosh13/geneval/"
                "af4902f24d3ca90ebbb446dd9891a59e0f82725f/prompts/evaluation_metadata.jsonl"
            ),
            sha256="5c48e0813e812e3c373fa5c8ed07a8f0a483be30272b4427b0559c8048e67c13",
            size=85_209,
            licence="MIT",
            used_by="geneval",
        ),
        Asset(
            name="geneval-prompts-long",
            filename="geneval_metadata_long.jsonl",
            url=(
                "https://raw.githubusercontent.com/shallowdream204/BitDance/"
                "4c5ea90161b766f63eaa8985999a5a587e935a63/"
                "eval/geneval/prompts/evaluation_metadata_long.jsonl"
            ),
            sha256="09472cc9c24e225417b1d5df27e688e5f2a0fcac9ec772f33d9debe4e5d49f27",
            size=397_873,
            licence="Apache-2.0",
            used_by="geneval-long",
        ),
        Asset(
            name="dpg-prompts",
            filename="dpg_prompts.json",
            url=(
                "https://raw.githubusercontent.com/shallowdream204/BitDance/"
                "4c5ea90161b766f63eaa8985999a5a587e935a63/eval/dpg_bench/prompts.json"
            ),
            sha256="595fb9f0127363aef016fce5ef1e9e8c88e616d955beb416464dcdb088a5416c",
            size=458_605,
            licence="Apache-2.0",
            used_by="dpg",
        ),
        Asset(
            name="gedit-prompts",
            filename="vie_prompts.py",
            url=(
                "https://raw.githubusercontent.com/EvolvingLMMs-Lab/lmms-eval/"
                "75571cfe0fa36ca5ec2e6aa2bb268f9d38295af3/"
                "lmms_eval/tasks/gedit_bench/viescore/vie_prompts.py"
            ),
            sha256="c16ac1c9b72336654931c0b8cc03135c3d20206f5b454df7c3fc10c16ca6d00e",
            size=22_100,
            licence="MIT",
            used_by="gedit-en, gedit-cn",
        ),
    )
}


def find(name: str) -> Asset:
    """The asset of that name; raise `UserError` with the nearest names."""
    if name not in ASSETS:
        raise UserError(f"unknown asset {name!r}: {did_you_mean(name, ASSETS)}")
    return ASSETS[name]


def candidates(asset: Asset, settings: Settings) -> list[Path]:
    """Where the file may lie, best first: named, in the given folder, ours, torch's own cache."""
    torch_home = Path(os.environ.get("TORCH_HOME", Path.home() / ".cache" / "torch"))
    paths = [
        settings.cache / "assets" / asset.filename,
        torch_home / "hub" / "checkpoints" / asset.filename,
    ]
    if settings.assets is not None:
        paths.insert(0, settings.assets / asset.filename)
    if named := os.environ.get(asset.variable):
        paths.insert(0, Path(named))
    return paths


def locate(name: str) -> Path:
    """Path of a verified file; raise `Unavailable` where it is missing or not the published one."""
    from harness.data.digests import verified_sha256
    from harness.data.settings import read_settings

    asset = find(name)
    for path in candidates(asset, read_settings()):
        if not path.is_file():
            continue
        digest = verified_sha256(path)
        if digest != asset.sha256:
            raise Unavailable(
                f"{path} is not the published file of {name!r} (its SHA-256 is {digest[:12]}…, "
                f"expected {asset.sha256[:12]}…), remove it and run `uwt-eval assets fetch {name}`"
            )
        return path
    raise Unavailable(f"{asset.noun} {name!r} missing, run `uwt-eval assets fetch {name}`")


_progress: ContextVar[Progress | None] = ContextVar("_progress", default=None)


@contextmanager
def fetched_on_need(progress: Progress) -> Iterator[None]:
    """Within, `needed` downloads what is missing; elsewhere looking for a file never does."""
    token = _progress.set(progress)
    try:
        yield
    finally:
        _progress.reset(token)


def needed(name: str) -> Path:
    """As `locate`, and downloads a file that lies nowhere where that may be done.

    Raises:
        Unavailable: It is not the published one, or missing, and why it could not be had.
    """
    from harness.data.settings import read_settings

    asset, settings, progress = find(name), read_settings(), _progress.get()
    lies_there = any(path.is_file() for path in candidates(asset, settings))
    if lies_there or settings.offline or progress is None:
        return locate(name)
    from harness.data.fetching import FetchError, reached

    where = _address(asset, settings)
    if why := reached(where):
        raise Unavailable(
            f"{asset.noun} {name!r} missing and {why}, run `uwt-eval assets fetch {name}`"
        )
    print(
        f"fetching {asset.noun} {name!r}: {asset.size / 1e6:.0f} MB from {where}, licence "
        f"{asset.licence}, for {asset.used_by}; --offline goes on without",
        file=sys.stderr,
    )
    try:
        with progress.bar(asset.filename) as on_progress:
            return _download(asset, settings, on_progress)
    except FetchError as error:
        raise Unavailable(f"{asset.noun} {name!r} missing: {error}") from error


def fetch(name: str, on_progress: OnProgress = lambda *_: None) -> Path:
    """Download and verify a file unless a verified one is there; raise `UserError` on failure."""
    from harness.data.fetching import FetchError
    from harness.data.settings import read_settings

    asset = find(name)
    settings = read_settings()
    try:
        return locate(name)
    except Unavailable:
        pass
    if settings.offline:
        raise UserError(
            f"asset {name!r} is not on this machine and UWT_EVAL_OFFLINE is set: copy "
            f"{asset.filename} to {settings.cache / 'assets'} or set {asset.variable}"
        )
    try:
        return _download(asset, settings, on_progress)
    except FetchError as error:
        raise UserError(
            f"asset {name!r} could not be downloaded: {error}; fetch it elsewhere and put it at "
            f"{settings.cache / 'assets' / asset.filename}, or name it in {asset.variable}"
        ) from error


def _address(asset: Asset, settings: Settings) -> str:
    """Where the file is to be had: from the mirror, where one is set."""
    mirror = settings.mirror
    return f"{mirror.rstrip('/')}/{asset.filename}" if mirror else asset.url


def _download(asset: Asset, settings: Settings, on_progress: OnProgress) -> Path:
    from harness.data.fetching import Published, download

    target = settings.cache / "assets" / asset.filename
    file = Published(_address(asset, settings), asset.sha256, asset.size)
    download(file, target, on_progress)
    return target
