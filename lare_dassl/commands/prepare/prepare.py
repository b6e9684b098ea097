"""What tools/prepare_data.py does: say what is there of a dataset, get what is missing, and verify it."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from rich.table import Table
from yacs.config import CfgNode

from lare_dassl.commands.checks import check_domains, check_name
from lare_dassl.commands.console import show
from lare_dassl.config.assembly import merge_sources
from lare_dassl.config.request import DataRequest, PrepareRequest
from lare_dassl.datasets.base.foreign import open_dataset
from lare_dassl.datasets.base.image_dataset import ImageDataset
from lare_dassl.datasets.base.sources import SOURCES, Source, how_to_get
from lare_dassl.errors import InputError, unknown_name, unreadable
from lare_dassl.host.door import DATASET_REGISTRY
from lare_dassl.io.files import make_folder
from lare_dassl.io.locks import only_one
from lare_dassl.system import network
from lare_dassl.system.logs import start_logging
from lare_dassl.trainers.base.description import description_of

from .archives import SUFFIXES, unpack
from .disk import show_size
from .download import download, fault_of, part_of, size_of
from .verify import build_what_is_there, check_images, counts_table, sample_size

# A dataset that makes its files itself.
WITHOUT_SOURCES = ("demo",)


@dataclass(frozen=True)
class Finding:
    """The state of one source on the disk.

    Attributes:
        source: the source.
        is_there: its folder, or plain file, is in place.
        archive: its archive, where there is one.
        state: the state in words, for the table.
        fault: a fault that the user must mend before the source can be put in place; "" for none.
    """

    source: Source
    is_there: bool
    archive: Path | None
    state: str
    fault: str = ""


def prepare(request: PrepareRequest, configs: Path) -> None:
    """Run tools/prepare_data.py.

    Args:
        request: names the dataset.
        configs: folder of the datasets' configurations, each `<name>.yaml`.

    Raises:
        InputError: an unknown name or key, or, after all else is done, something that is missing or wrong.
    """
    known = [*SOURCES, *WITHOUT_SOURCES]
    if request.name not in known:
        raise unknown_name("dataset", request.name, known)
    sample = sample_size(request.sample)
    cfg = _make_config(request, configs)
    root = Path(cfg.DATASET.ROOT).expanduser()
    start_logging()
    sources = _needed_sources(request.name, cfg)
    findings = [look(source, root) for source in sources]
    _show_states(findings)
    dataset, problems = _get_dataset(request, cfg, findings, root)
    if dataset is not None:
        show(counts_table(dataset))
        try:
            show(f"{check_images(dataset, sample):,} images decoded")
        except InputError as error:
            problems.append(str(error))
    _raise_problems(request.name, problems)
    if request.delete_archives:
        _delete_archives([look(source, root) for source in sources])
    partial = " as it is (DATASET.ALLOW_PARTIAL)" if cfg.DATASET.ALLOW_PARTIAL else ""
    show(f"{request.name} is {'usable' if partial else 'complete'}{partial}")


def _make_config(request: PrepareRequest, configs: Path) -> CfgNode:
    given = DataRequest(
        root=request.root,
        dataset_config_file=str(configs / f"{request.name}.yaml"),
        overrides=request.overrides,
    )
    cfg = merge_sources(given, description_of)
    check_name("dataset", "DATASET.NAME", cfg.DATASET.NAME, DATASET_REGISTRY)
    check_domains(cfg.DATASET.NAME, [*cfg.DATASET.SOURCE_DOMAINS, *cfg.DATASET.TARGET_DOMAINS])
    return cfg


def _needed_sources(name: str, cfg: CfgNode) -> list[Source]:
    """The sources that the chosen domains need; all of them where the dataset chooses."""
    chosen = {*cfg.DATASET.SOURCE_DOMAINS, *cfg.DATASET.TARGET_DOMAINS}
    return [source for source in SOURCES.get(name, ()) if not chosen or source.domain in {*chosen, ""}]


def look(source: Source, root: Path) -> Finding:
    """Look for the files of a source below DATASET.ROOT.

    Raises:
        InputError: a file or folder cannot be read.
    """
    target, archive = root / source.gives, find_archive(source, root)
    if target.is_file() and not source.holds:
        fault = fault_of(target, source)
        said = f"'{target}' is damaged: {fault}; remove it and run again, or get {source.get}" if fault else ""
        return Finding(source, not fault, None, f"wrong: {fault}" if fault else "there", said)
    if source.holds and target.is_dir() and _is_filled(target):
        lacking = [name for name in source.holds if not (target / name).exists()]
        said = f"'{target}' lacks {', '.join(lacking)}: complete it, or move it away and run again" if lacking else ""
        return Finding(source, not lacking, archive, f"lacks {', '.join(lacking)}" if lacking else "there", said)
    return Finding(source, False, archive, _missing_state(source, root, archive))


def _is_filled(folder: Path) -> bool:
    try:
        return any(folder.iterdir())
    except OSError as error:
        raise unreadable(f"folder '{folder}'", error) from error


def _missing_state(source: Source, root: Path, archive: Path | None) -> str:
    kept = size_of(part_of(root / source.file))
    if archive is not None:
        return f"in {archive.name} ({show_size(archive.stat().st_size)}), to be unpacked"
    if kept:
        of_size = f" of {show_size(source.size)}" if source.size else ""
        return f"missing; {show_size(kept)}{of_size} downloaded"
    return f"missing; download of {show_size(source.size)}" if source.url else "missing; needs a person"


def find_archive(source: Source, root: Path) -> Path | None:
    """The archive of a source: downloaded, or put there by hand with any suffix of an archive; None without one."""
    if not source.holds:
        return None
    path = root / source.file
    stem = next(path.name.removesuffix(suffix) for suffix in SUFFIXES if path.name.endswith(suffix))
    candidates = [path, *(path.with_name(stem + suffix) for suffix in SUFFIXES)]
    return next((candidate for candidate in candidates if candidate.is_file()), None)


def _show_states(findings: Sequence[Finding]) -> None:
    if not findings:
        return
    table = Table("file or folder", "state")
    for finding in findings:
        table.add_row(finding.source.gives, finding.state)
    show(table)


def _get_dataset(
    request: PrepareRequest, cfg: CfgNode, findings: Sequence[Finding], root: Path
) -> tuple[ImageDataset | None, list[str]]:
    """Build the dataset, or its readable domains, and list the problems on the way.

    Files are fetched only where the dataset cannot be built without them: the chosen domains may not need them, or
    their content is already unpacked. A plain file that is there must be the right one in any case.
    """
    try:
        dataset = open_dataset(cfg)
        return dataset, [finding.fault for finding in findings if finding.fault and not finding.source.holds]
    except InputError as error:
        cause = str(error)
    problems = _get_sources(request, findings, root) if findings else [cause]
    try:
        return open_dataset(cfg), problems
    except InputError as error:
        # The message advises to run this very command.
        problem = str(error).replace(how_to_get(request.name), "move that and its archive away, and run again")
        return build_what_is_there(cfg), problems or [problem]


def _get_sources(request: PrepareRequest, findings: Sequence[Finding], root: Path) -> list[str]:
    """Download and unpack missing sources; gives a line for each source that stays missing."""
    findings = [finding for finding in findings if not finding.is_there]
    if not findings:
        return []
    hosts = _hosts_to_ask(findings, request.no_download)
    may_be_had = [urlsplit(finding.source.url).netloc in hosts for finding in findings]
    some = any(may_be_had) or any(finding.archive for finding in findings)
    problems = []
    with _preparing(root, request.name) if some else nullcontext():
        for finding, may_download in zip(findings, may_be_had, strict=True):
            try:
                _get(finding, root, may_download)
            except InputError as error:
                problems.append(str(error))
    return problems


def _preparing(root: Path, name: str) -> AbstractContextManager[None]:
    folder = make_folder(root, "--root")
    return only_one(folder / f".{name}.lock", f"prepares {name} in '{folder}'")


def _hosts_to_ask(findings: Sequence[Finding], no_download: bool) -> set[str]:
    """The servers of missing sources that answer; a line names those that do not."""
    addresses = [urlsplit(finding.source.url) for finding in findings if finding.source.url and not finding.archive]
    servers = {address.netloc: f"{address.scheme}://{address.netloc}/" for address in addresses}
    if no_download or not servers:
        return set()
    answering = {host for host, address in servers.items() if network.reachable(address)}
    silent = sorted(servers.keys() - answering)
    if silent:
        show(f"offline: {', '.join(silent)} cannot be reached; nothing is downloaded from there")
    return answering


def _get(finding: Finding, root: Path, may_download: bool) -> None:
    """Put one source in its place.

    Raises:
        InputError: this fails; the message says what to do.
    """
    source, archive = finding.source, finding.archive
    if finding.fault:
        raise InputError(finding.fault)
    if archive is None and not (source.url and may_download):
        when = "run again online, or " if source.url else ""
        raise InputError(f"{source.gives} is missing: {when}get {source.get}, and put it at {root / source.file}")
    if archive is None:
        archive = download(source, root)
    elif archive == root / source.file:
        _check_archive(archive, source)
    if source.holds:
        advice = f"get it anew: {source.get}"
        unpack(archive, root / source.gives, source.holds, source.unpacked_size, advice)


def _check_archive(archive: Path, source: Source) -> None:
    fault = fault_of(archive, source)
    if not fault:
        return
    rest = f"rename it to {part_of(archive).name} and run again to download the rest, or "
    hint = rest if archive.stat().st_size < source.size else ""
    raise InputError(f"'{archive}' is half-downloaded or damaged: {fault}; {hint}remove it and run again")


def _raise_problems(name: str, problems: Sequence[str]) -> None:
    """Raise a single problem as the error; show several as lines and raise their number."""
    if len(problems) == 1:
        raise InputError(problems[0])
    for problem in problems:
        show(problem)
    if problems:
        raise InputError(f"{name} is not complete: {len(problems)} things are missing or wrong, each told above")


def _delete_archives(findings: Sequence[Finding]) -> None:
    for finding in findings:
        if finding.is_there and finding.archive:
            finding.archive.unlink()
            show(f"deleted {finding.archive}")
