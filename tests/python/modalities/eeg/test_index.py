"""An index stands for its files: the same windows, without opening one."""

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from edf_files import Edf, Signal

import sslmed as sm

PRE = sm.EegPreprocessing(sfreq=100, window=2, patch=0.5, h_freq=45)


def stream(cohort, order="shuffle"):
    return [(b.sample_ids, b.views[0].values) for b in sm.Loader(cohort, PRE, batch_size=4, order=order, mask="random", seed=2)]


@pytest.mark.parametrize("name", ["index.parquet", "index.tsv"])
@pytest.mark.parametrize("order", ["shuffle", "subject"])
def test_an_index_gives_the_same_batches(tiny_site, tmp_path, name, order):
    tiny_site.index(tmp_path / name)
    again = sm.Cohort.from_table(tmp_path / name)
    assert list(again.table["subject"]) == list(tiny_site.table["subject"])
    assert sm.modalities.eeg.channels(again) == sm.modalities.eeg.channels(tiny_site)
    assert sm.modalities.eeg.unknown_channels(again) == sm.modalities.eeg.unknown_channels(tiny_site)
    for (ids, values), (expected_ids, expected) in zip(stream(again, order), stream(tiny_site, order), strict=True):
        assert ids == expected_ids
        assert torch.equal(values, expected)


def test_gaps_subsets_and_the_rest_of_the_library(tmp_path):
    signals = [Signal("Fz", per_record=100), Signal("Cz", per_record=100)]
    for i in range(6):
        Edf(signals, kind="EDF+D", n_records=12, onsets=[*range(6), *range(10 + i, 16 + i)]).write(tmp_path / f"sub-{i}_eeg.edf")
    cohort = sm.Cohort.from_bids(tmp_path)
    indexed = cohort.index()
    assert json.loads(indexed.table["stretches"][1]) == [[0, 600], [1100, 1700]]
    assert indexed.table["n_samples"].tolist() == [1200] * 6
    part = indexed.subset([3, 1])
    assert [s for s, _ in stream(part, "sequential")] == [s for s, _ in stream(cohort.subset([3, 1]), "sequential")]
    encoder = sm.Encoder("vit_tiny", PRE, depth=1)
    assert torch.equal(sm.encode(encoder, indexed)[0], sm.encode(encoder, cohort)[0])


def test_no_file_is_touched_before_it_is_read(tiny_site, tmp_path):
    root = Path(tiny_site.table["path"][0]).parents[2]
    shutil.copytree(root, tmp_path / "site")
    sm.Cohort.from_bids(tmp_path / "site").index(tmp_path / "index.parquet")
    cohort = sm.Cohort.from_table(tmp_path / "index.parquet")
    victim = Path(cohort.table["path"][0])
    victim.unlink()
    loader = sm.Loader(cohort, PRE, batch_size=4)
    with pytest.raises(sm.ReadError, match=victim.name):
        list(loader)
    skipping = sm.Loader(cohort, PRE, batch_size=4, on_error="skip")
    read = sum(len(batch) for batch in skipping)
    assert 0 < read < len(skipping.source)
    assert all(victim.name in message for _, message in skipping.failures)
    # A file that is no longer what was indexed.
    other = Path(cohort.table["path"][1])
    Edf([Signal("Fz", per_record=50)], n_records=20).write(other)
    with pytest.raises(sm.FormatError, match="as the index says"):
        sm.Loader(cohort.subset([1]), PRE).source.sample(0)


def test_refusals(tiny_site, tmp_path):
    indexed = tiny_site.index()
    table = indexed.table.copy()
    table.loc[2, "n_samples"] = np.nan
    with pytest.raises(ValueError, match="row 2 has none"):
        sm.Cohort(table, "x").source(PRE)
    table["n_samples"] = -5
    with pytest.raises(ValueError, match="-5 samples"):
        sm.Cohort(table, "x").source(PRE)
    arrays = sm.Cohort.from_arrays(torch.randn(1, 1, 100), 100, ["Fz"], pd.DataFrame({"subject": ["a"]}))
    with pytest.raises(ValueError, match="in memory"):
        arrays.index()
    (tmp_path / "bad.parquet").write_bytes(b"PAR1nonsense")
    with pytest.raises(sm.FormatError, match=r"bad\.parquet: expected a table"):
        sm.Cohort.from_table(tmp_path / "bad.parquet")
    with pytest.raises(sm.ReadError, match=r"none\.parquet"):
        sm.Cohort.from_table(tmp_path / "none.parquet")
