"""Detect objects in GenEval's pictures with mmdet, in the official environment; never imported.

    python mmdet_detections.py RUN/images detections.jsonl --config CONFIG.py --weights WEIGHTS.pth

CONFIG and WEIGHTS are mmdet 2.x's mask2former_swin-s-p4-w7-224_lsj_8x2_50e_coco. The environment is
the one of GenEval's own README: Python 3.9, torch 1.12, mmcv-full 1.7.1, mmdet 2.x, open_clip.
Lines are appended one by one: the same command goes on where it was stopped.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import pathlib
import re
from typing import Any, Callable, Iterator, Sequence

NETWORK = "mmdet mask2former_swin-s-p4-w7-224_lsj_8x2_50e_coco"
LEAST = 0.3
"""Detections that score no higher count under no rule of the benchmark."""
COLOURS = ["red", "orange", "yellow", "green", "blue"]
COLOURS += ["purple", "pink", "brown", "black", "white"]
TEMPLATES = ("a photo of a {0} {1}", "a photo of a {0}-colored {1}", "a photo of a {0} object")
RENAMED = {"mouse": "computer mouse", "remote": "tv remote", "keyboard": "computer keyboard"}


def pictures(folder: pathlib.Path) -> Iterator[tuple[pathlib.Path, str, dict[str, Any]]]:
    """Path, name and metadata of every picture `PROMPT/samples/NUMBER.png`."""
    for path in sorted(folder.glob("*/samples/*.png")):
        if re.fullmatch(r"\d+\.png", path.name):
            text = (path.parent.parent / "metadata.jsonl").read_text(encoding="utf-8")
            yield path, path.relative_to(folder).as_posix(), json.loads(text)


def rows_of(result: Any, names: Sequence[str]) -> Iterator[tuple[dict[str, Any], Any]]:
    """Detections above the least score, with masks, from mmdet's boxes and masks by class."""
    for name, boxes, masks in zip(names, *result):
        for box, mask in zip(boxes, masks):
            if box[4] > LEAST:
                row = {"class": name, "box": [float(edge) for edge in box[:4]]}
                yield {**row, "score": float(box[4])}, mask


def add_colours(
    path: pathlib.Path, found: Any, metadata: dict[str, Any], classify: Callable[..., str]
) -> None:
    """Classify every detection of a class whose colour the prompt names."""
    from PIL import Image

    wanted = {each["class"] for each in metadata["include"] if "color" in each}
    with Image.open(path, formats=("PNG", "JPEG", "WEBP")) as opened:
        image = opened.convert("RGB")
    for row, mask in found:
        if row["class"] in wanted:
            grey = Image.new("RGB", image.size, "#999")
            crop = Image.composite(image, grey, Image.fromarray(mask))
            x0, y0, x1, y1 = (round(edge) for edge in row["box"])
            row["color"] = classify(crop.crop((x0, y0, x1, y1)), row["class"])


def colour_classifier() -> Callable[..., str]:
    """A function of a crop and a class name that tells the colour."""
    import open_clip
    import torch

    name = "ViT-L-14-quickgelu"
    model, _, transform = open_clip.create_model_and_transforms(name, "openai", device="cuda")
    tokenizer = open_clip.get_tokenizer(name)
    model.eval()
    vectors: dict[str, Any] = {}

    def unit(rows: Any) -> Any:
        return rows / rows.norm(dim=-1, keepdim=True)

    def classify(crop: Any, thing: str) -> str:
        with torch.no_grad(), torch.cuda.amp.autocast():
            if thing not in vectors:
                rows = []
                for colour in COLOURS:
                    texts = [template.format(colour, thing) for template in TEMPLATES]
                    rows.append(unit(unit(model.encode_text(tokenizer(texts).cuda())).mean(0)))
                vectors[thing] = torch.stack(rows)
            seen = unit(model.encode_image(transform(crop)[None].cuda()))
            return COLOURS[int((seen @ vectors[thing].T).argmax())]

    return classify


def keep_whole_lines(path: pathlib.Path) -> set[str]:
    """Names of the pictures that the file has; a line that was cut short is taken out of it."""
    text = path.read_text(encoding="utf-8") if path.is_file() else ""
    whole = text[: text.rfind("\n") + 1]
    temporary = path.with_name(path.name + ".part")
    temporary.write_text(whole, encoding="utf-8")
    temporary.replace(path)
    return {json.loads(line)["filename"] for line in whole.split("\n") if line}


def detect_all(
    folder: pathlib.Path,
    target: pathlib.Path,
    weights: str,
    detect: Callable[[str], Any],
    names: Sequence[str],
    classify: Callable[..., str],
) -> None:
    """Write a line for every picture that has none yet."""
    done = keep_whole_lines(target)
    with target.open("a", encoding="utf-8") as file:
        for path, name, metadata in pictures(folder):
            if name in done:
                continue
            found = list(rows_of(detect(str(path)), names))
            add_colours(path, found, metadata, classify)
            line = {"filename": name, "metadata": metadata, "detector": NETWORK, "weights": weights}
            file.write(json.dumps({**line, "detections": [row for row, _ in found]}) + "\n")
            file.flush()


def main() -> None:
    """Read the command line, load the networks, detect."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("images", type=pathlib.Path)
    parser.add_argument("detections", type=pathlib.Path)
    parser.add_argument("--config", required=True)
    parser.add_argument("--weights", type=pathlib.Path, required=True)
    given = parser.parse_args()

    from mmdet.apis import inference_detector, init_detector

    model = init_detector(given.config, str(given.weights), device="cuda:0")
    names = [RENAMED.get(name, name) for name in model.CLASSES]
    digest = hashlib.sha256(given.weights.read_bytes()).hexdigest()

    def detect(path: str) -> Any:
        return inference_detector(model, path)

    detect_all(given.images, given.detections, digest, detect, names, colour_classifier())


if __name__ == "__main__":
    main()
