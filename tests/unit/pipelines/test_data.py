"""Formats and refusals of `nextbest data import`, without a stage."""

import gzip
import json
import lzma
from datetime import UTC, datetime
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipelines import data
from pipelines.demo.shop import simulate_shop, write_shop
from training.errors import DataQualityError, NotEnoughDataError

NOW = datetime(2026, 11, 24, tzinfo=UTC)
REAL = Path(__file__).resolve().parents[4] / "shared" / "data"
needs_real_data = pytest.mark.skipif(not REAL.exists(), reason="no ../shared/data beside us")


def read(path, **options):
    return data.read_sources(path, now=NOW, **options)[0]


@pytest.fixture
def csv(tmp_path):
    def write(text, name="events.csv"):
        path = tmp_path / name
        path.write_text(text)
        return path

    return write


def many(row="c{i},p{j},purchase,2026-01-0{j}T00:00:00Z"):
    lines = [row.format(i=i, j=j) for i in range(30) for j in range(1, 7)]
    return "customer_id,product_id,event,timestamp\n" + "\n".join(lines) + "\n"


def test_a_plain_csv_is_read(csv):
    found = read(csv(many()))
    assert found.profile["rows"] == 180
    assert found.profile["customers"] == 30


def test_columns_can_be_mapped(csv):
    text = many().replace("customer_id,product_id,event", "who,what,event")
    mapping = {"customer_id": "who", "product_id": "what"}
    assert read(csv(text), mapping=mapping).profile["rows"] == 180


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "empty"),
        ("customer_id,product_id,event,timestamp\n", "no rows"),
        (many().replace("customer_id", "customer"), "--map customer_id=customer"),
        (many().replace("2026-01-03T00:00:00Z", "soon", 1), r"timestamp: not a time.*1 of 180"),
        (many().replace("2026-01-03", "2099-01-03", 1), "in the future"),
        (many().replace("c3,p3", ",p3", 1), "customer_id: empty id: 1 of 180"),
    ],
)
def test_bad_files_are_refused_by_table_column_and_rule(csv, text, words):
    with pytest.raises(DataQualityError, match=words):
        read(csv(text))


def test_five_rows_are_not_enough(csv):
    text = "\n".join(many().splitlines()[:6])
    with pytest.raises(NotEnoughDataError, match="at least 20 such customers"):
        read(csv(text))


def test_a_truncated_xz_is_refused(tmp_path):
    path = tmp_path / "events.csv.xz"
    path.write_bytes(lzma.compress(many().encode())[:-40])
    with pytest.raises(DataQualityError, match="truncated"):
        read(path)


def test_mixed_ids_are_refused(tmp_path):
    frame = pd.DataFrame(
        {
            "customer_id": pd.Series(["a", 1, "b"], dtype=object),
            "product_id": "p",
            "event": "view",
            "timestamp": "2026-01-01",
        }
    )
    with pytest.raises(DataQualityError, match="mixed types"):
        data.build_dataset({"interactions": frame}, now=NOW)


def test_duplicates_are_set_aside_and_counted(csv):
    lines = many().splitlines()
    found = read(csv("\n".join([*lines, lines[1], lines[2]])))
    assert found.profile["rejected"] == {"duplicate": 2}
    assert found.profile["rows"] + len(found.rejected) == 182


def test_the_simulated_shop_is_canonical_and_the_same_for_a_seed(tmp_path):
    write_shop(tmp_path, customers=60)
    found = read(tmp_path)
    assert found.profile["customers"] > 50
    again = simulate_shop(customers=60).interactions
    pd.testing.assert_frame_equal(again, simulate_shop(customers=60).interactions)


def test_sequences_have_order_and_no_times(tmp_path):
    path = tmp_path / "sequences.txt"
    path.write_text("\n".join(f"{u} 1 2 3 4 5 {u}" for u in range(10, 40)))
    found = read(path)
    assert found.profile["ordered_by"] == "position"
    assert found.profile["first"] is None


def test_a_users_second_line_follows_the_first(tmp_path):
    """Regression: both began at the same second, and the two were interleaved."""
    path = tmp_path / "sequences.txt"
    halves = [f"{u} {first} {first + 1} {first + 2}" for first in (1, 4) for u in range(10, 40)]
    path.write_text("\n".join(halves))
    taken = read(path).interactions.groupby("customer_id")["product_id"].agg(list)
    assert all(products == ["1", "2", "3", "4", "5", "6"] for products in taken)


@needs_real_data
def test_the_published_invoices_are_read():
    profile = read(REAL / "online-retail" / "online_retail.csv.xz").profile
    assert profile["customers"] > 4000
    assert profile["rejected"]["no customer"] == 135080


def test_rows_with_a_surplus_field_are_refused_not_shifted(csv):
    lines = many().splitlines()
    text = "\n".join([lines[0], *[f"extra,{line}" for line in lines[1:]]])
    with pytest.raises(DataQualityError, match="more fields than the header"):
        read(csv(text))


def test_compact_dates_are_dates_not_seconds(csv):
    found = read(csv(many("c{i},p{j},purchase,2026010{j}")))
    assert found.profile["first"].startswith("2026-01-01")


def sequences(folder, name="sequences.txt"):
    text = "\n".join(f"{u} 1 2 3 4 5 {u}" for u in range(10, 40))
    content = text.encode()
    packed = {".gz": gzip.compress, ".xz": lzma.compress}.get(Path(name).suffix, bytes)(content)
    (folder / name).write_bytes(packed)
    return folder / name


@pytest.mark.parametrize("name", ["s.txt", "s.txt.gz", "s.txt.xz"])
def test_attributes_beside_sequences_are_tags(tmp_path, name):
    (tmp_path / "attributes.json").write_text(json.dumps({"1": [7, "new", 7], "2": []}))
    found = read(sequences(tmp_path, name))
    folder = tmp_path / "written"
    data.write_dataset(found, folder)
    tags = pq.read_schema(folder / "products.parquet").field("tags").type
    assert pa.types.is_list(tags)
    assert pa.types.is_string(tags.value_type) or pa.types.is_large_string(tags.value_type)
    products = pd.read_parquet(folder / "products.parquet").set_index("product_id")["tags"]
    assert [list(products[i]) for i in ("1", "2", "3")] == [["7", "new"], [], []]


@pytest.mark.parametrize(("text", "words"), [("{", "not valid JSON"), ('{"1": 2}', "list of attr")])
def test_broken_attributes_are_refused(tmp_path, text, words):
    (tmp_path / "attributes.json").write_text(text)
    with pytest.raises(DataQualityError, match=words):
        read(sequences(tmp_path))


def test_a_csv_column_of_tags_is_divided(tmp_path):
    (tmp_path / "interactions.csv").write_text(many())
    rows = ["p1,red|warm,a|b", "p2,,c", "p3, blue ,", "p4,x,", "p5,x,", "p6,x,"]
    header = "product_id,colour_tags,note\n"
    (tmp_path / "products.csv").write_text(header + "\n".join(rows))
    products = read(tmp_path).products.set_index("product_id")
    assert products["colour_tags"].head(3).tolist() == [["red", "warm"], [], ["blue"]]
    assert products["note"]["p1"] == "a|b"


def test_a_column_of_tags_holds_nothing_but_lists(tmp_path):
    (tmp_path / "interactions.csv").write_text(many())
    rows = [["p1", ["a"]], ["p2", ["b"]], *[[f"p{i}", None] for i in range(3, 7)]]
    frame = pd.DataFrame(rows, columns=["product_id", "kind"])
    frame.to_parquet(tmp_path / "products.parquet")
    assert read(tmp_path).products["kind"].tolist() == [["a"], ["b"], [], [], [], []]
    frame.loc[1, "kind"] = "b"
    with pytest.raises(DataQualityError, match=r"products\.kind: not a list of tags: 1 of 6"):
        data.build_dataset(
            {"interactions": pd.read_csv(tmp_path / "interactions.csv"), "products": frame}, now=NOW
        )


def test_progress_rises_to_the_end_while_the_file_is_read(csv):
    told = []
    path = csv(many() + "".join(f"u{i},p1,purchase,2026-01-01\n" for i in range(20_000)))
    read(path, progress=lambda what, share: told.append((what, share)))
    shares = [share for _, share in told]
    assert shares == sorted(shares)
    assert len({share for what, share in told if what == "reading events.csv"}) > 3
    assert told[-1][0] == "checking 20,180 rows"


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("events.json", '{"broken"', "not a format we read"),
        ("events.csv", many().replace(",", ";"), "divided by ';'.*Save the file with commas"),
        ("events.csv", many().replace("2026-01-03", "1026-01-03", 1), "timestamp: before 1970"),
    ],
)
def test_what_looks_like_another_file_is_said_to_be_one(csv, name, text, words):
    with pytest.raises(DataQualityError, match=words):
        read(csv(text, name))


def test_a_mapping_to_no_column_of_ours_is_refused(csv):
    with pytest.raises(DataQualityError, match=r"--map custmer_id=.*did you mean 'customer_id'"):
        read(csv(many()), mapping={"custmer_id": "customer_id"})


def test_a_folder_with_one_published_file_is_that_file(tmp_path):
    lines = "".join(
        f"{user} {' '.join(str((user + i) % 9) for i in range(6))}\n" for user in range(30)
    )
    (tmp_path / "sequences.txt").write_text(lines)
    assert read(tmp_path).profile["ordered_by"] == "position"
    (tmp_path / "more.txt").write_text(lines)
    with pytest.raises(DataQualityError, match=r"no interactions\.parquet"):
        read(tmp_path)


@pytest.mark.parametrize("moment", ["4102444800", "4102444800000", "2100-01-01T00:00:00Z"])
def test_an_offer_may_begin_in_the_future_in_any_form_of_time(tmp_path, moment):
    (tmp_path / "interactions.csv").write_text(many())
    rows = [f"p{j},{moment if j == 1 else ''}" for j in range(1, 7)]
    (tmp_path / "products.csv").write_text("product_id,available_from\n" + "\n".join(rows) + "\n")
    begins = read(tmp_path).products["available_from"]
    # A column is of one kind: with gaps it still is.
    assert begins[0] == pd.Timestamp("2100-01-01", tz="UTC")
    assert begins[1:].isna().all()


def test_an_offer_that_begins_at_no_time_is_refused(tmp_path):
    (tmp_path / "interactions.csv").write_text(many())
    (tmp_path / "products.csv").write_text("product_id,available_from\np1,soon\n")
    with pytest.raises(DataQualityError, match=r"products\.available_from: not a time.*'soon'"):
        read(tmp_path)
