"""Choose the value of one setting by accuracy on the source domains' validation rows; no test row is looked at.

python benchmarks/select_setting.py --embedding-file demo.safetensors --key TRAINER.LARE.ALPHA --values 0.1 0.3 0.5 0.9
"""

from __future__ import annotations

import argparse
import io
import sys
import tempfile
from contextlib import redirect_stdout
from itertools import product
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description="Choose the value of one setting on validation rows.")
    parser.add_argument("--embedding-file", nargs="+", required=True, metavar="FILE")
    parser.add_argument("--trainer", default="LARE")
    parser.add_argument("--key", required=True, metavar="KEY", help="the setting, such as TRAINER.LARE.ALPHA")
    parser.add_argument("--values", nargs="+", required=True, metavar="VALUE")
    parser.add_argument("--shots", type=int, nargs="+", default=[1, 4, 16])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("opts", nargs=argparse.REMAINDER, metavar="KEY VALUE", help="further settings")
    return parser.parse_args()


def validation_accuracy(arguments: argparse.Namespace, file: str, shots: int, value: str, seed: int) -> float:
    """Accuracy in percent on the validation rows after one run."""
    from lare_dassl.commands.train import train
    from lare_dassl.config.request import RunRequest, request_of
    from lare_dassl.results.record import read_record
    from tools.train import read_flags

    pairs = [*arguments.opts, arguments.key, value, "DATASET.NAME", "EmbeddingFile", "DATASET.NUM_SHOTS", str(shots)]
    with tempfile.TemporaryDirectory() as folder:
        words = ["--trainer", arguments.trainer, "--root", file, "--seed", str(seed), "--output-dir", folder]
        with redirect_stdout(io.StringIO()):
            train(request_of(RunRequest, read_flags([*words, *pairs, "TEST.SPLIT", "val"])))
        record = read_record(Path(folder) / "record.json")
    return float(record.metrics.accuracy)


def main() -> None:
    """Run the product of files, shots, values and seeds, and print mean ± std by value."""
    import pandas as pd

    from lare_dassl.report.runs.summary import show_value

    arguments = parse_arguments()
    rows = []
    cells = list(product(arguments.embedding_file, arguments.shots, arguments.values, range(arguments.seeds)))
    for file, shots, value, seed in cells:
        accuracy = validation_accuracy(arguments, file, shots, value, seed)
        rows.append({"file": Path(file).stem, "shots": shots, arguments.key: value, "accuracy": accuracy})
    groups = pd.DataFrame(rows).groupby(["file", "shots", arguments.key], sort=False)["accuracy"]
    table = groups.agg(["mean", "std"]).apply(lambda row: show_value(row["mean"], row["std"]), axis=1)
    sys.stdout.write(table.unstack(arguments.key).to_string() + "\n")


if __name__ == "__main__":
    from lare_dassl.errors import exit_code

    sys.exit(exit_code(main))
