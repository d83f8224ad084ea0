import base64
import io
import re
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from tumorprog.report.drawing import png
from tumorprog.report.page import Headline, Page, Picture, Section, Table, number, render

VOID = {"meta", "img", "br", "link", "input", "hr"}
HOSTILE = "<script>alert('x')</script>\"'&{{ 7 * 7 }}"


class Document(HTMLParser):
    """Checks that tags nest, and keeps each with its attributes and all text."""

    def __init__(self, source):
        super().__init__()
        self.open, self.tags, self.text = [], [], []
        self.feed(source)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)

    def all(self, tag):
        return [attributes for name, attributes in self.tags if name == tag]

    @property
    def words(self):
        return " ".join(" ".join(self.text).split())


@pytest.fixture(scope="module")
def picture_bytes():
    return png(Figure(figsize=(3, 2)))


def page(picture_bytes, text="plain"):
    metric = {"value": 0.5, "lower": 0.41, "upper": 0.62, "n": 12}
    undefined = {"value": None, "lower": None, "upper": None, "n": 0}
    rows = [
        {"Level": text, "accuracy": metric, "macro_auc": undefined, "n": 1234, "note": None},
        {"Level": "series", "accuracy": metric, "macro_auc": metric, "n": 5, "note": text},
    ]
    picture = Picture(name=text, png=picture_bytes, caption=text, alt=text, source=text)
    return Page(
        title=text,
        summary=text,
        headlines=[
            Headline(label=text, metric=metric, unit=text, note=text),
            Headline(label="paper", metric=text, leaks=True),
        ],
        sections=[
            Section(
                id="grader",
                title=text,
                paragraphs=[text, text],
                tables=[Table(caption=text, rows=rows, source=text, leaking=frozenset({1}))],
                pictures=[picture],
            ),
            Section(id="months", title="Months", pictures=[picture]),
        ],
        footer={text: text, "Seed": "0"},
    )


def test_the_page_is_well_formed_and_every_anchor_leads_somewhere(picture_bytes):
    document = Document(render(page(picture_bytes)))
    ids = [attributes["id"] for _, attributes in document.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    assert {attributes["href"] for attributes in document.all("a")} <= {f"#{name}" for name in ids}
    assert {"#grader", "#months"} <= {attributes["href"] for attributes in document.all("a")}
    labels = [attributes["aria-labelledby"] for _, attributes in document.tags if "aria-labelledby" in attributes]
    assert set(labels) <= set(ids)


def test_the_page_needs_nothing_else_and_runs_no_script(picture_bytes):
    source = render(page(picture_bytes))
    document = Document(source)
    addresses = [attributes[key] for _, attributes in document.tags for key in ("src", "href") if key in attributes]
    assert all(address.startswith(("#", "data:image/png;base64,")) for address in addresses)
    assert not re.search(r"https?:|url\(|@import", source)
    assert not document.all("script")
    assert not document.all("link")
    assert "default-src 'none'" in document.all("meta")[-1]["content"]


def test_every_text_is_escaped_and_still_read_as_it_was_written(picture_bytes):
    source = render(page(picture_bytes, text=HOSTILE))
    document = Document(source)
    assert not document.all("script")
    assert "<script" not in source
    assert "49" not in document.words
    plain = Document(render(page(picture_bytes, text="plain words")))
    assert document.words.count(HOSTILE) == plain.words.count("plain words")
    assert [attributes["alt"] for attributes in document.all("img")] == [HOSTILE, HOSTILE]
    assert len(document.tags) == len(plain.tags)


def test_pictures_are_inside_as_they_were_given_with_their_size_and_words(picture_bytes):
    images = Document(render(page(picture_bytes))).all("img")
    for image in images:
        assert base64.b64decode(image["src"].partition(",")[2]) == picture_bytes
        assert (image["width"], image["height"]) == ("300", "200")
        assert image["alt"]
    assert len(images) == 2


def test_tables_have_headers_for_columns_and_rows_a_caption_and_their_source(picture_bytes):
    document = Document(render(page(picture_bytes)))
    scopes = [attributes["scope"] for attributes in document.all("th")]
    assert scopes == ["col"] * 5 + ["row"] * 2
    assert len(document.all("caption")) == 1
    assert "Table 1." in document.words
    assert "Figure 1." in document.words
    assert "Figure 2." in document.words


def test_metrics_are_shown_with_their_interval_and_missing_ones_are_called_so(picture_bytes):
    words = Document(render(page(picture_bytes))).words
    assert "0.50 (0.41 to 0.62)" in words
    assert "95 % interval 0.41 to 0.62" in words
    assert "not defined" in words
    assert "1,234" in words
    assert "nan" not in words.lower()
    assert "None" not in words


def test_what_leaks_is_marked_in_tiles_and_rows(picture_bytes):
    document = Document(render(page(picture_bytes)))
    marked = [tag for tag, attributes in document.tags if "leaking" in attributes.get("class", "").split()]
    assert marked == ["div", "tr"]
    assert document.words.count("leaks") == 2


def test_the_warning_and_the_provenance_stand_on_every_page():
    words = Document(render(Page(title="T", summary="S", footer={"Seed": "17"}))).words
    assert "For research use only. Not a medical device." in words
    assert "Seed 17" in words


def test_a_data_frame_and_its_rows_give_the_same_table():
    rows = [{"Cohort": "all", "patients": 20, "mae": 4.354}, {"Cohort": "rise", "patients": 6, "mae": 1.7}]
    pages = [
        render(Page(title="T", summary="S", sections=[Section(id="s", title="S", tables=[table])]))
        for table in (
            Table(caption="c", rows=rows, source="metrics.json"),
            Table(caption="c", rows=pd.DataFrame(rows), source="metrics.json"),
        )
    ]
    assert pages[0] == pages[1]
    assert ">20<" in pages[0]
    assert ">4.35<" in pages[0]


def test_an_empty_table_is_still_a_page():
    table = Table(caption="Nobody", rows=pd.DataFrame({"Cohort": [], "mae": []}), source="metrics.json")
    document = Document(render(Page(title="T", summary="S", sections=[Section(id="s", title="S", tables=[table])])))
    assert "Nobody" in document.words
    assert len(document.all("th")) == 2


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (0, "0"),
        (12345, "12,345"),
        (np.int64(7), "7"),
        (0.0, "0.00"),
        (4.354, "4.35"),
        (0.095, "0.10"),
        (0.0941, "0.094"),
        (-0.5, "-0.50"),
        (123.4, "123"),
        (1234.5, "1,234"),
        (1e-5, "1e-05"),
        (np.float32(0.25), "0.25"),
    ],
)
def test_numbers_are_short_and_keep_what_matters(value, shown):
    assert number(value) == shown


def test_the_page_is_the_same_every_time(picture_bytes):
    assert render(page(picture_bytes)) == render(page(picture_bytes))
    assert io.StringIO(render(page(picture_bytes))).readline().strip() == "<!doctype html>"
