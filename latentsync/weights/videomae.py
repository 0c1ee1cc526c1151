"""The adapter of VideoMAE v2 into transformers' VideoMAE: q/k/v split, biases, mean pooling and the final norm.

The published checkpoint fuses q, k, v in one matrix and gives a bias to q and v only (k's would cancel in the
softmax); transformers keeps three matrices and the same two biases. The norm after mean pooling (`fc_norm`) belongs to
transformers' classifier, not to its `VideoMAEModel`; `VideoEncoder` has both.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from latentsync.errors import UserError
from latentsync.weights.adapter import Adapter, Content, State, read, state_of
from latentsync.weights.registry import find

if TYPE_CHECKING:
    from transformers import VideoMAEConfig

    from latentsync.models.video_encoder import VideoEncoder

# What shapes do not tell of VideoMAE v2 giant (ViT-g/14), in the published spelling.
GIANT: dict[str, Any] = {
    "img_size": 224,
    "patch_size": 14,
    "embed_dim": 1408,
    "depth": 40,
    "num_heads": 16,
    "mlp_ratio": 48 / 11,
    "num_classes": 174,
    "all_frames": 16,
    "tubelet_size": 2,
    "use_mean_pooling": True,
}
LAYER_NORM_EPS = 1e-6  # published; transformers' own default is 1e-12
BLOCK = {
    "norm1": "layernorm_before",
    "norm2": "layernorm_after",
    "attn.proj": "attention.output.dense",
    "mlp.fc1": "intermediate.dense",
    "mlp.fc2": "output.dense",
}
BLOCK_KEY = re.compile(r"blocks\.(\d+)\.(.+)\.(weight|bias|q_bias|v_bias)")


def load_video_encoder(path: Path | str, config: Mapping[str, Any] | None = None) -> "VideoEncoder":
    """The video encoder of a published VideoMAE v2 file; config: the published spelling, None = VideoMAE v2 giant."""
    network: Any = VideoMAEAdapter().load(read(find(path, "video encoder")), config)
    return network.eval()


def videomae_config(config: Mapping[str, Any]) -> "VideoMAEConfig":
    """transformers' configuration from the published spelling (`img_size`, `embed_dim`, `depth`, `num_heads`, …)."""
    from transformers import VideoMAEConfig

    width = int(config["embed_dim"])
    return VideoMAEConfig(
        image_size=int(config["img_size"]),
        patch_size=int(config["patch_size"]),
        num_frames=int(config["all_frames"]),
        tubelet_size=int(config["tubelet_size"]),
        hidden_size=width,
        num_hidden_layers=int(config["depth"]),
        num_attention_heads=int(config["num_heads"]),
        intermediate_size=int(width * config["mlp_ratio"]),
        layer_norm_eps=LAYER_NORM_EPS,
        qv_bias=True,
        use_mean_pooling=bool(config.get("use_mean_pooling", True)),
    )


class VideoMAEAdapter(Adapter):
    """VideoMAE v2 with its final norm as `VideoEncoder`. The classifier `head.*` is left out: TREPA compares features.

    Raises UserError on a key that VideoMAE does not have and on absent `fc_norm` weights.
    """

    kind, what, class_name = "videomae-v2", "VideoMAE v2, published format", "VideoMAEModel"

    def recognises(self, state: Mapping[str, Tensor]) -> bool:
        return "blocks.0.attn.qkv.weight" in state and "patch_embed.proj.weight" in state

    def config(self, content: Content) -> dict[str, Any]:
        return GIANT

    def network(self, config: Mapping[str, Any]) -> nn.Module:
        """config: the published spelling."""
        from transformers import VideoMAEModel

        from latentsync.models.video_encoder import VideoEncoder

        settings = videomae_config(config)
        final_norm = nn.LayerNorm(settings.hidden_size, eps=settings.layer_norm_eps)
        return VideoEncoder(VideoMAEModel(settings), final_norm)

    def from_published(self, content: Content) -> State:
        out: State = {}
        for key, value in state_of(content).items():
            if key.startswith("head."):
                continue
            if key.startswith("fc_norm."):
                out[key.replace("fc_norm.", "final_norm.")] = value
            elif key.startswith("patch_embed.proj."):
                out[key.replace("patch_embed.proj.", "videomae.embeddings.patch_embeddings.projection.")] = value
            else:
                out.update({f"videomae.{name}": piece for name, piece in block_entry(key, value).items()})
        if "final_norm.weight" not in out:
            raise UserError(
                "VideoMAE: no 'fc_norm' weights; TREPA needs the mean-pooling variant (fine-tuned VideoMAE v2)"
            )
        return out


def block_entry(key: str, value: Tensor) -> dict[str, Tensor]:
    """One entry of a block under its transformers name; the fused q, k, v matrix (3·D, D) becomes three of (D, D)."""
    found = BLOCK_KEY.fullmatch(key)
    if found is None:
        raise UserError(f"VideoMAE: unexpected key '{key}'; this is not a VideoMAE v2 encoder")
    layer, part, kind = f"encoder.layer.{found[1]}", found[2], found[3]
    if part == "attn.qkv" and kind == "weight":
        pieces = zip(("query", "key", "value"), value.chunk(3), strict=True)
        return {f"{layer}.attention.attention.{name}.weight": piece for name, piece in pieces}
    if part == "attn" and kind in ("q_bias", "v_bias"):
        return {f"{layer}.attention.attention.{'query' if kind == 'q_bias' else 'value'}.bias": value}
    if part in BLOCK and kind in ("weight", "bias"):
        return {f"{layer}.{BLOCK[part]}.{kind}": value}
    raise UserError(f"VideoMAE: unexpected key '{key}'; this is not a VideoMAE v2 encoder")
