"""What a notebook shows."""

import html.parser
import json

import numpy
import pytest
from conftest import write_safetensors

import nwc


class Page(html.parser.HTMLParser):
    """Tags with their attributes, and the text of scripts."""

    def __init__(self, text):
        super().__init__(convert_charrefs=True)
        self.tags, self.scripts = [], []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data):
        if self.tags and self.tags[-1][0] == "script":
            self.scripts.append(data)


def framed(shown):
    """The page in the frame that a notebook gets, and the frame's attributes."""
    [(tag, attributes)] = Page(shown).tags
    assert tag == "iframe"
    return Page(attributes["srcdoc"]), attributes


def test_an_inspection_is_a_page(compressed):
    report = nwc.inspect(compressed)
    page, frame = framed(report._repr_html_())
    assert frame["sandbox"] == "allow-scripts" and frame["title"] == compressed.name
    assert json.loads(page.scripts[0]) == {"title": compressed.name, "inspection": report}
    assert isinstance(report, dict) and set(report["files"]) == {"config.json"}


def test_a_checkpoint_is_shown_as_its_inspection(compressed, model):
    assert nwc.Checkpoint(compressed)._repr_html_() == nwc.inspect(compressed)._repr_html_()
    assert nwc.Checkpoint(model)._repr_html_() is None


def test_what_compress_returns_is_shown(model, tmp_path):
    report = nwc.compress(model, tmp_path / "out", progress=False)
    assert report == nwc.inspect(tmp_path / "out")
    assert report._repr_html_() == nwc.inspect(tmp_path / "out")._repr_html_()


def test_names_are_no_markup(tmp_path):
    name = "</script></iframe><script>alert('1')</script>\"&"
    folder = tmp_path / "<b>\"'&"
    folder.mkdir()
    write_safetensors(folder / "model.safetensors", {name: ("F32", numpy.ones((2, 3), numpy.float32))})
    nwc.compress(folder, tmp_path / "<i>\"'&", lambda_=300, progress=False)
    report = nwc.inspect(tmp_path / "<i>\"'&")
    page, frame = framed(report._repr_html_())
    assert frame["title"] == "<i>\"'&"
    assert [tag for tag, _ in page.tags].count("script") == 2
    assert json.loads(page.scripts[0])["inspection"]["tensors"][0]["name"] == name
    report.title = "</title>" + name
    page, frame = framed(report._repr_html_())
    assert frame["title"] == report.title
    assert [tag for tag, _ in page.tags].count("script") == 2


def test_what_is_no_inspection_is_refused(compressed):
    report = nwc.inspect(compressed)
    assert "<title>other" in report.to_html("other")
    del report["totals"]
    with pytest.raises(nwc.JsonError, match="totals"):
        report.to_html()
