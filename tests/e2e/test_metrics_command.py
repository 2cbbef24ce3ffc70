"""`uwt-eval metrics` and `uwt-eval calibrate`: two sets of files, measured like a peer would."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from skimage.metrics import peak_signal_noise_ratio
from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

from harness.data import assets
from harness.interfaces.registry import METRICS
from harness.plugins import PLUGINS
from harness.sets import BY_NAME, FILES
from tests.conftest import CommandLine


def crops(photos: list[Image.Image], count: int, quality: int | None = None) -> list[Image.Image]:
    """Fixed 96x96 crops, optionally through JPEG."""
    import io

    draw = np.random.default_rng(0)
    images = []
    for index in range(count):
        photo = photos[index % len(photos)]
        left, top = (int(draw.integers(0, side - 96)) for side in photo.size)
        crop = photo.crop((left, top, left + 96, top + 96))
        if quality is not None:
            buffer = io.BytesIO()
            crop.save(buffer, "jpeg", quality=quality)
            crop = Image.open(buffer).convert("RGB")
        images.append(crop)
    return images


def folder_of(images: list[Image.Image], folder: Path) -> Path:
    folder.mkdir(parents=True)
    for index, image in enumerate(images):
        image.save(folder / f"{index:03d}.png")
    return folder


def exact_frechet(x: np.ndarray, y: np.ndarray) -> float:
    """Fréchet distance of few rows: the cross term is the nuclear norm of the centred product.

    The peers' eigenvalue route loses three digits where there are fewer rows than columns.
    """
    centred = [side - side.mean(0) for side in (x, y)]
    spread = sum(float((side**2).sum()) for side in centred)
    cross = np.linalg.norm(centred[0] @ centred[1].T, "nuc")
    shift = float(((x.mean(0) - y.mean(0)) ** 2).sum())
    return shift + (spread - 2 * float(cross)) / (len(x) - 1)


SPLITS = 10
"""Of torch-fidelity's Inception Score, so fewer images have none."""


def pair_of(folder: Path, photos: list[Image.Image], count: int) -> tuple[Path, Path]:
    return (
        folder_of(crops(photos, count), folder / "original"),
        folder_of(crops(photos, count, quality=15), folder / "coded"),
    )


@pytest.fixture
def pair(tmp_path: Path, photos: list[Image.Image]) -> tuple[Path, Path]:
    return pair_of(tmp_path, photos, 6)


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def known_features(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the networks have seen in other tests of this file, they are not shown again."""
    monkeypatch.setenv("UWT_EVAL_CACHE", str(cache))


@pytest.mark.parity
@pytest.mark.usefixtures("provide_weights")
def test_fid_and_psnr_are_the_peers(
    uwt_eval: CommandLine, pair: tuple[Path, Path], weights: Path
) -> None:
    result = uwt_eval("metrics", *pair, "--small-sets", "--json")
    assert result.code == 0, result.err
    (record,) = result.records
    network = FeatureExtractorInceptionV3(
        "inception", ["2048"], str(weights / assets.find("inception").filename)
    )
    sides, decibels = [], []
    for folder in pair:
        pixels = np.stack([np.asarray(Image.open(path)) for path in sorted(folder.iterdir())])
        with torch.no_grad():
            (features,) = network(torch.from_numpy(pixels).permute(0, 3, 1, 2))
        sides.append(features.double().numpy())
    assert record["metrics"]["fid"]["value"] == pytest.approx(exact_frechet(*sides), rel=1e-5)
    for first, second in zip(*(sorted(folder.iterdir()) for folder in pair), strict=True):
        decibels.append(
            peak_signal_noise_ratio(np.asarray(Image.open(first)), np.asarray(Image.open(second)))
        )
    assert record["metrics"]["psnr"]["value"] == pytest.approx(np.mean(decibels), abs=1e-9)


@pytest.mark.usefixtures("provide_weights", "known_features")
@pytest.mark.parametrize("protocol", ["torch-fidelity", "adm", "clean", "wetok", "exact"])
def test_every_protocol_measures_everything(
    protocol: str, uwt_eval: CommandLine, tmp_path: Path, photos: list[Image.Image]
) -> None:
    pair = pair_of(tmp_path, photos, SPLITS if protocol == "torch-fidelity" else 6)
    result = uwt_eval("metrics", *pair, "--protocol", protocol, "--small-sets", "--json")
    assert result.code == 0, result.err
    (record,) = result.records
    assert record["protocol"] == protocol
    values = {key: cell["value"] for key, cell in record["metrics"].items()}
    assert None not in values.values(), record["metrics"]
    assert values["fid"] > 0
    assert values["psnr"] > 15
    assert 0 <= values["precision"] <= 1


@pytest.mark.usefixtures("provide_weights")
def test_second_time_needs_no_network(
    uwt_eval: CommandLine,
    tmp_path: Path,
    photos: list[Image.Image],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from harness.metrics.inception import InceptionFeatures

    pair = pair_of(tmp_path, photos, SPLITS)
    command = ("metrics", *pair, "--metrics", "fid,is", "--small-sets", "--json")
    (first,) = uwt_eval(*command).records
    monkeypatch.setattr(InceptionFeatures, "extract", None)
    (second,) = uwt_eval(*command).records
    assert second["metrics"] == first["metrics"]


@pytest.mark.usefixtures("provide_weights")
def test_npz_gives_what_the_folder_gives(
    uwt_eval: CommandLine, pair: tuple[Path, Path], tmp_path: Path
) -> None:
    for folder in pair:
        pixels = [np.asarray(Image.open(path)) for path in sorted(folder.iterdir())]
        np.savez(tmp_path / f"{folder.name}.npz", np.stack(pixels))
    files = [tmp_path / f"{folder.name}.npz" for folder in pair]
    keys = ("--metrics", "fid,prc,ssim", "--small-sets", "--json")
    (from_files,) = uwt_eval("metrics", *files, *keys).records
    (from_folders,) = uwt_eval("metrics", *pair, *keys).records
    assert from_files["metrics"] == from_folders["metrics"]


@pytest.mark.usefixtures("provide_weights", "known_features")
def test_stored_statistics_serve_as_reference(
    uwt_eval: CommandLine, pair: tuple[Path, Path], tmp_path: Path
) -> None:
    rng = np.random.default_rng(0)
    arrays = {}
    for suffix, width in (("", 2048), ("_s", 2023)):
        features = rng.normal(size=(3000, width))
        arrays |= {
            f"mu{suffix}": features.mean(0),
            f"sigma{suffix}": np.cov(features, rowvar=False),
        }
    np.savez(tmp_path / "reference.npz", **arrays)
    result = uwt_eval(
        "metrics", tmp_path / "reference.npz", pair[1], "--protocol", "adm", "--small-sets",
        "--json",
    )  # fmt: skip
    assert result.code == 0, result.err
    metrics = result.records[0]["metrics"]
    assert metrics["fid"]["value"] > 0
    assert metrics["sfid"]["value"] > 0
    assert "no images" in metrics["precision"]["status"]
    assert "no pairs" in metrics["psnr"]["status"]


@pytest.mark.usefixtures("provide_weights", "known_features")
def test_small_sets_are_withheld(uwt_eval: CommandLine, pair: tuple[Path, Path]) -> None:
    result = uwt_eval("metrics", *pair, "--metrics", "fid", "--json")
    assert result.records[0]["metrics"]["fid"]["status"].startswith("withheld: 6 images")


@pytest.mark.usefixtures("provide_weights", "known_features")
def test_a_reason_that_several_metrics_share_is_said_once(
    uwt_eval: CommandLine, pair: tuple[Path, Path]
) -> None:
    told = uwt_eval("metrics", *pair, "--metrics", "fid,sfid").out
    assert (told.count("withheld"), told.count("as above")) == (1, 1)


@pytest.mark.usefixtures("provide_weights", "known_features")
def test_class_order_is_noted_under_sequential_splits(
    uwt_eval: CommandLine, pair: tuple[Path, Path], tmp_path: Path
) -> None:
    pixels = np.stack([np.asarray(Image.open(path)) for path in sorted(pair[1].iterdir())])
    np.savez(tmp_path / "sorted.npz", pixels, np.repeat([0, 1], 3))
    result = uwt_eval(
        "metrics", pair[0], tmp_path / "sorted.npz", "--protocol", "adm", "--metrics", "is",
        "--json",
    )  # fmt: skip
    assert "class by class" in result.records[0]["metrics"]["is"]["note"]


@pytest.mark.usefixtures("provide_weights", "known_features")
def test_unreadable_image_is_named_and_ends_incomplete(
    uwt_eval: CommandLine, pair: tuple[Path, Path]
) -> None:
    (pair[1] / "003.png").write_bytes(b"broken")
    result = uwt_eval("metrics", *pair, "--small-sets", "--json")
    assert result.code == 3
    assert "coded/003" in result.err
    (record,) = result.records
    assert record["metrics"]["psnr"]["n"] == 5


def test_pair_that_cannot_be_read_says_whose_image(
    uwt_eval: CommandLine, pair: tuple[Path, Path]
) -> None:
    (pair[0] / "002.png").write_bytes(b"broken")
    (pair[1] / "003.png").write_bytes(b"broken")
    result = uwt_eval("metrics", *pair, "--metrics", "PSNR", "--json")
    assert f"failed: {pair[0].name}/002: not an image" in result.err
    assert f"failed: {pair[1].name}/003: not an image" in result.err
    assert result.records[0]["metrics"]["psnr"]["n"] == 4


def test_every_metric_of_images_is_known_by_name() -> None:
    ours = {name for name in PLUGINS["metrics"] if METRICS.get(name).needs}
    assert {*FILES.metrics, *BY_NAME} == ours


@pytest.mark.parametrize(
    ("change", "texts"),
    [
        ("fewer", ["psnr needs pairs", "6 images and coded 5"]),
        ("resized", ["pairs need one size", "'004'"]),
        ("empty", ["holds no image"]),
        ("fidd", ["unknown metric 'fidd'", "'fid'"]),
        ("ms_sim", ["unknown metric 'ms_sim': did you mean 'ms_ssim'"]),
        ("quux", ["unknown metric 'quux': known: cmmd, ", "lpips, ", " ms_ssim, ", " prc, "]),
        ("bpp", ["metric 'bpp' is of a run's codes"]),
        ("geneval_overall", ["'geneval_overall' is of a task's runs: sets of images have cmmd, "]),
        ("gedit_overall", ["metric 'gedit_overall' is of a task's runs", " ms_ssim, "]),
        ("unknown protocol", ["unknown protocol 'clen'", "'clean'"]),
        ("missing", ["does not exist"]),
    ],
)
def test_bad_sets_are_one_clear_line(
    change: str, texts: list[str], uwt_eval: CommandLine, pair: tuple[Path, Path], tmp_path: Path
) -> None:
    reference, samples = pair
    options = ["--metrics", "psnr"]
    match change:
        case "fewer":
            (samples / "004.png").unlink()
        case "resized":
            with Image.open(samples / "004.png") as image:
                smaller = image.resize((64, 64))
            smaller.save(samples / "004.png")
        case "empty":
            samples = tmp_path / "empty"
            samples.mkdir()
        case "fidd" | "ms_sim" | "quux" | "bpp" | "geneval_overall" | "gedit_overall":
            options = ["--metrics", change]
        case "unknown protocol":
            options = ["--protocol", "clen"]
        case "missing":
            samples = tmp_path / "nowhere"
    result = uwt_eval("metrics", reference, samples, *options)
    assert result.code == 2, result.err
    assert len(result.err.strip().splitlines()) == 1
    for text in texts:
        assert text in result.err


def test_pairs_of_other_sizes_are_left_out_unless_asked_for(
    uwt_eval: CommandLine, pair: tuple[Path, Path], tmp_path: Path
) -> None:
    reference, samples = pair
    for name in ("004", "005"):
        with Image.open(samples / f"{name}.png") as image:
            smaller = image.resize((64, 64))
        smaller.save(samples / f"{name}.png")
    result = uwt_eval(
        "metrics", reference, samples, "--record", "--out", tmp_path / "runs", "--json"
    )
    assert result.code == 0, result.err
    (record,) = result.records
    assert record["metrics"]["psnr"]["status"] == (
        "not applicable: no pairs: image '004' is 96x96 in original and 64x64 in coded: "
        "pairs need one size"
    )
    assert "no pairs" not in record["metrics"]["fid"]["status"]
    assert (tmp_path / "runs" / record["run_id"] / "record.json").is_file()


@pytest.mark.usefixtures("provide_weights")
@pytest.mark.slow
def test_canaries_come_out_in_order(
    uwt_eval: CommandLine, photos: list[Image.Image], tmp_path: Path
) -> None:
    folder = folder_of(crops(photos, 8), tmp_path / "photos")
    result = uwt_eval("calibrate", folder, "--json")
    findings = {finding["metric"]: finding for finding in result.records}
    assert result.code == 0, findings
    assert findings["psnr"]["values"]["identical"]["value"] is None
    assert findings["fid"]["values"]["identical"]["value"] == pytest.approx(0, abs=1e-6)
    ladder = [findings["fid"]["values"][f"blur {radius}"]["value"] for radius in (0.5, 1, 2, 4)]
    assert ladder == sorted(ladder)


def test_canaries_without_weights_are_incomplete(
    uwt_eval: CommandLine, photos: list[Image.Image], tmp_path: Path
) -> None:
    folder = folder_of(crops(photos, 6), tmp_path / "photos")
    result = uwt_eval("calibrate", folder)
    assert result.code == 3
    assert "psnr: in order" in result.out


@pytest.mark.usefixtures("provide_weights", "known_features")
def test_images_of_different_sizes_share_a_set(
    uwt_eval: CommandLine, pair: tuple[Path, Path]
) -> None:
    with Image.open(pair[1] / "002.png") as image:
        larger = image.resize((130, 70))
    larger.save(pair[1] / "002.png")
    result = uwt_eval("metrics", *pair, "--metrics", "fid", "--small-sets", "--json")
    assert result.code == 0, result.err
    assert result.records[0]["metrics"]["fid"]["n"] == 6


@pytest.mark.usefixtures("provide_weights", "known_features")
def test_one_image_has_no_distance(uwt_eval: CommandLine, pair: tuple[Path, Path]) -> None:
    for path in sorted(pair[1].iterdir())[1:]:
        path.unlink()
    result = uwt_eval("metrics", *pair, "--metrics", "fid,kid", "--small-sets", "--json")
    for cell in result.records[0]["metrics"].values():
        assert cell["value"] is None
        assert cell["status"].startswith("withheld: no spread of 1 image")


@pytest.mark.usefixtures("provide_weights")
def test_features_that_are_not_finite_name_their_image(
    uwt_eval: CommandLine, pair: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    from harness.metrics.inception import InceptionFeatures

    extract = InceptionFeatures.extract

    def broken(self: InceptionFeatures, prepared: torch.Tensor) -> dict[str, torch.Tensor]:
        features = extract(self, prepared)
        features["pool3"][3, 5] = torch.nan
        return features

    monkeypatch.setattr(InceptionFeatures, "extract", broken)
    result = uwt_eval("metrics", *pair, "--metrics", "fid", "--small-sets")
    assert result.code == 2
    assert "coded: features of image '003' are not finite" in result.err


@pytest.mark.usefixtures("provide_weights", "known_features")
def test_extrapolation_is_noted(uwt_eval: CommandLine, pair: tuple[Path, Path]) -> None:
    result = uwt_eval(
        "metrics", *pair, "--metrics", "fid", "--small-sets", "--extrapolate", "--json"
    )
    assert "FID∞ needs more than 4096 images" in result.records[0]["metrics"]["fid"]["note"]
