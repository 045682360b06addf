# Copyright 2026 The ssp-sam authors. Licensed under the Apache License, Version 2.0.
"""
Computes what a model's frozen image encoders say of every image once, for trainings that read it from disk.

    accelerate launch scripts/cache_image_features.py --model MODEL --data FOLDER --output CACHE
    accelerate launch scripts/cache_image_features.py --model MODEL --data FOLDER --output CACHE --verify 20

May be stopped at any moment and repeated: what is finished is kept. Every launched process encodes its share.
"""

import argparse
import sys
from contextlib import ExitStack, suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

if __name__ == "__main__":
    # A launched script puts its own folder first on the path; the checkout's root must be there instead.
    sys.path[0] = str(Path(__file__).resolve().parents[1])

import torch
from accelerate import Accelerator, InitProcessGroupKwargs
from accelerate.utils import broadcast_object_list
from torch.utils.data import ConcatDataset
from transformers.utils import logging

from ssp_sam.cli.files import InputError, find_images, one_line
from ssp_sam.modeling_ssp_sam.modeling_ssp_sam import SspSamModel
from ssp_sam.processing.processing_ssp_sam import SspSamProcessor
from ssp_sam.training.feature_cache.cache import FeatureCache
from ssp_sam.training.feature_cache.encoding import encode_images, verify_cache
from ssp_sam.training.feature_cache.identity import identity_name
from ssp_sam.training.feature_cache.index import DTYPES, FeatureCacheError, FeatureIndex
from ssp_sam.training.feature_cache.scan import ImageScan, scan_images
from ssp_sam.training.feature_cache.shards import check_room, resume_index, writing_to
from ssp_sam.training.image_sources import PictureFiles, PreparedImages, SceneImages

COMPUTED_IN = {"no": "float32", "fp16": "float16", "bf16": "bfloat16"}


def parse_arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True, help="model folder or Hub id, with its processor")
    parser.add_argument("--output", required=True, help="folder of the cache")
    images = parser.add_argument_group("images; at least one of")
    images.add_argument("--data", nargs="+", default=[], metavar="FOLDER", help="prepared benchmarks")
    images.add_argument("--images", nargs="+", default=[], metavar="PATH", help="picture files or folders of them")
    images.add_argument("--scenes", nargs="+", default=[], metavar="FOLDER", help="folders of rendered scenes")
    parser.add_argument("--splits", nargs="+", metavar="SPLIT", help="splits of --data (default: all)")
    parser.add_argument(
        "--with-patches",
        action="store_true",
        help="also keep the semantic tower's patches, for trainings that leave images in the middle of its canvas",
    )
    parser.add_argument("--dtype", choices=DTYPES, default="float16", help="format of the stored values")
    parser.add_argument("--batch-size", type=int, default=1, help="images in one forward of one process")
    parser.add_argument("--workers", type=int, default=0, help="processes that prepare images for each process")
    parser.add_argument("--images-per-shard", type=int, default=64, help="also what a stopped process loses at most")
    parser.add_argument("--verify", type=int, metavar="K", help="only recompute K random images and compare")
    parser.add_argument("--threads", type=int, default=0, help="CPU threads of one process; 0 leaves torch's choice")
    args = parser.parse_args(argv)
    if not (args.data or args.images or args.scenes):
        parser.error("give images by --data, --images or --scenes")
    if args.splits and not args.data:
        parser.error("--splits are those of --data, which is missing")
    for name in ("batch_size", "images_per_shard", "verify"):
        if getattr(args, name) is not None and getattr(args, name) < 1:
            parser.error(f"--{name.replace('_', '-')} must be at least 1, got {getattr(args, name)}")
    for name in ("workers", "threads"):
        if getattr(args, name) < 0:
            parser.error(f"--{name} must be at least 0, got {getattr(args, name)}")
    return args


def main(argv: list[str] | None = None) -> int:
    """Fills or verifies a cache; returns the exit code."""
    args = parse_arguments(argv)
    if args.threads:
        torch.set_num_threads(args.threads)
    accelerator = Accelerator(
        # Without this, launched processes on a machine with no accelerator would not know of each other.
        cpu=not torch.accelerator.is_available(),
        # Processes wait for the slowest one's last image.
        kwargs_handlers=[InitProcessGroupKwargs(timeout=timedelta(days=1))],
    )
    try:
        problem = _run(args, accelerator)
    except (InputError, ValueError, OSError) as error:
        problem = one_line(error)
    if problem and accelerator.is_main_process:
        print(f"cache_image_features: {problem}", file=sys.stderr)
    accelerator.end_training()
    return 2 if problem else 0


def _run(args: argparse.Namespace, accelerator: Accelerator) -> str:
    """Does what was asked; returns what is to be reported as a problem at the end, if anything."""
    # 1. Model and images.
    model, processor = _load_model(args.model, accelerator)
    source = ConcatDataset(
        [PreparedImages(folder, args.splits) for folder in args.data]
        + ([PictureFiles(find_images(args.images))] if args.images else [])
        + [SceneImages(folder) for folder in args.scenes]
    )
    with ExitStack() as claim:
        # 2. What is there already.
        if args.verify is None:
            names = ["image_embeddings", *(["patch_features"] if args.with_patches else [])]
            computed_in = COMPUTED_IN.get(accelerator.mixed_precision, accelerator.mixed_precision)
            fresh = FeatureIndex.for_model(model, processor, names, dtype=args.dtype, computed_in=computed_in)

            def begin():
                claim.enter_context(writing_to(args.output))
                return resume_index(args.output, fresh)

            index = _on_main(accelerator, begin)
        else:
            index = FeatureIndex.load(args.output)
        # 3. Which images there are.
        scan = scan_images(source, index.files, accelerator)
        places = index.places()
        options: dict[str, Any] = {"source": source, "model": model, "processor": processor, "accelerator": accelerator}
        if args.verify is not None:
            cache = FeatureCache.open(args.output, model=model, processor=processor, dtype=torch.float32)
            rows = {key: row for key, row in scan.rows.items() if key in places}
            if not rows:
                raise FeatureCacheError(
                    f"none of the {len(scan.rows)} images are in {args.output!r}; nothing to verify"
                )
            differences = verify_cache(cache, index, rows=rows, num_images=args.verify, **options)
            _say(accelerator, _verified(min(args.verify, len(rows)), differences))
            return ""
        missing = {key: row for key, row in scan.rows.items() if key not in places}
        _say(accelerator, _found(scan, len(missing)))
        # 4. What is missing.
        index.files |= scan.files
        _on_main(accelerator, lambda: check_room(args.output, index, len(missing)))
        _on_main(accelerator, lambda: index.save(Path(args.output)))
        try:
            encode_images(
                args.output,
                index,
                rows=missing,
                batch_size=args.batch_size,
                images_per_shard=args.images_per_shard,
                num_workers=args.workers,
                **options,
            )
        except FeatureCacheError:
            with suppress(FeatureCacheError):  # the disk may be too full for an index, whose former state then stays
                _on_main(accelerator, lambda: resume_index(args.output, fresh))
            raise
        # 5. The index of all that is complete.
        index = _on_main(accelerator, lambda: resume_index(args.output, fresh))
    _say(accelerator, _summary(args.output, index))
    if scan.unreadable:
        return f"rows without a readable image, which are not in the cache: {len(scan.unreadable)}, such as the above"
    return ""


def _load_model(name: str, accelerator: Accelerator) -> tuple[Any, Any]:
    if not accelerator.is_main_process:
        logging.disable_progress_bar()
    model: Any = SspSamModel.from_pretrained(name, dtype=torch.float32)
    model.requires_grad_(False).eval().to(accelerator.device)
    return model, SspSamProcessor.from_pretrained(name)


def _on_main(accelerator: Accelerator, action) -> Any:
    """Runs an action on the main process; its result, or what it raised, is that of every process."""
    result, problem = None, None
    if accelerator.is_main_process:
        try:
            result = action()
        except FeatureCacheError as error:
            problem = str(error)
    if accelerator.num_processes > 1:
        result, problem = broadcast_object_list([result, problem], from_process=0)
    if problem is not None:
        raise FeatureCacheError(problem)
    return result


def _say(accelerator: Accelerator, text: str):
    if accelerator.is_main_process:
        print(text, flush=True)


def _found(scan: ImageScan, num_missing: int) -> str:
    lines = [f"{len(scan.rows)} distinct images in {scan.num_rows} rows, {num_missing} to encode"]
    several = scan.ids_of_several_images
    if several:
        lines.append(f"image ids with different pictures, which are kept apart: {len(several)}, such as {several[0]}")
    if scan.images_of_several_ids:
        lines.append(f"pictures with several image ids, which are kept once: {len(scan.images_of_several_ids)}")
    lines += [f"unreadable: {text}" for text in scan.unreadable[:10]]
    return "\n".join(lines)


def _summary(folder: str, index: FeatureIndex) -> str:
    makers = ", ".join(
        f"{name} of encoder {identity_name(feature['identity'])}" for name, feature in index.features.items()
    )
    per_image = index.num_bytes / max(1, index.num_images)
    return (
        f"{folder}: {index.num_images} images in {len(index.shards)} shards, {index.num_bytes / 1e9:.3f} GB, "
        f"{per_image:,.0f} bytes each ({index.dtype}; {makers})"
    )


def _verified(count: int, differences: dict[str, float]) -> str:
    parts = ", ".join(f"{name} {difference:.2g}" for name, difference in sorted(differences.items()))
    return f"{count} images recomputed; largest relative difference: {parts}"


if __name__ == "__main__":
    sys.exit(main())
