"""The configuration: the table of keys, and the merging of files, flags and KEY VALUE pairs."""

from .merging import use_linear_probe_defaults, use_trainer_defaults

__all__ = ["use_linear_probe_defaults", "use_trainer_defaults"]
