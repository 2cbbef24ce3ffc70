"""GEdit-Bench in small: data, prompts, a judge's replies, all of our own."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from tasks.gedit.edits import GROUPS

PROTOCOLS = Path(__file__).parents[3] / "tasks" / "protocols"
PROMPTS = {
    "_context_no_delimit": "Judge.",
    "_prompts_0shot_two_image_edit_rule": "Two images.",
    "_prompts_0shot_tie_rule_SC": "Was this done: <instruction>",
    "_prompts_0shot_rule_PQ": "Does it look real?",
}
SC_PROMPT = "Judge.\nTwo images.\nWas this done: <instruction>"
PQ_PROMPT = "Judge.\nDoes it look real?"
NASTY = 'paint <script>alert("x")</script> | **bold** `code` {{ 1 }} & "it"'


def instruction(group: str, language: str, number: int) -> str:
    """One per sample; the first is made to break pages."""
    if group == GROUPS[0] and number == 0:
        return NASTY
    return f"改变 {group} {number}" if language == "cn" else f"change {group} {number}"


def write_data(root: Path, each: int = 2) -> Path:
    """A folder with `metadata.jsonl` of both languages, `each` samples a group."""
    draw = np.random.default_rng(0)
    (root / "images").mkdir(parents=True)
    with (root / "metadata.jsonl").open("w", encoding="utf-8") as file:
        for group in GROUPS:
            for number in range(each):
                height, width = draw.integers(24, 48, 2)
                pixels = draw.integers(0, 256, (height, width, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(root / f"images/{group}-{number}.png")
                for language in ("en", "cn"):
                    row = {
                        "task_type": group,
                        "key": f"{group}{number}",
                        "instruction": instruction(group, language, number),
                        "instruction_language": language,
                        "Intersection_exist": number % 2 == 0,
                        "input_image": f"images/{group}-{number}.png",
                    }
                    file.write(json.dumps(row, ensure_ascii=False) + "\n")
    return root


def write_edits(root: Path, data: Path, languages: tuple[str, ...] = ("en",)) -> Path:
    """Edited pictures in the published layout: the originals mirrored."""
    for path in (data / "images").iterdir():
        group, number = re.fullmatch(r"(.*)-(\d+)", path.stem).groups()  # type: ignore[union-attr]
        for language in languages:
            target = root / "fullset" / group / language / f"{group}{number}.png"
            target.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.asarray(Image.open(path))[:, ::-1].copy()).save(target)
    return root


def write_prompts(root: Path, prompts: dict[str, str] = PROMPTS) -> Path:
    """A package `lmms_eval` that holds nothing but these prompts, and never runs."""
    folder = root / "lmms_eval" / "tasks" / "gedit_bench" / "viescore"
    folder.mkdir(parents=True)
    (root / "lmms_eval" / "__init__.py").write_text("raise RuntimeError('imported')\n")
    lines = [f"{name} = {text!r}\n" for name, text in prompts.items()]
    (folder / "vie_prompts.py").write_text("".join(lines), encoding="utf-8")
    return root


def write_protocol(path: Path, **changes: Any) -> Path:
    """The named protocol with the small prompts' digests and some settings changed."""
    text = (PROTOCOLS / "gedit.toml").read_text(encoding="utf-8")
    for name, prompt in (("semantics", SC_PROMPT), ("quality", PQ_PROMPT)):
        digest = hashlib.sha256(prompt.encode()).hexdigest()
        text = re.sub(rf'{name} = "\w{{64}}"', f'{name} = "{digest}"', text)
    for name, value in changes.items():
        text = re.sub(rf"(?m)^{name} = .*$", f"{name} = {json.dumps(value)}", text)
    path.write_text(text, encoding="utf-8")
    return path


def reply(*scores: object, reasoning: str = "because") -> str:
    """What a good judge says."""
    return json.dumps({"score": scores, "reasoning": reasoning})
