"""Where settings come from, and what is said of those that are wrong."""

from pathlib import Path

import msgspec
import pytest

from sluice.config import RANGES, ConfigError, Tree, load_settings
from sluice.values.settings import ProviderSettings, Settings


def load(toml: str = "", flags: Tree | None = None, tmp_path: Path = Path(), **environment: str) -> Settings:
    file = None
    if toml:
        file = tmp_path / "sluice.toml"
        file.write_text(toml)
    return load_settings(file, environment, flags or {})


def test_without_anything_the_defaults_hold():
    assert load() == Settings()


def test_the_environment_stands_over_the_file_and_flags_over_both(tmp_path: Path):
    toml = "data = 'here'\n[server]\nhost = '0.0.0.0'\nport = 1\nworkers = 3\n"
    settings = load(toml, {"server": {"port": 3}}, tmp_path, SLUICE_SERVER__PORT="2", SLUICE_SERVER__WORKERS="4")
    assert (settings.data, settings.server.host) == (Path("here"), "0.0.0.0")
    assert (settings.server.port, settings.server.workers) == (3, 4)


def test_text_of_the_environment_becomes_the_settings_type():
    settings = load(
        SLUICE_DATA="/tmp/x",
        SLUICE_SIMULATE="true",
        SLUICE_SERVER__CORS="0",
        SLUICE_UPSTREAM__CONNECT_TIMEOUT_S="2.5",
        SLUICE_SPOOL__WHEN_FULL="refuse",
    )
    assert (settings.data, settings.simulate, settings.server.cors) == (Path("/tmp/x"), True, False)
    assert (settings.upstream.connect_timeout_s, settings.spool.when_full) == (2.5, "refuse")


def test_providers_and_hosts_have_names_of_their_own(tmp_path: Path):
    toml = """
[providers.openai]
base_url = "https://openai.example.com/v1"
[hosts]
"aig.example.com" = "local/default"
"""
    settings = load(
        toml,
        None,
        tmp_path,
        SLUICE_HOSTS='{"b.example.com": "local/other"}',
    )
    assert settings.providers == {"openai": ProviderSettings("https://openai.example.com/v1")}
    hyphened = load(SLUICE_PROVIDERS__WORKERS_AI__BASE_URL="http://127.0.0.1:9/ai")
    assert hyphened.providers == {"workers-ai": ProviderSettings("http://127.0.0.1:9/ai")}
    there = load(SLUICE_PROVIDERS__OPENAI__BASE_URL="http://127.0.0.1:9")
    assert there.providers == {"openai": ProviderSettings("http://127.0.0.1:9")}
    assert settings.hosts == {"aig.example.com": "local/default", "b.example.com": "local/other"}


@pytest.mark.parametrize(
    ("toml", "message"),
    [
        ("[server]\nprot = 1", "there is no setting server.prot: did you mean server.port?"),
        ("[sever]\nport = 1", "there is no setting sever: did you mean server?"),
        ("body_bytes = 1", "there is no setting body_bytes: did you mean limits.body_bytes?"),
        ("[server]\nzzz = 1", "there is no setting server.zzz: known here are host, port, "),
        ("[providers.openai]\nurl = 'x'", "there is no setting providers.openai.url: did you mean"),
        ("[server.port]\nx = 1", "server.port is a single value and has no x"),
        ("[server]\nport = '1'", "server.port: expected int, got str"),
        ("[spool]\nwhen_full = 'wait'", "spool.when_full: choose one of drop, refuse"),
        ("providers = 3", "providers: expected object, got int"),
        ("[server", "sluice.toml is not TOML: "),
    ],
)
def test_what_is_wrong_in_the_file_is_named(tmp_path: Path, toml: str, message: str):
    with pytest.raises(ConfigError) as caught:
        load(toml, None, tmp_path)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("variable", "text", "message"),
    [
        ("SLUICE_SERVER__PROT", "1", "SLUICE_SERVER__PROT: there is no setting server.prot: did you mean server.port?"),
        ("SLUICE_SERVER__PORT", "many", "SLUICE_SERVER__PORT: expected int, got 'many'"),
        ("SLUICE_SERVER__PORT__X", "1", "SLUICE_SERVER__PORT__X: server.port is a single value and has no x"),
        ("SLUICE_SIMULAT", "1", "SLUICE_SIMULAT is no setting: did you mean SLUICE_SIMULATE?"),
        ("SLUICE_SPOOL__WHEN_FULL", "wait", "SLUICE_SPOOL__WHEN_FULL: choose one of drop, refuse, got 'wait'"),
        (
            "SLUICE_PROVIDERS__NO_BODY__BASE_URL",
            "http://x",
            "providers.no-body: there is no such provider: known",
        ),
        ("SLUICE_HOSTS", "nowhere", "SLUICE_HOSTS: JSON is malformed"),
        ("SLUICE_SERVER", '{"prot": 1}', "SLUICE_SERVER: there is no setting server.prot"),
    ],
)
def test_what_is_wrong_in_the_environment_is_named(variable: str, text: str, message: str):
    with pytest.raises(ConfigError) as caught:
        load(**{variable: text})
    assert str(caught.value).startswith(message)


@pytest.mark.parametrize(
    ("variable", "text"),
    [
        ("SLUICE_PROVIDERS__OPENAI", "sk-live-123"),
        ("SLUICE_PROVIDERS", '{"openai": {"api_key": "sk-live-123"}'),
        ("SLUICE_LOGPUSH", '{"secret_key": "sk-live-123"'),
        ("SLUICE_PACKS", "sk-live-123"),
    ],
)
def test_what_may_hold_a_key_is_not_shown(variable: str, text: str):
    with pytest.raises(ConfigError) as caught:
        load(**{variable: text})
    assert str(caught.value).startswith(f"{variable}: ")
    assert "sk-live" not in str(caught.value)


def test_metadata_keys_for_analytics_come_as_a_list(tmp_path: Path):
    assert load("[logs]\nrollup_metadata = ['team']", None, tmp_path).logs.rollup_metadata == ("team",)
    assert load(SLUICE_LOGS__ROLLUP_METADATA='["a", "b"]').logs.rollup_metadata == ("a", "b")


@pytest.mark.parametrize(
    "text", ['["a", "a"]', '["a","b","c","d","e","f"]', '[""]', '["cf.x"]', '["a,b"]', "team", "[1]"]
)
def test_metadata_keys_that_cannot_be_are_named(text: str):
    with pytest.raises(ConfigError, match=r"(?i)rollup_metadata"):
        load(SLUICE_LOGS__ROLLUP_METADATA=text)


def test_variables_of_other_programs_are_left_alone():
    assert load(SLUICE_TOKEN="sluice_abc", PATH="/bin", SLUICED="1") == Settings()


@pytest.mark.parametrize(
    ("toml", "message"),
    [
        ("[server]\nport = 70000", "server.port is 70000: choose a number from 0 to 65535"),
        ("[server]\ndrain_timeout_s = -1", "server.drain_timeout_s is -1: choose a number from 0 to 3600"),
        ("[upstream]\nidle_timeout_s = nan", "upstream.idle_timeout_s is nan: choose"),
        ("[server]\npublic_url = 'gateway.example.com'", "server.public_url: "),
        ("[server]\ntrusted_proxies = ['10.0.0.1/8']", "server.trusted_proxies: 10.0.0.1/8 has host bits set; write "),
        ("[server]\npublic_url = 'https://gateway.example.com/x'", "server.public_url: "),
        (
            "[providers.opnai]\nbase_url = 'http://x'",
            "providers.opnai: there is no such provider: did you mean openai?",
        ),
        ("[providers.openai]\nbase_url = 'ftp://x'", "providers.openai.base_url: "),
        ("[logpush.archive]\nevery_s = 5", "logpush.archive.to.url is missing"),
        ("[logpush.archive]\nto.url = 'http://x'", "logpush.archive.to.url will not do: write s3://"),
        ("[logpush.archive]\nevery_s = 0\nto.url = 's3://b'", "logpush.archive.every_s is 0: choose a number from 1"),
        ("[logpush.'a b']\nto.url = 's3://b'", "logpush.a b: names of jobs"),
        ("".join(f"[logpush.j{n}]\nto.url = 's3://b{n}'\n" for n in range(5)), "logpush: account local has 5 jobs"),
        ("".join(f"[logpush.j{n}]\nto.url = 's3://b'\n" for n in range(2)), "logpush: two jobs go to s3://b"),
        ("[providers.openai]\nbase_url = 'https://x:port/'", "providers.openai.base_url: "),
        ("[providers.openai]\nbase_url = 'https://me:key@x/'", "providers.openai.base_url: "),
        ("[hosts]\n'https://x' = 'local/default'", "hosts: "),
        ("[hosts]\n'x' = 'default'", 'hosts: "x" must name "account/gateway", got "default"'),
        ("[upstream]\nca_file = '/nowhere.pem'", "upstream.ca_file: there is no file /nowhere.pem"),
        ("[spool]\nmax_bytes = 2000000\nfile_bytes = 4000000", "spool.file_bytes is more than spool.max_bytes"),
    ],
)
def test_what_cannot_be_is_refused_with_what_to_do(tmp_path: Path, toml: str, message: str):
    with pytest.raises(ConfigError) as caught:
        load(toml, None, tmp_path)
    assert str(caught.value).startswith(message)


@pytest.mark.parametrize("url", ["https://me:key@x/", "https://x/?api-key=key", "https://x/#key"])
def test_an_address_with_a_key_in_it_is_refused_without_showing_it(tmp_path: Path, url: str):
    with pytest.raises(ConfigError) as caught:
        load(f"[providers.openai]\nbase_url = '{url}'", None, tmp_path)
    assert str(caught.value) == (
        "providers.openai.base_url: this will not do: write an address like https://api.example.com/v1"
    )


def test_a_file_that_is_not_there_is_named(tmp_path: Path):
    with pytest.raises(ConfigError, match=r"There is no configuration file .*gone\.toml"):
        load_settings(tmp_path / "gone.toml", {}, {})


def test_every_number_has_a_range_and_every_default_is_within_it():
    numbers = {
        f"{section.name}.{field.name}": field.default
        for section in msgspec.structs.fields(Settings)
        if isinstance(section.type, type) and issubclass(section.type, msgspec.Struct)
        for field in msgspec.structs.fields(section.type)
        if field.type in (int, float)
    }
    assert numbers.keys() == RANGES.keys()
    assert all(RANGES[name][0] <= default <= RANGES[name][1] for name, default in numbers.items())


def test_the_usual_variables_name_the_proxy_and_settings_go_before_them(tmp_path: Path):
    usual = {"HTTPS_PROXY": "http://user:pw@proxy:3128", "no_proxy": "internal, .example.com,"}
    found = load_settings(None, usual, {}).upstream
    assert (found.proxy.reveal(), found.no_proxy) == ("http://user:pw@proxy:3128", ("internal", ".example.com"))
    assert "pw" not in repr(found)
    (file := tmp_path / "sluice.toml").write_text('[upstream]\nproxy = ""\n')
    assert not load_settings(file, usual, {}).upstream.proxy
    own = load_settings(None, {"NO_PROXY": "internal", "SLUICE_UPSTREAM__PROXY": "http://p"}, {}).upstream
    assert (own.proxy.reveal(), own.no_proxy) == ("http://p", ("internal",))


def test_a_proxy_that_cannot_be_used_is_refused_without_its_credential():
    with pytest.raises(ConfigError, match=r"upstream\.proxy") as raised:
        load_settings(None, {"https_proxy": "socks5://user:geheim@proxy:1080"}, {})
    assert "geheim" not in str(raised.value)
