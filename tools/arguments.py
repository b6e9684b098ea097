"""The flags that the tools share; they mean what they mean in Dassl. Nothing heavy is imported for --help."""

from __future__ import annotations

import argparse
import ast
import importlib.util
import sys
from collections.abc import Callable
from itertools import chain
from pathlib import Path
from typing import Any, NoReturn


def trainer_names() -> list[str]:
    """The registered names of our trainers in the order of tables, read from their sources: an import takes seconds."""
    package = importlib.util.find_spec("lare_dassl")
    folders = package.submodule_search_locations or [] if package else []
    sources = chain.from_iterable(Path(folder, "trainers").glob("*.py") for folder in folders)
    nodes = chain.from_iterable(ast.parse(path.read_text(encoding="utf-8")).body for path in sources)
    places = {node.name: _place(node) for node in nodes if isinstance(node, ast.ClassDef)}
    return sorted(filter(places.get, places), key=lambda name: places[name])


def _place(trainer: ast.ClassDef) -> int:
    """The value of `place` in the body of a class; 0 for a class that is no method."""
    for node in trainer.body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "place":
            return int(ast.literal_eval(node.value))
    return 0


class Help(argparse.Action):
    """The flag --help: the flags of the tool, or what is known of a key or a method."""

    def __call__(
        self, parser: argparse.ArgumentParser, given: argparse.Namespace, name: object, _: str | None = None
    ) -> None:
        """Show it and exit; plugins that are named before it are known."""
        if name is None:
            parser.print_help()
            parser.exit()

        def command() -> None:
            from lare_dassl.commands.console import show
            from lare_dassl.commands.help import help_of

            show(help_of(str(name), vars(given).get("plugins", ())))

        parser.exit(run_tool(command))


class Parser(argparse.ArgumentParser):
    """A parser that refuses a wrong command line in one line, and leaves out what is not given: defaults are those of
    the requests in lare_dassl.config.request.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(argument_default=argparse.SUPPRESS, add_help=False, **options)
        text = "show this help, or all about a key or a method, such as OPTIM.LR or LARE (a plugin comes before it)"
        self.add_argument("-h", "--help", nargs="?", action=Help, metavar="NAME", help=text)

    def error(self, message: str) -> NoReturn:
        """Exit with code 2."""
        line = message.encode("unicode_escape").decode() if not message.isprintable() else message
        self.exit(2, f"error: {line} (--help lists the flags)\n")


def add_data_flags(parser: argparse.ArgumentParser) -> None:
    """Flags that say which data, which frozen model and which further settings."""
    parser.add_argument("--root", metavar="PATH", help="where the datasets are (DATASET.ROOT)")
    parser.add_argument("--seed", type=int, help="seed, 0 included; without one a new run draws it")
    parser.add_argument("--source-domains", nargs="+", metavar="NAME", help="domains to train on")
    parser.add_argument("--target-domains", nargs="+", metavar="NAME", help="domains never trained on")
    parser.add_argument("--dataset-config-file", metavar="YAML", help="settings of the dataset")
    add_settings_flags(parser)
    parser.add_argument("overrides", nargs=argparse.REMAINDER, metavar="KEY VALUE", help="further settings")


def add_settings_flags(parser: argparse.ArgumentParser) -> None:
    """Flags that say which frozen model, which further settings and which plugins."""
    parser.add_argument(
        "--config-file",
        action="append",
        dest="config_files",
        metavar="YAML",
        help="settings of the method or the backbone; may be repeated, the last one counts",
    )
    parser.add_argument("--backbone", metavar="NAME", help="frozen model (MODEL.BACKBONE.NAME)")
    parser.add_argument(
        "--plugin",
        action="append",
        dest="plugins",
        metavar="MODULE",
        help="import this module first, so that its trainers and datasets register; may be repeated",
    )


def add_engine_flags(parser: argparse.ArgumentParser) -> None:
    """Flags that say where the work is done."""
    parser.add_argument("--engine", choices=("local", "ray"), help="on this machine (default), or on a Ray cluster")
    parser.add_argument(
        "--ray-address",
        metavar="HOST:PORT",
        help="head of the cluster (default: RAY_ADDRESS, else the one that runs on this machine)",
    )
    parser.add_argument("--ray-cpus", type=float, metavar="N", help="cores of each task (default: as many as threads)")
    parser.add_argument(
        "--ray-gpus",
        type=float,
        metavar="N",
        help="GPUs of each task, such as 0.25 (default: 1 to encode and 0.25 for a run where the cluster has GPUs)",
    )
    parser.add_argument(
        "--ray-wait", type=float, metavar="S", help="seconds to wait for a node that can run tasks (default 60)"
    )


def add_run_flags(parser: argparse.ArgumentParser) -> None:
    """Flags of one run: the method, where its files go, and what to do."""
    parser.add_argument("--trainer", metavar="NAME", help=f"{', '.join(trainer_names())}, or a plugin's")
    parser.add_argument("--output-dir", metavar="PATH", help="where the run's files go (OUTPUT_DIR)")
    parser.add_argument("--transforms", nargs="+", metavar="NAME", help="data augmentation, for trainers on images")
    parser.add_argument("--head", metavar="NAME", help="head, for trainers on images (MODEL.HEAD.NAME)")
    parser.add_argument("--resume", metavar="PATH", help="run folder to go on from")
    parser.add_argument("--eval-only", action="store_true", help="test a trained model, do not train")
    parser.add_argument("--model-dir", metavar="PATH", help="run folder of the model that --eval-only tests")
    parser.add_argument("--load-epoch", type=int, metavar="N", help="test the checkpoint of this epoch, not the best")
    parser.add_argument("--no-train", action="store_true", help="build everything, but do not train")


def run_tool(command: Callable[[], None]) -> int:
    """Run a tool and give its exit code, see lare_dassl.errors.exit_code.

    Args:
        command: imports what it needs of the package, and does what the tool is asked.
    """
    try:
        # The package is imported here. It refuses, by an InputError, a broken Dassl or an unknown LARE_DASSL_HOST.
        from lare_dassl.errors import exit_code
    except ValueError as error:
        if type(error).__name__ != "InputError":
            raise
        sys.stderr.write(f"error: {error}\n")
        return 2
    except KeyboardInterrupt:
        return 130
    return exit_code(command)
