"""Rosters as people and spreadsheets write them, and what is said of those that cannot be read."""

from __future__ import annotations

import csv
import io
import random
from pathlib import Path

import pytest

from portrait_lora.errors import InputError, PortraitError
from portrait_lora.fleet import roster, slugs
from portrait_lora.fleet.roster import Entry, Roster

NAMES = ("Ólafur Þór", "李明", "Nguyễn Văn A", "Anna Lee", "אבי כהן", "Jean-Luc O'Neil")


def table(folder: Path, text: str, encoding: str = "utf-8", name: str = "people.csv") -> Path:
    path = folder / name
    path.write_bytes(text.encode(encoding))
    return path


def refused(path: Path) -> PortraitError:
    with pytest.raises(PortraitError) as caught:
        roster.read(path)
    assert isinstance(caught.value, InputError)
    return caught.value


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_what_spreadsheets_save(tmp_path: Path, encoding: str, end: str, separator: str) -> None:
    rows = [("name", "photos", "kind"), *((name, f"p/{i}", "woman") for i, name in enumerate(NAMES))]
    lines = [separator.join(row) for row in rows]
    lines.insert(3, "")
    lines.append(separator * 2)
    read = roster.read(table(tmp_path, end.join(lines), encoding))
    assert tuple(entry.name for entry in read.entries) == NAMES
    assert [entry.kind for entry in read.entries] == ["woman"] * len(NAMES)
    assert read.entries[1].photos == tmp_path / "p" / "1"
    assert [entry.line for entry in read.entries][:3] == [2, 3, 5]


def test_excel_names_its_separator(tmp_path: Path) -> None:
    read = roster.read(table(tmp_path, "sep=|\nname|photos\nAnna|a\n"))
    assert (read.entries[0].name, read.entries[0].line) == ("Anna", 3)


def test_quotes_hold_separators_ends_of_lines_and_formulas(tmp_path: Path) -> None:
    text = (
        'photos,name,settings,group\r\n"a, b","Lee ""Bo"" Anna","training.rank=8; generate.per_shot=2",'
        '\'=north\r\n"two\r\nlines",Next,,\r\n'
    )
    path = table(tmp_path, text)
    assert "a character that cannot be seen" in refused(path).what
    read = roster.read(table(tmp_path, text.replace("two\r\nlines", "c")))
    first = read.entries[0]
    assert first.photos == tmp_path / "a, b"
    assert first.name == 'Lee "Bo" Anna'
    assert first.settings == ("training.rank=8", "generate.per_shot=2")
    assert first.groups == ("=north",)


def test_paths_are_relative_to_the_roster_or_the_home_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "me"))
    (tmp_path / "in" / "pics").mkdir(parents=True)
    text = f"name,photos,consent\nA,~/a,\nB,../b,c.yaml\nC,pics\\c,\nD,{tmp_path}/d,\n"
    read = roster.read(table(tmp_path / "in", text))
    places = [entry.photos for entry in read.entries]
    assert places == [tmp_path / "me/a", tmp_path / "in/../b", tmp_path / "in/pics/c", tmp_path / "d"]
    assert [entry.consent for entry in read.entries] == [None, tmp_path / "in/c.yaml", None, None]


BAD = (
    ("name,fotos\nA,a\n", ":1, column 2", "unknown column 'fotos'", "Did you mean 'photos'"),
    ("name,photos,zzzz\nA,a,b\n", ":1, column 3", "unknown column 'zzzz'", "Known here: name, photos"),
    ("name,photos,name\nA,a,b\n", ":1, column 3", "stands twice", ""),
    ("name\nA\n", ":1", "no column 'photos'", ""),
    ("\n\nAnna;a\n", ":3, column 1", "unknown column 'Anna'", ""),
    ("name,photos\nA,a,b\n", ":2, column 3", "without a title", ""),
    ("name,photos\nA,a\nB,\n", ":3, column 'photos'", "no photos", ""),
    ("name,photos\n ,a\n", ":2, column 'name'", "no name", ""),
    ("name,photos\nA\x07b,a\n", ":2, column 'name'", "cannot be seen", ""),
    ("name,photos\n\u202egnp.A,a\n", ":2, column 'name'", "cannot be seen", ""),
    ("name,photos,kind\nA,a,\nB,b,boy\n", ":3, column 'kind'", "not a kind", ""),
    ("name,photos,email\nA,a,anna at home\n", ":2, column 'email'", "not an e-mail", ""),
    ("name,photos,person\nA,a,../b\n", ":2, column 'person'", "not a name for a folder", ""),
    ("name,photos,settings\nA,a,training.rnak=8\n", ":2, column 'settings'", "unknown conf", "rank"),
    ("name,photos,settings\nA,a,training.rank=x\n", ":2, column 'settings'", "invalid value", ""),
    ("name,photos,settings\nA,a,rank\n", ":2, column 'settings'", "not an override", ""),
    ('name,photos\nA,a\n"B,b\nC,c\n', ":3", "cannot be taken apart", "quotation mark"),
    ('name,photos\nA,a\n"B"x,b\n', ":3", "cannot be taken apart", ""),
    ("name,photos\nAnna Lee,a\nanna  LEE,c\n", ":3, column 'name'", "two people of one name", "'person'"),
    ("name,photos,person\nA,a,x\nB,b,x\n", ":3, column 'person'", "two people of one name", ""),
    ("name,photos,person\nA,a,\nB,b,a\n", ":3, column 'person'", "two people of one name", ""),
    ("name,photos\n", "people.csv", "names nobody", ""),
    ("\r\n \n", "people.csv", "names nobody", ""),
)  # fmt: skip


@pytest.mark.parametrize(("text", "where", "what", "remedy"), BAD)
def test_errors_name_line_and_column(tmp_path: Path, text: str, where: str, what: str, remedy: str) -> None:
    error = refused(table(tmp_path, text))
    assert where in error.where
    assert what in error.what
    assert remedy in error.remedy


def test_every_wrong_row_is_named_at_once(tmp_path: Path) -> None:
    wrong = "".join(f"P{i},p{i},boy\n" for i in range(20))
    error = refused(table(tmp_path, f"name,photos,kind\nA,a,man\n{wrong}"))
    assert ":3, column 'kind'" in error.where
    assert ":4, column 'kind'" in error.remedy
    assert "and 10 more" in error.remedy


def test_bytes_that_are_no_text_are_placed(tmp_path: Path) -> None:
    path = tmp_path / "people.csv"
    path.write_bytes("name,photos\nAnna,a\nÓlafur,o\n".encode("latin-1"))
    error = refused(path)
    assert error.where.endswith(":3, character 1")
    assert "CSV UTF-8" in error.remedy
    path.write_bytes(b"PK\x03\x04" + bytes(100))
    assert "spreadsheet" in refused(path).what
    path.write_bytes(b"name,photos\nA\0,a\n")
    assert "zero byte" in refused(path).got
    path.unlink()
    path.mkdir()
    assert refused(path).got == "a folder"


def test_yaml_says_what_is_set_for_all(tmp_path: Path) -> None:
    (tmp_path / "house.yaml").write_text("name: house\n")
    path = table(tmp_path, """
series: headshots
brand: house.yaml
settings: {training: {rank: 4}, generate.per_shot: 2}
acceptance: {share_of_ceiling: 0.7, copy_score: null}
price_per_hour: 2.5
people:
  - name: Anna Lee
    photos: ~/anna
    group: North; Board
    settings:
      - training.rank=8
      - "select.probes=3; generate.per_shot=1"
  - {name: 2024, photos: bo.zip, kind: man, person: staff-7}
""", name="people.yaml")  # fmt: skip
    read = roster.read(path)
    assert read.settings == ("training.rank=4", "generate.per_shot=2")
    assert (read.series, read.brand) == ("headshots", str(tmp_path / "house.yaml"))
    assert (read.acceptance, read.price_per_hour) == ({"share_of_ceiling": 0.7, "copy_score": None}, 2.5)
    first, second = read.entries
    assert first.groups == ("North", "Board")
    assert first.settings == ("training.rank=8", "select.probes=3", "generate.per_shot=1")
    assert (second.name, second.person, second.line) == ("2024", "staff-7", 14)


def test_yaml_may_name_a_table(tmp_path: Path) -> None:
    people = table(tmp_path, "name,photos\nAnna,a\n")
    read = roster.read(table(tmp_path, "series: headshots\npeople: people.csv\n", name="all.yaml"))
    assert [entry.name for entry in read.entries] == ["Anna"]
    before = read.sha256
    people.write_text("name,photos\nAnna,b\n")
    assert roster.read(tmp_path / "all.yaml").sha256 != before


@pytest.mark.parametrize(
    ("text", "where", "what"),
    [
        ("people:\n  - name: A\n    foto: a\n", ":3", "unknown column 'foto'"),
        ("serie: headshots\npeople: []\n", ":1", "unknown column 'serie'"),
        ("people: []\n", "people.yaml", "names nobody"),
        ("", "people.yaml", "names nobody"),
        ("people: {name: A}\n", ":1", "are a list"),
        ("people:\n  - Anna\n", ":2", "not an entry"),
        ("people:\n  - name: [A]\n    photos: a\n", ":2, column 'name'", "not text"),
        ("people:\n  - name: true\n    photos: a\n", ":2, column 'name'", "not text"),
        ("people:\n  - name: A\n    photos: a\n    kind: boy\n", ":4, column 'kind'", "not a kind"),
        ("acceptance: {verified_rate: many}\npeople:\n  - {name: A, photos: a}\n", ":1", "not a number"),
        ("price_per_hour: -1\npeople:\n  - {name: A, photos: a}\n", ":1", "not a price"),
        ("brand: lost.yaml\npeople:\n  - {name: A, photos: a}\n", ":1", "no such brand"),
        (
            "settings: {training.rnk: 1}\npeople:\n  - {name: A, photos: a}\n",
            ":1",
            "unknown configuration key",
        ),
    ],
)
def test_errors_in_yaml_name_the_line(tmp_path: Path, text: str, where: str, what: str) -> None:
    error = refused(table(tmp_path, text, name="people.yaml"))
    assert where in error.where
    assert what in error.what


def test_names_keep_apart_what_a_slug_cannot_say() -> None:
    assert slugs.slug_of("Anna Lee") == "anna-lee"
    alike = ["Jose", "José", "JOSÉ ", "Anna-Lee", "Anna Lee", "O'Neil", "O Neil", "Ólafur Þór", "Olafur Thor"]
    people = [slugs.slug_of(name) for name in alike]
    assert people[1] == people[2]  # case and spaces do not make another name
    assert len(set(people)) == len(people) - 1
    assert people[7].startswith("olafur-thor-")
    assert slugs.slug_of("e\u0301") == slugs.slug_of("\u00e9")  # two forms of one accent
    assert slugs.slug_of("李明") != slugs.slug_of("李明明")
    assert slugs.slug_of("Con").startswith("con-")  # no folder on Windows is called so


def invented(rng: random.Random, most: int) -> str:
    """A text of letters, signs and spaces of any script; no control characters."""
    places = (
        (32, 0x24F),
        (0x370, 0x52F),
        (0x5D0, 0x6FF),
        (0x900, 0xDFF),
        (0x3040, 0x9FFF),
        (0x1F300, 0x1F64F),
    )
    text = "".join(chr(rng.randint(*rng.choice(places))) for _ in range(rng.randint(1, most)))
    return "".join(c for c in text if c.isprintable())


def test_every_name_gives_a_folder() -> None:
    rng = random.Random(3)
    for name in (" ", "\x00", "\ud800", "-", "con", *(invented(rng, 120) for _ in range(500))):
        assert slugs.PATTERN.fullmatch(slugs.slug_of(name)), name
        assert slugs.slug_of(name) == slugs.slug_of(f"  {name.strip()} ")


@pytest.mark.parametrize("seed", range(12))
def test_what_csv_writes_is_read_back(tmp_path: Path, seed: int) -> None:
    from portrait_lora import csv_file

    rng = random.Random(seed)
    names = [name for _ in range(8) if (name := invented(rng, 20) + rng.choice(',;"\t=@')).strip("\t ")]
    names = list({slugs.same_name(name): name.replace("\t", " ") for name in names}.values())
    out = io.StringIO()
    writer = csv.writer(out, delimiter=rng.choice(",;\t"))
    writer.writerow(["name", "photos"])
    writer.writerows([csv_file.cell(name), "p"] for name in names)
    read = roster.read(table(tmp_path, out.getvalue()))
    assert [entry.name for entry in read.entries] == [" ".join(name.split()) for name in names]


def test_an_entry_is_known_by_folder_or_name(tmp_path: Path) -> None:
    read = roster.read(table(tmp_path, "name,photos\nAnna Lee,a\n"))
    assert isinstance(read, Roster)
    assert isinstance(read.entry("anna-lee"), Entry)
    assert read.entry("ANNA lee") is read.entries[0]
    with pytest.raises(InputError, match="nobody of that name"):
        read.entry("bo")
