"""Seconds of a whole run of LARE on cached embeddings of CUB's size, beside scikit-learn's LogisticRegression.

python benchmarks/lare_and_logistic_regression.py

LARE trains both stages, tests and writes its record; LogisticRegression fits the real rows alone.
"""

from __future__ import annotations

import argparse

from measuring import Runs, in_turns, machine, parser, prepare, seconds, show_ratio, synthetic
from rich.table import Table
from sklearn.linear_model import LogisticRegression
from threadpoolctl import threadpool_limits

from lare_dassl.commands.console import show


def main() -> None:
    """Measure, and print times and accuracies."""
    flags = parser(__doc__, repetitions=5)
    flags.add_argument("--strength", type=float, default=10.0, help="C of LogisticRegression")
    flags.add_argument("opts", nargs=argparse.REMAINDER, metavar="KEY VALUE", help="settings of LARE")
    arguments = flags.parse_args()
    prepare(arguments.threads)
    embeddings = synthetic()
    runs = Runs(embeddings)
    train, test = embeddings.train, embeddings.test
    accuracies: dict[str, float] = {}

    def lare() -> float:
        trainer = runs.trainer("LARE", *arguments.opts)
        duration = seconds(trainer.train)
        accuracies["LARE"] = trainer.results["accuracy"]
        return duration

    def logistic_regression() -> float:
        model = LogisticRegression(C=arguments.strength, max_iter=1000)
        with threadpool_limits(arguments.threads):
            duration = seconds(lambda: model.fit(train.embedding.numpy(), train.label.numpy()))
        accuracies["LogisticRegression"] = 100 * model.score(test.embedding.numpy(), test.label.numpy())
        return duration

    times = in_turns({"LARE": lare, "LogisticRegression": logistic_regression}, arguments.repetitions)
    show_ratio(f"a whole run ({machine()})", times, unit="s", scale=1.0)
    table = Table("accuracy on held-out rows", "%")
    for name, value in accuracies.items():
        table.add_row(name, f"{value:.1f}")
    show(table)


if __name__ == "__main__":
    main()
