from __future__ import annotations

from .conftest import skip_lines


def test_skipped_tests_are_listed_by_their_reason():
    place = ("tests/conftest.py", 1)
    skipped = [
        ("tests/vlm/test_vlm.py::test_a[cuda]", (*place, "Skipped: needs a GPU")),
        ("tests/vlm/test_vlm.py::test_b[cuda]", (*place, "Skipped: needs a GPU")),
        ("tests/methods/test_one.py::test_c", (*place, "Skipped: needs a GPU")),
        ("tests/report/test_browser.py", (*place, "Skipped: no browser is installed")),
    ]
    assert skip_lines(skipped) == [
        "3 x needs a GPU: tests/methods/test_one.py, tests/vlm/test_vlm.py",
        "1 x no browser is installed: tests/report/test_browser.py",
    ]
