"""Ask mPLUG about the grids of a run, in an environment of its own; the program imports this never.

    pip install modelscope torch pillow    # and what DPG-Bench's own requirements list
    python mplug_answers.py RUN answers.jsonl

RUN is a run directory of `uwt-eval run dpg`, or any folder with `questions.jsonl` and `grids/`.
Answers are appended one by one: the same command goes on where it was stopped. Needs nothing newer
than Python 3.8.
"""

from __future__ import annotations

import argparse
import json
import pathlib
from typing import TYPE_CHECKING, Any, Callable, Iterator

if TYPE_CHECKING:
    from PIL.Image import Image

MODEL = "mplug_visual-question-answering_coco_large_en"


def quarters(grid: Image) -> Iterator[tuple[int, Image]]:
    """The four pictures of a grid: top left, top right, bottom left, bottom right."""
    width, height = grid.width // 2, grid.height // 2
    for crop in range(4):
        left, top = crop % 2 * width, crop // 2 * height
        yield crop, grid.crop((left, top, left + width, top + height))


def read_lines(path: pathlib.Path) -> list[dict[str, Any]]:
    """The objects of a JSON lines file; a line that was cut short is left out."""
    objects: list[dict[str, Any]] = []
    for line in path.read_text(encoding="utf-8").split("\n"):
        try:
            objects.append(json.loads(line))
        except ValueError:
            continue
    return objects


def rewrite(path: pathlib.Path, objects: list[dict[str, Any]]) -> None:
    """Write a JSON lines file anew, whole or not at all: without a line that was cut short."""
    temporary = path.with_name(path.name + ".part")
    temporary.write_text("".join(json.dumps(each) + "\n" for each in objects), encoding="utf-8")
    temporary.replace(path)


def unanswered(questions: list[dict[str, Any]], done: set[Any]) -> dict[str, list[Any]]:
    """Questions by grid, without those whose answers are there for all four pictures."""
    grids: dict[str, Any] = {}
    for question in questions:
        key = question["item_id"], int(question["proposition_id"])
        crops = [crop for crop in range(4) if (*key, crop) not in done]
        if crops:
            grids.setdefault(key[0], []).append((question, crops))
    return grids


def answer_all(
    run: pathlib.Path, target: pathlib.Path, answer: Callable[[Image, str], str]
) -> None:
    """Write what `answer(picture, question)` says wherever no answer is there yet."""
    import PIL.Image

    known = read_lines(target) if target.is_file() else []
    rewrite(target, known)
    done = {(each["item_id"], each["proposition_id"], each["crop"]) for each in known}
    with target.open("a", encoding="utf-8") as file:
        for item, asked in unanswered(read_lines(run / "questions.jsonl"), done).items():
            path = run / "grids" / (item + ".png")
            if not path.is_file():
                print("no grid", path)
                continue
            with PIL.Image.open(path, formats=("PNG", "JPEG", "WEBP")) as opened:
                pictures = dict(quarters(opened.convert("RGB")))
            for question, crops in asked:
                for crop in crops:
                    row = {
                        "item_id": item,
                        "crop": crop,
                        "proposition_id": int(question["proposition_id"]),
                        "answer": answer(pictures[crop], question["question_natural_language"]),
                        "model": MODEL,
                    }
                    file.write(json.dumps(row) + "\n")
                    file.flush()


def main() -> None:
    """Read the command line, load mPLUG, answer."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=pathlib.Path)
    parser.add_argument("answers", type=pathlib.Path)
    parser.add_argument("--device", default="gpu")
    given = parser.parse_args()

    from modelscope.pipelines import pipeline
    from modelscope.utils.constant import Tasks

    ask = pipeline(Tasks.visual_question_answering, model="damo/" + MODEL, device=given.device)
    answer_all(
        given.run,
        given.answers,
        lambda picture, text: ask({"image": picture, "question": text})["text"],
    )


if __name__ == "__main__":
    main()
