"""`uwt-eval explain`: rungs are what `run` and `metrics` give, and the changed choice is found."""

from __future__ import annotations

import json
import re
import shutil
import zipfile
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from harness.engine import protocols
from harness.interfaces.registry import MODELS, TASKS
from harness.interfaces.types import Protocol
from harness.metrics.inception import InceptionFeatures
from harness.sets import FILES
from reports.explain import measure
from reports.explain.ladder import Explanation
from reports.explain.rungs import Change, Rung, combined, ladder
from reports.figures.waterfall import draw_waterfall
from tests.conftest import CommandLine, CommandResult

TASK, NATIVE = "imagenet-recon", "imagenet-recon-native"
NATIVE_MODEL = "jpeg:4000"


def inline(value: Any) -> str:
    """A value as TOML writes it."""
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{name} = {inline(each)}" for name, each in value.items()) + " }"
    return json.dumps(value)


def changed(base: Protocol, kind: str, *changes: Change) -> Protocol:
    from harness.interfaces.registry import FAMILIES

    rung = combined(base, FAMILIES.get(kind), changes)
    assert rung is not None
    return rung.protocol


def file_of(protocol: Protocol, kind: str, folder: Path) -> Path:
    """A protocol's settings as a file that `--protocol` takes."""
    lines = [f"{name} = {inline(value)}" for name, value in protocol.settings.items()]
    path = folder / f"p{protocol.digest[:12]}.toml"
    path.write_text("\n".join([f"[kind.{kind}]", *lines]))
    return path


@pytest.fixture
def data(tmp_path: Path, photos: list[Image.Image], monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two photos of several sizes, a PNG and a JPEG."""
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "data"
    folder.mkdir()
    photos[1].save(folder / "cat.png")
    photos[2].save(folder / "coffee.jpg")
    return folder


@pytest.fixture
def run(uwt_eval: CommandLine, data: Path, tmp_path: Path) -> Path:
    """A finished run of a codec."""
    words = ("--model", "jpeg", "--data", data, "--metrics", "psnr")
    assert uwt_eval("run", TASK, *words, "--quiet").code == 0
    (root,) = (tmp_path / "runs").iterdir()
    return root


def explained(result: CommandResult) -> dict[str, Any]:
    assert result.code == 0, result.err
    return json.loads(result.out)


def measured(
    uwt_eval: CommandLine, data: Path, protocol: Path, metric: str, task: str = TASK
) -> float:
    model = "jpeg" if task == TASK else NATIVE_MODEL
    words = ("--model", model, "--data", data, "--protocol", protocol, "--metrics", metric)
    result = uwt_eval("run", task, *words, "--small-sets", "--json")
    assert result.code == 0, result.err
    return result.records[0]["metrics"][metric]["value"]


def test_rungs_of_a_run_are_what_run_gives_under_their_protocols(
    uwt_eval: CommandLine, run: Path, data: Path, tmp_path: Path
) -> None:
    found = explained(uwt_eval("explain", run, "--metric", "psnr", "--json"))
    assert found["images"] == found["images_of_every_choice"] == 2
    base = TASKS.get(TASK).protocol("wetok")
    assert found["base"]["value"] == measured(uwt_eval, data, Path("wetok"), "psnr")
    cells = {step["name"]: step["cell"] for step in found["steps"]}
    for change in (
        Change(("geometry", "aspect"), "squash"),
        Change(("geometry", "kernel"), "bilinear"),
        Change(("geometry", "compression"), "jpeg-75"),
        Change(("pixels", "channels"), "luma"),
        Change(("averaging",), {"rule": "global-mse"}),
    ):
        file = file_of(changed(base, "recon", change), "recon", tmp_path)
        expected = measured(uwt_eval, data, file, "psnr")
        assert cells[change.text]["value"] == pytest.approx(expected, abs=1e-9), change.text
        assert cells[change.text]["value"] != found["base"]["value"]
    expected = measured(uwt_eval, data, Path("exact"), "psnr")
    assert cells["protocol exact"]["value"] == pytest.approx(expected, abs=1e-9)
    folder = tmp_path / "explain" / f"{run.name}-psnr"
    assert json.loads((folder / "explain.json").read_text()) == found
    with Image.open(folder / "waterfall.png") as picture:
        assert picture.width > 1000


KNOWN = [
    [Change(("geometry", "kernel"), "pil-lanczos")],
    [Change(("uint8",), "round")],
    [Change(("geometry", "aspect"), "squash"), Change(("uint8",), "round")],
]


@pytest.mark.parametrize("changes", KNOWN, ids=lambda each: "+".join(c.place[-1] for c in each))
def test_a_published_figure_is_traced_to_what_was_changed_for_it(
    changes: list[Change], uwt_eval: CommandLine, run: Path, data: Path, tmp_path: Path
) -> None:
    protocol = changed(TASKS.get(TASK).protocol("wetok"), "recon", *changes)
    file = file_of(protocol, "recon", tmp_path)
    published = f"{measured(uwt_eval, data, file, 'psnr'):.4f}"
    words = ("--metric", "psnr", "--published", published, "--json")
    nearest = explained(uwt_eval("explain", run, *words))["nearest"][0]
    assert nearest["name"] == " + ".join(change.text for change in changes)
    assert nearest["measured"]
    assert nearest["value"] == pytest.approx(float(published), abs=5e-5)


@pytest.mark.usefixtures("provide_weights")
def test_rfid_of_rungs_is_that_of_runs_and_no_network_sees_an_input_twice(
    uwt_eval: CommandLine, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ("--model", NATIVE_MODEL, "--data", data, "--metrics", "psnr", "--quiet")
    assert uwt_eval("run", NATIVE, *words).code == 0
    (run,) = (tmp_path / "runs").iterdir()
    seen: list[bytes] = []
    extract = InceptionFeatures.extract

    def counted(self: InceptionFeatures, prepared: Any) -> Any:
        seen.extend(each.numpy().tobytes() for each in prepared)
        return extract(self, prepared)

    with monkeypatch.context() as patched:
        patched.setattr(InceptionFeatures, "extract", counted)
        found = explained(uwt_eval("explain", run, "--json"))
    assert found["metric"] == "rfid"
    assert len(seen) == len(set(seen)) == found["work"]["network"][1]
    base = TASKS.get(NATIVE).protocol("wetok")
    cells = {step["name"]: step["cell"] for step in found["steps"]}
    change = Change(("inception", "input"), "clean")
    file = file_of(changed(base, "recon-native", change), "recon-native", tmp_path)
    expected = measured(uwt_eval, data, file, "rfid", NATIVE)
    assert cells[change.text]["value"] == pytest.approx(expected, rel=1e-9)
    assert (
        cells["inception.input = adm"]["value"]
        == cells["inception.input = torch-fidelity"]["value"]
    )


@pytest.mark.usefixtures("provide_weights")
def test_the_ladder_does_no_work_oftener_than_it_may(
    uwt_eval: CommandLine,
    tmp_path: Path,
    photos: list[Image.Image],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(measure, "LEAST", 1)
    Path("data").mkdir()
    for index in range(8):
        photos[index % 6].crop((index, index, index + 70, index + 64)).save(f"data/{index}.png")
    words = ("--model", "jpeg:20000", "--data", "data", "--metrics", "bpp")
    assert uwt_eval("run", "imagenet-recon-native", *words, "--quiet").code == 0
    (root,) = (tmp_path / "runs").iterdir()
    found = explained(uwt_eval("explain", root, "--json"))
    assert found["work"].keys() == {"read", "decode", "network", "encode"}
    assert all(done <= 2.5 * one for one, done in found["work"].values())
    assert found["times_one_protocol"] <= 2.5
    assert found["work"]["network"][0] == 2 * 8
    part = found["images_of_every_choice"]
    assert 1 <= part < 8
    assert all(step["cell"]["n"] == part for step in found["steps"] if step["kind"] == "choice")


@pytest.fixture
def pictures(tmp_path: Path, photos: list[Image.Image], monkeypatch: pytest.MonkeyPatch) -> Path:
    """Originals as PNG, one of them with alpha, and as JPEG what was made of them."""
    monkeypatch.chdir(tmp_path)
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    for index, photo in enumerate(photos[:3]):
        crop = photo.crop((40, 30, 136, 126))
        if index == 1:
            crop.putalpha(Image.linear_gradient("L").resize(crop.size))
        crop.save(tmp_path / "a" / f"{index}.png")
        crop.convert("RGB").save(tmp_path / "b" / f"{index}.jpg", quality=20)
    return tmp_path


OF_SETS = {"decode.alpha = white", "inception.input = wetok"}


@pytest.mark.usefixtures("provide_weights")
@pytest.mark.parametrize("metric", ["fid", "psnr", "lpips_alex"])
def test_every_rung_of_two_folders_is_what_metrics_gives(
    metric: str, uwt_eval: CommandLine, pictures: Path
) -> None:
    found = explained(uwt_eval("explain", "a", "b", "--metric", metric, "--json"))
    base = protocols.find("torch-fidelity", FILES)
    moved = [step for step in found["steps"] if step["kind"] == "choice"]
    assert any(step["name"] == "decode.alpha = white" and step["moves"] for step in moved)
    for step in moved:
        if metric == "fid" and step["name"] not in OF_SETS:
            continue  # The network takes its time.
        changes = [
            Change(tuple(name.split(".")), value)
            for name, value in step["changes"].items()
            if not step["name"].startswith("pixels =")
        ] or [Change(("pixels",), {"dtype": "float32", "data_range": 1})]
        file = file_of(changed(base, "sets", *changes), "sets", pictures)
        words = ("--protocol", file, "--metrics", metric, "--small-sets", "--json")
        (record,) = uwt_eval("metrics", "a", "b", *words).records
        expected = record["metrics"][metric]
        assert step["cell"]["value"] == pytest.approx(expected["value"], rel=1e-9), step["name"]
        assert step["cell"]["ci_low"] == pytest.approx(expected["ci_low"], rel=1e-6)


def test_an_archive_and_formats(uwt_eval: CommandLine, pictures: Path) -> None:
    with zipfile.ZipFile("b.zip", "w") as archive:
        for path in sorted(Path("b").iterdir()):
            archive.write(path, path.name)
    words = ("explain", "a", "b.zip", "--metric", "ssim")
    table = uwt_eval(*words, "--quiet")
    assert table.code == 0, table.err
    for text in ("ssim.window = gaussian11", "moves most:", "moves nothing:"):
        assert text in table.out
    assert not re.search(r"[+−]0\.0+\b(?! ±)", table.out)
    (path,) = Path("explain").glob("*/explain.json")
    bars = draw_waterfall(Explanation.model_validate_json(path.read_text())).axes[0]
    names = [tick.get_text() for tick in bars.get_yticklabels()]
    rows = [line.strip() for line in table.out.splitlines() if "=" in line or "protocol " in line]
    assert names == [row[: len(name)] for row, name in zip(rows, names, strict=False)]
    assert "| choice | value |" in uwt_eval(*words, "--format", "md", "-q").out
    assert uwt_eval(*words, "--format", "csv", "-q").out.startswith("choice,kind,moves,value,")
    assert "progress" not in table.err


def test_a_choice_that_leaves_no_difference_is_the_first_to_be_told(
    uwt_eval: CommandLine,
    photos: list[Image.Image],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    for folder, name, options in (("a", "png", {}), ("b", "jpg", {"quality": 75})):
        (tmp_path / folder).mkdir()
        for number, photo in enumerate(photos[1:3]):
            photo.crop((0, 0, 64, 64)).save(tmp_path / folder / f"{number}.{name}", **options)
    given = ("a", "b", "--metric", "psnr", "--published", "40")
    told = uwt_eval("explain", *given)
    assert told.code == 0, told.err
    assert "all images are identical under reference_compression = jpeg-75" in told.out
    assert "moves most" not in told.out
    found = explained(uwt_eval("explain", *given, "--json"))
    assert found["moves_most"] == "reference_compression = jpeg-75"


def test_without_weights_the_metric_is_refused_in_a_line(
    uwt_eval: CommandLine, pictures: Path
) -> None:
    refused = uwt_eval("explain", "a", "b", "--metric", "fid", "--quiet")
    assert refused.code == 2
    assert len(refused.err.strip().splitlines()) == 1
    assert "fid cannot be explained: not computed" in refused.err
    other = uwt_eval("explain", "a", "b", "--quiet")
    assert other.code == 0, other.err
    assert "psnr instead" in other.err
    assert "PSNR ↑ of b against a" in other.out


def test_dry_run_lists_the_rungs_and_measures_nothing(
    uwt_eval: CommandLine, run: Path, pictures: Path
) -> None:
    listed = uwt_eval("explain", run, "--dry-run").out.splitlines()
    assert {"wetok", "protocol exact", "geometry.aspect = squash"} <= set(listed)
    assert "inception.input = clean" in uwt_eval("explain", "a", "b", "--dry-run").out
    assert not (pictures / "explain").exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("a", "b", "--metric", "pnsr"), "unknown metric 'pnsr': did you mean 'psnr'"),
        (("a", "b", "--published", "nan", "--metric", "psnr"), "--published nan: give a finite"),
        (("a", "b", "--published", "1,5", "--metric", "psnr"), "--published 1,5: give a finite"),
        (("a", "b", "--cost", "0.5"), "--cost 0.5: must be at least 1"),
        (("a", "half", "--metric", "psnr"), "pair by name: a has 3 images and half 1"),
        (("a", "small", "--metric", "psnr"), "is 96x96 and its reconstruction 48x48"),
        (("a", "nowhere", "--metric", "psnr"), "nowhere"),
        (("a", "--metric", "psnr"), "a is not a run directory"),
        (("a", "b", "--model", "webp"), "--model webp goes with `explain RUN` alone"),
        (("a", "b", "--data", "a"), "--data a goes with `explain RUN` alone"),
        (("a", "--protocol", "clean"), "--protocol clean goes with `explain A B` alone"),
        (("a", "--seed", "0", "--dry-run"), "--seed 0 goes with `explain A B` alone"),
    ],
)
def test_bad_input_is_one_line(
    words: tuple[str, ...], said: str, uwt_eval: CommandLine, pictures: Path
) -> None:
    Path("half").mkdir()
    Path("small").mkdir()
    for path in sorted(Path("b").iterdir()):
        with Image.open(path) as image:
            image.resize((48, 48)).save(Path("small") / path.name)
    Path("half", "0.jpg").write_bytes(Path("b", "0.jpg").read_bytes())
    result = uwt_eval("explain", *words, "--quiet")
    assert result.code == 2
    assert said in result.err
    assert len(result.err.strip().splitlines()) == 1


def test_a_run_that_cannot_be_explained_is_one_line(
    uwt_eval: CommandLine, run: Path, data: Path
) -> None:
    other = data.parent / "other"
    other.mkdir()
    for name in ("cat.png", "coffee.jpg"):
        (other / name).write_bytes((data / "cat.png").read_bytes())
    moved = uwt_eval("explain", run, "--data", other, "-q")
    assert moved.code == 2
    assert "give --data as the run had it" in moved.err
    another = uwt_eval("explain", run, "--model", "webp", "-q")
    assert another.code == 2
    assert "give --model as the run had it" in another.err
    (run / "record.json").unlink()
    unfinished = uwt_eval("explain", run, "-q")
    assert unfinished.code == 2
    assert "is not finished" in unfinished.err


def test_a_run_of_a_plugin_that_is_not_given_says_which(
    uwt_eval: CommandLine, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plugin, out = tmp_path / "mine.py", tmp_path / "theirs"
    plugin.write_text(
        "from harness.interfaces.registry import MODELS\n"
        "@MODELS.register('my-vq')\n"
        "class Mine(MODELS.get('identity')):\n"
        "    pass\n"
    )
    words = ("--model", "my-vq", "--plugin", plugin, "--data", data, "--metrics", "psnr")
    assert uwt_eval("run", TASK, *words, "--out", out, "--quiet").code == 0
    (root,) = out.iterdir()
    assert uwt_eval("encode", data, *words[:4], "--out", tmp_path / "codes").code == 0
    # As of a process of its own, which was not given the file.
    monkeypatch.setattr(MODELS, "_registered", {})
    result = uwt_eval("explain", root, "-q")
    assert result.code == 2
    assert result.err == f"error: {root}: that run had --plugin {plugin}: give it again\n"
    result = uwt_eval("decode", tmp_path / "codes", "--out", tmp_path / "pictures")
    assert result.code == 2
    assert "'my-vq' made these codes, a model of a plug-in that is not here" in result.err
    assert result.err.count("\n") == 1


@pytest.mark.parametrize("damage", ["removed", "cut", "flipped", "all"])
def test_a_run_that_lost_outputs_is_one_line_and_made_whole_by_its_command(
    damage: str, uwt_eval: CommandLine, run: Path, data: Path
) -> None:
    part = sorted((run / "outputs").iterdir())[-1]
    content = bytearray(part.read_bytes())
    if damage == "removed":
        part.unlink()
    elif damage == "all":
        shutil.rmtree(run / "outputs")
    else:
        content[len(content) // 2] ^= 4
        part.write_bytes(content[: None if damage == "flipped" else len(content) // 2])
    words = ("explain", run, "--metric", "psnr", "--quiet")
    refused = uwt_eval(*words)
    assert refused.code == 2, refused.err
    (line,) = refused.err.strip().splitlines()
    assert "the outputs of 2 samples are missing or damaged (first outputs/000000-" in line
    assert "record.json says n=2: run the same command again" in line
    again = ("--model", "jpeg", "--data", data, "--metrics", "psnr", "--quiet")
    assert uwt_eval("run", TASK, *again).code == 0
    assert uwt_eval(*words).code == 0


@pytest.mark.parametrize(
    ("name", "content"), [("run.json", "[]"), ("record.json", "{"), ("record.json", "[]")]
)
def test_a_run_whose_files_are_no_records_is_one_line(
    name: str, content: str, uwt_eval: CommandLine, run: Path
) -> None:
    (run / name).write_text(content)
    refused = uwt_eval("explain", run, "--metric", "psnr", "--quiet")
    assert refused.code == 2, refused.err
    (line,) = refused.err.strip().splitlines()
    assert name in line


def test_a_picture_that_cannot_be_read_is_left_out_and_told_once(
    uwt_eval: CommandLine, pictures: Path
) -> None:
    Path("a", "0.png").write_bytes(b"")
    words = ("a", "b", "--metric", "psnr", "--quiet")
    told = uwt_eval("explain", *words)
    assert told.code == 3, told.err
    (line,) = told.err.strip().splitlines()
    assert line.startswith("failed: 0: ")
    assert "PSNR ↑ of b against a · 2 images" in told.out
    assert "could not be measured" not in told.out
    found = json.loads(uwt_eval("explain", *words, "--json").out)
    (record,) = uwt_eval("metrics", "a", "b", "--metrics", "psnr", "--json").records
    assert found["base"] == record["metrics"]["psnr"]
    assert (found["base"]["n"], found["base"]["n_failed"], found["images"]) == (2, 1, 2)
    assert list(found["failed"]) == ["0"]
    assert all(step["cell"]["n"] == 2 for step in found["steps"] if step["kind"] == "choice")
    for place in ("a", "b"):
        for path in Path(place).iterdir():
            path.write_bytes(b"")
    refused = uwt_eval("explain", *words)
    assert refused.code == 2
    assert "no image could be measured, first 0: " in refused.err


@pytest.mark.usefixtures("provide_weights")
def test_a_figure_of_sets_leaves_out_the_broken_picture_alone(
    uwt_eval: CommandLine, pictures: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One original, one reconstruction, and both of a pair."""
    broken = ("a/0.png", "a/1.png", "b/1.jpg", "b/2.jpg")
    for index in (3, 4):
        for place, ending in (("a", "png"), ("b", "jpg")):
            with Image.open(f"{place}/{index - 3}.{ending}") as image:
                image.convert("RGB").rotate(90 * index).save(f"{place}/{index}.{ending}")
    for path in broken:
        Path(path).write_bytes(b"\xff\xd8\xff")
    monkeypatch.setattr("reports.explain.ladder.ladder", base_alone)
    told = uwt_eval("explain", "a", "b", "--metric", "fid", "--json", "--quiet")
    words = ("a", "b", "--metrics", "fid", "--small-sets", "--json")
    (record,) = uwt_eval("metrics", *words).records
    expected = record["metrics"]["fid"]
    found = json.loads(told.out)
    assert told.code == 3
    assert found["base"]["value"] == pytest.approx(expected["value"], rel=1e-9)
    for name in ("n", "n_failed"):
        assert found["base"][name] == expected[name], name
    assert sorted(found["failed"]) == sorted(path[:3] for path in broken)
    assert found["notes"][0].startswith(f"{len(broken)} picture")
    for path in Path("a").iterdir():
        path.write_bytes(b"")
    refused = uwt_eval("explain", "a", "b", "--metric", "fid", "--quiet")
    assert refused.code == 2
    assert "could not be measured, first a/0: " in refused.err


def base_alone(*given: Any) -> list[Rung]:
    return ladder(*given)[:1]


def test_explanations_of_another_folder_or_metric_lie_side_by_side(
    uwt_eval: CommandLine, pictures: Path
) -> None:
    for words in (("a", "b", "--metric", "psnr"), ("b", "a", "--metric", "psnr")):
        assert uwt_eval("explain", *words, "--quiet").code == 0
    made = [re.sub("-[0-9a-f]{10}-", "-", path.name) for path in Path("explain").iterdir()]
    assert sorted(made) == ["a-against-b-psnr", "b-against-a-psnr"]


def test_explanations_of_places_of_one_name_lie_apart(
    uwt_eval: CommandLine, pictures: Path
) -> None:
    """Whatever was in a folder before: another pair, or the same under another protocol."""
    Path("other").mkdir()
    for name in ("a", "b"):
        shutil.copytree(name, Path("other", name))
    (Path("other", "b", "0.jpg")).write_bytes((Path("b", "1.jpg")).read_bytes())
    for place, more in ((".", ()), ("other", ()), (".", ("--protocol", "exact"))):
        words = (Path(place, "a"), Path(place, "b"), "--metric", "psnr", *more, "--quiet")
        assert uwt_eval("explain", *words).code == 0
    assert len(list(Path("explain").iterdir())) == 3
    shutil.copytree("other", "copy")
    words = (Path("copy", "a"), Path("copy", "b"), "--metric", "psnr", "--quiet")
    assert uwt_eval("explain", *words).code == 0
    assert len(list(Path("explain").iterdir())) == 3
