import io
import re
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from tumorprog.report.drawing import svg
from tumorprog.report.page import Headline, Page, Picture, Section, Table, number, render, shown

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
def panels():
    figures = [Figure(figsize=(4.4, 2)) for _ in range(2)]
    for name, figure in zip("ab", figures, strict=True):
        figure.text(0.1, 0.1, f"panel {name}")
    return [svg(figure, f"panel-{name}") for name, figure in zip("ab", figures, strict=True)]


def page(panels, text="plain"):
    metric = {"value": 0.5, "lower": 0.41, "upper": 0.62, "n": 12}
    undefined = {"value": None, "lower": None, "upper": None, "n": 0, "reason": text}
    few = {"value": 0.75, "lower": None, "upper": None, "n": 3, "reason": "3 patients; an interval needs 5"}
    rows = [
        {"Level": text, "accuracy": metric, "macro_auc": undefined, "n": 1234, "note": None},
        {"Level": "series", "accuracy": metric, "macro_auc": metric, "n": 5, "note": text},
    ]
    picture = Picture(name=text, panels=panels, title=text, caption=text, alt=text, source=text)
    return Page(
        title=text,
        summary=text,
        verdicts=[text, "The model shows no benefit."],
        alerts=[text],
        headlines=[
            Headline(label=text, metric=metric, unit=text, note=text),
            Headline(label="paper", metric=text, leaks=True),
            Headline(label="few", metric=few),
        ],
        sections=[
            Section(
                id="grader",
                title=text,
                paragraphs=[text, text],
                definitions={text: text},
                tables=[Table(caption=text, rows=rows, source=text, leaking=frozenset({1}))],
                pictures=[picture],
            ),
            Section(id="months", title="Months", paragraphs=["Folded."], leaking=True),
        ],
        footer={text: text, "Seed": "0"},
    )


def test_the_page_is_well_formed_and_every_link_has_a_target(panels):
    document = Document(render(page(panels)))
    ids = [attributes["id"] for _, attributes in document.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    assert {attributes["href"] for attributes in document.all("a")} <= {f"#{name}" for name in ids}
    assert {"#grader", "#months"} <= {attributes["href"] for attributes in document.all("a")}
    labels = [attributes["aria-labelledby"] for _, attributes in document.tags if "aria-labelledby" in attributes]
    assert set(labels) <= set(ids)


def test_the_page_is_self_contained_and_runs_no_script(panels):
    source = render(page(panels))
    document = Document(source)
    addresses = [attributes[key] for _, attributes in document.tags for key in ("src", "href") if key in attributes]
    assert all(address.startswith(("#", "data:image/png;base64,")) for address in addresses)
    namespaces = r"http://www\.w3\.org/(2000/svg|1999/xlink)"
    assert not re.search(r"https?:|url\((?!#)|@import", re.sub(namespaces, "", source))
    assert not document.all("script")
    assert not document.all("link")
    assert "default-src 'none'" in document.all("meta")[-1]["content"]


def test_every_text_is_escaped_and_displayed_unchanged(panels):
    source = render(page(panels, text=HOSTILE))
    document = Document(source)
    assert not document.all("script")
    assert "<script" not in source
    assert "49" not in document.visible_text
    plain = Document(render(page(panels, text="plain text")))
    assert document.visible_text.count(HOSTILE) == plain.visible_text.count("plain text")
    assert HOSTILE in [attributes.get("aria-label") for attributes in document.all("div")]
    assert len(document.tags) == len(plain.tags)


def test_panels_are_embedded_unchanged_and_can_wrap_below_an_alternative_text(panels):
    source = render(page(panels))
    document = Document(source)
    for panel in panels:
        assert source.count(panel) == 1
    drawings = document.all("svg")
    assert [drawing["viewbox"] for drawing in drawings] == ["0 0 316.8 144"] * 2
    assert re.search(r"\.panels \{[^}]*flex-wrap: wrap", source)
    assert re.search(r"\.panel svg \{[^}]*width: 100%; height: auto", source)
    (figure,) = [attributes for attributes in document.all("div") if attributes.get("role") == "img"]
    assert figure["aria-label"] == "plain"
    assert not document.all("img")


def test_no_element_has_a_width_beyond_a_narrow_screen(panels):
    source = render(page(panels))
    style = source.partition("<style>")[2].partition("</style>")[0]
    widths = re.findall(r"[;{] (?:min-)?width: ([\d.]+)(rem|px|em)", style)
    assert all(float(size) * (1 if unit == "px" else 16) <= 343 for size, unit in widths)
    assert ".panel { flex: 1 1 min(20rem, 100%)" in style
    assert ".scroll { overflow-x: auto" in style


def test_verdicts_and_alerts_come_before_the_tiles_and_these_before_the_sections(panels):
    source = render(page(panels))
    places = [source.index(part) for part in ('class="box verdicts"', 'class="box alert"', 'class="tiles"', "<section")]
    assert places == sorted(places)
    assert "The model shows no benefit." in Document(source).visible_text
    without = render(Page(title="T", summary="S"))
    assert 'class="box' not in without


def test_sections_are_numbered_in_the_contents_and_in_their_headings(panels):
    document = Document(render(page(panels)))
    assert "1 plain" in document.visible_text
    assert document.visible_text.count("2 Months") == 2


def test_a_section_with_leakage_is_folded_and_unfolded_on_paper(panels):
    source = render(page(panels))
    assert source.count("<details>") == 1
    folded = source.partition("<details>")[2].partition("</details>")[0]
    assert "Folded." in folded
    assert "details::details-content { content-visibility: visible" in source.partition("@media print")[2]


def test_terms_are_a_definition_list(panels):
    document = Document(render(page(panels)))
    assert [attributes for attributes in document.all("dl") if attributes.get("class") == "definitions"]


def test_a_metric_without_an_interval_states_the_reason(panels):
    text = Document(render(page(panels))).visible_text
    assert "no interval: 3 patients; an interval needs 5" in text
    metric = {"value": None, "lower": None, "upper": None, "n": 1, "reason": "one grade"}
    assert shown(metric) == "not defined (one grade)"
    assert shown({**metric, "value": 0.5, "lower": 0.25, "upper": 1.0}, signed=True) == "+0.50 (0.25 to 1.00)"
    assert shown({**metric, "value": -0.5, "reason": ""}, signed=True) == "-0.50"


def test_tables_have_column_and_row_headers_and_a_caption(panels):
    document = Document(render(page(panels)))
    scopes = [attributes["scope"] for attributes in document.all("th")]
    assert scopes == ["col"] * 5 + ["row"] * 2
    assert len(document.all("caption")) == 1
    assert "Table 1." in document.visible_text
    assert "Figure 1." in document.visible_text


def test_metrics_are_shown_with_their_intervals_and_undefined_ones_are_labelled(panels):
    text = Document(render(page(panels))).visible_text
    assert "0.50 (0.41 to 0.62)" in text
    assert "95% confidence interval 0.41 to 0.62" in text
    assert "not defined" in text
    assert "1,234" in text
    assert not re.search(r"\bnan\b", text.lower())
    assert "None" not in text


def test_leakage_is_marked_in_tiles_and_rows(panels):
    document = Document(render(page(panels)))
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
        (1.7e-16, "0.00"),
        (-3e-17, "0.00"),
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


def test_rendering_is_reproducible(panels):
    assert render(page(panels)) == render(page(panels))
    assert io.StringIO(render(page(panels))).readline().strip() == "<!doctype html>"


def test_a_reason_that_many_cells_share_is_printed_once_below_the_table():
    few = {"value": 0.5, "lower": None, "upper": None, "n": 3, "reason": "3 patients; an interval needs 5"}
    absent = {**few, "value": None, "reason": "no patient of grade 4"}
    table = Table(caption="T", rows=[{"Metric": name, "A": few, "B": absent} for name in "xyz"], source="f")
    rendered = render(Page(title="t", summary="s", sections=[Section(id="s", title="S", tables=[table])]))
    assert rendered.count("3 patients; an interval needs 5") == 1
    assert rendered.count("no patient of grade 4") == 1
    assert rendered.count("<sup>a</sup>") == rendered.count("<sup>b</sup>") == 4  # three cells and the note
