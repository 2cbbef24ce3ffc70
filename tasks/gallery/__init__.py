"""Galleries: a page and contact sheets of what a benchmark's model made and how it was judged.

A task's `conclude` hands its cards to `write_gallery`:

```python
card = Card(
    id="00012/2", title="a photo of two clocks", verdict=Verdict("wrong: one clock", good=False),
    pictures=[Shot(root / "images/00012/samples/00002.png", boxes=[Box("clock", (3, 9, 80, 90))])],
)
write_gallery(root, "GenEval", [card])
```
"""

from tasks.gallery.cards import Box, Card, Shot, Verdict, card_of
from tasks.gallery.write import write_gallery

__all__ = ["Box", "Card", "Shot", "Verdict", "card_of", "write_gallery"]
