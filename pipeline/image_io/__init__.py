"""Pictures in and out: whatever the world calls an image, made one kind of array, and back."""

from pipeline.image_io.photo import Photo
from pipeline.image_io.reading import PICTURE, read
from pipeline.image_io.writing import FORMATS, encode, write

__all__ = ["FORMATS", "PICTURE", "Photo", "encode", "read", "write"]
