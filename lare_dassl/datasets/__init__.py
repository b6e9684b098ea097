"""Datasets; importing this package registers each of them in the host's DATASET_REGISTRY."""

from . import cifar100, cub_painting, demo_world, domain_folders, domainnet_mini, embedding_file

__all__ = ["cifar100", "cub_painting", "demo_world", "domain_folders", "domainnet_mini", "embedding_file"]
