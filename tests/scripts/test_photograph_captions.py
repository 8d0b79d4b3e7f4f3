import numpy as np
import pytest

from scripts.evaluate.photograph_captions import HEADER, judged_rows, photo_files, sheet


def judged(path, *lines):
    path.write_text("\n".join([",".join(HEADER), *lines]) + "\n", encoding="utf-8")
    return path


def test_the_share_of_true_words_in_all_and_by_kind(tmp_path):
    one = judged(tmp_path / "a.csv", "a.jpg,red clothing,yes", "a.jpg,frontal,yes", "b.jpg,frontal,no")
    two = judged(tmp_path / "b.csv", "c.jpg,dark clothing,yes")
    rows = {row.name.strip(" …"): row for row in judged_rows([one, two])}
    assert rows["words that are true"].value == 0.75 and rows["words that are true"].met is False
    assert rows["frontal"].value == 0.5 and rows["clothing"].value == 1.0


@pytest.mark.parametrize("word", ["", "maybe"])
def test_a_word_that_was_not_judged_is_an_error(tmp_path, word):
    with pytest.raises(ValueError, match=r"a\.csv:2.*not yes or no"):
        judged_rows([judged(tmp_path / "a.csv", f"a.jpg,frontal,{word}")])
    (tmp_path / "b.csv").write_text("file,word\n", encoding="utf-8")
    with pytest.raises(ValueError, match="first line"):
        judged_rows([tmp_path / "b.csv"])


def test_photos_below_a_folder_or_of_a_list(tmp_path):
    (tmp_path / "anna").mkdir()
    for name in ("anna/b.JPG", "a.png", "note.txt"):
        (tmp_path / name).write_bytes(b"x")
    assert [p.name for p in photo_files(tmp_path, None)] == ["a.png", "b.JPG"]
    listed = tmp_path / "list.txt"
    listed.write_text("anna/b.JPG\n\n", encoding="utf-8")
    assert photo_files(tmp_path, listed) == [tmp_path / "anna/b.JPG"]


def test_a_sheet_has_a_tile_for_every_crop():
    crop = np.full((256, 192, 3), 200, np.uint8)
    page = sheet([("a.jpg", crop, ["frontal"])] * 5, 20)
    assert page.shape[0] == 2 * 260
    assert (page[260 : 260 + 256, :192] == 200).all()
