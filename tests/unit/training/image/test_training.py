"""Training, export, the artefact, its evaluation; killed and resumed; on two processes."""

import json

import numpy as np
import pytest

pytest.importorskip("torch", reason="the extra `image` is not installed: pip install -e '.[image]'")

import torch

from inference.image_network import ImageNetwork
from inference.visual import Visual
from inference.visual_contracts import decode_similar_request
from tests.unit.training.image.shapes import (
    QUICK,
    dataset,
    job,
    run_jobs,
    run_prepare,
)
from training.configuration import parse
from training.errors import ConfigurationError
from training.image import evaluate, launch, train
from training.image.augmentation import Augmentation
from training.image.configuration import ImageConfiguration
from training.image.fit import CHECKPOINT, Trainer, fit
from training.image.metrics import copy_recall, macro_f1, retrieval
from training.image.network import Backbone, ResidualBlock, build, load_weights
from training.image.objectives import label_losses, likeness_loss, mean_loss, view_loss
from training.image.prepare import load
from training.image.schedule import one_cycle, plan_of
from training.job import STEPS


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A whole run, and its reports."""
    root = tmp_path_factory.mktemp("run")
    return root, run_jobs(root, dataset(), **QUICK)


@pytest.fixture
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def test_shapes_are_told_apart_and_the_gate_passes(finished):
    _, reports = finished
    models = reports["metrics"]["models"]
    assert reports["gate"]["outcome"] == "passed", reports["gate"]["reasons"]
    assert models["challenger"]["accuracy"] > models["pca-knn"]["accuracy"]
    assert models["challenger"]["map@all"] > models["pca-knn"]["map@all"]


@pytest.mark.parametrize(
    ("pictures", "accuracy", "reasons"),
    [
        (20, 0.6, []),
        (4, 1.0, ["evidence: pictures is 4, needed at least 20"]),
        (20, 0.5, ["better than pca-knn: accuracy is 0.5000, needed more than 0.5000"]),
    ],
)
def test_the_gate_asks_for_evidence_and_for_more_than_the_baselines(pictures, accuracy, reasons):
    found = {"challenger": accuracy, "majority": 0.3, "pca-knn": 0.5}
    models = {name: {"accuracy": value} for name, value in found.items()}
    verdict = evaluate.gate({"pictures": pictures, "models": models}, ImageConfiguration())
    assert verdict["reasons"] == reasons


def test_int8_costs_next_to_nothing(finished):
    _, reports = finished
    assert reports["metrics"]["int8"]["loss"] <= 0.05


def test_the_artefact_answers_what_the_golden_requests_say(finished):
    root, reports = finished
    model = Visual.open(root / "model")
    assert len(reports["golden"]) >= 8
    for golden in reports["golden"]:
        request = decode_similar_request(golden["request"])
        answer = model.similar(request, now=request.now)
        assert [p.product_id for p in answer.products] == [
            p["product_id"] for p in golden["response"]["products"]
        ]


def test_an_embedding_is_that_of_the_picture_and_of_length_one(finished):
    root, _ = finished
    model, prepared = Visual.open(root / "model"), load(root / "processing/input/prepared")
    seen = ImageNetwork.open(root / "model" / "model.onnx").see(np.asarray(prepared.images))
    stored = model.nearest.embeddings
    np.testing.assert_allclose(np.linalg.norm(stored, axis=1), 1, atol=1e-5)
    np.testing.assert_allclose(seen.embeddings, stored, atol=1e-5)
    np.testing.assert_allclose(seen.probabilities.sum(1), 1, atol=1e-5)


def test_the_same_run_again_gives_the_same_bytes_and_a_champion_that_is_no_better(
    finished, tmp_path
):
    root, _ = finished
    again = run_jobs(tmp_path, dataset(), champion=root, **QUICK)
    for path in (root / "model").iterdir():
        assert (tmp_path / "model" / path.name).read_bytes() == path.read_bytes(), path.name
    models = again["metrics"]["models"]
    assert models["champion"] == models["challenger"]
    assert again["gate"]["outcome"] == "passed"


def test_a_champion_that_saw_the_pictures_is_not_compared(finished, tmp_path):
    found = run_jobs(tmp_path, dataset(), champion=finished[0], **QUICK, seed="1")
    assert "champion" not in found["metrics"]["models"]
    assert found["metrics"]["protocol"]["champion"] == "other pictures were held out from it"


class Killed(Exception):
    """What ends a job here, where SIGKILL would."""


def test_a_killed_training_goes_on_and_ends_in_the_same_weights(tmp_path, one_thread):
    configuration = parse(ImageConfiguration, QUICK, where="image-model")
    folder = run_prepare(tmp_path, dataset(120), **QUICK)
    resumed: list[int] = []

    def trained(name, stop_after=None):
        checkpoints = tmp_path / name
        checkpoints.mkdir(exist_ok=True)

        def report(epoch):
            if epoch.number == stop_after:
                raise Killed

        fit(
            load(folder),
            configuration,
            folder=folder,
            checkpoints=checkpoints,
            report=report,
            resumed=resumed.append,
        )
        return torch.load(checkpoints / CHECKPOINT, weights_only=True)["network"]

    undisturbed = trained("one")
    with pytest.raises(Killed):
        trained("two", stop_after=3)
    found = trained("two")
    assert resumed == [3]
    assert all(torch.equal(found[name], value) for name, value in undisturbed.items())


def test_a_checkpoint_of_other_data_or_settings_is_left_alone(tmp_path):
    folder = run_prepare(tmp_path, dataset(120), **QUICK)
    prepared = load(folder)
    settings = parse(ImageConfiguration, QUICK, where="image-model")
    others = parse(ImageConfiguration, {**QUICK, "seed": "5"}, where="image-model")
    Trainer(prepared, settings, peers=launch.Peers()).save(tmp_path / "c.pt", done=4)
    assert Trainer(prepared, settings, peers=launch.Peers()).restore(tmp_path / "c.pt") == 4
    assert Trainer(prepared, others, peers=launch.Peers()).restore(tmp_path / "c.pt") == 0


def test_two_processes_train_one_model(tmp_path, capfd):
    settings = {**QUICK, "processes": "2"}
    found = run_jobs(tmp_path, dataset(), **settings)
    assert found["gate"]["outcome"] == "passed", found["gate"]["reasons"]
    lines = capfd.readouterr().out.splitlines()
    assert sum(line.startswith("train_loss=") for line in lines) == int(QUICK["epochs"])


def test_two_processes_take_the_pictures_of_one_batch_between_them(tmp_path):
    prepared = load(run_prepare(tmp_path, dataset(120), **QUICK))
    settings = parse(ImageConfiguration, QUICK, where="image-model")
    alone = Trainer(prepared, settings, peers=launch.Peers())
    parts = [Trainer(prepared, settings, peers=launch.Peers()) for _ in range(2)]
    for rank, part in enumerate(parts):
        part.peers = launch.Peers(rank, 2)
    for whole, *halves in zip(*(t._batches(0) for t in (alone, *parts)), strict=True):
        assert sorted(np.concatenate([rows for rows, _ in halves])) == whole[0].tolist()


def test_a_killed_process_among_several_ends_the_job_as_killed(tmp_path, monkeypatch):
    settings = {**QUICK, "processes": "2"}
    run_prepare(tmp_path, dataset(60), **settings)
    folder = tmp_path / "code"
    (folder / "training" / "image").mkdir(parents=True)
    for package in (folder / "training", folder / "training" / "image"):
        (package / "__init__.py").touch()
    script = "import os, signal\nos.kill(os.getpid(), signal.SIGKILL)\n"
    (folder / "training" / "image" / "launch.py").write_text(script)
    monkeypatch.setenv("PYTHONPATH", str(folder))
    monkeypatch.chdir(folder)
    with pytest.raises(SystemExit) as ended:
        train.run(job(tmp_path, "train", **settings))
    assert ended.value.code == 137


def test_each_of_several_machines_knows_its_place(tmp_path):
    assert launch.machines_of(tmp_path) == launch.Machines()
    path = tmp_path / "input" / "config" / "resourceconfig.json"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps({"hosts": ["algo-2", "algo-1"], "current_host": "algo-2"}))
    assert launch.machines_of(tmp_path).rank == 1


def test_too_small_a_batch_for_the_processes_is_refused(tmp_path):
    settings = {**QUICK, "processes": "4", "batch_size": "4"}
    run_prepare(tmp_path, dataset(60), **settings)
    with pytest.raises(ConfigurationError, match="each needs 2 pictures"):
        train.run(job(tmp_path, "train", **settings))


def test_without_labels_a_copy_finds_its_original(tmp_path):
    found = run_jobs(tmp_path, dataset(), **{**QUICK, "labels": "none", "epochs": "40"})
    models = found["metrics"]["models"]
    assert models["challenger"]["copy_recall"] > models["pca"]["copy_recall"]
    assert Visual.open(tmp_path / "model").columns == []


def test_several_labels_are_learned_side_by_side(tmp_path):
    data = dataset(colour=["red", "blue"] * 120)
    run_prepare(tmp_path, data, labels="category,colour", **QUICK)
    train.run(job(tmp_path, "train", labels="category,colour", **QUICK))
    model = Visual.open(tmp_path / "model")
    assert [column["name"] for column in model.columns] == ["category", "colour"]
    seen = model.network.see(np.zeros((1, 16, 16, 1), np.uint8))
    assert seen.probabilities.shape == (1, 5)


@pytest.mark.parametrize(("size", "blocks"), [(16, 2), (28, 3), (96, 3), (224, 4)])
def test_a_network_fits_any_size_and_has_no_block_above_32_pixels(size, blocks):
    classes = [4, 2]
    network = build(ImageConfiguration(), channels=3, size=size, classes=classes, weights=None)
    logits, embeddings = network.eval()(torch.zeros((1, 3, size, size)))
    assert [tuple(one.shape) for one in logits] == [(1, 4), (1, 2)]
    assert tuple(embeddings.shape) == (1, 64)
    assert sum(isinstance(module, ResidualBlock) for module in network.modules()) == blocks


@pytest.mark.parametrize("name", ["resnet18", "resnet50"])
def test_given_weights_go_into_the_backbone(tmp_path, name):
    layers = {"resnet18": (2, 2, 2, 2), "resnet50": (3, 4, 6, 3)}[name]
    published = Backbone(layers, channels=3).state_dict()
    published["fc.weight"], published["fc.bias"] = torch.zeros(1000, 8), torch.zeros(1000)
    torch.save(published, tmp_path / "w.pt")
    colour, grey = Backbone(layers, channels=3), Backbone(layers, channels=1)
    load_weights(colour, tmp_path / "w.pt")
    load_weights(grey, tmp_path / "w.pt")
    assert torch.equal(colour.state_dict()["conv1.weight"], published["conv1.weight"])
    summed = published["conv1.weight"].sum(1, keepdim=True)
    assert torch.equal(grey.state_dict()["conv1.weight"], summed)
    assert "layer1.0.conv1.weight" in published
    assert "layer2.0.downsample.0.weight" in published


@pytest.mark.parametrize("content", [b"not a file of weights", b""])
def test_weights_that_are_none_are_refused(tmp_path, content):
    (tmp_path / "w.pt").write_bytes(content)
    with pytest.raises(ConfigurationError, match="no state dict"):
        load_weights(Backbone((2, 2, 2, 2), channels=3), tmp_path / "w.pt")


def test_weights_of_another_network_are_refused(tmp_path):
    torch.save({"conv1.weight": torch.zeros(64, 3, 7, 7)}, tmp_path / "w.pt")
    with pytest.raises(ConfigurationError, match="do not fit the backbone"):
        load_weights(Backbone((2, 2, 2, 2), channels=3), tmp_path / "w.pt")


def test_no_fewer_steps_than_one_and_no_batch_above_the_pictures():
    plan = plan_of(10, ImageConfiguration())
    assert (plan.batch, plan.steps) == (10, 1)
    assert plan_of(60_000, ImageConfiguration()).batch == 256


def test_a_small_set_is_seen_until_it_has_taught_something():
    plan = plan_of(240, ImageConfiguration())
    assert plan.epochs * plan.steps >= 400
    assert plan_of(60_000, ImageConfiguration()).epochs == 17


def test_only_a_large_set_can_spare_pictures():
    assert plan_of(60_000, ImageConfiguration()).prunes
    assert not plan_of(3_000, ImageConfiguration()).prunes


def test_the_rate_rises_and_falls_to_almost_nothing():
    rates = [one_cycle(share) for share in np.linspace(0, 1, 101)]
    assert rates[0] == pytest.approx(0.1)
    assert max(rates) == pytest.approx(1.0, abs=1e-3)
    assert rates[-1] == pytest.approx(1e-4)


@pytest.mark.parametrize(("channels", "size"), [(1, 28), (3, 64)])
def test_augmentation_keeps_the_shape_and_follows_its_generator(channels, size):
    augment = Augmentation(torch.full((channels,), -1.0), 0.5)
    x = torch.rand((8, channels, size, size))
    first, second, other = (augment(x, torch.Generator().manual_seed(seed)) for seed in (1, 1, 2))
    assert first.shape == x.shape
    assert torch.equal(first, second)
    assert not torch.equal(first, other)


def test_a_missing_label_changes_nothing():
    logits = [torch.randn(4, 3, generator=torch.Generator().manual_seed(0))]
    labels = torch.tensor([[0], [1], [2], [-1]])
    expected = torch.nn.functional.cross_entropy(logits[0][:3], labels[:3, 0])
    losses = label_losses(logits, labels, smoothing=0.0)
    torch.testing.assert_close(mean_loss(losses, labels, torch.ones(4)), expected)


def test_embeddings_together_by_label_are_what_is_wanted():
    together = torch.eye(3).repeat_interleave(2, dim=0)
    labels = torch.tensor([[0], [0], [1], [1], [2], [2]])
    assert likeness_loss(together, labels) < 0.01
    assert likeness_loss(together, labels.roll(1, dims=0)) > 5


def test_pictures_without_company_say_nothing_of_likeness():
    embeddings = torch.randn(3, 4, requires_grad=True)
    for labels in ([[0], [1], [2]], [[-1], [-1], [-1]]):
        loss = likeness_loss(embeddings, torch.tensor(labels))
        loss.backward()
        assert loss == 0
        assert embeddings.grad is not None
        assert embeddings.grad.isfinite().all()


def test_views_of_the_same_are_nearer_than_views_of_others():
    same = torch.eye(6)
    assert view_loss(same, same) < view_loss(same, same.roll(1, dims=0))


def test_retrieval_figures_by_hand():
    embeddings = np.array([[1, 0], [0.9, 0.1], [0, 1], [0.8, 0.2]], np.float64)
    embeddings /= np.linalg.norm(embeddings, axis=1, keepdims=True)
    labels = np.array([0, 0, 1, 1])
    found = retrieval(embeddings, labels, k=1)
    # the rows' only relevant one comes 1st, 1st, 1st and 3rd
    assert found["map@all"] == pytest.approx((1 + 1 + 1 + 1 / 3) / 4)
    assert found["precision@1"] == 0.75
    assert macro_f1(np.array([0, 0, 0, 1]), labels) == pytest.approx((0.8 + 2 / 3) / 2)
    assert copy_recall(embeddings, embeddings[[0, 1, 2, 0]]) == 0.75


def test_the_steps_are_known_to_the_job():
    assert {name for name in STEPS if name.startswith("image.")} == {
        "image.prepare",
        "image.train",
        "image.evaluate",
    }
