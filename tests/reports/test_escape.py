"""Names in each format."""

from __future__ import annotations

import pytest

from harness.commands.formats import csv_text, markdown
from harness.interfaces.errors import one_line
from reports.text import code, latex


def test_lines_and_control_characters_become_spaces() -> None:
    assert one_line(" a\r\n\tb\x00\x1b[31mc\u202ed ") == "a b [31mc d"


def test_markdown_keeps_cell_and_markup_out() -> None:
    text = markdown("a|b\n*c* `d` [e](f) <g> & ~h~ \\")
    assert text == r"a\|b \*c\* \`d\` \[e\](f) &lt;g&gt; &amp; \~h\~ \\"
    assert code("a|b<c>\n") == "<code>a&#124;b&lt;c&gt;</code>"


def test_markdown_links_nothing_and_tells_nobody() -> None:
    text = markdown("see HTTPS://e.org www.e.org @someone, a: b@c")
    assert text == ("see HTTPS:<!-- -->//e.org www<!-- -->.e.org @<!-- -->someone, a: b@<!-- -->c")


def test_latex_keeps_every_character() -> None:
    assert latex(r"a_b & 50% $x^2 {y} #z ~ \ [w] <v>") == (
        r"a\_b \& 50\% \$x\textasciicircum{}2 \{y\} \#z \textasciitilde{} \textbackslash{} "
        r"{[}w{]} \textless{}v\textgreater{}"
    )


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@SUM(A1)"])
def test_csv_is_no_formula(text: str) -> None:
    assert csv_text(text) == "'" + text
    assert csv_text("a" + text) == "a" + text
