"""`python -m latentsync.app`: the web page, on this machine alone unless --host says otherwise."""

import argparse
import sys
import tempfile

from latentsync.errors import UserError
from latentsync.work.stopping import unwind_on_sigterm


def main(arguments: list[str] | None = None) -> int:
    """Parse, load the networks, serve until Ctrl-C. Exit code 2 for a mistake, told in one line."""
    parser = argparse.ArgumentParser(prog="python -m latentsync.app", description="Lip sync in the browser.")
    parser.add_argument("--weights", default="demo", help="a known name or a path (default: demo)")
    parser.add_argument("--autoencoder", help="another than the model's own: name or folder")
    parser.add_argument("--audio-encoder", help="another than the model's own: name, folder or Whisper .pt")
    parser.add_argument("--resolution", type=int, help="256 or 512, for a published file that nothing else tells of")
    parser.add_argument("--host", default="127.0.0.1", help="0.0.0.0: let other machines in (default: 127.0.0.1)")
    parser.add_argument("--port", type=int, default=7860)
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1, …")
    parser.add_argument("--precision", default="auto", help="32, 16, bf16 or auto")
    parser.add_argument("--faces", default="mediapipe", help="or a landmarks JSON")
    parser.add_argument("--steps", type=int, default=20, help="default number of denoising steps")
    parser.add_argument("--max-mb", type=float, default=500, help="largest file (default: 500)")
    parser.add_argument("--max-seconds", type=float, default=600, help="longest sound (default: 600)")
    parser.add_argument("--max-waiting", type=int, default=20, help="requests in the queue (default: 20)")
    given = parser.parse_args(arguments)
    try:
        with unwind_on_sigterm():
            serve(given)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
    return 0


def serve(given: argparse.Namespace) -> None:
    """Raises UserError."""
    import os

    from latentsync.app.pipeline_apart import PipelineApart
    from latentsync.app.service import Limits, LipSyncService
    from latentsync.inference.batch import Loader
    from latentsync.inference.options import LipSyncOptions

    limits = Limits(int(given.max_mb * 1e6), given.max_seconds)
    LipSyncOptions(num_inference_steps=given.steps)
    if given.max_waiting < 1:
        raise UserError(f"--max-waiting {given.max_waiting}: give 1 or more")
    with tempfile.TemporaryDirectory(prefix="latentsync-page-") as cache:
        os.environ["GRADIO_TEMP_DIR"] = cache  # uploads and results: gone with the server
        try:
            from latentsync.app.page import build
        except ImportError as error:
            raise UserError("the page needs Gradio: pip install 'latentsync-in-lightning[app]'") from error
        parts = (given.autoencoder, given.audio_encoder, given.resolution)
        pipeline = PipelineApart(Loader(given.weights, given.device, given.precision, given.faces, *parts))
        with LipSyncService(pipeline, limits) as service:
            pipeline.start()
            page = build(service, given.steps)
            page.queue(max_size=given.max_waiting)
            try:
                page.launch(
                    server_name=given.host, server_port=given.port, max_file_size=limits.max_bytes, show_error=False,
                    share=False, quiet=True, prevent_thread_lock=True, enable_monitoring=False,
                )  # fmt: skip
            except OSError as error:
                raise UserError(f"port {given.port}: {error}; give another --port") from error
            print(f"serving on http://{given.host}:{given.port}", flush=True)
            page.block_thread()


if __name__ == "__main__":
    sys.exit(main())
