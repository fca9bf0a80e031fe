"""Settings: where values come from, what is refused and how, and the page that documents them."""

from pathlib import Path

import pytest

from deploy.cli.settings import group_of, settings_page
from deploy.settings import Settings, SettingsError
from deploy.settings_sources import load_settings, load_with_origins, may_be, shown
from tests.conftest import REPOSITORY

LOGIN = {
    "security_protocol": "SASL_PLAINTEXT",
    "sasl_mechanism": "PLAIN",
    "sasl_username": "anna",
}


def write(folder: Path, text: str) -> Path:
    (folder / "nextclick.toml").write_text(text, encoding="utf-8")
    return folder


def test_defaults(tmp_path: Path) -> None:
    settings = load_settings(folder=tmp_path)
    assert settings.home == Path(".nextclick")
    assert settings.snapshots_location == ".nextclick/snapshots"
    assert settings.bootstrap_servers == "127.0.0.1:9092"
    assert (settings.group, settings.alias, settings.top_k) == ("nextclick", "production", 20)
    assert (settings.repeat_items, settings.start_at) == ("not-last", "gap")
    assert settings.topics().sessions_changelog == "nextclick-sessions-changelog"
    assert not settings.names_a_cluster


def test_each_source_beats_the_one_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = write(tmp_path, 'top_k = 1\nalias = "file"\ngroup = "file"\n')
    monkeypatch.setenv("NEXTCLICK_ALIAS", "environment")
    monkeypatch.setenv("NEXTCLICK_GROUP", "environment")
    loaded = load_with_origins({"group": "flag", "max_batch": None}, folder)
    assert (loaded.settings.top_k, loaded.origins["top_k"]) == (1, "nextclick.toml")
    assert (loaded.settings.alias, loaded.origins["alias"]) == ("environment", "NEXTCLICK_ALIAS")
    assert (loaded.settings.group, loaded.origins["group"]) == ("flag", "--group")
    assert (loaded.settings.max_batch, loaded.origins["max_batch"]) == (500, "default")


def test_an_empty_variable_is_not_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NEXTCLICK_BOOTSTRAP_SERVERS", "")
    assert not load_settings(folder=tmp_path).names_a_cluster


@pytest.mark.parametrize("source", ["flag", "environment", "file"])
def test_naming_a_cluster_anywhere_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str
) -> None:
    flags = {}
    if source == "flag":
        flags["bootstrap_servers"] = "kafka:9092"
    elif source == "environment":
        monkeypatch.setenv("NEXTCLICK_BOOTSTRAP_SERVERS", "kafka:9092")
    else:
        write(tmp_path, 'bootstrap_servers = "kafka:9092"')
    settings = load_settings(flags, tmp_path)
    assert settings.names_a_cluster
    assert settings.connection().bootstrap_servers == "kafka:9092"


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("top_k", "many", "a whole number of at least 1 and at most 1,000"),
        ("top_k", "0", "a whole number of at least 1 and at most 1,000"),
        ("session_gap_minutes", "-3", "a number above 0"),
        ("session_gap_minutes", "inf", "a number above 0"),
        ("dropout_hidden", "1", "a number of at least 0 and below 1"),
        ("repeat_items", "some", "not-last, all or none"),
        ("start_at", "now", "gap, earliest or latest"),
        ("bootstrap_servers", "kafka", "host:port, several separated by commas"),
        ("clicks_topic", "a b", "1 to 200 letters, digits, '.', '_' or '-'"),
    ],
)
def test_a_bad_value_is_named_with_what_it_may_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, value: str, expected: str
) -> None:
    line = f"setting {name} = {value} ({{}}) is not usable: expected {expected}"
    with pytest.raises(SettingsError) as from_flag:
        load_settings({name: value}, tmp_path)
    assert str(from_flag.value) == line.format("--" + name.replace("_", "-"))
    monkeypatch.setenv(f"NEXTCLICK_{name.upper()}", value)
    with pytest.raises(SettingsError) as from_environment:
        load_settings({}, tmp_path)
    assert str(from_environment.value) == line.format(f"NEXTCLICK_{name.upper()}")


def test_an_unknown_setting_in_the_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(
        SettingsError, match=r"nextclick.toml: there is no setting 'topk'; did you mean top_k"
    ):
        load_settings(folder=write(tmp_path, "topk = 3"))


def test_a_file_that_is_no_toml_is_named(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"nextclick\.toml cannot be read as TOML: .*line 1"):
        load_settings(folder=write(tmp_path, "top_k: 3"))


@pytest.mark.parametrize("missing", ["sasl_mechanism", "sasl_username", "sasl_password"])
def test_an_incomplete_login_names_what_is_missing(tmp_path: Path, missing: str) -> None:
    flags = LOGIN | {"sasl_password": "geheim"}
    del flags[missing]
    with pytest.raises(SettingsError, match=f"security_protocol = SASL_PLAINTEXT needs {missing}"):
        load_settings(flags, tmp_path)


def test_a_mechanism_without_sasl_is_refused(tmp_path: Path) -> None:
    with pytest.raises(
        SettingsError, match="sasl_mechanism = PLAIN needs security_protocol = SASL_PLAINTEXT"
    ):
        load_settings({"sasl_mechanism": "PLAIN"}, tmp_path)


def test_the_password_may_come_from_a_file(tmp_path: Path) -> None:
    path = tmp_path / "password"
    path.write_text("geheim\n", encoding="utf-8")
    settings = load_settings(LOGIN | {"sasl_password_file": str(path)}, tmp_path)
    assert settings.connection().sasl_password == "geheim"


def test_a_missing_password_file_is_named(tmp_path: Path) -> None:
    settings = load_settings(LOGIN | {"sasl_password_file": "/nowhere/password"}, tmp_path)
    with pytest.raises(SettingsError, match="sasl_password_file = /nowhere/password cannot be read"):
        settings.connection()


def test_two_passwords_are_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="both set"):
        load_settings(LOGIN | {"sasl_password": "geheim", "sasl_password_file": "f"}, tmp_path)


def test_secrets_are_masked_everywhere(tmp_path: Path) -> None:
    settings = load_settings(LOGIN | {"sasl_password": "geheim"}, tmp_path)
    assert "geheim" not in repr(settings)
    assert "geheim" not in shown("sasl_password", settings.sasl_password)
    assert settings.connection().sasl_password == "geheim"


def test_settings_do_not_change(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="frozen"):
        load_settings(folder=tmp_path).top_k = 3


@pytest.mark.parametrize("name", Settings.model_fields)
def test_every_setting_says_what_it_means_and_may_be(name: str) -> None:
    assert Settings.model_fields[name].description
    assert may_be(name)
    assert group_of(name)


def test_the_page_lists_every_setting_as_it_is() -> None:
    page = (REPOSITORY / "docs" / "settings.md").read_text(encoding="utf-8")
    assert page == settings_page(), "run: nextclick settings --markdown > docs/settings.md"


def test_a_variable_that_looks_like_a_setting_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("NEXTCLICK_TOPK", "3")
    monkeypatch.setenv("NEXTCLICK_SERVICE_HOST", "10.0.0.1")  # a platform's own
    load_settings(None, tmp_path)
    assert caplog.messages == ["NEXTCLICK_TOPK is no setting and is ignored; did you mean NEXTCLICK_TOP_K?"]
