from __future__ import annotations

import pytest
import torch

from lare_dassl import vlm
from lare_dassl.errors import InputError

CPU = torch.device("cpu")


@pytest.fixture(params=["clip", "coca", "demo"])
def tower(request):
    """A model whose own token embeddings may be changed."""
    source = vlm.resolve("demo", "") if request.param == "demo" else request.getfixturevalue(request.param)
    return vlm.load(source, "fp32", CPU)


def test_token_embeddings_and_gradients_are_a_vocabularys(tower):
    encoder, tokens = tower.text_encoder(), tower.tokenizer(["a photo of a cat.", "a photo of a blue owl."])
    context = torch.randn(3, encoder.embed_tokens(tokens).shape[2], generator=torch.Generator().manual_seed(0))
    context = (0.1 * context).requires_grad_()
    embedding = torch.stack([torch.cat([row[:2], context, row[5:]]) for row in encoder.embed_tokens(tokens)])
    result = encoder(embedding, tokens)
    (result[0] * result[1]).sum().backward()

    # The oracle: three unused words of the vocabulary get the vectors, and the tower reads them as any other words.
    table = (tower.model.text if hasattr(tower.model, "text") else tower.model).token_embedding.weight
    table.requires_grad_()
    with torch.no_grad():
        table[[300, 301, 302]] = context
    with_new_words = tokens.clone()
    with_new_words[:, 2:5] = torch.tensor([300, 301, 302])
    expected = torch.nn.functional.normalize(tower.model.encode_text(with_new_words, normalize=False), dim=-1)
    (expected[0] * expected[1]).sum().backward()
    torch.testing.assert_close(result, expected)
    torch.testing.assert_close(context.grad, table.grad[[300, 301, 302]], rtol=1e-4, atol=1e-6)


def test_the_text_encoder_gives_what_the_tower_gives(tower):
    texts = ["a photo of a red circle.", "a cat.", "dogs and owls"]
    before = tower.encode_texts(texts)
    encoder, tokens = tower.text_encoder(), tower.tokenizer(texts)
    torch.testing.assert_close(encoder(encoder.embed_tokens(tokens), tokens), before)
    with pytest.raises(RuntimeError):
        encoder(torch.zeros(3, tokens.shape[1], 3), tokens)
    assert torch.equal(tower.encode_texts(texts), before)
    assert not any(weight.requires_grad for weight in encoder.parameters())


@pytest.mark.parametrize(("kind", "length"), [("clip", 8), ("coca", 17)])
def test_a_short_prompt_costs_only_its_own_tokens(kind, length, request):
    """CoCa's tower reads off a token of its own behind the last place, so its prompts stay as long as they are."""
    encoder = vlm.load(request.getfixturevalue(kind), "fp32", CPU).text_encoder()
    tokens = encoder.tokenizer(["a cat.", "an owl and a dog."])
    lengths = []
    encoder.tower.transformer.resblocks[0].register_forward_hook(lambda _, given, __: lengths.append(given[0].shape[1]))
    encoder(encoder.embed_tokens(tokens), tokens)
    assert lengths == [length]


def test_a_tower_of_another_kind_is_refused():
    class Foreign(torch.nn.Module):
        text = torch.nn.Linear(2, 2)

    with pytest.raises(InputError, match="its text tower is a Linear, which takes no token embeddings"):
        vlm.TextEncoder(Foreign(), lambda texts: torch.zeros(len(texts), 4))
