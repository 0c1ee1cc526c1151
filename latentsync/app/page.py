"""The web page: upload or record a face and a voice, see how far it is, cancel, compare the result with the input."""

import os
import shutil
import threading
import time
from pathlib import Path
from typing import Any

from latentsync.app.service import Cancelled, LipSyncService, Tell
from latentsync.errors import UserError
from latentsync.inference.options import LipSyncOptions

os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")  # before gradio is imported: it reports home otherwise

import gradio as gr

_CACHE_SECONDS = 3600  # uploads and results
_FACES = ["largest", "all", "0", "1", "2", "3"]


def build(service: LipSyncService, steps: int = 20) -> gr.Blocks:
    """The page for a service. steps: default number of denoising steps."""
    keep = (_CACHE_SECONDS, _CACHE_SECONDS)
    with gr.Blocks(title="LatentSync in Lightning", analytics_enabled=False, delete_cache=keep) as page:
        cancel, folder = gr.State(None), gr.State(None)
        gr.Markdown("# Lip sync\nA video or a picture of a face, and the voice that it shall speak.")
        with gr.Row():
            with gr.Column():
                with gr.Tab("Video"):
                    video = gr.Video(label="Video", sources=["upload", "webcam"], elem_id="video")
                with gr.Tab("Picture"):
                    picture = gr.Image(
                        label="Picture", sources=["upload", "webcam"], type="filepath", elem_id="picture"
                    )
                audio = gr.Audio(
                    label="Voice (none: the video's own)",
                    sources=["upload", "microphone"],
                    type="filepath",
                    elem_id="audio",
                )
                with gr.Accordion("Options", open=False):
                    face = gr.Dropdown(
                        _FACES, value="largest", label="Face: the largest, all, or a number from the left"
                    )
                    track = gr.Textbox(
                        label="Sound track, of several: a number from 0, or a language such as eng (empty: default)",
                        elem_id="track",
                    )
                    guidance = gr.Slider(0, 10, service.guidance_scale, step=0.1, label="Guidance scale")
                    number = gr.Slider(1, 50, steps, step=1, label="Steps", elem_id="steps")
                    seed = gr.Number(0, precision=0, minimum=0, label="Seed (0: draw one)", elem_id="seed")
                with gr.Row():
                    start = gr.Button("Lip-sync", variant="primary", elem_id="start")
                    stop = gr.Button("Cancel", elem_id="stop")
            with gr.Column(scale=2):
                with gr.Row():
                    before = gr.Video(label="Input", interactive=False, elem_id="before")
                    result = gr.Video(label="Result", interactive=False, elem_id="result")
                said = gr.Markdown(elem_id="said")
        inputs = [video, picture, audio, face, track, guidance, number, seed, cancel, folder]
        (
            start.click(lambda: (threading.Event(), str(service.new_folder())), None, [cancel, folder], queue=False)
            .then(_work(service), inputs, [result, before, said], concurrency_limit=1)
            .then(_remove, folder, None, queue=False)
        )
        stop.click(lambda event: event.set() if event is not None else None, cancel, None, queue=False)
    return page


def _work(service: LipSyncService) -> Any:
    """What the button does."""

    def work(
        video: str | None, picture: str | None, audio: str | None, face: str, track: str | None, guidance: float,
        steps: int, seed: int, cancel: threading.Event, folder: str,
        progress: gr.Progress = gr.Progress(),  # noqa: B008
    ) -> tuple[str | None, str | None, str]:  # fmt: skip
        given = video or picture
        if given is None:
            return None, None, "Give a video or a picture."
        try:
            options = LipSyncOptions(
                guidance_scale=float(guidance), num_inference_steps=int(steps), seed=int(seed or 0), face=face,
                audio_track=(track or "").strip() or None,
            )  # fmt: skip
            report = service.run(
                Path(given), None if audio is None else Path(audio), Path(folder), options,
                _with_time_left(progress), cancel,
            )  # fmt: skip
        except UserError as error:
            return None, None, f"It cannot be done: {_without_folders(str(error))}"
        except Cancelled:
            return None, None, "Cancelled."
        told = f"{report.num_frames} frames, {report.seconds:.2f} s, seed {report.seed}"
        return str(report.output), video, told

    return work


def _with_time_left(progress: gr.Progress) -> Tell:
    """Shows the share that is done, and the seconds left as far as can be told."""
    began = time.monotonic()

    def tell(share: float) -> None:
        left = (time.monotonic() - began) * (1 - share) / share if share > 0.02 else None
        progress(share, desc="generating" if left is None else f"{left:.0f} s left")

    return tell


def _without_folders(text: str) -> str:
    """A message without the server's folders: of a quoted path the name alone."""
    parts = text.split("'")
    return "'".join(Path(part).name if "/" in part else part for part in parts)


def _remove(folder: str) -> None:
    """The result is with the page by now, which keeps its own copy."""
    shutil.rmtree(folder, ignore_errors=True)
