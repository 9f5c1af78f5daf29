"""What images say about products that nobody has taken yet, in a shop whose truth is known.

    python -m tests.benchmarks.newcomers --products 1000 --customers 6000 --json rows.json

The demo's simulated shop, larger: pictures show a product's style and thing, which its attributes
tell too, and a look (light, pattern, tint), which nothing else tells and which divides customers.
An image model learns from the pictures; then the protocol `cold-items` of
`tests.benchmarks.recommendation` hides the newest 5 % of the products and asks for them: with
nothing known of products, with attributes, and with attributes and images.
"""

from __future__ import annotations

import argparse
import tarfile
import tempfile
from pathlib import Path

import msgspec

from pipelines.demo.picture_tour import SETTINGS
from pipelines.demo.shop import simulate_shop, write_pictures
from tests.benchmarks import image, recommendation
from tests.benchmarks.rows import Row, write_rows
from training.configuration import parse
from training.image.configuration import ImageConfiguration
from training.image.fit import CHECKPOINT
from training.image.launch import Peers, train_one
from training.image.train import trained, write_model
from training.recommendation.looks import ARCHIVE


def main(arguments: list[str] | None = None) -> None:
    options = _parser().parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="nextbest-newcomers-") as folder:
        shop, images = Path(folder) / "shop", Path(folder) / "images"
        _write_shop(shop, options)
        _learn_pictures(shop, images, labels=options.labels)
        variants = (["--no-attributes"], [], ["--images", str(images)])
        rows = [row for more in variants for row in _measured(shop, more, options)]
    if options.json:
        write_rows(options.json, rows)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--products", type=int, default=1000)
    parser.add_argument("--customers", type=int, default=6000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--budget", default="60", help="CPU seconds of each search")
    parser.add_argument("--labels", default="", help="what the image model learns; `none` for none")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the rows")
    return parser


def _write_shop(folder: Path, options: argparse.Namespace) -> None:
    shop = simulate_shop(
        seed=options.seed, customers=options.customers, products=options.products, newcomers=0
    )
    products = write_pictures(shop, folder)
    products.to_parquet(folder / "products.parquet", index=False)
    shop.interactions.to_parquet(folder / "interactions.parquet", index=False)
    shop.customers.to_parquet(folder / "customers.parquet", index=False)


def _learn_pictures(shop: Path, target: Path, *, labels: str) -> None:
    """The archive of an image model of the shop, with the demo's settings, in `target`."""
    settings = {name: str(value) for name, value in SETTINGS.items()}
    settings |= {"labels": labels} if labels else {}
    with tempfile.TemporaryDirectory(prefix="nextbest-image-") as folder:
        root = Path(folder)
        prepared = image.prepared_of(root, shop, settings)
        job = image.job_of(root, "train", settings)
        train_one(job, Peers())
        configuration = parse(ImageConfiguration, settings, where="image-model")
        network = trained(prepared, configuration, job.checkpoints / CHECKPOINT)
        write_model(job.model, prepared, network, configuration, provenance={})
        target.mkdir()
        with tarfile.open(target / ARCHIVE, "w:gz") as archive:
            archive.add(job.model, arcname=".")


def _measured(shop: Path, more: list[str], options: argparse.Namespace) -> list[Row]:
    with tempfile.NamedTemporaryFile(suffix=".json") as file:
        given = ["--protocol", "cold-items", "--interactions", str(shop), "--quiet"]
        given += ["--set", f"budget_seconds={options.budget}", "--json", file.name, *more]
        recommendation.main(given)
        return msgspec.json.decode(Path(file.name).read_bytes(), type=list[Row])


if __name__ == "__main__":
    main()
