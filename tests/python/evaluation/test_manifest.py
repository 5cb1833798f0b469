import json

import numpy as np
import pandas as pd
import pytest
from sklearn.model_selection import GroupKFold

import sslmed as sm
from sslmed.evaluation import features
from sslmed.evaluation.manifest import load_manifest, remake


def people(n=36, per=1):
    rng = np.random.default_rng(0)
    table = pd.DataFrame({"subject": [f"s{i // per}" for i in range(n)], "y": np.repeat(np.tile(["a", "b"], n // (2 * per)), per), "age": rng.normal(60, 9, n)})
    table["sex"] = np.tile(["F", "F", "M"], n // 3)
    x = rng.normal(size=(n, 5)) + 0.8 * (table["y"] == "b").to_numpy()[:, None]
    return x, table


def again(result, x, table, tmp_path):
    """The result that the manifest's JSON gives."""
    result.save_manifest(tmp_path / "manifest.json")
    manifest = load_manifest(tmp_path / "manifest.json")
    assert manifest == result.manifest
    made = remake(manifest, x, table)
    assert made.manifest == result.manifest
    for name in ("table", "comparisons", "predictions"):
        pd.testing.assert_frame_equal(getattr(made, name), getattr(result, name), check_exact=True)
    return made


@pytest.mark.parametrize(
    "how",
    [
        {"positive": "b", "covariates": ["age", "sex"], "balanced": True, "prevalence": 0.1, "cv": 3},
        {"cv": "loso", "level": "recording"},
        {"protocol": "knn", "cv": 3},
        {"cv": GroupKFold(3)},
        {"cv": [(np.arange(12, 30), np.arange(12))]},
        {"regression": True, "cv": 4, "target": "age"},
    ],
    ids=["covariates", "loso", "knn", "splitter", "gap", "regression"],
)
@pytest.mark.filterwarnings("ignore::sslmed.UntestedWarning")
def test_the_same_table_is_made_again_bit_for_bit(how, tmp_path):
    x, table = people()
    how = {"target": "y", "repeats": 3, "permutations": 19, "seed": 7} | how
    again(sm.evaluate(x, table, **how), x, table, tmp_path)


def test_recordings_of_one_person_missing_values_and_named_features(tmp_path):
    x, table = people(48, per=2)
    table.loc[[0, 1, 5], "y"] = None
    given = {"raw": x[:, :2], "pretrained": x}
    result = sm.evaluate(given, table, "y", cv=3, repeats=2, permutations=19, covariates=["sex"])
    again(result, given, table, tmp_path)
    flow = pd.DataFrame(result.manifest["flow"]).set_index("step")
    assert flow.loc["in the table"].tolist() == [48, 24]
    assert flow.loc["left out: no value of 'y'"].tolist() == [3, 1]
    assert flow.loc["scored"].tolist() == [45, 23]


def cohort(per=1):
    rng, (_, table) = np.random.default_rng(1), people(24, per)
    return sm.Cohort.from_arrays(rng.normal(size=(24, 2, 800)), 100, ["Cz", "O2"], table, name="here")


@pytest.mark.filterwarnings("ignore:predictions")
def test_a_transfer_of_frozen_features_is_made_again(tmp_path):
    here = cohort()
    encoder = sm.Encoder("vit_tiny", sm.EegPreprocessing(sfreq=100, window=4, patch=1), depth=1)
    result = sm.transfer(encoder, here, "age", cv=3, repeats=2, baselines=["dummy", "band power"], bias_correction=True)
    given = {"band power": features.classical([here], ["band power"])[0]["band power"], "random encoder": features.encoder_features(encoder, here)}
    again(result, given, here.table, tmp_path)


def test_networks_and_fitted_models_are_not_made_again():
    here = cohort()
    other = sm.Cohort.from_arrays(np.random.default_rng(2).normal(size=(24, 2, 800)), 100, ["Cz", "O2"], here.table.assign(subject=range(24)), name="there")
    result = sm.transfer(None, here, "y", baselines=["dummy", "band power"], test=other, bootstrap=5)
    assert result.manifest["kind"] == "fitted model"
    assert result.manifest["trained_on"] == 24
    json.dumps(result.manifest)
    with pytest.raises(ValueError, match=r"remake: manifest is of fitted models on another cohort"):
        remake(result.manifest, np.zeros((24, 2)), here.table)


def test_whatever_differs_is_named():
    x, table = people()
    manifest = sm.evaluate(x, table, "y", cv=3, repeats=2, permutations=0, covariates=["age"]).manifest
    for features_, table_, said in [
        (x + 1e-12, table, r"features\['features'\] \[36, 5\] differ from those of the manifest \[36, 5\]"),
        (x[:, :3], table, r"features\['features'\] \[36, 3\] differ from those of the manifest \[36, 5\]"),
        ({"other": x}, table, "features must hold the row 'features' of the manifest, got other"),
        (x, table.assign(y=table["y"].to_numpy()[::-1]), "the values of target='y', or their order, differ"),
        (x, table.assign(y=np.where(table["y"] == "a", "a", "c")), r"has the classes \['a', 'c'\], and the manifest \['a', 'b'\]"),
        (x, table.assign(subject=np.arange(36) // 2), "which rows are of the same subject, or their order, differs"),
        (x, table.assign(age=table["age"] + 1), "the covariates age differ from those of the manifest's row 'covariates'"),
        (x[:30], table[:30], "table has 30 recordings with a value of 'y', and the manifest 36"),
    ]:
        with pytest.raises(ValueError, match=said):
            remake(manifest, features_, table_)


def test_a_file_that_is_no_manifest_is_refused(tmp_path):
    (tmp_path / "m.json").write_text("{")
    with pytest.raises(ValueError, match=r"load_manifest: path='.*m\.json' must be JSON"):
        load_manifest(tmp_path / "m.json")
    (tmp_path / "m.json").write_text('{"kind": "folds"}')
    with pytest.raises(
        ValueError, match=r"must be the manifest of a result of sslmed\.evaluate or sslmed\.transfer; options, rows, target, persons is missing"
    ):
        load_manifest(tmp_path / "m.json")
