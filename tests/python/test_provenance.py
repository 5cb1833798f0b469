"""What an encoder has seen is saved with its weights, and found again under other names."""

import copy
import json
import shutil
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from cohorts import PRE, cohort
from torch import nn

import sslmed as sm
from sslmed import contents, digests, provenance
from sslmed.evaluation import KnnProbe, knn_score, plan
from sslmed.provenance import Provenance, overlap, record, row_name, untrained

SMALL = {"encoder": "vit_tiny", "depth": 1, "batch_size": 4, "epochs": 1, "preprocessing": PRE, "progress": False, "tensorboard": False}
QUICK = {"baselines": False, "bootstrap": 5, "cv": 2}
FAST = sm.FineTuning(epochs=1, batch_size=12)


def encoder():
    return sm.Encoder("vit_tiny", PRE, depth=1)


def copies(people, folder, subjects="patient{}", header=None):
    """The same recordings under other file names, subjects and cohort; with other names in their headers where asked."""
    folder.mkdir()
    rows = []
    for i, path in enumerate(people.table["path"]):
        data = bytearray(Path(path).read_bytes())
        if header:
            data[8:88] = header.format(i).encode().ljust(80)
        (folder / f"{i}.edf").write_bytes(data)
        rows.append({"path": str(folder / f"{i}.edf"), "subject": subjects.format(i)})
    return sm.Cohort.from_table(pd.DataFrame(rows).join(people.table[["age", "sex"]]), name=folder.name)


@pytest.fixture(scope="module")
def run(tiny_site, tmp_path_factory):
    """Pretrained on four of the six people of the public site."""
    return sm.pretrain(tiny_site.subset(range(4)), out=tmp_path_factory.mktemp("run") / "r", **SMALL)


def test_pretraining_is_found_after_save_and_load(run, tiny_site):
    for model in (run.encoder, sm.Encoder.load(run.out / "encoder.safetensors")):
        found = overlap(model, tiny_site)
        assert (found.people, found.of, found.labels, found.probe, found.by_content, found.targets) == (4, 6, 0, 0, 4, ())
        assert found.rows.tolist() == [True] * 4 + [False] * 2
        assert not found.label_rows.any()
    stage = run.encoder.provenance.stages[0]
    assert str(stage) == "pretraining on public (4 subjects, 4 rows)"
    assert (len(stage.subjects), len(stage.contents)) == (4, 4)


def test_the_file_names_nobody(run, tiny_site):
    text = sm.io.load_metadata(run.out / "encoder.safetensors", "sslmed-encoder-1")["provenance"]
    assert not [s for s in tiny_site.table["subject"] if s in text]
    assert json.loads(text)["stages"][0]["cohort"] == "public"


@pytest.mark.parametrize("header", [None, "X X X renamed{}"])
def test_copies_under_other_names_are_found(run, tiny_site, tmp_path, header):
    """Other file names, subjects, cohort, and another patient in the header of the EDF file."""
    found = overlap(run.encoder, copies(tiny_site, tmp_path / "elsewhere", header=header))
    assert (found.people, found.of, found.by_content) == (4, 6, 4)


def test_a_new_recording_of_a_person_is_found_by_subject_and_site(run, tiny_site, tiny_clinic):
    names = [*tiny_site.table["subject"][:4], "x", "y"]
    new = tiny_clinic.subset(range(6)).with_columns(subject=names)
    assert overlap(run.encoder, new).people == 0, "a subject alone is nobody: sub-01 is in every data set"
    found = overlap(run.encoder, new.with_columns(site="public"))
    assert (found.people, found.by_content) == (4, 0)
    mixed = tiny_site.subset([0]).joined(new.with_columns(subject=[tiny_site.table["subject"][0], *"abcde"]), same_people=True)
    assert overlap(run.encoder, mixed).rows.tolist() == [True, True] + [False] * 5, "all rows of a person who was seen"


def test_arrays_in_memory(tmp_path):
    people = cohort(8, 4)
    model = encoder()
    model.provenance = record(None, "pretraining", people.subset(range(3)))
    others = sm.Cohort.from_arrays([r.signal for r in people.arrays], 100, ["A", "B", "C"], pd.DataFrame({"subject": list("abcdefgh")}), name="other")
    assert overlap(model, others).rows.tolist() == [True] * 3 + [False] * 5
    model.save(tmp_path / "e.safetensors")
    assert overlap(sm.Encoder.load(tmp_path / "e.safetensors"), others).people == 3
    assert overlap(encoder(), others).people == 0


def test_two_encoders_have_two_salts(tiny_site):
    a, b = (record(None, "pretraining", tiny_site) for _ in range(2))
    assert a.salt != b.salt
    assert not a.stages[0].subjects & b.stages[0].subjects
    assert not a.stages[0].contents & b.stages[0].contents
    both = record(a, "finetuning", tiny_site, "age")
    assert both.stages[0] is a.stages[0]
    assert both.stages[1].subjects == a.stages[0].subjects
    assert Provenance.loads(both.dumps()) == both
    assert Provenance.loads(None) is None


class Plain(sm.PythonEncoder):
    def __init__(self):
        super().__init__(8, PRE)
        self.embed = nn.Linear(PRE.patch_samples, 8)

    def encode_tokens(self, values, lengths, coords, extra):
        return self.embed(values)


def volumes():
    from ramps import RampPreprocessing

    return sm.ConvEncoder(RampPreprocessing(patch=None), widths=(4,))


@pytest.mark.parametrize("make", [encoder, volumes, Plain])
def test_every_encoder_keeps_it(make, tmp_path):
    model, path = make(), tmp_path / "e.safetensors"
    assert model.provenance is None
    model.save(path)
    again = make()
    if isinstance(model, Plain):
        again.provenance = record(None, "pretraining", cohort(2, 4))
        again.load_weights(path)
    assert (again if isinstance(model, Plain) else type(model).load(path)).provenance is None, "of a file that says nothing"
    model.provenance = record(None, "pretraining", cohort(4, 4))
    assert copy.deepcopy(model).provenance == model.provenance
    assert model.randomized().provenance is None
    model.save(path)
    if isinstance(model, Plain):
        again.load_weights(path)
    else:
        again = type(model).load(path)
    assert again.provenance == model.provenance
    if isinstance(model, sm.Encoder):
        assert model.with_adapters(2).provenance == model.provenance
    metadata = sm.io.load_metadata(path, *(f"sslmed-{kind}encoder-1" for kind in ("", "conv-", "python-")))
    sm.io.save_safetensors(model.state_dict(), path, metadata | {"provenance": '{"salt": "a", "stages": [3]}'})
    with pytest.raises(sm.FormatError, match="expected a provenance as it is saved"):
        again.load_weights(path) if isinstance(model, Plain) else type(model).load(path)


def test_hashes_that_are_none_are_refused():
    text = record(None, "pretraining", cohort(1, 4)).dumps()
    for wrong in ("xyz", "0123"):
        values = json.loads(text)
        values["stages"][0]["subjects"] = wrong
        with pytest.raises(ValueError, match="hashes of 16 hexadecimal digits"):
            Provenance.loads(json.dumps(values))


def test_a_probe_has_looked_at_labels_and_does_not_refuse_itself(tiny_site, tiny_clinic, tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("error", sm.TransductiveWarning)
        run = sm.pretrain(tiny_site, out=tmp_path / "r", probe=KnnProbe(tiny_site, "age"), **SMALL)
    found = overlap(run.encoder, tiny_site)
    assert (found.people, found.probe, found.labels) == (6, 6, 0)
    assert [stage.kind for stage in run.encoder.provenance.stages] == ["pretraining", "probe"]
    assert run.encoder.provenance.stages[1].target == "age"
    other = sm.pretrain(tiny_site, out=tmp_path / "s", probe=KnnProbe(tiny_clinic.with_columns(age=[None] * 5 + [30.5, 40.5] * 5), "age"), **SMALL)
    found = overlap(other.encoder, tiny_clinic)
    assert (found.people, found.probe) == (0, 10), "people without a value have no labels"
    result = sm.transfer(other.encoder, tiny_clinic, "age", **QUICK)
    assert result.provenance["probe"] == 10
    tuned = sm.finetune(other.encoder, tiny_clinic, "age", FAST)
    with pytest.raises(ValueError, match="was fine-tuned on the labels"):
        sm.pretrain(tiny_site, out=tmp_path / "t", probe=KnnProbe(tiny_clinic, "age"), **(SMALL | {"encoder": tuned.encoder, "depth": None}))


def test_a_resumed_run_has_seen_the_same(tiny_site, tmp_path):
    whole = sm.pretrain(tiny_site, out=tmp_path / "whole", **SMALL)
    cut = sm.pretrain(tiny_site, out=tmp_path / "cut", checkpoint_every=1, callback=lambda rows: False, **SMALL)
    assert cut.interrupted
    assert overlap(cut.encoder, tiny_site).people == 6, "its weights have moved"
    again = sm.pretrain(tiny_site, out=tmp_path / "cut", checkpoint_every=1, resume=True, **SMALL)
    for run in (whole, again):
        assert len(run.encoder.provenance.stages) == 1
        assert overlap(sm.Encoder.load(run.out / "encoder.safetensors"), tiny_site).people == 6
    longer = sm.pretrain(tiny_site.subset([0, 1]), out=tmp_path / "more", **(SMALL | {"encoder": again.encoder, "depth": None, "batch_size": 2}))
    assert [stage.n_subjects for stage in longer.encoder.provenance.stages] == [6, 2]


def test_fine_tuning_adds_labels_and_scores_on_them_are_refused(run, tiny_site, tiny_clinic, tmp_path):
    fitted = sm.finetune(run.encoder, tiny_clinic.subset(range(9)), "age", FAST)
    assert [(s.kind, s.target) for s in fitted.encoder.provenance.stages] == [("pretraining", None), ("finetuning", "age")]
    assert [s.kind for s in run.encoder.provenance.stages] == ["pretraining"], "the encoder that it starts from stays as it is"
    fitted.save(tmp_path / "t.safetensors")
    fitted.encoder.save(tmp_path / "e.safetensors")
    loaded = sm.FineTuned.load(tmp_path / "t.safetensors")
    assert loaded.provenance == loaded.encoder.provenance == fitted.provenance
    said = r"^clinic: target='sex': the encoder was fine-tuned on the labels \('age'\) of 9 of 15 people; score the encoder as it was before fine-tuning, or"
    for model in (fitted.encoder, loaded.encoder, tmp_path / "e.safetensors"):
        for score in (
            lambda model: sm.transfer(model, tiny_clinic, "sex", **QUICK),
            lambda model: plan(model, tiny_clinic, "sex", cv=2),
            lambda model: knn_score(model, tiny_clinic, "sex", cv=2),
            lambda model: sm.few_shot(model, tiny_clinic, "sex", (1,), repeats=1),
        ):
            with pytest.raises(ValueError, match=said):
                score(model)
    with pytest.raises(ValueError, match=said):
        sm.shift.report(tiny_clinic, tiny_site, fitted.encoder, target="sex", by=["age"], bootstrap=5)
    with pytest.raises(ValueError, match=r"'age'.* of 9 of 15 people"):
        sm.transfer(fitted.encoder, copies(tiny_clinic, tmp_path / "elsewhere", header="X{}"), "sex", **QUICK)
    result = sm.transfer(fitted.encoder, tiny_clinic.subset(range(9, 15)), "sex", **QUICK)
    assert result.provenance["transductive"] == 0


def test_labels_of_those_who_are_learned_from_may_be_known(run, tiny_site, tiny_clinic):
    """Only the scored people must be new: with test= nobody of the cohort is scored."""
    fitted = sm.finetune(run.encoder, tiny_clinic, "age", FAST)
    result = sm.transfer(fitted.encoder, tiny_clinic, "age", test=tiny_site.subset([4, 5]), baselines=False, bootstrap=5)
    assert result.provenance["people"] == 2
    with pytest.raises(ValueError, match="of 15 of 15 people"):
        sm.transfer(fitted.encoder, tiny_site, "age", test=tiny_clinic, baselines=False, bootstrap=5)


def test_an_encoder_that_was_not_tuned_has_seen_no_labels(run, tiny_clinic, tmp_path):
    fitted = sm.finetune(run.encoder, tiny_clinic, "age", sm.FineTuning(epochs=1, batch_size=12, tuned="nothing"))
    fitted.save(tmp_path / "t.safetensors")
    for network in (fitted, sm.FineTuned.load(tmp_path / "t.safetensors")):
        assert overlap(network, tiny_clinic).labels == 15
        assert network.encoder.provenance == run.encoder.provenance
        with pytest.raises(ValueError, match="recognized by their signals: 15 subjects are in training and test data at once"):
            network.predict(copies(tiny_clinic, tmp_path / f"copies-{id(network)}"))
    plain = sm.finetune(encoder(), tiny_clinic, "age", sm.FineTuning(epochs=1, batch_size=12, tuned="nothing"))
    plain.save(tmp_path / "p.safetensors")
    loaded = sm.FineTuned.load(tmp_path / "p.safetensors")
    assert loaded.encoder.provenance is None
    assert overlap(loaded, tiny_clinic).labels == 15


def test_an_unlabeled_cohort_is_seen_without_labels(tiny_site, tiny_clinic):
    fitted = sm.finetune(encoder(), tiny_clinic, "age", sm.FineTuning(epochs=1, batch_size=12, dann=0.1), unlabeled=tiny_site)
    found = overlap(fitted.encoder, tiny_site)
    assert (found.people, found.labels) == (6, 0)
    assert overlap(fitted.encoder, tiny_clinic).labels == 15


def test_networks_that_transfer_trains_predict_those_they_have_not_seen(tiny_clinic):
    result = sm.transfer(encoder(), tiny_clinic, "age", FAST, **QUICK)
    assert result.provenance == {"transductive": 0, "people": 15, "probe": 0, "encoder": "untrained"}


def test_transductive_tell_exclude_raise(run, tiny_site, tiny_clinic):
    with pytest.warns(sm.TransductiveWarning, match="transductive pretraining: 4 of 6 people of public") as caught:
        told = sm.transfer(run.encoder, tiny_site, "age", **QUICK)
    assert len([w for w in caught if w.category is sm.TransductiveWarning]) == 1
    assert told.provenance == {"transductive": 4, "people": 6, "probe": 0, "encoder": "pretraining on public (4 subjects, 4 rows)"}
    with pytest.raises(ValueError, match=r"transductive='raise': the encoder was trained on signals of 4 of 6 people of public"):
        sm.transfer(run.encoder, tiny_site, "age", transductive="raise", **QUICK)
    with warnings.catch_warnings():
        warnings.simplefilter("error", sm.TransductiveWarning)
        left = sm.transfer(run.encoder, tiny_site, "age", transductive="exclude", **QUICK)
        across = sm.transfer(run.encoder, tiny_clinic, "age", test=tiny_site, transductive="exclude", baselines=False, bootstrap=5)
        nobody = sm.transfer(run.encoder, tiny_clinic, "age", transductive="exclude", **QUICK)
        unseen = sm.transfer(run.encoder, tiny_clinic, "age", transductive="raise", **QUICK)
    for result in (left, across):
        assert result.provenance | {"encoder": ""} == {"transductive": 0, "people": 2, "probe": 0, "excluded": 4, "encoder": ""}
        assert sorted(result.people["subject"]) == sorted(tiny_site.table["subject"][4:])
    assert nobody.provenance["excluded"] == 0
    assert (nobody.provenance["people"], unseen.provenance["people"]) == (15, 15)
    assert sm.transfer(None, tiny_clinic, "age", **(QUICK | {"baselines": "dummy"})).provenance == {}
    with pytest.raises(ValueError, match="nobody is left"):
        sm.transfer(run.encoder, tiny_site.subset(range(4)), "age", transductive="exclude", **QUICK)
    with pytest.raises(ValueError, match="cv lists row positions that would no longer fit"):
        sm.transfer(run.encoder, tiny_site, "age", transductive="exclude", cv=[([0, 1, 2], [3, 4, 5])], baselines=False)
    with pytest.raises(ValueError, match="transductive='x' must be one of 'tell', 'exclude', 'raise'"):
        sm.transfer(run.encoder, tiny_site, "age", transductive="x", **QUICK)
    with pytest.warns(sm.TransductiveWarning, match="4 of 6"):
        knn_score(run.encoder, tiny_site, "age", cv=2)
    with pytest.warns(sm.TransductiveWarning, match="4 of 6"):
        sm.few_shot(run.encoder, tiny_site.with_columns(half=list("aabbab")), "half", (1,), repeats=1)


def test_excluding_people_also_excludes_their_labels(run, tiny_clinic):
    fitted = sm.finetune(run.encoder, tiny_clinic.subset(range(9)), "age", FAST)
    result = sm.transfer(fitted.encoder, tiny_clinic, "age", transductive="exclude", **QUICK)
    assert (result.provenance["people"], result.provenance["excluded"]) == (6, 9)


def test_rows_are_named_by_provenance(run, tiny_clinic, tmp_path):
    fresh = encoder()
    assert untrained(fresh)
    assert untrained(fresh.double())
    assert untrained(volumes())
    assert untrained(fresh.randomized())
    assert (row_name(fresh), provenance.origin(fresh)) == ("random encoder", "untrained")
    assert not untrained(run.encoder)
    assert (row_name(run.encoder), provenance.origin(run.encoder)) == ("pretrained encoder", "pretraining on public (4 subjects, 4 rows)")
    fitted = sm.finetune(run.encoder, tiny_clinic, "age", FAST)
    assert row_name(fitted.encoder) == "fine-tuned encoder"
    assert provenance.origin(fitted.encoder).endswith("; finetuning on clinic with target 'age' (15 subjects, 15 rows)")
    foreign = encoder()
    with torch.no_grad():
        next(foreign.parameters()).add_(1)
    assert (row_name(foreign), provenance.origin(foreign)) == ("pretrained encoder", "unknown origin")
    assert sm.transfer(foreign, tiny_clinic, "age", **QUICK).provenance["encoder"] == "unknown origin"
    assert not untrained(Plain())
    assert row_name(Plain()) == "pretrained encoder"


def test_files_are_hashed_once_and_again_when_they_change(tiny_site, tmp_path, monkeypatch):
    people = copies(tiny_site, tmp_path / "site")
    hashed = []
    real = digests.of_file
    monkeypatch.setattr(digests, "of_file", lambda path, start=0: hashed.append(path) or real(path, start))
    first = contents.contents(people)
    assert contents.contents(people) == first
    assert len(hashed) == 6
    path = Path(people.table["path"][0])
    path.write_bytes(path.read_bytes()[:-2] + b"zz")
    assert [a == b for a, b in zip(contents.contents(people), first, strict=True)] == [False] + [True] * 5
    path.unlink()
    assert contents.contents(people)[0] is None
    assert len(record(None, "pretraining", people).stages[0].contents) == 5


def test_large_files_are_known_by_three_pieces(tmp_path, monkeypatch):
    monkeypatch.setattr(digests, "WHOLE", 300)
    monkeypatch.setattr(digests, "PIECE", 100)
    data = np.random.default_rng(0).integers(0, 256, 1000, np.uint8)
    (tmp_path / "a").write_bytes(b"header" + data.tobytes())
    whole = digests.of_file(tmp_path / "a", 6)
    for place, same in ((0, False), (200, True), (500, False), (800, True), (950, False)):
        changed = data.copy()
        changed[place] ^= 1
        (tmp_path / "b").write_bytes(b"HEADER" + changed.tobytes())
        assert (digests.of_file(tmp_path / "b", 6) == whole) == same
    (tmp_path / "b").write_bytes(b"HEADER" + data[:-1].tobytes())
    assert digests.of_file(tmp_path / "b", 6) != whole


def test_of_other_modalities_the_whole_file_counts(tmp_path, rng):
    from PIL import Image

    for name in "ab":
        Image.fromarray(rng.integers(0, 256, (8, 8, 3), np.uint8)).save(tmp_path / f"{name}.png")
    shutil.copy(tmp_path / "a.png", tmp_path / "c.png")
    pictures = sm.Cohort.from_table(pd.DataFrame({"path": [str(tmp_path / f"{n}.png") for n in "abc"], "subject": list("abc")}))
    found = contents.contents(pictures)
    assert found[0] == found[2] != found[1]
    assert sm.modalities.get("images").body(tmp_path / "a.png") == 0
    assert sm.modalities.get("eeg").body(tmp_path / "a.png") == 0, "what is no EDF file has no header to skip"


def test_too_many_rows_are_told(monkeypatch):
    monkeypatch.setattr(provenance, "_MOST", 5)
    with pytest.warns(sm.LeftOutWarning, match="signals are not recorded, subjects are"):
        made = record(None, "pretraining", cohort(6, 4))
    assert (len(made.stages[0].contents), len(made.stages[0].subjects)) == (0, 6)
