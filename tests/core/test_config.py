"""The configuration file: what is read, and how faults are told."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import Field

from xmppchat.components import BUILTIN
from xmppchat.components.register import Register
from xmppchat.core import toml_source
from xmppchat.core.component import Component, ComponentConfig
from xmppchat.core.config import ConfigError, ServerConfig, explain, file_model, load_config
from xmppchat.core.options import check_described, options, toml_value
from xmppchat.core.tables import DeclarationError

HOST = '[hosts."chat.example"]\ncertificate = "c.pem"\nkey = "c.key"\n'


def load(directory: Path, text: str) -> ServerConfig:
    path = directory / "xmppchat.toml"
    path.write_text(text, encoding="utf-8")
    return load_config(path, BUILTIN)


def faults(directory: Path, text: str) -> list[tuple[int, str]]:
    with pytest.raises(ConfigError) as caught:
        load(directory, text)
    return [(fault.line, fault.text) for fault in caught.value.faults]


def test_the_shortest_file(tmp_path: Path) -> None:
    config = load(tmp_path, HOST)
    assert list(config.hosts) == ["chat.example"]
    assert config.hosts["chat.example"].certificate == tmp_path / "c.pem"
    assert config.data_dir == tmp_path / "data"
    assert config.storage.url == f"sqlite:///{tmp_path}/data/xmppchat.db"
    assert config.control_socket == tmp_path / "data/control.sock"
    assert config.limits.roster_items == 2_000
    assert config.component(Register).mode == "closed"
    assert config.component_classes == BUILTIN


def test_hosts_keep_their_order_and_are_prepared(tmp_path: Path) -> None:
    text = "".join(HOST.replace("chat.example", name) for name in ("z.example", "A.Example"))
    assert list(load(tmp_path, text).hosts) == ["z.example", "a.example"]


def test_absolute_paths_stay(tmp_path: Path) -> None:
    config = load(tmp_path, 'data_dir = "/srv/x"\nstorage.url = "sqlite:////srv/y.db"\n' + HOST)
    assert (config.data_dir, config.storage.url) == (Path("/srv/x"), "sqlite:////srv/y.db")


def test_all_faults_at_once_with_lines_and_suggestions(tmp_path: Path) -> None:
    text = (
        'data_dirr = "x"\n'  # 1
        "starttls_port = 5222\n"  # 2
        '[hosts."chat.example"]\n'  # 3
        'certificate = "c.pem"\n'
        'admins = ["nobody"]\n'  # 5
        "[listen]\n"
        'addresses = ["1.2.3"]\n'  # 7
        "direct_tls_port = 99_999\n"  # 8
        "[limits]\n"
        "roster_itms = 3\n"  # 10
        "[components.register]\n"
        'mode = "opn"\n'  # 12
        "[components.pign]\n"  # 13
    )
    found = dict(faults(tmp_path, text))
    assert sorted(found) == [1, 2, 3, 5, 7, 8, 10, 12, 13]
    assert found[1] == "there is no option data_dirr; did you mean data_dir?"
    assert found[2] == "there is no option starttls_port; did you mean starttls_port in [listen]?"
    assert found[3].startswith('hosts."chat.example".key is missing (private key')
    assert "'nobody' is not an account's address" in found[5]
    assert "'1.2.3' is no IP address" in found[7]
    assert "65535" in found[8]
    assert "did you mean limits.roster_items?" in found[10]
    assert 'did you mean "open"?' in found[12]
    assert found[13] == "there is no component components.pign; did you mean components.ping?"


def test_the_error_reads_like_a_compilers(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, HOST + "x = 1\n")
    assert str(caught.value).startswith(f"{tmp_path}/xmppchat.toml:4: there is no option")


@pytest.mark.parametrize("text", ["", "[hosts]\n"])
def test_a_host_is_needed(tmp_path: Path, text: str) -> None:
    [(line, sentence)] = faults(tmp_path, text)
    assert line == 1
    assert sentence.startswith("no host: add a table")


def test_a_domain_has_no_localpart(tmp_path: Path) -> None:
    [(line, sentence)] = faults(tmp_path, HOST.replace("chat.example", "me@chat.example"))
    assert (line, "is not a domain" in sentence) == (1, True)


def test_other_databases_are_refused_without_showing_a_password(tmp_path: Path) -> None:
    for url in ("mysql://me:hunter2@x/y", "postgresql:hunter2", "postgresql://me:hunter2@x"):
        [(line, sentence)] = faults(tmp_path, HOST + f'[storage]\nurl = "{url}"\n')
        assert (line, "neither sqlite:///PATH nor postgresql://" in sentence) == (5, True)
        assert "hunter2" not in sentence


@pytest.mark.parametrize(
    ("url", "full"),
    [
        ("postgresql://me@db.example/chat", "postgresql://me:a%2Fb%40c@db.example/chat"),
        ("postgresql://me:hunter2@db.example:5433/chat?x=y", "postgresql://me:a%2Fb%40c@db.example:5433/chat?x=y"),
        ("postgresql://me@/chat?host=/run/pg", "postgresql://me:a%2Fb%40c@/chat?host=/run/pg"),
    ],
)
def test_the_password_of_the_database_can_be_kept_elsewhere(tmp_path: Path, url: str, full: str) -> None:
    (tmp_path / "db.password").write_text("a/b@c\n")
    config = load(tmp_path, HOST + f'[storage]\nurl = "{url}"\npassword = {{file = "db.password"}}\n')
    assert config.storage.full_url == full
    assert not any(secret in repr(config) for secret in ("a/b@c", "a%2F", "hunter2"))
    assert config.current(("storage", "url")) == url.replace(":hunter2@", ":…@")


@pytest.mark.parametrize("secret", ["hunter2", "hunter2@", "/hunter2", "a:hunter2", "hunter2?"])
def test_a_password_in_the_url_is_not_shown(secret: str) -> None:
    config = ServerConfig.for_tests(storage_url=f"postgresql://me:{secret}@x/y?password=hunter2&host=/z")
    assert config.current(("storage", "url")) == "postgresql://me:…@x/y?password=…&host=/z"
    assert "hunter2" not in repr(config)


@pytest.mark.parametrize(("text", "line"), [("a = \n", 1), (HOST + "b 1\n", 4), (HOST + "key = 'x'\n", 4)])
def test_what_is_not_toml(tmp_path: Path, text: str, line: int) -> None:
    [(found, sentence)] = faults(tmp_path, text)
    assert (found, sentence.startswith("this is not TOML")) == (line, True)


def test_a_missing_file_tells_the_next_step(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"nowhere\.toml: there is no such file; make one by `xmppchat init"):
        load_config(tmp_path / "nowhere.toml", BUILTIN)


def test_a_file_that_is_not_utf8(tmp_path: Path) -> None:
    (tmp_path / "x.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match="is not UTF-8"):
        load_config(tmp_path / "x.toml", BUILTIN)


def component(name: str, secret: str = '{file = "secret"}') -> str:
    return f'{HOST}[external_components."{name}"]\nsecret = {secret}\n'


def test_an_external_component(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text(f"{'s' * 32}\n")
    config = load(tmp_path, component("Gateway.chat.example"))
    assert config.external_components["gateway.chat.example"].secret.reveal() == "s" * 32
    assert (config.listen.component_addresses, config.listen.component_port) == (("127.0.0.1",), 5347)


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        (component("chat.example"), 4, "chat.example is a host that is served here; a component needs a domain of its"),
        (component("a@gateway.example"), 4, "'a@gateway.example' is not a domain"),
        (component("x.example") + '[external_components."X.example"]\nsecret = {file = "secret"}\n', 4,
         "the same domain stands there twice"),
        (component("x.example", '"in plain sight"'), 5, 'a secret is {file = "PATH"} or {env = "VARIABLE"}'),
        (component("x.example", '{file = "short"}'), 5, "fewer than 32 characters; make one by `openssl rand -hex 32`"),
        (f'{HOST}[external_components."x.example"]\n', 4, 'external_components."x.example".secret is missing'),
    ],
)
def test_an_external_component_that_cannot_be(tmp_path: Path, text: str, line: int, words: str) -> None:
    (tmp_path / "secret").write_text("s" * 32)
    (tmp_path / "short").write_text("s" * 31)
    [(found, said)] = faults(tmp_path, text)
    assert words in said
    assert found == line
    assert "sss" not in said


def test_further_components_are_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "my_greeter.py").write_text(
        "from pydantic import Field\n"
        "from xmppchat.core.component import Component, ComponentConfig\n"
        "class GreeterConfig(ComponentConfig):\n"
        '    text: str = Field("hi", description="what to say")\n'
        "class Greeter(Component[GreeterConfig]):\n"
        '    name = "greeter"\n'
        "    Config = GreeterConfig\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    text = HOST + '[components]\nload = ["my_greeter"]\n[components.greeter]\ntext = "ho"\n'
    config = load(tmp_path, text)
    greeter = config.component_classes[-1]
    assert greeter.name == "greeter"
    assert config.component(greeter).text == "ho"


def test_a_component_that_cannot_be_loaded_is_a_fault_among_others(tmp_path: Path) -> None:
    text = HOST + 'x = 1\n[components]\nload = ["no.such", "xmppchat.jid"]\n'
    found = faults(tmp_path, text)
    assert [line for line, _ in found] == [4, 6, 6]
    assert "no.such cannot be imported" in found[1][1]
    assert "xmppchat.jid holds no component" in found[2][1]


def test_for_tests_needs_no_file() -> None:
    config = ServerConfig.for_tests(["a.example", "b.example"], register={"mode": "open"})
    assert list(config.hosts) == ["a.example", "b.example"]
    assert config.component(Register).mode == "open"
    assert config.limits.profile == "test"


def test_an_option_without_description_is_refused() -> None:
    class BareConfig(ComponentConfig):
        size: int = 3

    class Bare(Component[BareConfig]):
        name = "bare"
        Config = BareConfig

    with pytest.raises(DeclarationError, match=r"test_config\.py:\d+: option 'size' of BareConfig needs"):
        file_model([Bare])


def test_a_description_has_one_line() -> None:
    class LongConfig(ComponentConfig):
        size: int = Field(3, description="a\nb")

    with pytest.raises(DeclarationError):
        check_described(LongConfig)


def test_every_option_is_described() -> None:
    assert all(option.description for option in options(file_model(BUILTIN)))


def test_explain_finds_options_tables_and_names() -> None:
    assert explain(BUILTIN, "listen")[0].key == "listen.addresses"
    assert [option.key for option in explain(BUILTIN, "roster_items")] == ["limits.roster_items"]
    assert [option.key for option in explain(BUILTIN, "hosts.x.key")] == ["hosts.DOMAIN.key"]
    found = explain(BUILTIN, 'external_components."gateway.chat.example".secret')
    assert [option.key for option in found] == ["external_components.DOMAIN.secret"]
    with pytest.raises(KeyError, match="did you mean 'roster_items'"):
        explain(BUILTIN, "roster_itms")


def test_lines_are_found() -> None:
    text = 'a = 1\n[b]\n"c d" = 2\ne.f = 3\n[hosts."x.y"] # why\nkey = "="\n'
    lines = toml_source.find_lines(text)
    assert lines == {("a",): 1, ("b",): 2, ("b", "c d"): 3, ("b", "e"): 4, ("b", "e", "f"): 4, ("hosts", "x.y"): 5,
                     ("hosts", "x.y", "key"): 6}  # fmt: skip
    assert toml_source.line_of(lines, ("hosts", "x.y", "certificate")) == 5
    assert toml_source.line_of(lines, ("hosts",)) == 5
    assert toml_source.line_of(lines, ("nothing",)) == 1


def test_lines_of_inline_tables_and_lists_of_tables() -> None:
    text = "a = {b = 1, c = {d = 2}}\r\n[[x]]\r\ny = 1\r\n[[x]]\r\nz = 2\r\n"
    lines = toml_source.find_lines(text)
    assert (lines[("a", "b")], lines[("a", "c", "d")]) == (1, 1)
    assert (lines[("x",)], lines[("x", "y")], lines[("x", "z")]) == (2, 3, 5)


VALUES = st.sampled_from([
    ["1"], ['"# [no.table]"'], ["[1, 2] # x = 3"], ["[", '  "[table]",', "  # k = 1", "]"], ["{u = 1}"],
    ['"""', "[table]", "k = 1", '"""'], ["'''", "x = '", "'''"], ["1979-05-27"],
])  # fmt: skip
FILLING = st.lists(st.sampled_from(["", "# comment", "  # [table]", "\t# a = 1"]), max_size=2)


@given(st.lists(st.tuples(FILLING, st.booleans(), VALUES), max_size=12))
def test_every_key_and_table_is_found_whatever_stands_between(items: list[tuple[list[str], bool, list[str]]]) -> None:
    written: list[str] = []
    expected: dict[tuple[str, ...], int] = {}
    table: tuple[str, ...] = ()
    for number, (filling, is_table, value) in enumerate(items):
        written += filling
        if is_table:
            table = (f"t.{number}",)
            expected[table] = len(written) + 1
            written.append(f'  ["t.{number}"]  # = 1')
        else:
            expected[(*table, f"k{number}")] = len(written) + 1
            written += [f"k{number} = {value[0]}", *value[1:]]
    text = "\n".join(written)
    tomllib.loads(text)
    found = toml_source.find_lines(text)
    assert {path: line for path, line in found.items() if path[-1] != "u"} == expected


def test_values_and_where_they_were_set(tmp_path: Path) -> None:
    config = load(tmp_path, HOST + "[limits]\nroster_items = 5\n[components.register]\nmode = 'open'\n")
    assert config.current(("limits", "roster_items")) == 5
    assert config.origin(("limits", "roster_items")) == f"{tmp_path}/xmppchat.toml:5"
    assert config.current(("components", "register", "mode")) == "open"
    assert config.origin(("components", "register", "mode")).endswith(":7")
    assert config.current(("limits", "offline_messages")) == 1_000
    assert config.origin(("limits", "offline_messages")) == ""
    assert config.current(("components", "load")) == ()
    assert config.current(("hosts", "chat.example", "key")) == tmp_path / "c.key"


@pytest.mark.parametrize(
    ("value", "text"),
    [(True, "true"), (5222, "5222"), (262_144, "262_144"), (0.5, "0.5"), (10.0, "10"), ('a"b\n', '"a\\"b\\u000a"'),
     (("x", 1), '["x", 1]')],
)  # fmt: skip
def test_values_as_toml(value: object, text: str) -> None:
    assert toml_value(value) == text
