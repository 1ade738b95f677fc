"""Where settings come from, how hepctl ends, and how fast it starts."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import click
import pytest

from pyagent.cli import main
from pyagent.cli.main import COMMANDS, cli
from pyagent.telemetry.logs import JsonFormatter

NODE = "apiVersion: v1\nkind: Node\nmetadata: {name: NAME}\n"
HEPCTL = [sys.executable, "-c", "from pyagent.cli.main import main; main()"]


def node_in(hepctl, folder, name):
    """A datastore with one node; returns its path."""
    path = str(hepctl.folder / folder)
    result = hepctl("apply", "-f", "-", text=NODE.replace("NAME", name), env={"HEPCTL_DATASTORE": path})
    assert result.exit_code == 0
    return path


def test_command_line_beats_environment_beats_configuration(hepctl):
    stores = {name: node_in(hepctl, name, name) for name in ("line", "environment", "file")}
    config = hepctl.file("config.yaml", f"datastore: {stores['file']}\noutput: name\n")
    get = ("get", "nodes")

    def found(*words, **env):
        result = hepctl(*words, env={"HEPCTL_DATASTORE": None, "HEPCTL_CONFIG": config, **env})
        assert result.exit_code == 0, result.stderr
        return result.stdout

    assert found(*get) == "node/file\n"
    assert found(*get, HEPCTL_DATASTORE=stores["environment"]) == "node/environment\n"
    assert found("--datastore", stores["line"], *get, HEPCTL_DATASTORE=stores["file"]) == "node/line\n"
    assert found(*get, "--datastore", stores["line"], HEPCTL_DATASTORE=stores["file"]) == "node/line\n"
    assert found(*get, HEPCTL_OUTPUT="ps") == "NAME   \nfile   \n\n"
    assert found(*get, "-o", "ps", HEPCTL_OUTPUT="wide") == "NAME   \nfile   \n\n"
    assert found("--config", config, *get, HEPCTL_CONFIG="/nowhere") == "node/file\n"
    assert found(*get, "-c", config, HEPCTL_CONFIG=None) == "node/file\n"


def test_datastore_url_is_a_directory(hepctl):
    path = node_in(hepctl, "here", "n")
    assert hepctl("--datastore", f"dir://{path}", "get", "nodes", "-oname").stdout == "node/n\n"


BAD_CONFIGURATIONS = [
    ("datastor: x\n", "unknown setting 'datastor'"),
    ("output: 5\n", "setting 'output' = '5' must be a string"),
    ("- x\n", "expected a mapping"),
    ("a: [\n", "config.yaml:"),
    ("log-level: loud\n", "log level 'loud'"),
    ("log-format: xml\n", "log format 'xml'"),
    ("output: xml\n", "output format 'xml'"),
]


@pytest.mark.parametrize(("text", "words"), BAD_CONFIGURATIONS)
def test_bad_configuration_is_named(hepctl, text, words):
    config = hepctl.file("config.yaml", text)
    result = hepctl("get", "nodes", env={"HEPCTL_DATASTORE": None, "HEPCTL_CONFIG": config})
    assert result.exit_code in {1, 2}
    assert words in result.stderr


def test_configuration_asked_for_must_exist_and_the_default_need_not(hepctl, monkeypatch):
    result = hepctl("--config", "/nowhere.yaml", "get", "nodes", env={"HEPCTL_DATASTORE": None})
    assert result.exit_code == 2
    assert "/nowhere.yaml: no such configuration file" in result.stderr
    monkeypatch.setattr("pyagent.cli.settings.DEFAULT_CONFIG", "/nowhere.yaml")
    assert hepctl("get", "nodes").exit_code == 0


def test_help_lists_every_verb_with_its_own_first_line(hepctl):
    text = hepctl("--help").stdout
    context = click.Context(cli)
    for verb, (_, line) in COMMANDS.items():
        command = cli.get_command(context, verb)
        assert command is not None
        assert command.get_short_help_str(200) == line
        assert f"{verb} " in text
        assert line in text
        assert hepctl(verb, "--help").exit_code == 0


def test_unexpected_exception_is_one_line_and_shows_its_traceback_on_request(hepctl, monkeypatch):
    def broken(_settings):
        message = "no such thing"
        raise ValueError(message)

    monkeypatch.setattr("pyagent.cli.settings.Settings.open_datastore", broken)
    result = hepctl("get", "nodes")
    assert result.exit_code == 1
    assert result.stderr.count("\n") == 1
    assert "ValueError: no such thing (set HEPCTL_TRACEBACK=1 to see where)" in result.stderr
    assert "Traceback" in hepctl("get", "nodes", env={"HEPCTL_TRACEBACK": "1"}).stderr


def test_interrupt_exits_as_a_shell_would_say(hepctl, monkeypatch):
    def interrupted(_settings):
        raise KeyboardInterrupt

    monkeypatch.setattr("pyagent.cli.settings.Settings.open_datastore", interrupted)
    result = hepctl("get", "nodes")
    assert (result.exit_code, result.stdout, result.stderr) == (130, "", "")


def run(hepctl, *words, **options):
    environment = {**os.environ, "HEPCTL_DATASTORE": str(hepctl.store)}
    return subprocess.run(
        [*HEPCTL, *words], env=environment, capture_output=True, text=True, timeout=60, check=False, **options
    )


def test_real_process_says_and_exits_the_same(hepctl):
    created = run(hepctl, "apply", "-f", "-", input=NODE.replace("NAME", "n"))
    assert (created.returncode, created.stdout) == (0, "Successfully applied 1 'Node' resource(s)\n")
    missing = run(hepctl, "get", "node", "x")
    assert (missing.returncode, missing.stdout) == (1, "")
    assert missing.stderr.startswith("resource does not exist: Node(x)")
    unknown = run(hepctl, "frob")
    assert (unknown.returncode, unknown.stdout) == (2, "")
    assert "No such command 'frob'" in unknown.stderr


def test_closed_pipe_is_quiet(hepctl):
    hepctl.prepare(NODE.replace("NAME", "n"))
    reader, writer = os.pipe()
    os.close(reader)
    try:
        result = subprocess.run(
            [*HEPCTL, "--datastore", str(hepctl.store), "get", "nodes"],
            stdout=writer,
            stderr=subprocess.PIPE,
            timeout=60,
            check=False,
        )
    finally:
        os.close(writer)
    assert (result.returncode, result.stderr) == (main.PIPE_CLOSED, b"")


def test_interrupted_watch_exits_quietly(hepctl):
    hepctl.prepare(NODE.replace("NAME", "n"))
    with subprocess.Popen(
        [*HEPCTL, "--datastore", str(hepctl.store), "get", "nodes", "-w"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stdout.readline().strip() == b"NAME"
        assert process.stdout.readline().strip() == b"n"
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=30)
    assert (process.returncode, errors) == (main.INTERRUPTED, b"")


def test_nothing_heavy_is_imported_for_help_or_get(hepctl):
    heavy = {"numpy", "pyroute2", "kubernetes", "bcc"}
    script = (
        "import sys\nfrom pyagent.cli.main import cli\n"
        "cli.main(sys.argv[1:], 'hepctl', standalone_mode=False)\n"
        "print(*sorted(name.partition('.')[0] for name in sys.modules), file=sys.stderr)\n"
    )
    for words, also_absent in ((["--help"], {"msgspec", "yaml", "asyncio"}), (["get", "nodes"], set())):
        environment = {**os.environ, "HEPCTL_DATASTORE": str(hepctl.store)}
        result = subprocess.run(
            [sys.executable, "-c", script, *words],
            env=environment,
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        )
        assert not set(result.stderr.split()) & (heavy | also_absent)


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_script_is_for_its_shell(hepctl, shell):
    script = hepctl("completion", shell).stdout
    assert f"_HEPCTL_COMPLETE={shell}_complete" in script


def test_completion_knows_verbs_kinds_and_names(hepctl):
    hepctl.prepare(NODE.replace("NAME", "master"))

    def complete(*words):
        env = {
            "_HEPCTL_COMPLETE": "bash_complete",
            "COMP_WORDS": " ".join(words),
            "COMP_CWORD": str(len(words) - 1),
        }
        return [line.partition(",")[2] for line in hepctl(env=env).stdout.split()]

    assert "validate" in complete("hepctl", "va")
    assert "hostendpoints" in complete("hepctl", "get", "host")
    assert complete("hepctl", "get", "nodes", "mas") == ["master"]
    assert complete("hepctl", "get", "nodes", "none") == []


def test_version_names_the_api(hepctl):
    assert "projectcalico.org/v3" in hepctl("version").stdout
    assert '"abi"' in hepctl("version", "-o", "json").stdout
    assert hepctl("--version").stdout.startswith("hepctl ")


def test_log_level_decides_what_standard_error_shows(hepctl):
    assert hepctl("apply", "-f", "-", text=NODE.replace("NAME", "n")).stderr == ""
    loud = hepctl("-l", "debug", "label", "node", "n", "a=1")
    assert "DEBUG" in loud.stderr


def test_a_log_is_json_where_it_is_asked_for_or_in_a_cluster(hepctl, monkeypatch):
    made = []
    monkeypatch.setattr("logging.basicConfig", lambda **settings: made.append(settings["handlers"]))
    for options, variables, is_json in (
        ((), {}, False),
        (("--log-format", "json"), {}, True),
        ((), {"HEPCTL_LOG_FORMAT": "json"}, True),
        ((), {"KUBERNETES_SERVICE_HOST": "10.0.0.1"}, True),
        (("--log-format", "text"), {"KUBERNETES_SERVICE_HOST": "10.0.0.1"}, False),
    ):
        hepctl(*options, "get", "nodes", env=variables)
        (handler,) = made.pop()
        assert isinstance(handler.formatter, JsonFormatter) is is_json
