"""Keys of the images: which they are, how they are read, and how trainers on images change them."""

from __future__ import annotations

from lare_dassl.methods.shared.settings import AT_LEAST_1, NOT_NEGATIVE, SHARE, WORKERS, Allowed

from .key import (
    DATA,
    ENCODER,
    EVALUATION,
    EVERY_RUN,
    IMAGES,
    NOTHING,
    OTHER_DATASETS,
    OUR_DATASETS,
    OURS,
    PLACE,
    SPEED,
    TRAINING,
    Key,
    rows_of,
    section,
)
from .split_settings import SplitSettings

PIXELS = "pixels"
SHOTS, *LONG_TAIL = rows_of(SplitSettings)

DATASET_KEYS = (
    section(
        "DATASET",
        Key("ROOT", "", "folder with the datasets, or an embedding file", affects=PLACE, file=True),
        Key("NAME", "", "registered name of the dataset", column=True),
        Key("SOURCE_DOMAINS", (), "domains to train on"),
        Key("TARGET_DOMAINS", (), "domains never trained on", affects=DATA + EVALUATION),
        source="Dassl",
        affects=DATA,
        readers=EVERY_RUN,
    )
    + section("", SHOTS, source="Dassl", affects=TRAINING, readers=EVERY_RUN, column=True)
    + section(
        "DATASET",
        Key("NUM_LABELED", -1, "labelled images in total, of a semi-supervised dataset", Allowed(-1)),
        Key("VAL_PERCENT", 0.1, "share of validation images, of a semi-supervised dataset", SHARE),
        Key("STL10_FOLD", -1, "fold of STL-10 to train on, 0 to 9; -1 for none"),
        Key("CIFAR_C_TYPE", "", "corruption of CIFAR-10-C or CIFAR-100-C to test on"),
        Key("CIFAR_C_LEVEL", 1, "severity of that corruption, 1 to 5"),
        Key("ALL_AS_UNLABELED", False, "use the labelled images as unlabelled ones too"),
        Key("SUBSAMPLE_CLASSES", "all", "classes of CoOp's datasets: all, base or new", source="CoOp"),
        source="Dassl",
        affects=DATA,
        readers=OTHER_DATASETS,
    )
    + section(
        "DATASET",
        Key(
            "VAL_FRACTION",
            0.1,
            "share of a source domain's training images kept for validation",
            Allowed(0, 1, below=True),
        ),
        Key(
            "TEST_FRACTION",
            0.2,
            "share of a source domain's images kept for the in-domain test (DomainFolders)",
            Allowed(0, 1, below=True),
        ),
        Key(
            "SPLIT_FILE",
            "",
            'JSON file {"train": [...], "val": [...], "test": [...]} of image paths below ROOT; "" splits by hash',
            file=True,
            may_change=True,
        ),
        Key("ORIGIN", "", "entry in datasets/sources.py: where to get the dataset", affects=PLACE, readers=EVERY_RUN),
        Key("FOLDER", "", "folder with the domains below ROOT, where it is not ROOT itself", affects=PLACE),
        Key(
            "EXPECTED_IMAGES",
            {},
            "images of each domain in a complete copy (DomainFolders)",
            NOT_NEGATIVE,
            "images",
            entries=(int,),
            may_change=True,
        ),
        Key(
            "ALLOW_PARTIAL",
            False,
            "take a copy that has fewer images than a complete one, with a warning",
            may_change=True,
        ),
        source="lare_dassl",
        affects=DATA,
        readers=OUR_DATASETS,
    )
    + section("", *LONG_TAIL[:1], source="Cui et al., 2019", affects=TRAINING, readers=EVERY_RUN, column=True)
    + section(
        "",
        *LONG_TAIL[1:],
        source="Cui et al., 2019",
        affects=TRAINING,
        readers=EVERY_RUN,
        unless=("DATASET.LONG_TAIL.RATIO", 1),
    )
    + section(
        "DATASET",
        Key(
            "SOURCE_PROMPTS",
            {},
            "description of each source domain: a prompt, or a list of them, with {} for the class name; LADS reads it",
            entries=(str, list),
        ),
        Key(
            "TARGET_PROMPTS",
            {},
            "description of each other domain: a prompt, or a list of them, with {} for the class name; LADS reads it",
            entries=(str, list),
        ),
        source="LADS, arXiv 2210.09520",
        affects=DATA,
        readers=ENCODER + IMAGES,
        may_change=True,
    )
    + section(
        "DATASET",
        # On the same images all values give the same run, or none.
        Key(
            "BAD_IMAGES",
            "error",
            "images that cannot be read: error lists them and stops; skip leaves them out of train, val and test, and "
            "the record counts them",
            Allowed(choices=("error", "skip")),
            readers=EVERY_RUN,
        ),
        Key(
            "DUPLICATES",
            "warn",
            "an image in two of train, val and test: warn names it, error stops",
            Allowed(choices=("warn", "error")),
            readers=OURS + ENCODER,
        ),
        source="lare_dassl",
        affects=NOTHING,
    )
)

READING_KEYS = section(
    "DATALOADER",
    Key("NUM_WORKERS", 4, "processes that read images", WORKERS, affects=SPEED, readers=EVERY_RUN),
    Key("K_TRANSFORMS", 1, "times that an image is transformed", AT_LEAST_1),
    Key("RETURN_IMG0", False, "give the image without augmentation too"),
    Key("TRAIN_X.SAMPLER", "RandomSampler", "order of the labelled images"),
    Key(
        "TRAIN_X.BATCH_SIZE",
        32,
        "real images or embeddings of a batch",
        AT_LEAST_1,
        "images",
        readers=OURS + IMAGES,
        on_embeddings=256,
    ),
    Key("TRAIN_X.N_DOMAIN", 0, "domains of a batch of labelled images; 0 for all", NOT_NEGATIVE),
    Key("TRAIN_X.N_INS", 16, "images of each class that RandomClassSampler puts into a batch", AT_LEAST_1),
    Key("TRAIN_U.SAME_AS_X", True, "the settings of labelled images hold for unlabelled ones too"),
    Key("TRAIN_U.SAMPLER", "RandomSampler", "order of the unlabelled images"),
    Key("TRAIN_U.BATCH_SIZE", 32, "unlabelled images of a batch", AT_LEAST_1, "images"),
    Key("TRAIN_U.N_DOMAIN", 0, "domains of a batch of unlabelled images; 0 for all", NOT_NEGATIVE),
    Key("TRAIN_U.N_INS", 16, "unlabelled images of each class that RandomClassSampler puts into a batch", AT_LEAST_1),
    Key("TEST.SAMPLER", "SequentialSampler", "order of the test images", affects=SPEED),
    Key("TEST.BATCH_SIZE", 32, "test images of a batch", AT_LEAST_1, "images", affects=SPEED),
    source="Dassl",
    affects=TRAINING,
    readers=IMAGES,
)

INPUT_KEYS = section(
    "INPUT",
    Key("SIZE", (224, 224), "height and width of an image", Allowed(1, 65_536, empty=False), PIXELS),
    Key("INTERPOLATION", "bilinear", "interpolation of a resized image: bilinear, bicubic or nearest"),
    Key("TRANSFORMS", (), "names of the data augmentation"),
    Key("NO_TRANSFORM", False, "give images without any transform"),
    Key("PIXEL_MEAN", [0.485, 0.456, 0.406], "mean of each colour channel, for the transform normalize"),
    Key(
        "PIXEL_STD",
        [0.229, 0.224, 0.225],
        "standard deviation of each colour channel, for the transform normalize",
        Allowed(0, above=True),
    ),
    Key("CROP_PADDING", 4, "padding before the transform random_crop", NOT_NEGATIVE, PIXELS),
    Key("RRCROP_SCALE", (0.08, 1.0), "least and greatest share of the area that random_resized_crop keeps", SHARE),
    Key("CUTOUT_N", 1, "holes of the transform cutout", NOT_NEGATIVE),
    Key("CUTOUT_LEN", 16, "side of a hole of cutout", NOT_NEGATIVE, PIXELS),
    Key("GN_MEAN", 0.0, "mean of the transform gaussian_noise"),
    Key("GN_STD", 0.15, "standard deviation of gaussian_noise", NOT_NEGATIVE),
    Key("RANDAUGMENT_N", 2, "operations of the transform randaugment"),
    Key("RANDAUGMENT_M", 10, "strength of randaugment"),
    Key("COLORJITTER_B", 0.4, "change of brightness by the transform colorjitter"),
    Key("COLORJITTER_C", 0.4, "change of contrast by colorjitter"),
    Key("COLORJITTER_S", 0.4, "change of saturation by colorjitter"),
    Key("COLORJITTER_H", 0.1, "change of hue by colorjitter"),
    Key("RGS_P", 0.2, "probability of the transform randomgrayscale", SHARE),
    Key("GB_P", 0.5, "probability of the transform gaussian_blur", SHARE),
    Key("GB_K", 21, "width of the kernel of gaussian_blur", AT_LEAST_1, PIXELS),
    source="Dassl",
    affects=TRAINING,
    readers=IMAGES,
)
