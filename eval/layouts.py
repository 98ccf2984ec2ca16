"""The published data sets, as data: how each lies on disk, where to get it, and on what terms.

Nothing is downloaded here: most ask for a form or an e-mail. A folder inside the root is given as
the set's own archive names it.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Layout:
    """Where a data set keeps its files, below one of ``roots`` below the folder that is given."""

    name: str
    title: str
    images: str  # the photos, or the foregrounds where ``per_foreground`` is set
    alphas: str
    trimaps: str | None = None
    roots: tuple[str, ...] = ("",)
    per_foreground: int = 0  # 0: photos as they are; n: each foreground on n backgrounds
    names: tuple[str, str] | None = None  # lists of foregrounds and backgrounds, where published
    where: str = ""
    terms: str = ""


_P3M_TERMS = "MIT for the code; the data for non-commercial research, on agreement"

LAYOUTS: dict[str, Layout] = {
    layout.name: layout
    for layout in (
        Layout(
            name="alphamatting",
            title="alphamatting.com training set, low resolution (Rhemann et al., CVPR 2009)",
            images="input_training_lowres",
            alphas="gt_training_lowres",
            trimaps="trimap_training_lowres/Trimap1",
            where="http://www.alphamatting.com/datasets.php",
            terms="research; cite the paper",
        ),
        Layout(
            name="aim-500",
            title="AIM-500: natural photos of many kinds (Li et al., IJCAI 2021)",
            images="original",
            alphas="mask",
            trimaps="trimap",
            roots=("", "AIM-500"),
            where="https://github.com/JizhiziLi/AIM",
            terms="non-commercial research, on agreement",
        ),
        Layout(
            name="ppm-100",
            title="PPM-100: portraits (Ke et al., AAAI 2022)",
            images="image",
            alphas="matte",
            roots=("", "PPM-100"),
            where="https://github.com/ZHKKKe/PPM",
            terms="the photos keep their Flickr licences (Creative Commons); research",
        ),
        Layout(
            name="p3m-500-p",
            title="P3M-500-P: portraits, faces blurred (Li et al., ACM MM 2021)",
            images="blurred_image",
            alphas="mask",
            trimaps="trimap",
            roots=("", "P3M-500-P", "validation/P3M-500-P", "P3M-10k/validation/P3M-500-P"),
            where="https://github.com/JizhiziLi/P3M",
            terms=_P3M_TERMS,
        ),
        Layout(
            name="p3m-500-np",
            title="P3M-500-NP: portraits of public figures (Li et al., ACM MM 2021)",
            images="original_image",
            alphas="mask",
            trimaps="trimap",
            roots=("", "P3M-500-NP", "validation/P3M-500-NP", "P3M-10k/validation/P3M-500-NP"),
            where="https://github.com/JizhiziLi/P3M",
            terms=_P3M_TERMS,
        ),
        Layout(
            name="am-2k",
            title="AM-2k validation: 200 animals (Li et al., IJCV 2022)",
            images="original",
            alphas="mask",
            trimaps="trimap",
            roots=("", "validation", "AM-2k/validation"),
            where="https://github.com/JizhiziLi/GFM",
            terms="non-commercial research, on agreement",
        ),
        Layout(
            name="distinctions-646",
            title="Distinctions-646 test: 50 foregrounds on 20 backgrounds each "
            "(Qiao et al., CVPR 2020)",
            images="FG",
            alphas="GT",
            roots=("", "Test", "Distinctions-646/Test"),
            per_foreground=20,
            where="https://github.com/yuhaoliu7456/CVPR2020-HAttMatting (e-mail the authors); "
            "backgrounds: PASCAL VOC 2012",
            terms="academic research, on agreement",
        ),
        Layout(
            name="composition-1k",
            title="Composition-1k: 50 foregrounds on 20 backgrounds each (Xu et al., CVPR 2017)",
            images="Adobe-licensed images/fg",
            alphas="Adobe-licensed images/alpha",
            trimaps="Adobe-licensed images/trimaps",
            roots=("", "Test_set", "Combined_Dataset/Test_set"),
            per_foreground=20,
            names=("test_fg_names.txt", "test_bg_names.txt"),
            where="https://sites.google.com/view/deepimagematting (e-mail the authors); "
            "backgrounds: PASCAL VOC",
            terms="Adobe's licence: research, no redistribution",
        ),
        *(
            Layout(
                name=f"dis5k-{part.lower()}",
                title=f"DIS5K {part}: highly accurate binary masks (Qin et al., ECCV 2022)",
                images="im",
                alphas="gt",
                roots=("", f"DIS-{part}", f"DIS5K/DIS-{part}"),
                where="https://xuebinqin.github.io/dis/index.html",
                terms="non-commercial research, on agreement",
            )
            for part in ("VD", "TE1", "TE2", "TE3", "TE4")
        ),
    )
}
