"""The models that Wisp knows, as data: what goes in, what comes out, whose it is, where it lies.

A model is an entry in a table, not a class of its own: what differs between two U²-Nets is how
the picture is normalised and what the output is called.

Where the facts come from: addresses, MD5 sums, and the pre- and post-processing of the public
models are those that rembg 2.0 publishes and uses; MODNet's are those of its authors' ONNX demo.
rembg publishes no SHA-256; the sums below are those on record, in agreement with each other, in
several public projects that use the same release files.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

WEIGHTS = Path(__file__).parents[1] / "weights"


#: The second input of a network that takes hints, (N, 2, h, w): what to keep and what to drop.
HINTS = "hints"


@dataclass(frozen=True)
class CoarseModel:
    """A stage-1 network: what goes in, what comes out, and whose it is."""

    path: Path
    licence: str
    source: str
    sha256: str
    size: tuple[int, int] = (320, 320)  # (height, width) of the view that the network sees
    #: The view of a second look (:mod:`pipeline.views`), where the file takes any size; (0, 0): the
    #: same. A smaller one shows the same things at another scale, and takes less time.
    second: tuple[int, int] = (0, 0)
    #: 0: the photo is squashed to ``size``. Else it keeps its proportions, each side a multiple of
    #: this, by the rule of :func:`pipeline.coarse.view`.
    multiple: int = 0
    resampling: str = "lanczos"  # or "area", as OpenCV's INTER_AREA
    mean: tuple[float, float, float] = (0.485, 0.456, 0.406)  # RGB, 0..1: ImageNet's
    std: tuple[float, float, float] = (0.229, 0.224, 0.225)
    scale_by_max: bool = True  # divide by the brightest value in the view, not by 255
    sigmoid: bool = False  # the network answers logits
    output_range: tuple[float, float] = (0.0, 1.0)  # answers that mean fully out and fully in
    hints: bool = False  # whether the file has an input for :data:`HINTS`
    input: str = "input"
    output: str = "d0"
    purpose: str = ""
    noncommercial: bool = False  # the licence forbids commercial use
    fp32_variant: str = ""  # the entry of the same network in 32 bits, where this one is for CPUs
    #: Of a model in two halves: the entry (once it was looked up: the file) of the one that is told
    #: points and a box, and answers with a mask. ``path`` is the one that sees the photo.
    decoder: str = ""
    url: str = ""  # of the public release; none for what is bundled or a user's own
    length: int = 0  # bytes
    md5: str = ""  # where the publisher gives one; checked beside sha256


@dataclass(frozen=True)
class RefinerModel:
    """A stage-2 network; input and output are the same for all: see :mod:`pipeline.generator`."""

    path: Path
    licence: str
    source: str
    sha256: str
    purpose: str = ""
    fp32_variant: str = ""  # as of a :class:`CoarseModel`


#: What a U²-Net says this close to an end means that end: an alpha of 0.97 is a subject seen
#: through, one of 0.03 a veil over the background, and nobody means either.
CONFIDENT = (0.05, 0.95)

#: On held-out photos a second look at 224 px is worth more than one at 320, for half its time.
SECOND = (224, 224)

#: Stage-1 models that ship with Wisp.
COARSE: dict[str, CoarseModel] = {
    # The default: as good as in 32 bits, and twice as fast on processors with VNNI. Its weights
    # have 7 bits, so that processors without VNNI do not overflow.
    "wisp": CoarseModel(
        path=WEIGHTS / "coarse_int8.onnx",
        licence="see MODEL_CARD_coarse.md beside the file",
        source="bundled; trained by train_u2net.py",
        sha256="67ea903b18e4f3c8ad30646276e638b910b8e7f90e969469c5a27407834ddf63",
        resampling="area",  # as it was trained, and a third of Lanczos' time
        second=SECOND,
        output_range=CONFIDENT,
        purpose="people, animals, things; the default",
        fp32_variant="wisp-fp32",
    ),
    "wisp-fp32": CoarseModel(
        path=WEIGHTS / "coarse.onnx",
        licence="see MODEL_CARD_coarse.md beside the file",
        source="bundled; trained by train_u2net.py",
        sha256="410449564dddc20c07393d59c14855d5a1bc3ac36d120886f04f7cfe1a3e517c",
        resampling="area",
        second=SECOND,
        output_range=CONFIDENT,
        purpose="the default in 32 bits, which other devices than a CPU take by themselves",
    ),
}

#: Stage-2 models that ship with Wisp.
REFINERS: dict[str, RefinerModel] = {
    # The default, in 8 bits as that of stage 1.
    "wisp": RefinerModel(
        path=WEIGHTS / "refiner_int8.onnx",
        licence="see MODEL_CARD_refiner.md beside the file",
        source="bundled; trained by train_refiner.py",
        sha256="0001e51e247d4cfec17a963071553bafb221f579765f200c8903c10d6ec4b9f2",
        purpose="hair, fur and other edges; the default",
        fp32_variant="wisp-fp32",
    ),
    "wisp-fp32": RefinerModel(
        path=WEIGHTS / "refiner.onnx",
        licence="see MODEL_CARD_refiner.md beside the file",
        source="bundled; trained by train_refiner.py",
        sha256="7af2fdf5b13c2719e646c95ace513896f0d2f364a140a3579bfae9dfeb5babb5",
        purpose="the default in 32 bits, which other devices than a CPU take by themselves",
    ),
    # Less exact, for who may not ship what was trained on pictures for research.
    "wisp-permissive": RefinerModel(
        path=WEIGHTS / "refiner_permissive_int8.onnx",
        licence="see MODEL_CARD_refiner_permissive.md beside the file",
        source="bundled; trained by train_refiner.py --recipe permissive",
        sha256="6bc15c1f11d112a01f350f3eb3a82945d5bd66ad1ec9eb7cf719d5e125f8a1fb",
        purpose="trained on pictures whose terms permit commercial use alone",
        fp32_variant="wisp-permissive-fp32",
    ),
    "wisp-permissive-fp32": RefinerModel(
        path=WEIGHTS / "refiner_permissive.onnx",
        licence="see MODEL_CARD_refiner_permissive.md beside the file",
        source="bundled; trained by train_refiner.py --recipe permissive",
        sha256="aa8cff7acc230691533945747c05e348ace6aa5520f3807a87acd4d0634d3e11",
        purpose="the same in 32 bits",
    ),
}

_REMBG = "https://github.com/danielgatis/rembg/releases/download/v0.0.0/"


_ACLY = "https://huggingface.co/Acly/MobileSAM/resolve/0d3b403339b4674a82493d5e97964dd78089ddc8/"
_SAM = "Apache-2.0 (the ONNX export: MIT)"


def _birefnet(file: str, length: int, md5: str, sha256: str, purpose: str) -> CoarseModel:
    return CoarseModel(
        path=Path(),
        licence="MIT",
        source="Zheng et al., 2024, github.com/ZhengPeng7/BiRefNet",
        sha256=sha256,
        size=(1024, 1024),
        sigmoid=True,
        purpose=purpose,
        url=_REMBG + file,
        length=length,
        md5=md5,
    )


def _u2net(file: str, length: int, md5: str, sha256: str, purpose: str) -> CoarseModel:
    return CoarseModel(
        path=Path(),
        licence="Apache-2.0",
        source="Qin et al., 2020, github.com/xuebinqin/U-2-Net",
        sha256=sha256,
        output_range=CONFIDENT,
        purpose=purpose,
        url=_REMBG + file,
        length=length,
        md5=md5,
    )


#: Public stage-1 models, which are fetched when they are first asked for. Their ``path`` is known
#: only then: see :mod:`pipeline.models.store`.
PUBLIC: dict[str, CoarseModel] = {
    "u2net": _u2net(
        "u2net.onnx",
        175_997_641,
        "60024c5c889badc19c04ad937298a77b",
        "8d10d2f3bb75ae3b6d527c77944fc5e7dcd94b29809d47a739a7a728a912b491",
        "any salient thing; rembg's default for years",
    ),
    "u2netp": _u2net(
        "u2netp.onnx",
        4_574_861,
        "8e83ca70e441ab06c318d82300c84806",
        "309c8469258dda742793dce0ebea8e6dd393174f89934733ecc8b14c76f4ddd8",
        "any salient thing, small and fast",
    ),
    "u2net_human_seg": _u2net(
        "u2net_human_seg.onnx",
        175_997_641,
        "c09ddc2e0104f800e3e1bb4652583d1f",
        "01eb6a29a5c4d8edb30b56adad9bb3a2a0535338e480724a213e0acfd2d1c73c",
        "people, whole figures",
    ),
    "silueta": _u2net(
        "silueta.onnx",
        44_173_029,
        "55e59e0d8062d2f5d013f4725ee84782",
        "75da6c8d2f8096ec743d071951be73b4a8bc7b3e51d9a6625d63644f90ffeedb",
        "u2net at a quarter of the size",
    ),
    "isnet-general-use": CoarseModel(
        path=Path(),
        licence="Apache-2.0",
        source="Qin et al., 2022, github.com/xuebinqin/DIS",
        sha256="60920e99c45464f2ba57bee2ad08c919a52bbf852739e96947fbb4358c0d964a",
        size=(1024, 1024),
        mean=(0.5, 0.5, 0.5),
        std=(1.0, 1.0, 1.0),
        purpose="any subject, with fine structures",
        url=_REMBG + "isnet-general-use.onnx",
        length=178_648_008,
        md5="fc16ebd8b0c10d971d3513d564d01e29",
    ),
    "isnet-anime": CoarseModel(
        path=Path(),
        licence="Apache-2.0",
        source="github.com/SkyTNT/anime-segmentation",
        sha256="f15622d853e8260172812b657053460e20806f04b9e05147d49af7bed31a6e99",
        size=(1024, 1024),
        std=(1.0, 1.0, 1.0),
        purpose="drawn characters",
        url=_REMBG + "isnet-anime.onnx",
        length=176_069_933,
        md5="6f184e756bb3bd901c8849220a83e38e",
    ),
    "birefnet-general": _birefnet(
        "BiRefNet-general-epoch_244.onnx",
        972_666_916,
        "7a35a0141cbbc80de11d9c9a28f52697",
        "58f621f00f5d756097615970a88a791584600dcf7c45b18a0a6267535a1ebd3c",
        "any subject, the most careful; large and slow",
    ),
    "birefnet-general-lite": _birefnet(
        "BiRefNet-general-bb_swin_v1_tiny-epoch_232.onnx",
        224_005_088,
        "4fab47adc4ff364be1713e97b7e66334",
        "5600024376f572a557870a5eb0afb1e5961636bef4e1e22132025467d0f03333",
        "birefnet-general at a quarter of the size",
    ),
    "birefnet-portrait": _birefnet(
        "BiRefNet-portrait-epoch_150.onnx",
        972_666_916,
        "c3a64a6abf20250d090cd055f12a3b67",
        "1ba1c8ff5a7bbfadc8d8d13fb11d7be793f91f23d9d466549e37a854f6668f99",
        "people, portraits; large and slow",
    ),
    "modnet": CoarseModel(
        path=Path(),
        licence="Apache-2.0",
        source="Ke et al., 2022, github.com/ZHKKKe/MODNet; ONNX as hosted by Xenova",
        sha256="07c308cf0fc7e6e8b2065a12ed7fc07e1de8febb7dc7839d7b7f15dd66584df9",
        size=(512, 512),
        multiple=32,
        resampling="area",
        mean=(0.5, 0.5, 0.5),
        std=(0.5, 0.5, 0.5),
        scale_by_max=False,
        output="output",
        purpose="portraits, with soft hair of its own",
        url=(
            "https://huggingface.co/Xenova/modnet/resolve/"
            "fa2fa546052fba4c08921230a26cc69a333fca12/onnx/model.onnx"
        ),
        length=25_888_640,
    ),
    "mobile-sam": CoarseModel(
        path=Path(),
        licence=_SAM,
        source="Zhang et al., 2023, github.com/ChaoningZhang/MobileSAM; ONNX as hosted by Acly",
        sha256="580f5fb648ea1062c0aabc26217aed56921985f03f0cbbd852bba81d760cc749",
        size=(1024, 1024),
        decoder="mobile-sam-decoder",
        purpose="what is said by points and a box; the rest as wisp",
        url=_ACLY + "mobile_sam_image_encoder.onnx",
        length=28_157_093,
    ),
    "mobile-sam-decoder": CoarseModel(
        path=Path(),
        licence=_SAM,
        source="Kirillov et al., 2023, github.com/facebookresearch/segment-anything; as above",
        sha256="93915fc7c993ab9d59ab8c9ccd3bce37f7509c81ab4150a74abd4d2abbd8570d",
        purpose="the second half of mobile-sam",
        url=_ACLY + "sam_mask_decoder_single.onnx",
        length=16_501_323,
    ),
    "bria-rmbg": CoarseModel(
        path=Path(),
        licence="CC BY-NC 4.0",
        source="BRIA RMBG-2.0, huggingface.co/briaai/RMBG-2.0",
        sha256="5b486f08200f513f460da46dd701db5fbb47d79b4be4b708a19444bcd4e79958",
        size=(1024, 1024),
        purpose="any subject; not for commercial use",
        noncommercial=True,
        url=_REMBG + "bria-rmbg-2.0.onnx",
        length=1_024_331_469,
    ),
}

#: Those that are the second half of another one, and no model by themselves.
DECODERS = frozenset(card.decoder for card in PUBLIC.values() if card.decoder)
