"""Configs as YAML that can be read back, with what differs marked."""

import yaml

from analysis.report.details import ConfigLine, config_lines

BASELINE = {"model": {"name": "static", "head": None}, "lr": 0.1, "betas": [0.9, 0.999], "gone": {"a": 1, "b": {}}}
OURS = {"model": {"name": "dynamic", "head": {"size": 3}}, "lr": 0.1, "betas": [0.9, 0.99], "new": "on # off: 'x'"}


def test_the_lines_are_yaml_of_the_config() -> None:
    for other in (None, BASELINE, {}, OURS):
        text = "\n".join(line.yaml for line in config_lines(OURS, other, "static"))
        assert yaml.safe_load(text) == OURS


def test_only_what_differs_is_marked_with_what_the_other_has() -> None:
    lines = config_lines(OURS, BASELINE, "static")
    assert [line for line in lines if line.instead is not None] == [
        ConfigLine("  name: dynamic", "static: static"),
        ConfigLine("  head:", "static: null"),
        ConfigLine("    size: 3", "static: absent"),
        ConfigLine("betas: [0.9, 0.99]", "static: [0.9, 0.999]"),
        ConfigLine("new: 'on # off: ''x'''", "static: absent"),
        ConfigLine("# not here: gone.a", "static: 1"),
        ConfigLine("# not here: gone.b", "static: {}"),
    ]
    assert not any(line.instead for line in config_lines(OURS, None, "") + config_lines(OURS, OURS, "x"))


def test_a_value_stays_on_its_line() -> None:
    value = "two\nlines, and a very " + "long " * 100 + "one\u2028"
    (line,) = config_lines({"key": value}, None, "")
    assert "\n" not in line.text and yaml.safe_load(line.text) == {"key": value}


def test_truth_values_and_numbers_differ() -> None:
    (line,) = config_lines({"a": True}, {"a": 1}, "b")
    assert line == ConfigLine("a: true", "b: 1")
