"""Links in INPUT, from the plan to the moment when an image is read."""

from collections.abc import Callable
from pathlib import Path

import pytest
from drawings import picture

import igcam_batch
from igcam_batch.audit.job import Summary
from igcam_batch.audit.rounds import Rounds
from igcam_batch.errors import InputError

pytestmark = pytest.mark.xdist_group("faults")


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    """A picture beside INPUT."""
    (tmp_path / "elsewhere").mkdir()
    picture(7).save(tmp_path / "elsewhere" / "secret.png")
    return tmp_path / "elsewhere" / "secret.png"


def ids(table) -> list[str]:
    return sorted(table["image_id"].to_pylist())


def test_what_only_links_hold_is_refused_with_the_flag_that_takes_it(
    tmp_path: Path, audit: Callable[..., Summary], secret: Path
) -> None:
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "a.png").symlink_to(secret)
    (tmp_path / "images" / "more").symlink_to(secret.parent)
    with pytest.raises(InputError, match=r"no images in it .*; links lead out of INPUT .*--follow-links takes them: 2"):
        audit(tmp_path / "images")
    output = audit(tmp_path / "images", steps=2, follow_links=True).output
    assert ids(igcam_batch.read_scores(output)) == ["a.png", "more/secret.png"]


def test_a_link_that_took_an_image_s_place_after_the_plan_is_a_failure_of_that_image(
    pictures: Callable[..., Path], audit: Callable[..., Summary], secret: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = pictures("a.png", "b.png", "sub/c.png", "sub/d.png", "z.png")
    (images / "y.png").symlink_to("a.png")
    run = Rounds.run

    def swapped(*arguments):
        (images / "b.png").unlink()
        (images / "b.png").symlink_to(secret)
        for name in ("c.png", "d.png"):
            (images / "sub" / name).rename(secret.parent / name)
        (images / "sub").rmdir()
        (images / "sub").symlink_to(secret.parent)
        return run(*arguments)

    monkeypatch.setattr(Rounds, "run", swapped)
    output = audit(images, steps=2).output
    failures = igcam_batch.read_failures(output).to_pylist()
    assert sorted(row["image_id"] for row in failures) == ["b.png", "sub/c.png", "sub/d.png"]
    assert {(row["stage"], row["error"]) for row in failures} == {
        ("read", f"a link leads out of {images}; --follow-links takes it")
    }
    assert ids(igcam_batch.read_scores(output)) == ["a.png", "y.png", "z.png"]


def test_a_manifest_s_uris_lead_where_the_user_wrote(
    tmp_path: Path, audit: Callable[..., Summary], secret: Path
) -> None:
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "link.png").symlink_to(secret)
    (tmp_path / "images" / "manifest.csv").write_text(
        f"uri,image_id\nlink.png,1\n{secret},2\n../elsewhere/secret.png,3\n"
    )
    assert ids(igcam_batch.read_scores(audit(tmp_path / "images", steps=2).output)) == ["1", "2", "3"]
