"""Pictures in and out: whatever the world calls an image, made one kind of array, and back."""

from pipeline.image_io.reading import PICTURE, Photo, read
from pipeline.image_io.writing import FORMATS, encode, format_of, write

__all__ = ["FORMATS", "PICTURE", "Photo", "encode", "format_of", "read", "write"]
