"""What the documents of text-to-image benchmarks show works just as it stands there."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from harness.data.assets import ASSETS
from harness.interfaces.registry import MODELS
from tasks.dpg.data import SMALL_FILE as SMALL_QUESTIONS
from tasks.geneval.task import GENEVAL
from tests.conftest import REPOSITORY, CommandLine
from tests.tasks.painter import SIDE, Painter

DOCUMENTS = ("geneval", "dpg", "geneval2")
BLOCK = re.compile(r"```\n(.*?)```", re.DOTALL)


def lines(document: str) -> list[str]:
    text = (REPOSITORY / "docs" / f"{document}.md").read_text(encoding="utf-8")
    return [line for block in BLOCK.findall(text) for line in block.splitlines()]


COMMANDS = [line for document in DOCUMENTS for line in lines(document)]
RUNS = [line for line in COMMANDS if line.startswith("uwt-eval run")]
SCRIPTS = [line for line in COMMANDS if line.startswith("python")]


@pytest.fixture
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the files that the documents name, and a model called MODEL."""
    from PIL import Image

    registered = {**MODELS._registered, "MODEL": lambda: Painter([])}
    monkeypatch.setattr(MODELS, "_registered", registered)
    monkeypatch.chdir(tmp_path)
    # In the layout of DPG-Bench and in that of GenEval.
    for name in ("kitchen.png", "00000/samples/0000.png"):
        path = tmp_path / "FOLDER" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (2 * SIDE, 2 * SIDE)).save(path)
    shutil.copy(SMALL_QUESTIONS, tmp_path / "dpg_bench.csv")
    Image.new("RGB", (SIDE, SIDE)).save(tmp_path / "FOLDER/00000.png")
    (tmp_path / "geneval2_data.jsonl").write_text(lines("geneval2")[3])
    (tmp_path / "GENAI").mkdir()
    (tmp_path / "GENAI/genai_image.json").write_text('{"00000": {"prompt": "a sock"}}')
    (tmp_path / "GENAI/genai_skills.json").write_text('{"basic": [0]}')
    return tmp_path


@pytest.mark.parametrize("command", RUNS)
def test_run_commands(command: str, workplace: Path, uwt_eval: CommandLine) -> None:
    result = uwt_eval(*shlex.split(command)[1:], "--dry-run")
    assert result.code == 0, result.err


def test_assets_exist() -> None:
    fetched = [line for line in COMMANDS if line.startswith("uwt-eval assets fetch")]
    names = [name for line in fetched for name in line.split()[3:]]
    assert len(names) == 3
    assert set(names) <= set(ASSETS)


def write_pictures(workplace: Path, folder: str) -> None:
    """Four pictures of a run whose images were judged elsewhere."""
    from PIL import Image

    place = workplace / "RUN/images" / folder
    place.mkdir(parents=True)
    for number in range(4):
        Image.new("RGB", (SIDE, SIDE)).save(place / f"{number:04d}.png")


def gallery(workplace: Path) -> str:
    (page,) = workplace.glob("runs/*/gallery.html")
    return page.read_text(encoding="utf-8")


def test_the_published_detectors_file_is_read(workplace: Path, uwt_eval: CommandLine) -> None:
    (example,) = (line for line in lines("geneval") if line.startswith("{"))
    metadata = json.loads(example)
    four = [{**metadata, "filename": f"00000/samples/{n:04d}.png"} for n in range(4)]
    text = "".join(json.dumps(each) + "\n" for each in four)
    (workplace / "detections.jsonl").write_text(text)
    write_pictures(workplace, "00000/samples")
    (command,) = (line for line in lines("geneval") if line.startswith("uwt-eval score"))
    result = uwt_eval(*shlex.split(command)[1:], "--json")
    assert result.code == 0, result.err
    (record,) = result.records
    assert (record["model"], record["metrics"]["single_object"]["value"]) == ("MODEL", 1)
    assert "a photo of a bench" in gallery(workplace)


def test_answers_are_read(workplace: Path, uwt_eval: CommandLine) -> None:
    (example,) = (line for line in lines("dpg") if line.startswith("{"))
    answer = json.loads(example)
    row = {
        **answer,
        "text": "x",
        "dependency": "0",
        "tuple": "entity - whole (x)",
        "question_natural_language": "Is it?",
    }
    write_pictures(workplace, answer["item_id"])
    (workplace / "RUN/questions.jsonl").write_text(json.dumps(row) + "\n")
    four = [{**answer, "crop": crop} for crop in range(4)]
    text = "".join(json.dumps(each) + "\n" for each in four)
    (workplace / "answers.jsonl").write_text(text)
    (command,) = (line for line in lines("dpg") if line.startswith("uwt-eval score"))
    result = uwt_eval(*shlex.split(command)[1:], "--json")
    assert result.code == 0, result.err
    assert result.records[0]["metrics"]["dpg_overall"]["value"] == 100
    assert "Is it?" in gallery(workplace)


@pytest.mark.parametrize("command", SCRIPTS)
def test_scripts_take_their_words(command: str) -> None:
    words = shlex.split(command)
    help_text = subprocess.run(
        [sys.executable, "-S", REPOSITORY / words[1], "--help"],
        capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    options = [word for word in words if word.startswith("--")]
    assert all(option in help_text for option in options)


def test_networks_are_the_protocols() -> None:
    text = "\n".join(lines("geneval"))
    settings = GENEVAL.protocol("geneval-hf").settings
    assert settings["detector"]["network"] in text
