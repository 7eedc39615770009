"""Depth for the images of one bag."""

from __future__ import annotations

import contextlib
import dataclasses
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

from tqdm import tqdm

from depth_pro_ros.bags.cameras import Camera, find_camera
from depth_pro_ros.bags.options import BagError, BagOptions
from depth_pro_ros.bags.outputs import output_bytes, output_messages, output_topics
from depth_pro_ros.bags.reading import Bag, Message, is_latched, open_bag, parsed, picture
from depth_pro_ros.bags.survey import Survey, survey
from depth_pro_ros.bags.writing import NewBag, aside, new_bag
from depth_pro_ros.estimator import DepthEstimator, OutOfMemoryError

MOST_FAULTS = 5
"""Images without depth that are told one by one."""


@dataclasses.dataclass(frozen=True)
class BagReport:
    """What was made of a bag."""

    output: Path
    images: int
    """How many have depth now."""
    focal: str
    """Focal length, and where it comes from."""
    faults: tuple[str, ...]
    """A message for each image that has none."""

    def __str__(self) -> str:
        """Give a line about it."""
        return f'{self.output}: depth of {self.images} images, {self.focal}'

    def failure(self) -> str | None:
        """Give a message where images were left out."""
        if not self.faults:
            return None
        lines = list(self.faults[:MOST_FAULTS])
        if len(self.faults) > MOST_FAULTS:
            lines.append(f'and {len(self.faults) - MOST_FAULTS} more')
        return f'{self.output} lacks the depth of {len(self.faults)} images:\n  ' + '\n  '.join(
            lines
        )


def convert_bag(
    source: Path,
    output: Path,
    options: BagOptions,
    load: Callable[[], DepthEstimator],
    progress: bool = True,
) -> BagReport:
    """Write the bag `output`: the topics of the bag `source`, and depth of its images.

    output: a folder, or one file where its suffix is that of a storage. It has this name only once
    it is whole. load: gives the estimator; called when all of the bag has been found readable.
    Raises BagError. An image that cannot be decoded, or whose depth is not finite, is left out and
    reported.
    """
    storage = options.storage_of(output)
    with open_bag(source) as bag, aside(output) as folder:
        found = survey(bag, options)
        check_output(bag, found, options, output)
        with explained(source):
            estimator = load()
            camera = find_camera(bag, found, options, estimator)
        with new_bag(folder, output, storage) as new, explained(source):
            for topic, kind in output_topics(options).items():
                new.add(topic, kind)
            for connection in found.copied:
                new.add_copy(connection)
            bar = tqdm(
                desc=source.name, total=len(found.times_ns), unit='image', disable=not progress
            )
            with bar:
                writer = DepthWriter(estimator, camera, options, new)
                write_messages(bag, found, options.every, writer, bar)
        if not writer.images:
            raise BagError(f'{source}: no image can be used; the first: {writer.faults[0]}')
    return BagReport(output, writer.images, writer.focal, tuple(writer.faults))


def check_output(bag: Bag, found: Survey, options: BagOptions, output: Path) -> None:
    """Raise BagError where the new topics are there already, or the disk has too little room."""
    if taken := {c.topic for c in found.copied} & output_topics(options).keys():
        raise BagError(
            f'{bag.path} has {", ".join(sorted(taken))} already: choose another --namespace, or '
            '--only-new'
        )
    try:
        height, width = picture(bag.first(found.images)).shape[:2]
    except ValueError:
        return  # its turn comes, and others may be fine
    needed = found.copied_bytes + len(found.times_ns) * output_bytes(width, height, options)
    free = shutil.disk_usage(output.parent).free
    if needed > free:
        raise BagError(
            f'cannot write {output}: it takes {needed / 1e6:.0f} MB, and {free / 1e6:.0f} MB are '
            f'free there{"" if options.compressed else "; --compressed takes less"}'
        )


class DepthWriter:
    """Writes what becomes of one message after the other."""

    def __init__(
        self, estimator: DepthEstimator, camera: Camera, options: BagOptions, new: NewBag
    ) -> None:
        self._estimator, self._camera = estimator, camera
        self._options, self.new = options, new
        self.images = 0
        self.focal = ''
        self.faults: list[str] = []

    def answer(self, message: Message) -> None:
        """Write the depth of an image, or note why there is none."""
        try:
            msg = parsed(message)
            view = self._camera.view(picture(msg), msg.header.stamp, self._options.rectify)
            depth_m = self._estimator.predict(view.rgb, view.intrinsics.fx).depth_m
        except (ValueError, ArithmeticError) as error:
            self.faults.append(f'image of {message.time_ns * 1e-9:.3f} s: {error}')
            return
        for kind, data in output_messages(msg.header, view, depth_m, self._options):
            self.new.write(kind, message.time_ns, data)
        self.images += 1
        self.focal = f'focal length {view.intrinsics.fx:.1f} px ({self._camera.source})'


def write_messages(
    bag: Bag, found: Survey, every: int, writer: DepthWriter, bar: tqdm[None]
) -> None:
    """Copy the chosen stretch of a bag, with depth behind every `every`-th image."""
    latched = [connection for connection in found.copied if is_latched(connection)]
    for message in bag.messages(latched, None, found.start_ns):
        writer.new.copy(message, found.start_ns)  # still holds when the stretch begins
    images = 0
    for message in bag.messages(found.copied or found.images, found.start_ns, found.stop_ns):
        if found.copied:
            writer.new.copy(message, message.time_ns)
        if message.connection in found.images:
            if images % every == 0:
                writer.answer(message)
                bar.update()
            images += 1


@contextlib.contextmanager
def explained(source: Path) -> Iterator[None]:
    """Turn an estimator that cannot go on into a BagError."""
    try:
        yield
    except OutOfMemoryError as error:
        raise BagError(f'{source}: {error}') from error
