"""The review room: suspects become one self-contained page on which they are decided by keyboard."""

from datadiet.review.contents import ReviewContents, ReviewItem
from datadiet.review.thumbnails import thumbnail, thumbnail_side
from datadiet.review.writing import write_review

__all__ = ["ReviewContents", "ReviewItem", "thumbnail", "thumbnail_side", "write_review"]
