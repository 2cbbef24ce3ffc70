"""Sizes, prompts, data and figures, each for itself."""

from __future__ import annotations

import hashlib
import json
import os
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from harness.engine.protocols import load
from harness.interfaces import Observations
from harness.interfaces.errors import DecodeError, UserError
from tasks import PROTOCOLS
from tasks.gedit.edits import GROUPS, LANGUAGES
from tasks.gedit.judging import read_prompts
from tasks.gedit.scores import OVERALL, OVERALL_INTERSECTION, QUALITY, SEMANTICS, macro_mean
from tasks.gedit.settings import GEditSettings, InputSize
from tasks.gedit.source import open_gedit
from tasks.gedit.task import GEDIT, GEDIT_EN
from tests.tasks.gedit.small import instruction, write_data

GOLDEN = json.loads((Path(__file__).parent / "golden.json").read_text(encoding="utf-8"))
INPUT = InputSize(area=512 * 512, multiple=32, kernel="pil-bicubic")


@pytest.mark.parametrize("case", GOLDEN["calculate_dimensions"], ids=lambda c: f"{c['w']}x{c['h']}")
def test_sizes_are_the_published_scripts(case: dict[str, int]) -> None:
    width, height = INPUT.of_original(case["w"], case["h"])
    assert [width, height, width * height] == case["out"]


def test_published_sizes_meet_every_branch() -> None:
    """Areas above, below and at the target once both sides are rounded."""
    rounded = set()
    for case in GOLDEN["calculate_dimensions"]:
        exact = (INPUT.area * case["w"] / case["h"]) ** 0.5
        sides = [round(side / 32) * 32 for side in (exact, exact * case["h"] / case["w"])]
        rounded.add(np.sign(sides[0] * sides[1] - INPUT.area))
    assert rounded == {-1, 0, 1}


@pytest.mark.parametrize("size", [(1, 5000), (5000, 1), (1, 900), (1, 1)])
def test_sizes_of_extreme_images_have_sides(size: tuple[int, int]) -> None:
    assert min(INPUT.of_original(*size)) >= 32


def test_the_protocols_name_the_published_prompts() -> None:
    for name in GEDIT_EN.spec.protocols:
        settings = GEditSettings.of(load(name, PROTOCOLS, GEDIT_EN.spec).settings)
        assert settings.prompts.quality == GOLDEN["prompts"]["PQ"]["sha256"]
        assert settings.judge.temperature is None


@pytest.mark.skipif(find_spec("lmms_eval") is None, reason="lmms-eval is not installed")
def test_installed_prompts_are_the_published_ones() -> None:
    settings = GEditSettings.of(load("gedit", PROTOCOLS, GEDIT_EN.spec).settings)
    prompts = read_prompts(settings.prompts)
    found = {"SC": prompts.about("make it blue"), "PQ": prompts.quality}
    for kind, text in found.items():
        assert hashlib.sha256(text.encode()).hexdigest() == GOLDEN["prompts"][kind]["sha256"]


def test_protocol_mistakes_are_named(tmp_path: Path) -> None:
    text = (PROTOCOLS / "gedit.toml").read_text().replace('"gpt-4.1"', "4")
    (tmp_path / "mine.toml").write_text(text)
    with pytest.raises(UserError, match=r"protocol setting 'judge.model' cannot be 4"):
        GEDIT_EN.protocol(str(tmp_path / "mine.toml"))


def observations(language: str) -> Observations:
    rows = [row for row in GOLDEN["stats_rows"] if row["instruction_language"] == language]
    frame = pd.DataFrame(
        {
            "group": [row["group"] for row in rows],
            "intersection": [float(row["intersection_exist"]) for row in rows],
            "sc": [float(row["sementics_score"]) for row in rows],
            "pq": [float(row["quality_score"]) for row in rows],
        }
    )
    frame["overall"] = np.sqrt(frame["sc"] * frame["pq"])
    features = {f"{name}_judgings": frame[[name]].to_numpy() for name in ("sc", "pq")}
    return Observations(samples=frame, features=features)


@pytest.mark.parametrize("language", LANGUAGES)
def test_figures_are_the_published_scripts(language: str) -> None:
    seen, expected = observations(language), GOLDEN["stats"][language]
    full = [metric.score(seen, {}).value for metric in (SEMANTICS, QUALITY, OVERALL)]
    assert full == pytest.approx(expected["fullset_macro"], abs=1e-12)
    common = OVERALL_INTERSECTION.score(seen, {})
    assert common.value == pytest.approx(expected["intersection_macro"][2], abs=1e-12)
    micro = GOLDEN["lmms_eval_style_micro_mean_for_contrast"][language]
    assert full[0] != pytest.approx(micro[0], abs=0.01)


def test_the_interval_resamples_within_groups() -> None:
    draw = np.random.default_rng(1)
    groups = np.repeat(np.array(GROUPS, object), 40)
    # Groups differ by far more than samples of one: an interval over all samples would be wider.
    level = dict(zip(GROUPS, np.linspace(0, 10, len(GROUPS)), strict=True))
    values = np.array([level[group] for group in groups]) + draw.normal(0, 0.5, len(groups))
    frame = pd.DataFrame({"group": groups, "intersection": 1.0, "sc": values})
    features = {"sc_judgings": values[:, None], "pq_judgings": values[:, None]}
    cell = SEMANTICS.score(Observations(samples=frame, features=features), {})
    assert cell.value == pytest.approx(macro_mean(values, groups))
    assert cell.ci_low is not None
    assert cell.ci_high is not None
    half = (cell.ci_high - cell.ci_low) / 2
    assert half == pytest.approx(1.96 * 0.5 / np.sqrt(len(values)), rel=0.2)
    assert cell.ci_low < cell.value < cell.ci_high


def test_groups_that_are_not_there_are_told() -> None:
    frame = pd.DataFrame({"group": ["ps_human"], "intersection": [0.0], "sc": [5.0]})
    one = np.array([[5.0]])
    seen = Observations(samples=frame, features={"sc_judgings": one, "pq_judgings": one})
    cell = SEMANTICS.score(seen, {})
    assert (cell.value, cell.ci_low, cell.note) == (5.0, None, "over 1 of 11 groups")


def test_every_form_of_the_data_holds_the_same(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    data = write_data(tmp_path / "data")
    rows = [json.loads(line) for line in (data / "metadata.jsonl").read_text().splitlines()]
    images = [str(data / row["input_image"]) for row in rows]
    table = datasets.Dataset.from_list(
        [
            {**row, "input_image": path, "input_image_raw": path}
            for row, path in zip(rows, images, strict=True)
        ]
    )
    for column in ("input_image", "input_image_raw"):
        table = table.cast_column(column, datasets.Image())
    datasets.DatasetDict({"train": table}).save_to_disk(str(tmp_path / "saved"))
    (tmp_path / "parquet" / "data").mkdir(parents=True)
    table.to_parquet(str(tmp_path / "parquet" / "data" / "train-00000-of-00001.parquet"))
    forms = [data, data / "metadata.jsonl", tmp_path / "saved", tmp_path / "parquet"]
    for language in LANGUAGES:
        sources = [open_gedit(str(form), language) for form in forms]
        for source in sources:
            assert source.edits == sources[0].edits
            name = f"{GROUPS[4]}/{language}/{GROUPS[4]}1"
            assert source.edits[name].instruction == instruction(GROUPS[4], language, 1)
            assert [len(source.read(i)) for i in source.ids()] == [
                len(sources[0].read(i)) for i in sources[0].ids()
            ]


def _changed(data: Path, **changes: object) -> str:
    lines = (data / "metadata.jsonl").read_text(encoding="utf-8").splitlines()
    lines[2] = json.dumps({**json.loads(lines[2]), **changes})
    (data / "metadata.jsonl").write_text("\n".join(lines), encoding="utf-8")
    return str(data)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"instruction_language": "zh"}, "row 3: unknown language 'zh': use en or cn"),
        ({"task_type": "sky"}, "row 3: unknown group 'sky': use one of background_change"),
        ({"key": "../../etc/passwd"}, "is no file name"),
        ({"key": ""}, "row 3: 'key' is '', expected a text"),
        ({"instruction": None}, "row 3: 'instruction' is None, expected a text"),
        ({"Intersection_exist": "yes"}, "expected true or false"),
        ({"input_image": 7}, "line 3: 'input_image' is 7, expected a path"),
        ({"key": "background_change0"}, "rows 1 and 3 are both 'background_change/en/"),
    ],
)
def test_rows_that_are_wrong_are_named(
    tmp_path: Path, changes: dict[str, object], words: str
) -> None:
    data = write_data(tmp_path / "data")
    with pytest.raises(UserError) as error:
        open_gedit(_changed(data, **changes), "en")
    assert words in str(error.value)


def test_a_language_that_is_not_there_and_data_that_is_none(tmp_path: Path) -> None:
    data = write_data(tmp_path / "data")
    kept = [line for line in (data / "metadata.jsonl").read_text().splitlines() if '"en"' in line]
    (data / "metadata.jsonl").write_text("\n".join(kept))
    with pytest.raises(UserError, match="holds only en, nothing of language 'cn'"):
        open_gedit(str(data), "cn")
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="cannot be read"):
        open_gedit(str(tmp_path / "empty"), "en")
    with pytest.raises(UserError, match="does not exist"):
        open_gedit(str(tmp_path / "nowhere"), "en")
    with pytest.raises(UserError, match="UWT_EVAL_OFFLINE is set"):
        open_gedit(None, "en")
    with pytest.raises(UserError, match="only scores files"):
        GEDIT.open(str(data), GEDIT.protocol("gedit"))


def test_a_replaced_copy_in_parquet_is_read_anew_whatever_its_time(tmp_path: Path) -> None:
    data = write_data(tmp_path / "data")
    rows = [json.loads(line) for line in (data / "metadata.jsonl").read_text().splitlines()]
    path = tmp_path / "parquet" / "train.parquet"
    path.parent.mkdir()
    for count in (len(rows), len(rows) - 2):
        kept = [{**row, "input_image_raw": row["input_image"]} for row in rows[:count]]
        path.unlink(missing_ok=True)
        pq.write_table(pa.Table.from_pylist(kept), path)
        os.utime(path, (1_600_000_000, 1_600_000_000))
        edits = [
            edit for language in LANGUAGES for edit in open_gedit(str(path.parent), language).edits
        ]
        assert len(edits) == count


@pytest.mark.parametrize("form", ["parquet", "saved"])
def test_a_copy_with_several_splits_and_none_that_is_published_is_refused(
    form: str, tmp_path: Path
) -> None:
    import datasets

    tables = {split: datasets.Dataset.from_dict({"key": ["a"]}) for split in ("test", "val")}
    if form == "saved":
        datasets.DatasetDict(tables).save_to_disk(str(tmp_path / "data"))
    else:
        for split, table in tables.items():
            table.to_parquet(str(tmp_path / "data" / f"{split}-00000-of-00001.parquet"))
    with pytest.raises(UserError, match=r"several splits \(test, val\) and not one .*'train'"):
        open_gedit(str(tmp_path / "data"), "en")


def test_an_image_that_cannot_be_read_fails_its_own_sample(tmp_path: Path) -> None:
    data = write_data(tmp_path / "data")
    (data / "images" / f"{GROUPS[0]}-0.png").write_bytes(b"none")
    (data / "images" / f"{GROUPS[0]}-1.png").unlink()
    opened = GEDIT_EN.open(str(data), GEDIT_EN.protocol("gedit"))
    samples = opened.samples(None)
    assert len(samples) == 22
    for sample in samples[:2]:
        with pytest.raises(DecodeError):
            opened.load(sample)
    original = opened.load(samples[2])
    assert original.given.shape[0] * original.given.shape[1] >= 512 * 512 * 0.9
    with Image.open(data / "images" / f"{GROUPS[1]}-0.png") as image:
        assert original.judged.shape == (image.height, image.width, 3)


def test_a_choice_of_samples_reads_no_other_images(tmp_path: Path) -> None:
    opened = GEDIT_EN.open(str(write_data(tmp_path / "data")), GEDIT_EN.protocol("gedit"))
    seen: list[int] = []
    chosen = opened.samples(3, lambda done, total: seen.append(total))
    assert len(chosen) == 3
    assert set(seen) == {6}
    assert {sample.sha256 for sample in chosen} <= {s.sha256 for s in opened.samples(None)}
    assert opened.notice == "22 edits here, the published data set has 606"
