from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from lare_dassl.errors import InputError
from lare_dassl.methods.context import ContextClassifier, ContextPrompts, find_context, starting_context

LENGTH = 9
VOCABULARY = ["<pad>", "<start>", ".", "a", "photo", "of", "big", "cat", "owl", "x", "<end>"]


def tokenise(texts):
    """A word is a token; start and end are put around, padding behind, and what is too long is cut before the end."""
    rows = []
    for text in texts:
        words = text.replace(".", " .").split()[: LENGTH - 2]
        row = ["<start>", *words, "<end>"]
        rows.append([VOCABULARY.index(word) for word in row + ["<pad>"] * (LENGTH - len(row))])
    return torch.tensor(rows)


def words_of(tokens):
    return [" ".join(VOCABULARY[token] for token in row if token) for row in tokens.tolist()]


def encode(embedding, tokens):
    """A text tower: embeddings weighted by their place, up to the end."""
    rows = []
    for row, ids in zip(embedding, tokens.tolist(), strict=True):
        end = ids.index(VOCABULARY.index("<end>"))
        rows.append(sum((place + 1) * row[place] for place in range(end + 1)))
    return F.normalize(torch.stack(rows), dim=-1)


@pytest.fixture
def prompts():
    tokens, start, length = find_context(tokenise, "a photo of", ["cat", "big owl"])
    table = torch.randn(len(VOCABULARY), 6, generator=torch.Generator().manual_seed(0))
    return ContextPrompts(tokens, table[tokens], start, length)


# Where the context is.


def test_all_prompts_have_their_context_at_the_same_place():
    tokens, start, length = find_context(tokenise, "a photo of", ["cat", "big owl"])
    assert (start, length) == (1, 3)
    assert words_of(tokens) == ["<start> a photo of cat . <end>", "<start> a photo of big owl . <end>"]


def test_a_prompt_may_fill_all_its_tokens_and_no_more():
    tokens, _, length = find_context(tokenise, "x x x x", ["cat", "big owl"])
    assert length == 4
    assert words_of(tokens)[1] == "<start> x x x x big owl . <end>"
    with pytest.raises(InputError) as error:
        find_context(tokenise, "x x x x x", ["cat", "big owl"])
    assert str(error.value) == (
        "the context and the class name 'big owl' are longer than the 9 tokens of a prompt: take at most 4 context "
        "tokens"
    )


@pytest.mark.parametrize(
    ("context", "names", "message"),
    [
        (" ".join(["x"] * 40), ["cat"], "take at most 5 context tokens"),
        ("  ", ["cat"], "'  ' are no tokens of their own before a class name"),
        ("a big", ["cat", "owl"], "'a big' are no tokens of their own"),
    ],
)
def test_words_that_are_no_context_of_their_own_are_refused(context, names, message):
    """The words "big cat" grow together into one token."""
    with pytest.raises(InputError, match=message):
        find_context(lambda texts: tokenise([text.replace("big cat", "owl") for text in texts]), context, names)


# What the context starts as.


@pytest.mark.parametrize("class_specific", [False, True])
def test_the_context_starts_as_its_words(prompts, class_specific):
    context = starting_context(prompts, random=False, class_specific=class_specific, seed=0)
    assert context.shape == ((2, 3, 6) if class_specific else (3, 6))
    for place in range(3):
        for row in range(2):
            vector = context[row, place] if class_specific else context[place]
            assert torch.equal(vector, prompts.embedding[row, 1 + place])
    assert torch.equal(prompts.with_context(context), prompts.embedding)


def test_or_at_random_as_the_seed_says(prompts):
    state = torch.get_rng_state()
    first, again, other = (starting_context(prompts, random=True, class_specific=True, seed=s) for s in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert not torch.equal(first[0], first[1])
    assert torch.equal(torch.get_rng_state(), state)
    wide = ContextPrompts(torch.zeros(1, 50), torch.zeros(1, 50, 200), 0, 50)
    assert starting_context(wide, random=True, class_specific=False, seed=0).std().item() == pytest.approx(
        0.02, rel=0.03
    )


# The classifier.


def loop_logits(embedding, prompts, context, scale):
    """Logits with every prompt put together token by token."""
    texts = []
    for row in range(len(prompts.tokens)):
        vectors = list(prompts.embedding[row])
        for place in range(prompts.length):
            vectors[prompts.start + place] = context[row, place] if context.ndim == 3 else context[place]
        texts.append(encode(torch.stack(vectors)[None], prompts.tokens[row : row + 1])[0])
    return torch.stack([torch.stack([scale * image @ text for text in texts]) for image in embedding])


@pytest.mark.parametrize("shape", [(3, 6), (2, 3, 6)])
def test_logits_are_those_of_prompts_put_together_by_hand(prompts, shape):
    generator = torch.Generator().manual_seed(1)
    context = torch.randn(shape, generator=generator)
    embedding = F.normalize(torch.randn(4, 6, generator=generator), dim=-1)
    classifier = ContextClassifier(prompts, encode, context, 20.0)
    torch.testing.assert_close(classifier(embedding), loop_logits(embedding, prompts, context, 20.0))
    torch.testing.assert_close(classifier.linear()(embedding), classifier(embedding))


@pytest.mark.parametrize("shape", [(3, 6), (2, 3, 6)])
def test_the_gradient_is_that_of_finite_differences(prompts, shape):
    generator = torch.Generator().manual_seed(1)
    double = ContextPrompts(prompts.tokens, prompts.embedding.double(), prompts.start, prompts.length)
    classifier = ContextClassifier(double, encode, torch.randn(shape, generator=generator).double(), 5.0)
    embedding, label = F.normalize(torch.randn(4, 6, generator=generator).double(), dim=-1), torch.tensor([0, 1, 1, 0])
    F.cross_entropy(classifier(embedding), label).backward()
    step = 1e-6
    for place in range(classifier.context.numel()):
        values = []
        for sign in (1, -1):
            moved = classifier.context.detach().clone()
            moved.view(-1)[place] += sign * step
            logits = ContextClassifier(double, encode, moved, 5.0)(embedding)
            values.append(F.cross_entropy(logits, label).item())
        slope = (values[0] - values[1]) / (2 * step)
        assert classifier.context.grad.view(-1)[place].item() == pytest.approx(slope, rel=1e-4, abs=1e-7)


def test_its_state_is_the_context_alone(prompts):
    tower = torch.nn.Linear(6, 6)
    classifier = ContextClassifier(prompts, lambda embedding, _: tower(embedding).mean(dim=1), prompts.words(), 1.0)
    assert list(classifier.state_dict()) == ["context"]
    assert [name for name, _ in classifier.named_parameters()] == ["context"]
    assert classifier.context.data_ptr() != prompts.embedding.data_ptr()


def test_the_linear_classifier_has_no_bias_and_no_gradient(prompts):
    linear = ContextClassifier(prompts, encode, prompts.words(), 20.0).linear()
    torch.testing.assert_close(linear.weight.norm(dim=-1), torch.full((2,), 20.0))
    assert linear.bias.tolist() == [0.0, 0.0]


def test_a_single_class_and_a_single_word_are_enough():
    tokens, start, length = find_context(tokenise, "photo", ["cat"])
    assert (start, length) == (1, 1)
    table = torch.randn(len(VOCABULARY), 6, generator=torch.Generator().manual_seed(0))
    prompts = ContextPrompts(tokens, table[tokens], start, length)
    assert torch.equal(prompts.words(), table[[VOCABULARY.index("photo")]])


def test_random_context_lies_where_the_prompts_do(prompts):
    moved = ContextPrompts(prompts.tokens, prompts.embedding.to("meta"), prompts.start, prompts.length)
    assert starting_context(moved, random=True, class_specific=False, seed=0).device.type == "meta"
