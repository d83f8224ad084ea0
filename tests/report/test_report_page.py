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
    """Parser that checks the nesting of tags and collects the tags, their attributes and the text."""

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
    def visible_text(self):
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


def test_the_page_is_well_formed_and_every_link_has_a_target(picture_bytes):
    document = Document(render(page(picture_bytes)))
    ids = [attributes["id"] for _, attributes in document.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    assert {attributes["href"] for attributes in document.all("a")} <= {f"#{name}" for name in ids}
    assert {"#grader", "#months"} <= {attributes["href"] for attributes in document.all("a")}
    labels = [attributes["aria-labelledby"] for _, attributes in document.tags if "aria-labelledby" in attributes]
    assert set(labels) <= set(ids)


def test_the_page_is_self_contained_and_runs_no_script(picture_bytes):
    source = render(page(picture_bytes))
    document = Document(source)
    addresses = [attributes[key] for _, attributes in document.tags for key in ("src", "href") if key in attributes]
    assert all(address.startswith(("#", "data:image/png;base64,")) for address in addresses)
    assert not re.search(r"https?:|url\(|@import", source)
    assert not document.all("script")
    assert not document.all("link")
    assert "default-src 'none'" in document.all("meta")[-1]["content"]


def test_every_text_is_escaped_and_displayed_unchanged(picture_bytes):
    source = render(page(picture_bytes, text=HOSTILE))
    document = Document(source)
    assert not document.all("script")
    assert "<script" not in source
    assert "49" not in document.visible_text
    plain = Document(render(page(picture_bytes, text="plain text")))
    assert document.visible_text.count(HOSTILE) == plain.visible_text.count("plain text")
    assert [attributes["alt"] for attributes in document.all("img")] == [HOSTILE, HOSTILE]
    assert len(document.tags) == len(plain.tags)


def test_pictures_are_embedded_unchanged_with_their_size_and_alternative_text(picture_bytes):
    images = Document(render(page(picture_bytes))).all("img")
    for image in images:
        assert base64.b64decode(image["src"].partition(",")[2]) == picture_bytes
        assert (image["width"], image["height"]) == ("300", "200")
        assert image["alt"]
    assert len(images) == 2


def test_tables_have_column_and_row_headers_and_a_caption(picture_bytes):
    document = Document(render(page(picture_bytes)))
    scopes = [attributes["scope"] for attributes in document.all("th")]
    assert scopes == ["col"] * 5 + ["row"] * 2
    assert len(document.all("caption")) == 1
    assert "Table 1." in document.visible_text
    assert "Figure 1." in document.visible_text
    assert "Figure 2." in document.visible_text


def test_metrics_are_shown_with_their_intervals_and_undefined_ones_are_labelled(picture_bytes):
    text = Document(render(page(picture_bytes))).visible_text
    assert "0.50 (0.41 to 0.62)" in text
    assert "95 % confidence interval 0.41 to 0.62" in text
    assert "not defined" in text
    assert "1,234" in text
    assert not re.search(r"\bnan\b", text.lower())
    assert "None" not in text


def test_leakage_is_marked_in_tiles_and_rows(picture_bytes):
    document = Document(render(page(picture_bytes)))
    marked = [tag for tag, attributes in document.tags if "leaking" in attributes.get("class", "").split()]
    assert marked == ["div", "tr"]
    assert document.visible_text.count("leakage") == 2


def test_every_page_contains_the_warning_and_the_provenance():
    text = Document(render(Page(title="T", summary="S", footer={"Seed": "17"}))).visible_text
    assert "For research use only. Not a medical device." in text
    assert "Seed 17" in text


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


def test_an_empty_table_is_rendered_with_its_headings():
    table = Table(caption="No patients", rows=pd.DataFrame({"Cohort": [], "mae": []}), source="metrics.json")
    document = Document(render(Page(title="T", summary="S", sections=[Section(id="s", title="S", tables=[table])])))
    assert "No patients" in document.visible_text
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
def test_numbers_are_short_and_keep_their_significant_digits(value, shown):
    assert number(value) == shown


def test_rendering_is_reproducible(picture_bytes):
    assert render(page(picture_bytes)) == render(page(picture_bytes))
    assert io.StringIO(render(page(picture_bytes))).readline().strip() == "<!doctype html>"
