"""Stain transforms equal their definitions in NumPy."""

import numpy as np
import pytest
import torch
from PIL import Image

import sslmed as sm
from sslmed.transforms import stain

HED = np.array([[0.65, 0.70, 0.29], [0.07, 0.99, 0.11], [0.27, 0.57, 0.78]])


def tissue_picture(rng, side=96):
    """Two stains on glass, in known amounts."""
    vectors = np.array([[0.64, 0.71, 0.29], [0.09, 0.95, 0.28]]) + rng.normal(0, 0.02, (2, 3))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    amounts = rng.gamma(2.0, 0.4, (side, side, 2)) * (rng.random((side, side, 2)) < 0.7)
    amounts[: side // 4] = 0
    image = 255 * np.exp(-(amounts @ vectors) - np.abs(rng.normal(0, 0.01, (side, side, 3))))
    return torch.from_numpy(image.round().astype(np.uint8))


def density(image):
    return np.maximum(-np.log(np.maximum(image.astype(float), 1) / 255), 1e-6)


def linear(image):
    v = image / 255
    return np.where(v <= 0.04045, v / 12.92, ((v + 0.055) / 1.055) ** 2.4)


XYZ = np.array([[0.412453, 0.357580, 0.180423], [0.212671, 0.715160, 0.072169], [0.019334, 0.119193, 0.950227]])
WHITE = np.array([0.950456, 1.0, 1.088754])


def to_lab(image):
    t = linear(image.astype(float)) @ XYZ.T / WHITE
    f = np.where(t > 216 / 24389, np.cbrt(t), (24389 / 27 * t + 16) / 116)
    return np.stack([116 * f[..., 1] - 16, 500 * (f[..., 0] - f[..., 1]), 200 * (f[..., 1] - f[..., 2])], -1)


def from_lab(lab):
    y = (lab[..., 0] + 16) / 116
    f = np.stack([y + lab[..., 1] / 500, y, y - lab[..., 2] / 200], -1)
    t = np.where(f > 6 / 29, f**3, (116 * f - 16) * 27 / 24389)
    light = (t * WHITE) @ np.linalg.inv(XYZ).T
    v = np.where(light <= 0.0031308, 12.92 * light, 1.055 * np.maximum(light, 0) ** (1 / 2.4) - 0.055)
    return np.clip(v * 255, 0, 255)


def macenko(image):
    od, tissue = density(image).reshape(-1, 3), to_lab(image)[..., 0].ravel() < 80
    _, vectors = np.linalg.eigh(np.cov(od[tissue], rowvar=False))
    plane = vectors[:, [2, 1]]
    plane = plane * np.where(plane[0] < 0, -1, 1)
    phi = np.arctan2(*(od[tissue] @ plane).T[::-1])
    he = np.array([plane @ [np.cos(a), np.sin(a)] for a in np.percentile(phi, [1, 99])])
    he = he[np.argsort(-he[:, 0])]
    he /= np.linalg.norm(he, axis=1, keepdims=True)
    amounts = np.linalg.lstsq(he.T, od.T, rcond=None)[0].T
    return he, amounts, np.percentile(amounts, 99, axis=0)


def close(got, want):
    """Equal but for the rounding of halves."""
    return np.abs(got.numpy().astype(float) - np.clip(want, 0, 255)).max() < 0.5 + 2e-3


def test_hed_jitter_is_its_matrix(rng):
    image = torch.from_numpy(rng.integers(0, 256, (40, 50, 3), dtype=np.uint8))
    for _ in range(20):
        scale, shift = rng.uniform(0.7, 1.3, 3), rng.uniform(-0.2, 0.2, 3)
        amounts = -np.log(image.numpy() / 255 + 1e-6) @ np.linalg.inv(HED)
        want = (np.exp(-(amounts * scale + shift) @ HED) - 1e-6) * 255
        got = stain.hed_jitter(image, scale, shift).numpy().astype(float)
        off = np.abs(got - np.clip(want, 0, 255))
        # Black has a density of 13.8: what jitter makes of it is large or tiny.
        assert off[(image.numpy() > 0).all(-1)].max() < 0.5 + 2e-3
        assert off.max() < 1
    assert torch.equal(stain.hed_jitter(image, (1, 1, 1), (0, 0, 0)), image)


def test_macenko_finds_the_stains_that_are_there(rng):
    image = tissue_picture(rng)
    he, _, most = macenko(image.numpy())
    found = stain.macenko_fit(image)
    assert np.abs(np.array(found.vectors) - he).max() < 1e-9
    assert np.abs(np.array(found.most) - most).max() < 1e-9


def test_macenko_normalizes_as_published(rng):
    image, target = tissue_picture(rng), tissue_picture(rng)
    _, amounts, most = macenko(image.numpy())
    he, _, other = macenko(target.numpy())
    want = 255 * np.exp(-(amounts / most * other) @ he).reshape(image.shape)
    assert close(stain.macenko_normalize(image, stain.macenko_fit(target)), want)
    # Twice is once: the picture has the target's stains by then.
    once = stain.macenko_normalize(image, stain.macenko_fit(target), stain.macenko_fit(image))
    assert close(once, want)


def test_macenko_augments_tissue_alone(rng):
    image = tissue_picture(rng)
    he, amounts, _ = macenko(image.numpy())
    scale, shift = rng.uniform(0.6, 1.4, 2), rng.uniform(-0.2, 0.2, 2)
    want = 255 * np.exp(-(amounts * scale + shift) @ he).reshape(image.shape)
    tissue = (to_lab(image.numpy())[..., 0] < 80)[..., None]
    assert close(stain.macenko_augment(image, scale, shift), np.where(tissue, want, image.numpy()))


@pytest.mark.parametrize("value", [0, 128, 243, 255])
def test_pictures_without_tissue_pass(value, rng):
    blank = torch.full((64, 64, 3), value, dtype=torch.uint8)
    target = stain.macenko_fit(tissue_picture(rng))
    assert stain.macenko_fit(blank) is None
    assert torch.equal(stain.macenko_normalize(blank, target), blank)
    assert torch.equal(stain.macenko_augment(blank, (0.8, 1.2), (0.1, -0.1)), blank)
    noise = torch.from_numpy(rng.integers(238, 250, (64, 64, 3), dtype=np.uint8))
    noise[:4, :5] = 90  # fewer pixels than say anything
    assert torch.equal(stain.macenko_normalize(noise, target), noise)


def test_reinhard_moves_means_and_spreads_of_tissue(rng):
    image, target = tissue_picture(rng), tissue_picture(rng)
    a, b = to_lab(image.numpy()), to_lab(target.numpy())
    on, of = a[..., 0] < 80, b[..., 0] < 80
    found = stain.reinhard_fit(target)
    assert np.abs(np.array(found.mean) - b[of].mean(0)).max() < 1e-9
    assert np.abs(np.array(found.spread) - b[of].std(0)).max() < 1e-9
    want = from_lab((a - a[on].mean(0)) / a[on].std(0) * b[of].std(0) + b[of].mean(0))
    assert close(stain.reinhard_normalize(image, found), np.where(on[..., None], want, image.numpy()))
    flat = torch.full((16, 16, 3), 120, dtype=torch.uint8)
    got = stain.reinhard_normalize(flat, found)
    assert (got == got[0, 0]).all()
    assert close(got, from_lab(np.broadcast_to(b[of].mean(0), (16, 16, 3))))
    more_glass = torch.cat([image, torch.full((400, image.shape[1], 3), 245, dtype=torch.uint8)])
    assert np.allclose(stain.reinhard_fit(more_glass).mean, stain.reinhard_fit(image).mean)  # whatever share of the picture is glass


@pytest.mark.parametrize("kind", ["glass", "noise", "a speck"])
def test_reinhard_leaves_glass_alone(kind, rng):
    glass = np.clip(243 + rng.normal(0, {"noise": 6}.get(kind, 1.5), (64, 64, 1)) + np.zeros(3), 0, 255).astype(np.uint8)
    if kind == "a speck":
        glass[:4, :5] = (150, 60, 140)
    assert stain.reinhard_fit(glass) is None
    target = stain.reinhard_fit(tissue_picture(rng))
    assert torch.equal(stain.reinhard_normalize(glass, target), torch.from_numpy(glass))
    with pytest.raises(TypeError, match="target=None, expected the moments of a picture with tissue"):
        stain.reinhard_normalize(tissue_picture(rng), stain.reinhard_fit(glass))


@pytest.mark.parametrize("name", ["hematoxylin", "eosin", "DAB"])
@pytest.mark.parametrize("noise", [0.5, 1.0, 2.0])
def test_one_stain_alone_is_not_two(name, noise, rng):
    vector = np.array({"hematoxylin": (0.65, 0.70, 0.29), "eosin": (0.07, 0.99, 0.11), "DAB": (0.27, 0.57, 0.78)}[name])
    amount = np.asarray(Image.fromarray((rng.random((24, 24)) * 255).astype(np.uint8)).resize((256, 256), Image.Resampling.BICUBIC)) / 255
    light = 245 * np.exp(-1.2 * amount[..., None] * vector) + rng.normal(0, noise, (256, 256, 1))
    alone = torch.from_numpy(np.clip(light, 0, 255).round().astype(np.uint8))
    assert stain.macenko_fit(alone) is None
    target = stain.macenko_fit(tissue_picture(rng))
    assert target is not None
    assert torch.equal(stain.macenko_normalize(alone, target), alone)


@pytest.mark.data
def test_real_tissue(data_root):
    folder = data_root / "pathology"
    read = {path.name: sm.io.read_image(path)[..., :3].contiguous() for path in (folder / "histolab_tiles").glob("*.png")}
    target = stain.macenko_fit(sm.io.read_image(sorted((folder / "tcga_lgg_patches").glob("*.png"))[0])[..., :3])
    for name, image in read.items():
        found = stain.macenko_fit(image)
        result = stain.macenko_normalize(image, target)
        if found is None or name.startswith(("no-tissue.", "no-tissue2", "almost-white")):
            assert name.startswith(("no-tissue", "almost-white")), name
            assert found is None or not name.startswith("almost"), name
            continue
        he, amounts, most = macenko(image.numpy())
        assert np.abs(np.array(found.vectors) - he).max() < 1e-6, name
        want = 255 * np.exp(-(amounts / most * target.most) @ np.array(target.vectors)).reshape(image.shape)
        assert close(result, want), name


def test_what_is_refused():
    for wrong in (torch.zeros(4, 4, 3), torch.zeros(4, 4, 1, dtype=torch.uint8), torch.zeros(0, 4, 3, dtype=torch.uint8)):
        for call in (lambda x: stain.hed_jitter(x, (1, 1, 1), (0, 0, 0)), stain.macenko_fit, stain.reinhard_fit):
            with pytest.raises(ValueError, match="height, width, 3"):
                call(wrong)
