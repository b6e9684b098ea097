from __future__ import annotations

import json

import pytest

from lare_dassl.encoding import prompts
from lare_dassl.errors import InputError
from tests.helpers import make_cfg

NAMES, PROMPT_NAMES = ["001.Black_footed_Albatross", "sea-lion"], ["black footed albatross", "sea lion"]


def test_each_template_gives_each_class_a_prompt():
    assert prompts.fill_templates("VLM.TEMPLATES", ["a {}.", "the {} {}"], ["cat", "tree {x}"]) == [
        ["a cat.", "the cat cat"],
        ["a tree {x}.", "the tree {x} tree {x}"],
    ]


@pytest.mark.parametrize(
    ("templates", "message"),
    [([], "VLM.TEMPLATES is empty"), (["a {}.", "a photo"], "VLM.TEMPLATES: 'a photo' has no {}")],
)
def test_templates_without_a_place_for_the_name_are_told(templates, message):
    with pytest.raises(InputError) as error:
        prompts.fill_templates("VLM.TEMPLATES", templates, ["cat"])
    assert message in str(error.value)


def write(folder, content):
    path = folder / "prompts.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def test_a_prompts_file_names_classes_as_the_dataset_or_as_prompts_do(tmp_path):
    content = {"Black-footed albatross": ["long wings", "a seabird"], "SEA_LION": ["it barks"], "otter": ["unused"]}
    vlm = make_cfg(VLM__PROMPTS_FILE=write(tmp_path, content)).VLM
    assert prompts.class_prompts(vlm, NAMES, PROMPT_NAMES) == [["long wings", "a seabird"], ["it barks"]]


def test_without_a_prompts_file_the_templates_speak():
    assert prompts.class_prompts(make_cfg().VLM, ["a_b"], ["a b"]) == [["a photo of a a b."]]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"sea lions": ["x"]}, "has no descriptions of black footed albatross, sea lion"),
        ({"black footed albatross": ["x"], "sea lions": ["x"]}, "of sea lion (did you mean 'sea lions'?)"),
        ({"sea lion": []}, "'sea lion' must have a list of descriptions, at least one"),
        ({"sea lion": "it barks"}, "'sea lion' must have a list of descriptions"),
        ({"sea lion": ["it barks", 3]}, "'sea lion' must have a list of descriptions"),
        ({"sea lion": [" "]}, "'sea lion' must have a list of descriptions"),
        (["sea lion"], "is not a JSON object"),
        ('{"sea lion": ["x"], "sea_lion": ["y"]}', "class 'sea_lion' is in it twice"),
        ("{", "cannot read VLM.PROMPTS_FILE"),
        ("[" * 100_000, "cannot read VLM.PROMPTS_FILE"),
    ],
)
def test_a_prompts_file_that_cannot_be_used_is_told(tmp_path, content, message):
    path = write(tmp_path, content)
    with pytest.raises(InputError) as error:
        prompts.read_prompts_file(path, NAMES, PROMPT_NAMES)
    assert message in str(error.value)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)


def test_a_missing_prompts_file_is_told(tmp_path):
    with pytest.raises(InputError, match=r"cannot read VLM\.PROMPTS_FILE"):
        prompts.read_prompts_file(tmp_path / "none.json", NAMES, PROMPT_NAMES)


def test_six_lacking_classes_are_counted(tmp_path):
    names = [f"class {number}" for number in range(7)]
    with pytest.raises(InputError, match="class 4 and 2 more"):
        prompts.read_prompts_file(write(tmp_path, {"other": ["x"]}), names, names)


def test_a_domain_is_described_by_either_key_and_by_one_prompt_or_several():
    cfg = make_cfg(DATASET__SOURCE_PROMPTS__photo="a photo of a {}.", DATASET__TARGET_PROMPTS__photo="{}")
    cfg.DATASET.TARGET_PROMPTS["real world"] = ["a {}.", "the {}."]
    assert prompts.domain_templates(cfg.DATASET) == {"photo": ["a photo of a {}."], "real world": ["a {}.", "the {}."]}


def test_a_description_without_a_place_for_the_name_is_told():
    cfg = make_cfg(DATASET__TARGET_PROMPTS__neon="a neon sign")
    with pytest.raises(InputError, match=r"DATASET.TARGET_PROMPTS.neon: 'a neon sign' has no \{\}"):
        prompts.domain_templates(cfg.DATASET)
