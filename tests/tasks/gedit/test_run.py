from __future__ import annotations

import base64
import io
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from harness.interfaces import Code
from harness.interfaces.registry import MODELS
from harness.interfaces.types import ModelCard
from harness.judges.endpoint import Patience
from tasks.gedit.edits import GROUPS
from tasks.gedit.settings import InputSize
from tests.conftest import CommandLine
from tests.harness.judges.endpoint import FAULTS
from tests.tasks.gedit.conftest import Bench
from tests.tasks.gedit.small import NASTY, PQ_PROMPT, SC_PROMPT, reply, write_edits, write_protocol


def run_folder(bench: Bench) -> Path:
    (folder,) = bench.runs.iterdir()
    return folder


def rows_of(bench: Bench) -> pd.DataFrame:
    return pd.read_parquet(run_folder(bench) / "samples.parquet")


def test_a_folder_of_edits_is_judged_and_scored(bench: Bench, uwt_eval: CommandLine) -> None:
    result = uwt_eval(*bench.arguments())
    assert result.code == 0, result.err
    (record,) = result.records
    assert record["status"] == "complete"
    assert record["n"] == 22
    assert record["provenance"]["notice"] == "22 edits here, the published data set has 606"
    rows = rows_of(bench)
    expected = rows.groupby("group")[["sc", "pq", "overall"]].mean().mean()
    for metric, column in (("semantics", "sc"), ("quality", "pq"), ("gedit_overall", "overall")):
        cell = record["metrics"][metric]
        assert cell["value"] == pytest.approx(expected[column])
        assert cell["ci_low"] < cell["value"] < cell["ci_high"]
        assert cell["n"] == 22
        assert record["metrics"][f"{metric}_intersection"]["n"] == 11
    assert np.allclose(rows["overall"], np.sqrt(rows["sc"] * rows["pq"]))


def test_the_record_says_that_a_judge_took_no_temperature(
    bench: Bench, uwt_eval: CommandLine
) -> None:
    text = bench.protocol.read_text()
    bench.protocol.write_text(text.replace("max_tokens =", "temperature = 0.5\nmax_tokens ="))
    bench.endpoint.unknown = ("temperature",)
    result = uwt_eval(*bench.arguments(), "--limit", "2")
    assert result.code == 0, result.err
    (record,) = result.records
    judge = record["provenance"]["judges"]["gedit_judge"]
    assert judge["temperature"] == "0.5 is not taken here: none is sent"
    assert judge["endpoint"] == bench.endpoint.url
    asked = len(bench.endpoint.bodies)
    assert uwt_eval(*bench.arguments(), "--limit", "2").code == 0
    assert len(bench.endpoint.bodies) == asked


def test_the_judge_sees_text_then_original_then_edit(bench: Bench, uwt_eval: CommandLine) -> None:
    uwt_eval(*bench.arguments(), "--limit", "1")
    (sample,) = rows_of(bench)["id"]
    group, _, key = sample.split("/")
    bodies = [body["messages"][0]["content"] for body in bench.endpoint.bodies]
    (sc,) = [content for content in bodies if len(content) == 3]
    (pq,) = [content for content in bodies if len(content) == 2]
    instruction = rows_of(bench)["instruction"][0]
    assert sc[0] == {"type": "text", "text": SC_PROMPT.replace("<instruction>", instruction)}
    assert pq[0] == {"type": "text", "text": PQ_PROMPT}
    shown = [part["image_url"]["url"] for part in (*sc[1:], *pq[1:])]
    assert all(url.startswith("data:image/jpeg;base64,") for url in shown)
    original, edit, alone = (
        Image.open(io.BytesIO(base64.b64decode(url.partition(",")[2]))) for url in shown
    )
    assert shown[1] == shown[2]
    with Image.open(bench.data / "images" / f"{group}-{key.removeprefix(group)}.png") as source:
        buffer = io.BytesIO()
        source.convert("RGB").save(buffer, format="JPEG", quality=75)
        assert base64.b64encode(buffer.getvalue()).decode() == shown[0].partition(",")[2]
        assert edit.size == alone.size == source.size == original.size


def test_the_run_directory_holds_the_published_layout_and_a_gallery(
    bench: Bench, uwt_eval: CommandLine
) -> None:
    uwt_eval(*bench.arguments())
    root = run_folder(bench)
    for group in GROUPS:
        for number in range(2):
            stem = root / "images" / "fullset" / group / "en" / f"{group}{number}"
            original = np.asarray(Image.open(f"{stem}_SRCIMG.png"))
            assert np.array_equal(np.asarray(Image.open(f"{stem}.png")), original[:, ::-1])
    page = (root / "gallery.html").read_text(encoding="utf-8")
    assert page.count("<article") == 22
    assert page.count("data:image/jpeg") == 44
    assert page.count("<script") == 1
    assert NASTY not in page
    assert "paint &lt;script&gt;" in page
    groups = pd.read_csv(root / "groups.csv")
    assert list(groups[groups["set"] == "full"]["n"]) == [2] * 11
    assert list(groups[groups["set"] == "intersection"]["n"]) == [1] * 11
    judge = json.loads((root / "judge.json").read_text())
    assert judge["replies"] == 44
    assert judge["prompt_tokens"] == 4400
    assert judge["models"] == {"gpt-4.1-2025-04-14": 44}
    assert judge["cost_usd"] is None


def test_a_second_run_asks_nothing(
    bench: Bench, uwt_eval: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = uwt_eval(*bench.arguments()).records[0]["metrics"]
    asked = len(bench.endpoint.bodies)
    monkeypatch.delenv("UWT_EVAL_JUDGE_KEY")  # What is finished needs no judge.
    assert uwt_eval(*bench.arguments()).records[0]["metrics"] == first
    bench.runs = bench.runs.with_name("elsewhere")
    monkeypatch.setenv("UWT_EVAL_JUDGE_KEY", "another")
    assert uwt_eval(*bench.arguments()).records[0]["metrics"] == first
    assert len(bench.endpoint.bodies) == asked


def test_every_fault_is_accounted_for_and_the_next_run_asks_for_no_more_than_is_missing(
    bench: Bench, uwt_eval: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("UWT_EVAL_JUDGE_TIMEOUT", "0.3")
    monkeypatch.setattr(Patience.__init__, "__defaults__", (2, 0.01, 0.05))
    bench.endpoint.fault = lambda number: FAULTS[number % 5] if number % 3 else ""
    result = uwt_eval(*bench.arguments(), "--max-failures", "22")
    assert result.code == 0, result.err
    rows = rows_of(bench)
    failures = result.records[0]["failures"]
    counts = rows["status"].value_counts().to_dict()
    assert failures == {name: count for name, count in counts.items() if name != "ok"}
    assert set(failures) <= {"judge_error", "parse_error"}
    assert failures["judge_error"]
    assert rows[rows["status"] == "ok"]["sc"].notna().all()
    assert rows[rows["status"] != "ok"]["sc"].isna().all()
    assert (rows[rows["status"] != "ok"]["error"] != "").all()
    bench.endpoint.fault = lambda number: ""
    again = uwt_eval(*bench.arguments(), "--max-failures", "22").records[0]
    assert "judge_error" not in again["failures"]
    assert max(bench.endpoint.paid.values()) <= 2  # A refused request is asked for once more.


def test_refusals_are_failures_that_say_so(bench: Bench, uwt_eval: CommandLine) -> None:
    bench.endpoint.fault = lambda number: "refusal"
    result = uwt_eval(*bench.arguments(), "--limit", "2")
    assert result.code == 3
    rows = rows_of(bench)
    assert set(rows["status"]) == {"parse_error"}
    assert set(rows["error"]) == {"refused (PQ: I cannot help with that.)"}
    assert len(bench.endpoint.bodies) == 2 * 2 * 2
    assert "refused: PQ: I cannot help" in (run_folder(bench) / "gallery.html").read_text()
    uwt_eval(*bench.arguments(), "--limit", "2")
    assert len(bench.endpoint.bodies) == 2 * 2 * 2


def test_a_reply_that_cannot_be_read_is_asked_for_once_more(
    bench: Bench, uwt_eval: CommandLine
) -> None:
    tries: dict[str, int] = {}

    def answer(text: str, images: list[bytes]) -> str:
        tries[text] = tries.get(text, 0) + 1
        if text == PQ_PROMPT:
            return reply(9, 8)
        return "I like it." if tries[text] == 1 else reply(7, 6)

    bench.endpoint.answer = answer
    result = uwt_eval(*bench.arguments(), "--limit", "1")
    assert result.records[0]["metrics"]["semantics"]["value"] == 6
    assert tries[PQ_PROMPT] == 1
    assert len(bench.endpoint.bodies) == 3
    page = (run_folder(bench) / "gallery.html").read_text()
    assert "SC: I like it." in page


def test_official_asks_for_both_again(bench: Bench, uwt_eval: CommandLine) -> None:
    write_protocol(bench.protocol, replies="official")
    answers = iter(["[7, 12]", "no idea", reply(5), reply(3)])
    bench.endpoint.answer = lambda text, images: next(answers)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("UWT_EVAL_JUDGE_CONCURRENCY", "1")
        result = uwt_eval(*bench.arguments(), "--limit", "1")
    metrics = result.records[0]["metrics"]
    assert (metrics["semantics"]["value"], metrics["quality"]["value"]) == (5, 3)


def test_repeated_judgings_are_averaged_and_their_spread_is_told(
    bench: Bench, uwt_eval: CommandLine
) -> None:
    write_protocol(bench.protocol, judgings=3)
    draws = iter(range(10**6))
    bench.endpoint.answer = lambda text, images: reply(next(draws) % 11, 10)
    result = uwt_eval(*bench.arguments())
    assert len(bench.endpoint.bodies) == 22 * 2 * 3
    cell = result.records[0]["metrics"]["gedit_overall"]
    assert cell["note"].startswith("3 judgings from ")
    assert json.loads((run_folder(bench) / "judge.json").read_text())["replies"] == 132


def test_a_missing_edit_is_a_failure_of_its_own(bench: Bench, uwt_eval: CommandLine) -> None:
    gone = bench.edits / "fullset" / GROUPS[2] / "en" / f"{GROUPS[2]}1.png"
    gone.unlink()
    (bench.edits / "fullset" / GROUPS[3] / "en" / f"{GROUPS[3]}0.png").write_bytes(b"no picture")
    result = uwt_eval(*bench.arguments(), "--max-failures", "2")
    assert result.code == 0, result.err
    assert result.records[0]["failures"] == {"decode_error": 1, "missing": 1}
    assert result.records[0]["n_failed"] == 2
    page = (run_folder(bench) / "gallery.html").read_text()
    assert "missing: no image fullset/" in page


@pytest.mark.parametrize(
    ("variables", "words"),
    [
        ({"UWT_EVAL_JUDGE_KEY": ""}, "no key for the judge endpoint"),
        ({"UWT_EVAL_JUDGE_URL": "http://127.0.0.1:9/v1"}, "cannot be reached"),
        ({"UWT_EVAL_JUDGE_URL": "nonsense"}, "no http(s) URL"),
    ],
)
def test_a_judge_that_cannot_be_asked_is_found_out_before_anything_is_made(
    bench: Bench,
    uwt_eval: CommandLine,
    monkeypatch: pytest.MonkeyPatch,
    variables: dict[str, str],
    words: str,
) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    result = uwt_eval(*bench.arguments())
    assert result.code == 2
    assert words in result.err
    assert "Traceback" not in result.err
    assert not list(bench.runs.rglob("*.png"))


def test_without_the_prompts_the_extra_is_named(
    bench: Bench, uwt_eval: CommandLine, tmp_path: Path
) -> None:
    (tmp_path / "packages/lmms_eval/tasks/gedit_bench/viescore/vie_prompts.py").unlink()
    result = uwt_eval(*bench.arguments())
    assert result.code == 2
    assert 'pip install "uwt-eval[vqa]"' in result.err


def test_other_prompts_than_the_protocols_are_refused(bench: Bench, uwt_eval: CommandLine) -> None:
    text = bench.protocol.read_text().replace('quality = "', 'quality = "0')
    bench.protocol.write_text(text)
    result = uwt_eval(*bench.arguments())
    assert result.code == 2
    assert "the quality prompt is not the protocol's" in result.err


def test_both_languages(bench: Bench, uwt_eval: CommandLine) -> None:
    write_edits(bench.edits, bench.data, ("cn",))
    result = uwt_eval(*bench.arguments("gedit-cn"))
    assert result.code == 0, result.err
    assert all(name.split("/")[1] == "cn" for name in rows_of(bench)["id"])
    assert "改变" in rows_of(bench)["instruction"][3]


def test_edits_in_another_layout_are_refused(bench: Bench, uwt_eval: CommandLine) -> None:
    (bench.edits / "fullset").rename(bench.edits / "other")
    result = uwt_eval(*bench.arguments())
    assert result.code == 2
    assert "lies in the benchmark's layout, whose first picture is 'fullset/" in result.err
    assert not bench.runs.exists()


def test_a_model_that_edits_nothing_is_refused(bench: Bench, uwt_eval: CommandLine) -> None:
    arguments = [part for part in bench.arguments() if part not in ("--images", bench.edits)]
    result = uwt_eval(*arguments, "--model", "identity")
    assert result.code == 2
    assert "gedit-en needs one that edits images" in result.err


class Mirror:
    """Edits by mirroring; what it was given is remembered."""

    card = ModelCard(name="mirror")

    def __init__(self) -> None:
        self.given: list[tuple[str, tuple[int, ...]]] = []

    def load(self, device: str) -> None:
        pass

    def edit(
        self, instructions: Sequence[str], images: Sequence[np.ndarray], seeds: Sequence[int]
    ) -> list[Code]:
        assert len(set(seeds)) == len(seeds)
        self.given += [
            (text, image.shape) for text, image in zip(instructions, images, strict=True)
        ]
        return [
            Code(np.ascontiguousarray(image[:, ::-1]).tobytes(), *image.shape[:2])
            for image in images
        ]

    def decode(self, codes: Sequence[Code], seeds: Sequence[int]) -> torch.Tensor:
        shape = (len(codes), codes[0].height, codes[0].width, 3)
        levels = np.frombuffer(b"".join(code.payload for code in codes), np.uint8).reshape(shape)
        return torch.from_numpy(levels.copy()).permute(0, 3, 1, 2) / 127.5 - 1


def test_a_model_that_edits_is_given_originals_at_its_size(
    bench: Bench, uwt_eval: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = Mirror()
    monkeypatch.setattr(MODELS, "_registered", {**MODELS._registered, "mirror": lambda: model})
    arguments = [part for part in bench.arguments() if part not in ("--images", bench.edits)]
    result = uwt_eval(*arguments, "--model", "mirror", "--limit", "5")
    assert result.code == 0, result.err
    rows = rows_of(bench)
    assert sorted(text for text, _ in model.given) == sorted(rows["instruction"])
    for text, shape in model.given:
        name = rows[rows["instruction"] == text]["id"].item()
        group, _, key = name.split("/")
        with Image.open(bench.data / f"images/{group}-{key.removeprefix(group)}.png") as image:
            width, height = InputSize(
                area=512 * 512, multiple=32, kernel="pil-bicubic"
            ).of_original(*image.size)
            expected = np.asarray(image.convert("RGB").resize((width, height)))
        assert shape == (height, width, 3)
        written = Image.open(run_folder(bench) / f"images/fullset/{name}.png")
        assert np.array_equal(np.asarray(written), expected[:, ::-1])
