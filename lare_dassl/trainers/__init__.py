"""The trainers, each in a file of its own; importing this package registers those of all its files with the host."""

import importlib
import pkgutil

from .base.description import Described
from .base.embedding_trainer import EmbeddingTrainer

__all__ = ["EmbeddingTrainer"]

for _file in pkgutil.iter_modules(__path__):
    if not _file.ispkg:
        _module = importlib.import_module(f"{__name__}.{_file.name}")
        for _name, _value in vars(_module).items():
            if isinstance(_value, type) and issubclass(_value, Described):
                globals()[_name] = _value
