"""The search for the highest setting that fits: what it promises, however sizes rise."""

from __future__ import annotations

from hypothesis import given, settings, strategies as st

from harness.baselines.codecs import Avif, Jpeg, Rise, highest_that_fits

RISE = Rise(0.03, falls=(0.04, 0.025))
SIZES = st.lists(st.integers(1, 5000), min_size=1, max_size=80)


def search(sizes: list[int], budget: int, sketch: list[int], start: int) -> int | None:
    return highest_that_fits(
        len(sizes), budget, sizes.__getitem__, sketch.__getitem__, lambda place: RISE, start
    )


@settings(max_examples=300)
@given(data=st.data(), sizes=SIZES, budget=st.integers(1, 5000))
def test_of_rising_sizes_it_is_the_highest_wherever_the_search_begins(
    data: st.DataObject, sizes: list[int], budget: int
) -> None:
    sizes.sort()
    start = data.draw(st.integers(0, len(sizes) - 1))
    sketch = data.draw(st.lists(st.integers(1, 5000), min_size=len(sizes), max_size=len(sizes)))
    fits = [place for place, size in enumerate(sizes) if size <= budget]
    assert search(sizes, budget, sketch, start) == max(fits, default=None)


@settings(max_examples=300)
@given(data=st.data(), sizes=SIZES, budget=st.integers(1, 5000))
def test_of_any_sizes_it_fits_and_none_above_it_does_that_the_margin_covers(
    data: st.DataObject, sizes: list[int], budget: int
) -> None:
    start = data.draw(st.integers(0, len(sizes) - 1))
    found = search(sizes, budget, sizes, start)
    assert found is None or sizes[found] <= budget
    place = -1 if found is None else found
    above = sizes[place + 1 : place + 2 + len(RISE.falls)]
    for at, size in enumerate(above):
        larger = zip(reversed(above[:at]), RISE.falls, strict=False)
        if all(each <= budget * (1 + fall) for each, fall in larger):
            assert size > budget


def test_avif_looks_past_a_file_that_is_hardly_too_large() -> None:
    """Of a shipped photograph two levels take so many bytes: the second fits again."""
    sizes = [1184, 1249, 1318, 1387, 1377, 1496]
    for start in range(len(sizes)):
        found = highest_that_fits(
            len(sizes), 1380, sizes.__getitem__, sizes.__getitem__, lambda _: Avif.rise, start
        )
        assert found == 4


def test_few_files_are_made_where_sizes_rise_evenly() -> None:
    sizes = [round(200 * 1.03**place) for place in range(164)]
    for budget in (250, 1024, 4096):
        made: list[int] = []

        def size(place: int, made: list[int] = made) -> float:
            made.append(place)
            return sizes[place]

        found = highest_that_fits(
            164, budget, size, lambda place: 0.9 * sizes[place], lambda place: RISE, 63
        )
        assert found == max(place for place in range(164) if sizes[place] <= budget)
        assert len(made) == len(set(made)) <= 6


def test_jpeg_looks_past_a_file_that_is_far_too_large() -> None:
    """Of a picture of cells the qualities from 1 on take so many bytes: the fifth fits again."""
    sizes = [669, 669, 669, 740, 675, 735, 729, 723, 760, 790]
    for start in range(len(sizes)):
        found = highest_that_fits(
            len(sizes), 700, sizes.__getitem__, sizes.__getitem__, lambda _: Jpeg.rise, start
        )
        assert found == 4
