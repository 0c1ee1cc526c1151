"""When a decoded picture is shown, in the units of its stream."""

from av.container import InputContainer
from av.video.frame import VideoFrame


class PictureStamps:
    """The stamps of the pictures of one stream, in the order in which they are decoded.

    AVI stores no times of showing, and guesses at them come out of order where B-frames are packed or reordered; its
    pictures are shown one after the other as its packets stand, so there the packet that brings a picture out counts.
    """

    def __init__(self, container: InputContainer) -> None:
        self.by_packet = container.format.name == "avi"

    def __call__(self, frame: VideoFrame) -> int | None:
        """None where the file says nothing."""
        return frame.dts if self.by_packet else frame.pts
