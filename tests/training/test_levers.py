"""What saves memory or steers the optimizer, and what it must not change."""

from functools import partial
from types import SimpleNamespace

import pytest
import torch
from tiny_lipsync import FRAMES, batch, draws, module, tiny_trepa, whole_objective
from torch import Tensor, nn

from latentsync.errors import UserError
from latentsync.losses.loss import Loss, LossInputs
from latentsync.losses.objective import Objective
from latentsync.training.lipsync import LipSyncModule
from latentsync.training.optimization import optimizer_config, parameter_groups
from latentsync.training.optimizers import adamw_8bit


def gradients(**options: object) -> Tensor:
    lip_sync = module(whole_objective, zero_outputs=False, trainable=["attn2."], **options).train()
    lip_sync.step(batch(), draws(batch())).total.backward()
    return torch.cat([p.grad.flatten() for p in lip_sync.unet.parameters() if p.grad is not None])


def test_recomputing_any_part_gives_the_same_gradients() -> None:
    plain = gradients()
    for parts in (["unet"], ["autoencoder"], ["trepa", "sync"], True):
        assert torch.allclose(gradients(gradient_checkpointing=parts), plain, atol=1e-4 * float(plain.abs().max()))


def test_unknown_part_is_refused_with_the_known_ones() -> None:
    with pytest.raises(UserError, match="'vae' is unknown; give true, false or some of") as refused:
        module(partial(Objective, trepa=0.0), gradient_checkpointing=["trepa", "vae"])  # of weight 0: passed over
    assert all(part in str(refused.value) for part in ("unet", "autoencoder", "noise", "trepa"))


class Seen(Loss):
    """Stands where LPIPS stands and keeps what it is shown."""

    needs = "frames"
    shown: Tensor

    def forward(self, inputs: LossInputs) -> Tensor:
        decoded, frames = inputs.pixels()
        Seen.shown = frames
        assert decoded.shape == frames.shape
        return (decoded - frames).square().mean()


def shown_frames(whole_clips: bool, **options: object) -> list[list[int]]:
    """Which frames of the two clips the perceptual loss saw."""
    extra = {"trepa": 1.0, "trepa_loss": tiny_trepa} if whole_clips else {}
    lip_sync = module(partial(Objective, perceptual=1.0, perceptual_loss=Seen, **extra), **options)
    clips = batch(2)
    lip_sync.step(clips, draws(clips, 1))
    return [
        [next(i for i in range(FRAMES) if torch.equal(frame, clips.target[number, i])) for frame in Seen.shown[number]]
        for number in range(2)
    ]


@pytest.mark.parametrize("whole_clips", [False, True])
def test_perceptual_loss_sees_as_many_frames_as_asked(whole_clips: bool) -> None:
    assert shown_frames(whole_clips) == [list(range(FRAMES))] * 2
    some = shown_frames(whole_clips, pixel_frames=5)
    assert all(len(set(numbers)) == 5 and numbers == sorted(numbers) for numbers in some)
    assert shown_frames(whole_clips, pixel_frames=99) == [list(range(FRAMES))] * 2


def test_only_the_frames_that_are_looked_at_are_decoded() -> None:
    lip_sync = module(partial(Objective, perceptual=1.0, perceptual_loss=Seen), pixel_frames=3)
    decoded = []
    decode = lip_sync.autoencoder.decode
    lip_sync.autoencoder.decode = lambda latents: decoded.append(latents.shape[2]) or decode(latents)
    lip_sync.step(batch(), draws(batch(), 1))
    assert decoded == [3]
    with pytest.raises(UserError, match="pixel_frames=0: give at least 1"):
        module(pixel_frames=0)


def losses(lip_sync: LipSyncModule) -> dict[str, float]:
    result = lip_sync.step(batch(), draws(batch()))
    return {name: float(value.detach()) for name, value in result.raw.items()}


def test_frozen_networks_in_bfloat16_halve_their_memory_and_hardly_move_the_losses() -> None:
    full, half = (module(whole_objective, frozen_dtype=name) for name in ("float32", "bfloat16"))
    sizes = [sum(p.numel() * p.element_size() for p in one.autoencoder.parameters()) for one in (full, half)]
    assert sizes[1] * 2 == sizes[0]
    assert all(p.dtype == torch.float32 for p in half.unet.parameters())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        one, other = (losses(each) for each in (full, half))
    for name in one:
        assert other[name] == pytest.approx(one[name], rel=0.05, abs=1e-3), name
    with pytest.raises(UserError, match="frozen_dtype=float8: give float32, bfloat16 or float16"):
        module(frozen_dtype="float8")


@pytest.mark.parametrize(("dtype", "precision"), [("bfloat16", "bf16-mixed"), ("float16", "16-mixed")])
def test_frozen_networks_in_16_bits_need_the_precision_of_the_same_type(dtype: str, precision: str) -> None:
    lip_sync = module(frozen_dtype=dtype)
    lip_sync.trainer = SimpleNamespace(precision=precision, ckpt_path="a resumed run")
    lip_sync.setup("fit")
    lip_sync.trainer = SimpleNamespace(precision="32-true", ckpt_path="a resumed run")
    with pytest.raises(UserError, match=rf"frozen_dtype={dtype} needs trainer\.precision={precision}, not 32-true"):
        lip_sync.setup("fit")


def test_each_parameter_follows_the_first_rule_that_matches_it() -> None:
    lip_sync = module(
        trainable=["motion_modules.", "attn2."],
        parameter_groups=[{"match": "norm", "weight_decay": 0.0}, {"match": "motion_modules.", "lr": 5e-4}],
    )
    optimizer = lip_sync.configure_optimizers()["optimizer"]
    names = {id(parameter): name for name, parameter in lip_sync.unet.named_parameters()}
    settings = {
        names[id(parameter)]: (group["lr"], group["weight_decay"])
        for group in optimizer.param_groups
        for parameter in group["params"]
    }
    assert settings.keys() == {name for name, p in lip_sync.unet.named_parameters() if p.requires_grad}
    for name, found in settings.items():
        if "norm" in name:
            assert found == (1e-3, 0.0), name
        elif "motion_modules." in name:
            assert found == (5e-4, 0.01), name
        else:
            assert found == (1e-3, 0.01), name


def test_rule_that_matches_nothing_is_refused() -> None:
    with pytest.raises(UserError, match="matches no trained parameter"):
        parameter_groups(nn.Linear(2, 2), [{"match": "conv"}])


def test_warm_up_scales_each_groups_own_rate() -> None:
    from diffusers.optimization import get_cosine_schedule_with_warmup

    layer = nn.Linear(2, 2)
    schedule = partial(get_cosine_schedule_with_warmup, num_warmup_steps=4, num_training_steps=12)
    built = optimizer_config(
        parameter_groups(layer, [{"match": "bias", "lr": 0.2}]), partial(torch.optim.AdamW, lr=0.1), schedule
    )
    optimizer, scheduler = built["optimizer"], built["lr_scheduler"]["scheduler"]
    rates = []
    for _ in range(12):
        rates.append([group["lr"] for group in optimizer.param_groups])
        optimizer.step()
        scheduler.step()
    assert [rate[0] for rate in rates[:5]] == pytest.approx([0, 0.025, 0.05, 0.075, 0.1])
    assert rates[8][0] == pytest.approx(0.05)
    assert all(two == pytest.approx(2 * one) for one, two in rates)


def test_compiled_unet_keeps_its_state_dict_names() -> None:
    plain, compiled = module(), module(compile=True)
    assert compiled.state_dict().keys() == plain.state_dict().keys()
    assert compiled.unet._compiled_call_impl is not None


@pytest.mark.skipif(torch.cuda.is_available(), reason="says what happens without a GPU")
def test_eight_bit_optimizer_says_what_it_needs() -> None:
    with pytest.raises(UserError, match=r"adamw_8bit (needs bitsandbytes: pip install|works on an NVIDIA GPU only)"):
        adamw_8bit([nn.Parameter(torch.zeros(2))])
