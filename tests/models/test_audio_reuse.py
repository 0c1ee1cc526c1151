"""Keys and values that are computed once give what computing them each time gives."""

import torch
from tiny_lipsync import tiny_unet
from torch import Tensor

from latentsync.models.audio_reuse import audio_computed_once


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@torch.no_grad()
def test_answers_are_those_of_the_plain_network_for_silent_and_audible_clips() -> None:
    unet = tiny_unet(zero_outputs=False).eval()
    heard = draw(2, 4, 6, 16)
    both = torch.cat([torch.zeros_like(heard), heard])
    for tokens, audible in ((heard, None), (heard, 8), (both, 8), (both, None)):
        samples = [draw(len(tokens), 13, 4, 8, 8, seed=seed) for seed in (1, 2)]
        plain = [unet(sample, 400, tokens) for sample in samples]
        with audio_computed_once(unet, audible):
            reused = [unet(sample, 400, tokens) for sample in samples]
        for one, other in zip(plain, reused):
            assert torch.allclose(one, other, atol=1e-5 * float(one.abs().max()))


@torch.no_grad()
def test_projections_of_the_audio_run_once_and_the_network_is_as_before_afterwards() -> None:
    unet = tiny_unet().eval()
    calls: list[int] = []
    for name, layer in unet.named_modules():
        if name.endswith("attn2.to_k"):
            layer.register_forward_hook(lambda *_: calls.append(1))
    processors = [m.processor for n, m in unet.named_modules() if n.endswith(".attn2")]
    sample, tokens = draw(1, 13, 4, 8, 8), draw(1, 4, 6, 16)
    with audio_computed_once(unet):
        for _ in range(3):
            unet(sample, 400, tokens)
    assert len(calls) == len(processors) > 0
    assert [m.processor for n, m in unet.named_modules() if n.endswith(".attn2")] == processors


@torch.no_grad()
def test_silent_clips_take_no_attention_and_may_be_there_in_some_calls_only() -> None:
    unet = tiny_unet(zero_outputs=False).eval()
    heard, sample = draw(1, 4, 6, 16), draw(1, 13, 4, 8, 8, seed=1)
    both, pair = torch.cat([torch.zeros_like(heard), heard]), torch.cat([sample, sample])
    rows: list[int] = []
    for name, layer in unet.named_modules():
        if name.endswith("attn2.to_q"):
            layer.register_forward_hook(lambda layer, inputs, output: rows.append(len(output)))
    plain = [unet(pair, 400, both), unet(sample, 400, heard)]
    for first in (0, 1):
        rows.clear()
        with audio_computed_once(unet, audible=4):
            for number in (first, 1 - first, first):
                given = ((pair, both), (sample, heard))[number]
                assert torch.allclose(unet(given[0], 400, given[1]), plain[number], atol=1e-5)
        assert set(rows) == {4}, "the frames of the clip that hears"
