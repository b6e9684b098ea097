"""Datasets; importing this package registers each of them in the host's DATASET_REGISTRY."""

from lare_dassl.datasets import cub_painting, demo_world, domain_folders, embedding_file

__all__ = ["cub_painting", "demo_world", "domain_folders", "embedding_file"]
