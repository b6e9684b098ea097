"""Keys of a run: its seed and folder, the optimiser, the linear classifier, and the test."""

from __future__ import annotations

from lare_dassl.methods.shared.linear import CLASSIFIER_INITS
from lare_dassl.methods.shared.settings import AT_LEAST_1, EPOCHS_OR_STEPS, RATE, SHARE, STEPS, WORKERS, Allowed

from .key import EVALUATION, EVERY_RUN, IMAGES, NOTHING, OURS, PLACE, SPEED, TRAINING, Key, section

EPOCHS_UNIT, STEPS_UNIT = "epochs", "steps"

RUN_KEYS = section(
    "",
    Key("VERSION", 1, "version of Dassl's configuration", affects=NOTHING),
    Key("OUTPUT_DIR", "./output", "folder of the run's files", affects=PLACE, own=True),
    Key("RESUME", "", "folder of a run to go on from", affects=PLACE, own=True),
    Key("SEED", -1, "seed of the run; -1 draws one", Allowed(-1, 2**32 - 1), affects=TRAINING, own=True, column=True),
    Key("USE_CUDA", True, "use a GPU where there is one", affects=SPEED),
    Key("VERBOSE", True, "print details of trainer, dataset and network", affects=NOTHING),
    source="Dassl",
    readers=EVERY_RUN,
)

TRAINER_NAME = Key(
    "TRAINER.NAME",
    "",
    "registered name of the trainer",
    affects=TRAINING,
    readers=EVERY_RUN,
    source="Dassl",
    own=True,
    column=True,
)

TRAIN_KEYS = section(
    "TRAIN",
    Key(
        "CHECKPOINT_FREQ",
        0,
        "epochs between two checkpoints; 0 or less writes the last epoch's alone",
        Allowed(-1),
        EPOCHS_UNIT,
        SPEED,
        EVERY_RUN,
    ),
    Key("PRINT_FREQ", 10, "batches between two lines of the log", AT_LEAST_1, "batches", NOTHING, IMAGES),
    Key(
        "COUNT_ITER",
        "train_x",
        "loader whose length is that of an epoch, for trainers with unlabelled images",
        Allowed(choices=("train_x", "train_u", "smaller_one")),
        "",
        TRAINING,
        IMAGES,
        later=True,
    ),
    Key(
        "THREADS",
        0,
        "threads of torch; 0 for torch's own number, but at most the usable cores",
        WORKERS,
        "threads",
        SPEED,
        EVERY_RUN,
        "lare_dassl",
    ),
    source="Dassl",
)

OPTIM_KEYS = section(
    "OPTIM",
    Key("NAME", "adam", "optimiser: adam, amsgrad, sgd, rmsprop, radam or adamw", on_embeddings="adamw"),
    Key("LR", 0.0003, "learning rate", RATE, on_embeddings=0.03),
    Key("WEIGHT_DECAY", 5e-4, "weight decay", RATE, on_embeddings=0.05),
    Key("MOMENTUM", 0.9, "momentum of sgd and rmsprop", Allowed(0, 1, below=True)),
    Key("SGD_DAMPNING", 0, "dampening of sgd's momentum", SHARE),
    Key("SGD_NESTEROV", False, "Nesterov's momentum in sgd"),
    Key("RMSPROP_ALPHA", 0.99, "smoothing of rmsprop", SHARE),
    Key("ADAM_BETA1", 0.9, "first beta of adam, amsgrad, radam and adamw", Allowed(0, 1, below=True)),
    Key("ADAM_BETA2", 0.999, "second beta of adam, amsgrad, radam and adamw", Allowed(0, 1, below=True)),
    Key("STAGED_LR", False, "another learning rate for the layers that are not new"),
    Key("NEW_LAYERS", (), "layers that have the learning rate LR, with STAGED_LR"),
    Key("BASE_LR_MULT", 0.1, "factor on the learning rate of the other layers, with STAGED_LR", Allowed(0, 100)),
    Key(
        "LR_SCHEDULER",
        "single_step",
        "schedule of the learning rate: single_step, multi_step or cosine",
        on_embeddings="cosine",
    ),
    Key(
        "STEPSIZE",
        (-1,),
        "epochs at which single_step and multi_step lower the learning rate; -1 for MAX_EPOCH",
        Allowed(-1, empty=False),
        EPOCHS_UNIT,
    ),
    Key("GAMMA", 0.1, "factor by which single_step and multi_step lower the learning rate", SHARE),
    Key(
        "MAX_EPOCH",
        10,
        "passes over the training images; 0, for trainers on embeddings, for as many as make STEPS steps",
        EPOCHS_OR_STEPS,
        EPOCHS_UNIT,
        may_change=True,
        on_embeddings=0,
    ),
    Key("WARMUP_EPOCH", -1, "epochs of warm-up; -1 for none", Allowed(-1, 1_000_000), EPOCHS_UNIT),
    Key("WARMUP_TYPE", "linear", "warm-up: linear or constant"),
    Key("WARMUP_CONS_LR", 1e-5, "learning rate of a constant warm-up", RATE),
    Key("WARMUP_MIN_LR", 1e-5, "least learning rate of a linear warm-up", RATE),
    Key("WARMUP_RECOUNT", True, "count the epochs of the schedule from the end of the warm-up"),
    Key(
        "STEPS",
        600,
        "steps of the optimiser where MAX_EPOCH is 0: 10 to 200 epochs that make so many; LR is that of 200 epochs and "
        "grows with the square root of what they are shortened by",
        STEPS,
        STEPS_UNIT,
        readers=OURS,
        source="lare_dassl",
        may_change=True,
    ),
    source="Dassl",
    affects=TRAINING,
    readers=OURS + IMAGES,
)

CLASSIFIER_KEYS = section(
    "CLASSIFIER",
    Key(
        "INIT",
        "random",
        "start of the linear classifier: random (the LARE paper's) or text (the zero-shot classifier)",
        Allowed(choices=CLASSIFIER_INITS),
        affects=TRAINING,
        source="LARE, arXiv 2409.12597",
    ),
    Key(
        "AVERAGE",
        "1.0",
        "weight of the trained linear classifier in its average with the zero-shot one, from 0 to 1.0, which is the "
        "trained one alone; val chooses it on the source domains' validation rows",
        affects=EVALUATION,
        source="WiSE-FT, Wortsman et al., 2022",
    ),
    readers=OURS,
)

TEST_KEYS = section(
    "TEST",
    Key(
        "EVALUATOR",
        "Classification",
        "registered evaluator, by which trainers on images select; records have figures of their own",
        affects=NOTHING,
        readers=IMAGES,
    ),
    Key("PER_CLASS_RESULT", False, "print the accuracy of each class", affects=NOTHING),
    Key("COMPUTE_CMAT", False, "write the confusion matrix", affects=NOTHING),
    Key("NO_TEST", False, "leave out the test", column=True),
    Key("SPLIT", "test", "split to test on", Allowed(choices=("val", "test")), column=True),
    Key(
        "FINAL_MODEL",
        "last_step",
        "model to test: last_step, or best_val, the best on the source domains' validation rows",
        Allowed(choices=("last_step", "best_val")),
        affects=TRAINING,
    ),
    source="Dassl",
    affects=EVALUATION,
    readers=EVERY_RUN,
)
