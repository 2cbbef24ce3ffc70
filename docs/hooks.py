"""Pages of the site that lie elsewhere in the repository, or are made of its code."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

_ROOT = Path(__file__).resolve().parents[1]
_ELSEWHERE = {
    "README.md": "index.md",
    "CONTRIBUTING.md": "contributing.md",
    "benchmarks/RESULTS.md": "benchmarks.md",
}
_LINK = re.compile(r"(?<=\]\()(?P<path>[^)#:\s]+)(?=[)#])")
_PICTURE = re.compile(r"!\[(?P<text>[^\]]*)\]\(images/(?P<name>[^)]+)\)")
_API = {
    "Evaluate": ("uwt_eval.api", "uwt_eval.results", "uwt_eval.wrapping", "uwt_eval.training"),
    "Models": ("uniwetok.tokenizer.model", "uniwetok.ar.model", "uniwetok.mllm.assistant"),
    "Plug-ins": (
        "harness.interfaces.models",
        "harness.interfaces.tasks",
        "harness.interfaces.observing",
    ),
}


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that do not lie in `docs`."""
    for source, page in _ELSEWHERE.items():
        text = (_ROOT / source).read_text(encoding="utf-8")
        files.append(File.generated(config, page, content=text))
    for page, lines in (("cli.md", _cli()), ("api.md", _api()), ("gallery.md", _gallery())):
        files.append(File.generated(config, page, content="\n".join(lines) + "\n"))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Point links where the pages are on the site; what has no page there is a file's name."""
    del config, files
    own = {page: source for source, page in _ELSEWHERE.items()}.get(page.file.src_uri)
    folder = (_ROOT / own if own else _ROOT / "docs" / page.file.src_uri).parent

    def moved(found: re.Match[str]) -> str:
        target = (folder / found["path"]).resolve()
        if not target.is_relative_to(_ROOT):
            return found["path"]
        path = str(target.relative_to(_ROOT))
        return _ELSEWHERE.get(path, path.removeprefix("docs/"))

    return _LINK.sub(moved, markdown)


def _cli() -> Iterator[str]:
    """Every command with its arguments and options, off the command line itself."""
    import typer

    from harness.cli import build_app

    app: Any = typer.main.get_command(build_app())
    yield "# The command line\n\nMade of the commands' own help."
    for name, command in app.commands.items():
        yield from _command(f"uwt-eval {name}", command, "##")


def _command(name: str, command: Any, heading: str) -> Iterator[str]:
    yield f"\n{heading} `{name}`\n\n{_plain(command.help)}"
    commands = getattr(command, "commands", {})
    if command.params and not commands:
        yield "\n| | |\n| --- | --- |"
    for parameter in () if commands else command.params:
        is_argument = parameter.param_type_name == "argument"
        names = [parameter.name.upper()] if is_argument else [*parameter.opts]
        shown = ", ".join(f"`{each}`" for each in names)
        default = parameter.default
        usual = (
            "" if default in (None, False, ()) or callable(default) else f" Default: `{default}`."
        )
        text = _plain(getattr(parameter, "help", "") or "").replace("|", "\\|").replace("\n", " ")
        yield f"| {shown} | {text}{usual} |"
    for sub, each in commands.items():
        yield from _command(f"{name} {sub}", each, f"{heading}#")


def _plain(text: str) -> str:
    """Help without rich's marks, whose brackets are no links."""
    text = re.sub(r"\[/?(?:bold|dim|italic|green|red|yellow)\]", "", text.strip())
    return text.replace("[", "\\[")


def _api() -> Iterator[str]:
    """The public modules, by their docstrings."""
    yield "# The Python interface"
    for title, modules in _API.items():
        yield f"\n## {title}"
        yield from (f"\n::: {module}" for module in modules)


def _gallery() -> Iterator[str]:
    """Every picture of the documents, once, with where it is explained."""
    yield "# Gallery"
    seen: set[str] = set()
    for document in sorted((_ROOT / "docs").glob("*.md")):
        text = document.read_text(encoding="utf-8")
        title = text.partition("\n")[0].removeprefix("# ")
        for found in _PICTURE.finditer(text):
            if found["name"] not in seen:
                seen.add(found["name"])
                yield f"\n![{found['text']}](images/{found['name']})\n"
                yield f"*{found['text']}*: [{title}]({document.name})"
