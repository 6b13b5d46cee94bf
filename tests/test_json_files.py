"""JSON from outside: whatever is wrong with it, one line says so."""

import os

import pytest

from mnistsum.config import read_config
from mnistsum.errors import InputError
from mnistsum.json_files import MAX_BYTES, parse_json, read_json, read_json_lines


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"\x00\x00",
        b"\xff\xfe{}",
        b'{"a": ' + b"9" * 5000 + b"}",
        b"[" * 100_000,
        b'{"a": "\xed\xa0\x80"}',
    ],
    ids=["empty", "torn", "NUL", "UTF-16", "digits", "nested", "surrogate"],
)
def test_what_is_not_json_is_refused_in_one_line(tmp_path, content):
    file = tmp_path / "config.json"
    file.write_bytes(content)
    for read in (lambda: read_json(file), lambda: parse_json(content, str(file)), lambda: read_config(tmp_path)):
        with pytest.raises(InputError, match=r"config.json: not JSON: .+") as refusal:
            read()
        assert "\n" not in str(refusal.value)


def test_what_is_no_file_or_too_large_a_one_is_refused_at_once(tmp_path):
    with pytest.raises(InputError, match="no such file"):
        read_json(tmp_path)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(InputError, match="pipe: no such file"):
        read_json(tmp_path / "pipe")
    with (tmp_path / "large").open("wb") as file:
        file.truncate(MAX_BYTES + 1)
    with pytest.raises(InputError, match="expected at most 67,108,864 bytes of JSON, found 67,108,865"):
        read_json(tmp_path / "large")


@pytest.mark.parametrize("line", ["", "7", "[]", "{", "\x00"])
def test_a_line_that_is_no_object_is_refused_by_its_number(tmp_path, line):
    (tmp_path / "metrics.jsonl").write_text(f'{{"a": 1}}\n{line}\n{{"b": 2}}\n')
    with pytest.raises(InputError, match=r"metrics.jsonl, line 2: "):
        read_json_lines(tmp_path / "metrics.jsonl")
