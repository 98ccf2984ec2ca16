from __future__ import annotations

import numpy as np
from scipy import ndimage

from eval import regions
from pipeline import Settings, roi
from tests.eval.conftest import soft_disc


def test_the_band_is_what_lies_near_the_edge() -> None:
    truth = soft_disc()
    away = ndimage.distance_transform_edt(~((truth > 0.005) & (truth < 0.995)))
    assert (regions.band(truth) == (away < 10)).all()


def test_hard_edges_have_a_band_too() -> None:
    hard = (soft_disc() > 0.5).astype(np.float32)
    assert not ((hard > 0) & (hard < 1)).any()
    band = regions.band(hard)
    assert band.any() and not band.all()


def test_no_edge_no_band() -> None:
    flat = np.ones((20, 20), np.float32)
    assert not regions.band(flat).any()
    assert list(regions.all_of(flat)) == ["whole"]


def test_regions_are_there_when_they_can_be() -> None:
    truth = soft_disc()
    trimap = np.where(truth == 0, 0, np.where(truth == 1, 255, 128)).astype(np.uint8)
    areas = regions.all_of(truth, trimap, coarse=truth)
    assert set(areas) == {"whole", "edge", "unknown", "roi"}
    unknown, roi = areas["unknown"], areas["roi"]
    assert unknown is not None and roi is not None
    assert (unknown == ((truth > 0) & (truth < 1))).all()
    assert roi.shape == truth.shape


def test_the_roi_is_as_wide_as_stage_1_was_coarse() -> None:
    """So many cells around the edge, whatever a cell is: the product has it so."""
    truth = soft_disc()
    for cells in ((48, 48), (32, 64)):
        expected = roi.find(truth, cells, Settings().roi_threshold, Settings().reach)
        area = regions.all_of(truth, coarse=truth, cells=cells)["roi"]
        assert area is not None and (area == expected).all()
