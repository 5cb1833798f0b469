"""What an index of slides says is looked at again before it is used: anybody may have changed the table."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import sslmed as sm
from sslmed.modalities.eeg import index as eeg_index


def source(table: pd.DataFrame) -> Any:
    return sm.Cohort.from_table(table, name="six").source(sm.SlidePreprocessing(size=32, patch=16, mpp=1.0))


def changed(cohort: sm.Cohort, row: int, **values: Any) -> pd.DataFrame:
    table = cohort.table.copy()
    for column, value in values.items():
        table[column] = table[column].astype(object)
        table.loc[row, column] = value
    return table.infer_objects()


@pytest.mark.parametrize("mpp", [0.001, 0.0, -0.5, 500.0, np.inf])
@pytest.mark.parametrize("column", ["mpp_x", "mpp_y"])
def test_a_scale_that_no_scanner_has_is_refused(column: str, mpp: float, slide_cohort: sm.Cohort) -> None:
    said = rf"six: .*TCGA-AA-0001-2\.tif: .*{column}={mpp:g}.* in row 2 of the index, expected µm per pixel of level 0 within \[0\.01, 100\], .*1 of 6 slides"
    with pytest.raises(ValueError, match=said.replace("+", r"\+")):
        source(changed(slide_cohort, 2, **{column: mpp}))


@pytest.mark.parametrize(("mpp", "said"), [(0.02, r"expected 0\.05 to 10"), (0.3, "expected about the same in x and y")])
def test_an_implausible_scale_is_told(mpp: float, said: str, slide_cohort: sm.Cohort) -> None:
    with pytest.warns(sm.ValueWarning, match=rf"six: 1 of 6 slides of the index: implausible scale: {mpp:g} x 0\.5 .*{said}.*TCGA-AA-0001-2\.tif"):
        source(changed(slide_cohort, 2, mpp_x=mpp))


def test_glass_of_half_a_meter_is_told(slide_cohort: sm.Cohort) -> None:
    with pytest.warns(sm.ValueWarning, match=r"1 of 6 slides of the index: implausible scale: .* would be 500 mm long"):
        source(changed(slide_cohort, 0, width=1_250_000))


def test_what_is_plausible_or_was_told_is_not_told(slide_cohort: sm.Cohort) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        source(slide_cohort.table)
        source(changed(slide_cohort, 2, mpp_x=0.02, index_note="implausible scale: told when it was indexed"))


def test_fifty_micrometers_are_too_coarse_for_training(slide_cohort: sm.Cohort) -> None:
    with pytest.warns(sm.ValueWarning, match="implausible scale"), pytest.raises(ValueError, match="expected at least half of the slide's own 50"):
        source(changed(slide_cohort, 2, mpp_x=50.0, mpp_y=50.0))


@pytest.mark.parametrize("column", ["width", "mpp_x", "cells", "tissue"])
def test_a_missing_value_is_named(column: str, slide_cohort: sm.Cohort) -> None:
    with pytest.raises(ValueError, match=rf"six: every slide of an index needs {column}; row 3 has none"):
        source(changed(slide_cohort, 3, **{column: None}))


@pytest.mark.parametrize("state", [None, "no json", "[]", "{}", '{"mpp": [1]}', "[" * 20_000])
def test_a_lost_state_means_that_slides_are_looked_at_again(state: Any, slide_cohort: sm.Cohort, tmp_path: Path) -> None:
    again = sm.Cohort.from_table(changed(slide_cohort, 1, index_state=state), name="six").index(tmp_path / "again.parquet")
    assert again is not None
    assert again.table["mpp_x"].tolist() == slide_cohort.table["mpp_x"].tolist()


def indexed(**changed_columns: Any) -> pd.DataFrame:
    table = {"path": ["a.edf", "b.edf", "c.edf"], "subject": ["a", "b", "c"], "sfreq": [100.0, 100.0, 200.0], "n_samples": [1000] * 3}
    return pd.DataFrame(table | {"channels": ['["Cz"]', '["O1"]', '["O1"]']} | changed_columns)


@pytest.mark.parametrize(
    ("column", "values"), [("channels", ['["Cz"]', None, '["O1"]']), ("channels", [None] * 3), ("sfreq", [100.0, np.nan, 200.0]), ("sfreq", [np.nan] * 3)]
)
def test_recordings_of_an_index_without_channels_do_not_get_those_of_others(column: str, values: list[Any]) -> None:
    with pytest.raises(
        sm.FormatError, match=rf"index: [ab]\.edf: expected a value in column '{column}' of every row, found none in [13] of 3 rows, row [01] first"
    ):
        eeg_index.channels(indexed(**{column: values}))
    with pytest.raises(sm.FormatError, match=rf"column '{column}'"):
        sm.modalities.eeg.channels(sm.Cohort.from_table(indexed(**{column: values}).assign(modality="eeg")))


def test_channels_of_any_depth_are_no_list() -> None:
    with pytest.raises(sm.FormatError, match=r"a\.edf: expected a JSON list of names in the index's column 'channels'"):
        eeg_index.channels(indexed(channels="[" * 20_000))
