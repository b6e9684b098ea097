"""Mounts that no other process sees, and that end with the process."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

APART = "FAULTS_APART"


def go_apart() -> None:
    """Go on as a process that has mounts of its own, where the system allows that: as root, or as root of its own."""
    if APART in os.environ or not shutil.which("unshare"):
        return
    for namespace in (["unshare", "--mount"], ["unshare", "--mount", "--map-root-user"]):
        try_mount = [*namespace, "mount", "-t", "tmpfs", "tmpfs", "/mnt"]
        if subprocess.run(try_mount, capture_output=True, check=False).returncode == 0:
            os.environ[APART] = "yes"
            os.execvp(namespace[0], [*namespace, *sys.orig_argv])


def may_mount() -> bool:
    """True where this process has mounts of its own."""
    return APART in os.environ
