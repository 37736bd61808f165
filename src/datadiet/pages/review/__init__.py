"""The review room: suspects become one self-contained page on which they are decided by keyboard."""

from datadiet.pages.review.page import ReviewContents, ReviewItem, write_review
from datadiet.pages.review.sheets import thumbnail, thumbnail_side

__all__ = ["ReviewContents", "ReviewItem", "thumbnail", "thumbnail_side", "write_review"]
