"""The frame autoencoder: latents of a clip do not depend on chunks, and a decoded face is the face."""

import json
from pathlib import Path

import pytest
import torch
from diffusers import AutoencoderKL, AutoencoderTiny
from safetensors.torch import load_file, save_file
from torch import Tensor

from latentsync.errors import UserError
from latentsync.models.autoencoder import OLD_ATTENTION, STABLE_DIFFUSION, FrameAutoencoder, modern_attention
from latentsync.synthetic.clip import HELD_OUT_IDENTITIES, draw_clip

SCALE, SHIFT = 0.25, 0.5


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="module")
def autoencoder() -> FrameAutoencoder:
    """Random weights, ×4, with a scale and a shift that are not the usual ones."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        vae = AutoencoderKL(
            down_block_types=["DownEncoderBlock2D"] * 3,
            up_block_types=["UpDecoderBlock2D"] * 3,
            block_out_channels=[8, 8, 8],
            norm_num_groups=4,
            mid_block_add_attention=False,
            scaling_factor=SCALE,
            shift_factor=SHIFT,
        )
    return FrameAutoencoder(vae.eval().requires_grad_(False))


@pytest.fixture
def frames() -> Tensor:
    """Two clips of three frames, (B, F, 3, H, W), no two frames alike."""
    return torch.rand((2, 3, 3, 16, 24), generator=generator()) * 2 - 1


@torch.inference_mode()
def test_encoding_is_drawing_from_the_moments(autoencoder: FrameAutoencoder, frames: Tensor) -> None:
    mean, std = autoencoder.moments(frames)
    moments = torch.cat([mean, std], dim=2)
    assert moments.shape == (2, 3, 8, 4, 6)
    drawn = autoencoder.sample_moments(moments, generator(1))
    assert torch.equal(autoencoder.encode(frames, generator(1)), drawn)
    assert not torch.equal(autoencoder.encode(frames, generator(2)), drawn)
    expected = ((mean - SHIFT) * SCALE).transpose(1, 2)  # (B, C, F, h, w)
    torch.testing.assert_close(autoencoder.encode(frames, sample=False), expected)


@torch.inference_mode()
def test_drawn_latents_have_the_moments_asked_for(autoencoder: FrameAutoencoder) -> None:
    mean, std = torch.full((1, 1, 4, 64, 64), 3.0), torch.full((1, 1, 4, 64, 64), 2.0)
    latents = autoencoder.sample_moments(torch.cat([mean, std], dim=2), generator())
    assert latents.mean().item() == pytest.approx((3 - SHIFT) * SCALE, abs=0.02)
    assert latents.std().item() == pytest.approx(2 * SCALE, abs=0.02)


@torch.inference_mode()
def test_decoding_undoes_scale_and_shift(autoencoder: FrameAutoencoder, frames: Tensor) -> None:
    latents = autoencoder.encode(frames, sample=False)
    mean = autoencoder.moments(frames)[0]
    expected = autoencoder.vae.decode(mean[1, 2][None]).sample[0]
    decoded = autoencoder.decode(latents)
    assert decoded.shape == frames.shape
    torch.testing.assert_close(decoded[1, 2], expected, atol=1e-5, rtol=1e-4)


@torch.inference_mode()
@pytest.mark.parametrize("frames_per_batch", [1, 4, 6])
def test_chunks_change_nothing(frames_per_batch: int, autoencoder: FrameAutoencoder, frames: Tensor) -> None:
    chunked = FrameAutoencoder(autoencoder.vae, frames_per_batch)
    latents = autoencoder.encode(frames, generator(1))
    torch.testing.assert_close(chunked.encode(frames, generator(1)), latents, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(chunked.decode(latents), autoencoder.decode(latents), atol=1e-5, rtol=1e-4)


def test_gradient_checkpointing_gives_the_same_gradient(autoencoder: FrameAutoencoder, frames: Tensor) -> None:
    gradients = []
    for checkpointing in (False, True):
        module = FrameAutoencoder(autoencoder.vae, frames_per_batch=2)
        if checkpointing:
            module.enable_gradient_checkpointing()
        latents = module.encode(frames, sample=False).requires_grad_()
        module.decode(latents).square().mean().backward()
        gradients.append(latents.grad)
    assert gradients[0].abs().max() > 0
    torch.testing.assert_close(gradients[1], gradients[0])
    assert all(parameter.grad is None for parameter in autoencoder.parameters())


@torch.inference_mode()
def test_saved_autoencoder_loads_again(autoencoder: FrameAutoencoder, frames: Tensor, tmp_path: Path) -> None:
    autoencoder.vae.save_pretrained(tmp_path)
    loaded = FrameAutoencoder.from_pretrained(tmp_path, frames_per_batch=2)
    assert (loaded.scale, loaded.shift, loaded.frames_per_batch) == (SCALE, SHIFT, 2)
    expected = autoencoder.encode(frames, sample=False)
    torch.testing.assert_close(loaded.encode(frames, sample=False), expected, atol=1e-5, rtol=1e-4)


def test_missing_folder_names_the_remedy(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"nowhere.* fetch sd-vae-ft-mse"):
        FrameAutoencoder.from_pretrained(tmp_path / "nowhere")


def test_weights_that_lack_a_key_are_refused(autoencoder: FrameAutoencoder, tmp_path: Path) -> None:
    autoencoder.vae.save_pretrained(tmp_path)
    file = tmp_path / "diffusion_pytorch_model.safetensors"
    state = load_file(file)
    del state["decoder.conv_in.weight"]
    save_file(state, file)
    with pytest.raises(UserError, match=r"1 missing \(decoder\.conv_in\.weight\)"):
        FrameAutoencoder.from_pretrained(tmp_path)
    file.write_bytes(file.read_bytes()[:1000])
    with pytest.raises(UserError, match="damaged, truncated"):
        FrameAutoencoder.from_pretrained(tmp_path)


@torch.inference_mode()
def test_embedded_autoencoder_keeps_an_unseen_face() -> None:
    folder = Path(__file__).parents[2] / "checkpoints" / "demo" / "vae"
    if not (folder / "config.json").is_file():
        pytest.skip("the embedded autoencoder checkpoints/demo/vae is not there")
    clips = [draw_clip(identity, 0.16, 128, seed=1) for identity in HELD_OUT_IDENTITIES[:3]]
    frames = torch.stack([torch.from_numpy(clip.frames) for clip in clips]).permute(0, 1, 4, 2, 3) / 127.5 - 1
    autoencoder = FrameAutoencoder.from_pretrained(folder)
    decoded = autoencoder.decode(autoencoder.encode(frames, generator())).clamp(-1, 1)
    errors = (decoded - frames).square().mean(dim=(1, 2, 3, 4))  # one a person
    psnr = 10 * torch.log10(4 / errors)
    assert psnr.min() > 20, psnr


def tiny_vae(latent_channels: int = 4) -> AutoencoderTiny:
    widths = (8, 8, 8, 8)
    return AutoencoderTiny(
        encoder_block_out_channels=widths, decoder_block_out_channels=widths, latent_channels=latent_channels
    )


def test_tiny_autoencoder_of_a_folder_serves_as_one_without_spread(tmp_path: Path) -> None:
    torch.manual_seed(0)
    vae = tiny_vae().eval()
    vae.save_pretrained(tmp_path)
    loaded = FrameAutoencoder.from_pretrained(tmp_path)
    frames = torch.rand(1, 3, 3, 64, 64) * 2 - 1
    with torch.no_grad():
        latents = loaded.encode(frames, generator())
        assert torch.equal(latents, loaded.encode(frames, generator(1)))
        assert torch.allclose(latents[0, :, 1], vae.encode(frames[0, 1:2]).latents[0], atol=1e-6)
        assert loaded.decode(latents).shape == frames.shape
    tiny_vae(16).save_pretrained(tmp_path / "wide")
    with pytest.raises(UserError, match="16 latent channels"):
        FrameAutoencoder.from_pretrained(tmp_path / "wide")


@pytest.fixture
def vae_folder(tmp_path: Path) -> tuple[Path, AutoencoderKL]:
    vae = AutoencoderKL(block_out_channels=(32,), norm_num_groups=8)
    vae.save_pretrained(tmp_path / "vae")
    return tmp_path / "vae", vae


def old_names(state: dict[str, torch.Tensor], four_dimensional: bool) -> dict[str, torch.Tensor]:
    """The same weights as diffusers wrote them before its attention was renamed."""
    out = {}
    for key, value in state.items():
        for old, new in OLD_ATTENTION.items():
            if f".attentions.0.{new}." in key:
                key = key.replace(f".{new}.", f".{old}.")
                value = value[:, :, None, None] if four_dimensional and value.ndim == 2 else value
        out[key] = value
    return out


@pytest.mark.parametrize("form", ["safetensors", "bin", "old bin", "old bin, convolutions"])
def test_autoencoder_folders_load_whatever_their_age(form: str, vae_folder: tuple[Path, AutoencoderKL]) -> None:
    folder, vae = vae_folder
    if form != "safetensors":
        (folder / "diffusion_pytorch_model.safetensors").unlink()
        state = dict(vae.state_dict())
        state = old_names(state, form.endswith("convolutions")) if form.startswith("old") else state
        torch.save(state, folder / "diffusion_pytorch_model.bin")
    loaded = FrameAutoencoder.from_pretrained(folder).vae.state_dict()
    assert all(torch.equal(loaded[key], value) for key, value in vae.state_dict().items())


def test_autoencoder_with_a_missing_key_is_refused(vae_folder: tuple[Path, AutoencoderKL]) -> None:
    folder, vae = vae_folder
    (folder / "diffusion_pytorch_model.safetensors").unlink()
    state = {key: value for key, value in vae.state_dict().items() if key != "encoder.conv_in.bias"}
    torch.save(state, folder / "diffusion_pytorch_model.bin")
    with pytest.raises(UserError, match=r"1 missing \(encoder\.conv_in\.bias\)"):
        FrameAutoencoder.from_pretrained(folder)


def test_full_size_table_is_stable_diffusions_autoencoder(shared: Path) -> None:
    with torch.device("meta"):
        vae = AutoencoderKL.from_config(STABLE_DIFFUSION)
    shapes = json.loads((shared / "goldens" / "state_dicts" / "vae_sd_keys.json").read_text())
    table = modern_attention({key: torch.empty(shape, device="meta") for key, shape in shapes.items()})
    assert {k: v.shape for k, v in vae.state_dict().items()} == {k: v.shape for k, v in table.items()}
