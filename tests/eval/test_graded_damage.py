"""Every metric moves the right way when videos get worse."""

from pathlib import Path

import pytest
from graded_damage import DAMAGES, RESOLUTION, SECONDS, score, table, wrong_ways

from latentsync.synthetic.clip import draw_clip


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_metrics_get_worse_with_every_step_of_a_damage(tmp_path: Path, thorough: bool) -> None:
    clips = [draw_clip(100_200 + index, SECONDS, RESOLUTION, 1, mode="scene") for index in range(4 if thorough else 1)]
    none = score(clips, lambda clip: clip.frames, tmp_path / "none", thorough)
    found = {}
    chosen = list(DAMAGES) if thorough else ["blur, σ px", "mouth frozen, share"]
    for number, name in enumerate(chosen):
        damage, steps, _ = DAMAGES[name]
        found[name] = [none]
        for step in steps if thorough else steps[-1:]:
            folder = tmp_path / f"{number}_{step}"
            found[name].append(score(clips, lambda clip, d=damage, s=step: d(clip, s), folder, thorough))
    if thorough:
        print(table(found))
    assert wrong_ways(found) == []
