"""Small synthetic brains, healthy and with lesions, and an untrained encoder of their patches."""

import lesions
import pytest

import sslmed as sm


@pytest.fixture(scope="session")
def healthy(tmp_path_factory):
    return lesions.healthy(tmp_path_factory.mktemp("anomaly") / "healthy", 34, 11)


@pytest.fixture(scope="session")
def tested(tmp_path_factory):
    folder = tmp_path_factory.mktemp("anomaly")
    sick, others = lesions.sick(folder / "sick", 6, 12), lesions.healthy(folder / "others", 6, 13)
    return sick.joined(others, same_people=True, name="tested")


@pytest.fixture(scope="session")
def encoder():
    how = sm.VolumePreprocessing(spacing=lesions.SPACING, patch=4)
    return sm.Encoder("vit_tiny", how, depth=1, dim=48, heads=3, seed=1)
