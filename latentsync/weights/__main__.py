"""`python -m latentsync.weights`: list, fetch, inspect, convert, export and merge weights."""

import argparse
import logging
import sys
from collections.abc import Sequence
from pathlib import Path

from latentsync.errors import UserError
from latentsync.weights.known import KNOWN
from latentsync.weights.registry import place


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code: 0, or 2 for a user's mistake, told in one line."""
    options = parser().parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    try:
        options.run(options)
    except UserError as error:
        print(error, file=sys.stderr)
        return 2
    except BrokenPipeError:  # the reader has seen enough: `list | head`
        sys.stdout = None  # type: ignore[assignment]  # nothing is left to be flushed to it
    except KeyboardInterrupt:
        print("stopped; run the same command again to go on", file=sys.stderr)
        return 130
    return 0


def parser() -> argparse.ArgumentParser:
    """The command line."""
    top = argparse.ArgumentParser(prog="python -m latentsync.weights", description=__doc__)
    commands = top.add_subparsers(dest="command", required=True)

    listing = commands.add_parser("list", help="what is known: name, files, size, licence, where it goes")
    listing.set_defaults(run=list_known)

    fetching = commands.add_parser("fetch", help="download known weights into checkpoints/")
    fetching.add_argument("name", nargs="+", help="names that `list` shows")
    fetching.set_defaults(run=run_fetch)

    inspecting = commands.add_parser("inspect", help="what a file is, and which experiment it fits")
    inspecting.add_argument("file", help="known name, weights file, folder or training checkpoint")
    inspecting.set_defaults(run=run_inspect)

    converting = commands.add_parser("convert", help="a published file to a folder of config.json and safetensors")
    converting.add_argument("source", help="known name, file or folder")
    converting.add_argument("target", type=Path, help="the folder to make")
    converting.add_argument(
        "--config", type=Path, help="JSON with the network's settings, if it is of no published size"
    )
    converting.set_defaults(run=run_convert)

    exporting = commands.add_parser("export", help="our U-Net or SyncNet to a published .pt, or to a folder")
    exporting.add_argument("source", help="known name, our folder, published file or training .ckpt")
    exporting.add_argument("target", type=Path, help="FILE.pt for the published format, else a folder to make")
    exporting.add_argument("--version", choices=["1.0"], help="the names of LatentSync 1.0's U-Net")
    exporting.add_argument(
        "--parts", choices=["ours", "all"], default="ours",
        help="with a folder's U-Net go the parts it was trained with: those that fetch knows by name, or all inside",
    )  # fmt: skip
    exporting.set_defaults(run=run_export)

    merging = commands.add_parser("merge", help="a U-Net folder and a LoRA adapter to one U-Net folder")
    merging.add_argument("base", help="the U-Net that the adapter was trained on: known name, folder or file")
    merging.add_argument("adapter", type=Path, help="the adapter's folder")
    merging.add_argument("target", type=Path, help="the folder to make")
    merging.set_defaults(run=run_merge)
    return top


def list_known(options: argparse.Namespace) -> None:
    """Print every known name with its files: place, size, whether it is here, source."""
    for entry in KNOWN:
        print(f"{entry.name}: {entry.what}")
        print(f"    licence: {entry.licence or 'not stated'}")
        for file in entry.files:
            path = place(file)
            state = "here" if path.exists() else "not here"
            print(f"    {path} ({file.size_in_words}, {state}) from {file.sources[0]}")
        if entry.needs:
            print(f"    with it come {', '.join(entry.needs)}")


def run_fetch(options: argparse.Namespace) -> None:
    """Fetch each name, in order."""
    from latentsync.weights.fetch import fetch

    for name in options.name:
        fetch(name)


def run_inspect(options: argparse.Namespace) -> None:
    """Print what a file is."""
    from latentsync.weights.convert import inspect_weights

    print("\n".join(inspect_weights(options.file)))


def run_convert(options: argparse.Namespace) -> None:
    """Convert and say what was written."""
    from latentsync.weights.convert import config_file, convert

    print(convert(options.source, options.target, config_file(options.config)))


def run_export(options: argparse.Namespace) -> None:
    """Export and say what was written."""
    from latentsync.weights.convert import export

    print(export(options.source, options.target, options.version, options.parts))


def run_merge(options: argparse.Namespace) -> None:
    """Merge and say what was written."""
    from latentsync.weights.convert import merge_files

    print(merge_files(options.base, options.adapter, options.target))


if __name__ == "__main__":
    sys.exit(main())
