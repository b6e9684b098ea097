from __future__ import annotations

from lare_dassl.commands.console import show, show_results


def test_results_are_shown_as_a_table(capsys):
    show_results(
        {"accuracy": 81.239, "ece": 3.0, "out_of_domain_accuracy": 70.0, "domain_accuracy/neon": 69.999, "loss": 1.0},
        "test",
    )
    lines = [line for line in capsys.readouterr().out.splitlines() if "│" in line]
    rows = [[cell.strip() for cell in line.strip("│ ").split("│")] for line in lines]
    assert rows == [
        ["accuracy", "81.24"],
        ["out-of-domain accuracy", "70.00"],
        ["calibration error (ECE)", "3.00"],
        ["accuracy on neon", "70.00"],
    ]
    show_results({}, "test")
    assert capsys.readouterr().out == ""


def test_names_from_data_are_shown_as_they_are(capsys):
    show_results({"accuracy": 50.0, "domain_accuracy/[/b]": 1.0, "domain_accuracy/[red]x": 2.0}, "test")
    show("report: out [new]/report.html")
    output = capsys.readouterr().out
    assert "accuracy on [/b]" in output and "accuracy on [red]x" in output
    assert "out [new]/report.html" in output
