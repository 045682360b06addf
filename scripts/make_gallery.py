# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""
Makes the drawings of docs/gallery.md, that of the README among them, and the page itself, from generated scenes.

    python scripts/make_gallery.py

All but the last two show what is meant, not what a model predicts, so that they stay when the embedded checkpoint
changes; those two are made again with it.
"""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parents[1])

import numpy as np  # noqa: E402
from PIL import Image  # noqa: E402

import ssp_sam  # noqa: E402
from ssp_sam.explain import draw_explanation, explain  # noqa: E402
from ssp_sam.processing.segmentation_results import SegmentationResult  # noqa: E402
from ssp_sam.processing.visualization.comparison import Case, draw_contact_sheet  # noqa: E402
from ssp_sam.processing.visualization.data_sheet import draw_data_sheet  # noqa: E402
from ssp_sam.processing.visualization.overlay import draw_overlay  # noqa: E402
from ssp_sam.training.scenes.generator import draw_referrals, generate_scene  # noqa: E402

SCENE = Path(__file__).resolve().parents[1] / "examples" / "scene.png"
SCRIPTS = (
    "größtes Äpfelchen",
    "красная чашка слева",
    "السيارة الحمراء",
    "το κόκκινο αυτοκίνητο",
    "המכונית האדומה",
    "红色的汽车",
)


def result_of(mask: np.ndarray, label: str, score: float = 0.9) -> SegmentationResult:
    """The result of a model that is right about a mask, (height, width) bool."""
    drawn = Image.fromarray(mask.astype(np.uint8) * 255)
    box = drawn.getbbox()
    corners = None if box is None else dict(zip(("xmin", "ymin", "xmax", "ymax"), box))
    return SegmentationResult(
        mask=drawn, score=score, box=corners, label=label, no_target=box is None, unknown_words=[]
    )


def make_scene(seed: int, size_hw: tuple[int, int], count: int) -> tuple[Image.Image, list[SegmentationResult]]:
    """An image, and what expressions about it mean."""
    scene = generate_scene(seed, split="test", size_hw=size_hw)
    referrals = draw_referrals(scene, np.random.default_rng(seed), count, split="test")
    scores = np.random.default_rng(seed).uniform(0.55, 0.99, count)
    return Image.fromarray(scene.image), [
        result_of(scene.mask(referral.targets), referral.expression, float(score))
        for referral, score in zip(referrals, scores)
    ]


def in_scripts() -> Image.Image:
    scene = generate_scene(24, split="test", size_hw=(420, 630))
    masks = [scene.mask((index,)) for index in range(len(scene.objects))]
    results = [result_of(mask, label) for mask, label in zip(masks, SCRIPTS)]
    return draw_overlay(Image.fromarray(scene.image), results, legend=False)


def large_crop() -> Image.Image:
    """Of a drawing of 4,000 x 3,000 pixels, 900 x 600 as they are."""
    image, results = make_scene(11, (3000, 4000), 3)
    drawing = draw_overlay(image, results)
    box = results[0].mask.getbbox() or (0, 0, 900, 600)
    x, y = min(box[0], 3100), min(box[1], 2400)
    return drawing.crop((x, y, x + 900, y + 600))


def contact_sheet() -> Image.Image:
    rows: dict[str, list[Case]] = {"right": [], "shifted": []}
    for seed in (24, 3):
        image, results = make_scene(seed, (240, 320), 1)
        true = results[0].inside
        rows["right"].append(Case(image, results[0].label, true, true, "IoU 1.00"))
        moved = np.roll(true, (6, 14), (0, 1))
        iou = (moved & true).sum() / max((moved | true).sum(), 1)
        rows["shifted"].append(Case(image, results[0].label, moved, true, f"IoU {iou:.2f}"))
    return draw_contact_sheet(rows, "masks against the truth")


def data_sheet() -> Image.Image:
    rows = []
    for seed in (3, 24, 31):
        image, results = make_scene(seed, (240, 320), 2)
        box = results[0].mask.getbbox()
        row = {"image": image, "masks": [results[0].inside] if box else [], "box_xyxy": box, "no_target": box is None}
        row |= {"source": "scenes", "split": "test", "ref_id": str(seed), "category": ""}
        row |= {"expressions": [results[0].label]}
        rows.append(row)
    return draw_data_sheet(rows, columns=3)


def predicted() -> Image.Image:
    with Image.open(SCENE) as image:
        return draw_overlay(image, ssp_sam.segment(image, ["the red car", "the dog", "everything", "the penguin"]))


def explained() -> Image.Image:
    with Image.open(SCENE) as image:
        return draw_explanation(explain(ssp_sam.pipeline(), image.convert("RGB"), "the red car"))


def unseen() -> Image.Image:
    """Twenty scenes as they come, each with what the embedded checkpoint says of one expression beside the truth."""
    rows: dict[str, list[Case]] = {}
    for number, seed in enumerate(range(2000, 2020)):
        scene = generate_scene(seed, split="test")
        [referral] = draw_referrals(scene, np.random.default_rng(seed), 1, split="test")
        image, true = Image.fromarray(scene.image), scene.mask(referral.targets)
        predicted = np.asarray(ssp_sam.segment(image, referral.expression).mask) > 0
        union = (predicted | true).sum()
        iou = (predicted & true).sum() / union if union else 1.0
        rows.setdefault(f"scenes {2000 + number // 4 * 4} and on", []).append(
            Case(image, referral.expression, predicted, true, f"IoU {iou:.2f}")
        )
    return draw_contact_sheet(rows, "generated scenes, test: the embedded checkpoint")


def styled(**options) -> Callable[[], Image.Image]:
    def draw() -> Image.Image:
        image, results = make_scene(24, (420, 560), 4)
        return draw_overlay(image, results, **options)

    return draw


# File, what is drawn, and what the page says of it.
DRAWINGS: dict[str, tuple[Callable[[], Image.Image], str]] = {
    "masks": (styled(), "`--style masks`, the default: numbers on the regions, words and scores in the legend"),
    "boxes": (styled(style="boxes"), "`--style boxes`: the bounding boxes of the masks"),
    "outline": (styled(style="outline"), "`--style outline`"),
    "cutout": (styled(style="cutout"), "`--style cutout`: the rest is transparent"),
    "no_legend": (styled(legend=False), "`--no-legend`: tags with words and scores, none over another"),
    "compare": (styled(compare=True), "`--compare`: beside the image as it is"),
    "crowded": (lambda: draw_overlay(*make_scene(31, (480, 640), 12)), "Twelve expressions on one image"),
    "tall": (lambda: draw_overlay(*make_scene(52, (720, 320), 5)), "A tall image has its legend beside it"),
    "small": (lambda: draw_overlay(*make_scene(5, (64, 64), 3)), "64 x 64 pixels, enlarged so that it can be read"),
    "large": (large_crop, "A part of a drawing of 4,000 x 3,000 pixels: letters and lines grow with the image"),
    "scripts": (in_scripts, "Expressions in other scripts; Chinese, Japanese and Korean need a font of the system"),
    "contact_sheet": (contact_sheet, "`ssp-sam evaluate`: right, wrong and missed pixels"),
    "data_sheet": (data_sheet, "`ssp-sam show-data`: samples of prepared data"),
    "predicted": (predicted, "What the embedded checkpoint predicts for the example image"),
    "unseen": (unseen, "Twenty unseen scenes as they come, what the embedded checkpoint predicts beside the truth"),
    "explained": (explained, "`ssp-sam explain`: the maps and words behind one of these predictions"),
}
HEAD = """# Gallery

How drawings look. `python scripts/make_gallery.py` makes them and this page; all but the last three show
what generated scenes hold, not what a model predicts.
"""


def path_of(name: str) -> str:
    """Where a drawing lies in the repository; that of the README is one of them."""
    if name == "predicted":
        return "examples/overlay.png"
    return f"docs/gallery/{name}.{'png' if name == 'cutout' else 'jpg'}"


def main(arguments: list[str] | None = None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", default=".", help="folder of the repository, or another one to write into")
    parser.add_argument("--only", nargs="+", choices=DRAWINGS, default=list(DRAWINGS), help="drawings to make")
    options = parser.parse_args(arguments)
    root, page = Path(options.root), [HEAD]
    for name, (draw, text) in DRAWINGS.items():
        file = root / path_of(name)
        if name in options.only:
            file.parent.mkdir(parents=True, exist_ok=True)
            draw().save(file, optimize=True, quality=88)
            print(f"wrote {file}")
        link = path_of(name).removeprefix("docs/") if name != "predicted" else f"../{path_of(name)}"
        page.append(f"## {name.replace('_', ' ').capitalize()}\n\n{text}:\n\n![{name.replace('_', ' ')}]({link})\n")
    (root / "docs").mkdir(exist_ok=True)
    (root / "docs/gallery.md").write_text("\n".join(page), "utf-8")


if __name__ == "__main__":
    main()
