"""Where files lie: paths of this machine, or addresses that fsspec opens (https://, s3://, gs://, hf://datasets/…)."""

import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from latentsync.errors import UserError

Found = TypeVar("Found")
_REMOTE = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
_HTTP = ("http", "https")
_MARKS = ("ETag", "etag", "blob_id", "md5Hash", "generation", "Last-Modified", "LastModified", "mtime", "last_modified")
_NO_CREDENTIALS = (
    "NoCredentialsError",
    "PartialCredentialsError",
    "DefaultCredentialsError",
    "LocalTokenNotFoundError",
)
_HOW_TO_SIGN_IN = {
    "s3": "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY or a profile, FSSPEC_S3_ANON=true for a public bucket",
    "gs": "run `gcloud auth application-default login`, FSSPEC_GS_TOKEN=anon for a public bucket",
    "hf": "run `hf auth login` or set HF_TOKEN",
}
_RETRIED_STATUS = (408, 425, 429)


@dataclass(frozen=True)
class Patience:
    """attempts: how often in a row something may fail without getting on. pause: seconds before the second attempt,
    doubled each time, at most 8. silence: seconds without a byte after which a connection is given up."""

    attempts: int = 6
    pause: float = 0.5
    silence: float = 30.0

    def wait(self, failures: int) -> None:
        """Wait after so many failures in a row."""
        time.sleep(min(8.0, self.pause * 2 ** max(0, failures - 1)))


@dataclass(frozen=True)
class Facts:
    """What a server tells of a file. bytes: None where it does not say. mark: changes with the content (an ETag or a
    time of change), None where there is no such thing."""

    bytes: int | None
    mark: str | None


def is_remote(place: str | Path) -> bool:
    """Whether this is an address and not a path."""
    return isinstance(place, str) and _REMOTE.match(place) is not None


def split(address: str) -> tuple[str, str]:
    """(folder, name) of an address; what follows a "?" belongs to the name."""
    path, question, query = address.partition("?")
    folder, _, name = path.rpartition("/")
    return folder, name + question + query


def kind(address: str) -> str:
    """The scheme of an address: "s3", "https", …; "gs" also for gcs://."""
    scheme = address.partition("://")[0].lower()
    return {"gcs": "gs", "s3a": "s3"}.get(scheme, scheme)


def lists(address: str) -> bool:
    """Whether the place of this address can say which files it holds; a web server in general cannot."""
    return kind(address) not in _HTTP


def filesystem(address: str, patience: Patience) -> tuple[Any, str]:
    """(fsspec file system, the path there). Raises UserError for an unknown scheme and a missing backend."""
    import fsspec  # with its backends, not a matter of every start

    try:
        return fsspec.core.url_to_fs(address, use_listings_cache=False, **_options(kind(address), patience))
    except ImportError as error:
        raise UserError(
            f"'{address}': {kind(address)}:// needs a package more: pip install 'latentsync-in-lightning[remote]'"
        ) from error
    except ValueError as error:
        raise UserError(f"'{address}': {str(error).splitlines()[0]}; use https://, s3://, gs:// or hf://") from error


def _options(scheme: str, patience: Patience) -> dict[str, Any]:
    """Each backend's way to say that silence is no answer; signing in is left to the backends' own settings."""
    if scheme in _HTTP:
        from aiohttp import ClientTimeout

        timeout = ClientTimeout(total=None, sock_connect=patience.silence, sock_read=patience.silence)
        return {"client_kwargs": {"timeout": timeout}, "headers": {"Accept-Encoding": "identity"}}
    if scheme == "s3":
        return {"config_kwargs": {"connect_timeout": patience.silence, "read_timeout": patience.silence}}
    return {"requests_timeout": patience.silence} if scheme == "gs" else {}


def facts(address: str, patience: Patience) -> Facts:
    """Size and mark of a file. Raises UserError where it cannot be had."""

    def ask() -> Facts:
        system, path = filesystem(address, patience)
        system.invalidate_cache()  # the hub's keeps one whatever it is told
        return _facts(system.info(path))

    return persistently(ask, address, patience)


def listed(folder: str, patience: Patience) -> dict[str, Facts]:
    """Name -> facts of the files of a folder; empty where there is no such folder. Raises UserError."""

    def ask() -> dict[str, Facts]:
        system, path = filesystem(folder, patience)
        system.invalidate_cache()
        try:
            entries = system.ls(path, detail=True)
        except FileNotFoundError as error:
            if _status(error) in (None, 404):
                return {}
            raise
        files = [entry for entry in entries if entry["type"] == "file"]
        return {entry["name"].rstrip("/").rpartition("/")[2]: _facts(entry) for entry in files}

    return persistently(ask, folder, patience)


def _facts(info: dict[str, Any]) -> Facts:
    mark = next((str(info[name]) for name in _MARKS if info.get(name)), None)
    return Facts(info.get("size"), mark)


def persistently(ask: Callable[[], Found], address: str, patience: Patience) -> Found:
    """What `ask` returns, asked again while its failures may pass. Raises UserError with the last one."""
    for failures in range(1, patience.attempts + 1):
        try:
            return ask()
        except Exception as error:
            refuse(error, address)
            if failures == patience.attempts:
                raise gave_up(error, address, failures) from error
            patience.wait(failures)
    raise AssertionError("unreachable")


def gave_up(error: BaseException, address: str, failures: int) -> UserError:
    """The one line for a failure that did not pass."""
    return UserError(
        f"'{address}': given up after {failures} attempts without a byte more ({_text(error)}); "
        "look after the server or the network and start again"
    )


def refuse(error: Exception, address: str) -> None:
    """Raise a UserError for a failure that no further attempt would mend; return for one that may pass."""
    if isinstance(error, UserError):
        raise error
    status, last = _status(error), list(_chain(error))[-1]
    sign_in = _HOW_TO_SIGN_IN.get(kind(address), "check the address and what it wants")
    if any(type(cause).__name__ in _NO_CREDENTIALS for cause in _chain(error)):
        raise UserError(f"'{address}': no credentials; {sign_in}") from error
    if status in (401, 403) or (status is None and isinstance(last, PermissionError)):
        raise UserError(f"'{address}': no right to read or write there ({_text(last)}); {sign_in}") from error
    if status in (404, 410) or (status is None and isinstance(last, FileNotFoundError)):
        raise UserError(f"'{address}': there is no such file; check the address and the pattern") from error
    if status is not None and 400 <= status < 500 and status not in (*_RETRIED_STATUS, 412, 416):
        raise UserError(f"'{address}': refused with status {status} ({_text(last)})") from error


def is_absent(error: UserError) -> bool:
    """Whether a file is not there, or hidden: some stores say of an absent file that one may not see it."""
    return "there is no such file" in str(error) or "no right to read" in str(error)


def _chain(error: BaseException) -> Iterator[BaseException]:
    found: BaseException | None = error
    while found is not None:
        yield found
        found = found.__cause__


def _status(error: BaseException) -> int | None:
    """The HTTP status that a backend's error hides; each has a place of its own for it."""
    for cause in _chain(error):
        response = getattr(cause, "response", None)
        known = response.get("ResponseMetadata", {}).get("HTTPStatusCode") if isinstance(response, dict) else None
        # aiohttp has a "code" of 400 for broken answers, too.
        code = getattr(cause, "code", None) if type(cause).__module__.startswith("gcsfs") else None
        for status in (known, getattr(cause, "status", None), code):
            if isinstance(status, int):
                return status
        if isinstance(status := getattr(response, "status_code", None), int):
            return status
    return None


def _text(error: BaseException) -> str:
    said = " ".join(str(error).split())[:160]
    return f"{type(error).__name__}: {said}" if said else type(error).__name__
