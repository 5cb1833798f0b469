"""The real volumes under SSLMED_DATA as cohorts."""

from pathlib import Path

import pandas as pd

import sslmed as sm

SITES = {"ixi": "IXI Hammersmith", "pet": "CDI", "elderly": "nichart", "oasis": "OASIS"}


def ixi(root: Path) -> sm.Cohort:
    """136 healthy people, T1 at 2 mm, brain-masked."""
    folder = root / "mri/ixi_hh_2mm"
    table = _participants(folder)
    table["path"] = [str(folder / f"{subject}_T1w_brain.nii.gz") for subject in table["subject"]]
    return sm.Cohort.from_table(table.assign(sequence="T1w", site=SITES["ixi"]), name="ixi")


def pet(root: Path) -> sm.Cohort:
    """145 FDG-PET, of people with Alzheimer's disease and without."""
    folder = root / "mri/cdi_fdg_pet"
    table = _participants(folder)
    table["path"] = [str(folder / f"{subject}_FDGPET.nii.gz") for subject in table["subject"]]
    return sm.Cohort.from_table(_present(table).assign(sequence="pet", site=SITES["pet"]), name="fdg-pet")


def elderly(root: Path) -> sm.Cohort:
    """17 people, T1 and FLAIR; of one in three the FLAIR is left out."""
    folder = root / "mri/nichart_elderly"
    table = _participants(folder)
    table["path_T1w"] = [str(folder / f"{subject}_T1w_brain.nii.gz") for subject in table["subject"]]
    flair = [str(folder / f"{subject}_FLAIR.nii.gz") for subject in table["subject"]]
    table["path_FLAIR"] = [path if number % 3 else None for number, path in enumerate(flair)]
    table["path"] = table["path_T1w"]
    return sm.Cohort.from_table(_present(table).assign(site=SITES["elderly"]), name="elderly")


def oasis(root: Path) -> sm.Cohort:
    """11 scans of 10 people, one scanned twice."""
    cohort = sm.Cohort.from_bids(root / "mri/oasis_malf", name="oasis")
    return cohort.with_columns(site=SITES["oasis"])


def _participants(folder: Path) -> pd.DataFrame:
    table = pd.read_csv(folder / "participants.tsv", sep="\t", na_values="n/a")
    return table.rename(columns={"participant_id": "subject"})


def _present(table: pd.DataFrame) -> pd.DataFrame:
    return table[[Path(path).exists() for path in table["path"]]].reset_index(drop=True)


def multiple_sclerosis(root: Path) -> sm.Cohort:
    """3 people, four sequences each."""
    folder = root / "mri/open_ms_mni2mm"
    table = _participants(folder)
    for name, suffix in {"T1w": "T1", "FLAIR": "FLAIR", "T2w": "T2", "ceT1w": "T1POST"}.items():
        table[f"path_{name}"] = [str(folder / f"{subject}_{suffix}.nii.gz") for subject in table["subject"]]
    return sm.Cohort.from_table(table.assign(path=table["path_T1w"], site="Ljubljana"), name="ms")


def tumors(root: Path) -> sm.Cohort:
    """FLAIR of 2 people."""
    folder = root / "mri/brats2015"
    people = ["pat0005", "pat0006"]
    files = [str(folder / f"{one}_Flair_subtrMeanDivStd.nii.gz") for one in people]
    masks = [str(folder / f"{one}_brainmask.nii.gz") for one in people]
    table = pd.DataFrame({"subject": people, "path": files, "path_mask": masks, "sequence": "FLAIR", "site": "BraTS"})
    return sm.Cohort.from_table(table, name="brats")


COHORTS = {"ixi": ixi, "fdg-pet": pet, "elderly": elderly, "oasis": oasis, "ms": multiple_sclerosis, "brats": tumors}


def prepared(root: Path, out: Path, **settings: object) -> dict[str, sm.Cohort]:
    """All cohorts, prepared; subjects are named by their cohort, too."""
    found = {}
    for name, make in COHORTS.items():
        cohort = sm.prepare(make(root), out / name, **settings)
        assert cohort is not None
        found[name] = cohort.with_columns(subject=[f"{name}/{subject}" for subject in cohort.table["subject"]])
    return found
