"""Keys of the frozen model and its embeddings, and of networks of trainers on images."""

from __future__ import annotations

from lare_dassl.methods.shared.settings import AT_LEAST_1, SHARE, Allowed

from .key import ENCODER, ENCODING, IMAGES, OURS, PLACE, SPEED, TRAINING, Key, section

PRECISIONS = ("auto", "fp32", "bf16", "fp16")

MODEL_KEYS = section(
    "MODEL",
    Key("INIT_WEIGHTS", "", "checkpoint that a network starts from", readers=IMAGES),
    Key(
        "BACKBONE.NAME",
        "",
        'model of open_clip, or "demo" for the model that ships with the package; for trainers on images, the network',
        affects=ENCODING,
        readers=ENCODER + IMAGES,
    ),
    Key("BACKBONE.PRETRAINED", True, "start the network from pretrained weights", readers=IMAGES),
    Key("HEAD.NAME", "", "head of the network", readers=IMAGES),
    Key("HEAD.HIDDEN_LAYERS", (), "widths of the head's hidden layers", readers=IMAGES),
    Key("HEAD.ACTIVATION", "relu", "activation of the head", readers=IMAGES),
    Key("HEAD.BN", True, "batch normalisation in the head", readers=IMAGES),
    Key("HEAD.DROPOUT", 0.0, "share of the head's units that are dropped", SHARE, readers=IMAGES),
    source="Dassl",
    affects=TRAINING,
)

VLM_KEYS = section(
    "VLM",
    Key(
        "PRETRAINED",
        "",
        "open_clip's tag of the pretrained weights, or the path of a weights file",
        readers=ENCODER + IMAGES,
        file=True,
    ),
    Key(
        "PRECISION",
        "auto",
        "arithmetic of the encoder; auto takes bf16 where the processor or GPU has it natively, else fp32",
        Allowed(choices=PRECISIONS),
        readers=ENCODER + IMAGES,
    ),
    Key(
        "TEMPLATES",
        ["a photo of a {}."],
        "prompts of a class, each with {} for the class name; their embeddings are averaged",
        Allowed(empty=False),
        readers=ENCODER + IMAGES,
    ),
    Key(
        "PROMPTS_FILE",
        "",
        'JSON file {"class name": ["a description", ...]}, used in place of TEMPLATES',
        readers=ENCODER + IMAGES,
        source="CuPL, Pratt et al., 2023",
        file=True,
        may_change=True,
    ),
    Key(
        "ALLOW_RANDOM",
        False,
        "take a model with random weights, whose embeddings have no meaning; for tests and timing",
        readers=ENCODER + OURS + IMAGES,
    ),
    source="lare_dassl",
    affects=ENCODING,
)

EMBEDDINGS_KEYS = section(
    "EMBEDDINGS",
    Key(
        "CACHE_DIR",
        "",
        'folder of the embedding cache; "" is $LARE_DASSL_CACHE, else ~/.cache/lare_dassl',
        affects=PLACE,
    ),
    Key("BATCH_SIZE", 64, "images in the encoder at a time", AT_LEAST_1, "images", affects=SPEED),
    source="lare_dassl",
    readers=ENCODER,
)
