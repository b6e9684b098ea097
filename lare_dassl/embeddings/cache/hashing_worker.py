"""A program that hashes files: paths on standard input, a sha256 in each line of standard output, "" where unreadable.

It imports nothing of this package, so that it starts at once, and ends when nobody reads on; see hashing.py.
"""

import hashlib
import os
import sys
from pathlib import Path


def file_sha256(path: Path) -> str:
    """The sha256 of a file's bytes, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def try_hash(path: Path) -> str:
    """The same, "" where the file cannot be read."""
    try:
        return file_sha256(path)
    except OSError:
        return ""


if __name__ == "__main__":
    for name in os.fsdecode(sys.stdin.buffer.read()).split("\0"):
        sys.stdout.write(f"{try_hash(Path(name))}\n")
        sys.stdout.flush()
