"""Rooms know lower floors only, and the page of the architecture shows them as they are."""

import importlib.util
import re
from pathlib import Path
from types import ModuleType

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def drawn() -> ModuleType:
    spec = importlib.util.spec_from_file_location("draw_architecture", REPOSITORY / "docs" / "draw_architecture.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_no_room_imports_from_itself_by_a_detour_nor_from_a_higher_floor(drawn: ModuleType) -> None:
    graph = drawn.edges()
    assert set(graph) == {room for rooms in drawn.FLOORS for room in rooms}
    assert drawn.circles(graph) == []
    assert drawn.upwards(graph) == []


def test_a_circle_and_an_import_upwards_are_seen(drawn: ModuleType) -> None:
    assert drawn.circles({"work": {"media"}, "media": {"work"}}) == [("media", "work"), ("work", "media")]
    assert drawn.upwards({"work": {"media"}}) == [("work", "media")]


def test_page_is_what_the_imports_say(drawn: ModuleType) -> None:
    told = "run python docs/draw_architecture.py"
    assert drawn.PAGE.read_text(encoding="utf-8") == drawn.page(drawn.edges()), told


def test_files_that_the_journeys_name_are_there(drawn: ModuleType) -> None:
    journeys = drawn.PAGE.read_text(encoding="utf-8").split(drawn.END)[1]
    for name in re.findall(r"`(\w+\.py)`", journeys):
        assert any((REPOSITORY / folder / name).is_file() for folder in ("data_prep", ".")), name
    for room, name in re.findall(r"`(\w+)\.(\w+)`", journeys):
        if name not in ("py", "prepare"):
            assert (REPOSITORY / "latentsync" / room / f"{name}.py").is_file(), f"{room}.{name}"
