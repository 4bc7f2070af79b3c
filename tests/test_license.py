"""Laws of a source's license: what the card's front matter states is read, all else is no statement."""

import pytest

from compress.license import stated_license


def card(folder, text):
    (folder / "README.md").write_text(text, encoding="utf-8")
    return folder


@pytest.mark.parametrize(
    ("matter", "stated"),
    [
        ("license: apache-2.0", {"license": "apache-2.0"}),
        ("license: [mit, apache-2.0]", {"license": ["mit", "apache-2.0"]}),
        (
            "license: other\nlicense_name: of-the-house\nlicense_link: LICENSE",
            {"license": "other", "license_name": "of-the-house", "license_link": "LICENSE"},
        ),
        ("license: other\nlicense_name: 7", {"license": "other"}),
    ],
)
@pytest.mark.parametrize("opening", ["", "\ufeff"], ids=["plain", "with a byte-order mark"])
def test_what_the_front_matter_states_is_read(tmp_path, opening, matter, stated):
    text = f"{opening}---\nlanguage: en\n{matter}\n---\n# A model\n"
    assert stated_license(card(tmp_path, text)) == stated


@pytest.mark.parametrize(
    "text",
    [
        "# A model\n\nlicense: mit\n",
        "---\nlanguage: en\n---\nlicense: mit\n",
        "---\nlicense: mit\n",
        "---\nlicense: {a: b\n---\n",
        "---\n- license\n---\n",
        "---\nlicense: 7\n---\n",
        "---\nlicense: []\n---\n",
        "---\nlicense: ' '\n---\n",
        "---\nlicense_name: of-the-house\n---\n",
        "",
    ],
)
def test_what_is_no_statement_is_none(tmp_path, text):
    assert stated_license(card(tmp_path, text)) == {}


def test_a_card_that_is_missing_or_no_text_states_nothing(tmp_path):
    assert stated_license(tmp_path) == {}
    (tmp_path / "README.md").write_bytes(b"---\nlicense: \xff\n---\n")
    assert stated_license(tmp_path) == {}
