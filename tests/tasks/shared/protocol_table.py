"""How protocols differ, from their files: `python -m tests.tasks.shared.protocol_table`."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from harness.engine import protocols
from harness.interfaces.types import TaskSpec, dotted
from harness.sets import FILES
from tasks import PROTOCOLS
from tasks.asked.genai import GENAI_BENCH
from tasks.asked.geneval2 import GENEVAL2
from tasks.dpg.task import DPG
from tasks.faces.task import FACE_RECON
from tasks.gedit.task import GEDIT_EN
from tasks.gen.task import IMAGENET_GEN
from tasks.geneval.task import GENEVAL
from tasks.recon.task import COCO_RECON, IMAGENET_RECON, IMAGENET_RECON_NATIVE
from tasks.text.task import TEXT_RECON
from tasks.vqa.task import VQAV2
from tasks.zeroshot.task import IMAGENET_ZEROSHOT

DOCUMENT = Path(__file__).parents[3] / "docs" / "protocols.md"
BEGIN = "<!-- made by python -m tests.tasks.shared.protocol_table -->"
END = "<!-- end -->"
_DIGEST_DIGITS = 12


def _cell(value: Any) -> str:
    """A value in print; digests and lists are shortened."""
    if isinstance(value, list):
        return f"{value[0]} … {value[-1]}"
    text = str(value)
    return f"{text[:_DIGEST_DIGITS]}…" if re.fullmatch(r"[0-9a-f]{64}", text) else text


def table(spec: TaskSpec) -> str:
    """One Markdown table for a task: a row a setting with its stage, a column a protocol."""
    loaded = {name: protocols.load(name, PROTOCOLS, spec) for name in spec.protocols}
    columns = {name: dotted(protocol.settings) for name, protocol in loaded.items()}
    stages = {key: stage for each in loaded.values() for key, stage in each.stages.items()}
    lines = [
        f"| setting | stage | {' | '.join(f'`{name}`' for name in columns)} |",
        f"| --- | --- |{' --- |' * len(columns)}",
    ]
    for key in dict.fromkeys(key for column in columns.values() for key in column):
        cells = [_cell(column[key]) if key in column else "—" for column in columns.values()]
        lines.append(f"| `{key}` | {stages[key]} | {' | '.join(cells)} |")
    digests = [f"`{protocol.digest[:_DIGEST_DIGITS]}`" for protocol in loaded.values()]
    lines.append(f"| digest | | {' | '.join(digests)} |")
    return "\n".join(lines)


def section() -> str:
    """Everything between the document's markers."""
    parts = []
    for title, spec in (
        ("`uwt-eval metrics A B`", FILES),
        ("`imagenet-recon`", IMAGENET_RECON.spec),
        ("`coco-recon`", COCO_RECON.spec),
        ("`imagenet-recon-native` and `coco-recon-native`", IMAGENET_RECON_NATIVE.spec),
        ("`text-recon`", TEXT_RECON.spec),
        ("`face-recon`", FACE_RECON.spec),
        ("`imagenet-zeroshot`", IMAGENET_ZEROSHOT.spec),
        ("`imagenet-gen`", IMAGENET_GEN.spec),
        ("`vqav2`, and with other names of the task the other suites of `vqa`", VQAV2.spec),
        ("`geneval` and `geneval-long`", GENEVAL.spec),
        ("`dpg`", DPG.spec),
        ("`geneval2`", GENEVAL2.spec),
        ("`genai-bench`", GENAI_BENCH.spec),
        ("`gedit-en` and `gedit-cn`", GEDIT_EN.spec),
    ):
        parts += [f"### {title}", table(spec)]
    return f"{BEGIN}\n\n" + "\n\n".join(parts) + f"\n\n{END}"


def updated(document: str) -> str:
    """The document with its tables made anew."""
    begin, end = document.index(BEGIN), document.index(END) + len(END)
    return document[:begin] + section() + document[end:]


if __name__ == "__main__":
    DOCUMENT.write_text(updated(DOCUMENT.read_text(encoding="utf-8")), encoding="utf-8")
