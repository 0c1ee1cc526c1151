"""Tables of jobs are read as people mean them, and refused by the line that is wrong."""

from pathlib import Path

import pytest

from latentsync.errors import UserError
from latentsync.inference.jobs import folder_jobs, read_manifest
from latentsync.inference.options import USUAL_SUFFIX
from latentsync.inference.picture_notes import check_codec


def manifest(folder: Path, text: str) -> Path:
    path = folder / "jobs.csv"
    path.write_text(text, encoding="utf-8")
    return path


def test_cells_become_paths_below_the_table_and_options_of_their_type(tmp_path: Path) -> None:
    lines = "input,audio,output,seed,guidance_scale,color_match,silence_gate,face\n"
    lines += "a b.mp4,s.wav,x/ü;.mp4,7,1.5,true,-45,2\n'c'.png,,,,,,,\n"
    one, other = read_manifest(manifest(tmp_path, lines))
    assert (one.name, one.input, one.audio) == ("x/ü;.mp4", tmp_path / "a b.mp4", tmp_path / "s.wav")
    assert one.options == {"seed": 7, "guidance_scale": 1.5, "color_match": True, "silence_gate": -45.0, "face": "2"}
    assert (other.name, other.audio, other.options) == ("'c'.mp4", None, {})
    assert one.seed(1) == one.seed(2) == 7
    assert other.seed(1) == other.seed(1) != other.seed(2)


def test_table_of_a_spreadsheet_with_a_byte_order_mark_is_read(tmp_path: Path) -> None:
    assert read_manifest(manifest(tmp_path, "\ufeffinput,audio\na.mp4,b.wav\n"))[0].name == "a.mp4"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "no column input"),
        ("input,audio\n", "no job in it"),
        ("input,colour\na.mp4,b\n", "unknown column 'colour'"),
        ("input,audio\n,b.wav\n", "line 2: no input"),
        ("input,audio\na.mp4\n", "line 2: more or fewer cells"),
        ("input,audio\na.mp4,b.wav,c\n", "line 2: more or fewer cells"),
        ("input,output\na.mp4,../b.mp4\n", "line 2: output '../b.mp4' is not a plain path"),
        ("input,output\na.mp4,/etc/b.mp4\n", "not a plain path"),
        ("input,output\na.mp4,x/../../b.mp4\n", "not a plain path"),
        ("input,output\na.mp4,..\\b.mp4\n", "not a plain path"),
        ("input,output\na.mp4,.jobs/.mp4\n", "not a plain path"),
        ("input,output\na.mp4,b.avi\n", "cannot write '.avi'"),
        ("input,guidance_scale\na.mp4,11\n", "line 2: guidance_scale=11"),
        ("input,seed\na.mp4,x\n", "line 2: seed=x is not a number"),
        ("input,color_match\na.mp4,maybe\n", "neither true nor false"),
        ("input\nx/a.mp4\ny/a.mp4\n", "two jobs would write 'a.mp4'"),
    ],
)
def test_mistake_is_told_with_its_line(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(UserError) as error:
        read_manifest(manifest(tmp_path, text))
    assert said in str(error.value)


def test_every_input_gets_every_sound(tmp_path: Path) -> None:
    for name in ("in/b.png", "in/a.mp4", "in/notes.txt", "in/.hidden.mp4", "sound/x.wav", "sound/y.mp3"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    jobs = folder_jobs(tmp_path / "in", tmp_path / "sound")
    assert [job.name for job in jobs] == ["a__x.mp4", "a__y.mp4", "b__x.mp4", "b__y.mp4"]
    assert folder_jobs(tmp_path / "in", tmp_path / "sound", ".mov")[0].name == "a__x.mov"
    with pytest.raises(UserError, match="holds no"):
        folder_jobs(tmp_path / "sound", tmp_path / "in")


def test_an_unnamed_output_is_a_file_that_has_a_place_for_the_codec(tmp_path: Path) -> None:
    lines = "input,codec\na.mp4,\nb.mp4,prores\nc.mp4,vp9\n"
    assert [job.name for job in read_manifest(manifest(tmp_path, lines))] == ["a.mp4", "b.mov", "c.mkv"]
    assert read_manifest(manifest(tmp_path, lines), ".mkv")[0].name == "a.mkv"
    for codec, suffix in USUAL_SUFFIX.items():
        check_codec(codec, Path(f"a{suffix}"))
