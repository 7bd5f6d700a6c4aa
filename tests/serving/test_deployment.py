"""`facula serve --write`: files for containers and Kubernetes, and that what they start is what was asked."""

import json
import re
import shlex

import pytest

import facula
from facula.cli import main
from facula.serving.deployment import yaml


@pytest.fixture
def home(tmp_path, monkeypatch):
    (tmp_path / "nets.py").write_text("import facula\n\nclass Net(facula.nn.Linear):\n    def __init__(self, n=4):\n"
                                      "        super().__init__(n, 2)\n")
    facula.save(facula.nn.Linear(4, 2).state_dict(), tmp_path / "w.pt")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def files(home, *arguments, status=0):
    assert main(["serve", *arguments, "--write", "out"]) == status
    return home / "out"


def command_of(out):
    line, = [line for line in (out / "Containerfile").read_text().splitlines() if line.startswith("ENTRYPOINT")]
    return json.loads(line.partition(" ")[2])


def test_a_model(home, capsys):
    out = files(home, "w.pt+nets:Net", "--name", "My net", "--input", "x:FP32:-1,4", "--grpc-port", "9", "--cores", "2",
                "--argument", "n=4", "--max-batch", "8")
    assert command_of(out) == ["facula", "serve", "w.pt+nets:Net", "--host", "0.0.0.0", "--port", "8000", "--grpc-port",
                               "8001", "--name=My net", "--input=x:FP32:-1,4", "--argument=n=4", "--max-batch=8",
                               "--cores=2"]
    assert {path.name for path in (out / "model").iterdir()} == {"w.pt", "nets.py"}
    assert (out / "requirements.txt").read_text() == "facula[serve]\n"
    assert [line.rpartition("/")[2] for line in capsys.readouterr().out.split()] == [
        "requirements.txt", "Containerfile", "kubernetes.yaml", "kserve.yaml"]
    text = (out / "Containerfile").read_text()
    assert "USER 65532" in text and "EXPOSE 8000 8001" in text and not re.search(r"gcc|build-essential|apt", text)


def test_the_command_is_one_of_ours(home):
    """What stands in the file is understood by the parser, and says the same."""
    from facula.cli import _parser
    given = ["w.pt+nets:Net", "--control", "--queue", "3", "--output", "y:FP32:-1,2"]
    options = vars(_parser().parse_args(command_of(files(home, *given))[1:]))
    wanted = vars(_parser().parse_args(["serve", *given]))
    assert {key: value for key, value in options.items() if value != wanted[key]} == {"host": "0.0.0.0"}


def test_a_folder_of_models_and_text(home):
    for name, config in (("net", {"source": "w.pt+nets:Net"}), ("told", {"source": "yaml:dump"})):
        (home / "models" / name / "1").mkdir(parents=True)
        (home / "models" / name / "config.json").write_text(json.dumps(config))
    pytest.importorskip("yaml")
    out = files(home, "models")
    assert command_of(out)[:3] == ["facula", "serve", "models"]
    assert {path.name for path in (out / "model").iterdir()} == {"models", "nets.py"}
    assert "PyYAML==" in (out / "requirements.txt").read_text()
    (home / "tok").mkdir()
    (home / "tok" / "tokenizer.json").write_text("{}")
    assert main(["serve", "nets:Net", "--generate", "--tokenizer", "tok", "--write", "out2"]) == 0
    assert command_of(home / "out2")[-3:] == ["--tokenizer", "tok", "--generate"]
    assert (home / "out2" / "requirements.txt").read_text() == "facula[generate]\n"


@pytest.mark.parametrize("arguments, words", [
    (["nets:Net", "--token", "s"], "secrets"), (["none.pt2"], "no such file"), (["nowhere:f"], "no module nowhere"),
    (["nets:Net", "--workers", "2"], "one worker")])
def test_what_is_not_written(home, capsys, arguments, words):
    files(home, *arguments, status=2)
    assert words in capsys.readouterr().err


def test_a_folder_that_is_not_empty(home, capsys):
    files(home, "nets:Net")
    files(home, "nets:Net", status=2)
    assert "not empty" in capsys.readouterr().err


def test_manifests(home):
    """As YAML's own reader reads them; where the package is installed, by the schemas of Kubernetes."""
    reader = pytest.importorskip("yaml")
    out = files(home, "w.pt+nets:Net", "--drain-seconds", "20", "--grpc-port", "9", "--cores", "2")
    deployment, service = reader.safe_load_all((out / "kubernetes.yaml").read_text())
    pod = deployment["spec"]["template"]["spec"]
    assert pod["terminationGracePeriodSeconds"] == 35
    container, = pod["containers"]
    assert container["readinessProbe"]["httpGet"] == {"path": "/v2/health/ready", "port": 8000}
    assert container["resources"]["limits"]["cpu"] == "2" and container["securityContext"]["readOnlyRootFilesystem"]
    assert [port["port"] for port in service["spec"]["ports"]] == [8000, 8001]
    assert service["spec"]["selector"] == deployment["spec"]["template"]["metadata"]["labels"]
    predictor = reader.safe_load((out / "kserve.yaml").read_text())["spec"]["predictor"]
    assert predictor["containers"][0]["name"] == "kserve-container" and len(predictor["containers"][0]["ports"]) == 1
    validate = pytest.importorskip("kubernetes_validate")
    for one in (deployment, service):
        validate.validate(one, validate.latest_version(), strict=True)
    validate.validate({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a"}, "spec": predictor},
                      validate.latest_version(), strict=True)


def test_yaml():
    reader = pytest.importorskip("yaml")
    given = {"a": 1, "b": ["x: y", {"c": True, "d": {}}, [], [1, [2, "\n#"]]], "prometheus.io/x": "true",
             "e": {"f": None}}
    assert reader.safe_load(yaml(given)) == given
    assert shlex.split(yaml({"a": "x y"})) == ["a:", "x y"]
