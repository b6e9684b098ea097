from __future__ import annotations

from lare_dassl.report.figures.style import short
from lare_dassl.report.inside.figures import embedding_figure, region_figure, size_figure
from lare_dassl.report.inside.plane import plane_points
from tests.report.inside.made_up_run import made_up


def test_the_figures_draw_all_points_and_regions():
    run, labels = made_up(), [0, 3]
    points = plane_points(run, labels)
    drawn = [len(part.get_offsets()) for part in embedding_figure(run, points, labels).axes[0].collections]
    assert drawn == [8, 8, 8, 16]
    drawn = [len(part.get_offsets()) for part in region_figure(run, points, labels).axes[0].collections]
    assert drawn == [24, 48, 12, 12, 16]
    panels = size_figure(run, labels).axes
    assert [sum(bar.get_height() for bar in panel.patches) for panel in panels] == [40, 8, 8]
    assert [panel.get_title(loc="left") for panel in panels] == ["all classes, n = 40", "cat, n = 8", "owl, n = 8"]


def test_names_in_legends_are_kept_short():
    assert short("a" * 20) == "a" * 20
    assert short("a" * 21) == "a" * 19 + "…"
    run, labels = made_up(), [0, 3]
    texts = [text.get_text() for text in embedding_figure(run, plane_points(run, labels), labels).legends[0].texts]
    assert texts[:2] == ["cat", "owl"]
    assert [text for text in texts[2:] if text.strip()] == [
        "test, photo (source)",
        "test, painting (target)",
        "test, sketch (target)",
        "trained on",
    ]
