"""The chart's geometry read back from its SVG, and the report read back by an HTML parser."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from tinygrad_rnn.palette import THEMES
from tinygrad_rnn.train import axis
from tinygrad_rnn.train.chart import WIDTHS, Series, line_chart, moving_average
from tinygrad_rnn.train.report import Row, headline, write_report

NS = "{http://www.w3.org/2000/svg}"


def draw(
    *series: Series, references: list[tuple[str, float]] | None = None, title: str = "t"
) -> ElementTree.Element:
    """Draw and parse, which fails unless the text is well-formed."""
    return ElementTree.fromstring(
        line_chart(
            series, x_label="steps", y_label="bits", title=title, references=references or []
        )
    )


def of_class(root: ElementTree.Element, name: str) -> list[ElementTree.Element]:
    """Find the elements with a class, in order."""
    return [e for e in root.iter() if name in e.get("class", "").split()]


def points(path: ElementTree.Element) -> list[np.ndarray]:
    """Read the polylines of a path; each of shape (n, 2)."""
    parts = path.get("d", "").split("M")[1:]
    return [np.array([[float(v) for v in p.split()] for p in part.split("L")]) for part in parts]


def heights(root: ElementTree.Element, kind: str) -> list[float]:
    """Read the heights of horizontal rules."""
    found = [re.fullmatch(r"M\S+ (\S+)H\S+", e.get("d", "")) for e in of_class(root, kind)]
    return [float(m.group(1)) for m in found if m]


def margin_labels(root: ElementTree.Element) -> dict[str, float]:
    """Read the labels beside the lines and their heights."""
    return {
        str(e.text): float(e.get("y", "nan"))
        for e in root.iter(f"{NS}text")
        if e.find(f"{NS}tspan") is not None
    }


def test_points_are_where_the_axes_say() -> None:
    rng = np.random.default_rng(0)
    for _ in range(40):
        n = int(rng.integers(2, 40))
        scale, shift = 10.0 ** rng.uniform(-4, 5), rng.normal() * 10
        x = np.cumsum(rng.uniform(0.5, 1, n)) * 10.0 ** rng.uniform(-2, 6)
        y = (rng.normal(size=n) + shift) * scale
        root = draw(Series("a", x, y), references=[("r", float(y.mean()))])
        ticks = []
        for e in root.iter(f"{NS}text"):
            if e.get("text-anchor") == "end":
                label = (
                    str(e.text)
                    .replace("\N{MINUS SIGN}", "-")
                    .replace("\N{NARROW NO-BREAK SPACE}", "")
                )
                ticks.append((float(label), float(e.get("y", "nan"))))
        assert 3 <= len(ticks) <= 9
        value, place = np.array(ticks).T
        slope, origin = np.polyfit(value, place, 1)
        assert slope < 0
        np.testing.assert_allclose(np.diff(value), np.diff(value)[0], rtol=1e-6)
        drawn = np.concatenate(points(of_class(root, "curve")[0]))
        np.testing.assert_allclose(heights(root, "reference"), y.mean() * slope + origin, atol=0.05)
        if len(drawn) == n:  # Not thinned: every point can be compared.
            np.testing.assert_allclose(drawn[:, 1], y * slope + origin, atol=0.05)
            corner = np.polyfit(x, drawn[:, 0], 1)
            np.testing.assert_allclose(drawn[:, 0], np.polyval(corner, x), atol=0.02)
        bottom = heights(root, "axis")[0]
        top = (
            next(float(e.get("y", "nan")) for e in root.iter(f"{NS}text") if e.text == "bits") + 10
        )
        assert np.all((drawn[:, 1] >= top) & (drawn[:, 1] <= bottom + 0.01))


def test_ticks_are_round() -> None:
    rng = np.random.default_rng(1)
    for _ in range(300):
        low = rng.normal() * 10.0 ** rng.uniform(-5, 6)
        high = low + 10.0 ** rng.uniform(-5, 6)
        ticks = axis.round_ticks(low, high, 6)
        assert 2 <= len(ticks) <= 7
        step = (ticks[-1] - ticks[0]) / (len(ticks) - 1)
        mantissa = step / 10.0 ** np.floor(np.log10(step) + 1e-9)
        assert min(abs(mantissa - m) for m in (1, 2, 5, 10)) < 1e-4
        slack = 1e-6 * (high - low)
        assert low - slack <= ticks[0] < low + step + slack
        assert high - step - slack < ticks[-1] <= high + slack
        texts = axis.tick_texts(ticks)
        assert len(set(texts)) == len(texts)
    assert axis.tick_texts([-10000.0, 0.0, 10000.0]) == [
        "\N{MINUS SIGN}10\u202f000",
        "0",
        "10\u202f000",
    ]
    assert axis.tick_texts([0.0, 0.05, 0.1]) == ["0.00", "0.05", "0.10"]


def test_whole_numbers_look_whole() -> None:
    """Years are written as years and counts as counts, and others keep their decimals."""
    years, counts = [1959, 1960, 1961], [300.0, 12345.0, 432.0]
    text = line_chart([Series("a", years, counts)], x_label="", y_label="", title="")
    assert re.findall(r">(\d[^<]*)</text>", text)[-3:] == ["1959", "1960", "1961"]
    assert '<tspan dx="6">432</tspan>' in text
    text = line_chart([Series("a", [0, 1], [0.5, 432])], x_label="", y_label="", title="")
    assert '<tspan dx="6">432.00</tspan>' in text
    assert (axis.short(1959.0, whole=True), axis.short(12345.0)) == ("1959", "12\u202f345.00")


def test_spread_is_the_least_movement() -> None:
    rng = np.random.default_rng(2)
    for _ in range(200):
        n = int(rng.integers(1, 12))
        wanted = rng.uniform(0, 200, n).tolist()
        places = axis.spread(wanted, 17.0, 0.0, 200.0)
        order = np.argsort(wanted, kind="stable")
        sorted_places = np.array(places)[order]
        assert np.all(np.diff(sorted_places) >= 17 - 1e-9)
        assert sorted_places[0] >= -1e-9
        assert sorted_places[-1] <= 200 + 1e-9
        # Any other lawful placing near it moves the labels further, by the sum of squares.
        cost = float(((sorted_places - np.array(wanted)[order]) ** 2).sum())
        for _ in range(20):
            other = np.sort(sorted_places + rng.normal(size=n) * 2)
            if np.all(np.diff(other) >= 17) and other[0] >= 0 and other[-1] <= 200:
                assert ((other - np.array(wanted)[order]) ** 2).sum() >= cost - 1e-9
    assert axis.spread([10.0, 100.0], 17.0, 0.0, 200.0) == [10.0, 100.0]


def test_labels_do_not_collide_and_stay_inside() -> None:
    names = [f"model {i}" for i in range(25)]
    root = draw(
        Series("ours", [0, 1], [3, 2.001]),
        references=[(n, 2 + i * 0.001) for i, n in enumerate(names)],
    )
    labels = margin_labels(root)
    assert set(labels) == {*names, "ours"}
    places = sorted(labels.values())
    assert min(np.diff(places)) > 15
    height, width = float(root.get("height", "0")), float(root.get("width", "0"))
    assert 0 < places[0] < places[-1] < height
    x = max(float(e.get("x", "0")) for e in root.iter(f"{NS}text"))
    assert x + 7 * len("model 10 2.00") < width
    assert len(of_class(root, "leader")) >= 20


def test_a_label_with_room_stands_at_its_line() -> None:
    root = draw(Series("ours", [0, 1], [6, 2]), references=[("far", 5.0)])
    labels = margin_labels(root)
    assert labels["far"] == pytest.approx(heights(root, "reference")[0] + 4.5, abs=0.02)
    assert labels["ours"] == pytest.approx(
        points(of_class(root, "curve")[0])[0][-1, 1] + 4.5, abs=0.02
    )
    assert not of_class(root, "leader")


def test_long_labels_widen_the_chart() -> None:
    short = draw(Series("a", [0, 1], [0, 1]))
    long = draw(Series("a" * 90, [0, 1], [0, 1]))
    assert float(long.get("width", "0")) > float(short.get("width", "0"))


def test_one_label_and_colour_for_one_name() -> None:
    root = draw(
        Series("b", [0, 1], [2, 3]),
        Series("a", [0, 1], [0, 1]),
        Series("a", [0, 1], [0, 1.5], faint=True),
    )
    assert set(margin_labels(root)) == {"a", "b"}
    styles = [e.get("style") for e in of_class(root, "curve")]
    assert styles == ["stroke: var(--chart-1)", "stroke: var(--chart-1)", "stroke: var(--chart-0)"]
    assert "faint" in of_class(root, "curve")[0].get("class", "")


def test_not_finite_values_break_the_line() -> None:
    y = [1.0, 2.0, np.nan, 3.0, np.inf, 4.0, 5.0, 6.0]
    root = draw(Series("a", range(8), y))
    assert [len(p) for p in points(of_class(root, "curve")[0])] == [2, 3]
    assert len(list(root.iter(f"{NS}circle"))) == 1
    assert "nan" not in ElementTree.tostring(root, encoding="unicode").lower()


@pytest.mark.parametrize("y", [0.0, -3.0, 1e-12, 1e12])
def test_one_point_and_flat_lines(y: float) -> None:
    assert len(list(draw(Series("a", [5], [y])).iter(f"{NS}circle"))) == 1
    root = draw(Series("a", [0, 1, 2], [y, y, y], markers=True))
    assert len(list(root.iter(f"{NS}circle"))) == 3
    assert len(of_class(root, "grid")) >= 2


def test_many_points_are_thinned_without_losing_the_extremes() -> None:
    rng = np.random.default_rng(3)
    y = rng.normal(size=200_000)
    y[[1234, 150_001]] = [9.0, -9.0]
    text = line_chart([Series("a", np.arange(len(y)), y)], x_label="x", y_label="y", title="t")
    assert len(text) < 80_000
    drawn = points(of_class(ElementTree.fromstring(text), "curve")[0])[0]
    full = draw(Series("a", [0, 1], [-9.0, 9.0]))
    expected = sorted(points(of_class(full, "curve")[0])[0][:, 1])
    assert [drawn[:, 1].min(), drawn[:, 1].max()] == pytest.approx(expected, abs=0.02)


def test_text_is_escaped() -> None:
    nasty = '<b a="1">&\'\x00\ud800</b>'
    root = ElementTree.fromstring(
        line_chart(
            [Series(nasty, [0, 1], [0, 1])],
            x_label=nasty,
            y_label=nasty,
            title=nasty,
            references=[(nasty, 0.5)],
        )
    )
    shown = nasty.replace("\x00", "\ufffd").replace("\ud800", "\ufffd")
    texts = [e.text for e in root.iter(f"{NS}text")]
    assert texts.count(shown) == 5
    assert shown in root.get("aria-label", "")
    assert not list(root.iter("b"))


def test_chart_follows_the_colour_scheme_and_is_deterministic() -> None:
    make = [
        line_chart([Series("a", [0, 1], [0, 1])], x_label="x", y_label="y", title="")
        for _ in range(2)
    ]
    assert make[0] == make[1]
    assert "prefers-color-scheme: dark" in make[0]
    assert 'class="title"' not in make[0]
    assert not re.search(r"(?:fill|stroke)=\"", make[0]), "colours come from the style sheet"


def relative_luminance(colour: str) -> float:
    """Compute the luminance of ``#rrggbb`` after WCAG 2."""
    channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return float(np.dot(linear, [0.2126, 0.7152, 0.0722]))


def test_label_colours_have_contrast() -> None:
    for theme in THEMES.values():
        for colour in theme.series:
            low, high = sorted((relative_luminance(theme.page), relative_luminance(colour)))
            assert (high + 0.05) / (low + 0.05) >= 4.5, colour


@pytest.mark.parametrize(
    ("series", "references", "message"),
    [
        ([], [], "at least one finite point"),
        ([Series("a", [], [])], [], "at least one finite point"),
        ([Series("a", [1.0], [np.nan])], [("r", 1.0)], "at least one finite point"),
        (
            [Series("a", [1, 2], [1])],
            [],
            r"series 'a': expected x and y of equal shape .* \(2,\) and \(1,\)",
        ),
        ([Series("a", [[1]], [[1]])], [], "equal shape"),
        (
            [Series("a", [1], [1])],
            [("r", np.inf)],
            "reference 'r': expected a finite height, found inf",
        ),
    ],
)
def test_chart_errors(
    series: list[Series], references: list[tuple[str, float]], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        line_chart(series, x_label="x", y_label="y", title="t", references=references)


def test_moving_average() -> None:
    rng = np.random.default_rng(4)
    for span in (1, 2, 5, 100):
        y = rng.normal(size=30)
        half = span // 2
        expected = []
        for i in range(30):
            back = min(half, i)
            expected.append(np.mean(y[i - back : i + min(back, 29 - i) + 1]))
        np.testing.assert_allclose(moving_average(y, span), expected, atol=1e-12)
    assert moving_average([], 3).shape == (0,)
    with pytest.raises(ValueError, match="span of at least 1"):
        moving_average([1.0], 0)
    with pytest.raises(ValueError, match="shape"):
        moving_average([[1.0]], 1)


class Page(HTMLParser):
    """Collect what the report shows."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.inside: list[str] = []
        self.texts: dict[str, str] = {}
        self.rows: list[list[str]] = []
        self.mine: list[int] = []
        self.feed(source)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note a tag."""
        self.tags.append((tag, dict(attrs)))
        if tag == "tr":
            if dict(attrs).get("class") == "ours":
                self.mine.append(len(self.rows))
            self.rows.append([])
        if tag in ("td", "th") and self.rows:
            self.rows[-1].append("")
        if tag not in ("meta", "br"):
            self.inside.append(tag)

    def handle_endtag(self, tag: str) -> None:
        """Close a tag, which has to be the one last opened."""
        assert self.inside.pop() == tag

    def handle_data(self, data: str) -> None:
        """Keep text by the tag it stands in."""
        if self.inside:
            self.texts[self.inside[-1]] = self.texts.get(self.inside[-1], "") + data
            if self.inside[-1] in ("td", "th"):
                self.rows[-1][-1] += data


TABLE = [
    Row("LSTM", 2.25, ours=True, note="<all>"),
    Row("uniform", 6.6),
    Row("trigram", 2.5, note="two & more"),
    Row("lost", float("nan")),
]
LOSS = line_chart([Series("a", [0, 1], [0, 1])], x_label="x", y_label="y", title="loss")
GRAPH = (
    '<?xml version="1.0" encoding="UTF-8" standalone="no"?>\n<!DOCTYPE svg PUBLIC "-//W3C//DTD SVG 1.1//EN"\n'
    ' "http://www.w3.org/Graphics/SVG/1.1/DTD/svg11.dtd">\n<!-- Generated -->\n'
    '<svg width="900pt" height="80pt" viewBox="0 0 900 80" xmlns="http://www.w3.org/2000/svg">'
    '<g id="graph0"><title>G</title><text x="1" y="2">x0</text></g>\n</svg>\n'
)
SAMPLE = 'def f(x):\n\treturn x < 3 & "a"\n\n</pre><script>alert(1)</script>\x07\ud800'


def report(path: Path, **changes: object) -> str:
    """Write the usual report with changes and give its text."""
    arguments: dict[str, object] = {
        "title": "A <title> & more",
        "table": TABLE,
        "sample": SAMPLE,
        "loss": [LOSS],
        "graph_svg": GRAPH,
        "facts": {"hidden units": 64, "<k>": "<v>"},
    }
    write_report(path, **{**arguments, **changes})  # type: ignore[arg-type]
    return path.read_text(encoding="utf-8")


def test_report_shows_everything(tmp_path: Path) -> None:
    page = Page(report(tmp_path / "r.html"))
    assert page.inside == []
    assert page.texts["h1"] == "A <title> & more"
    assert headline(TABLE) in page.texts["p"]
    assert page.texts["pre"] == SAMPLE.replace("\x07", "\ufffd").replace("\ud800", "\ufffd")
    assert page.texts["dt"] == "hidden units<k>"
    assert page.texts["dd"] == "64<v>"
    assert "x0" in page.texts["text"]
    assert sum(tag == "svg" for tag, _ in page.tags) == 2


def test_report_table(tmp_path: Path) -> None:
    page = Page(report(tmp_path / "r.html"))
    body = page.rows[1:]
    assert [row[:4] for row in body] == [
        ["lost", "", "\N{EM DASH}", "\N{EM DASH}"],
        ["uniform", "", "6.600", "97.0"],
        ["trigram", "two & more", "2.500", "5.7"],
        ["LSTM", "<all>", "2.250", "4.8"],
    ]
    assert page.mine == [4]
    widths = [a["style"] for tag, a in page.tags if tag == "span"]
    assert widths == ["width:0.0%", "width:100.0%", "width:37.9%", "width:34.1%"]
    assert len({len(row) for row in page.rows}) == 1
    plain = Page(report(tmp_path / "r.html", table=[Row("a", 1.0, ours=True)]))
    assert [len(row) for row in plain.rows] == [4, 4]


def test_report_is_one_page_that_loads_nothing(tmp_path: Path) -> None:
    source = report(tmp_path / "r.html")
    page = Page(source)
    for tag, attributes in page.tags:
        assert tag not in ("script", "link", "img", "iframe", "object", "embed", "image", "use")
        assert not {"src", "href", "xlink:href", "onload"} & set(attributes)
    assert "url(" not in source
    assert "@import" not in source
    assert "default-src 'none'" in source
    urls = set(re.findall(r"https?://[^\"' ]+", source))
    assert urls == {"http://www.w3.org/2000/svg"}
    assert source.lower().count("<!doctype") == 1
    assert "<?xml" not in source
    assert os_listing(tmp_path) == ["r.html"]


def os_listing(folder: Path) -> list[str]:
    """List a folder."""
    return sorted(p.name for p in folder.iterdir())


def test_graph_is_inverted_in_the_dark_only_without_a_scheme_of_its_own(tmp_path: Path) -> None:
    def kind(source: str) -> str | None:
        return next(
            a["class"]
            for tag, a in Page(source).tags
            if tag == "figure" and "graph" in str(a.get("class"))
        )

    assert kind(report(tmp_path / "r.html")) == "graph paper"
    own = GRAPH.replace(
        "<g ", "<style>@media (prefers-color-scheme: dark) { text { fill: white } }</style><g "
    )
    assert kind(report(tmp_path / "r.html", graph_svg=own)) == "graph"


def test_report_links_to_the_graph_in_full_size_if_it_is_there(tmp_path: Path) -> None:
    def links() -> list[str | None]:
        return [a.get("href") for tag, a in Page(report(tmp_path / "r.html")).tags if tag == "a"]

    assert links() == []
    (tmp_path / "unrolled.svg").write_text(GRAPH)
    assert links() == ["unrolled.svg"]


def test_report_without_a_graph_says_so(tmp_path: Path) -> None:
    page = Page(report(tmp_path / "r.html", graph_svg=None))
    assert "was not drawn" in page.texts["p"]
    assert sum(tag == "svg" for tag, _ in page.tags) == 1


def test_report_is_deterministic(tmp_path: Path) -> None:
    assert report(tmp_path / "1.html") == report(tmp_path / "2.html")


@pytest.mark.parametrize(
    ("table", "expected"),
    [
        (
            [Row("net", 2.0, ours=True), Row("trigram", 2.5), Row("bigram", 3.0)],
            "The net needs 2.00 bits per character on text it has not seen, 20 % fewer than the best baseline here, "
            "the trigram model, which needs 2.50.",
        ),
        (
            [Row("net", 3.0, ours=True), Row("trigram", 2.5)],
            "20 % more than the best baseline here, the trigram model",
        ),
        ([Row("net", 2.499, ours=True), Row("trigram", 2.5)], "under 1 % fewer than"),
        ([Row("net", 2.5, ours=True), Row("trigram", 2.5)], "the same as the best baseline"),
        ([Row("net", 2.0, ours=True), Row("other", 1.5, ours=True)], "The other needs 1.50 bits"),
        ([Row("net", float("nan"), ours=True), Row("trigram", 2.5)], "no finite score"),
    ],
)
def test_headline(table: list[Row], expected: str) -> None:
    assert expected in headline(table)


def test_report_errors(tmp_path: Path) -> None:
    path = tmp_path / "r.html"
    with pytest.raises(ValueError, match="at least one row with ours=True"):
        report(path, table=[Row("a", 1.0)])
    with pytest.raises(ValueError, match="loss: expected SVG text"):
        report(path, loss=["loss"])
    with pytest.raises(ValueError, match="graph_svg: expected SVG text"):
        report(path, graph_svg="digraph {}")
    assert not path.exists()


def test_a_narrow_chart_keeps_its_labels_and_wraps_that_of_the_axis() -> None:
    words = "million characters read; training with dropout, held out without"
    series = [Series("test", [0, 1], [2.0, 1.0]), Series("training", [0, 1], [3.0, 1.5])]
    for width in WIDTHS:
        root = ElementTree.fromstring(
            line_chart(series, x_label=words, y_label="bits", title="", width=width)
        )
        assert float(root.get("width", "")) == width
        texts = list(root.iter(f"{NS}text"))
        for text in texts:
            left = float(text.get("x", "")) - axis.text_width(text.text or "") * {
                "middle": 0.5,
                "end": 1.0,
            }.get(text.get("text-anchor", ""), 0.0)
            said = (text.text or "") + "".join(f"  {t.text}" for t in text.iter(f"{NS}tspan"))
            assert left >= 0 and left + axis.text_width(said) <= width + 1, said
        lines = [text.text for text in texts if text.text in words and " " in (text.text or "")]
        assert " ".join(filter(None, lines)) == words and len(lines) == (1 if width > 400 else 2)


def test_a_report_has_both_forms_of_a_chart_and_what_the_gradient_does(tmp_path: Path) -> None:
    text = report(tmp_path / "r.html", loss=[LOSS, LOSS], reach=("goes <far> back", [LOSS, LOSS]))
    assert text.count('<div class="narrow">') == text.count('<div class="wide">') == 2
    assert "goes &lt;far&gt; back" in text and "How far back the gradient reaches" in text
    assert "How far back" not in report(tmp_path / "r.html")
