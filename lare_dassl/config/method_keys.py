"""Keys of methods: a section for each trainer, of ours, of CoOp's and of Dassl's."""

from __future__ import annotations

from dataclasses import replace
from itertools import chain

from lare_dassl.methods.clip_adapter import AdapterSettings
from lare_dassl.methods.context import ContextSettings
from lare_dassl.methods.controls import InterpolationSettings, NoiseSettings
from lare_dassl.methods.lads import LADSSettings
from lare_dassl.methods.lare.regions import LARESettings
from lare_dassl.methods.tip_adapter import CacheSettings

from .key import IMAGES, OURS, TRAINING, Key, rows_of, section

# A run's identity names the domains that LADS moves to, and their descriptions.
_LADS_KEYS = tuple(replace(row, may_change=True) if row.name == "TARGETS" else row for row in rows_of(LADSSettings))
_OURS: dict[str, tuple[tuple[Key, ...], str]] = {
    "LARE": (rows_of(LARESettings), "LARE, arXiv 2409.12597"),
    "LADS": (_LADS_KEYS, "LADS, arXiv 2210.09520"),
    "CLIPADAPTER": (rows_of(AdapterSettings), "CLIP-Adapter, Gao et al., 2021"),
    "CONTEXTOPTIMISATION": (rows_of(ContextSettings), "CoOp, Zhou et al., 2022"),
    "TIPADAPTER": (rows_of(CacheSettings), "Tip-Adapter, Zhang et al., 2022"),
    "GAUSSIANNOISE": (rows_of(NoiseSettings), "lare_dassl"),
    "TEXTINTERPOLATION": (rows_of(InterpolationSettings), "lare_dassl"),
}

OUR_METHOD_KEYS = tuple(
    chain.from_iterable(
        section(f"TRAINER.{name}", *rows, source=source, affects=TRAINING, readers=OURS)
        for name, (rows, source) in _OURS.items()
    )
)

# Those that CoOp's own train.py declares, so that its trainers run from our tools.
_CONTEXT = (
    Key("N_CTX", 16, "context vectors"),
    Key("CTX_INIT", "", 'words that the context vectors start as; "" starts them at random'),
    Key("PREC", "fp16", "arithmetic: fp16, fp32 or amp"),
)
_COOP = (
    Key("CSC", False, "give each class context vectors of its own"),
    Key("CLASS_TOKEN_POSITION", "end", "place of the class name: end, middle or front"),
)
COOP_KEYS = (
    *section("TRAINER.COOP", *_CONTEXT, source="CoOp", affects=TRAINING, readers=IMAGES),
    *section("TRAINER.COCOOP", *_CONTEXT, source="CoOp", affects=TRAINING, readers=IMAGES),
    *section("TRAINER.COOP", *_COOP, source="CoOp", affects=TRAINING, readers=IMAGES),
)

_WEIGHT_U = "weight of the loss of unlabelled images"
_CONFIDENCE = "confidence from which a pseudo-label is taken"
_STRONG = "strong augmentation of unlabelled images"
_EMA = "decay of the teacher's moving average"
_RAMPUP = "length of the ramp-up of the unlabelled loss"
_PSEUDO_LABELS = (Key("CONF_THRE", 0.95, _CONFIDENCE), Key("STRONG_TRANSFORMS", (), _STRONG))
_DASSL: dict[str, tuple[Key, ...]] = {
    "MCD": (Key("N_STEP_F", 4, "steps of the generator for each step of the classifiers"),),
    "MME": (Key("LMDA", 0.1, "weight of the entropy"),),
    "CDAC": (
        Key("CLASS_LR_MULTI", 10, "factor on the classifier's learning rate"),
        Key("RAMPUP_COEF", 30, "strength of the ramp-up of the consistency loss"),
        Key("RAMPUP_ITRS", 1000, "length of that ramp-up", unit="iterations"),
        Key("TOPK_MATCH", 5, "largest features that decide the similarity of two images"),
        Key("P_THRESH", 0.95, _CONFIDENCE),
        Key("STRONG_TRANSFORMS", (), _STRONG),
    ),
    "SE": (
        Key("EMA_ALPHA", 0.999, _EMA),
        Key("CONF_THRE", 0.95, _CONFIDENCE),
        Key("RAMPUP", 300, _RAMPUP, unit="iterations"),
    ),
    "M3SDA": (
        Key("LMDA", 0.5, "weight of the moment distance"),
        Key("N_STEP_F", 4, "steps of the generator for each step of the classifiers"),
    ),
    "DAEL": (Key("WEIGHT_U", 0.5, _WEIGHT_U), *_PSEUDO_LABELS),
    "CROSSGRAD": (
        Key("EPS_F", 1.0, "step that perturbs images for the label network"),
        Key("EPS_D", 1.0, "step that perturbs images for the domain network"),
        Key("ALPHA_F", 0.5, "weight of the perturbed images in the label loss"),
        Key("ALPHA_D", 0.5, "weight of the perturbed images in the domain loss"),
    ),
    "DDAIG": (
        Key("G_ARCH", "", "architecture of the generator"),
        Key("LMDA", 0.3, "weight of the perturbation"),
        Key("CLAMP", False, "clamp the perturbation"),
        Key("CLAMP_MIN", -1.0, "least value of a clamped perturbation"),
        Key("CLAMP_MAX", 1.0, "greatest value of a clamped perturbation"),
        Key("WARMUP", 0, "epochs without perturbed images", unit="epochs"),
        Key("ALPHA", 0.5, "weight of the loss of perturbed images"),
    ),
    "DAELDG": (Key("WEIGHT_U", 0.5, _WEIGHT_U), *_PSEUDO_LABELS),
    "DOMAINMIX": (
        Key("TYPE", "crossdomain", "images that are mixed: random or crossdomain"),
        Key("ALPHA", 1.0, "first parameter of the beta distribution of the mix"),
        Key("BETA", 1.0, "second parameter of it"),
    ),
    "ENTMIN": (Key("LMDA", 1e-3, "weight of the entropy"),),
    "MEANTEACHER": (
        Key("WEIGHT_U", 1.0, _WEIGHT_U),
        Key("EMA_ALPHA", 0.999, _EMA),
        Key("RAMPUP", 5, _RAMPUP, unit="epochs"),
    ),
    "MIXMATCH": (
        Key("WEIGHT_U", 100.0, _WEIGHT_U),
        Key("TEMP", 2.0, "temperature that sharpens pseudo-labels"),
        Key("MIXUP_BETA", 0.75, "parameter of the beta distribution of the mix"),
        Key("RAMPUP", 20000, _RAMPUP, unit="iterations"),
    ),
    "FIXMATCH": (Key("WEIGHT_U", 1.0, _WEIGHT_U), *_PSEUDO_LABELS),
}

DASSL_METHOD_KEYS = tuple(
    chain.from_iterable(
        section(f"TRAINER.{name}", *rows, source="Dassl", affects=TRAINING, readers=IMAGES)
        for name, rows in _DASSL.items()
    )
)
