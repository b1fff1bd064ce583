"""Prometheus's own checker finds the rules right, and each alert fires on what it is for."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
import yaml

from bootstrap.fetching import NotToBeHad
from tests.support.promtool import promtool

FOLDER = Path(__file__).parents[2] / "deploy" / "prometheus"


@pytest.fixture(scope="module")
def checker() -> str:
    try:
        return promtool()
    except NotToBeHad as reason:
        pytest.skip(str(reason))


def said_by(*command: str) -> str:
    done = subprocess.run(
        command, cwd=FOLDER, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_the_configuration_and_the_rules_are_sound(checker: str) -> None:
    assert "SUCCESS" in said_by(checker, "check", "config", "prometheus.yml")


def test_each_alert_fires_on_what_it_is_for(checker: str) -> None:
    assert "SUCCESS" in said_by(checker, "test", "rules", "rules_test.yml")


def test_every_alert_is_tried_and_says_how_bad_it_is_and_what_to_do() -> None:
    groups = yaml.safe_load((FOLDER / "rules.yml").read_text())["groups"]
    alerts = [rule for group in groups for rule in group["rules"] if "alert" in rule]
    tried = (FOLDER / "rules_test.yml").read_text()
    for alert in alerts:
        assert f'alertname="{alert["alert"]}"' in tried, alert["alert"]
        assert alert["labels"]["severity"] in ("critical", "warning")
        assert set(alert["annotations"]) == {"summary", "description"}


def test_the_seeds_alerts_are_there_as_the_seed_has_them() -> None:
    groups = yaml.safe_load((FOLDER / "rules.yml").read_text())["groups"]
    [seed] = [group["rules"] for group in groups if group["name"] == "mindstream-seed"]
    assert [
        (rule["annotations"]["summary"], rule["for"], rule["labels"]["severity"]) for rule in seed
    ] == [
        ("High Error Rate", "5m", "critical"),
        ("AI Model Down", "1m", "critical"),
        ("High Response Time", "10m", "warning"),
        ("Database Connection Pool High", "15m", "warning"),
    ]
