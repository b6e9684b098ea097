"""Packaging. Dassl itself is on no package index: an installed one is used, else the built-in stand-in."""

import re
from pathlib import Path

from setuptools import find_packages, setup

HERE = Path(__file__).parent
VERSION = re.search(r'__version__ = "(.+?)"', (HERE / "lare_dassl" / "__init__.py").read_text(encoding="utf-8"))[1]

setup(
    name="lare_dassl",
    version=VERSION,
    description="LARE and its relatives for Dassl: robust classifiers on frozen vision-language embeddings",
    long_description=(HERE / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="MIT",
    python_requires=">=3.11",
    packages=find_packages(include=["lare_dassl", "lare_dassl.*"]),
    package_data={"lare_dassl": ["assets/**/*"]},
    install_requires=[
        "torch>=2.9",
        "torchvision>=0.24",
        "timm>=1.0",
        "open_clip_torch>=3.0,<4",
        "huggingface_hub>=0.30",
        "yacs>=0.1.8",
        "PyYAML>=6",
        "numpy>=1.26",
        "pillow>=10",
        "safetensors>=0.4",
        "filelock>=3.12",
        "requests>=2.31",
        "urllib3>=2",
        "tqdm>=4.60",
        "rich>=13",
        "jinja2>=3.1",
        "matplotlib>=3.8",
        "pandas>=2",
        "scipy>=1.11",
        "tensorboard>=2.15",
    ],
    extras_require={
        "dev": [
            *("pytest>=8", "pytest-cov>=7", "coverage>=7.10", "hypothesis>=6.100", "ruff>=0.6", "mypy>=1.11"),
            *("playwright>=1.40", "scikit-learn>=1.4", "types-PyYAML"),
        ],
        "mutants": ["mutmut>=3.8"],
        "ray": ["ray[default]>=2.60"],
    },
)
