"""Pascal VOC: boxes and classes from annotations, some of which are broken or hostile."""

import re
import time
from pathlib import Path

import pytest

from igcam_batch.sources import Box, ImageRow, Notes, Wanted
from igcam_batch.sources.voc import voc_rows
from igcam_batch.storage import open_store


def thing(name: str, *sides: object) -> str:
    boxed = "".join(f"<{tag}>{side}</{tag}>" for tag, side in zip(("xmin", "ymin", "xmax", "ymax"), sides, strict=True))
    return f"<object><name>{name}</name><bndbox>{boxed}</bndbox></object>"


def annotation(*things: str) -> str:
    return f"<annotation><folder>VOC2007</folder>{''.join(things)}</annotation>"


@pytest.fixture
def rows(tmp_path: Path):
    """The rows of a dataset of images with these annotations; None: an image without one."""

    def read(**annotations: str | bytes | None) -> list[ImageRow]:
        for place in ("JPEGImages", "Annotations"):
            (tmp_path / place).mkdir(exist_ok=True)
        for name, text in annotations.items():
            (tmp_path / "JPEGImages" / f"{name}.jpg").touch()
            if text is not None:
                data = text if isinstance(text, bytes) else text.encode()
                (tmp_path / "Annotations" / f"{name}.xml").write_bytes(data)
        return list(voc_rows(open_store(str(tmp_path)), Wanted(), Notes()))

    return read


class TestBoxes:
    def test_count_pixels_from_0_and_end_after_the_last(self, rows):
        [row] = rows(a=annotation(thing("cat", 1, 1, 500, 375)))
        assert row.boxes == (Box("cat", 0, 0, 500, 375),)
        [row] = rows(a=annotation(thing("cat", 48, 240, 195.5, 371)))
        assert row.boxes == (Box("cat", 47, 239, 195.5, 371),)

    def test_agree_with_torchvisions_reading_of_the_same_file(self, rows, tmp_path):
        from torchvision.datasets import VOCDetection

        [row] = rows(a=annotation(thing("cat", 3, 4, 50, 60), thing("dog", 7, 8, 9, 10)))
        import xml.etree.ElementTree as ET

        parsed = VOCDetection.parse_voc_xml(ET.parse(tmp_path / "Annotations" / "a.xml").getroot())
        assert [(box.label, box.left + 1, box.top + 1, box.right, box.bottom) for box in row.boxes] == [
            (each["name"], *(float(each["bndbox"][side]) for side in ("xmin", "ymin", "xmax", "ymax")))
            for each in parsed["annotation"]["object"]
        ]

    def test_sides_may_come_in_any_order_and_with_space_around(self, rows):
        sides = "<ymax> 4 </ymax><xmax>3</xmax><ymin>2</ymin><xmin>\n1</xmin>"
        [row] = rows(a=f"<annotation><object><name> cat\n</name><bndbox>{sides}</bndbox></object></annotation>")
        assert row.boxes == (Box("cat", 0, 1, 3, 4),)

    def test_of_the_parts_of_an_object_are_not_objects(self, rows):
        part = "<part><name>head</name><bndbox><xmin>1</xmin></bndbox></part></object>"
        [row] = rows(a=annotation(thing("person", 1, 1, 9, 9).replace("</object>", part)))
        assert row.boxes == (Box("person", 0, 0, 9, 9),)


class TestLabels:
    def test_are_the_classes_of_the_boxes_each_once_in_order(self, rows):
        [row] = rows(a=annotation(thing("dog", 1, 1, 2, 2), thing("cat", 1, 1, 2, 2), thing("dog", 3, 3, 4, 4)))
        assert row.labels == ("dog", "cat")
        assert [box.label for box in row.boxes] == ["dog", "cat", "dog"]

    def test_an_image_without_annotation_or_without_objects_has_none(self, rows):
        assert [(row.image_id, row.labels, row.boxes) for row in rows(a=None, b=annotation())] == [
            ("JPEGImages/a.jpg", (), ()),
            ("JPEGImages/b.jpg", (), ()),
        ]

    def test_an_annotation_without_image_is_no_row(self, rows, tmp_path):
        (tmp_path / "Annotations").mkdir()
        (tmp_path / "Annotations" / "stray.xml").write_text(annotation(thing("cat", 1, 1, 2, 2)))
        assert [row.image_id for row in rows(a=None)] == ["JPEGImages/a.jpg"]


def problem_of(row: ImageRow) -> str:
    assert row.problem is not None
    assert row.problem.stage == "annotation"
    assert (row.labels, row.boxes) == ((), ())
    return row.problem.error


_ENTITIES = "".join(f'<!ENTITY e{n} "{f"&e{n - 1};" * 10 if n else "ha"}">' for n in range(10))


class TestBrokenAnnotations:
    """Each costs the image it belongs to, with a line that says why, and no other."""

    @pytest.mark.parametrize(
        ("text", "reason"),
        [
            ("<annotation><object>", "well-formed"),
            ("", "well-formed"),
            ("not xml", "well-formed"),
            (b"\x89PNG\r\n\x1a\n", "well-formed"),
            ('<?xml version="1.0" encoding="klingon"?><annotation/>', "klingon"),
            (annotation("<object><bndbox/></object>"), "without a name"),
            (annotation(thing("  ", 1, 1, 2, 2)), "without a name"),
            (annotation(thing("cat", 1, 1, 2, 2).replace("xmin", "x")), "'cat': bndbox must hold the numbers xmin"),
            (annotation("<object><name>cat</name></object>"), "'cat': bndbox must hold the numbers xmin"),
            (annotation(thing("cat", 1, "left", 2, 2)), "'cat': bndbox must hold the numbers xmin"),
            (annotation(thing("cat", 1, "", 2, 2)), "'cat': bndbox must hold the numbers xmin"),
            (annotation(thing("cat", 1, "nan", 2, 2)), "'cat': bndbox must hold the numbers xmin"),
            (annotation(thing("cat", 1, 1, "inf", 2)), "'cat': bndbox must hold the numbers xmin"),
        ],
    )
    def test_a_broken_annotation_is_named_in_one_line(self, rows, tmp_path, text, reason):
        broken, fine = rows(broken=text, fine=annotation(thing("cat", 1, 1, 2, 2)))
        assert (fine.problem, fine.labels) == (None, ("cat",))
        message = problem_of(broken)
        assert message.startswith(f"{tmp_path}/Annotations/broken.xml: ")
        assert reason in message
        assert "\n" not in message

    def test_an_entity_bomb_does_not_go_off(self, rows, tmp_path):
        bomb = f"<!DOCTYPE annotation [{_ENTITIES}]>{annotation(thing('&e9;', 1, 1, 2, 2))}"
        started = time.monotonic()
        [row] = rows(a=bomb)
        assert re.match(f"{tmp_path}/Annotations/a.xml: .*DTD", problem_of(row))
        assert time.monotonic() - started < 1

    def test_an_external_entity_is_not_read(self, rows, tmp_path):
        (tmp_path / "secret").write_text("password")
        hostile = f'<!DOCTYPE annotation [<!ENTITY e SYSTEM "file://{tmp_path}/secret">]>'
        [row] = rows(a=hostile + annotation(thing("&e;", 1, 1, 2, 2)))
        assert problem_of(row).startswith(f"{tmp_path}/Annotations/a.xml: ")
        assert "password" not in repr(row)

    @pytest.mark.parametrize(
        "inside",
        [
            '<!ENTITY % e SYSTEM "file:///etc/hostname"> %e;',
            '<!ENTITY a "x"><!ENTITY b "&a;&a;">',
            "<!ELEMENT annotation ANY>",
        ],
    )
    def test_no_document_type_is_taken_at_all(self, rows, inside):
        [row] = rows(a=f"<!DOCTYPE annotation [{inside}]>{annotation()}")
        assert "DTD" in problem_of(row)

    def test_elements_within_elements_without_end_are_gone_through_or_refused(self, rows):
        deep, fine = rows(a=annotation("<a>" * 200_000 + "</a>" * 200_000), b=annotation(thing("cat", 1, 1, 2, 2)))
        assert deep.labels == ()
        assert fine.labels == ("cat",)

    def test_an_external_document_type_is_not_fetched(self, rows):
        [row] = rows(a='<!DOCTYPE annotation SYSTEM "http://localhost:9/voc.dtd">' + annotation())
        assert "DTD" in problem_of(row)
