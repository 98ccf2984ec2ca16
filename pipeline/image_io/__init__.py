"""Pictures in and out: whatever the world calls an image, made one kind of array, and back."""

from pipeline.files import write
from pipeline.image_io.photo import Photo
from pipeline.image_io.reading import PICTURE, read
from pipeline.image_io.writing import FORMATS, encode, with_software

__all__ = ["FORMATS", "PICTURE", "Photo", "encode", "read", "with_software", "write"]
